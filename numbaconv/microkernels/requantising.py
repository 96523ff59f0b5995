"""Requantising: exact sums become numbers of 8 bits, each channel by its own scale.

    y[o, p] = saturate(round(sums[o, p] * scale[o] / unit) + zero)          in float64, ties to even

First in float32, by the quotient of both scales. That is wrong only next to a tie, if anywhere: where a result is so
near to one, its block is done again in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.codegen.bits import either
from numbaconv.codegen.jit import as_written, inline
from numbaconv.codegen.rows import RowFunction, elements
from numbaconv.microkernels import rowwise

MAGIC = {"float32": 1.5 * 2.0**23, "float64": 1.5 * 2.0**52}  # added and taken away again, rounds to a whole number
# What a result of at most 383 in float32 is away from the exact one: three roundings of 2**-24 of it, and some.
ERROR = 2.0**-13
BLOCK = 64  # results that are looked at together
WORDS = 6  # of a channel in a table


def table(scale: np.ndarray, unit: float, zero: int) -> np.ndarray:
    """What `row_of` is told of each channel: scale, unit, zero; their quotient; how far from a whole number is doubt.

    A power of two leaves sums as they are, down to 2**-15, as those above 2**24, which float32 rounds, saturate.
    """
    told = np.empty((len(scale), WORDS))
    told[:, 0], told[:, 1], told[:, 2] = scale, unit, zero
    told[:, 3] = np.minimum(scale / unit, 2.0**20)  # with which everything saturates but zero, which no inf may meet
    exact = (np.frexp(told[:, 3])[0] == 0.5) & (told[:, 3] >= 2.0**-15) & (told[:, 3] * unit == scale)
    told[:, 4] = np.where(exact, 1.0, 0.5 - ERROR)
    told[:, 5] = 0.0
    return told


def requantise(sums: np.ndarray, told: np.ndarray, y: np.ndarray, threads: int) -> None:
    """Fill ``y``, (N, O, ...), of int8 or uint8, by a `table`."""
    planes = y.shape[0] * len(told), len(told)
    row = row_of(sums.dtype.name, y.dtype.name)
    rowwise.run(row, y, sums, (told.ctypes.data, 0), (0, 1), planes, threads)


@lru_cache(16)
def row_of(*constants: str) -> RowFunction:
    """The row function for sums and results of these dtypes."""
    return RowFunction("requantise", make_row, *constants)


def make_row(sums: str, stored: str) -> Callable[..., None]:
    """``row(target, source, other, count, channel)``, other: the address of a `table`.

    The second time, it divides last, so that what is a tie is rounded as one: at a tie the product is that tie, of few
    bits, times ``unit``, of 24: a float64 number, which it is exactly.
    """
    number, lies = np.dtype(sums).type, np.dtype(stored).type
    lowest, highest = float(np.iinfo(stored).min), float(np.iinfo(stored).max)
    magic, wide_magic, none = np.float32(MAGIC["float32"]), MAGIC["float64"], np.int32(0)

    def within(v: Any, least: Any, most: Any) -> Any:
        return either(v < least, least, either(v > most, most, v))

    within = as_written(within, sums, stored)

    def scaled(total: Any, factor: Any, least: Any, most: Any) -> Any:
        return within(np.float32(total) * factor, least, most)

    def rounded(v: Any) -> Any:
        return (v + magic) - magic

    def apart(v: Any, whole: Any) -> Any:
        return abs(v - whole)

    def divided(total: Any, scale: Any, unit: Any, least: Any, most: Any) -> Any:
        v = within(np.float64(total) * scale / unit, least, most)
        return (v + wide_magic) - wide_magic

    scaled, rounded, apart, divided = (as_written(part, sums, stored) for part in (scaled, rounded, apart, divided))

    def fast(to: int, at: int, count: int, told: Any) -> Any:
        """Whether any result is in doubt."""
        result, total = elements(to, lies, count), elements(at, number, count)
        zero, factor, far = np.float32(told[2]), np.float32(told[3]), np.float32(told[4])
        least, most, whole_zero = np.float32(lowest) - zero, np.float32(highest) - zero, np.int32(told[2])
        doubt = none
        for i in range(count):
            v = scaled(total[i], factor, least, most)
            whole = rounded(v)
            doubt |= either(apart(v, whole) > far, np.int32(1), none)
            result[i] = lies(np.int32(whole) + whole_zero)
        return doubt

    def exact(to: int, at: int, count: int, told: Any) -> None:
        result, total = elements(to, lies, count), elements(at, number, count)
        scale, unit, zero = told[0], told[1], told[2]
        least, most = lowest - zero, highest - zero
        for i in range(count):
            result[i] = lies(np.int32(divided(total[i], scale, unit, least, most) + zero))

    fast, exact = inline(fast, sums, stored), inline(exact, sums, stored)
    size, wide = np.dtype(stored).itemsize, np.dtype(sums).itemsize

    def row(target: int, source: int, other: int, count: int, channel: int) -> None:
        told = elements(other + channel * (WORDS * 8), np.float64, WORDS)
        whole = count // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            if fast(target + start * size, source + start * wide, BLOCK, told):
                exact(target + start * size, source + start * wide, BLOCK, told)
        if whole < count and fast(target + whole * size, source + whole * wide, count - whole, told):
            exact(target + whole * size, source + whole * wide, count - whole, told)

    return row

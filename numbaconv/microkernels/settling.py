"""Settling: sums that lie in an array, all of them exact, become results of another dtype, and none that does not fit.

    y[p] = activation(sums[p] + r[p])          least <= sums[p] <= most, and y's dtype holds it, else it is told

What is told is an error, so that no result is wrong silently.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from numbaconv.codegen.bits import either
from numbaconv.codegen.jit import as_written
from numbaconv.codegen.rows import RowFunction, elements
from numbaconv.microkernels import rowwise
from numbaconv.microkernels.finish import NARROW, make_whole_value
from numbaconv.tail import INTEGERS, Tail

if TYPE_CHECKING:
    from numbaconv.problem import ConvProblem


def settle(problem: ConvProblem, sums: np.ndarray, y: np.ndarray, residual: np.ndarray | None, threads: int) -> None:
    """Fill ``y``; OverflowError where a sum fits the dtype of the problem's sums, or a result its dtype, not."""
    limits = np.iinfo(problem.dtype)
    tail = problem.tail or Tail()
    wide = "uint64" if problem.dtype == "uint64" else "int64"
    row = settling_row(sums.dtype.name, wide, y.dtype.name, tail.activation, residual is not None)
    lost = np.zeros(4, np.int64)  # a sum, a result, and between which numbers a sum is
    lost[2:] = np.array([limits.min, limits.max], wide).view(np.int64)
    added = (0, 0) if residual is None else (residual.ctypes.data, residual.itemsize)
    rowwise.run(row, y, sums, added, (lost.ctypes.data, 0), (1, 1), threads)
    if lost[:2].any():
        raise problem.overflow(of_sums=bool(lost[0]))


@lru_cache(256)
def settling_row(*constants: Any) -> RowFunction:
    return RowFunction("settle", make_row, *constants)


def make_row(
    sums: str, wide: str, stored: str, activation: tuple[Any, ...] | None, residual: bool
) -> Callable[..., None]:
    """``row(target, source, other, count, told)``, told: the address of the four words of `settle`."""
    number, whole, most = np.dtype(sums).type, np.dtype(wide).type, np.iinfo(wide).max
    value = make_whole_value(wide, activation)
    exact = stored in INTEGERS
    if stored in NARROW:
        lies, _, narrow = NARROW[stored]

        def write(result: Any) -> Any:
            return narrow(np.float32(result))
    else:
        lies = np.dtype(stored).type

        def write(result: Any) -> Any:
            return lies(result)

    if wide == "uint64":

        def wraps(total: Any, extra: Any) -> Any:
            return extra > whole(most) - total
    else:

        def wraps(total: Any, extra: Any) -> Any:
            after = total + extra
            return ((total ^ after) & (extra ^ after)) < 0

    constants = sums, wide, stored, activation, residual
    write, wraps = as_written(write, *constants), as_written(wraps, *constants)

    def row(target: int, source: int, other: int, count: int, told: int) -> None:
        result, total = elements(target, lies, count), elements(source, number, count)
        words, limits = elements(told, np.int64, 4), elements(told, whole, 4)
        extra = elements(other, lies, count if residual else 0)
        lowest, highest = limits[2], limits[3]
        beyond, lost = 0, 0
        for i in range(count):
            v = whole(total[i])
            beyond |= either((v < lowest) | (v > highest), 1, 0)
            if residual:
                more = whole(extra[i])
                lost |= either(wraps(v, more), 1, 0)
                v += more
            v = value(v)
            result[i] = write(v)
            if exact:
                lost |= either(whole(lies(v)) != v, 1, 0)
        if beyond:
            words[0] = 1
        if lost:
            words[1] = 1

    return row

"""How the input is read: what lies beyond its ends, its dtype where the sums have another, the user's own prologue.

    x_ext[i] = x[source(i)]       source(i) of `sources`; a constant, or nothing at all, where there is none

Reflect, symmetric, replicate and circular are NumPy's 'reflect', 'symmetric', 'edge' and 'wrap', of any width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any

import numpy as np

from numbaconv.tail import dtype_of

MODES = ("zeros", "constant", "reflect", "symmetric", "replicate", "circular")
# dtypes that become those of the sums, floats or larger integers, while they are packed
LOADED = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "bfloat16", "float32",
)  # fmt: skip
NAN = float("nan")  # the one, as problems of two others would not be equal

SHORT = {"float16": "f16", "bfloat16": "bf16", "float32": "f32"}


@dataclass(frozen=True)
class Prologue:
    """A user's function; equal to itself only."""

    function: Callable[..., Any]

    def __str__(self) -> str:
        return str(getattr(self.function, "__name__", type(self.function).__name__))


@dataclass(frozen=True)
class Centred:
    """What stands for zero in quantised numbers is taken from each; one code does it for every zero."""

    zero: int

    def __str__(self) -> str:
        return f"- {self.zero}"


@dataclass(frozen=True)
class Reading:
    """What `ConvProblem` has in the fields of these names."""

    padding_mode: str = "zeros"
    padding_value: complex = 0.0
    x_dtype: str = ""  # where it is not that of the sums
    prologue: Prologue | Centred | None = None


def reading_of(mode: Any, value: Any, prologue: Any, x: np.dtype[Any], sums: np.dtype[Any]) -> Reading | None:
    """How ``x`` is read for sums of a dtype; None for an array of that dtype with zeros around it."""
    if not isinstance(mode, str) or mode not in MODES:
        raise ValueError(f"padding_mode must be one of {', '.join(map(repr, MODES))}; got {mode!r}")
    number = _padding_value(value, sums)
    if number != 0 and mode != "constant":
        raise ValueError(f"padding_value is for padding_mode='constant'; got {value!r} for {mode!r}")
    floats = sums.name in {"float32", "float64"}
    if prologue is not None and not isinstance(prologue, Centred):
        if not callable(prologue):
            raise TypeError(f"prologue must be a function of (value) or (value, channel); got {prologue!r}")
        if not floats:
            raise TypeError(f"prologue: taken where sums are float32 or float64; those of x and weight are {sums}")
        prologue = Prologue(prologue)
    name = x.newbyteorder("=").name if x.name != "bfloat16" else x.name
    loads = name != sums.name and name in LOADED and (floats or (sums.kind in "iu" and x.kind in "biu"))
    reading = Reading(mode, number if mode == "constant" else 0.0, name if loads else "", prologue)
    return None if reading == Reading() else reading


def _padding_value(value: Any, sums: np.dtype[Any]) -> complex:
    """``padding_value`` as a number that the sums can hold."""
    if not isinstance(value, (bool, int, float, complex, np.number, np.bool_)):
        raise TypeError(f"padding_value must be a number; got {value!r}")
    try:
        number = complex(value)
    except OverflowError:
        raise ValueError(f"padding_value must be a number that a float holds; got {value!r}") from None
    if number.imag and sums.kind != "c":
        raise TypeError(f"padding_value must be real for sums of {sums}; got {value!r}")
    if sums.kind in "biu":
        least, most = (0, 1) if sums.kind == "b" else (np.iinfo(sums).min, np.iinfo(sums).max)
        value = value.real
        if not isfinite(value) or value != int(value) or not least <= value <= most:
            raise ValueError(f"padding_value must be a whole number from {least} to {most} for {sums}; got {value!r}")
        return int(value)
    if sums.kind == "c":
        return number
    return NAN if isnan(number.real) else number.real


def stored(reading: Reading | None, sums: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in which x is read."""
    return dtype_of(reading.x_dtype) if reading is not None and reading.x_dtype else sums


def sources(mode: str, positions: np.ndarray, size: int) -> np.ndarray:
    """Which element of ``size`` >= 1 lies at each position of the extended axis; -1 where none does."""
    found: np.ndarray
    if mode == "replicate":
        found = np.clip(positions, 0, size - 1)
    elif mode == "circular":
        found = positions % size
    elif mode in {"reflect", "symmetric"}:
        edge = mode == "symmetric"
        period = 2 * size if edge else max(1, 2 * (size - 1))
        place = positions % period
        found = np.where(place < size, place, period - edge - place)
    else:
        found = np.where((positions >= 0) & (positions < size), positions, -1)
    return found

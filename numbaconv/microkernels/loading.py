"""Loaders: rows of an input of another dtype than the sums' as those need it, after the user's own prologue.

    target[j] = prologue(convert(source[j*step]), channel)

A kernel has the address of one row function for all of it, or 0 (`codegen.rows`). What a prologue is told besides the
element is the channel, or, if it is `Centred`, what it takes from the element: channel*by_channel + zero.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from numbaconv.codegen import scalars
from numbaconv.codegen.jit import as_written, inline
from numbaconv.codegen.rows import RowFunction, call_from_python, elements
from numbaconv.microkernels.finish import NARROW
from numbaconv.reading import Centred, Prologue

if TYPE_CHECKING:
    from numbaconv.problem import ConvProblem


def address(problem: ConvProblem) -> int:
    """The row function of a problem's loader, 0 where x is read as it is."""
    if not problem.is_loaded:
        return 0
    return row_of(problem.x_dtype or problem.dtype, problem.dtype, problem.prologue).address


def told(problem: ConvProblem) -> dict[str, int]:
    """The geometry words of what a prologue is told."""
    centred = isinstance(problem.prologue, Centred)
    return {"by_channel": int(not centred), "zero": problem.prologue.zero if centred else 0}  # type: ignore[union-attr]


def itemsize(problem: ConvProblem) -> int:
    """Bytes of an element of x."""
    lies = problem.x_dtype or problem.dtype
    return 2 if lies in NARROW else np.dtype(lies).itemsize


def loaded(problem: ConvProblem, x: np.ndarray) -> np.ndarray:
    """All of ``x`` as kernels load it: for loops that do not pack."""
    if problem.prologue is None:
        return x.astype(problem.dtype, copy=False)
    whole = np.empty(x.shape, problem.dtype)
    words = told(problem)
    run = problem.x_strides["C"]  # elements of one channel side by side
    for start in range(0, x.size, run):
        to, source = (array.ctypes.data + start * array.itemsize for array in (whole, x))
        channel = start // run % problem.in_channels * words["by_channel"] + words["zero"]
        call_from_python(address(problem), to, source, channel, run, 1)
    return whole


@lru_cache(256)
def row_of(lies: str, sums: str, prologue: Prologue | Centred | None) -> RowFunction:
    """The loader from one dtype to another; a user's function stays with it."""
    if prologue is None:
        return RowFunction("load", make_row, lies, sums)
    if isinstance(prologue, Centred):
        return _centred(lies, sums)  # one for all zeros
    return RowFunction(None, lambda *_: make_row(lies, sums, prologue), id(prologue.function), lies, sums)


@lru_cache(256)
def _centred(lies: str, sums: str) -> RowFunction:
    return RowFunction("load centred", lambda *_: make_row(lies, sums, Centred(0)), lies, sums)


def make_row(lies: str, sums: str, prologue: Prologue | Centred | None = None) -> Callable[..., None]:
    """``row(target, source, channel, count, step)``."""
    number, stored = np.dtype(sums).type, np.uint8 if lies == "bool" else np.uint16
    if lies in NARROW:
        widen = NARROW[lies][1]

        def read(element: Any) -> Any:
            return number(widen(element))
    else:
        stored = stored if lies == "bool" else np.dtype(lies).type

        def read(element: Any) -> Any:
            return number(element)

    read = as_written(read, lies, sums)
    value = make_value(sums, prologue)
    variant = lies, sums, isinstance(prologue, Centred)

    def side_by_side(target: int, source: int, channel: int, count: int) -> None:
        to, x = elements(target, number, count), elements(source, stored, count)
        for j in range(count):
            to[j] = value(read(x[j]), channel)

    def apart(target: int, source: int, channel: int, count: int, step: int) -> None:
        to, x = elements(target, number, count), elements(source, stored, (count - 1) * step + 1)
        for j in range(count):
            to[j] = value(read(x[j * step]), channel)

    side_by_side, apart = inline(side_by_side, *variant), inline(apart, *variant)

    def row(target: int, source: int, channel: int, count: int, step: int) -> None:
        if step == 1:
            side_by_side(target, source, channel, count)
        else:
            apart(target, source, channel, count, step)

    return row


def make_value(sums: str, prologue: Prologue | Centred | None) -> Callable[..., Any]:
    """``value(element, channel)``, of the dtype of the sums."""
    number = np.dtype(sums).type
    if prologue is None:

        def value(element: Any, channel: int) -> Any:
            return element
    elif isinstance(prologue, Centred):

        def value(element: Any, channel: int) -> Any:
            return element - number(channel)
    else:
        own = scalars.compiled("prologue", prologue.function, sums)
        if scalars.parameters_of("prologue", prologue.function) == 1:

            def value(element: Any, channel: int) -> Any:
                return number(own(element))
        else:

            def value(element: Any, channel: int) -> Any:
                return number(own(element, channel))

    return as_written(value, sums, isinstance(prologue, Centred))

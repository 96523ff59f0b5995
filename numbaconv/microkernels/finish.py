"""Finishing outputs while they are in the cache: residual, activation, epilogue, rounding, a row at a time.

    y[i, l, p] = round(epilogue(activation(sums[i, l, p] + r[i, l, p]), channel i))

A kernel has the address of one row function for all of it, or 0 (`codegen.rows`). Where the results are of the sums'
dtype and there is no residual, sums lie where the results will; else in scratch, so that a residual may lie where the
results will, and no array of sums is needed.

Where the results are integers, so are the sums, and all that follows them is done in integers; whoever asks for that
knows that these hold it. `settling` is for those who do not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from numbaconv.codegen import bits, scalars
from numbaconv.codegen.bits import either
from numbaconv.codegen.jit import as_written, inline
from numbaconv.codegen.rows import RowFunction, call_row, elements
from numbaconv.microkernels import requantising
from numbaconv.microkernels.activations import MAKERS
from numbaconv.microkernels.transpose import transpose_rows
from numbaconv.tail import INTEGERS, Epilogue, Tail

if TYPE_CHECKING:
    from numbaconv.problem import ConvProblem

# finish: address of the row function; result_size: bytes of a result; beside: whether r lies as the results do, or is
# one table for all rows; staged: whether sums wait in scratch, from the place pending on
GEOMETRY = "finish result_size beside staged pending"
# Of strategies that write results of any order. y_n to y_w: elements from one position of an axis of y to the next;
# reorders: whether it is not the default order, so that sums wait in scratch; turned: where `place` puts the channels
# of a pixel side by side, or -1 where an epilogue wants to know its channel
ORDER = "y_n y_c y_d y_h y_w reorders turned"


def _same(number: Any) -> Any:
    return number


# dtype of results: as which type they lie in memory, how one is read and written from and to float32
NARROW = {"float16": (np.uint16, bits.of_half, bits.half_of), "bfloat16": (np.uint16, bits.of_bfloat, bits.bfloat_of)}


def words(tail: Tail | None, sums: str, pending: int = 0, reorders: bool = False) -> dict[str, int]:
    """The geometry words of sums of this dtype; ``reorders``: whether they must wait in scratch for their places."""
    if tail is None:
        staged = {"staged": int(reorders), "pending": pending if reorders else 0}
        return {"finish": 0, "result_size": 0, "beside": 0} | staged
    size, moves = np.dtype(tail.dtype or sums).itemsize, tail.moves or reorders
    address = row_of(tail, sums, moves).address
    staged = {"staged": int(moves), "pending": pending}
    return {"finish": address, "result_size": size, "beside": int(not tail.quantised)} | staged


def order_words(problem: ConvProblem, turned: int = 0) -> dict[str, int]:
    """The words of `ORDER`."""
    strides = {f"y_{letter.lower()}": step for letter, step in problem.y_strides.items()}
    return strides | {"reorders": int(problem.reorders), "turned": -1 if _counts_channels(problem.tail) else turned}


def _counts_channels(tail: Tail | None) -> bool:
    if tail is None or tail.epilogue is None:
        return tail is not None and tail.quantised
    return scalars.parameters_of("epilogue", tail.epilogue.function) == 2


@lru_cache(256)
def row_of(tail: Tail, sums: str, moves: bool) -> RowFunction:
    """The row function of a tail; a user's function stays with it."""
    if tail.quantised:
        return requantising.row_of(sums, tail.dtype)
    if tail.epilogue is not None:
        constants = sums, tail.dtype or sums, tail.activation, tail.residual, moves
        return RowFunction(None, lambda *_: make_row(*constants, tail.epilogue), id(tail.epilogue.function), *constants)
    return RowFunction("finish", make_row, sums, tail.dtype or sums, tail.activation, tail.residual, moves)


def make_row(
    sums: str, stored: str, activation: tuple[Any, ...] | None, residual: bool, moves: bool,
    epilogue: Epilogue | None = None,
) -> Callable[..., None]:  # fmt: skip
    """``row(target, source, other, count, channel)``; in place, source and target are one."""
    if stored in INTEGERS:
        return make_whole_row(sums, stored, activation, residual, moves)
    number = np.dtype(sums).type
    lies = np.dtype(stored).type
    value = make_value(sums, activation, epilogue)
    if stored in NARROW:
        lies, widen, narrow = NARROW[stored]

        def read(element: Any) -> Any:
            return number(widen(element))

        def write(result: Any) -> Any:
            return narrow(np.float32(result))
    else:

        def read(element: Any) -> Any:
            return number(element)

        def write(result: Any) -> Any:
            return lies(result)

    read, write = as_written(read, sums, stored), as_written(write, sums, stored)

    # A loop has one pointer, or two whose memory never is the same: else it would not be run in vectors.
    def add(source: int, other: int, count: int) -> None:
        total, extra = elements(source, number, count), elements(other, lies, count)
        for i in range(count):
            total[i] += read(extra[i])

    def replace(source: int, count: int, channel: int) -> None:
        total = elements(source, number, count)
        for i in range(count):
            total[i] = value(total[i], channel)

    def move(target: int, source: int, count: int, channel: int) -> None:
        result, total = elements(target, lies, count), elements(source, number, count)
        for i in range(count):
            result[i] = write(value(total[i], channel))

    add, replace, move = (inline(loop, sums, stored) for loop in (add, replace, move))

    def row_in_place(target: int, source: int, other: int, count: int, channel: int) -> None:
        replace(source, count, channel)

    def row_moved(target: int, source: int, other: int, count: int, channel: int) -> None:
        move(target, source, count, channel)

    def row_added(target: int, source: int, other: int, count: int, channel: int) -> None:
        add(source, other, count)
        move(target, source, count, channel)

    return row_added if residual else row_moved if moves else row_in_place


def make_whole_row(
    sums: str, stored: str, activation: tuple[Any, ...] | None, residual: bool, moves: bool
) -> Callable[..., None]:
    """`make_row` of results that are integers."""
    kind = (
        "int32" if sums in ("float32", "int32") else "int64"
    )  # as large as a sum, whose place a sum with a residual takes
    number, whole, lies = (np.dtype(name).type for name in (sums, kind, stored))
    value = make_whole_value(kind, activation)

    def add(source: int, other: int, count: int) -> None:
        total, exact = elements(source, number, count), elements(source, whole, count)
        extra = elements(other, lies, count)
        for i in range(count):
            exact[i] = whole(total[i]) + whole(extra[i])

    def replace(source: int, count: int) -> None:
        total, exact = elements(source, number, count), elements(source, whole, count)
        for i in range(count):
            exact[i] = value(whole(total[i]))

    def move(target: int, source: int, count: int) -> None:
        result, total = elements(target, lies, count), elements(source, number, count)
        for i in range(count):
            result[i] = lies(value(whole(total[i])))

    def move_exact(target: int, source: int, count: int) -> None:
        result, exact = elements(target, lies, count), elements(source, whole, count)
        for i in range(count):
            result[i] = lies(value(exact[i]))

    add, replace, move, move_exact = (inline(loop, sums, stored) for loop in (add, replace, move, move_exact))

    def row_in_place(target: int, source: int, other: int, count: int, channel: int) -> None:
        replace(source, count)

    def row_moved(target: int, source: int, other: int, count: int, channel: int) -> None:
        move(target, source, count)

    def row_added(target: int, source: int, other: int, count: int, channel: int) -> None:
        add(source, other, count)
        move_exact(target, source, count)

    return row_added if residual else row_moved if moves else row_in_place


def make_whole_value(kind: str, activation: tuple[Any, ...] | None) -> Callable[..., Any]:
    """``value(sum)`` of integers, of one of the activations `tail.WHOLE`."""
    if activation is None:
        return as_written(_same, "same")
    number, limits = np.dtype(kind).type, np.iinfo(kind)
    bounds = {"relu": (0, limits.max), "relu6": (0, 6)}.get(activation[0]) or activation[1:]
    least, most = (number(int(min(max(bound, limits.min), limits.max))) for bound in bounds)

    def value(total: Any) -> Any:
        return either(total < least, least, either(total > most, most, total))

    return as_written(value, kind, activation)


def make_value(sums: str, activation: tuple[Any, ...] | None, epilogue: Epilogue | None) -> Callable[..., Any]:
    """``value(sum, channel)``."""
    number = np.dtype(sums).type
    active = as_written(_same, "same") if activation is None else MAKERS[activation[0]](sums, *activation[1:])
    if epilogue is None:

        def value(total: Any, channel: int) -> Any:
            return active(total)
    elif scalars.parameters_of("epilogue", epilogue.function) == 1:
        last = scalars.compiled("epilogue", epilogue.function, sums)

        def value(total: Any, channel: int) -> Any:
            return number(last(active(total)))
    else:
        last = scalars.compiled("epilogue", epilogue.function, sums)

        def value(total: Any, channel: int) -> Any:
            return number(last(active(total), channel))

    return as_written(value, sums, activation)


def _finish(target: Any, source: Any, r: Any, shape: Any, channel: int, g: Any) -> None:
    """``shape`` = (channels, lines, columns), the first of the channels is ``channel``.

    target, source: (flat, base, stride from channel to channel, from line to line); r lies as target.
    """
    (t_flat, t_base, t_plane, t_line), (s_flat, s_base, s_plane, s_line) = target, source
    channels, lines, columns = shape
    if t_line == columns and s_line == columns:
        lines, columns = 1, lines * columns
    results, sums, extra = t_flat.ctypes.data, s_flat.ctypes.data, r.ctypes.data
    for i in range(channels):
        for line in range(lines):
            to = (t_base + i * t_plane + line * t_line) * g.result_size
            at = (s_base + i * s_plane + line * s_line) * s_flat.itemsize
            call_row(g.finish, results + to, sums + at, extra + to * g.beside, columns, channel + i)


finish = inline(_finish)


def make_place(lanes: int) -> Callable[..., None]:
    """``place(y, y_at, sums, r, shape, channel, g)``."""

    def place(y: Any, y_at: int, sums: Any, r: Any, shape: Any, channel: int, g: Any) -> None:
        """Sums that wait in scratch to y, of any order, by what follows them.

        ``sums`` and ``shape`` as `finish` has them; ``y_at``: where the first of them goes.
        """
        (scratch, base, plane, line) = sums
        (channels, lines, columns) = shape
        for row in range(lines):
            to, source = y_at + row * g.y_h, base + row * line
            together = g.y_c == 1 and channels > 1
            if g.finish and (not together or g.turned < 0):
                finish((y, to, g.y_c, g.y_w), (scratch, source, plane, 1), r, (channels, columns, 1), channel, g)
            elif g.finish:
                transpose_rows((scratch, g.turned, channels), (scratch, source, plane), channels, columns, lanes)
                finish((y, to, 0, g.y_w), (scratch, g.turned, 0, channels), r, (1, columns, channels), channel, g)
            elif together:
                transpose_rows((y, to, g.y_w), (scratch, source, plane), channels, columns, lanes)
            else:
                for i in range(channels):
                    for j in range(columns):
                        y[to + i * g.y_c + j * g.y_w] = scratch[source + i * plane + j]

    return inline(place, lanes)

"""A row of the input as it goes on beyond its ends, converted where the sums have another dtype.

    row[j] = load(x_ext[d, h, column + j*step])

`blocking.border` gives the words and the tables that say where each position beyond the ends is read from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbaconv.codegen.jit import inline
from numbaconv.codegen.rows import call_row

# extends: whether positions beyond the ends have sources, else they are zero; loader: address of the row function that
# converts, or 0; by_channel, zero: what that is told (`loading`); x_size: bytes of an element of x; x_n to x_w:
# elements of x from one position of an axis to the next
GEOMETRY = "extends loader by_channel zero x_size in_channels value map_d map_h map_w x_n x_c x_d x_h x_w"


def _source(position: int, size: int, center: int, table: Any) -> int:
    """Where the element at a position lies; -1 for the constant."""
    if position < 0:
        return table[center + position]  # type: ignore[no-any-return]
    if position >= size:
        return table[center + position - size]  # type: ignore[no-any-return]
    return position


def _fill(target: Any, to: int, count: int, table: Any, g: Any) -> None:
    value = table.view(np.float64)[g.value]
    for j in range(count):
        target[to + j] = value


def _load(target: Any, to: int, x: Any, source: int, count: int, step: int, channel: int, g: Any) -> None:
    """``target[to + j] = load(x[source + j*step])``."""
    if count <= 0:
        return
    if g.loader != 0:
        call_row(g.loader, target.ctypes.data + to * target.itemsize, x.ctypes.data + source * g.x_size,
                 channel * g.by_channel + g.zero, count, step)  # fmt: skip
    elif step == 1:
        for j in range(count):
            target[to + j] = x[source + j]
    else:
        for j in range(count):
            target[to + j] = x[source + j * step]


source, fill, load = inline(_source), inline(_fill), inline(_load)


def _beyond(target: Any, to: int, x: Any, line: int, at: Any, step: int, channel: int, table: Any, g: Any) -> None:
    """The elements ``start <= j < stop`` of a row that begins at ``column``, all of them beyond its ends."""
    column, start, stop = at
    if stop <= start:
        return
    if g.extends == 0:
        fill(target, to + start, stop - start, table, g)
        return
    for j in range(start, stop):
        place = source(column + j * step, g.in_w, g.map_w, table)
        if place < 0:
            fill(target, to + j, 1, table, g)
        else:
            load(target, to + j, x, line + place * g.x_w, 1, 1, channel, g)


beyond = inline(_beyond)


def _ends(column: int, count: int, step: int, g: Any) -> tuple[int, int]:
    """The elements ``left <= j < right`` of a row from ``column`` on that are inside."""
    left, right = -column, g.in_w - column
    if step > 1:
        left, right = -(column // step), -((column - g.in_w) // step)
    left = min(max(left, 0), count)
    return left, min(max(right, left), count)


ends = inline(_ends)


def _edges(target: Any, to: int, x: Any, line: int, at: Any, step: int, channel: int, table: Any, g: Any) -> None:
    """What of a row of ``count`` elements lies beyond its ends; ``at`` = (column, count), ``line``: its start in x."""
    column, count = at
    left, right = ends(column, count, step, g)
    beyond(target, to, x, line, (column, 0, left), step, channel, table, g)
    beyond(target, to, x, line, (column, right, count), step, channel, table, g)


edges = inline(_edges)


def _extended_row(
    target: Any, to: int, x: Any, volume: int, place: Any, count: int, step: int, channel: int, table: Any, g: Any
) -> None:
    """A whole row; ``place`` = (depth, row, column) of its first element, ``volume``: where its channel starts in x."""
    d, h, column = place
    if g.extends != 0:
        d, h = source(d, g.in_d, g.map_d, table), source(h, g.in_h, g.map_h, table)
    if d < 0 or d >= g.in_d or h < 0 or h >= g.in_h:
        fill(target, to, count, table, g)
        return
    line = volume + d * g.x_d + h * g.x_h
    left, right = ends(column, count, step, g)
    beyond(target, to, x, line, (column, 0, left), step, channel, table, g)
    first = line + (column + left * step) * g.x_w
    load(target, to + left, x, first, right - left, step * g.x_w, channel, g)
    beyond(target, to, x, line, (column, right, count), step, channel, table, g)


extended_row: Callable[..., None] = inline(_extended_row)

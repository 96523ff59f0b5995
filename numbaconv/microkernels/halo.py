"""Packing a halo: every input that a block of outputs needs, its padding too, the phases of the stride apart.

Beyond the ends of the input, rows are packed from those that they repeat, and columns then copied from columns of the
halo, all rows at a time: a copy costs a load and a store, where a look at each row's ends cost some twenty.
`blocking.halo` decides the layout and gives the words that this kernel reads from the geometry record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbaconv.codegen.jit import inline
from numbaconv.microkernels.border import edges, ends, extended_row, fill, source
from numbaconv.microkernels.pack import copy_rows, split_rows
from numbaconv.microkernels.transpose import transpose_rows


def make_pack_halo(lanes: int) -> Callable[..., None]:
    """``pack_halo(halo, x, at, block, channels, table, g)``."""

    def zero(halo: Any, start: int, stop: int) -> None:
        for j in range(start, stop):
            halo[j] = 0

    zero = inline(zero, lanes)

    def gather_phases(halo: Any, to: int, x: Any, source: int, rows: int, inside: Any, table: Any, g: Any) -> None:
        """Any stride, an element at a time."""
        lo, hi = inside
        step = g.stride_w
        for _ in range(rows):
            for phase in range(g.halo_phases):
                at = table[g.phase_table + phase]
                left = min(max(0, (lo - at + step - 1) // step), g.halo_fill)
                right = min(max(left, (hi - at + step - 1) // step), g.halo_fill)
                zero(halo, to, to + left)
                for j in range(left, right):
                    halo[to + j] = x[source + (at + j * step) * g.x_w]
                zero(halo, to + right, to + g.halo_fill)
                to += g.halo_width
            source += g.halo_step * g.x_h

    gather_phases = inline(gather_phases, lanes)

    def inner_rows(h: int, g: Any) -> tuple[int, int]:
        """The rows of a set that are inside, of which the first is row ``h``; divisions, which cost a row's copying."""
        step = g.halo_step
        top = min(max(0, (step - 1 - h) // step), g.halo_cycle)
        return top, min(max(top, (g.in_h - h + step - 1) // step), g.halo_cycle)

    inner_rows = inline(inner_rows, lanes)

    def rows_loaded(
        halo: Any, to: int, x: Any, volume: int, first: Any, rows: int, channel: int, table: Any, g: Any
    ) -> None:
        """Rows of another dtype; ``first`` = (depth, row, column)."""
        d, h, w = first
        for i in range(rows):
            for phase in range(g.halo_phases):
                place = (d, h + i * g.halo_step, w + table[g.phase_table + phase])
                extended_row(halo, to, x, volume, place, g.halo_fill, g.stride_w, channel, table, g)
                to += g.halo_width

    rows_loaded = inline(rows_loaded, lanes)

    def row_edges(halo: Any, to: int, x: Any, line: int, rows: int, w: int, table: Any, g: Any) -> None:
        """The columns beyond the ends of rows whose inner ones are packed; ``line``: column 0 of the first row."""
        for i in range(rows):
            for phase in range(g.halo_phases):
                at = (w + table[g.phase_table + phase], g.halo_fill)
                edges(halo, to, x, line + i * g.halo_step * g.x_h, at, g.stride_w, 0, table, g)
                to += g.halo_width

    row_edges = inline(row_edges, lanes)

    def rows_inside(halo: Any, to: int, x: Any, line: int, rows: int, w: int, far: int, table: Any, g: Any) -> None:
        """Rows of the input from column ``w`` on; ``line``: column 0 of the first; ``far``: with their ends."""
        pitch, apart = g.halo_phases * g.halo_width, g.halo_step * g.x_h
        # Taps may leave out phases; the vector copies write all of them or only the first.
        all_phases = g.halo_phases == g.stride_w
        phase = g.halo_width if all_phases else 0
        at, inside = line + w * g.x_w, (-w, g.in_w - w)
        if g.x_w != 1:
            gather_phases(halo, to, x, at, rows, inside, table, g)
        elif g.stride_w == 1:
            copy_rows((halo, to, pitch), (x, at, apart), rows, inside, g.halo_fill, lanes)
        elif g.stride_w == 2 and (all_phases or g.halo_phases == 1):
            split_rows((halo, to, pitch, phase), (x, at, apart), rows, inside, g.halo_fill, 2, lanes)
        elif g.stride_w == 4 and (all_phases or g.halo_phases == 1):
            split_rows((halo, to, pitch, phase), (x, at, apart), rows, inside, g.halo_fill, 4, lanes)
        else:
            gather_phases(halo, to, x, at, rows, inside, table, g)
        if far:
            row_edges(halo, to, x, line, rows, w, table, g)

    rows_inside = inline(rows_inside, lanes)

    def rows_beyond(
        halo: Any, to: int, x: Any, plane: int, first: Any, rows: int, far: int, table: Any, g: Any
    ) -> None:
        """Rows before the first or after the last one; ``first`` = (row, column), ``plane``: where theirs starts."""
        h, w = first
        pitch = g.halo_phases * g.halo_width
        if g.extends == 0:
            zero(halo, to, to + rows * pitch)
            return
        for i in range(rows):
            line = source(h + i * g.halo_step, g.in_h, g.map_h, table)
            if line < 0:
                fill(halo, to + i * pitch, pitch, table, g)
            else:
                rows_inside(halo, to + i * pitch, x, plane + line * g.x_h, 1, w, far, table, g)

    rows_beyond = inline(rows_beyond, lanes)

    def column(phase: int, j: int, w: int, table: Any, g: Any) -> int:
        """Where in a row of the halo that column of the input lies that element ``j`` of a phase, an end's, repeats.

        -1 where it is the constant, -2 where it is in no row of the halo.
        """
        place = source(w + table[g.phase_table + phase] + j * g.stride_w, g.in_w, g.map_w, table)
        if place < 0:
            return -1
        if place < w or (g.halo_phases < g.stride_w and g.stride_w > 1):
            return -2
        at = place - w
        there = 0
        if g.stride_w > 1:
            at, there = divmod(at, g.stride_w)
        return there * g.halo_width + at if at < g.halo_fill else -2

    column = inline(column, lanes)

    def are_far(w: int, table: Any, g: Any) -> int:
        """Whether some column beyond the ends repeats one that the halo does not have."""
        far = 0
        for phase in range(g.halo_phases):
            left, right = ends(w + table[g.phase_table + phase], g.halo_fill, g.stride_w, g)
            for j in range(left):
                far |= column(phase, j, w, table, g) == -2
            for j in range(right, g.halo_fill):
                far |= column(phase, j, w, table, g) == -2
        return far

    are_far = inline(are_far, lanes)

    def columns(halo: Any, rows: int, w: int, table: Any, g: Any) -> None:
        """The columns beyond the ends, of all rows of the halo."""
        pitch = g.halo_phases * g.halo_width
        for phase in range(g.halo_phases):
            left, right = ends(w + table[g.phase_table + phase], g.halo_fill, g.stride_w, g)
            for n in range(left + g.halo_fill - right):
                j = n if n < left else right + n - left
                to, place = phase * g.halo_width + j, column(phase, j, w, table, g)
                if place < 0:
                    value = table.view(np.float64)[g.value]
                    for i in range(rows):
                        halo[to + i * pitch] = value
                else:
                    for i in range(rows):
                        halo[to + i * pitch] = halo[place + i * pitch]

    columns = inline(columns, lanes)

    def pack_pixels(halo: Any, x: Any, at: int, place: Any, channels: int, far: int, table: Any, g: Any) -> None:
        """`pack_halo` where the channels of a pixel lie side by side: squares of vectors, transposed in registers."""
        (first_d, first_h, w) = place
        step, pitch = g.stride_w, g.halo_phases * g.halo_width
        size = g.halo_planes * g.halo_rows * pitch
        channel = at % g.in_channels if g.loader != 0 else 0
        to = 0
        for z in range(g.halo_planes):
            d = first_d + z * g.dilation_d
            plane = source(d, g.in_d, g.map_d, table) if g.extends != 0 else d
            for slot in range(g.halo_rows):
                tap, i = divmod(slot, g.halo_cycle)
                h = first_h + tap * g.halo_cycle_step + i * g.halo_step
                row = source(h, g.in_h, g.map_h, table) if g.extends != 0 else h
                line = at + plane * g.x_d + row * g.x_h
                lies = 0 <= plane < g.in_d and 0 <= row < g.in_h
                for phase in range(g.halo_phases):
                    first = w + table[g.phase_table + phase]
                    left, right = 0, 0
                    if lies and g.loader == 0:
                        left, right = ends(first, g.halo_fill, step, g)
                        start = line + (first + left * step) * g.x_w
                        if right > left:
                            transpose_rows(
                                (halo, to + left, size), (x, start, step * g.x_w), right - left, channels, lanes
                            )
                    for c in range(channels):
                        here = to + c * size
                        if g.loader != 0:
                            extended_row(halo, here, x, at + c, (d, h, first), g.halo_fill, step, channel + c, table,
                                         g)  # fmt: skip
                        elif g.extends == 0:
                            zero(halo, here, here + left)
                            zero(halo, here + right, here + g.halo_fill)
                        elif not lies:
                            fill(halo, here, g.halo_fill, table, g)
                        elif far:
                            edges(halo, here, x, line + c, (first, g.halo_fill), step, 0, table, g)
                    to += g.halo_width

    pack_pixels = inline(pack_pixels, lanes)

    def pack_planes(halo: Any, x: Any, at: int, place: Any, channels: int, far: int, table: Any, g: Any) -> None:
        """`pack_halo` where the pixels of a channel lie row by row."""
        (first_d, first_h, w) = place
        pitch, sets = g.halo_phases * g.halo_width, g.halo_rows // g.halo_cycle
        channel = at // g.x_c % g.in_channels if g.loader != 0 else 0
        alone = g.halo_planes == 1 and sets == 1  # then the rows inside are the same for all channels
        h = first_h
        top, bottom = inner_rows(h, g)
        to = 0
        for c in range(channels):
            volume = at + c * g.x_c
            for z in range(g.halo_planes):
                d = first_d + z * g.dilation_d
                lies = source(d, g.in_d, g.map_d, table) if g.extends != 0 else d
                plane = volume + lies * g.x_d
                for tap in range(sets):
                    if not alone:
                        h = first_h + tap * g.halo_cycle_step
                        top, bottom = inner_rows(h, g)
                    if g.loader != 0:
                        rows_loaded(halo, to, x, volume, (d, h, w), g.halo_cycle, channel + c, table, g)
                    elif lies < 0 or lies >= g.in_d:
                        if g.extends != 0:
                            fill(halo, to, g.halo_cycle * pitch, table, g)
                        else:
                            zero(halo, to, to + g.halo_cycle * pitch)
                    else:
                        below = h + bottom * g.halo_step
                        rows_beyond(halo, to, x, plane, (h, w), top, far, table, g)
                        rows_inside(halo, to + top * pitch, x, plane + (h + top * g.halo_step) * g.x_h, bottom - top, w,
                                    far, table, g)  # fmt: skip
                        rows_beyond(halo, to + bottom * pitch, x, plane, (below, w), g.halo_cycle - bottom, far, table,
                                    g)  # fmt: skip
                    to += g.halo_cycle * pitch

    pack_planes = inline(pack_planes, lanes)

    def pack_halo(halo: Any, x: Any, at: int, block: Any, channels: int, table: Any, g: Any) -> None:
        """Fill ``halo`` for the outputs from ``block = (depth, row, column)`` on; ``at``: first channel in ``x``.

        Rows are written in rising order: what a whole vector writes too much, the next row overwrites.
        """
        (first_d, first_h, first_w) = block
        w = first_w * g.stride_w - g.pad_w
        place = (first_d * g.stride_d - g.pad_d, first_h * g.stride_h - g.pad_h, w)
        at_end = g.loader == 0 and g.extends != 0 and (w < 0 or w + g.stride_w * g.halo_fill > g.in_w)
        far = are_far(w, table, g) if at_end else 0
        if g.x_c == 1 and g.x_w != 1:
            pack_pixels(halo, x, at, place, channels, far, table, g)
        else:
            pack_planes(halo, x, at, place, channels, far, table, g)
        if at_end and not far:
            columns(halo, channels * g.halo_planes * g.halo_rows, w, table, g)

    return inline(pack_halo, lanes)

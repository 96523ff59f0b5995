"""Packing a halo: every input that a block of outputs needs, its padding too, the phases of the stride apart.

`blocking.halo` decides the layout and gives the words that this kernel reads from the geometry record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbaconv.codegen.jit import inline
from numbaconv.microkernels.border import edges, ends, extended_row
from numbaconv.microkernels.pack import copy_rows, split_rows
from numbaconv.microkernels.transpose import transpose_rows


def make_pack_halo(lanes: int) -> Callable[..., None]:
    """``pack_halo(halo, x, at, block, channels, table, g)``."""

    def fill(halo: Any, start: int, stop: int, value: float) -> None:
        for j in range(start, stop):
            halo[j] = value

    fill = inline(fill, lanes)

    def gather_phases(halo: Any, to: int, x: Any, source: int, rows: int, inside: Any, table: Any, g: Any) -> None:
        """Any stride, an element at a time."""
        lo, hi, value = inside
        step = g.stride_w
        for _ in range(rows):
            for phase in range(g.halo_phases):
                at = table[g.phase_table + phase]
                left = min(max(0, (lo - at + step - 1) // step), g.halo_fill)
                right = min(max(left, (hi - at + step - 1) // step), g.halo_fill)
                fill(halo, to, to + left, value)
                for j in range(left, right):
                    halo[to + j] = x[source + (at + j * step) * g.x_w]
                fill(halo, to + right, to + g.halo_fill, value)
                to += g.halo_width
            source += g.halo_step * g.x_h

    gather_phases = inline(gather_phases, lanes)

    def inner_rows(h: int, g: Any) -> tuple[int, int]:
        """The rows of a set that are inside, of which the first is row ``h``; divisions, which cost a row's copying."""
        step = g.halo_step
        top = min(max(0, (step - 1 - h) // step), g.halo_cycle)
        return top, min(max(top, (g.in_h - h + step - 1) // step), g.halo_cycle)

    inner_rows = inline(inner_rows, lanes)

    def rows_one_by_one(
        halo: Any, to: int, x: Any, volume: int, first: Any, rows: int, channel: int, table: Any, g: Any
    ) -> None:
        """Rows of another dtype, or beyond the ends; ``first`` = (depth, row, column)."""
        d, h, w = first
        for i in range(rows):
            for phase in range(g.halo_phases):
                place = (d, h + i * g.halo_step, w + table[g.phase_table + phase])
                extended_row(halo, to, x, volume, place, g.halo_fill, g.stride_w, channel, table, g)
                to += g.halo_width

    rows_one_by_one = inline(rows_one_by_one, lanes)

    def row_edges(halo: Any, to: int, x: Any, source: int, rows: int, w: int, table: Any, g: Any) -> None:
        """The columns beyond the ends of rows whose inner ones are packed; ``source``: column 0 of the first row."""
        for i in range(rows):
            for phase in range(g.halo_phases):
                at = (w + table[g.phase_table + phase], g.halo_fill)
                edges(halo, to, x, source + i * g.halo_step * g.x_h, at, g.stride_w, 0, table, g)
                to += g.halo_width

    row_edges = inline(row_edges, lanes)

    def pack_pixels(halo: Any, x: Any, at: int, place: Any, channels: int, table: Any, g: Any) -> None:
        """`pack_halo` where the channels of a pixel lie side by side: squares of vectors, transposed in registers."""
        (first_d, first_h, w) = place
        step, pitch = g.stride_w, g.halo_phases * g.halo_width
        size = g.halo_planes * g.halo_rows * pitch
        channel = at % g.in_channels if g.loader != 0 else 0
        value = table.view(np.float64)[g.value] if g.halo_constant != 0 else 0.0
        to = 0
        for z in range(g.halo_planes):
            d = first_d + z * g.dilation_d
            for slot in range(g.halo_rows):
                tap, i = divmod(slot, g.halo_cycle)
                h = first_h + tap * g.halo_cycle_step + i * g.halo_step
                line = at + d * g.x_d + h * g.x_h
                lies = 0 <= d < g.in_d and 0 <= h < g.in_h
                for phase in range(g.halo_phases):
                    column = table[g.phase_table + phase]
                    left, right = 0, 0
                    if lies and g.loader == 0:
                        left, right = ends(w + column, g.halo_fill, step, g)
                        start = line + (w + column + left * step) * g.x_w
                        if right > left:
                            transpose_rows(
                                (halo, to + left, size), (x, start, step * g.x_w), right - left, channels, lanes
                            )
                    for c in range(channels):
                        here = to + c * size
                        if right == left and (g.extends != 0 or g.loader != 0):
                            extended_row(halo, here, x, at + c, (d, h, w + column), g.halo_fill, step, channel + c,
                                         table, g)  # fmt: skip
                        elif g.extends != 0:
                            edges(halo, here, x, line + c, (w + column, g.halo_fill), step, 0, table, g)
                        else:
                            fill(halo, here, here + left, value)
                            fill(halo, here + right, here + g.halo_fill, value)
                    to += g.halo_width

    pack_pixels = inline(pack_pixels, lanes)

    def pack_halo(halo: Any, x: Any, at: int, block: Any, channels: int, table: Any, g: Any) -> None:
        """Fill ``halo`` for the outputs from ``block = (depth, row, column)`` on; ``at``: first channel in ``x``.

        Rows are written in rising order: what a whole vector writes too much, the next row overwrites.
        """
        (first_d, first_h, first_w) = block
        pitch = g.halo_phases * g.halo_width
        # Taps may leave out phases; the vector copies write all of them or only the first.
        all_phases = g.halo_phases == g.stride_w
        phase = g.halo_width if all_phases else 0
        w = first_w * g.stride_w - g.pad_w
        if g.x_c == 1 and g.x_w != 1:
            place = (first_d * g.stride_d - g.pad_d, first_h * g.stride_h - g.pad_h, w)
            pack_pixels(halo, x, at, place, channels, table, g)
            return
        value = table.view(np.float64)[g.value] if g.halo_constant != 0 else 0.0
        inside = (-w, g.in_w - w, value)
        sets = g.halo_rows // g.halo_cycle
        by_rows = g.extends != 0 or g.loader != 0
        at_edge = g.extends != 0 and (w < 0 or w + g.stride_w * g.halo_fill > g.in_w)
        channel = at // g.x_c % g.in_channels if g.loader != 0 else 0
        alone = g.halo_planes == 1 and sets == 1  # then the rows inside are the same for all channels
        h = first_h * g.stride_h - g.pad_h
        top, bottom = inner_rows(h, g)
        to = 0
        for c in range(channels):
            for z in range(g.halo_planes):
                d = first_d * g.stride_d - g.pad_d + z * g.dilation_d
                plane = at + c * g.x_c + d * g.x_d
                for tap in range(sets):
                    if not alone:
                        h = first_h * g.stride_h - g.pad_h + tap * g.halo_cycle_step
                        top, bottom = inner_rows(h, g)
                    if d < 0 or d >= g.in_d:
                        top, bottom = g.halo_cycle, g.halo_cycle
                    volume = at + c * g.x_c
                    if g.loader != 0:
                        top, bottom = g.halo_cycle, g.halo_cycle
                    if by_rows:
                        rows_one_by_one(halo, to, x, volume, (d, h, w), top, channel + c, table, g)
                    else:
                        fill(halo, to, to + top * pitch, value)
                    first = to + top * pitch
                    source = plane + (h + top * g.halo_step) * g.x_h + w * g.x_w
                    line = g.halo_step * g.x_h
                    rows = bottom - top
                    if g.x_w != 1:
                        gather_phases(halo, first, x, source, rows, inside, table, g)
                    elif g.stride_w == 1:
                        copy_rows((halo, first, pitch), (x, source, line), rows, inside, g.halo_fill, lanes)
                    elif g.stride_w == 2 and (all_phases or g.halo_phases == 1):
                        split_rows((halo, first, pitch, phase), (x, source, line), rows, inside, g.halo_fill, 2, lanes)
                    elif g.stride_w == 4 and (all_phases or g.halo_phases == 1):
                        split_rows((halo, first, pitch, phase), (x, source, line), rows, inside, g.halo_fill, 4, lanes)
                    else:
                        gather_phases(halo, first, x, source, rows, inside, table, g)
                    if at_edge:
                        row_edges(halo, first, x, source - w * g.x_w, rows, w, table, g)
                    if by_rows:
                        below = (d, h + bottom * g.halo_step, w)
                        rows_one_by_one(halo, to + bottom * pitch, x, volume, below, g.halo_cycle - bottom, channel + c,
                                        table, g)  # fmt: skip
                    else:
                        fill(halo, to + bottom * pitch, to + g.halo_cycle * pitch, value)
                    to += g.halo_cycle * pitch

    return inline(pack_halo, lanes)

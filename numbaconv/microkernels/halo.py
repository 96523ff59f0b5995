"""Packing a halo: every input that a block of outputs needs, its padding as zeros, the phases of the stride apart.

`blocking.halo` decides the layout and gives the words that this kernel reads from the geometry record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.microkernels.pack import copy_rows, split_rows


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
                    halo[to + j] = x[source + at + j * step]
                zero(halo, to + right, to + g.halo_fill)
                to += g.halo_width
            source += g.halo_step * g.in_w

    gather_phases = inline(gather_phases, lanes)

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
        inside = (-w, g.in_w - w)
        to = 0
        for c in range(channels):
            for z in range(g.halo_planes):
                d = first_d * g.stride_d - g.pad_d + z * g.dilation_d
                plane = at + (c * g.in_d + d) * g.in_h * g.in_w
                for tap in range(g.halo_rows // g.halo_cycle):
                    h = first_h * g.stride_h - g.pad_h + tap * g.halo_cycle_step
                    top = min(max(0, (g.halo_step - 1 - h) // g.halo_step), g.halo_cycle)
                    bottom = min(max(top, (g.in_h - h + g.halo_step - 1) // g.halo_step), g.halo_cycle)
                    if d < 0 or d >= g.in_d:
                        top, bottom = g.halo_cycle, g.halo_cycle
                    zero(halo, to, to + top * pitch)
                    first = to + top * pitch
                    source = plane + (h + top * g.halo_step) * g.in_w + w
                    line = g.halo_step * g.in_w
                    rows = bottom - top
                    if g.stride_w == 1:
                        copy_rows((halo, first, pitch), (x, source, line), rows, inside, g.halo_fill, lanes)
                    elif g.stride_w == 2 and (all_phases or g.halo_phases == 1):
                        split_rows((halo, first, pitch, phase), (x, source, line), rows, inside, g.halo_fill, 2, lanes)
                    elif g.stride_w == 4 and (all_phases or g.halo_phases == 1):
                        split_rows((halo, first, pitch, phase), (x, source, line), rows, inside, g.halo_fill, 4, lanes)
                    else:
                        gather_phases(halo, first, x, source, rows, inside, table, g)
                    zero(halo, to + bottom * pitch, to + g.halo_cycle * pitch)
                    to += g.halo_cycle * pitch

    return inline(pack_halo, lanes)

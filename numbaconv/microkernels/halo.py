"""Packing a halo: every input that a block of outputs needs, its padding as zeros, the phases of the stride apart.

`blocking.halo` decides the layout and gives the words that this kernel reads from the geometry record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.microkernels.pack import copy_row


def make_pack_halo(lanes: int) -> Callable[..., None]:
    """``pack_halo(halo, x, at, block, channels, table, g)``."""

    def pack_halo(halo: Any, x: Any, at: int, block: Any, channels: int, table: Any, g: Any) -> None:
        """Fill ``halo`` for the outputs from ``block = (depth, row, column)`` on; ``at``: first channel in ``x``.

        Rows are written in rising order: what a whole vector writes too much, the next row overwrites.
        """
        (first_d, first_h, first_w) = block
        to = 0
        for c in range(channels):
            for z in range(g.halo_planes):
                d = first_d * g.stride_d - g.pad_d + z * g.dilation_d
                plane = at + (c * g.in_d + d) * g.in_h * g.in_w
                for slot in range(g.halo_rows):
                    h = first_h * g.stride_h - g.pad_h
                    h += slot // g.halo_cycle * g.halo_cycle_step + slot % g.halo_cycle * g.halo_step
                    inside = 0 <= d < g.in_d and 0 <= h < g.in_h
                    for phase in range(g.halo_phases):
                        w = first_w * g.stride_w - g.pad_w + table[g.phase_table + phase]
                        left = min(max(0, (g.stride_w - 1 - w) // g.stride_w), g.halo_width)
                        right = min(max(left, (g.in_w - w + g.stride_w - 1) // g.stride_w), g.halo_width)
                        if not inside:
                            left, right = g.halo_width, g.halo_width
                        for j in range(left):
                            halo[to + j] = 0
                        source = plane + h * g.in_w + w + left * g.stride_w
                        if g.stride_w == 1:
                            copy_row((halo, to + left), (x, source), right - left, lanes)
                        else:
                            for j in range(right - left):
                                halo[to + left + j] = x[source + j * g.stride_w]
                        for j in range(right, g.halo_width):
                            halo[to + j] = 0
                        to += g.halo_width

    return inline(pack_halo, lanes)

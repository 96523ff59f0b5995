"""Spectra of weights as the products read them: `WEIGHTS`, the kernel that transforms them, and their layout.

For each group (or each ``lanes`` groups), term and panel of output channels: a complex number (or vector) for each
frequency and channel of the panel. Panels are of the largest power of two rows that are left, ``panel`` at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.microkernels.fft import make_transform

AXES = "d", "h", "w"
GEOMETRY = (
    "norms starts raw spectra w_row w_term w_group groups group_in group_out terms panel points segments pieces levels "
    + " ".join(f"{word}_{axis}" for word in ("points", "segments", "taps", "kernel", "dilation") for axis in AXES)
)


def _panel_of(o: int, panel: int, rows: int) -> tuple[int, int]:
    """(first row, rows) of the panel that row ``o`` is in: whole panels, then halves of halves."""
    start = o // panel * panel
    size = panel
    while start + size > rows or o >= start + size:
        if start + size > rows:
            size //= 2
        else:
            start += size
    return start, size


panel_of = inline(_panel_of)


def make_weights(lanes: int, wide: int) -> Callable[..., None]:
    transform = make_transform(lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        """Filters, their taps at minus their places, so that the product of spectra is a correlation."""
        filters = g.groups * g.terms * g.group_out
        for task in range(lo, hi):
            for i in range(2 * g.points * lanes):
                scratch[i] = 0
            for lane in range(lanes):
                if wide:
                    rest, o = divmod(task, g.group_out)
                    block, term = divmod(rest, g.terms)
                    group = block * lanes + lane
                    present = group < g.groups
                else:
                    rest, o = divmod(task * lanes + lane, g.group_out)
                    group, term = divmod(rest, g.terms)
                    present = task * lanes + lane < filters
                if present:
                    channel, segment = divmod(term, g.segments)
                    rest, first_w = divmod(segment, g.segments_w)
                    first_d, first_h = divmod(rest, g.segments_h)
                    first_d, first_h, first_w = first_d * g.taps_d, first_h * g.taps_h, first_w * g.taps_w
                    filter_at = g.raw + ((group * g.group_out + o) * g.group_in + channel) * (
                        g.kernel_d * g.kernel_h * g.kernel_w
                    )
                    for td in range(min(g.taps_d, g.kernel_d - first_d)):
                        d = -td * g.dilation_d % g.points_d
                        for th in range(min(g.taps_h, g.kernel_h - first_h)):
                            h = -th * g.dilation_h % g.points_h
                            row = filter_at + ((first_d + td) * g.kernel_h + first_h + th) * g.kernel_w + first_w
                            for tw in range(min(g.taps_w, g.kernel_w - first_w)):
                                v = -tw * g.dilation_w % g.points_w
                                at = ((d * g.points_h + h) * g.points_w + v) * 2 * lanes + lane
                                scratch[at] = scratch[at] + x[row + tw] * w[2]
            transform(scratch, 0, w, table, 0, g.levels, 0)
            if wide:
                rest, o = divmod(task, g.group_out)
                block, term = divmod(rest, g.terms)
                start, rows = panel_of(o, g.panel, g.group_out)
                to = g.spectra + block * g.w_group + term * g.w_term + start * g.w_row + (o - start) * 2 * lanes
                for f in range(g.points):
                    for i in range(2 * lanes):
                        y[to + f * rows * 2 * lanes + i] = scratch[f * 2 * lanes + i]
            else:
                for lane in range(min(lanes, filters - task * lanes)):
                    rest, o = divmod(task * lanes + lane, g.group_out)
                    group, term = divmod(rest, g.terms)
                    start, rows = panel_of(o, g.panel, g.group_out)
                    to = g.spectra + group * g.w_group + term * g.w_term + start * g.w_row + (o - start) * 2
                    for f in range(g.points):
                        y[to + f * rows * 2] = scratch[f * 2 * lanes + lane]
                        y[to + f * rows * 2 + 1] = scratch[f * 2 * lanes + lanes + lane]

    return tasks


WEIGHTS = RangeKernel("fft_weights", make_weights, GEOMETRY)

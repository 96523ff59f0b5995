"""The range kernels of deformable convolution's gradients, between two products of matrices.

    dpanel[(c, t), p] = sum_o w[o, (c, t)] * dy[o, p]                            before, by the engine
    dx[c, i]         += dpanel[(c, t), p] * mask[t, p] * share(i)                SCATTER, share(i) = prod (1 - |at - i|)
    dmask[t, p]       = sum_c dpanel[(c, t), p] * x(c, at[t, p])                  MOVES
    doffset[t, p]     = sum_c dpanel[(c, t), p] * mask[t, p] * grad x(c, at[t, p])
    panel[(c, t), p]  = mask[t, p] * x(c, at[t, p])
    dw[o, (c, t)]     = sum_p dy[o, p] * panel[(c, t), p]                         after, by the engine

A task of SCATTER is an image and some channels of an offset group, so that no two add to one place, and the order of
additions to it is always the same. A task of MOVES is an image, an offset group and a tap. Both find a position once
and go through the channels there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.blocking.deformed import position
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem

GEOMETRY = (
    "taps axes in_channels offset_channels offset_groups mask_at pixels chunk chunks samples_at "
    "in_d in_h in_w out_h out_w k_h k_w s_d s_h s_w d_d d_h d_w lo_d lo_h lo_w"
)


def _pair(at: float, size: int) -> Any:
    """(first of the two pixels around, share of the first, of the second); the share of what is outside is 0."""
    if not -1 <= at < size:  # NaN too
        return 0, 0.0, 0.0
    low = int(np.floor(at))
    rest = at - low
    return low, 1 - rest if low >= 0 else 0.0, rest if low + 1 < size else 0.0


pair = inline(_pair)


def make_scatter() -> Callable[..., None]:
    """x: dpanel (N, C, taps, pixels); y: dx; r: offsets, then masks."""

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        plane, step = g.in_d * g.in_h * g.in_w, g.taps * g.pixels
        for task in range(lo, hi):
            o_group, part = divmod(task, g.chunks)  # offset groups are counted through images
            c_first = o_group * g.offset_channels + part * g.chunk
            channels = min(g.chunk, g.offset_channels - part * g.chunk)
            for i in range(c_first * plane, (c_first + channels) * plane):
                y[i] = 0
            for t in range(g.taps):
                for p in range(g.pixels):
                    z, v, u, scale = position(r, g, o_group, t, p)
                    z_low, z_share, z_next = pair(z, g.in_d)
                    v_low, v_share, v_next = pair(v, g.in_h)
                    u_low, u_share, u_next = pair(u, g.in_w)
                    source = (c_first * g.taps + t) * g.pixels + p
                    for k in range(2 if g.axes == 3 else 1):
                        for i in range(2 if g.axes >= 2 else 1):
                            side = (z_next if k else z_share) * (v_next if i else v_share)
                            at = c_first * plane + ((z_low + k) * g.in_h + v_low + i) * g.in_w + u_low
                            if side != 0 and u_share != 0:  # what lies at no distance is all that counts
                                for c in range(channels):
                                    y[at + c * plane] += side * u_share * scale * x[source + c * step]
                            if side != 0 and u_next != 0:
                                for c in range(channels):
                                    y[at + 1 + c * plane] += side * u_next * scale * x[source + c * step]

    return tasks


def make_moves() -> Callable[..., None]:
    """x: x; w: dpanel; y: the gradients for offsets and masks, then the panel; r: offsets, then masks.

    The gradient for an offset is that to the right, x(next pixel) - x(pixel), where it points exactly at a pixel.
    """

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        plane = g.in_d * g.in_h * g.in_w
        for task in range(lo, hi):
            o_group, t = divmod(task, g.taps)
            c_first = o_group * g.offset_channels
            for p in range(g.pixels):
                z, v, u, scale = position(r, g, o_group, t, p)
                nowhere = z + v + u if z != z or v != v or u != u else 0.0  # noqa: PLR0124  # NaN
                z_low, z_share, z_next = pair(z, g.in_d)
                v_low, v_share, v_next = pair(v, g.in_h)
                u_low, u_share, u_next = pair(u, g.in_w)
                seen = -1 <= z < g.in_d and -1 <= v < g.in_h and -1 <= u < g.in_w
                by_z, by_v, by_u, by_mask = nowhere, nowhere, nowhere, nowhere
                for c in range(c_first, c_first + g.offset_channels):
                    value, to_z, to_v, to_u = nowhere, 0.0, 0.0, 0.0
                    at = c * plane + (z_low * g.in_h + v_low) * g.in_w + u_low
                    for k in range(2 if g.axes == 3 else 1):
                        for i in range(2 if g.axes >= 2 else 1):
                            for j in range(2):
                                inside = 0 <= z_low + k < g.in_d and 0 <= v_low + i < g.in_h and 0 <= u_low + j < g.in_w
                                if seen and inside:
                                    by_depth, by_row = z_next if k else z_share, v_next if i else v_share
                                    by_column = u_next if j else u_share
                                    here = x[at + (k * g.in_h + i) * g.in_w + j]
                                    if by_depth * by_row != 0:
                                        if by_column != 0:
                                            value += by_depth * by_row * by_column * here
                                        to_u += by_depth * by_row * here if j else -by_depth * by_row * here
                                    if by_depth * by_column != 0:
                                        to_v += by_depth * by_column * here if i else -by_depth * by_column * here
                                    if by_row * by_column != 0:
                                        to_z += by_row * by_column * here if k else -by_row * by_column * here
                    place = (c * g.taps + t) * g.pixels + p
                    y[g.samples_at + place] = value * scale
                    d = w[place]
                    by_mask += d * value
                    by_z, by_v, by_u = by_z + d * to_z, by_v + d * to_v, by_u + d * to_u
                to = task * g.axes * g.pixels + p
                if g.axes == 3:
                    y[to] = by_z * scale
                if g.axes >= 2:
                    y[to + (g.axes - 2) * g.pixels] = by_v * scale
                y[to + (g.axes - 1) * g.pixels] = by_u * scale
                if g.mask_at:
                    y[g.mask_at + task * g.pixels + p] = by_mask

    return tasks


SCATTER = RangeKernel("deformed_scatter", make_scatter, GEOMETRY)
MOVES = RangeKernel("deformed_moves", make_moves, GEOMETRY)


@lru_cache(256)
def work(problem: ConvProblem, machine: Machine, offset_groups: int, masked: bool, kernel: RangeKernel) -> launch.Work:
    """The launch of SCATTER or MOVES for one geometry; the arrays are those that their factories name."""
    own = problem.in_channels // offset_groups
    groups = problem.batch * offset_groups
    chunk = min(own, -(-own * groups // (2 * machine.cores)))  # two tasks for each core
    chunks = -(-own // chunk)
    words: dict[str, int] = {}
    for name, values in (("in", problem.in_size), ("s", problem.stride), ("d", problem.dilation),
                         ("lo", [lo for lo, _ in problem.padding])):  # fmt: skip
        words |= {f"{name}_{axis}": value for axis, value in zip("dhw", values, strict=True)}
    moves = groups * problem.taps * problem.rank * problem.pixels
    g = SCATTER.geometry(
        taps=problem.taps, axes=problem.rank, in_channels=problem.in_channels, offset_channels=own,
        offset_groups=offset_groups, mask_at=moves * masked, pixels=problem.pixels, chunk=chunk, chunks=chunks,
        samples_at=moves + groups * problem.taps * problem.pixels * masked, out_h=problem.out_size[1],
        out_w=problem.out_size[2], k_h=problem.kernel[1], k_w=problem.kernel[2], **words,
    )  # fmt: skip
    tasks = groups * (chunks if kernel is SCATTER else problem.taps)
    macs = problem.batch * problem.in_channels * problem.taps * problem.pixels * 2**problem.rank
    return launch.Work(kernel, problem.dtype, (), tasks, macs, 1, np.zeros(1, np.int64), g)

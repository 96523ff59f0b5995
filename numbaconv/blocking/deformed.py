"""The range kernel of deformable convolution: a panel of sampled inputs, under the register tile.

    panel[(c, t), p] = mask[t, p] * x(c, p*stride + t*dilation - lo + offset[t, p])          linear between pixels
    y[o, p] = b[o] + sum over c, t of  w[o, (c, t)] * panel[(c, t), p]

A task is an image, a group and as many pixels as a tile. Within it: blocks of channels, each its panel.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem

PANEL = 256 * 1024  # bytes of a panel, which stays in the second cache under all rows of weights

GEOMETRY = (
    "groups group_in group_out taps axes offset_channels offset_groups mask_at pixels blocks block channels "
    "in_d in_h in_w out_h out_w k_h k_w s_d s_h s_w d_d d_h d_w lo_d lo_h lo_w tap_table whole last"
)


def _position(r: Any, g: Any, o_group: int, t: int, p: int) -> Any:
    """(depth, row, column, mask) of what tap ``t`` of output pixel ``p`` reads; groups counted through images."""
    rest, t_w = divmod(t, g.k_w)
    t_d, t_h = divmod(rest, g.k_h)
    rest, at_w = divmod(p, g.out_w)
    at_d, at_h = divmod(rest, g.out_h)
    kind = o_group * g.taps + t
    at = kind * g.axes * g.pixels + p
    z = at_d * g.s_d + t_d * g.d_d - g.lo_d + 0.0
    v = at_h * g.s_h + t_h * g.d_h - g.lo_h + 0.0
    if g.axes == 3:
        z += r[at]
    if g.axes >= 2:
        v += r[at + (g.axes - 2) * g.pixels]
    u = at_w * g.s_w + t_w * g.d_w - g.lo_w + r[at + (g.axes - 1) * g.pixels]
    scale = 1.0
    if g.mask_at:
        scale = r[g.mask_at + kind * g.pixels + p] + 0.0
    return z, v, u, scale


position = inline(_position)


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    sweep = make_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        plane = g.in_d * g.in_h * g.in_w
        for task in range(lo, hi):
            channel, block = divmod(task, g.blocks)
            image, group = divmod(channel, g.groups)
            start = block * g.block
            count = min(g.block, g.pixels - start)
            for c in range(0, g.group_in, g.channels):
                here = min(g.channels, g.group_in - c)
                for t in range(g.taps):
                    for p in range(g.block):
                        inside = 1 if p < count else 0
                        seen = -1  # the offset group whose positions are known
                        scale, z, v, u = 0.0, 0.0, 0.0, 0.0
                        for i in range(here):
                            place = (i * g.taps + t) * g.block + p
                            scratch[place] = 0
                            own = group * g.group_in + c + i
                            o_group = own // g.offset_channels
                            if inside and o_group != seen:
                                seen = o_group
                                z, v, u, scale = position(r, g, image * g.offset_groups + o_group, t, start + p)
                            if inside and -1 < z < g.in_d and -1 < v < g.in_h and -1 < u < g.in_w:
                                total = 0.0
                                z_low, v_low, u_low = int(np.floor(z)), int(np.floor(v)), int(np.floor(u))
                                base = (image * g.groups * g.group_in + own) * plane
                                for z_at in range(max(z_low, 0), min(z_low + 2, g.in_d)):
                                    for v_at in range(max(v_low, 0), min(v_low + 2, g.in_h)):
                                        side = (1 - abs(z - z_at)) * (1 - abs(v - v_at))
                                        for u_at in range(max(u_low, 0), min(u_low + 2, g.in_w)):
                                            share = side * (1 - abs(u - u_at))
                                            if share != 0:  # what lies at no distance is all that counts
                                                total += share * x[base + (z_at * g.in_h + v_at) * g.in_w + u_at]
                                scratch[place] = total * scale
                            elif inside and (z != z or v != v or u != u):  # noqa: PLR0124  # NaN is nowhere
                                scratch[place] = z + v + u
                sweep(
                    (y, (image * g.groups + group) * g.group_out * g.pixels + start, g.pixels),
                    (w, (group * g.group_out * g.group_in + c) * g.taps, g.group_in * g.taps, g.group_in * g.taps),
                    (scratch, 0),
                    (b, group * g.group_out),
                    (table, g.whole if count == g.block else g.last, g.tap_table),
                    here * g.taps,
                    g.group_out,
                    (count + lanes - 1) // lanes,
                    1 if c == 0 else 0,
                )

    return tasks


KERNEL = RangeKernel("deformed", make_tasks, GEOMETRY)


@lru_cache(256)
def work(problem: ConvProblem, machine: Machine, offset_groups: int, masked: bool) -> launch.Work:
    """The launch for one geometry: x, weights (O, C/groups, taps), bias, y, and r = offsets, then masks."""
    tile = Tile.of(machine, problem.dtype)
    block = tile.nv * tile.lanes
    inner, outer = problem.in_channels // problem.groups, problem.out_channels // problem.groups
    channels = max(1, min(inner, PANEL // (problem.taps * block * np.dtype(problem.dtype).itemsize)))
    blocks = -(-problem.pixels // block)

    def vectors(count: int) -> np.ndarray:
        at = np.arange(0, block, tile.lanes)
        return np.stack([at, at, np.clip(count - at, 0, tile.lanes)], axis=1).ravel()

    terms = np.arange(channels * problem.taps)
    parts = [np.stack([terms * block, terms], axis=1).ravel(), vectors(block),
             vectors(problem.pixels - (blocks - 1) * block)]  # fmt: skip
    places = np.cumsum([0] + [part.size for part in parts]).tolist()
    words = dict(zip(("tap_table", "whole", "last"), places, strict=False))
    for name, values in (("in", problem.in_size), ("s", problem.stride), ("d", problem.dilation),
                         ("lo", [lo for lo, _ in problem.padding])):  # fmt: skip
        words |= {f"{name}_{axis}": value for axis, value in zip("dhw", values, strict=True)}
    kinds = problem.batch * offset_groups * problem.taps
    g = KERNEL.geometry(
        groups=problem.groups, group_in=inner, group_out=outer, taps=problem.taps, axes=problem.rank,
        offset_channels=problem.in_channels // offset_groups, offset_groups=offset_groups,
        mask_at=kinds * problem.rank * problem.pixels * masked, pixels=problem.pixels, blocks=blocks, block=block,
        channels=channels, out_h=problem.out_size[1], out_w=problem.out_size[2], k_h=problem.kernel[1],
        k_w=problem.kernel[2], **words,
    )  # fmt: skip
    size = channels * problem.taps * block + tile.lanes
    tasks = problem.batch * problem.groups * blocks
    constants = (tile.mr, tile.nv, tile.lanes)
    return launch.Work(KERNEL, problem.dtype, constants, tasks, problem.macs, size, np.concatenate(parts), g)

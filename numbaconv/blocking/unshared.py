"""The range kernel of locally connected layers: weights of its own for each output pixel.

    y[n, o, p] = b[o, p] + sum over c, t of  w[o, c, t, p] * x[n, g(o) + c, p*stride + t*dilation - lo]

A task is a row of outputs of one channel, of all images, so that each weight comes from memory once, in order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.problem import ConvProblem

GEOMETRY = (
    "images in_channels out_channels group_in group_out taps k_h k_w in_d in_h in_w out_d out_h out_w "
    "s_d s_h s_w d_d d_h d_w lo_d lo_h lo_w"
)


def make_tasks() -> Callable[..., None]:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        lines = g.out_d * g.out_h
        for task in range(lo, hi):
            o, line = divmod(task, lines)
            at_d, at_h = divmod(line, g.out_h)
            for n in range(g.images):
                y_at = ((n * g.out_channels + o) * lines + line) * g.out_w
                for p in range(g.out_w):
                    y[y_at + p] = b[task * g.out_w + p]
            for c in range(g.group_in):
                for t in range(g.taps):
                    rest, t_w = divmod(t, g.k_w)
                    t_d, t_h = divmod(rest, g.k_h)
                    d = at_d * g.s_d + t_d * g.d_d - g.lo_d
                    h = at_h * g.s_h + t_h * g.d_h - g.lo_h
                    if d < 0 or d >= g.in_d or h < 0 or h >= g.in_h:
                        continue
                    skip = t_w * g.d_w - g.lo_w
                    start = max(0, -(skip // g.s_w))
                    stop = min(g.out_w, (g.in_w - 1 - skip) // g.s_w + 1)
                    w_at = (((o * g.group_in + c) * g.taps + t) * lines + line) * g.out_w
                    for n in range(g.images):
                        y_at = ((n * g.out_channels + o) * lines + line) * g.out_w
                        plane = n * g.in_channels + o // g.group_out * g.group_in + c
                        x_at = ((plane * g.in_d + d) * g.in_h + h) * g.in_w + skip
                        if g.s_w == 1:
                            for p in range(start, stop):
                                y[y_at + p] += w[w_at + p] * x[x_at + p]
                        else:
                            for p in range(start, stop):
                                y[y_at + p] += w[w_at + p] * x[x_at + p * g.s_w]

    return tasks


KERNEL = RangeKernel("unshared", make_tasks, GEOMETRY)


@lru_cache(256)
def work(problem: ConvProblem) -> launch.Work:
    """The launch for one geometry: x, weights (O, C/groups, taps, pixels), bias (O, pixels), y."""
    words = {"images": problem.batch, "in_channels": problem.in_channels, "out_channels": problem.out_channels}
    for name, values in (("in", problem.in_size), ("out", problem.out_size), ("s", problem.stride),
                         ("d", problem.dilation), ("lo", [lo for lo, _ in problem.padding])):  # fmt: skip
        words |= {f"{name}_{axis}": value for axis, value in zip("dhw", values, strict=True)}
    g = KERNEL.geometry(
        group_in=problem.in_channels // problem.groups, group_out=problem.out_channels // problem.groups,
        taps=problem.taps, k_h=problem.kernel[1], k_w=problem.kernel[2], **words,
    )  # fmt: skip
    tasks = problem.out_channels * problem.out_size[0] * problem.out_size[1]
    return launch.Work(KERNEL, problem.dtype, (), tasks, problem.macs, 1, np.zeros(1, np.int64), g)

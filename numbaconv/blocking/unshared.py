"""The range kernels of locally connected layers: weights of its own for each output pixel, and both gradients.

    panel[n, k, p] = x[n, c, p*stride + t*dilation - lo]                k = (c, t), zero outside x
    y[n, o, p] = b[o, p] + sum_k w[o, k, p] * panel[n, k, p]
    dw[o, k, p] = sum_n dy[n, o, p] * panel[n, k, p]
    dpanel[n, k, p] = sum_o w[o, k, p] * dy[n, o, p]                    dx: each of its elements added where it was read

Pixels are the lanes of all three sums. Time is that of reading (or writing) the weights, once, in runs of pixels: so
all images pass under them, and a panel, which all outputs share, stays in the second cache. A task of y and dw is a
group, some outputs and a block of pixels; one of dx, some channels of some images, so that no two add to one place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels.lanes import make_products
from numbaconv.problem import ConvProblem

PANEL = 256 * 1024  # bytes of a panel
RUN = 1024  # pixels of a block at most: 4 KiB in a row are enough for the hardware to fetch ahead
TERMS = 16  # of a panel, at least, where blocks of pixels can be made smaller for it
DEPTH = 8  # terms that a tile sums before it goes on along the pixels: so many rows of weights stream at once

GEOMETRY = (
    "images in_channels out_channels groups group_in group_out taps k_h k_w in_d in_h in_w out_h out_w pixels "
    "s_d s_h s_w d_d d_h d_w lo_d lo_h lo_w block blocks terms rows row_chunks few image_chunks"
)


def _tap(g: Any, t: int) -> Any:
    """(depth, row, column) that a tap reads for the first output, and the first and last + 1 column that exists."""
    rest, t_w = divmod(t, g.k_w)
    t_d, t_h = divmod(rest, g.k_h)
    skip = t_w * g.d_w - g.lo_w
    start = min(max(0, -(skip // g.s_w)), g.out_w)
    stop = max(start, min(g.out_w, (g.in_w - 1 - skip) // g.s_w + 1))
    return t_d * g.d_d - g.lo_d, t_h * g.d_h - g.lo_h, skip, start, stop


def _row(g: Any, place: Any, line: int) -> Any:
    """(first column, last + 1, where in a plane of x column 0 reads) of a tap in one row of outputs."""
    z, v, skip, start, stop = place
    at_d, at_h = divmod(line, g.out_h)
    d, h = z + at_d * g.s_d, v + at_h * g.s_h
    if d < 0 or d >= g.in_d or h < 0 or h >= g.in_h:
        return g.out_w, g.out_w, 0
    return start, stop, (d * g.in_h + h) * g.in_w + skip


tap, row = inline(_tap), inline(_row)


def _gather(panel: Any, x: Any, g: Any, images: Any, terms: Any, pixels: Any) -> None:
    """A panel of ``images`` = (first, count), ``terms`` = (group, first, count), ``pixels`` = (first, count)."""
    (first, count), (group, k_first, k_count), (p_first, p_count) = images, terms, pixels
    for k in range(k_count):
        c, t = divmod(k_first + k, g.taps)
        place = tap(g, t)
        for n in range(count):
            plane = ((first + n) * g.in_channels + group * g.group_in + c) * g.in_d * g.in_h * g.in_w
            to = (n * g.terms + k) * g.block - p_first
            line, p = p_first // g.out_w, p_first
            while p < p_first + p_count:
                origin = line * g.out_w
                end = min(origin + g.out_w, p_first + p_count)
                start, stop, at = row(g, place, line)
                start, stop = max(p, min(end, origin + start)), max(p, min(end, origin + stop))
                at += plane - origin * g.s_w
                for q in range(p, start):
                    panel[to + q] = 0
                if g.s_w == 1:
                    for q in range(start, stop):
                        panel[to + q] = x[at + q]
                else:
                    for q in range(start, stop):
                        panel[to + q] = x[at + q * g.s_w]
                for q in range(stop, end):
                    panel[to + q] = 0
                line, p = line + 1, end


def _add_back(dx: Any, panel: Any, g: Any, images: Any, terms: Any, pixels: Any) -> None:
    """What `_gather` read, added to where it was read."""
    (first, count), (group, k_first, k_count), (p_first, p_count) = images, terms, pixels
    for k in range(k_count):
        c, t = divmod(k_first + k, g.taps)
        place = tap(g, t)
        for n in range(count):
            plane = ((first + n) * g.in_channels + group * g.group_in + c) * g.in_d * g.in_h * g.in_w
            source = (n * g.terms + k) * g.block - p_first
            line, p = p_first // g.out_w, p_first
            while p < p_first + p_count:
                origin = line * g.out_w
                end = min(origin + g.out_w, p_first + p_count)
                start, stop, at = row(g, place, line)
                start, stop = max(p, min(end, origin + start)), max(p, min(end, origin + stop))
                at += plane - origin * g.s_w
                if g.s_w == 1:
                    for q in range(start, stop):
                        dx[at + q] += panel[source + q]
                else:
                    for q in range(start, stop):
                        dx[at + q * g.s_w] += panel[source + q]
                line, p = line + 1, end


gather, add_back = inline(_gather), inline(_add_back)


def _locate(task: int, g: Any) -> Any:
    """(group, first output channel, how many, first pixel, how many)."""
    rest, block = divmod(task, g.blocks)
    group, chunk = divmod(rest, g.row_chunks)
    start, end = group * g.group_out + chunk * g.rows, (group + 1) * g.group_out
    return group, start, min(g.rows, end - start), block * g.block, min(g.block, g.pixels - block * g.block)


locate = inline(_locate)


def make_forward(lanes: int) -> Callable[..., None]:
    products = make_products(lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        reduced = g.group_in * g.taps
        for task in range(lo, hi):
            group, o_first, rows, p_first, count = locate(task, g)
            for n in range(0, g.images, g.few):
                images = min(g.few, g.images - n)
                y_at = (n * g.out_channels + o_first) * g.pixels + p_first
                for i in range(images):
                    for o in range(rows):
                        to, source = y_at + (i * g.out_channels + o) * g.pixels, (o_first + o) * g.pixels + p_first
                        for p in range(count):
                            y[to + p] = b[source + p]
                for k in range(0, reduced, g.terms):
                    here = min(g.terms, reduced - k)
                    gather(scratch, x, g, (n, images), (group, k, here), (p_first, count))
                    for o in range(0, rows, 2):
                        w_at = ((o_first + o) * reduced + k) * g.pixels + p_first
                        for d in range(0, here, DEPTH):
                            products(
                                (y, y_at + o * g.pixels, g.pixels, g.out_channels * g.pixels),
                                (w, w_at + d * g.pixels, reduced * g.pixels, g.pixels),
                                (scratch, d * g.block, g.terms * g.block, g.block),
                                min(DEPTH, here - d), count, 0, min(2, rows - o), images,
                            )  # fmt: skip

    return tasks


def make_weight(lanes: int) -> Callable[..., None]:
    """``w`` is dy here, and ``y`` dw."""
    products = make_products(lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        reduced = g.group_in * g.taps
        for task in range(lo, hi):
            group, o_first, rows, p_first, count = locate(task, g)
            for k in range(0, reduced, g.terms):
                here = min(g.terms, reduced - k)
                for n in range(0, g.images, g.few):
                    images = min(g.few, g.images - n)
                    gather(scratch, x, g, (n, images), (group, k, here), (p_first, count))
                    products(
                        (y, (o_first * reduced + k) * g.pixels + p_first, reduced * g.pixels, g.pixels),
                        (w, (n * g.out_channels + o_first) * g.pixels + p_first, g.pixels, g.out_channels * g.pixels),
                        (scratch, 0, g.block, g.terms * g.block),
                        images, count, 1 if n == 0 else 0, rows, here,
                    )  # fmt: skip

    return tasks


def make_input(lanes: int) -> Callable[..., None]:
    """``x`` is dy here, and ``y`` dx, of which a task has ``rows`` channels."""
    products = make_products(lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        plane, reduced = g.in_d * g.in_h * g.in_w, g.group_in * g.taps
        for task in range(lo, hi):
            rest, part = divmod(task, g.image_chunks)
            group, chunk = divmod(rest, g.row_chunks)
            c_first, o_first = chunk * g.rows, group * g.group_out
            channels = min(g.rows, g.group_in - c_first)
            n_first, n_end = part * g.images // g.image_chunks, (part + 1) * g.images // g.image_chunks
            for n in range(n_first, n_end):
                start = (n * g.in_channels + group * g.group_in + c_first) * plane
                for p in range(start, start + channels * plane):
                    y[p] = 0
            for n in range(n_first, n_end, g.few):
                images = min(g.few, n_end - n)
                for p_first in range(0, g.pixels, g.block):
                    count = min(g.block, g.pixels - p_first)
                    for k in range(c_first * g.taps, (c_first + channels) * g.taps, g.terms):
                        here = min(g.terms, (c_first + channels) * g.taps - k)
                        for o in range(0, g.group_out, DEPTH):
                            products(
                                (scratch, 0, g.block, g.terms * g.block),
                                (w, ((o_first + o) * reduced + k) * g.pixels + p_first, g.pixels, reduced * g.pixels),
                                (x, (n * g.out_channels + o_first + o) * g.pixels + p_first, g.out_channels * g.pixels,
                                 g.pixels),
                                min(DEPTH, g.group_out - o), count, 1 if o == 0 else 0, here, images,
                            )  # fmt: skip
                        add_back(y, scratch, g, (n, images), (group, k, here), (p_first, count))

    return tasks


FORWARD = RangeKernel("unshared", make_forward, GEOMETRY)
WEIGHT = RangeKernel("unshared_weight", make_weight, GEOMETRY)
INPUT = RangeKernel("unshared_input", make_input, GEOMETRY)


@lru_cache(256)
def work(problem: ConvProblem, machine: Machine, kernel: RangeKernel = FORWARD) -> launch.Work:
    """The launch for one geometry.

    Forward: x, weights (O, C/groups, taps, pixels), bias (O, pixels), y; WEIGHT: x, dy, anything, dw; INPUT: dy,
    weights, anything, dx.
    """
    lanes, size = machine.lanes(problem.dtype), np.dtype(problem.dtype).itemsize
    inner, outer = problem.in_channels // problem.groups, problem.out_channels // problem.groups
    shared = inner if kernel is INPUT else outer  # what the tasks of a group have parts of
    few = min(problem.batch, PANEL // (4 * lanes * size))
    most = max(lanes, min(RUN, PANEL // (few * TERMS * size)) // lanes * lanes)
    blocks = -(-problem.pixels // most)
    block = -(-problem.pixels // (blocks * lanes)) * lanes
    blocks = -(-problem.pixels // block)
    each = problem.groups * (1 if kernel is INPUT else blocks)  # tasks, if a group had one for a block
    # Two for each core, none of fewer than 8 outputs, which have a panel to themselves.
    rows = max(1 if kernel is INPUT else min(8, shared), -(-shared * each // (2 * machine.cores)))
    chunks = -(-shared // min(rows, shared))
    parts = min(problem.batch, max(1, machine.cores // (each * chunks))) if kernel is INPUT else 1
    few = min(few, -(-problem.batch // parts))
    terms = min(inner * problem.taps, PANEL // (few * block * size))
    words = {"images": problem.batch, "in_channels": problem.in_channels, "out_channels": problem.out_channels}
    for name, values in (("in", problem.in_size), ("s", problem.stride), ("d", problem.dilation),
                         ("lo", [lo for lo, _ in problem.padding])):  # fmt: skip
        words |= {f"{name}_{axis}": value for axis, value in zip("dhw", values, strict=True)}
    g = FORWARD.geometry(
        groups=problem.groups, group_in=inner, group_out=outer, taps=problem.taps, k_h=problem.kernel[1],
        k_w=problem.kernel[2], out_h=problem.out_size[1], out_w=problem.out_size[2], pixels=problem.pixels,
        block=block, blocks=blocks, terms=terms, rows=min(rows, shared), row_chunks=chunks, few=few,
        image_chunks=parts, **words,
    )  # fmt: skip
    tasks, scratch = each * chunks * parts, few * terms * block
    return launch.Work(kernel, problem.dtype, (lanes,), tasks, problem.macs, scratch, np.zeros(1, np.int64), g)

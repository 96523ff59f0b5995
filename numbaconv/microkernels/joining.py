"""Joining: two or four channels of integers side by side in each int32, as the tile multiplies them.

    words[n, g, c, p] = x[n, g, 2*c, p] - zero,  x[n, g, 2*c + 1, p] - zero          two of int16
    words[n, g, c, p] = x[n, g, 4*c, p],  ...,  x[n, g, 4*c + 3, p]                   four of uint8

Numbers of int8 have 128 added. The last channel of a group stands for those that are missing, whose weights are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from numbaconv.codegen import emit_join, launch
from numbaconv.codegen.emit import emitted_by
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.codegen.rows import elements
from numbaconv.microkernels.transpose import transpose_rows

PIECE = 4096  # words of a task: some microseconds
COPY = 20  # multiply-adds in the time of one word
SQUARE = 8  # rows, as most tiles have, and columns that are turned at a time
LANES = 16  # of a vector that quads of weights are made in
SIGNS = -0x7F7F7F80  # which bits add 128 to four numbers of int8


def work_of(lies: str, channels: tuple[int, int, int], pixels: int, products: int, zero: int) -> launch.Work:
    """What joins an x of dtype ``lies``, run with x and words; ``channels`` = (images, groups, channels of a group)."""
    images, groups, inner = channels
    each = -(-inner // products)
    pieces = -(-pixels // PIECE)
    if products == 4:
        zero = SIGNS if lies == "int8" else 0
    g = KERNEL.geometry(inner=inner, each=each, pixels=pixels, pieces=pieces, zero=zero)
    planes = images * groups * each
    nothing = np.zeros(1, np.int64)
    return launch.Work(KERNEL, "int32", (lies, products), planes * pieces, planes * pixels * COPY, 0, nothing, g)


def make_tasks(lies: str, products: int) -> Callable[..., None]:
    stored = np.uint8 if lies == "bool" else np.dtype(lies).type
    size = np.dtype(lies).itemsize

    def pairs(to: Any, at: int, second: int, count: int, zero: Any) -> None:
        a, b = elements(at, stored, count), elements(second, stored, count)
        low, half = np.int32(0xFFFF), np.int32(16)
        for j in range(count):
            to[j] = (np.int32(a[j]) - zero) & low | (np.int32(b[j]) - zero) << half

    def quads(to: Any, places: Any, count: int, signs: Any) -> None:
        a, b = elements(places[0], np.uint8, count), elements(places[1], np.uint8, count)
        c, d = elements(places[2], np.uint8, count), elements(places[3], np.uint8, count)
        for j in range(count):
            low = np.int32(a[j]) | np.int32(b[j]) << np.int32(8)
            to[j] = (low | np.int32(c[j]) << np.int32(16) | np.int32(d[j]) << np.int32(24)) ^ signs

    pairs, quads = inline(pairs, lies), inline(quads, lies)
    four = products == 4

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            plane, piece = divmod(task, g.pieces)
            group, word = divmod(plane, g.each)
            first = piece * PIECE
            count = min(PIECE, g.pixels - first)
            to = elements(y.ctypes.data + (plane * g.pixels + first) * 4, np.int32, count)
            channel, last = group * g.inner + word * products, (group + 1) * g.inner - 1
            step = g.pixels * size
            at = x.ctypes.data + first * size
            if four:
                places = (at + channel * step, at + min(channel + 1, last) * step, at + min(channel + 2, last) * step,
                          at + min(channel + 3, last) * step)  # fmt: skip
                quads(to, places, count, np.int32(g.zero))
            else:
                pairs(to, at + channel * step, at + min(channel + 1, last) * step, count, np.int32(g.zero))

    return tasks


KERNEL = RangeKernel("join", make_tasks, "inner each pixels pieces zero")


def pairs_of(weight: np.ndarray) -> np.ndarray:
    """Input channels of weights ``(groups, out, in, ...)`` two by two, as int16, in each int32."""
    groups, outer, inner, *kernel = weight.shape
    both = np.zeros((groups, outer, -(-inner // 2), *kernel, 2), np.int16)
    both[..., 0] = weight[:, :, ::2]
    both[:, :, : inner // 2, ..., 1] = weight[:, :, 1::2]
    return both.view(np.int32)[..., 0]


def quads_in_panels(weight: np.ndarray, mr: int) -> np.ndarray:
    """What `blocking.weights.pack_panels` makes of weights of int8, four by four; missing rows are anything.

    In so little time that plain calls do it too: 512 -> 512, 3x3, took NumPy 3 ms, this 0.38 (Zen 4).
    """
    groups, outer, inner, *kernel = weight.shape
    flat = np.ascontiguousarray(weight).ravel()
    taps, tiles = prod(kernel), -(-outer // mr)
    terms = -(-inner // 4) * taps
    panels, nothing = np.empty(groups * tiles * terms * mr, np.int32), np.zeros(1, np.int32)
    joined = taps == 1 and inner % 4 == 0  # as they lie
    g = PANELS.geometry(inner=inner, taps=taps, terms=terms, tiles=tiles, outer=outer, mr=mr, length=flat.size,
                        joined=int(joined))  # fmt: skip
    work = launch.Work(PANELS, "int32", (LANES,), groups * tiles, 0, 0 if joined else mr * terms + LANES, nothing, g)
    work.run(flat, nothing, nothing, panels, 1)
    return panels


def make_panel_tasks(lanes: int) -> Callable[..., None]:
    """A task is a tile's rows: four by four into scratch, unless they are already, then turned."""

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        weights = elements(x.ctypes.data, np.int8, g.length)
        for task in range(lo, hi):
            group, tile = divmod(task, g.tiles)
            first, rows = group * g.outer + tile * g.mr, min(g.mr, g.outer - tile * g.mr)
            source = (x, first * g.terms, g.terms)
            if g.joined == 0:
                for i in range(rows):
                    at = (first + i) * g.inner * g.taps
                    join_row((scratch, i * g.terms), (weights, at, g.length), g.inner, g.taps, lanes)
                source = (scratch, 0, g.terms)
            transpose_rows((y, task * g.terms * g.mr, g.mr), source, rows, g.terms, SQUARE)

    return tasks


@emitted_by(emit_join.join_row)
def join_row(y: Any, x: Any, inner: int, taps: int, lanes: int) -> None:
    """``y[c, t]`` = x[4*c + n, t], n < 4, side by side, zeros for missing ones; and up to ``lanes`` words too much.

    y: (flat, base); x: (flat, base, end of what may be read).
    """
    (y_flat, y_base), (x_flat, x_base, _) = y, x
    parts = np.zeros((-(-inner // 4) * 4, taps), np.int8)
    parts[:inner] = x_flat[x_base : x_base + inner * taps].reshape(inner, taps)
    words = parts.reshape(-1, 4, taps).swapaxes(1, 2).copy().view(np.int32).ravel()
    y_flat[y_base : y_base + words.size] = words


def totals_of(weight: np.ndarray) -> np.ndarray:
    """The sum of each output's weights, of int8, as int64."""
    rows = weight.shape[0] * weight.shape[1]
    flat = np.ascontiguousarray(weight).ravel()
    totals, nothing = np.empty(rows, np.int32), np.zeros(1, np.int32)
    g = TOTALS.geometry(row=flat.size // rows, length=flat.size)
    launch.Work(TOTALS, "int32", (LANES,), rows, 0, 0, nothing, g).run(flat, nothing, nothing, totals, 1)
    return totals.astype(np.int64)


def make_total_tasks(lanes: int) -> Callable[..., None]:
    """A task is an output."""

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        weights = elements(x.ctypes.data, np.int8, g.length)
        for task in range(lo, hi):
            sum_row((y, task), (weights, task * g.row), g.row, lanes)

    return tasks


@emitted_by(emit_join.sum_row)
def sum_row(total: Any, x: Any, count: int, lanes: int) -> None:
    """``total`` = sum x[i], i < count, of int8. total, x: (flat, base)."""
    (t_flat, t_base), (x_flat, x_base) = total, x
    t_flat[t_base] = x_flat[x_base : x_base + count].sum(dtype=np.int32)


PANELS = RangeKernel("quads in panels", make_panel_tasks, "inner taps terms tiles outer mr length joined")
TOTALS = RangeKernel("totals", make_total_tasks, "row length")

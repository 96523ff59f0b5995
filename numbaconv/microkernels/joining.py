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


def join_weights(weight: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """(quads of the input channels of weights ``(groups, out, in, ...)``, the sum of each output's weights)."""
    groups, outer, inner, *kernel = weight.shape
    flat = np.ascontiguousarray(weight, np.int8).ravel()  # of what int8 holds
    totals = np.empty(groups * outer, np.int32)
    taps, nothing = prod(kernel), np.zeros(1, np.int64)
    joined = taps == 1 and inner % 4 == 0  # already; only totals are wanted, for which bytes may be in any order
    if joined:
        words = flat.view(np.int32).reshape(groups, outer, inner // 4, *kernel)
        inner, taps = 4, inner // 4
    else:
        words = np.empty((groups, outer, -(-inner // 4), *kernel), np.int32)
    g = WEIGHTS.geometry(inner=inner, taps=taps, outputs=len(totals), joined=int(joined))
    work = launch.Work(WEIGHTS, "int32", (LANES,), len(totals), words.size * COPY, taps * joined, nothing, g)
    work.run(flat, nothing, totals, words, threads)
    return words, totals


def make_weight_tasks(lanes: int) -> Callable[..., None]:
    """A task is an output; x are the weights, b the totals."""

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        row, words = g.inner * g.taps, (g.inner + 3) // 4 * g.taps
        weights = elements(x.ctypes.data, np.int8, g.outputs * row)
        for task in range(lo, hi):
            if g.joined:
                join_row((scratch, 0), (weights, task * row), (b, task), g.inner, g.taps, lanes)
            else:
                join_row((y, task * words), (weights, task * row), (b, task), g.inner, g.taps, lanes)

    return tasks


@emitted_by(emit_join.join_row)
def join_row(y: Any, x: Any, total: Any, inner: int, taps: int, lanes: int) -> None:
    """``y[c, t]`` = x[4*c + n, t], n < 4, side by side, zeros for missing ones; ``total`` = the sum of them all.

    y, x, total: (flat, base).
    """
    (y_flat, y_base), (x_flat, x_base), (t_flat, t_base) = y, x, total
    parts = np.zeros((-(-inner // 4) * 4, taps), np.int8)
    parts[:inner] = x_flat[x_base : x_base + inner * taps].reshape(inner, taps)
    words = parts.reshape(-1, 4, taps).swapaxes(1, 2).copy().view(np.int32).ravel()
    y_flat[y_base : y_base + words.size] = words
    t_flat[t_base] = parts.sum(dtype=np.int32)


def in_panels(weight: np.ndarray, mr: int) -> np.ndarray:
    """What `blocking.weights.pack_panels` makes of words, but that missing rows are anything, in less time."""
    groups, outer = weight.shape[:2]
    flat = np.ascontiguousarray(weight).reshape(-1)
    terms, tiles = flat.size // (groups * outer), -(-outer // mr)
    panels, nothing = np.empty(groups * tiles * terms * mr, np.int32), np.zeros(1, np.int32)
    g = PANELS.geometry(terms=terms, tiles=tiles, outer=outer, mr=mr)
    work = launch.Work(PANELS, "int32", (), groups * tiles, 0, 0, nothing, g)
    work.run(flat, nothing, nothing, panels, 1)
    return panels


def make_panel_tasks() -> Callable[..., None]:
    """A task is a tile's rows."""

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            group, tile = divmod(task, g.tiles)
            source = (x, (group * g.outer + tile * g.mr) * g.terms, g.terms)
            transpose_rows((y, task * g.terms * g.mr, g.mr), source, min(g.mr, g.outer - tile * g.mr), g.terms, SQUARE)

    return tasks


PANELS = RangeKernel("panels", make_panel_tasks, "terms tiles outer mr")
WEIGHTS = RangeKernel("join weights", make_weight_tasks, "inner taps outputs joined")

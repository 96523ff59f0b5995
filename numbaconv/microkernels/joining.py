"""Joining: two or four channels of integers side by side in each int32, as the tile multiplies them.

    words[n, g, c, p] = x[n, g, 2*c, p] - zero,  x[n, g, 2*c + 1, p] - zero          two of int16
    words[n, g, c, p] = x[n, g, 4*c, p],  ...,  x[n, g, 4*c + 3, p]                   four of uint8

Numbers of int8 have 128 added. The last channel of a group stands for those that are missing, whose weights are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.codegen.rows import elements

PIECE = 4096  # words of a task: some microseconds
COPY = 20  # multiply-adds in the time of one word
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

"""A row function over a whole array, in parallel: what no kernel does on its way.

row(target[i], source[i], other[i], count, told[channel])          pieces i of every plane
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.codegen.rows import RowFunction, call_row

NOTHING = np.zeros(1, np.int64)
PIECE = 4096  # elements of a task: some microseconds
COPY = 20  # multiply-adds in the time of one element


def run(
    row: RowFunction, target: np.ndarray, source: np.ndarray, other: tuple[int, int], told: tuple[int, int],
    planes: tuple[int, int], threads: int,
) -> None:  # fmt: skip
    """``target`` and ``source`` are C-contiguous; the rest is that of `work_of`."""
    if target.size:
        work = work_of(row, target.size, (target.itemsize, source.itemsize), other, told, planes)
        work.run(source, NOTHING, NOTHING, target, threads)


def work_of(
    row: RowFunction, size: int, itemsizes: tuple[int, int], other: tuple[int, int], told: tuple[int, int],
    planes: tuple[int, int],
) -> launch.Work:  # fmt: skip
    """What is run with source and target, of ``size`` elements; planes: (how many, of how many channels in turn).

    other: (number, what an element adds to it); told: (number, what a channel adds to it).
    """
    count, channels = planes
    pixels = size // count
    pieces = -(-pixels // PIECE)
    g = KERNEL.geometry(
        row=row.address, pixels=pixels, pieces=pieces, channels=channels, target_size=itemsizes[0],
        source_size=itemsizes[1], other=other[0], other_size=other[1], told=told[0], told_size=told[1],
    )  # fmt: skip
    return launch.Work(KERNEL, "int64", (), count * pieces, size * COPY, 0, NOTHING, g)


def make_tasks() -> Any:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            plane, first = task // g.pieces, task % g.pieces * PIECE
            at = plane * g.pixels + first
            call_row(g.row, y.ctypes.data + at * g.target_size, x.ctypes.data + at * g.source_size,
                     g.other + at * g.other_size, min(PIECE, g.pixels - first),
                     g.told + plane % g.channels * g.told_size)  # fmt: skip

    return tasks


KERNEL = RangeKernel(
    "rowwise",
    make_tasks,
    "row pixels pieces channels target_size source_size other other_size told told_size",
)

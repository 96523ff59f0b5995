"""Dot: on maps of a few pixels, each output is a dot product of a row of weights and a column of inputs.

    y[o, p] = b[o] + sum_k w[o, k] * column[p, k]                k = (c, kd, kh, kw), as the user's weights lie

Wins where a map has fewer pixels than a vector has lanes (7x7 and less, the 1x1 of squeeze-and-excitation): lanes are
terms instead, and the weights, which are nearly all of the work, stream once from where they lie, prepared or not.

Tasks: (image, group, chunk of output channels). Within a task: the columns of all pixels, then rows by pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import tiled
from numbaconv.blocking.blocks import STREAM
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.tile import dot_tile
from numbaconv.microkernels.transpose import transpose_rows
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 1024 * 1024  # bytes for the columns of all pixels
ROWS = 4  # of a tile, by up to 4 pixels: 16 acc + 4 x + 1 w = 21 of 32 registers; by 2 on 16 registers: 8 + 2 + 1
FAR = 1.8 / 64  # cycles more of each byte of a vector that comes from the second cache, from timing on Zen 5
COLUMN, FLIP = 2.0, 1.0  # cycles for an element of a column, one by one or in squares of vectors (Zen 4, Zen 3)
PLACES = 8192  # words of a plan's table
SUM_LANES = 6.0  # cycles to add up the lanes of one accumulator and store it


class Dot(Strategy):
    name = "dot"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.transposed:
            return "it reads the weights of an output as one row, and those of a transposed problem lie apart"
        size = problem.itemsize
        if problem.pixels * problem.terms * size > SCRATCH:
            return f"columns of {problem.pixels} pixels x {problem.terms} terms exceed its {SCRATCH // 1024} KiB"
        if problem.pixels * problem.taps > PLACES:
            return f"the places of {problem.taps} taps of {problem.pixels} pixels exceed its table of {PLACES}"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        chunk, pixels = _blocks(problem, machine)
        size = problem.itemsize
        group_out = problem.out_channels // problem.groups
        # A vector of terms: its fma's, its loads, and those that come from the second cache.
        far = ROWS * (ROWS * problem.terms * size > machine.l1 // 2)
        far += pixels * (problem.pixels * problem.terms * size > machine.l1 // 2)
        step = max(0.5 * ROWS * pixels, (ROWS + pixels) * 0.9) + far * FAR * machine.vector_bytes
        tile = step * problem.terms / machine.lanes(problem.dtype) + ROWS * pixels * SUM_LANES + 20
        column = 0.0 if _is_straight(problem) else FLIP if _is_flipped(problem) else COLUMN
        columns = problem.pixels * problem.terms * column
        each = ceil(group_out / ROWS) * problem.pixels / pixels * tile + ceil(group_out / chunk) * columns
        weights = problem.out_channels * problem.terms * size
        stream = weights / STREAM if weights > machine.l2 else 0.0
        cycles = problem.batch * max(problem.groups * each, stream)
        tasks = _tasks(problem, chunk)
        return cycles * ceil(tasks / machine.cores) * machine.cores / tasks / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return DotPlan(problem, self.name, machine.lanes(problem.dtype), *_blocks(problem, machine))


def _blocks(problem: ConvProblem, machine: Machine) -> tuple[int, int]:
    """(output channels of a task, pixels of a tile)."""
    group_out = problem.out_channels // problem.groups
    chunks = min(ceil(group_out / (4 * ROWS)), ceil(4 * machine.cores / (problem.batch * problem.groups)))
    widest = 4 if machine.registers >= 32 else 2
    return ceil(ceil(group_out / chunks) / ROWS) * ROWS, min(widest, problem.pixels)


def _tasks(problem: ConvProblem, chunk: int) -> int:
    return problem.batch * problem.groups * ceil(problem.out_channels // problem.groups / chunk)


def _is_straight(problem: ConvProblem) -> bool:
    """Whether the column of the one pixel is the input itself."""
    return problem.in_size == problem.kernel and problem.pixels == 1 and problem.padding == ((0, 0),) * 3


def _is_flipped(problem: ConvProblem) -> bool:
    """Whether the columns are the input with its axes exchanged: a 1x1 convolution of all pixels."""
    every = problem.in_size == problem.out_size and problem.padding == ((0, 0),) * 3
    return problem.taps == 1 and every and not _is_straight(problem)


def places(problem: ConvProblem) -> np.ndarray:
    """Where in the volume of a channel each tap of each output pixel reads, shape (pixels, taps); -1 for nowhere."""
    found, inside = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
    p = problem
    axes = zip(p.in_size, p.out_size, p.kernel, p.stride, p.dilation, p.padding, strict=True)
    for n, out, k, s, d, (lo, _) in axes:
        at = np.arange(out)[:, None] * s + np.arange(k) * d - lo
        shape = found.shape[0] * out, found.shape[1] * k
        found = (found[:, None, :, None] * n + at[:, None]).reshape(shape)
        inside = (inside[:, None, :, None] & ((at >= 0) & (at < n))[:, None]).reshape(shape)
    return np.where(inside, found, -1)


@dataclass(frozen=True, eq=False, repr=False)
class DotPlan(Plan):
    lanes: int
    chunk: int
    pixels: int  # of a tile
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p = self.problem
        g = KERNEL.geometry(
            in_pixels=p.in_pixels, taps=p.taps,
            groups=p.groups, group_in=p.in_channels // p.groups, group_out=p.out_channels // p.groups,
            chunk_rows=self.chunk, chunks=ceil(p.out_channels // p.groups / self.chunk), terms=p.terms, pixels=p.pixels,
            straight=int(_is_straight(p)), flipped=int(_is_flipped(p)),
            **ending.words(p.tail, p.dtype, p.pixels * p.terms),
        )  # fmt: skip
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        work = launch.Work(
            KERNEL,
            p.dtype,
            (self.pixels, self.lanes),
            _tasks(p, self.chunk),
            p.macs,
            p.pixels * (p.terms + (self.chunk if p.tail and p.tail.moves else 0)),
            places(p).ravel(),
            g,
        )
        object.__setattr__(self, "work", work)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weight)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.work.run(x, weight, self.zeros if bias is None else bias, y, threads, residual)

    def __str__(self) -> str:
        return f"({self.strategy} {ROWS}x{self.pixels}x{self.lanes} o{self.chunk})"


def make_tasks(nv: int, lanes: int) -> Callable[..., None]:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        in_plane = g.in_pixels
        for task in range(lo, hi):
            channel, chunk = divmod(task, g.chunks)
            group = channel % g.groups
            m = chunk * g.chunk_rows
            rows = min(g.chunk_rows, g.group_out - m)
            x_at = channel * g.group_in * in_plane
            columns, columns_at = (x, x_at) if g.straight else (scratch, 0)
            if g.flipped:
                transpose_rows((scratch, 0, g.terms), (x, x_at, g.pixels), g.terms, g.pixels, lanes)
            for p in range(0 if g.straight or g.flipped else g.pixels):
                k = p * g.terms
                for c in range(x_at, x_at + g.group_in * in_plane, in_plane):
                    for t in range(p * g.taps, (p + 1) * g.taps):
                        place = table[t]
                        scratch[k] = x[c + place] if place >= 0 else scratch.dtype.type(0)
                        k += 1
            results = (channel * g.group_out + m) * g.pixels
            sums, sums_at = (scratch, g.pending) if g.staged else (y, results)
            for i in range(0, rows, ROWS):
                o = group * g.group_out + m + i
                y_at = sums_at + i * g.pixels
                weights = (w, o * g.terms, g.terms)
                height = min(ROWS, rows - i)
                whole = g.pixels // nv * nv
                for p in range(0, whole, nv):
                    dot_tile((sums, y_at + p, g.pixels), weights, (columns, columns_at + p * g.terms, g.terms), (b, o),
                             g.terms, height, ROWS, nv, lanes)  # fmt: skip
                for p in range(whole, g.pixels):
                    dot_tile((sums, y_at + p, g.pixels), weights, (columns, columns_at + p * g.terms, g.terms), (b, o),
                             g.terms, height, ROWS, 1, lanes)  # fmt: skip
            if g.finish:
                ending.finish((y, results, g.pixels, g.pixels), (sums, sums_at, g.pixels, g.pixels), r,
                              (rows, 1, g.pixels), group * g.group_out + m, g)  # fmt: skip

    return tasks


KERNEL = RangeKernel(
    "dot",
    make_tasks,
    "in_pixels taps groups group_in group_out chunk_rows chunks terms pixels straight flipped " + ending.GEOMETRY,
)
STRATEGY = Dot()

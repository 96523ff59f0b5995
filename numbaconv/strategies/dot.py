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
FAR = 1.8  # cycles more of a vector that comes from the second cache, from timing on Zen 5
COLUMN, FLIP = 8.0, 1.0  # cycles for an element of a column, one by one or in squares of vectors (Zen 3)
SUM_LANES = 6.0  # cycles to add up the lanes of one accumulator and store it


class Dot(Strategy):
    name = "dot"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.transposed:
            return "it reads the weights of an output as one row, and those of a transposed problem lie apart"
        size = 8 if problem.dtype == "float64" else 4
        if problem.pixels * problem.terms * size > SCRATCH:
            return f"columns of {problem.pixels} pixels x {problem.terms} terms exceed its {SCRATCH // 1024} KiB"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        chunk, pixels = _blocks(problem, machine)
        size = 8 if problem.dtype == "float64" else 4
        group_out = problem.out_channels // problem.groups
        # A vector of terms: its fma's, its loads, and those that come from the second cache.
        far = ROWS * (ROWS * problem.terms * size > machine.l1 // 2)
        far += pixels * (problem.pixels * problem.terms * size > machine.l1 // 2)
        step = max(0.5 * ROWS * pixels, (ROWS + pixels) * 0.9) + far * FAR
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


@dataclass(frozen=True, eq=False, repr=False)
class DotPlan(Plan):
    lanes: int
    chunk: int
    pixels: int  # of a tile
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p = self.problem
        names = {"d": 0, "h": 1, "w": 2}
        words = {f"{word}_{axis}": getattr(p, attribute)[i] for axis, i in names.items() for word, attribute in (
            ("in", "in_size"), ("out", "out_size"), ("kernel", "kernel"), ("stride", "stride"), ("dilation", "dilation")
        )}  # fmt: skip
        g = KERNEL.geometry(
            **words, **{f"pad_{axis}": p.padding[i][0] for axis, i in names.items()},
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
            np.zeros(1, np.int64),
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
        in_plane = g.in_d * g.in_h * g.in_w
        for task in range(lo, hi):
            channel, chunk = divmod(task, g.chunks)
            group = channel % g.groups
            m = chunk * g.chunk_rows
            rows = min(g.chunk_rows, g.group_out - m)
            x_at = channel * g.group_in * in_plane
            columns, columns_at = (x, x_at) if g.straight else (scratch, 0)
            if g.flipped:
                transpose_rows((scratch, 0, g.terms), (x, x_at, g.pixels), g.terms, g.pixels, lanes)
            k = 0
            for p in range(0 if g.straight or g.flipped else g.pixels):
                rest, ow = divmod(p, g.out_w)
                od, oh = divmod(rest, g.out_h)
                for c in range(g.group_in):
                    for td in range(g.kernel_d):
                        d = od * g.stride_d - g.pad_d + td * g.dilation_d
                        for th in range(g.kernel_h):
                            h = oh * g.stride_h - g.pad_h + th * g.dilation_h
                            row = x_at + c * in_plane + (d * g.in_h + h) * g.in_w
                            inside = 0 <= d < g.in_d and 0 <= h < g.in_h
                            for tw in range(g.kernel_w):
                                v = ow * g.stride_w - g.pad_w + tw * g.dilation_w
                                scratch[k] = x[row + v] if inside and 0 <= v < g.in_w else scratch.dtype.type(0)
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
    "in_d out_d kernel_d stride_d dilation_d in_h out_h kernel_h stride_h dilation_h in_w out_w kernel_w stride_w "
    "dilation_w pad_d pad_h pad_w groups group_in group_out chunk_rows chunks terms pixels straight flipped "
    + ending.GEOMETRY,
)
STRATEGY = Dot()

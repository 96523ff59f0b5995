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
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels.tile import dot_tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 1024 * 1024  # bytes for the columns of all pixels
ROWS = 4  # of a tile, by up to 4 pixels: 16 acc + 4 x + 1 w = 21 of 32 registers; by 2 on 16 registers: 8 + 2 + 1
SUM_LANES = 6.0  # cycles to add up the lanes of one accumulator and store it, from timing on Zen 5


class Dot(Strategy):
    name = "dot"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        size = 8 if problem.dtype == "float64" else 4
        if problem.pixels * problem.terms * size > SCRATCH:
            return f"columns of {problem.pixels} pixels x {problem.terms} terms exceed its {SCRATCH // 1024} KiB"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        plan = self._plan(problem, machine)
        lanes = machine.lanes(problem.dtype)
        group_out = problem.out_channels // problem.groups
        loads = ROWS * plan.pixels + 1 if plan.pixels == 1 else ROWS * plan.pixels
        tile = (
            max(0.5 * loads, (ROWS + plan.pixels) * 0.9) * problem.terms / lanes + ROWS * plan.pixels * SUM_LANES + 20
        )
        columns = 0 if plan.straight else problem.pixels * problem.terms * 1.5
        tiles = ceil(group_out / ROWS) * problem.pixels / plan.pixels
        each = tiles * tile + ceil(group_out / plan.chunk) * columns
        uneven = ceil(plan.tasks / machine.cores) * machine.cores / plan.tasks
        return problem.batch * problem.groups * each * uneven / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return self._plan(problem, machine)

    def _plan(self, problem: ConvProblem, machine: Machine) -> DotPlan:
        group_out = problem.out_channels // problem.groups
        parallel = problem.batch * problem.groups
        chunks = min(ceil(group_out / (4 * ROWS)), ceil(4 * machine.cores / parallel))
        chunk = ceil(ceil(group_out / chunks) / ROWS) * ROWS
        widest = 4 if machine.registers >= 32 else 2
        return DotPlan(problem, self.name, machine.lanes(problem.dtype), chunk, min(widest, problem.pixels))


@dataclass(frozen=True, eq=False, repr=False)
class DotPlan(Plan):
    lanes: int
    chunk: int
    pixels: int  # of a tile
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    @property
    def straight(self) -> bool:
        """Whether the column of the one pixel is the input itself."""
        p = self.problem
        return p.in_size == p.kernel and p.pixels == 1 and p.padding == ((0, 0),) * 3

    @property
    def tasks(self) -> int:
        p = self.problem
        return p.batch * p.groups * ceil(p.out_channels // p.groups / self.chunk)

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
            straight=int(self.straight),
        )  # fmt: skip
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        work = launch.Work(
            KERNEL, p.dtype, (self.pixels, self.lanes), self.tasks, p.macs, p.pixels * p.terms, np.zeros(1, np.int64), g
        )
        object.__setattr__(self, "work", work)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weight)

    def run(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int) -> None:
        self.work.run(x, weight, self.zeros if bias is None else bias, y, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {ROWS}x{self.pixels}x{self.lanes} o{self.chunk})"


def make_tasks(nv: int, lanes: int) -> Callable[..., None]:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, table: Any, g: Any) -> None:
        in_plane = g.in_d * g.in_h * g.in_w
        for task in range(lo, hi):
            channel, chunk = divmod(task, g.chunks)
            group = channel % g.groups
            m = chunk * g.chunk_rows
            rows = min(g.chunk_rows, g.group_out - m)
            x_at = channel * g.group_in * in_plane
            columns, columns_at = (x, x_at) if g.straight else (scratch, 0)
            k = 0
            for p in range(0 if g.straight else g.pixels):
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
            for i in range(0, rows, ROWS):
                o = group * g.group_out + m + i
                y_at = (channel * g.group_out + m + i) * g.pixels
                weights = (w, o * g.terms, g.terms)
                height = min(ROWS, rows - i)
                whole = g.pixels // nv * nv
                for p in range(0, whole, nv):
                    dot_tile((y, y_at + p, g.pixels), weights, (columns, columns_at + p * g.terms, g.terms), (b, o),
                             g.terms, height, ROWS, nv, lanes)  # fmt: skip
                for p in range(whole, g.pixels):
                    dot_tile((y, y_at + p, g.pixels), weights, (columns, columns_at + p * g.terms, g.terms), (b, o),
                             g.terms, height, ROWS, 1, lanes)  # fmt: skip

    return tasks


KERNEL = RangeKernel(
    "dot",
    make_tasks,
    "in_d out_d kernel_d stride_d dilation_d in_h out_h kernel_h stride_h dilation_h in_w out_w kernel_w stride_w "
    "dilation_w pad_d pad_h pad_w groups group_in group_out chunk_rows chunks terms pixels straight",
)
STRATEGY = Dot()

"""Spread: a depthwise transposed convolution of stride 2, in squares of four outputs that share their inputs.

    y[o, 2*q + i, 2*p + j] = b[o] + sum_r sum_t w[o, 2*r + i, 2*t + j] * x[o / multiplier, q - r, p - t]       i, j < 2

Wins for 3x3, 5x5 and 7x7 kernels, as in the input gradient of a depthwise layer of stride 2: each of the k*k weights is
used once for four outputs, and each vector of inputs by all four, where `transposed` has one channel at a time pass
through a sweep for each phase. Rows and columns count from the padding on, so that outputs begin at q = 0.

Tasks: (image, block of output channels, depth, block of rows q). Within a task: the halos, then channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import halo, tiled, weights
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.spread import spread_tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SIZES = (3, 5, 7)


class Spread(Strategy):
    name = "spread"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if not problem.transposed or problem.in_channels != problem.groups:
            return "it is for transposed convolutions of one input channel a group"
        depth, height, width = problem.kernel
        if depth != 1 or height != width or height not in SIZES or problem.dilation[1:] != (1, 1):
            return f"its tiles are for dense kernels 3x3, 5x5 and 7x7, not {depth}x{height}x{width}"
        if problem.input_dilation != (1, 2, 2) or problem.stride != (1, 1, 1) or problem.padding[0] != (0, 0):
            return f"its squares of four outputs are those of stride 2, not {problem.input_dilation}"
        return tiled.why_not(replace(problem, input_dilation=(1, 1, 1)))

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        plan = self._plan(problem, machine)
        kernel, (high, wide) = problem.kernel[1], plan.squares
        vectors = ceil(wide / plan.lanes)
        tile = max(kernel * kernel * 0.5, ((kernel + 1) // 2) ** 2 * 0.9) + 12
        copied = high * (4 + (problem.in_size[2] / plan.lanes + 1) * 2)
        each = high * (vectors * tile + 10) + copied + kernel * kernel + 100
        seconds = problem.batch * problem.out_channels * problem.out_size[0] * each / (machine.clock * 1e9)
        return seconds * ceil(plan.tasks / machine.cores) * machine.cores / plan.tasks

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return self._plan(problem, machine)

    def _plan(self, problem: ConvProblem, machine: Machine) -> SpreadPlan:
        lanes, (high, wide) = machine.lanes(problem.dtype), squares(problem)
        size = problem.itemsize
        line = (ceil(wide / lanes) + 1) * lanes * size
        rows = ceil(high / ceil(high / max(8, machine.l1 // 2 // line)))
        fit = machine.l1 // (line * (rows + 4))
        channels = max(1, min(problem.out_channels // (2 * machine.cores), fit))
        return SpreadPlan(problem, self.name, lanes, rows, channels)


def first(p: ConvProblem, axis: int) -> int:
    """The padding that is cut off the result."""
    return p.kernel[axis] - 1 - p.padding[axis][0]


def squares(p: ConvProblem) -> tuple[int, int]:
    """Rows and columns of squares that hold an output."""
    high, wide = ((first(p, i) + p.out_size[i] - 1) // 2 - first(p, i) // 2 + 1 for i in (1, 2))
    return high, wide


@dataclass(frozen=True, eq=False, repr=False)
class SpreadPlan(Plan):
    lanes: int
    rows: int
    channels: int  # output channels of a task
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p, reach = self.problem, (self.problem.kernel[1] - 1) // 2
        high, wide = self.squares
        pads = [(reach - first(p, i) // 2, 0) for i in (1, 2)]
        inner = replace(
            p, kernel=(1, reach + 1, reach + 1), input_dilation=(1, 1, 1), padding=((0, 0), pads[0], pads[1])
        )
        layout = halo.Halo(inner, self.rows, wide, self.lanes)
        multiplier = p.out_channels // p.in_channels
        scratch = layout.size(self.channels // multiplier + 2)
        g = KERNEL.geometry(
            **layout.words(), phase_table=0, channels=p.out_channels, multiplier=multiplier, out_d=p.out_size[0],
            out_h=p.out_size[1], out_w=p.out_size[2], kernel=p.kernel[1], high=high, wide=wide,
            row=-(first(p, 1) % 2), col=-(first(p, 2) % 2), block_channels=self.channels,
            channel_blocks=ceil(p.out_channels / self.channels), block_rows=self.rows,
            row_blocks=ceil(high / self.rows), **ending.words(p.tail, p.dtype, scratch),
        )  # fmt: skip
        if p.tail and p.tail.moves:
            scratch += 2 * self.rows * p.out_size[2]
        work = launch.Work(KERNEL, p.dtype, (self.lanes,), self.tasks, p.macs, scratch, np.array(layout.phases), g)
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        object.__setattr__(self, "work", work)

    @property
    def squares(self) -> tuple[int, int]:
        return squares(self.problem)

    @property
    def tasks(self) -> int:
        p = self.problem
        return p.batch * ceil(p.out_channels / self.channels) * p.out_size[0] * ceil(self.squares[0] / self.rows)

    def pack(self, weight: np.ndarray) -> weights.Weights:
        return weights.borrow(weight, transposed=True)

    def run(
        self, x: np.ndarray, weight: weights.Weights, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.work.run(x, weight.flat, self.zeros if bias is None else bias, y, threads, residual)

    def __str__(self) -> str:
        return f"({self.strategy} 2x2x{self.lanes} {self.rows} rows c{self.channels})"


def make_tasks(lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        pitch = g.halo_width
        for task in range(lo, hi):
            rest, row_block = divmod(task, g.row_blocks)
            rest, depth = divmod(rest, g.out_d)
            image, channel_block = divmod(rest, g.channel_blocks)
            row = row_block * g.block_rows
            lines = min(g.block_rows, g.high - row)
            start = channel_block * g.block_channels
            stop = min(start + g.block_channels, g.channels)
            c_first = start // g.multiplier
            x_at = (image * (g.channels // g.multiplier) + c_first) * g.in_d * g.in_h * g.in_w
            pack_halo(scratch, x, x_at, (depth, row, 0), (stop - 1) // g.multiplier - c_first + 1, table, g)
            at = (g.row + 2 * row, g.col)
            inside = (0, g.out_h, g.out_w)
            first = max(at[0], 0)
            written = min(at[0] + 2 * lines, g.out_h) - first
            for o in range(start, stop):
                y_at = ((image * g.channels + o) * g.out_d + depth) * g.out_h * g.out_w
                sums, sums_at = (scratch, g.pending - first * g.out_w) if g.staged else (y, y_at)
                to = (sums, sums_at, g.out_w)
                kernel = (w, o * g.kernel * g.kernel)
                source = (scratch, (o // g.multiplier - c_first) * g.halo_rows * pitch, pitch)
                if g.kernel == 3:
                    spread_tile(to, kernel, source, (b, o), at, inside, lines, g.wide, 3, lanes)
                elif g.kernel == 5:
                    spread_tile(to, kernel, source, (b, o), at, inside, lines, g.wide, 5, lanes)
                else:
                    spread_tile(to, kernel, source, (b, o), at, inside, lines, g.wide, 7, lanes)
                if g.finish:
                    here = first * g.out_w
                    ending.finish((y, y_at + here, 0, g.out_w), (sums, sums_at + here, 0, g.out_w), r,
                                  (1, written, g.out_w), o, g)  # fmt: skip

    return tasks


KERNEL = RangeKernel(
    "spread",
    make_tasks,
    f"{halo.GEOMETRY} phase_table channels multiplier out_d out_h out_w kernel high wide row col "
    "block_channels channel_blocks block_rows row_blocks " + ending.GEOMETRY,
)
STRATEGY = Spread()

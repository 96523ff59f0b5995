"""Depthwise with a small square kernel: each vector of a channel feeds every output row that it is a tap of.

    y[o, i, p] = b[o] + sum_r sum_t w[o, r, t] * x[o / multiplier, i*s + r, p*s + t]

Wins for 3x3, 5x5 and 7x7 kernels at stride 1 and 2. A tile is four rows of outputs with the kernel held in registers:
(3*s + k) * k loads feed 4*k*k fma's, where a tile that shares no rows would load 4*k*k vectors. It ends bound by the
copy of the channel into its halo and by the stores.

Tasks: (image, block of output channels, block of rows). Within a task: channels, the halo of each, row tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import halo, tiled
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.tile import row_tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

ROWS = 4  # of a tile: 3x3 needs 4 acc + 9 w + 1 x = 14 of 16 registers, 5x5 30 of 32
SIZES = (3, 5, 7)
STRIDES = (1, 2)


class Depthwise(Strategy):
    name = "depthwise"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.in_channels != problem.groups:
            return f"it takes one input channel a group, not {problem.in_channels // problem.groups}"
        depth, height, width = problem.kernel
        if depth != 1 or height != width or height not in SIZES:
            return f"its tiles are for kernels 3x3, 5x5 and 7x7, not {depth}x{height}x{width}"
        if problem.stride[1] != problem.stride[2] or problem.stride[1] not in STRIDES or problem.stride[0] != 1:
            return f"its tiles are for strides 1 and 2 along both axes, not {problem.stride}"
        if problem.dilation[1:] != (1, 1):
            return f"a dilation of {problem.dilation[1:]} leaves few rows that its tiles could share"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        plan = self._plan(problem, machine)
        lanes = machine.lanes(problem.dtype)
        kernel, stride = problem.kernel[1], problem.stride[1]
        columns = ceil(problem.out_size[2] / lanes)
        tile = max(ROWS * kernel * kernel * 0.5, (3 * stride + kernel) * kernel * 0.9) + ROWS * 2
        lines = ceil(problem.out_size[1] / ROWS)
        copied = problem.in_size[1] * (4 + (problem.in_size[2] / lanes + 1) * 2)
        each = lines * (columns * tile + 30) + copied + 100
        seconds = problem.batch * problem.out_channels * problem.out_size[0] * each / (machine.clock * 1e9)
        return seconds * ceil(plan.tasks / machine.cores) * machine.cores / plan.tasks

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return self._plan(problem, machine)

    def _plan(self, problem: ConvProblem, machine: Machine) -> DepthwisePlan:
        lanes = machine.lanes(problem.dtype)
        _, out_h, out_w = problem.out_size
        size = 8 if problem.dtype == "float64" else 4
        # The halo of a block of rows takes half of the first cache; a task takes at least a few thousand outputs.
        line = (ceil(out_w / lanes) + 1) * lanes * problem.stride[1] ** 2 * size
        rows = max(ROWS, machine.l1 // 2 // line // ROWS * ROWS)
        row_blocks = ceil(out_h / rows)
        rows = ceil(ceil(out_h / row_blocks) / ROWS) * ROWS
        row_blocks = ceil(out_h / rows)
        fit = machine.l1 // (line * ceil(rows + problem.kernel[1]))
        channels = max(1, min(problem.out_channels // (2 * machine.cores), fit))
        return DepthwisePlan(problem, self.name, lanes, rows, row_blocks, channels)


@dataclass(frozen=True, eq=False, repr=False)
class DepthwisePlan(Plan):
    lanes: int
    rows: int
    row_blocks: int
    channels: int  # output channels of a task
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p = self.problem
        layout = halo.Halo(p, self.rows, p.out_size[2], self.lanes)
        g = KERNEL.geometry(
            **layout.words(), phase_table=0, channels=p.out_channels, multiplier=self._multiplier,
            out_d=p.out_size[0], out_h=p.out_size[1], out_w=p.out_size[2], kernel=p.kernel[1],
            block_channels=self.channels, channel_blocks=ceil(p.out_channels / self.channels),
            block_rows=self.rows, row_blocks=self.row_blocks,
        )  # fmt: skip
        # The last tile of a block may read rows below the halo, for outputs that it does not store.
        scratch = layout.size(self.channels // self._multiplier + 2) + ROWS * p.stride[1] * layout.row_pitch
        table = np.array(layout.phases)
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        object.__setattr__(
            self, "work", launch.Work(KERNEL, p.dtype, (self.lanes,), self.tasks, p.macs, scratch, table, g)
        )

    @property
    def _multiplier(self) -> int:
        return self.problem.out_channels // self.problem.in_channels

    @property
    def tasks(self) -> int:
        channel_blocks = ceil(self.problem.out_channels / self.channels)
        return self.problem.batch * channel_blocks * self.problem.out_size[0] * self.row_blocks

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weight).reshape(-1)

    def run(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int) -> None:
        self.work.run(x, weight, self.zeros if bias is None else bias, y, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {ROWS}x{self.lanes} {self.rows} rows c{self.channels})"


def make_tasks(lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, table: Any, g: Any) -> None:
        pitch = g.halo_phases * g.halo_width
        size = g.kernel * g.kernel
        for task in range(lo, hi):
            rest, row_block = divmod(task, g.row_blocks)
            rest, depth = divmod(rest, g.out_d)
            image, channel_block = divmod(rest, g.channel_blocks)
            row = row_block * g.block_rows
            lines = min(g.block_rows, g.out_h - row)
            start = channel_block * g.block_channels
            stop = min(start + g.block_channels, g.channels)
            # All halos first: a load that straddles stores still under way would wait for them.
            c_first = start // g.multiplier
            x_at = (image * (g.channels // g.multiplier) + c_first) * g.in_d * g.in_h * g.in_w
            pack_halo(scratch, x, x_at, (depth, row, 0), (stop - 1) // g.multiplier - c_first + 1, table, g)
            for o in range(start, stop):
                x_from = (o // g.multiplier - c_first) * g.halo_rows * pitch
                y_at = (((image * g.channels + o) * g.out_d + depth) * g.out_h + row) * g.out_w
                at = (y, y_at, g.out_w)
                kernel = (w, o * size)
                source = (scratch, x_from, pitch, g.halo_width)
                if g.stride_w == 1:
                    if g.kernel == 3:
                        row_tile(at, kernel, source, (b, o), lines, g.out_w, 3, 1, ROWS, lanes)
                    elif g.kernel == 5:
                        row_tile(at, kernel, source, (b, o), lines, g.out_w, 5, 1, ROWS, lanes)
                    else:
                        row_tile(at, kernel, source, (b, o), lines, g.out_w, 7, 1, ROWS, lanes)
                elif g.kernel == 3:
                    row_tile(at, kernel, source, (b, o), lines, g.out_w, 3, 2, ROWS, lanes)
                elif g.kernel == 5:
                    row_tile(at, kernel, source, (b, o), lines, g.out_w, 5, 2, ROWS, lanes)
                else:
                    row_tile(at, kernel, source, (b, o), lines, g.out_w, 7, 2, ROWS, lanes)

    return tasks


KERNEL = RangeKernel(
    "depthwise",
    make_tasks,
    f"{halo.GEOMETRY} phase_table channels multiplier out_d out_h out_w kernel "
    "block_channels channel_blocks block_rows row_blocks",
)
STRATEGY = Depthwise()

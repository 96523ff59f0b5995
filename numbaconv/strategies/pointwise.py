"""Pointwise: a 1x1 convolution as one matrix product, its vectors of pixels read straight from the user's array.

    y[o, p] = b[o] + sum_c w[o, c] * x[c, p]

Wins where few output channels would not repay packing the input. Only the pixels after the last whole vector of an
image are copied, so that no load reads beyond the array.

Tasks: (image, group, chunk of output channels, block of pixels). Within a task: blocks of input channels, the sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.blocking import tiled
from numbaconv.blocking.blocks import Blocks
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

PAGE = 4096


class Pointwise(Strategy):
    name = "pointwise"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.in_size[:2] != (1, 1) or (problem.kernel, problem.stride) != ((1, 1, 1), (1, 1, 1)):
            return f"its kernel is 1 and its stride 1 along every axis, not {problem.kernel} and {problem.stride}"
        if problem.padding != ((0, 0), (0, 0), (0, 0)):
            return f"it reads the input where it lies, without the padding {problem.padding}"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        tile = Tile.of(machine, problem.dtype)
        blocks = Blocks.of(problem, machine, tile, flat=False)
        # Rows a multiple of a page apart fall on the same lines of the first cache and evict each other.
        size = 8 if problem.dtype == "float64" else 4
        collide = 1.5 if problem.pixels * size % PAGE == 0 else 1.0
        return blocks.seconds(problem, machine, tile, packed=False) * collide

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        tile = Tile.of(machine, problem.dtype)
        return tiled.TiledPlan(problem, self.name, KERNEL, tile, Blocks.of(problem, machine, tile, flat=False))


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    sweep = make_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            channel, group, m, (_, _, col) = locate(task, g)
            rows = min(g.chunk_rows, g.group_out - m)
            pixels = min(g.block_cols, g.out_w - col)
            whole = pixels // lanes
            rest = pixels - whole * lanes
            y_at = (channel * g.group_out + m) * g.out_w + col
            bias = (b, group * g.group_out + m)
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                x_at = (channel * g.group_in + c) * g.in_w + col
                weights = (w, group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step)
                first = 1 if c == 0 else 0
                sweep((y, y_at, g.out_w), weights, (x, x_at), bias,
                      (table, g.whole_vectors, g.straight_taps), channels, rows, whole, first)  # fmt: skip
                if rest:
                    for k in range(channels):
                        for i in range(rest):
                            scratch[k * lanes + i] = x[x_at + whole * lanes + k * g.in_w + i]
                    sweep((y, y_at, g.out_w), weights, (scratch, -whole * lanes), bias,
                          (table, g.last_vectors + 3 * whole, g.panel_taps), channels, rows, 1, first)  # fmt: skip

    return tasks


KERNEL = RangeKernel("pointwise", make_tasks, tiled.GEOMETRY)
STRATEGY = Pointwise()

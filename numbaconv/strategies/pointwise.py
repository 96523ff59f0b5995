"""Pointwise: a 1x1 convolution as one matrix product, a panel of pixels at a time, gathered from the user's array.

    panel[c, p] = x[c, p]          y[o, p] = b[o] + sum_c w[o, c] * panel[c, p]

What `im2col` does, without a halo between. Rows of x are a plane apart, which a tile that reads them where they lie
pays for each row of tiles anew: 73 of 100 GFLOP/s on Zen 3, 97 from a panel. Output channels in the lanes and pixels in
the rows of the tile, which would leave fewer lanes empty on maps of 7x7, was slower: 0.78 to 0.96 (five layers, Zen 5).

Tasks: (image, group, chunk of output channels, block of pixels). Within a task: blocks of input channels, groups of
vectors, rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.blocking import tiled
from numbaconv.blocking.blocks import Blocks
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.sweep import make_panel_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy


class Pointwise(Strategy):
    name = "pointwise"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.in_size[:2] != (1, 1) or (problem.kernel, problem.stride) != ((1, 1, 1), (1, 1, 1)):
            return f"its kernel is 1 and its stride 1 along every axis, not {problem.kernel} and {problem.stride}"
        if problem.padding != ((0, 0), (0, 0), (0, 0)):
            return f"it reads the input where it lies, without the padding {problem.padding}"
        return tiled.why_not(problem, products=True)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        tile = Tile.of(machine, problem.dtype)
        return Blocks.of(problem, machine, tile, flat=True, straight=True).seconds(problem, machine, tile)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        tile = Tile.of(machine, problem.dtype)
        blocks = Blocks.of(problem, machine, tile, flat=True, straight=True)
        return tiled.TiledPlan(problem, self.name, KERNEL, tile, blocks)


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    panel_sweep = make_panel_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            channel, group, m, (_, _, col) = locate(task, g)
            rows = min(g.chunk_rows, g.group_out - m)
            pixels = min(g.block_cols, g.out_w - col)
            whole = pixels == g.block_cols
            tables = (
                table,
                g.whole_vectors if whole else g.last_vectors,
                g.panel_taps,
                g.straight_taps,
                g.whole_pieces if whole else g.last_pieces,
                g.whole_starts if whole else g.last_starts,
            )
            y_at = (channel * g.group_out + m) * g.out_w + col
            sums, sums_at, sums_plane = y, y_at, g.out_w
            if g.staged:
                sums, sums_at, sums_plane = scratch, g.pending, g.block_cols
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                panel_sweep(
                    (sums, sums_at, sums_plane),
                    (w, group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step),
                    (scratch, 0),
                    (x, (channel * g.group_in + c) * g.in_w + col, x.size),
                    (b, group * g.group_out + m),
                    tables,
                    channels,
                    rows,
                    (pixels + lanes - 1) // lanes,
                    1 if c == 0 else 0,
                    g.spare,
                )
            if g.finish:
                ending.finish((y, y_at, g.out_w, 0), (sums, sums_at, sums_plane, 0), r, (rows, 1, pixels),
                              group * g.group_out + m, g)  # fmt: skip

    return tasks


KERNEL = RangeKernel("pointwise", make_tasks, tiled.GEOMETRY)
STRATEGY = Pointwise()

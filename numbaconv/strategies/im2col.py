"""Im2col, a panel at a time: the inputs of a block of pixels, one row a term, gathered from its halo in vectors.

    panel[k, p] = halo[off(k) + at(p)]          y[o, p] = b[o] + sum_k w[o, k] * panel[k, p]

Wins on small maps: pixels run on from row to row, so that no vector ends where a row does, and every load is aligned.
A panel holds one block of channels and of pixels, in scratch; the matrix of the whole image is never built.

Tasks as in `direct`. Within a task: channel blocks, each its halo, its panel, the sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.blocking import tiled
from numbaconv.blocking.blocks import Blocks
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.pack import gather_rows
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy


class Im2col(Strategy):
    name = "im2col"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        tile = Tile.of(machine, problem.dtype)
        return Blocks.of(problem, machine, tile, flat=True).seconds(problem, machine, tile)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        tile = Tile.of(machine, problem.dtype)
        return tiled.TiledPlan(problem, self.name, KERNEL, tile, Blocks.of(problem, machine, tile, flat=True))


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)
    sweep = make_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            channel, group, m, (depth, row, col) = locate(task, g)
            rows = min(g.chunk_rows, g.group_out - m)
            lines = min(g.block_rows, g.out_h - row)
            last = col + g.block_cols >= g.out_w
            pixels = lines * min(g.block_cols, g.out_w - col)
            vectors = g.whole_vectors if pixels == g.block_rows * g.block_cols else g.last_vectors
            pieces = lines * (g.last_row_vectors if last else g.row_vectors)
            plane = g.out_d * g.out_h * g.out_w
            y_at = (channel * g.group_out + m) * plane + (depth * g.out_h + row) * g.out_w + col
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                terms = channels * g.taps
                pack_halo(scratch, x, (channel * g.group_in + c) * g.in_d * g.in_h * g.in_w,
                          (depth, row, col), channels, table, g)  # fmt: skip
                gather_rows(
                    (scratch, g.panel, g.panel_row),
                    (scratch, 0),
                    (table, g.tap_table, g.last_pieces if last else g.whole_pieces, pieces),
                    terms,
                    lanes,
                )
                sweep(
                    (y, y_at, plane),
                    (w, group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step),
                    (scratch, g.panel),
                    (b, group * g.group_out + m),
                    (table, vectors, g.panel_taps),
                    terms,
                    rows,
                    (pixels + lanes - 1) // lanes,
                    1 if c == 0 else 0,
                )

    return tasks


KERNEL = RangeKernel("im2col", make_tasks, tiled.GEOMETRY)
STRATEGY = Im2col()

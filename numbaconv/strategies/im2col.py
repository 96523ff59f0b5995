"""Im2col, a panel at a time: the inputs of a few vectors of pixels, one row a term, gathered from a halo.

    panel[k, p] = halo[off(k) + at(p)]          y[o, p] = b[o] + sum_k w[o, k] * panel[k, p]

Wins where there are output channels enough to repay the gathering: the panel lies in the first cache without gaps,
every load from it is aligned, and pixels run on from row to row, so that no vector ends where a row does. A panel holds
one block of channels and as many pixels as a tile; the matrix of the whole image is never built.

Tasks as in `direct`. Within a task: channel blocks, each its halo; groups of vectors, each its panel under all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.blocking import tiled
from numbaconv.blocking.blocks import Blocks
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.sweep import make_panel_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

PANEL = 1024 * 1024  # bytes; a call may take 2 MiB a thread in all, its halo included


class Im2col(Strategy):
    name = "im2col"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        tile, size = Tile.of(machine, problem.dtype), problem.itemsize
        if problem.taps * tile.nv * tile.lanes * size > PANEL:
            return f"the panel of one channel, of {problem.taps} taps, exceeds its {PANEL // 1024} KiB"
        return tiled.why_not(problem, packs=True, products=True)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        tile = Tile.of(machine, problem.dtype)
        return Blocks.of(problem, machine, tile, flat=True).seconds(problem, machine, tile)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        tile = Tile.of(machine, problem.dtype)
        return tiled.TiledPlan(problem, self.name, KERNEL, tile, Blocks.of(problem, machine, tile, flat=True))


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)
    place = ending.make_place(lanes)
    panel_sweep = make_panel_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            channel, group, m, (depth, row, col) = locate(task, g)
            rows = min(g.chunk_rows, g.group_out - m)
            lines = min(g.block_rows, g.out_h - row)
            pixels = lines * min(g.block_cols, g.out_w - col)
            whole = pixels == g.block_rows * g.block_cols
            vectors = g.whole_vectors if whole else g.last_vectors
            pieces = g.whole_pieces if whole else g.last_pieces
            starts = g.whole_starts if whole else g.last_starts
            plane = g.out_d * g.out_h * g.out_w
            y_at = (channel * g.group_out + m) * plane + (depth * g.out_h + row) * g.out_w + col
            sums, sums_at, sums_plane, sums_line = y, y_at, plane, g.out_w
            if g.staged:
                sums, sums_at, sums_plane, sums_line = scratch, g.pending, g.block_rows * g.block_cols, g.block_cols
            image = channel // g.groups
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                x_at = image * g.x_n + (group * g.group_in + c) * g.x_c
                pack_halo(scratch, x, x_at, (depth, row, col), channels, table, g)
                panel_sweep(
                    (sums, sums_at, sums_plane),
                    (w, group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step),
                    (scratch, g.panel),
                    (scratch, 0, scratch.size),
                    (b, group * g.group_out + m),
                    (table, vectors, g.panel_taps, g.tap_table, pieces, starts),
                    channels * g.taps,
                    rows,
                    (pixels + lanes - 1) // lanes,
                    1 if c == 0 else 0,
                    g.spare,
                )
            if g.reorders:
                o = group * g.group_out + m
                y_at = image * g.y_n + o * g.y_c + depth * g.y_d + row * g.y_h + col * g.y_w
                place(y, y_at, (sums, sums_at, sums_plane, sums_line), r,
                      (rows, lines, min(g.block_cols, g.out_w - col)), o, g)  # fmt: skip
            elif g.finish:
                ending.finish((y, y_at, plane, g.out_w), (sums, sums_at, sums_plane, sums_line), r,
                              (rows, lines, min(g.block_cols, g.out_w - col)), group * g.group_out + m, g)  # fmt: skip

    return tasks


KERNEL = RangeKernel("im2col", make_tasks, tiled.GEOMETRY)
STRATEGY = Im2col()

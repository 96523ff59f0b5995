"""Direct: the defining sum, with the halo of a block of outputs packed once and read by every tap where it lies.

    y[o, p] = b[o] + sum_c sum_t w[o, c, t] * halo[c, off(t) + p]

Wins where rows are about as long as vectors or longer: each input is copied once per block, not once per tap, and the
halo of a few channels, kh rows of it, is small enough for the first cache under the tiles of all output channels.

Tasks: (image, group, chunk of output channels, output depth, block of rows, block of columns), pixels fastest, so that
a chunk's weights stay in the second cache from block to block. Within a task: channel blocks, then the sweep.
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
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy


class Direct(Strategy):
    name = "direct"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        return tiled.why_not(problem, packs=True)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return self._best(problem, machine)[0]

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        _, tile, blocks = self._best(problem, machine)
        return tiled.TiledPlan(problem, self.name, KERNEL, tile, blocks)

    def _best(self, problem: ConvProblem, machine: Machine) -> tuple[float, Tile, Blocks]:
        """The main tile, or, for few output channels, the narrow one, which wastes no rows but loads more."""
        options = []
        for tile in (Tile.of(machine, problem.dtype), Tile.narrow(machine, problem.dtype)):
            blocks = Blocks.of(problem, machine, tile, flat=False)
            options.append((blocks.seconds(problem, machine, tile), tile, blocks))
        return min(options, key=lambda option: option[0])


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)
    place = ending.make_place(lanes)
    sweep = make_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            channel, group, m, (depth, row, col) = locate(task, g)
            rows = min(g.chunk_rows, g.group_out - m)
            lines = min(g.block_rows, g.out_h - row)
            last = col + g.block_cols >= g.out_w
            vectors = g.last_vectors if last else g.whole_vectors
            count = lines * (g.last_row_vectors if last else g.row_vectors)
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
                sweep(
                    (sums, sums_at, sums_plane),
                    (w, group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step),
                    (scratch, 0),
                    (b, group * g.group_out + m),
                    (table, vectors, g.tap_table),
                    channels * g.taps,
                    rows,
                    count,
                    1 if c == 0 else 0,
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


KERNEL = RangeKernel("direct", make_tasks, tiled.GEOMETRY)
STRATEGY = Direct()

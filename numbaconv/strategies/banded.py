"""Banded: the rows of the tile are output rows of one channel, under a band of weights that moves down with them.

    y[o, i, p] = b[o] + sum_c sum_r sum_t band[i, r, t] * x[c, r, p + t]       band[i, r] = w[o, c, r - i*s] or 0

Wins where there are few output channels and a tall kernel (grey images, depthwise 9x9 to 63x63): every vector of x
that is loaded serves mr output rows, of which a share kh / (kh + (mr - 1)*s) is not a multiplication by zero. The band
is not stored: rows of weights below and above zeros, read with a row stride of minus s kernel rows. Rows of the input
in the padding are left out of the sum altogether.

A zero of the band must not spread an inf or NaN to rows that the equation keeps free of it: a block with a result that
is not finite is summed again, tap by tap.

Tasks: (image, output channel, output depth, block of rows, block of columns). Within a task: input channels, each its
halo and its weights between zeros, then tiles of mr rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import halo, tiled
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels.finite import is_finite
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

MOST_CHANNELS = 8  # output channels a group: each packs the halo anew, which many channels would rather share


class Banded(Strategy):
    name = "banded"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        group_out = problem.out_channels // problem.groups
        if group_out > MOST_CHANNELS:
            return f"it takes one output channel at a time, at most {MOST_CHANNELS} a group, not {group_out}"
        if problem.kernel[1] < 2 or problem.out_size[1] < 2:
            return "its tiles are rows of outputs; a kernel or an output of one row makes no band"
        if problem.kernel[0] > 1:
            return f"its band is of one plane, not of a kernel {problem.kernel[0]} deep"
        if problem.dilation[1] > 1:
            return f"a dilation of {problem.dilation[1]} rows leaves most of the band zero"
        if problem.stride[1] > problem.kernel[1]:
            return f"a stride of {problem.stride[1]} skips rows that its band would read"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return self._plan(problem, machine).seconds(machine)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return self._plan(problem, machine)

    def _plan(self, problem: ConvProblem, machine: Machine) -> BandedPlan:
        tile = Tile.of(machine, problem.dtype)
        _, out_h, out_w = problem.out_size
        size = 8 if problem.dtype == "float64" else 4
        cols = min(out_w, 4 * tile.nv * tile.lanes)
        cols = min(out_w, ceil(ceil(out_w / ceil(out_w / cols)) / tile.lanes) * tile.lanes)
        # The halo of a block stays in the second cache; more rows repay its packing.
        line = halo.Halo(problem, 1, cols, tile.lanes).row_pitch * problem.stride[1] * size
        rows = max(tile.mr, min(8 * tile.mr, (machine.l2 // 4 // line - problem.kernel[1]) // tile.mr * tile.mr))
        rows = ceil(ceil(out_h / ceil(out_h / rows)) / tile.mr) * tile.mr
        return BandedPlan(problem, self.name, tile, rows, cols)


@dataclass(frozen=True, eq=False, repr=False)
class BandedPlan(Plan):
    tile: Tile
    rows: int
    cols: int
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    @property
    def tasks(self) -> int:
        p = self.problem
        blocks = ceil(p.out_size[1] / self.rows) * ceil(p.out_size[2] / self.cols)
        return p.batch * p.out_channels * p.out_size[0] * blocks

    def seconds(self, machine: Machine) -> float:
        """Predicted time: the tiles, zeros of the band included, and the halos."""
        p, tile = self.problem, self.tile
        lines = min(p.kernel[1] + (tile.mr - 1) * p.stride[1], p.in_size[1])
        vectors = ceil(self.cols / tile.lanes)
        each = lines * p.kernel[2] * tile.mr * tile.cycles + tile.mr * 4
        halo_rows = self.rows * p.stride[1] + p.kernel[1]
        pack = halo_rows * (4 + 2 * (vectors + 1) * min(p.stride[2], 2)) + 2 * p.taps
        task = 1000 + p.in_channels // p.groups * (ceil(self.rows / tile.mr) * (vectors * each + 60) + pack)
        uneven = ceil(self.tasks / machine.cores) * machine.cores / self.tasks
        return self.tasks * task * uneven / (machine.clock * 1e9)

    def __post_init__(self) -> None:
        p, tile = self.problem, self.tile
        layout = halo.Halo(p, self.rows, self.cols, tile.lanes)
        lines = p.kernel[1] + (tile.mr - 1) * p.stride[1]
        columns = layout.tap_offsets(1)[0, 0, 0]
        above = (tile.mr - 1) * p.stride[1] * p.kernel[2]  # zeros before the kernel's first row
        line = np.arange(lines)[:, None]
        taps = np.stack(
            np.broadcast_arrays(line * layout.row_pitch + columns, line * p.kernel[2] + np.arange(p.kernel[2]) + above),
            axis=-1,
        )
        cols = self.cols, p.out_size[2] - (ceil(p.out_size[2] / self.cols) - 1) * self.cols
        vectors = [
            np.array([(v, v, min(tile.lanes, width - v)) for v in range(0, width, tile.lanes)]).ravel()
            for width in cols
        ]
        table = np.concatenate([taps.ravel(), *vectors, np.array(layout.phases)])
        band = layout.size(1) + tile.mr * p.stride[1] * layout.row_pitch
        band_size = p.taps + 2 * above
        g = KERNEL.geometry(
            **layout.words(), phase_table=table.size - len(layout.phases),
            groups=p.groups, group_in=p.in_channels // p.groups, group_out=p.out_channels // p.groups,
            out_d=p.out_size[0], out_h=p.out_size[1], out_w=p.out_size[2], kernel_h=p.kernel[1], kernel_w=p.kernel[2],
            dilation_w=p.dilation[2],
            block_rows=self.rows, block_cols=self.cols, lines=lines, above=above,
            row_blocks=ceil(p.out_size[1] / self.rows), col_blocks=ceil(p.out_size[2] / self.cols),
            whole_vectors=taps.size, last_vectors=taps.size + vectors[0].size, band=band, bias=band + band_size,
        )  # fmt: skip
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        constants = (tile.mr, tile.nv, tile.lanes)
        scratch = band + band_size + tile.mr
        work = launch.Work(KERNEL, p.dtype, constants, self.tasks, p.macs, scratch, table, g)
        object.__setattr__(self, "work", work)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weight)

    def run(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int) -> None:
        self.work.run(x, weight, self.zeros if bias is None else bias, y, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {self.tile} {self.rows}x{self.cols})"


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)
    sweep = make_sweep(mr, nv, lanes)

    def sum_taps(
        y: Any, y_at: int, size: Any, w: Any, w_at: int, start: Any, x: Any, x_at: int, at: Any, g: Any
    ) -> None:
        """The block tap by tap, one input channel, with no zeros of the band or the padding."""
        (lines, cols), (row, col), (first, bias) = size, at, start
        for i in range(lines):
            for j in range(cols):
                total = bias if first else y[y_at + i * g.out_w + j]
                for r in range(g.kernel_h):
                    h = (row + i) * g.stride_h - g.pad_h + r
                    for t in range(g.kernel_w):
                        v = (col + j) * g.stride_w - g.pad_w + t * g.dilation_w
                        if 0 <= h < g.in_h and 0 <= v < g.in_w:
                            total += w[w_at + r * g.kernel_w + t] * x[x_at + h * g.in_w + v]
                y[y_at + i * g.out_w + j] = total

    sum_taps = inline(sum_taps, mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, table: Any, g: Any) -> None:
        pitch = g.halo_phases * g.halo_width
        taps = g.kernel_h * g.kernel_w
        for task in range(lo, hi):
            rest, col_block = divmod(task, g.col_blocks)
            rest, row_block = divmod(rest, g.row_blocks)
            rest, depth = divmod(rest, g.out_d)
            image, o = divmod(rest, g.groups * g.group_out)
            row, col = row_block * g.block_rows, col_block * g.block_cols
            lines = min(g.block_rows, g.out_h - row)
            cols = min(g.block_cols, g.out_w - col)
            vectors = g.last_vectors if col_block == g.col_blocks - 1 else g.whole_vectors
            first_in = (image * g.groups + o // g.group_out) * g.group_in
            y_at = ((rest * g.out_d + depth) * g.out_h + row) * g.out_w + col
            for i in range(mr):
                scratch[g.bias + i] = b[o]
            for i in range(g.above):
                scratch[g.band + i] = 0
                scratch[g.band + g.above + taps + i] = 0
            for c in range(g.group_in):
                x_at = (first_in + c) * g.in_d * g.in_h * g.in_w
                pack_halo(scratch, x, x_at, (depth, row, col), 1, table, g)
                w_at = (o * g.group_in + c) * taps
                for i in range(taps):
                    scratch[g.band + g.above + i] = w[w_at + i]
                for m in range(0, lines, mr):
                    h = (row + m) * g.stride_h - g.pad_h  # the input row of the band's first line
                    top = min(max(0, -h), g.lines)
                    bottom = max(top, min(g.lines, g.in_h - h))
                    sweep(
                        (y, y_at + m * g.out_w, g.out_w),
                        (scratch, g.band, -g.stride_h * g.kernel_w, 0),
                        (scratch, m * g.stride_h * pitch),
                        (scratch, g.bias),
                        (table, vectors, 2 * top * g.kernel_w),
                        (bottom - top) * g.kernel_w,
                        min(mr, lines - m),
                        (cols + lanes - 1) // lanes,
                        1 if c == 0 else 0,
                    )
            if not is_finite(y, y_at, lines, cols, g.out_w):
                d = depth * g.stride_d - g.pad_d
                for c in range(g.group_in if 0 <= d < g.in_d else 0):
                    x_at = ((first_in + c) * g.in_d + d) * g.in_h * g.in_w
                    w_at = (o * g.group_in + c) * taps
                    sum_taps(y, y_at, (lines, cols), w, w_at, (c == 0, b[o]), x, x_at, (row, col), g)

    return tasks


KERNEL = RangeKernel(
    "banded",
    make_tasks,
    f"{halo.GEOMETRY} phase_table groups group_in group_out out_d out_h out_w kernel_h kernel_w block_rows block_cols "
    "dilation_w lines above row_blocks col_blocks whole_vectors last_vectors band bias",
)
STRATEGY = Banded()

"""Subpixel: a transposed convolution as one ordinary convolution to a channel for each phase, whose pixels interleave.

    z[(o, r), q] = sum_c sum_m w[c, o, s*m + r] * x[c, q - m]          y[o, s*q + r - p] = b[o] + z[(o, r), q]

All phases read the same inputs, so a panel serves s*s times as many rows as there are output channels, and few
channels fill a tile. Where the stride does not divide the kernel some weights would be missing, and zeros for them
would meet inf: `transposed` takes those.

Tasks as in `im2col`, over q. Within a task: channel blocks, each its halo; groups of vectors, each its panel under all
rows (o, r), into scratch; then the rows of the block, their phases of the width interleaved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, lcm, prod
from typing import Any

import numpy as np

from numbaconv.blocking import subpixels, tiled, weights
from numbaconv.blocking.blocks import Blocks
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.sweep import make_panel_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.microkernels.weave import GEOMETRY as WEAVE_GEOMETRY
from numbaconv.microkernels.weave import make_weave
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 512 * 1024  # bytes for the sums of a block, at most; and a share of the second cache
SHARE = 0.25
# What is put in order for one call, some 4 ns a weight: few weights, in some 0.3 ms; and those that meet so many pixels
# that it is no more than their products take (Zen 4).
FEW = 2**15
ENOUGH = 200


class Subpixel(Strategy):
    name = "subpixel"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        refusal = subpixels.why_not(problem)
        if refusal is not None:
            return refusal
        if not subpixels.is_whole(problem):
            return (
                f"the stride {problem.input_dilation} must divide the kernel {problem.kernel}, or weights are missing"
            )
        tile, size = Tile.of(machine, problem.dtype), problem.itemsize
        if lcm(prod(problem.input_dilation), tile.mr) * tile.nv * tile.lanes * size > SCRATCH:
            return f"the sums of {problem.input_dilation} phases exceed its {SCRATCH // 1024} KiB"
        return tiled.why_not(replace(problem, input_dilation=(1, 1, 1)), packs=True)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        inner, tile, blocks = _cut(problem, machine)
        lines = prod(problem.out_size[:2])
        pieces = max(lines, prod(inner.out_size[:2]) * blocks.col_blocks * prod(problem.input_dilation[:2]))
        return blocks.seconds(inner, machine, tile) + subpixels.join_seconds(problem, machine, pieces)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        inner, tile, blocks = _cut(problem, machine)
        pitch = blocks.vectors(tile.lanes) * tile.lanes
        words = subpixels.words(problem) | {"pitch": pitch, "straight": int(blocks.straight)}
        waits = problem.reorders or (problem.tail and problem.tail.moves)
        row = blocks.cols * problem.input_dilation[2] + tile.lanes if waits else 0
        words |= ending.order_words(problem)  # not of the inner problem
        plan = tiled.TiledPlan(inner, self.name, KERNEL, tile, blocks, tuple(words.items()), pitch * blocks.chunk + row)
        return SubpixelPlan(problem, self.name, plan, plan_child(problem, self.name))


def _cut(problem: ConvProblem, machine: Machine) -> tuple[ConvProblem, Tile, Blocks]:
    """Chunks are whole output channels and whole tiles, and a block's sums stay within their scratch."""
    inner, tile = subpixels.ordinary(problem).folded(), Tile.of(machine, problem.dtype)
    phases, size = prod(problem.input_dilation), problem.itemsize
    rows = problem.out_channels // problem.groups * phases
    straight = _reads_where_it_lies(inner)
    # With few channels on both sides a task would be short: 16 -> 1 of 320x320 takes 0.7 of the time (Zen 4).
    room = machine.l2 // 4 // (tile.lanes * size * (rows + problem.in_channels // problem.groups))
    vectors = max(8 * tile.nv, room)
    blocks = Blocks.of(inner, machine, tile, flat=True, straight=straight, vectors=vectors)
    pitch = blocks.vectors(tile.lanes) * tile.lanes
    while pitch * phases * size > SCRATCH and pitch > tile.nv * tile.lanes:
        vectors = max(tile.nv, pitch // tile.lanes // 2)
        blocks = Blocks.of(inner, machine, tile, flat=True, straight=straight, vectors=vectors)
        pitch = blocks.vectors(tile.lanes) * tile.lanes
    unit = lcm(phases, tile.mr)
    room = min(SCRATCH, int(SHARE * machine.l2))
    most = max(unit, min(blocks.chunk, room // (pitch * size)) // unit * unit)
    chunk = min(rows, most)
    return inner, tile, replace(blocks, chunk=chunk, chunks=ceil(rows / chunk))


def _reads_where_it_lies(inner: ConvProblem) -> bool:
    """Whether panels can be gathered without a halo: one tap, and no pixel beyond the input, nor one to convert."""
    alone = inner.taps == 1 and inner.in_size[:2] == (1, 1) and inner.padding == ((0, 0), (0, 0), (0, 0))
    return alone and not inner.is_ordered and tiled.why_not_as_it_lies(inner) is None


@dataclass(frozen=True, eq=False, repr=False)
class SubpixelPlan(Plan):
    inner: tiled.TiledPlan
    plain: Plan  # for many weights of one call that meet few pixels

    def pack(self, weight: np.ndarray) -> weights.Weights:
        return self.inner.pack(subpixels.phase_weights(self.problem, weight))

    def borrow(self, weight: np.ndarray) -> Any:
        inner = self.inner.problem
        if weight.size <= FEW or inner.batch * inner.pixels >= ENOUGH:
            return self.pack(weight)
        return Borrowed(self.plain.borrow(weight))

    def run(
        self, x: np.ndarray, weight: Any, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        if isinstance(weight, Borrowed):
            self.plain.run(x, weight.weight, bias, y, threads, residual)
            return
        bias = None if bias is None else np.repeat(bias, prod(self.problem.input_dilation))
        self.inner.run(x, weight, bias, y, threads, residual)

    def __str__(self) -> str:
        return (
            f"({self.strategy} {'x'.join(map(str, self.problem.input_dilation))} {self.inner.tile} {self.inner.blocks})"
        )


@dataclass(frozen=True)
class Borrowed:
    """Weights as the plan for one call wants them."""

    weight: Any


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo, weave = make_pack_halo(lanes), make_weave(lanes)
    panel_sweep = make_panel_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            channel, group, m, (depth, row, col) = locate(task, g)
            rows = min(g.chunk_rows, g.group_out - m)
            lines = min(g.block_rows, g.out_h - row)
            cols = min(g.block_cols, g.out_w - col)
            whole = lines * cols == g.block_rows * g.block_cols
            vectors = g.whole_vectors if whole else g.last_vectors
            pieces = g.whole_pieces if whole else g.last_pieces
            starts = g.whole_starts if whole else g.last_starts
            image = channel // g.groups
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                x_at = image * g.x_n + (group * g.group_in + c) * g.x_c
                source, gathered = (scratch, 0, scratch.size), g.tap_table
                if g.straight:
                    source, gathered = (x, x_at + col, x.size), g.straight_taps
                else:
                    pack_halo(scratch, x, x_at, (depth, row, col), channels, table, g)
                panel_sweep(
                    (scratch, g.own, g.pitch),
                    (w, group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step),
                    (scratch, g.panel),
                    source,
                    (b, group * g.group_out + m),
                    (table, vectors, g.panel_taps, gathered, pieces, starts),
                    channels * g.taps,
                    rows,
                    (lines * cols + lanes - 1) // lanes,
                    1 if c == 0 else 0,
                    g.spare,
                )
            sums = (scratch, g.own, g.pitch, g.own + g.pitch * g.chunk_rows)
            pixel = (depth * g.out_h + row) * g.out_w + col
            weave(y, sums, r, image, (group * g.group_out + m, rows), (pixel, lines * cols), g)

    return tasks


KERNEL = RangeKernel(
    "subpixel",
    make_tasks,
    # Its own words first: a record that begins as another one's fields is a subtype to Numba, which warns of it.
    f"pitch straight {WEAVE_GEOMETRY} {tiled.GEOMETRY}",
)
STRATEGY = Subpixel()

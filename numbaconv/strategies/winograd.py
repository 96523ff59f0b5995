"""Winograd F(4x4, 3x3): 36 products a tile of 16 outputs instead of 144, as 36 matrix products over channels.

    U[n] = (G w G')[n]      V[n] = (B' d B)[n]      y = b + A' (sum_c U[n, o, c] * V[n, c, tile]) A      n < 36

Wins for 3x3 kernels of stride 1 from some 16 channels on, on maps of 12x12 and more. The lanes of a vector are tiles
side by side: packed with a stride of 4, the columns of the halo are phases, so that both transforms are whole-vector
arithmetic. Tiles run on from row to row. A kernel of depth adds its planes to the channels.

Accuracy: some 5 (64 channels) to 20 (8 channels) times eps * (|x| conv |w| + |b|) of the tile. Direct summation's own
a-priori bound is (K + 2) / 2 of that for K terms, so it stays within it where every output, also at the border, has 64
terms: from 16 channels on with a padding of 1, from 64 on with 2. A transform spreads inf and NaN over its tile: a
task whose outputs are not all finite says so, and the whole call is done again by direct summation.

A call whose weights are not prepared is left to the best direct strategy: their transform costs more than it saves.

Tasks: (image, group, chunk of output channels, output depth, block of tile rows, block of tile columns). Within a task:
blocks of channels, each its halo, its points, 36 sweeps; then the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil, prod
from typing import Any

import numpy as np

from numbaconv.blocking import tiled, weights
from numbaconv.blocking.halo import GEOMETRY as HALO_GEOMETRY
from numbaconv.blocking.halo import Halo
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels.finite import is_finite
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.tile import Tile
from numbaconv.microkernels.winograd import G, winograd_input, winograd_output
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

POINTS = 36
FEWEST_TERMS = 64  # of any output, those at the border included; see Accuracy above
SCRATCH = 1792 * 1024  # bytes of a thread for halo, points and products; a call may take 2 MiB in all
# Cycles, fitted by non-negative least squares to 16 layers on Zen 5 (AVX-512), predictions within 25 %: one fma of a
# product, where a task has several vectors of tiles and where it has one and waits for weights; packing and
# transforming one vector of tiles of a channel; transforming one back; adding a block of channels to one vector of
# products.
PRODUCT, SINGLE = 0.55, 2.2
INPUT, OUTPUT = 280.0, 110.0
UPDATE = 11.0
STREAM = 1.5  # bytes a cycle of transformed weights that no cache near the core holds, fitted to 12 more layers


class Winograd(Strategy):
    name = "winograd"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.kernel[1:] != (3, 3):
            return f"its transform is of 3x3 kernels, not {problem.kernel[1]}x{problem.kernel[2]}"
        if problem.stride != (1, 1, 1) or problem.dilation != (1, 1, 1):
            return f"its tiles need stride 1 and dilation 1, not {problem.stride} and {problem.dilation}"
        reached = prod(max(0, k - max(0, *pads)) for k, pads in zip(problem.kernel, problem.padding, strict=True))
        terms = problem.in_channels // problem.groups * reached
        if terms < FEWEST_TERMS:
            return (
                f"its error is that of a sum of {FEWEST_TERMS} terms or more, and an output at the border has {terms}"
            )
        if problem.dtype == "float64":
            return "float64 is asked for where digits count, and it would lose one or two"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return self._best(problem, machine).seconds(problem, machine, Tile.of(machine, problem.dtype))

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        tile = Tile.of(machine, problem.dtype)
        return WinogradPlan(problem, self.name, tile, self._best(problem, machine), plan_child)

    def _best(self, problem: ConvProblem, machine: Machine) -> TileBlocks:
        tile = Tile.of(machine, problem.dtype)
        return min(TileBlocks.options(problem, machine, tile), key=lambda b: b.seconds(problem, machine, tile))


@dataclass(frozen=True)
class TileBlocks:
    """A task: ``rows`` x ``cols`` tiles of 4x4 outputs for ``chunk`` output channels, ``channels`` inputs at a time."""

    rows: int
    cols: int
    channels: int
    chunk: int
    row_blocks: int
    col_blocks: int
    chunks: int

    @classmethod
    def options(cls, problem: ConvProblem, machine: Machine, tile: Tile) -> list[TileBlocks]:
        """Blocks of up to 4 groups of vectors whose points and products fit the scratch."""
        high, wide = ceil(problem.out_size[1] / 4), ceil(problem.out_size[2] / 4)
        group_in, group_out = problem.in_channels // problem.groups, problem.out_channels // problem.groups
        size = 8 if problem.dtype == "float64" else 4
        found = []
        for vectors in (tile.nv, 2 * tile.nv, 4 * tile.nv):
            col_blocks = ceil(wide / (vectors * tile.lanes))
            cols = wide if col_blocks == 1 else ceil(wide / col_blocks / tile.lanes) * tile.lanes
            rows = max(1, min(high, vectors * tile.lanes // cols))
            rows = ceil(high / ceil(high / rows))
            tiles = _row_of_tiles(rows, cols, tile.lanes)
            for chunks in (1, 2, 4, 8):
                chunk = ceil(ceil(group_out / chunks) / tile.mr) * tile.mr
                halo = (4 * rows + 2) * 4 * (ceil(cols / tile.lanes) + 1) * tile.lanes
                room = min(SCRATCH, 2 * machine.l2) // size - POINTS * (chunk + 1) * tiles
                channels = min(group_in, 128, room // problem.kernel[0] // (POINTS * tiles + halo))
                if channels >= min(group_in, 16):
                    channels = ceil(group_in / ceil(group_in / channels))
                    blocks = ceil(high / rows), ceil(wide / cols)
                    found.append(cls(rows, cols, channels, chunk, *blocks, ceil(group_out / chunk)))
        return found or [cls(1, min(wide, tile.lanes), min(group_in, 16), tile.mr, high, ceil(wide / tile.lanes),
                             ceil(group_out / tile.mr))]  # fmt: skip

    def vectors(self, lanes: int) -> int:
        """Vectors of tiles of a block."""
        return ceil(self.rows * self.cols / lanes)

    def tasks(self, problem: ConvProblem) -> int:
        """Number of tasks."""
        blocks = self.row_blocks * self.col_blocks * self.chunks
        return problem.batch * problem.groups * problem.out_size[0] * blocks

    def seconds(self, problem: ConvProblem, machine: Machine, tile: Tile) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        terms = problem.in_channels // problem.groups * problem.kernel[0]
        rows = tile.padded(min(self.chunk, problem.out_channels // problem.groups))
        vectors, pieces = self.vectors(tile.lanes), self.rows * ceil(self.cols / tile.lanes)
        fma = SINGLE if vectors == 1 else PRODUCT
        products = POINTS * vectors * rows * (terms * fma + ceil(problem.in_channels / self.channels) * UPDATE)
        task = products + pieces * (terms * INPUT + min(self.chunk, rows) * OUTPUT) + 2000
        size = 8 if problem.dtype == "float64" else 4
        if POINTS * problem.out_channels * terms * size > 4 * machine.l2:
            task += POINTS * rows * terms * size / STREAM
        tasks = self.tasks(problem)
        return task * ceil(tasks / machine.cores) * machine.cores / (machine.clock * 1e9)

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols} tiles c{self.channels} o{self.chunk}"


@dataclass(frozen=True)
class Transformed:
    """Weights of a prepared plan: in panels, point by point; and as they were, for a call that must be done again."""

    flat: np.ndarray
    raw: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class WinogradPlan(Plan):
    tile: Tile
    blocks: TileBlocks
    plan_child: PlanChild
    direct: Plan = field(init=False)  # the best strategy that sums directly
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p, blocks, lanes = self.problem, self.blocks, self.tile.lanes
        # The halo of tiles is that of a 6x6 kernel of stride 4.
        layout = Halo(replace(p, kernel=(p.kernel[0], 6, 6), stride=(1, 4, 4)), blocks.rows, blocks.cols, lanes)
        tiles = _row_of_tiles(blocks.rows, blocks.cols, lanes)
        terms = blocks.channels * p.kernel[0]
        group_in, group_out = p.in_channels // p.groups, p.out_channels // p.groups
        padded = ceil(group_out / self.tile.mr) * self.tile.mr
        steps = weights.steps(group_out, group_in * p.kernel[0], p.kernel[0], self.tile.mr, packed=True)
        offsets = layout.tap_offsets(1)[0, 0].ravel()
        taps = np.stack([np.arange(terms) * tiles, np.arange(terms) * self.tile.mr], axis=1).ravel()
        vectors = np.array([(v * lanes, v * lanes, lanes) for v in range(blocks.vectors(lanes))]).ravel()
        table = np.concatenate([offsets, taps, vectors, np.array(layout.phases)])
        points = layout.size(blocks.channels)
        line = 64 // np.dtype(p.dtype).itemsize
        point, product = _odd_lines(terms * tiles, line), _odd_lines(blocks.chunk * tiles, line)
        products = points + POINTS * point
        zeros = products + POINTS * product
        g = KERNEL.geometry(
            **layout.words(), **steps, phase_table=table.size - len(layout.phases), tap_table=POINTS,
            vector_table=POINTS + taps.size, groups=p.groups, group_in=group_in, group_out=group_out,
            out_d=p.out_size[0], out_h=p.out_size[1], out_w=p.out_size[2],
            block_rows=blocks.rows, block_cols=blocks.cols, block_channels=blocks.channels,
            row_blocks=blocks.row_blocks, col_blocks=blocks.col_blocks,
            chunks=blocks.chunks, chunk_rows=blocks.chunk, tile_rows=ceil(p.out_size[1] / 4),
            tile_cols=ceil(p.out_size[2] / 4), tiles=tiles, point=point, product=product,
            points=points, products=products,
            w_point=p.groups * padded * group_in * p.kernel[0], halo_row=4 * layout.row_pitch,
            halo_channel=layout.channel, halo_plane=layout.plane, zeros=zeros, told=p.out_channels,
        )  # fmt: skip
        constants = (self.tile.mr, self.tile.nv, lanes)
        work = launch.Work(KERNEL, p.dtype, constants, blocks.tasks(p), p.macs // 4, zeros + blocks.chunk, table, g)
        object.__setattr__(self, "work", work)
        object.__setattr__(self, "direct", self.plan_child(p, self.strategy))

    def pack(self, weight: np.ndarray) -> Transformed:
        """``U``: the transform in float64, rounded once."""
        raw = np.ascontiguousarray(weight)
        u = np.einsum("ai,gocdij,bj->abgocd", G, raw, G, optimize=True).astype(weight.dtype)
        panels = [weights.pack_panels(u[i, j], self.tile.mr).flat for i in range(6) for j in range(6)]
        return Transformed(np.concatenate(panels), raw)

    def borrow(self, weight: np.ndarray) -> np.ndarray:
        return weight

    def run(
        self, x: np.ndarray, weight: Transformed | np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int
    ) -> None:
        if isinstance(weight, Transformed):
            # One element more than the bias: a task whose outputs are not all finite writes 1 there.
            told = np.zeros(self.problem.out_channels + 1, self.problem.dtype)
            if bias is not None:
                told[:-1] = bias
            self.work.run(x, weight.flat, told, y, threads)
            if not told[-1]:
                return
            weight = weight.raw
        self.direct.run(x, self.direct.borrow(weight), bias, y, threads)

    def __str__(self) -> str:
        return f"({self.strategy} F(4x4,3x3) {self.tile} {self.blocks} {self.direct})"


def _row_of_tiles(rows: int, cols: int, lanes: int) -> int:
    """Elements of a term: a vector may run beyond the end of its tile row; the next row, or the slack, takes that."""
    return ceil(((rows - 1) * cols + ceil(cols / lanes) * lanes) / lanes) * lanes


def _odd_lines(elements: int, line: int) -> int:
    """At least ``elements``, an odd number of cache lines: the 36 points of a tile then lie in 36 sets of the cache.

    At a multiple of 4 KiB apart they all fell on one: an input transform took 885 cycles instead of some 150.
    """
    return (ceil(elements / line) | 1) * line


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)
    sweep = make_sweep(mr, nv, lanes)

    def transform(scratch: Any, channels: int, lines: int, cols: int, table: Any, g: Any) -> None:
        """The points of all tiles of a block, a channel (and plane) at a time."""
        for c in range(channels):
            for z in range(g.halo_planes):
                source = c * g.halo_channel + z * g.halo_plane
                term = g.points + (c * g.halo_planes + z) * g.tiles
                for i in range(lines):
                    for j in range(0, cols, lanes):
                        to = (scratch, term + i * cols + j, g.point)
                        winograd_input(to, (scratch, source + i * g.halo_row + j), (table, 0), lanes)

    transform = inline(transform, mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, table: Any, g: Any) -> None:
        plane = g.out_d * g.out_h * g.out_w
        for task in range(lo, hi):
            rest, col_block = divmod(task, g.col_blocks)
            rest, row_block = divmod(rest, g.row_blocks)
            rest, depth = divmod(rest, g.out_d)
            channel, chunk = divmod(rest, g.chunks)
            group, m = channel % g.groups, chunk * g.chunk_rows
            row, col = row_block * g.block_rows, col_block * g.block_cols
            rows = min(g.chunk_rows, g.group_out - m)
            lines, cols = min(g.block_rows, g.tile_rows - row), min(g.block_cols, g.tile_cols - col)
            count = (lines * cols + lanes - 1) // lanes
            for i in range(rows):
                scratch[g.zeros + i] = 0  # products have no bias
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                pack_halo(scratch, x, (channel * g.group_in + c) * g.in_d * g.in_h * g.in_w,
                          (depth, row, col), channels, table, g)  # fmt: skip
                transform(scratch, channels, lines, cols, table, g)
                for n in range(POINTS):
                    sweep(
                        (scratch, g.products + n * g.product, g.tiles),
                        (w, n * g.w_point + group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step),
                        (scratch, g.points + n * g.point),
                        (scratch, g.zeros),
                        (table, g.vector_table, g.tap_table),
                        channels * g.halo_planes,
                        rows,
                        count,
                        1 if c == 0 else 0,
                    )
            for o in range(rows):
                y_at = (channel * g.group_out + m + o) * plane + depth * g.out_h * g.out_w
                for i in range(lines):
                    h = (row + i) * 4
                    for j in range(0, cols, lanes):
                        v = (col + j) * 4
                        winograd_output(
                            (y, y_at + h * g.out_w + v, g.out_w),
                            (scratch, g.products + o * g.tiles + i * cols + j, g.product),
                            (b, group * g.group_out + m + o),
                            min(4, g.out_h - h),
                            min(g.out_w, (col + cols) * 4) - v,
                            lanes,
                        )
                h, v = row * 4, col * 4
                if not is_finite(
                    y, y_at + h * g.out_w + v, min(lines * 4, g.out_h - h), min(cols * 4, g.out_w - v), g.out_w
                ):
                    b[g.told] = 1

    return tasks


KERNEL = RangeKernel(
    "winograd",
    make_tasks,
    f"{HALO_GEOMETRY} {weights.GEOMETRY} phase_table tap_table vector_table groups group_in group_out out_d out_h "
    "out_w block_rows block_cols block_channels row_blocks col_blocks chunks chunk_rows tile_rows tile_cols tiles "
    "points products point product w_point halo_row halo_channel halo_plane zeros told",
)
STRATEGY = Winograd()

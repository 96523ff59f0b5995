"""Reduction: the weight gradient, a sum over images and pixels, as the matrix product of inputs and gradients.

    y[c, o, t] = sum_n sum_p panel[p, o] * halo[c, p*s + t*d]            panel[p, o] = dy[n, o, p]

Wins wherever a group has channels enough to fill vectors: the lanes are output channels, from gradients transposed into
a panel; the rows of the tile are input channels, or, where those are few, the columns of the kernel; its terms are
pixels, read from a halo as single numbers, so that no stride takes them apart. So the tile of all other strategies
computes this one too.

Of a 1x1 kernel over whole maps both operands are matrices of channels by pixels: the one that gives the rows is read
where it lies, and either may, whichever leaves fewer lanes empty (``exchanged``: rows are output channels, and sums
need no transposition).

The sums of a task stay in scratch while all its pixels pass. Where channels alone give too few tasks, the pixels are
cut into parts, the same ones for any number of threads, whose sums are added at the end, in order.

Tasks: (part of the pixels, group, block of input channels, block of output channels). Within a task: images, blocks of
pixels, each its halo and its panel, then a sweep for each tap; at the end, the sums transposed into the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from numbaconv.blocking import parts, tiled
from numbaconv.blocking.halo import GEOMETRY as HALO_GEOMETRY
from numbaconv.blocking.halo import Halo
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.tile import Tile
from numbaconv.microkernels.transpose import transpose_rows
from numbaconv.problem import ConvProblem, Triple
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 1792 * 1024  # bytes of a thread; a call may take 2 MiB in all
PARTS = 4 * 1024 * 1024  # bytes of the sums of all parts together
# Cycles, from timing on Zen 5 (AVX-512), the first on Zen 4: a square of lanes x lanes transposed, for each lane; a row
# and a vector of a halo; a tile's pointers and last stores; an accumulator added to its sum; a task; a number added
# from each part.
SQUARE, ROW, VECTOR, TILE, UPDATE, TASK, PART = 5.0, 8.0, 2.0, 40.0, 2.0, 500.0, 1.0


class Reduction(Strategy):
    name = "reduction"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        return tiled.why_not_gradient(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return _best(problem, machine)[0]

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return ReductionPlan(problem, self.name, Tile.of(machine, problem.dtype), _best(problem, machine)[1])


def _is_straight(p: ConvProblem) -> bool:
    """Whether a pixel of gradients meets one pixel of inputs, the same one."""
    return p.pixels == 1 and p.in_size == p.kernel and p.padding == ((0, 0),) * 3


class Sums(NamedTuple):
    """The sizes of a weight gradient, in the words of the layer whose weights they are."""

    images: int
    groups: int
    inputs: int  # channels of a group
    outputs: int
    map: Triple  # of the layer's result
    pixels: int
    kernel: Triple
    taps: int
    stride: Triple
    dilation: Triple

    @classmethod
    def of(cls, p: ConvProblem) -> Sums:
        """Its roles in the problem are others; see `ConvProblem.weight_gradient`."""
        images, outputs = p.in_channels // p.groups, p.out_channels // p.groups
        return cls(images, p.groups, p.batch, outputs, p.kernel, p.taps, p.out_size, p.pixels, p.dilation, p.stride)

    def exchanged(self) -> Sums:
        """The same with x and its channels called dy, and dy called x."""
        return self._replace(inputs=self.outputs, outputs=self.inputs)


@dataclass(frozen=True)
class Cut:
    """A task: ``channels`` inputs by ``outputs`` gradients; ``rows`` x ``cols`` pixels at a time, of one part."""

    rows: int
    cols: int
    channels: int
    outputs: int
    parts: int
    by_column: bool = False  # rows of the tile are the columns of the kernel, not input channels
    straight: bool = False  # inputs are read where they lie
    exchanged: bool = False  # inputs are called outputs and outputs inputs, here and in the `Sums` that go with it

    def pixel_blocks(self, s: Sums) -> int:
        """Blocks of pixels of all images."""
        depth, height, width = s.map
        return s.images * depth * ceil(height / self.rows) * ceil(width / self.cols)

    def window(self, s: Sums) -> tuple[int, int]:
        """Rows and columns of the input that a block of pixels meets."""
        rows = (self.rows - 1) * s.stride[1] + (s.kernel[1] - 1) * s.dilation[1] + 1
        return rows, (self.cols - 1) * s.stride[2] + (s.kernel[2] - 1) * s.dilation[2] + 1

    def tasks(self, s: Sums) -> int:
        """Number of tasks."""
        return self.parts * s.groups * ceil(s.inputs / self.channels) * ceil(s.outputs / self.outputs)

    def scratch(self, s: Sums, lanes: int, nv: int) -> tuple[int, int, int]:
        """Elements of the halo, of the panels, each as wide as a tile, of the sums."""
        row = ceil(self.outputs / lanes) * lanes
        rows, cols = self.window(s)
        halo = 0 if self.straight else self.channels * s.kernel[0] * rows * ceil(cols / lanes) * lanes + 2 * lanes
        panel = self.rows * self.cols * ceil(row / (nv * lanes)) * nv * lanes
        return halo, panel, 0 if self.exchanged else self.channels * s.taps * row

    def seconds(self, s: Sums, machine: Machine, tile: Tile) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        lanes, group_out = tile.lanes, s.outputs
        channel_blocks, output_blocks = ceil(s.inputs / self.channels), ceil(group_out / self.outputs)
        vectors = ceil(self.outputs / lanes)
        high, items = self._tile_rows(s, s.inputs / channel_blocks)
        padded = high // tile.mr * tile.mr + tile.padded(ceil(high % tile.mr)) if high >= 1 else tile.mr // 2
        rows, cols = self.window(s)
        halo = 0 if self.straight else s.inputs / channel_blocks * s.kernel[0] * rows * (ROW + cols / lanes * VECTOR)
        count = self.pixel_blocks(s)
        pixels = s.pixels * s.images
        tiles = ceil(high / tile.mr) * ceil(vectors / tile.nv) * items
        squares = ceil(self.outputs / lanes) * SQUARE * lanes
        task = padded * items * pixels * tile.term_cycles(vectors)
        task += count * (padded * items * vectors * UPDATE + tiles * TILE + halo)
        task += squares * max(pixels / lanes, count)
        each = self.parts * (squares * (not self.exchanged) * ceil(s.inputs * s.taps / channel_blocks / lanes) + TASK)
        tasks = self.tasks(s)
        cycles = (task + each) * s.groups * channel_blocks * output_blocks
        cycles *= ceil(tasks / machine.cores) * machine.cores / tasks
        if self.parts > 1:
            cycles += 20000 + s.groups * s.outputs * s.inputs * s.taps * self.parts * PART
        return cycles / (machine.clock * 1e9)

    def _tile_rows(self, s: Sums, channels: float) -> tuple[float, float]:
        """(rows under the tiles of one sweep, sweeps)."""
        return (s.kernel[2], channels * s.taps / s.kernel[2]) if self.by_column else (channels, s.taps)

    def __str__(self) -> str:
        rows, lanes = ("o", "c") if self.exchanged else ("kw" if self.by_column else "c", "o")
        return f"{self.rows}x{self.cols} {rows}{self.channels} {lanes}{self.outputs} {self.parts} parts"


def _layout(p: ConvProblem, cut: Cut, lanes: int) -> Halo:
    """The halo of a block: that of a kernel of depth only, over a window, as every pixel is read by itself."""
    plain = replace(
        p,
        kernel=(p.out_size[0], 1, 1),
        stride=(p.dilation[0], 1, 1),
        dilation=(p.stride[0], 1, 1),
    )
    return Halo(plain, *cut.window(Sums.of(p)), lanes)


@lru_cache(1024)  # asked for the cost, then for the plan
def _best(p: ConvProblem, machine: Machine) -> tuple[float, Cut]:
    tile, s = Tile.of(machine, p.dtype), Sums.of(p)
    size = p.itemsize
    straight = _is_straight(p)
    fit = []
    for sums in (s, s.exchanged()) if straight else (s,):
        for (rows, cols), c, o in product(_pixels(sums), _channels(sums, tile), _outputs(sums, tile)):
            for by_column in (False, True) if sums.inputs < tile.mr and sums.kernel[2] > 1 else (False,):
                cut = Cut(rows, cols, c, o, 1, by_column, straight, sums is not s)
                if sum(cut.scratch(sums, tile.lanes, tile.nv)) * size > SCRATCH:
                    continue
                fit.append((cut, sums))
                if cut.tasks(sums) < 4 * machine.cores:
                    most = min(cut.pixel_blocks(s), PARTS // (s.groups * s.outputs * s.inputs * s.taps * size))
                    fit += [(replace(cut, parts=n), sums) for n in (2, 4, 8, 16) if n <= most]
    if not fit:  # kernels of thousands of taps, or rows far apart
        fit = [(Cut(1, min(s.map[2], 128), min(tile.mr, s.inputs), min(tile.lanes, s.outputs), 1), s)]
    return min(((cut.seconds(sums, machine, tile), cut) for cut, sums in fit), key=lambda option: option[0])


def _pixels(s: Sums) -> list[tuple[int, int]]:
    """Rows and columns that a block of pixels may have."""
    _, height, width = s.map
    blocks = []
    for most in (128, 256, 512):
        strips = ceil(width / most)
        rows = 1 if strips > 1 else max(1, min(height, most // width))
        blocks.append((ceil(height / ceil(height / rows)), ceil(width / strips)))
    return list(dict.fromkeys(blocks))


def _channels(s: Sums, tile: Tile) -> list[int]:
    """Input channels that a task may have: even shares, in whole tiles."""
    return sorted({min(ceil(s.inputs / n / tile.mr) * tile.mr, s.inputs) for n in (1, 2, 4, 8, 16, 32)})


def _outputs(s: Sums, tile: Tile) -> list[int]:
    """Output channels that a task may have: up to some tiles, or even shares, each of which reads all inputs anew."""
    vectors = ceil(s.outputs / tile.lanes)
    some = {1, 2, tile.nv, 2 * tile.nv, 4 * tile.nv, *(ceil(vectors / n) for n in (1, 2, 4))}
    return sorted({min(n * tile.lanes, s.outputs) for n in some})


@dataclass(frozen=True, eq=False, repr=False)
class ReductionPlan(Plan):
    tile: Tile
    cut: Cut
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p, cut, lanes, nv = self.problem, self.cut, self.tile.lanes, self.tile.nv
        s = Sums.of(p).exchanged() if cut.exchanged else Sums.of(p)
        layout = _layout(p, cut, lanes)
        vectors = ceil(cut.outputs / lanes)
        row = vectors * lanes
        block = np.arange(cut.rows)[:, None] * (s.stride[1] * layout.row_pitch) + np.arange(cut.cols) * s.stride[2]
        lies = np.arange(block.size) if cut.straight else block.ravel()
        terms = np.stack([np.arange(block.size) * (nv * lanes), lies], axis=1)
        panel_of = block.size * nv * lanes  # from one panel to the next
        lanes_of = np.array([(v // nv * panel_of + v % nv * lanes, v * lanes, lanes) for v in range(vectors)])
        last = s.outputs - (ceil(s.outputs / cut.outputs) - 1) * cut.outputs
        lanes_of_last = lanes_of[: ceil(last / lanes)].copy()
        lanes_of_last[-1, 2] = last - (len(lanes_of_last) - 1) * lanes
        lanes_of[-1, 2] = cut.outputs - (vectors - 1) * lanes
        depth, height, width = s.kernel
        taps = (
            np.arange(depth)[:, None, None] * layout.plane
            + np.arange(height)[:, None] * (s.dilation[1] * layout.row_pitch)
            + np.arange(width) * s.dilation[2]
        )
        if cut.by_column:
            taps = np.arange(cut.channels)[:, None] * layout.channel + taps[..., 0].ravel()
            sums = np.arange(taps.size) * (width * row)
        else:
            sums = np.arange(taps.size) * row
        sweeps = np.stack([taps.ravel(), sums], axis=1)
        tables = {
            "terms": terms,
            "whole": lanes_of,
            "last": lanes_of_last,
            "sweeps": sweeps,
            "phase_table": np.zeros(1, np.int64),
        }
        places = dict(zip(tables, np.cumsum([0] + [part.size for part in tables.values()]).tolist(), strict=False))
        table = np.concatenate([part.ravel() for part in tables.values()])
        halo, panel, total = cut.scratch(s, lanes, nv)
        g = KERNEL.geometry(
            **layout.words(), **places, parts=cut.parts, groups=s.groups, group_in=s.inputs, group_out=s.outputs,
            images=s.images, out_d=s.map[0], out_h=s.map[1], out_w=s.map[2], taps=s.taps,
            step_h=s.stride[1], step_w=s.stride[2], block_rows=cut.rows, block_cols=cut.cols,
            block_channels=cut.channels, block_outputs=cut.outputs, channel_blocks=ceil(s.inputs / cut.channels),
            output_blocks=ceil(s.outputs / cut.outputs), pixel_blocks=cut.pixel_blocks(s),
            row_blocks=ceil(s.map[1] / cut.rows), col_blocks=ceil(s.map[2] / cut.cols),
            panel=halo, panel_size=panel_of, sums_row=row, sums=halo + panel, halo_channel=layout.channel,
            by_column=int(cut.by_column), column_rows=width, column_sweeps=depth * height, column_step=s.dilation[2],
            straight=int(cut.straight), exchanged=int(cut.exchanged),
        )  # fmt: skip
        constants = (self.tile.mr, self.tile.nv, lanes)
        work = launch.Work(KERNEL, p.dtype, constants, cut.tasks(s), p.macs, halo + panel + total + lanes, table, g)
        object.__setattr__(self, "zeros", np.zeros(max(cut.channels, width), p.dtype))
        object.__setattr__(self, "work", work)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return parts.gradients(weight)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        rows, lanes = (weight, x) if self.cut.exchanged else (x, weight)
        parts.run(self.work, self.cut.parts, rows, lanes, self.zeros, y, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {self.tile} {self.cut})"


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)
    sweep = make_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        plane = g.out_d * g.out_h * g.out_w
        for task in range(lo, hi):
            rest, output_block = divmod(task, g.output_blocks)
            rest, channel_block = divmod(rest, g.channel_blocks)
            part, group = divmod(rest, g.groups)
            o, c = output_block * g.block_outputs, channel_block * g.block_channels
            outputs, channels = min(g.block_outputs, g.group_out - o), min(g.block_channels, g.group_in - c)
            vectors = g.last if o + g.block_outputs >= g.group_out else g.whole
            height, sweeps = channels, g.taps
            halo_row, sums, sums_at, sums_row = g.halo_channel, scratch, g.sums, g.taps * g.sums_row
            if g.by_column:
                height, sweeps = g.column_rows, channels * g.column_sweeps
                halo_row, sums_row = g.column_step, g.sums_row
            if g.exchanged:
                sums, sums_row = y, g.group_out
                sums_at = ((part * g.groups + group) * g.group_in + c) * g.group_out + o
            start = part * g.pixel_blocks // g.parts
            for block in range(start, (part + 1) * g.pixel_blocks // g.parts):
                rest, col_block = divmod(block, g.col_blocks)
                rest, row_block = divmod(rest, g.row_blocks)
                image, depth = divmod(rest, g.out_d)
                row, col = row_block * g.block_rows, col_block * g.block_cols
                pixels = min(g.block_rows, g.out_h - row) * min(g.block_cols, g.out_w - col)
                x_at = ((image * g.groups + group) * g.group_in + c) * g.in_d * g.in_h * g.in_w
                source, source_at = scratch, 0
                if g.straight:
                    source, source_at, halo_row = x, x_at + (depth * g.out_h + row) * g.out_w + col, plane
                else:
                    place = (depth, row * g.step_h, col * g.step_w)
                    pack_halo(scratch, x, x_at, place, channels, table, g)
                w_at = ((image * g.groups + group) * g.group_out + o) * plane + (depth * g.out_h + row) * g.out_w + col
                wide = nv * lanes
                for v in range(0, outputs, wide):
                    transpose_rows((scratch, g.panel + v // wide * g.panel_size, wide), (w, w_at + v * plane, plane),
                                   min(wide, outputs - v), pixels, lanes)  # fmt: skip
                for n in range(sweeps):
                    sweep(
                        (sums, sums_at + table[g.sweeps + 2 * n + 1], sums_row),
                        (source, source_at + table[g.sweeps + 2 * n], halo_row, halo_row),
                        (scratch, g.panel),
                        (b, 0),
                        (table, vectors, g.terms),
                        pixels,
                        height,
                        (outputs + lanes - 1) // lanes,
                        1 if block == start else 0,
                    )
            if not g.exchanged:
                y_row = g.group_in * g.taps
                y_at = ((part * g.groups + group) * g.group_out + o) * y_row + c * g.taps
                transpose_rows((y, y_at, y_row), (scratch, g.sums, g.sums_row), channels * g.taps, outputs, lanes)

    return tasks


KERNEL = RangeKernel(
    "reduction",
    make_tasks,
    f"{HALO_GEOMETRY} phase_table terms whole last sweeps parts groups group_in group_out images out_d out_h out_w "
    "taps step_h step_w block_rows block_cols block_channels block_outputs channel_blocks output_blocks pixel_blocks "
    "row_blocks col_blocks panel panel_size sums_row sums halo_channel by_column column_rows column_sweeps column_step "
    "straight exchanged",
)
STRATEGY = Reduction()

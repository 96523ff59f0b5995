"""How a problem is cut into Winograd's tiles: the transforms there are, blocks of tiles and channels, scratch, cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import NamedTuple

import numpy as np

from numbaconv.codegen.transforms import products
from numbaconv.machine import Machine
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem

SCRATCH = 1920 * 1024  # bytes of a thread; a call may take 2 MiB in all
CHANNELS = 32  # input channels whose weights are put into lanes at a time


class Variant(NamedTuple):
    """F(mh x mw, kh x kw) of a stride, and the fewest terms that every output must have."""

    mh: int
    kh: int
    mw: int
    kw: int
    stride: int  # along the axes that the kernel extends along
    fewest: int

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """The compile-time constants of its kernels."""
        return self.mh, self.kh, self.mw, self.kw, self.stride

    @property
    def inputs(self) -> tuple[int, int]:
        """Rows and columns of the inputs of a tile, and of its products."""
        return products(self.mh, self.kh, self.stride), products(self.mw, self.kw, self.stride)

    @property
    def strides(self) -> tuple[int, int]:
        """Of the problems that it computes."""
        return self.stride if self.kh > 1 else 1, self.stride

    @property
    def points(self) -> int:
        """Products of a tile and channel."""
        rows, columns = self.inputs
        return rows * columns

    def __str__(self) -> str:
        stride = f",s{self.stride}" if self.stride > 1 else ""
        return f"F({self.mh}x{self.mw},{self.kh}x{self.kw}{stride})"


# `fewest` is where the worst error of some 10,000 outputs is half of direct summation's bound (docs/accuracy.md).
# Measured and left out (Zen 5, f32): F(6x6,3x3), 1.07 times as fast as F(4x4,3x3) at best (32 -> 64 at 147x147), slower
# on all other layers, with twice its error; F(1x2,1x3), 0.7 to 0.8 of F(1x4,1x3); F(2x2,5x5), half of F(4x4,5x5).
# (Zen 4, 8 layers) F(5x5,2x2) and F(1x5,1x2), 0.88 to 1.2 of F(3x3,2x2) and F(1x3,1x2), with eight times their error;
# F(4x4,3x3,s2), 0.9 to 1.04 of the faster of F(2x2,3x3,s2) and F(3x3,3x3,s2), but for one layer of 32 channels, 1.13,
# with four times their error; F(3x3,4x4,s2) and F(3x3,5x5,s2), 0.7 to 1.14 of those with 2x2.
VARIANTS = (
    Variant(2, 3, 2, 3, 1, 24),
    Variant(4, 3, 4, 3, 1, 64),
    Variant(4, 5, 4, 5, 1, 144),
    Variant(3, 2, 3, 2, 1, 32),
    Variant(2, 3, 2, 3, 2, 24),
    Variant(3, 3, 3, 3, 2, 24),
    Variant(2, 4, 2, 4, 2, 32),
    Variant(2, 5, 2, 5, 2, 24),
    Variant(1, 1, 3, 2, 1, 24),
    Variant(1, 1, 4, 3, 1, 32),
    Variant(1, 1, 4, 5, 1, 48),
)


def of_kernel(problem: ConvProblem) -> list[Variant]:
    """The variants for a problem's kernel, accurate enough or not."""
    shape = problem.kernel[1:], problem.stride[1:]
    return [variant for variant in VARIANTS if shape == ((variant.kh, variant.kw), variant.strides)]


def fewest_terms(problem: ConvProblem) -> int:
    """Products of the output that has fewest, as taps outside the input count for nothing.

    The error of a tile goes with its fullest output: one with less than 2/9 of that one's terms counts for less. Zeros
    among the inputs, as after a ReLU, leave some outputs inside with few: they count as the corner of a padded 3x3.
    """
    if problem.is_extended and problem.padding_mode != "constant":  # what lies beyond the input is as large as inside
        return problem.terms * 4 // 9
    fewest = problem.in_channels // problem.groups
    for n, k, s, d, (lo, _), out in zip(
        problem.in_size, problem.kernel, problem.stride, problem.dilation, problem.padding, problem.out_size,
        strict=True,
    ):  # fmt: skip
        place = np.arange(out)[:, None] * s - lo + np.arange(k) * d
        fewest *= int(((place >= 0) & (place < n)).sum(1).min())
    return min(fewest, fewest * fewest * 9 // (2 * problem.terms), problem.terms * 4 // 9)


def accurate(problem: ConvProblem, terms: int) -> list[Variant]:
    """Those whose error stays within the bound of direct summation on ordinary data, for ``terms`` or more."""
    return [variant for variant in of_kernel(problem) if terms >= variant.fewest]


class Tiles(NamedTuple):
    """The tiles along an axis: tile t gives ``m`` outputs ``d`` apart, from ``t + t // d * (m - 1) * d`` on."""

    m: int
    d: int
    out: int

    @property
    def groups(self) -> int:
        """Groups of ``d`` tiles, which interleave, and give ``m * d`` neighbouring outputs."""
        return ceil(self.out / (self.m * self.d))

    @property
    def total(self) -> int:
        """Tiles that have an output."""
        return (self.groups - 1) * self.d + min(self.d, self.out - (self.groups - 1) * self.m * self.d)

    def start(self, tile: int) -> int:
        """The first output of a tile."""
        return tile + tile // self.d * (self.m - 1) * self.d


def axes(problem: ConvProblem, variant: Variant) -> tuple[Tiles, Tiles]:
    """The tiles of height and width."""
    (_, dh, dw), (_, out_h, out_w) = problem.dilation, problem.out_size
    return Tiles(variant.mh, dh, out_h), Tiles(variant.mw, dw, out_w)


# Cycles, three quarters of those timed of its parts on Zen 5 (AVX-512), as Zen 4 takes half, of: an fma of a product; a
# call of the product kernel; putting a square of lanes x lanes inputs into lanes; a vector of a point of an input, of
# an output, of a weight; putting such a square of outputs back; a byte of weights from the third cache, from memory; a
# byte of points and products beyond the second cache; a task.
CYCLES = (0.5, 60.0, 75.0, 3.8, 2.5, 3.4, 60.0, 0.012, 0.06, 0.05, 1500.0)


@dataclass(frozen=True)
class TileBlocks:
    """A task: ``rows`` x ``cols`` tiles for ``chunk`` output channels, ``channels`` inputs at a time."""

    variant: Variant
    raw: bool  # weights are transformed by each task for itself, not beforehand
    rows: int
    cols: int
    channels: int
    chunk: int
    row_blocks: int
    col_blocks: int
    chunks: int

    @classmethod
    @lru_cache(2048)
    def best(cls, problem: ConvProblem, machine: Machine, tile: Tile, variant: Variant, raw: bool) -> TileBlocks | None:
        """The fastest blocks that fit the scratch, if any do."""
        high, wide = axes(problem, variant)
        group_in, group_out = problem.in_channels // problem.groups, problem.out_channels // problem.groups
        lanes = tile.lanes
        vectors = ceil(group_out / lanes)
        most = {min(group_in, n) for n in ((32, 64, 128) if raw else (64, 128, 256, 512))}
        options = [
            cls(variant, raw, rows, cols, channels, chunk, ceil(high.total / rows), ceil(wide.total / cols),
                ceil(group_out / chunk))
            for rows, cols in sorted({_block(high, wide, tiles) for tiles in (16, 32, 48, 80)})
            for chunk in sorted({ceil(vectors / ceil(vectors / n)) * lanes for n in (1, 2, 4, 6, 8, 16, 32)})
            for channels in sorted({_even(group_in, n, lanes) for n in most})
        ]  # fmt: skip
        fitting = [blocks for blocks in options if Layout.of(problem, blocks, tile).bytes(variant.points) <= SCRATCH]
        return min(fitting, key=lambda blocks: blocks.seconds(problem, machine, tile), default=None)

    def tasks(self, problem: ConvProblem) -> int:
        """Number of tasks."""
        blocks = self.row_blocks * self.col_blocks * self.chunks
        return problem.batch * problem.groups * problem.out_size[0] * blocks

    def seconds(self, problem: ConvProblem, machine: Machine, tile: Tile) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        cycles = sum(cost * n for cost, n in zip(CYCLES, self._work(problem, machine, tile), strict=True))
        return cycles * ceil(self.tasks(problem) / machine.cores) * machine.cores / (machine.clock * 1e9)

    def _work(self, problem: ConvProblem, machine: Machine, tile: Tile) -> tuple[float, ...]:
        """What a task does, in the order of `CYCLES`."""
        layout, points, lanes = Layout.of(problem, self, tile), self.variant.points, tile.lanes
        size, planes, group_in = layout.itemsize, problem.kernel[0], problem.in_channels // problem.groups
        tiles, vectors, updates = self.rows * self.cols, self.chunk // lanes, ceil(group_in / self.channels)
        fills, terms = ceil(group_in / lanes) * planes, group_in * planes
        weights = self.chunk * terms * size * (problem.kernel[1] * problem.kernel[2] if self.raw else points)
        block = points * (layout.point + layout.product) * size
        far = weights * self.chunks * problem.groups > machine.l3 // 2
        near = weights + block <= machine.l2
        return (
            points * tile.padded(tiles) * vectors * terms,
            points * updates * ceil(tiles / tile.mr) * ceil(vectors / tile.nv),
            fills * layout.slots * ceil(min(layout.width, problem.in_size[2]) / lanes),
            points * fills * tiles,
            points * vectors * tiles,
            points * vectors * terms if self.raw else 0,
            vectors * min(self.rows * self.variant.mh, problem.out_size[1]) * ceil(layout.out_width / lanes),
            0 if near or far else weights,
            weights if far else 0,
            0 if block <= machine.l2 else updates * block,
            1,
        )

    def __str__(self) -> str:
        return f"{self.variant} {self.rows}x{self.cols} tiles c{self.channels} o{self.chunk}"


def fastest(problem: ConvProblem, machine: Machine, variants: Sequence[Variant], raw: bool) -> TileBlocks | None:
    """The fastest blocks of these variants, if any fit."""
    tile = Tile.of(machine, problem.dtype)
    found = [TileBlocks.best(problem, machine, tile, variant, raw) for variant in variants]
    fitting = [blocks for blocks in found if blocks is not None]
    return min(fitting, key=lambda blocks: blocks.seconds(problem, machine, tile), default=None)


def _block(high: Tiles, wide: Tiles, tiles: int) -> tuple[int, int]:
    """Rows and columns of about ``tiles`` tiles; the columns in whole groups, as their outputs are put side by side."""
    groups = max(1, min(wide.groups, tiles // wide.d))
    groups = ceil(wide.groups / ceil(wide.groups / groups))
    cols = groups * wide.d if groups < wide.groups else wide.total
    rows = min(high.total, max(1, tiles // cols))
    return ceil(high.total / ceil(high.total / rows)), cols


def _even(channels: int, most: int, lanes: int) -> int:
    """Channels of a block: all, or whole vectors, about the same number in each block."""
    return channels if most >= channels else ceil(channels / ceil(channels / most) / lanes) * lanes


class Layout(NamedTuple):
    """Sizes, in elements, of what lies in the scratch of a thread, in this order."""

    itemsize: int
    slots: int  # rows of the halo
    slot_step: int  # from one row of tiles to the next: rows are shared only without a dilation
    width: int  # vectors of a row of the halo
    out_width: int  # and of a row of outputs, of whole vectors of columns
    term_row: int  # terms of a tile
    halo: int  # inputs, channels in lanes; or weights, to be transformed
    point: int  # one point of all tiles and terms
    product: int  # one product of all tiles and outputs
    out: int  # outputs of a row of tiles, channels in lanes
    panel: int  # one point of a panel of weights that a task transforms for itself
    ends: int  # bias, and the vector that tells of outputs that are not finite

    @classmethod
    def of(cls, problem: ConvProblem, blocks: TileBlocks, tile: Tile) -> Layout:
        (_, dh, dw), planes, variant, lanes = problem.dilation, problem.kernel[0], blocks.variant, tile.lanes
        itemsize = problem.itemsize
        (inputs, _), (high_stride, wide_stride) = variant.inputs, variant.strides
        step = variant.mh * high_stride if dh == 1 else inputs
        slots = (blocks.rows - 1) * step + inputs
        out_width = ceil(blocks.cols / dw) * dw * variant.mw
        width = (out_width - 1) * wide_stride + 1 + (variant.kw - 1) * dw
        term_row = planes * ceil(blocks.channels / lanes) * lanes
        tiles = ceil(blocks.rows * blocks.cols / tile.mr) * tile.mr
        line = 64 // itemsize
        halo = planes * slots * width
        if blocks.raw:
            halo = max(halo, min(CHANNELS, blocks.channels) * problem.taps)
        out_width = ceil(out_width / lanes) * lanes
        return cls(
            itemsize, slots, step, width, out_width, term_row, (halo + lanes) * lanes,
            _odd_lines(tiles * term_row, line), _odd_lines(tiles * blocks.chunk, line), variant.mh * out_width * lanes,
            _odd_lines(term_row * tile.nv * lanes, line) if blocks.raw else 0, blocks.chunk + lanes,
        )  # fmt: skip

    def places(self, points: int) -> tuple[int, ...]:
        """Where the points, the products, the outputs, the panel and the ends begin, and where all ends."""
        sizes = self.halo, points * self.point, points * self.product, self.out, points * self.panel, self.ends
        return tuple(np.cumsum(sizes).tolist())

    def bytes(self, points: int) -> int:
        """Of all."""
        return self.places(points)[-1] * self.itemsize


def _odd_lines(elements: int, line: int) -> int:
    """At least ``elements``, an odd number of cache lines: the points of a tile then lie in different sets of a cache.

    At a multiple of 4 KiB apart they all fell on one: an input transform took 885 cycles instead of some 150.
    """
    return (ceil(elements / line) | 1) * line

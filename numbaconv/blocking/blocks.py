"""How a problem is cut: output pixels and channels into tasks, input channels into blocks; and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import numpy as np

from numbaconv.machine import Machine
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem

# Cycles, from timing on Zen 5 (AVX-512) and Zen 3 (AVX2): moving a vector between scratch and caches, starting a row,
# an element; gathering a vector into a panel, and one from an input whose rows lie a plane apart. To ask for the next
# group's inputs in the gather, into the second cache, gained nothing there: 0.92 to 1.02 on six 1x1 layers (Zen 3).
VECTOR_MOVE = 3.0
ROW_START = 8.0
CHANNEL_START = 40.0
GATHER = 3.0
GATHER_FAR = 4.5
ELEMENT_MOVE = 1.2
# Asking for x 4, 8 or 16 terms ahead in the tile gained nothing: +4 to -10 % on eleven 1x1 layers (Zen 5).
# Share of the first cache for what a block of terms reads of x and w and of the tables. Vectors of 64 bytes come with a
# second cache that feeds as much in a cycle: there more terms, which add to y less often, are the better (Zen 5: 3x3,
# 256 channels, 56x56: 177, 182, 191, 190 GFLOP/s at 144, 234, 576, 1152 terms); on Zen 3 they halve the speed.
RESIDENT = {16: 0.8, 32: 0.8, 64: 2.0}
TABLES = 16  # bytes of the words of a term
TASK = 600.0  # finding its place, the halo's corners
TILE = 40.0  # pointers in, the bias, the last stores out
IN_PLACE = 1.12  # of the time under a panel: loads from a halo nearly all cross cache lines (Zen 3, 70 for 79 GFLOP/s)
# Bytes a cycle of weights that stream by, more than the second cache holds: 8 MB in 127 us, 2.4 MB in 40 (Zen 4).
STREAM = 18.0
UPDATE = 1.5  # adding a finished accumulator to y, per vector and row


@dataclass(frozen=True)
class Blocks:
    """Block sizes. A task is ``rows`` x ``cols`` outputs of one depth, for ``chunk`` output channels of a group."""

    rows: int
    cols: int
    channels: int  # input channels whose halo is packed at a time
    chunk: int
    row_blocks: int
    col_blocks: int
    chunks: int
    flat: bool  # vectors run on from row to row, in panels; else each row starts a vector, in the halo
    straight: bool  # panels are gathered from the input itself, without a halo

    GEOMETRY = (
        "groups group_in group_out out_d out_h out_w taps block_rows block_cols block_channels "
        "row_blocks col_blocks chunks chunk_rows row_vectors last_row_vectors"
    )

    @classmethod
    @lru_cache(1024)  # asked for the cost, then for the plan, by several strategies
    def of(
        cls, problem: ConvProblem, machine: Machine, tile: Tile, flat: bool, straight: bool = False,
        vectors: int | None = None,
    ) -> Blocks:  # fmt: skip
        """The cheapest blocks, by `seconds`, whose halo stays in the second cache, and a tile's inputs in the first.

        ``vectors``: how many vectors of pixels a block has at most, where the strategy knows better.
        """
        _, out_h, out_w = problem.out_size
        group_out = problem.out_channels // problem.groups
        most = vectors or 8 * tile.nv
        col_blocks = ceil(out_w / (max(1, most // 2) * tile.lanes))
        cols = out_w if col_blocks == 1 else ceil(out_w / col_blocks / tile.lanes) * tile.lanes
        # A flat block is whole rows or a part of one, so that its pixels are contiguous in y.
        fit = max(1, most // ceil(cols / tile.lanes)) if not flat else max(1, most * tile.lanes // cols)
        tallest = 1 if flat and cols < out_w else min(out_h, fit)
        heights = {ceil(out_h / ceil(out_h / rows)) for rows in range(max(1, tallest // 4), tallest + 1)}
        chunks = {n for n in (1, 2, 4, 8, 16) if n <= ceil(group_out / tile.mr) and n <= 4 * machine.cores}
        options = [
            cls._cut(problem, machine, tile, (flat, straight), rows, cols, n)
            for rows in sorted(heights, reverse=True)[:6]
            for n in (sorted(chunks) if machine.cores > 1 else (1,))
        ]
        return min(options, key=lambda blocks: blocks.seconds(problem, machine, tile))

    @classmethod
    def _cut(
        cls, problem: ConvProblem, machine: Machine, tile: Tile, kind: tuple[bool, bool], rows: int, cols: int,
        chunks: int,
    ) -> Blocks:  # fmt: skip
        _, out_h, out_w = problem.out_size
        group_in, group_out = problem.in_channels // problem.groups, problem.out_channels // problem.groups
        size = problem.itemsize
        flat, straight = kind
        # What a term and a channel take of the first cache under a tile: in a panel, or in the halo, shared by taps.
        width = tile.nv * tile.lanes
        per_term = 2 * TABLES if flat else TABLES
        pixels = width * problem.taps if flat else _halo_rows(problem, 1) * _halo_width(problem, min(cols, width))
        near = (tile.mr * size + per_term) * problem.taps + pixels * size
        channels = int(RESIDENT[machine.vector_bytes] * machine.l1 / near)
        if not straight:
            halo = _halo_rows(problem, rows) * _halo_width(problem, cols)
            channels = min(channels, machine.l2 // 4 // (halo * size))
        channels = min(group_in, max(1, channels))
        channels = ceil(group_in / ceil(group_in / channels))
        chunk = ceil(ceil(group_out / chunks) / tile.mr) * tile.mr
        row_blocks, col_blocks = ceil(out_h / rows), ceil(out_w / cols)
        return cls(rows, cols, channels, chunk, row_blocks, col_blocks, ceil(group_out / chunk), flat, straight)

    def within(self, problem: ConvProblem, tile: Tile, size: int) -> Blocks:
        """With so few output channels that the sums of a task take no more than ``size`` bytes."""
        most = size // (self.rows * self.cols * problem.itemsize) // tile.mr * tile.mr
        chunk = min(self.chunk, max(tile.mr, most))
        return replace(self, chunk=chunk, chunks=ceil(problem.out_channels // problem.groups / chunk))

    def tasks(self, problem: ConvProblem) -> int:
        """Number of tasks."""
        pixel_blocks = problem.out_size[0] * self.row_blocks * self.col_blocks
        return problem.batch * problem.groups * self.chunks * pixel_blocks

    def vectors(self, lanes: int) -> int:
        """Vectors of pixels of a block."""
        return ceil(self.rows * self.cols / lanes) if self.flat else self.rows * ceil(self.cols / lanes)

    def widths(self, problem: ConvProblem) -> tuple[int, int]:
        """Columns of a block, and of one in the last column of blocks."""
        return self.cols, problem.out_size[2] - (self.col_blocks - 1) * self.cols

    def row_vectors(self, starts: np.ndarray, lanes: int, out_w: int, cols: int) -> np.ndarray:
        """Words (place in x, place in y, count) of the vectors of ``cols`` columns, each row starting a vector."""
        vectors = [
            (start + v, r * out_w + v, min(lanes, cols - v))
            for r, start in enumerate(starts)
            for v in range(0, cols, lanes)
        ]
        return np.array(vectors)

    def flat_pieces(self, starts: np.ndarray, lanes: int, pixels: int) -> tuple[np.ndarray, np.ndarray]:
        """(pieces, the first piece of each vector) of ``pixels`` pixels that run on from row to row.

        A piece is what a vector has of a row: words (place in x, place among the pixels).
        """
        pieces, first = [], [0]
        for v in range(0, pixels, lanes):
            p, end = v, min(v + lanes, pixels)
            while p < end:
                row, column = divmod(p, self.cols)
                pieces.append((starts[row] + column, p))
                p = min(end, (row + 1) * self.cols)
            first.append(len(pieces))
        return np.array(pieces), np.array(first)

    def words(self, problem: ConvProblem, lanes: int) -> dict[str, int]:
        """The geometry words of the blocks."""
        out_d, out_h, out_w = problem.out_size
        last = self.widths(problem)[1]
        return {
            "groups": problem.groups, "group_in": problem.in_channels // problem.groups,
            "group_out": problem.out_channels // problem.groups, "out_d": out_d, "out_h": out_h, "out_w": out_w,
            "taps": problem.taps, "block_rows": self.rows, "block_cols": self.cols, "block_channels": self.channels,
            "row_blocks": self.row_blocks, "col_blocks": self.col_blocks, "chunks": self.chunks,
            "chunk_rows": self.chunk, "row_vectors": ceil(self.cols / lanes), "last_row_vectors": ceil(last / lanes),
        }  # fmt: skip

    def seconds(self, problem: ConvProblem, machine: Machine, tile: Tile) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        group_out = problem.out_channels // problem.groups
        blocks = problem.batch * problem.groups * problem.out_size[0] * self.row_blocks * self.col_blocks
        vectors = self.vectors(tile.lanes)
        rows = (self.chunks - 1) * self.chunk + tile.padded(group_out - (self.chunks - 1) * self.chunk)
        updates = ceil(problem.in_channels // problem.groups / self.channels)
        spare = self.rows * self.cols % tile.lanes if self.flat else 0
        spare = spare if spare <= tile.spare else 0
        work = rows * (problem.terms * tile.term_cycles(vectors - (spare > 0), spare) + vectors * updates * UPDATE)
        work += updates * (self.chunks * TASK + ceil(vectors / tile.nv) * ceil(rows / tile.mr) * TILE)
        if not self.flat:
            work *= IN_PLACE
        weights = group_out * problem.terms * problem.itemsize
        if weights * problem.groups > machine.l2:
            work = max(work, weights / STREAM)
        pack = 0.0 if self.straight else self.pack_cycles(problem, tile)
        if self.flat:
            pieces = vectors + (self.rows - 1) * (1 - 1 / tile.lanes)
            pack += problem.terms * pieces * (GATHER_FAR if self.straight else GATHER)
        pack *= self.chunks
        tasks = blocks * self.chunks
        uneven = ceil(tasks / machine.cores) * machine.cores / tasks
        return blocks * (work + pack) * uneven / (machine.clock * 1e9)

    def pack_cycles(self, problem: ConvProblem, tile: Tile) -> float:
        """Cycles to pack the halo of all channels of a group, once."""
        wide = _halo_width(problem, self.cols)
        row = ROW_START + (wide / tile.lanes * VECTOR_MOVE if problem.stride[2] <= 2 else wide * ELEMENT_MOVE)
        return problem.in_channels // problem.groups * (CHANNEL_START + _halo_rows(problem, self.rows) * row)

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols} c{self.channels} o{self.chunk}"


def _halo_rows(problem: ConvProblem, rows: int) -> int:
    """Rows of the halo of ``rows`` output rows: shared by the taps, or a set for each, all planes of the kernel."""
    shared = (rows - 1) * problem.stride[1] + (problem.kernel[1] - 1) * problem.dilation[1] + 1
    return min(shared, rows * problem.kernel[1]) * problem.kernel[0]


def _halo_width(problem: ConvProblem, cols: int) -> int:
    """Elements of a row of the halo of ``cols`` output columns, all phases of the stride that the taps use."""
    return cols * min(problem.stride[2], problem.kernel[2]) + problem.kernel[2] * problem.dilation[2]

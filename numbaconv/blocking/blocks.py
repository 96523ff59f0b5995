"""How a problem is cut: output pixels and channels into tasks, input channels into blocks; and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from numbaconv.machine import Machine
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem

# Cycles, from timing on Zen 5 (AVX-512): moving a vector between scratch and caches, starting a row, an element.
VECTOR_MOVE = 2.0
ROW_START = 4.0
ELEMENT_MOVE = 1.2
# Terms of a block of channels. More of them add to y less often: 3x3, 256 channels, 56x56: 177, 182, 191, 190 GFLOP/s
# at 144, 234, 576, 1152 terms; a stream of vectors from the second cache does not slow the tile (Zen 5). Prefetching
# the weights 1 to 8 KiB ahead gained nothing on seven layers (-2 to +2 %).
TERMS = 1024
TASK = 250.0  # finding its place, the halo's corners
TILE = 40.0  # pointers in, the bias, the last stores out
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
    flat: bool  # vectors run on from row to row, as in a panel; else each row starts a vector

    GEOMETRY = (
        "groups group_in group_out out_d out_h out_w taps block_rows block_cols block_channels "
        "row_blocks col_blocks chunks chunk_rows row_vectors last_row_vectors"
    )

    @classmethod
    @lru_cache(1024)  # asked for the cost, then for the plan, by several strategies
    def of(cls, problem: ConvProblem, machine: Machine, tile: Tile, flat: bool, vectors: int | None = None) -> Blocks:
        """The cheapest blocks, by `seconds`, of those whose halo and panel stay in the second cache.

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
            cls._cut(problem, machine, tile, flat, rows, cols, n)
            for rows in sorted(heights, reverse=True)[:6]
            for n in (sorted(chunks) if machine.cores > 1 else (1,))
        ]
        return min(options, key=lambda blocks: blocks.seconds(problem, machine, tile))

    @classmethod
    def _cut(
        cls, problem: ConvProblem, machine: Machine, tile: Tile, flat: bool, rows: int, cols: int, chunks: int
    ) -> Blocks:
        _, out_h, out_w = problem.out_size
        group_in, group_out = problem.in_channels // problem.groups, problem.out_channels // problem.groups
        size = 8 if problem.dtype == "float64" else 4
        halo = _halo_rows(problem, rows) * _halo_width(problem, cols)
        panel = rows * cols * problem.taps if flat else 0
        channels = min(group_in, TERMS // problem.taps, machine.l2 // 2 // ((halo + panel) * size))
        channels = ceil(group_in / ceil(group_in / max(1, channels)))
        chunk = ceil(ceil(group_out / chunks) / tile.mr) * tile.mr
        return cls(rows, cols, channels, chunk, ceil(out_h / rows), ceil(out_w / cols), ceil(group_out / chunk), flat)

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

    def seconds(self, problem: ConvProblem, machine: Machine, tile: Tile, packed: bool = True) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        group_out = problem.out_channels // problem.groups
        blocks = problem.batch * problem.groups * problem.out_size[0] * self.row_blocks * self.col_blocks
        vectors = self.vectors(tile.lanes)
        rows = (self.chunks - 1) * self.chunk + tile.padded(group_out - (self.chunks - 1) * self.chunk)
        updates = ceil(problem.in_channels // problem.groups / self.channels)
        work = rows * (problem.terms * tile.term_cycles(vectors) + vectors * updates * UPDATE)
        work += updates * (self.chunks * TASK + ceil(vectors / tile.nv) * ceil(rows / tile.mr) * TILE)
        wide = _halo_width(problem, self.cols)
        row = ROW_START + (wide / tile.lanes * VECTOR_MOVE if problem.stride[2] <= 2 else wide * ELEMENT_MOVE)
        pack = problem.in_channels // problem.groups * _halo_rows(problem, self.rows) * row * self.chunks
        if self.flat:
            pieces = self.rows * ceil(self.cols / tile.lanes)
            pack += problem.terms * pieces * VECTOR_MOVE * self.chunks
        tasks = blocks * self.chunks
        uneven = ceil(tasks / machine.cores) * machine.cores / tasks
        return blocks * (work + pack * packed) * uneven / (machine.clock * 1e9)

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols} c{self.channels} o{self.chunk}"


def _halo_rows(problem: ConvProblem, rows: int) -> int:
    """Rows of the halo of ``rows`` output rows: shared by the taps, or a set for each, all planes of the kernel."""
    shared = (rows - 1) * problem.stride[1] + (problem.kernel[1] - 1) * problem.dilation[1] + 1
    return min(shared, rows * problem.kernel[1]) * problem.kernel[0]


def _halo_width(problem: ConvProblem, cols: int) -> int:
    """Elements of a row of the halo of ``cols`` output columns, all phases of the stride that the taps use."""
    return cols * min(problem.stride[2], problem.kernel[2]) + problem.kernel[2] * problem.dilation[2]

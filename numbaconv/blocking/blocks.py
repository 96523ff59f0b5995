"""How a problem is cut: output pixels and channels into tasks, input channels into blocks; and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from numbaconv.machine import Machine
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem

# Cycles, from timing on Zen 5 (AVX-512): moving a vector between scratch and caches, starting a row, one strided element.
VECTOR_MOVE = 2.0
ROW_START = 12.0
ELEMENT_MOVE = 1.2
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
    def of(
        cls, problem: ConvProblem, machine: Machine, tile: Tile, flat: bool, vectors: int | None = None
    ) -> Blocks:
        """Blocks whose halo and panel stay in the caches, and enough of them for the cores.

        ``vectors``: how many vectors of pixels a block has at most, where the strategy knows better.
        """
        out_d, out_h, out_w = problem.out_size
        group_in, group_out = problem.in_channels // problem.groups, problem.out_channels // problem.groups
        size = 8 if problem.dtype == "float64" else 4
        # A block of 4 groups of vectors under one stream of the weights; more where few channels repay the packing.
        vectors = vectors or tile.nv * (4 if group_out > 4 * tile.mr else 8)
        col_blocks = ceil(out_w / (vectors * tile.lanes))
        cols = out_w if col_blocks == 1 else ceil(out_w / col_blocks / tile.lanes) * tile.lanes
        col_blocks = ceil(out_w / cols)
        if flat:
            rows = max(1, vectors * tile.lanes // cols) if col_blocks == 1 else 1
        else:
            rows = max(1, vectors // ceil(cols / tile.lanes))
            if problem.kernel[1] > 1 and vectors > tile.nv:
                rows = max(rows, 2)
        rows = min(rows, out_h)
        row_blocks = ceil(out_h / rows)
        rows = ceil(out_h / row_blocks)
        row_blocks = ceil(out_h / rows)

        # The slice of a group of vectors and the panel of weights share the first cache.
        per_term = (tile.mr + tile.nv * tile.lanes) * size
        channels = max(1, min(group_in, max(256, machine.l1 * 3 // 4 // per_term) // problem.taps))
        span = (rows - 1) * problem.stride[1] + (problem.kernel[1] - 1) * problem.dilation[1] + 1
        span = min(span, rows * problem.kernel[1]) * problem.kernel[0]
        halo = span * (cols * min(problem.stride[2], problem.kernel[2]) + problem.kernel[2] * problem.dilation[2]) * size
        panel = rows * cols * problem.taps * size if flat else 0
        channels = max(1, min(channels, machine.l2 // 2 // (halo + panel)))
        channels = ceil(group_in / ceil(group_in / channels))

        pixel_tasks = problem.batch * problem.groups * out_d * row_blocks * col_blocks
        chunks = 1
        if machine.cores > 1:
            most = ceil(group_out / tile.mr)
            candidates = [n for n in (1, 2, 3, 4, 6, 8, 12, 16) if n <= most]
            pack = 2.0 / group_out  # packing again for every chunk
            chunks = min(candidates, key=lambda n: _quantised(pixel_tasks * n, machine.cores) * (1 + n * pack))
        chunk = ceil(ceil(group_out / chunks) / tile.mr) * tile.mr
        return cls(rows, cols, channels, chunk, row_blocks, col_blocks, ceil(group_out / chunk), flat)

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
        work = vectors * rows * (problem.terms * tile.cycles + updates * UPDATE)
        span = (self.rows - 1) * problem.stride[1] + (problem.kernel[1] - 1) * problem.dilation[1] + 1
        span = min(span, self.rows * problem.kernel[1]) * problem.kernel[0]
        wide = self.cols * min(problem.stride[2], problem.kernel[2]) + problem.kernel[2] * problem.dilation[2]
        row = ROW_START + (wide / tile.lanes * VECTOR_MOVE if problem.stride[2] == 1 else wide * ELEMENT_MOVE)
        pack = problem.in_channels // problem.groups * span * row * self.chunks
        if self.flat:
            pieces = self.rows * ceil(self.cols / tile.lanes)
            pack += problem.terms * pieces * VECTOR_MOVE * self.chunks
        uneven = _quantised(blocks * self.chunks, machine.cores)
        return blocks * (work + pack * packed) * uneven / (machine.clock * 1e9)

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols} c{self.channels} o{self.chunk}"


def _quantised(tasks: int, cores: int) -> float:
    """Time of ``tasks`` even tasks on ``cores`` cores over the ideal."""
    return ceil(tasks / cores) * cores / tasks

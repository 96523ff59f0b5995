"""The plan of a strategy that packs halos and sweeps them with the tile: its tables, its weights, its launch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from numbaconv.blocking import weights
from numbaconv.blocking.blocks import Blocks
from numbaconv.blocking.halo import GEOMETRY as HALO_GEOMETRY
from numbaconv.blocking.halo import Halo
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan

GEOMETRY = (
    f"{HALO_GEOMETRY} {weights.GEOMETRY} {Blocks.GEOMETRY} "
    "phase_table tap_table whole_vectors last_vectors panel panel_row panel_taps straight_taps whole_pieces last_pieces"
)


@dataclass(frozen=True, eq=False, repr=False)
class TiledPlan(Plan):
    """Halos, and panels where ``blocks.flat``, under the tile; ``kernel`` is the strategy's range kernel."""

    kernel: RangeKernel
    tile: Tile
    blocks: Blocks
    layout: Halo = field(init=False)
    zeros: np.ndarray = field(init=False)  # the bias of a call that gives none
    works: dict[bool, launch.Work] = field(init=False)  # by whether the weights are packed; made when first run

    def __post_init__(self) -> None:
        layout = Halo(self.problem, self.blocks.rows, self.blocks.cols, self.tile.lanes)
        object.__setattr__(self, "layout", layout)
        object.__setattr__(self, "zeros", np.zeros(self.problem.out_channels, self.problem.dtype))
        object.__setattr__(self, "works", {})

    @property
    def _panel_row(self) -> int:
        """Elements from one term of the panel to the next: whole vectors, and never a multiple of a page."""
        lanes = self.tile.lanes
        if not self.blocks.flat:
            return lanes
        vectors = -(-self.blocks.rows * self.blocks.cols // lanes)
        return (vectors + (vectors % 16 == 0)) * lanes

    @property
    def scratch(self) -> int:
        """Elements of scratch of one thread."""
        terms = self.blocks.channels * self.problem.taps
        panel = terms * self._panel_row + self.tile.lanes if self.blocks.flat else 0
        return self.layout.size(self.blocks.channels) + panel

    def _work(self, packed: bool) -> launch.Work:
        p, blocks, lanes = self.problem, self.blocks, self.tile.lanes
        w_off = weights.offsets(blocks.channels, p.taps, self.tile.mr, packed)
        in_halo = self.layout.tap_offsets(blocks.channels).ravel()
        in_panel = np.arange(in_halo.size) * self._panel_row
        parts = {
            "phase_table": np.array(self.layout.phases),
            "tap_table": np.stack([in_halo, w_off], axis=1),
            "panel_taps": np.stack([in_panel, w_off], axis=1),
            "straight_taps": np.stack([np.arange(in_halo.size) * p.in_pixels, w_off], axis=1),
        }
        starts = self.layout.row_offsets()
        lines = blocks.rows, p.out_size[1] - (blocks.row_blocks - 1) * blocks.rows
        for name, rows, cols in zip(("whole", "last"), lines, blocks.widths(p), strict=True):
            in_rows = blocks.row_vectors(starts, lanes, p.out_size[2], cols)
            if blocks.flat:  # a block is either whole rows or part of one, so that its pixels are contiguous in y
                parts[f"{name}_vectors"] = blocks.row_vectors(np.zeros(1, int), lanes, 0, rows * cols)
                to = np.arange(blocks.rows)[:, None] * cols + np.arange(0, cols, lanes)
                parts[f"{name}_pieces"] = np.stack([in_rows[:, 0], to.ravel()], axis=1)
            else:
                parts[f"{name}_vectors"], parts[f"{name}_pieces"] = in_rows, np.empty(0)
        places = dict(zip(parts, np.cumsum([0] + [part.size for part in parts.values()]).tolist(), strict=False))
        table = np.concatenate([part.ravel() for part in parts.values()]).astype(np.int64)
        words = self.layout.words() | weights.steps(
            p.out_channels // p.groups, p.terms, p.taps, self.tile.mr, packed
        ) | blocks.words(p, lanes) | places  # fmt: skip
        g = self.kernel.geometry(panel=self.layout.size(blocks.channels), panel_row=self._panel_row, **words)
        constants = (self.tile.mr, self.tile.nv, lanes)
        return launch.Work(self.kernel, p.dtype, constants, blocks.tasks(p), p.macs, self.scratch, table, g)

    def pack(self, weight: np.ndarray) -> weights.Weights:
        return weights.pack_panels(weight, self.tile.mr)

    def borrow(self, weight: np.ndarray) -> weights.Weights:
        return weights.borrow(weight)

    def run(self, x: np.ndarray, weight: weights.Weights, bias: np.ndarray | None, y: np.ndarray, threads: int) -> None:
        work = self.works.get(weight.packed)
        if work is None:
            work = self.works[weight.packed] = self._work(weight.packed)
        work.run(x, weight.flat, self.zeros if bias is None else bias, y, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {self.tile} {self.blocks})"


def why_not(problem: ConvProblem) -> str | None:
    """What every strategy of halos and tiles refuses."""
    if problem.dtype not in ("float32", "float64"):
        return f"its tile computes float32 and float64, not {problem.dtype}"
    if problem.input_dilation != (1, 1, 1):
        return "an input dilation puts gaps between the pixels of a vector; 'transposed' takes its phases apart"
    if problem.is_empty:
        return "there is nothing to multiply"
    return None

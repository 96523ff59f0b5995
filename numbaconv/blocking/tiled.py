"""The plan of a strategy that packs halos and sweeps them with the tile: its tables, its weights, its launch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from numbaconv.blocking import weights
from numbaconv.blocking.blocks import Blocks
from numbaconv.blocking.halo import GEOMETRY as HALO_GEOMETRY
from numbaconv.blocking.halo import Halo
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels import joining
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan

GEOMETRY = (
    f"{HALO_GEOMETRY} {weights.GEOMETRY} {Blocks.GEOMETRY} {ending.GEOMETRY} {ending.ORDER} "
    "phase_table tap_table whole_vectors last_vectors panel panel_taps straight_taps whole_pieces last_pieces "
    "whole_starts last_starts spare own"
)


PENDING = 512 * 1024  # bytes of the sums of a task, where they wait in scratch for what follows


@dataclass(frozen=True, eq=False, repr=False)
class TiledPlan(Plan):
    """Halos, and panels where ``blocks.flat``, under the tile; ``kernel`` is the strategy's range kernel."""

    kernel: RangeKernel
    tile: Tile
    blocks: Blocks
    more_words: tuple[tuple[str, int], ...] = ()  # of the geometry, which the strategy's kernel has besides
    more_scratch: int = 0  # elements at the end of the scratch, at the word "own"
    layout: Halo = field(init=False)
    zeros: np.ndarray = field(init=False)  # the bias of a call that gives none
    works: launch.Works = field(init=False)  # by whether the weights are packed

    def __post_init__(self) -> None:
        if self.moves:
            most = PENDING // 2 if self.problem.reorders else PENDING
            object.__setattr__(self, "blocks", self.blocks.within(self.problem, self.tile, most))
        layout = Halo(self.problem, self.blocks.rows, self.blocks.cols, self.tile.lanes)
        object.__setattr__(self, "layout", layout)
        object.__setattr__(self, "zeros", np.zeros(self.problem.out_channels, self.problem.dtype))
        object.__setattr__(self, "works", launch.Works(self._work))

    @property
    def moves(self) -> bool:
        """Whether the sums of a task wait in scratch for what follows; a strategy with its own scratch sees to that."""
        p = self.problem
        return not self.more_scratch and (p.reorders or (p.tail is not None and p.tail.moves))

    @property
    def scratch(self) -> int:
        """Elements of scratch of one thread: the halo, and a panel of as many pixels as a tile."""
        halo = 0 if self.blocks.straight else self.layout.size(self.blocks.channels)
        terms = self.blocks.channels * self.problem.taps
        return halo + (terms * self.tile.nv + 1) * self.tile.lanes * self.blocks.flat + self.more_scratch

    @property
    def pending(self) -> int:
        """Elements of the sums of a task, where they lie in scratch; and of a row of them, its pixels apart."""
        if not self.moves:
            return 0
        return self.blocks.chunk * (self.blocks.rows + int(self.problem.reorders)) * self.blocks.cols

    def _work(self, packed: bool) -> launch.Work:
        p, blocks, lanes = self.problem, self.blocks, self.tile.lanes
        group_out = p.out_channels // p.groups
        w_off = weights.offsets(blocks.channels, p.taps, self.tile.mr, packed, group_out * p.transposed)
        in_halo = self.layout.tap_offsets(blocks.channels).ravel()
        in_panel = np.arange(in_halo.size) * (self.tile.nv * lanes)
        parts = {
            "phase_table": np.array(self.layout.phases),
            "tap_table": np.stack([in_halo, w_off], axis=1),
            "panel_taps": np.stack([in_panel, w_off], axis=1),
            "straight_taps": np.stack([np.arange(in_halo.size) * p.in_pixels, w_off], axis=1),
        }
        starts = self.layout.row_offsets()
        lines = blocks.rows, p.out_size[1] - (blocks.row_blocks - 1) * blocks.rows
        for name, rows, cols in zip(("whole", "last"), lines, blocks.widths(p), strict=True):
            if blocks.flat:  # a block is either whole rows or part of one, so that its pixels are contiguous in y
                pixels = rows * cols
                at = np.zeros(1, int) if blocks.straight else starts
                parts[f"{name}_vectors"] = blocks.row_vectors(np.zeros(1, int), lanes, 0, pixels)
                parts[f"{name}_pieces"], parts[f"{name}_starts"] = blocks.flat_pieces(at, lanes, pixels)
            else:
                pitch = blocks.cols if self.moves else p.out_size[2]
                parts[f"{name}_vectors"] = blocks.row_vectors(starts, lanes, pitch, cols)
                parts[f"{name}_pieces"] = parts[f"{name}_starts"] = np.empty(0, np.int64)
        border = self.layout.border(blocks.row_blocks, blocks.col_blocks)
        parts["border"] = border.table()
        places = dict(zip(parts, np.cumsum([0] + [part.size for part in parts.values()]).tolist(), strict=False))
        table = np.concatenate([part.ravel() for part in parts.values()])
        words = self.layout.words(border, places.pop("border")) | weights.steps(
            group_out, p.terms, p.taps, self.tile.mr, packed, p.transposed
        ) | blocks.words(p, lanes) | places  # fmt: skip
        panel = 0 if blocks.straight else self.layout.size(blocks.channels)
        own = self.scratch - self.more_scratch
        tail = ending.words(p.tail, p.dtype, self.scratch, p.reorders)
        tail |= ending.order_words(p, self.scratch + blocks.chunk * blocks.rows * blocks.cols)
        tail |= dict(self.more_words)
        spare = self.tile.spare if packed else 0
        g = self.kernel.geometry(panel=panel, own=own, spare=spare, **words, **tail)
        constants = (self.tile.mr, self.tile.nv, lanes)
        dtype = "uint32" if p.products == 4 else p.dtype  # which tells the tile's two kinds of integers apart
        return launch.Work(
            self.kernel, dtype, constants, blocks.tasks(p), p.macs, self.scratch + self.pending, table, g
        )

    def pack(self, weight: np.ndarray) -> weights.Weights:
        """Where products are added two or four at a time, ``weight`` is not joined yet, but of int16 or int8."""
        if self.problem.products == 4:
            return weights.Weights(joining.quads_in_panels(weight, self.tile.mr), True)
        if self.problem.products == 2:
            weight = joining.pairs_of(weight)
        return weights.pack_panels(weight, self.tile.mr)

    def borrow(self, weight: np.ndarray) -> weights.Weights:
        if self.problem.products == 4:
            return self.pack(weight)
        if self.problem.products == 2:
            weight = joining.pairs_of(weight)
        return weights.borrow(weight, self.problem.transposed)

    def run(
        self, x: np.ndarray, weight: weights.Weights, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        work: launch.Work = self.works[weight.packed]
        work.run(x, weight.flat, self.zeros if bias is None else bias, y, threads, residual)

    def __str__(self) -> str:
        return f"({self.strategy} {self.tile} {self.blocks})"


def why_not(problem: ConvProblem, packs: bool = False, products: bool = False, extends: bool = False) -> str | None:
    """What every strategy of halos and tiles refuses.

    packs: whether it reads the input by `extended_row`; extends: whether it at least goes on beyond the ends;
    products: whether its tile adds two or four.
    """
    if problem.products > 1 and not products:
        return f"its tile computes floats, not {problem.products} products of integers at a time"
    if problem.dtype not in ("float32", "float64") and problem.products == 1:
        return f"its tile computes float32 and float64, not {problem.dtype}"
    if problem.swapped:
        return "the arrays of a weight gradient lie image by image, not channel by channel as it reads them"
    if problem.input_dilation != (1, 1, 1):
        return "an input dilation puts gaps between the pixels of a vector; 'transposed' takes its phases apart"
    if problem.is_empty:
        return "there is nothing to multiply"
    return None if packs else why_not_as_it_lies(problem, extends)


def why_not_as_it_lies(problem: ConvProblem, extends: bool = False) -> str | None:
    """What a strategy refuses that reads the input where it lies, with nothing around it unless it ``extends`` it."""
    if problem.is_extended and not extends:
        return f"it leaves out what lies beyond the input, and padding_mode={problem.padding_mode!r} has terms there"
    if problem.is_loaded:
        what = "applies no prologue" if problem.prologue else f"does not convert {problem.x_dtype}"
        return f"it reads the input where it lies, and {what}"
    return None


def why_not_gradient(problem: ConvProblem) -> str | None:
    """What every strategy of the weight gradient refuses."""
    if not problem.swapped:
        return "it sums over images and pixels, for the gradient of weights only"
    return why_not(replace(problem, swapped=False))

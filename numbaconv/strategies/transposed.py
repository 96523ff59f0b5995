"""Transposed: each phase of the outputs is an ordinary convolution with its own taps; no zeros, no scatter of sums.

    y[o, r + s*q] = b[o] + sum_c sum_{t in taps(r)} w[o, c, t] * x[c, q + off(r, t)]           0 <= r < s, per axis

One launch for each phase of depth and height; the phases of the width share its halo, and are put side by side when a
block is done, so that every output is written once, in whole rows. (XNNPACK's subconvolutions; Chang & Kang, 2017.)

Tasks of a launch: as in `direct`, over q. Within a task: channel blocks, each its halo, a sweep for each phase of the
width into scratch; then the rows of the block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import phases, tiled, weights
from numbaconv.blocking.blocks import IN_PLACE, Blocks
from numbaconv.blocking.halo import GEOMETRY as HALO_GEOMETRY
from numbaconv.blocking.halo import Halo
from numbaconv.blocking.phases import AxisPhase
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.pack import join_rows
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 512 * 1024  # bytes for the sums of a block, all phases of its width
JOIN = {1: 0.15, 2: 0.2}  # cycles to write one output from scratch, by stride; else an element at a time
JOIN_ELEMENT = 1.2
TASK = 2000.0  # cycles of a task beside its tiles, from timing depthwise layers of 7x7 to 56x56 on Zen 5


class Transposed(Strategy):
    name = "transposed"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.input_dilation == (1, 1, 1):
            return "without an input dilation there are no phases to take apart"
        if problem.stride != (1, 1, 1):
            return f"its phases are of stride 1, not {problem.stride}"
        return tiled.why_not(replace(problem, input_dilation=(1, 1, 1)), packs=True)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return self._plan(problem, machine).seconds(machine)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return self._plan(problem, machine)

    def _plan(self, problem: ConvProblem, machine: Machine) -> TransposedPlan:
        """The main tile, or the narrow one for few output channels."""
        tiles = (Tile.of(machine, problem.dtype), Tile.narrow(machine, problem.dtype))
        plans = (TransposedPlan(problem, self.name, tile, _rows(problem, machine, tile)) for tile in tiles)
        return min(plans, key=lambda plan: plan.seconds(machine))


@dataclass(frozen=True)
class PhaseRow:
    """One launch: a phase of depth and height, with all phases of the width."""

    depth: AxisPhase
    height: AxisPhase
    widths: tuple[AxisPhase, ...]
    inner: ConvProblem  # over q
    blocks: Blocks

    @property
    def taps(self) -> int:
        """Weights of a channel that the launch uses."""
        return len(self.depth.taps) * len(self.height.taps) * sum(len(phase.taps) for phase in self.widths)


def _rows(problem: ConvProblem, machine: Machine, tile: Tile) -> tuple[PhaseRow, ...]:
    widths = phases.of_axis(problem, 2)
    size = problem.itemsize
    vectors = max(1, min(tile.nv * 4, SCRATCH // (len(widths) * tile.mr * tile.lanes * size)))
    rows = []
    for depth in phases.of_axis(problem, 0):
        for height in phases.of_axis(problem, 1):
            inner = phases.forward_problem(problem, depth, height, widths)
            blocks = Blocks.of(inner, machine, tile, flat=False, vectors=vectors)
            most = SCRATCH // (blocks.vectors(tile.lanes) * tile.lanes * len(widths) * size) // tile.mr * tile.mr
            chunk = min(blocks.chunk, max(tile.mr, most))
            blocks = replace(blocks, chunk=chunk, chunks=ceil(problem.out_channels // problem.groups / chunk))
            rows.append(PhaseRow(depth, height, widths, inner, blocks))
    return tuple(rows)


@dataclass(frozen=True, eq=False, repr=False)
class TransposedPlan(Plan):
    tile: Tile
    rows: tuple[PhaseRow, ...]
    zeros: np.ndarray = field(init=False)
    works: launch.Works = field(init=False)  # by whether the weights are packed; one a row

    def __post_init__(self) -> None:
        object.__setattr__(self, "zeros", np.zeros(self.problem.out_channels, self.problem.dtype))
        object.__setattr__(self, "works", launch.Works(self._row_works))

    def seconds(self, machine: Machine) -> float:
        """Predicted time: each phase's share of the terms under the tile, and joining the rows."""
        p, cycles = self.problem, 0.0
        for row in self.rows:
            group_out, vectors = p.out_channels // p.groups, row.blocks.vectors(self.tile.lanes)
            blocks = row.blocks.tasks(row.inner) / row.blocks.chunks
            terms = p.in_channels // p.groups * row.taps
            each = JOIN.get(p.input_dilation[2], JOIN_ELEMENT) * len(row.widths) * self.tile.lanes
            tile = self.tile.padded(group_out) * terms * self.tile.cycles * IN_PLACE
            cycles += blocks * vectors * (tile + group_out * each)
            cycles += row.blocks.tasks(row.inner) * (TASK + row.blocks.pack_cycles(row.inner, self.tile))
            uneven = ceil(row.blocks.tasks(row.inner) / machine.cores) * machine.cores / row.blocks.tasks(row.inner)
            cycles *= uneven
        return cycles / (machine.clock * 1e9)

    def _panels(self) -> list[tuple[PhaseRow, AxisPhase, int]]:
        """The panels in the order in which they are packed, each with where it starts."""
        p, at, panels = self.problem, 0, []
        padded = ceil(p.out_channels // p.groups / self.tile.mr) * self.tile.mr
        for row in self.rows:
            for width in row.widths:
                panels.append((row, width, at))
                terms = p.in_channels // p.groups * len(row.depth.taps) * len(row.height.taps) * len(width.taps)
                at += p.groups * padded * terms
        return panels

    def pack(self, weight: np.ndarray) -> weights.Weights:
        parts = [
            weights.pack_panels(
                weight[:, :, :, list(row.depth.taps)][:, :, :, :, list(row.height.taps)][..., list(width.taps)],
                self.tile.mr,
            ).flat
            for row, width, _ in self._panels()
        ]
        return weights.Weights(np.concatenate(parts), True)

    def borrow(self, weight: np.ndarray) -> weights.Weights:
        """The user's array ``(in, out/groups, *kernel)`` where it lies, if it is contiguous."""
        if not self.problem.transposed:
            return self.pack(weight)
        return weights.borrow(weight, transposed=True)

    def _row_works(self, packed: bool) -> list[launch.Work]:
        starts = {(row, width): at for row, width, at in self._panels()}
        return [self._work(row, starts, packed) for row in self.rows]

    def _work(self, row: PhaseRow, starts: dict[tuple[PhaseRow, AxisPhase], int], packed: bool) -> launch.Work:
        p, blocks, lanes, mr = self.problem, row.blocks, self.tile.lanes, self.tile.mr
        group_in, group_out = p.in_channels // p.groups, p.out_channels // p.groups
        layout = Halo(row.inner, blocks.rows, blocks.cols, lanes)
        in_halo = layout.tap_offsets(blocks.channels)
        first = -row.inner.padding[2][0]
        kernel = np.arange(p.taps)[::-1].reshape(p.kernel)  # where each flipped tap lies in the user's kernel
        taps, words = [], []
        at = len(row.widths) * WIDTH_WORDS
        for width in row.widths:
            count = len(row.depth.taps) * len(row.height.taps) * len(width.taps)
            x_off = in_halo[..., [offset - first for offset in width.offsets]]
            x_off = x_off.ravel() if count else np.empty(0, int)
            if packed:
                w_off = np.arange(blocks.channels * count) * mr
                steps = weights.steps(group_out, group_in * count, count, mr, packed=True)
                base = starts[row, width]
            else:
                picked = kernel[np.ix_(row.depth.taps, row.height.taps, width.taps)].ravel()
                w_off = (np.arange(blocks.channels)[:, None] * (group_out * p.taps) + picked).ravel()
                steps = {"w_group": group_in * group_out * p.taps, "w_step": p.taps, "w_row": p.taps,
                         "w_channel": group_out * p.taps}  # fmt: skip
                base = 0
            words.append([at, count, base, *(steps[name] for name in ("w_group", "w_step", "w_row", "w_channel"))])
            taps.append(np.stack([x_off, w_off], axis=1).ravel())
            at += taps[-1].size
        vectors = [
            self._vectors(layout.row_offsets(), cols, blocks.vectors(lanes) // blocks.rows)
            for cols in blocks.widths(row.inner)
        ]
        border = layout.border(blocks.row_blocks, blocks.col_blocks)
        parts = np.array(words).ravel(), *taps, *vectors, np.array(layout.phases), border.table()
        table = np.concatenate(parts)
        out_row = blocks.vectors(lanes) * lanes
        halo_size = layout.size(blocks.channels)
        scratch = halo_size + out_row * blocks.chunk * len(row.widths) + lanes
        g = KERNEL.geometry(
            **layout.words(border, table.size - parts[-1].size), **blocks.words(row.inner, lanes),
            phase_table=at + vectors[0].size + vectors[1].size, whole_vectors=at, last_vectors=at + vectors[0].size,
            widths=len(row.widths), out=halo_size, out_row=out_row, out_phase=out_row * blocks.chunk,
            full_d=p.out_size[0], full_h=p.out_size[1], full_w=p.out_size[2],
            phase_d=row.depth.phase, phase_h=row.height.phase,
            step_d=p.input_dilation[0], step_h=p.input_dilation[1], step_w=p.input_dilation[2],
            **ending.words(p.tail, p.dtype, scratch, p.reorders), **ending.order_words(p),
        )  # fmt: skip
        if p.reorders or (p.tail and p.tail.moves):
            scratch += blocks.cols * p.input_dilation[2] + lanes
        macs = row.inner.pixels * p.batch * p.out_channels * group_in * max(1, row.taps)
        return launch.Work(KERNEL, p.dtype, (mr, self.tile.nv, lanes), blocks.tasks(row.inner), macs, scratch, table, g)

    def _vectors(self, starts: np.ndarray, cols: int, per_row: int) -> np.ndarray:
        """Words of the vectors of a block; in scratch each row takes whole vectors."""
        lanes = self.tile.lanes
        rows = enumerate(starts)
        return np.array(
            [(start + v, (r * per_row) * lanes + v, lanes) for r, start in rows for v in range(0, cols, lanes)]
        ).ravel()

    def run(
        self, x: np.ndarray, weight: weights.Weights, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        for work in self.works[weight.packed]:
            work.run(x, weight.flat, self.zeros if bias is None else bias, y, threads, residual)

    def __str__(self) -> str:
        row = self.rows[0]
        return f"({self.strategy} {len(self.rows)}x{len(row.widths)} phases {self.tile} {row.blocks})"


WIDTH_WORDS = 7  # of a phase of the width: its taps' place and count, its weights' base and steps


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    pack_halo, place = make_pack_halo(lanes), ending.make_place(lanes)
    sweep = make_sweep(mr, nv, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            channel, group, m, (depth, row, col) = locate(task, g)
            rows = min(g.chunk_rows, g.group_out - m)
            lines = min(g.block_rows, g.out_h - row)
            last = col + g.block_cols >= g.out_w
            vectors = g.last_vectors if last else g.whole_vectors
            count = lines * (g.last_row_vectors if last else g.row_vectors)
            image = channel // g.groups
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                x_at = image * g.x_n + (group * g.group_in + c) * g.x_c
                pack_halo(scratch, x, x_at, (depth, row, col), channels, table, g)
                for phase in range(g.widths):
                    at = phase * WIDTH_WORDS
                    w_at = table[at + 2] + group * table[at + 3] + m * table[at + 4] + c * table[at + 6]
                    sweep(
                        (scratch, g.out + phase * g.out_phase, g.out_row),
                        (w, w_at, table[at + 5], table[at + 4]),
                        (scratch, 0),
                        (b, group * g.group_out + m),
                        (table, vectors, table[at]),
                        channels * table[at + 1],
                        rows,
                        count,
                        1 if c == 0 else 0,
                    )
            d = g.phase_d + depth * g.step_d
            for i in range(rows):
                o = group * g.group_out + m + i
                plane = image * g.y_n + o * g.y_c + d * g.y_d
                for line in range(lines):
                    h = g.phase_h + (row + line) * g.step_h
                    y_at = plane + h * g.y_h + col * g.step_w * g.y_w
                    sums, sums_at = (scratch, g.pending) if g.staged else (y, y_at)
                    columns = min(g.block_cols * g.step_w, g.full_w - col * g.step_w)
                    join_rows(
                        (sums, sums_at, 0),
                        (scratch, g.out + i * g.out_row + line * g.row_vectors * lanes, 0, g.out_phase, 0),
                        1,
                        columns,
                        g.step_w,
                        lanes,
                    )
                    if g.reorders:
                        place(y, y_at, (scratch, g.pending, 0, 0), r, (1, 1, columns), o, g)
                    elif g.finish:
                        ending.finish((y, y_at, 0, 0), (sums, sums_at, 0, 0), r, (1, 1, columns), o, g)

    return tasks


KERNEL = RangeKernel(
    "transposed",
    make_tasks,
    f"{HALO_GEOMETRY} {Blocks.GEOMETRY} phase_table whole_vectors last_vectors widths out out_row out_phase "
    f"full_d full_h full_w phase_d phase_h step_d step_h step_w {ending.GEOMETRY} {ending.ORDER}",
)
STRATEGY = Transposed()

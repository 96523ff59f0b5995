"""Subpixel: a transposed convolution as one ordinary convolution to a channel for each phase, whose pixels interleave.

    z[(o, r), q] = sum_c sum_m w[c, o, s*m + r] * x[c, q - m]          y[o, s*q + r - p] = b[o] + z[(o, r), q]

per axis: 0 <= r < s, 0 <= m < k / s. All phases read the same inputs, so a panel serves s*s times as many rows as
there are output channels, and few channels fill a tile. Where the stride does not divide the kernel some weights would
be missing, and zeros for them would meet inf: `transposed` takes those. (Shi et al., arXiv:1609.05158, turned round.)

Tasks as in `im2col`, over q. Within a task: channel blocks, each its halo; groups of vectors, each its panel under all
rows (o, r), into scratch; then the rows of the block, their phases of the width interleaved.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, lcm, prod
from typing import Any

import numpy as np

from numbaconv.blocking import tiled, weights
from numbaconv.blocking.blocks import Blocks
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.pack import join_rows
from numbaconv.microkernels.sweep import make_panel_sweep
from numbaconv.microkernels.task import locate
from numbaconv.microkernels.tile import Tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 512 * 1024  # bytes for the sums of a block, at most; and a share of the second cache
SHARE = 0.25
FEW = 2**15  # weights that are put in order for one call, in some 0.3 ms
JOIN = {1: 0.3, 2: 0.4}  # cycles to write an output from scratch, by stride; else an element at a time
JOIN_ELEMENT = 1.5
JOIN_ROW = 15.0


class Subpixel(Strategy):
    name = "subpixel"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.input_dilation == (1, 1, 1):
            return "without an input dilation there is one phase, an ordinary convolution"
        if (problem.stride, problem.dilation) != ((1, 1, 1), (1, 1, 1)):
            return f"its phases are of stride and dilation 1, not {problem.stride} and {problem.dilation}"
        axes = list(zip(problem.kernel, problem.input_dilation, strict=True))
        if any(k % s for k, s in axes):
            return (
                f"the stride {problem.input_dilation} must divide the kernel {problem.kernel}, or weights are missing"
            )
        tile, size = Tile.of(machine, problem.dtype), 8 if problem.dtype == "float64" else 4
        if lcm(prod(problem.input_dilation), tile.mr) * tile.nv * tile.lanes * size > SCRATCH:
            return f"the sums of {problem.input_dilation} phases exceed its {SCRATCH // 1024} KiB"
        return tiled.why_not(replace(problem, input_dilation=(1, 1, 1)), packs=True)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        inner, tile, blocks = _cut(problem, machine)
        each = JOIN.get(problem.input_dilation[2], JOIN_ELEMENT)
        rows = problem.batch * problem.out_channels * problem.out_size[0] * problem.out_size[1] * blocks.col_blocks
        join = problem.batch * problem.out_channels * problem.pixels * each + rows * JOIN_ROW
        return blocks.seconds(inner, machine, tile) + join / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        inner, tile, blocks = _cut(problem, machine)
        axes = zip("dhw", problem.input_dilation, problem.out_size, starts_of(problem), strict=True)
        words = {
            f"{word}_{axis}": n for axis, *sizes in axes for word, n in zip(("step", "full", "cut"), sizes, strict=True)
        }
        pitch = blocks.vectors(tile.lanes) * tile.lanes
        words |= {"phases": prod(problem.input_dilation), "pitch": pitch}
        waits = problem.reorders or (problem.tail and problem.tail.moves)
        row = blocks.cols * problem.input_dilation[2] + tile.lanes if waits else 0
        words |= ending.order_words(problem)  # not of the inner problem
        plan = tiled.TiledPlan(inner, self.name, KERNEL, tile, blocks, tuple(words.items()), pitch * blocks.chunk + row)
        return SubpixelPlan(problem, self.name, plan, plan_child(problem, self.name))


def starts_of(problem: ConvProblem) -> tuple[int, ...]:
    """Per axis: how many outputs of the first q lie before the result, less than the stride."""
    return tuple(
        (k - 1 - lo) % s for k, (lo, _), s in zip(problem.kernel, problem.padding, problem.input_dilation, strict=True)
    )


def inner_problem(problem: ConvProblem) -> ConvProblem:
    """The ordinary problem over q, from the first that has an output in the result to the last."""
    kernel, padding = [], []
    for n, k, (lo, _), s, out in zip(
        problem.in_size, problem.kernel, problem.padding, problem.input_dilation, problem.out_size, strict=True
    ):
        p, taps = k - 1 - lo, k // s
        first, last = p // s, (out - 1 + p) // s
        kernel.append(taps)
        padding.append((taps - 1 - first, last + 1 - n))
    depth, height, width = padding
    return replace(
        problem,
        out_channels=problem.out_channels * prod(problem.input_dilation),
        kernel=(kernel[0], kernel[1], kernel[2]),
        input_dilation=(1, 1, 1),
        padding=(depth, height, width),
        transposed=False,
    )


def _cut(problem: ConvProblem, machine: Machine) -> tuple[ConvProblem, Tile, Blocks]:
    """Chunks are whole output channels and whole tiles, and a block's sums stay within their scratch."""
    inner, tile = inner_problem(problem), Tile.of(machine, problem.dtype)
    blocks = Blocks.of(inner, machine, tile, flat=True)
    phases, size = prod(problem.input_dilation), 8 if problem.dtype == "float64" else 4
    pitch = blocks.vectors(tile.lanes) * tile.lanes
    while pitch * phases * size > SCRATCH and pitch > tile.nv * tile.lanes:
        blocks = Blocks.of(inner, machine, tile, flat=True, vectors=max(tile.nv, pitch // tile.lanes // 2))
        pitch = blocks.vectors(tile.lanes) * tile.lanes
    rows = problem.out_channels // problem.groups * phases
    unit = lcm(phases, tile.mr)
    room = min(SCRATCH, int(SHARE * machine.l2))
    most = max(unit, min(blocks.chunk, room // (pitch * size)) // unit * unit)
    chunk = min(rows, most)
    return inner, tile, replace(blocks, chunk=chunk, chunks=ceil(rows / chunk))


def phase_weights(problem: ConvProblem, weight: np.ndarray) -> np.ndarray:
    """``(groups, out/groups * phases, in/groups, kd, kh, kw)`` of the inner problem.

    Tap n of phase r is tap ``s*(taps - 1 - n) + r`` of the user's kernel, which ``weight`` has flipped.
    """
    groups, outs, ins = weight.shape[:3]
    steps = problem.input_dilation
    taps = [k // s for k, s in zip(problem.kernel, steps, strict=True)]
    # Flipped back, tap s*m + r is element (m, r); m runs backwards.
    sizes = [size for pair in zip(taps, steps, strict=True) for size in pair]
    parts = weight[..., ::-1, ::-1, ::-1].reshape(groups, outs, ins, *sizes)
    parts = parts[:, :, :, ::-1, :, ::-1, :, ::-1].transpose(0, 1, 4, 6, 8, 2, 3, 5, 7)
    return parts.reshape(groups, outs * prod(steps), ins, *taps)


@dataclass(frozen=True, eq=False, repr=False)
class SubpixelPlan(Plan):
    inner: tiled.TiledPlan
    plain: Plan  # for many weights that are used once: to put them in order costs more than is gained

    def pack(self, weight: np.ndarray) -> weights.Weights:
        return self.inner.pack(phase_weights(self.problem, weight))

    def borrow(self, weight: np.ndarray) -> Any:
        return self.pack(weight) if weight.size <= FEW else Borrowed(self.plain.borrow(weight))

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
    pack_halo, place = make_pack_halo(lanes), ending.make_place(lanes)
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
                pack_halo(scratch, x, x_at, (depth, row, col), channels, table, g)
                panel_sweep(
                    (scratch, g.own, g.pitch),
                    (w, group * g.w_group + m * g.w_step + c * g.w_channel, g.w_row, g.w_step),
                    (scratch, g.panel),
                    (scratch, 0, scratch.size),
                    (b, group * g.group_out + m),
                    (table, vectors, g.panel_taps, g.tap_table, pieces, starts),
                    channels * g.taps,
                    rows,
                    (lines * cols + lanes - 1) // lanes,
                    1 if c == 0 else 0,
                    g.spare,
                )
            left = max(0, col * g.step_w - g.cut_w)
            count = min((col + cols) * g.step_w - g.cut_w, g.full_w) - left
            skip = left + g.cut_w - col * g.step_w
            for i in range(0, rows, g.step_w):
                o, phase = divmod(m + i, g.phases)
                phase_d, phase_h = divmod(phase // g.step_w, g.step_h)
                d = depth * g.step_d + phase_d - g.cut_d
                if d < 0 or d >= g.full_d:
                    continue
                o += group * (g.group_out // g.phases)
                plane = image * g.y_n + o * g.y_c + d * g.y_d
                for line in range(lines):
                    h = (row + line) * g.step_h + phase_h - g.cut_h
                    if h >= 0 and h < g.full_h:
                        y_at = plane + h * g.y_h + left * g.y_w
                        sums, sums_at = (scratch, g.own + g.pitch * g.chunk_rows) if g.staged else (y, y_at)
                        join_rows(
                            (sums, sums_at),
                            (scratch, g.own + i * g.pitch + line * cols, g.pitch, skip),
                            count,
                            g.step_w,
                            lanes,
                        )
                        if g.reorders:
                            place(y, y_at, (scratch, sums_at, 0, 0), r, (1, 1, count), o, g)
                        elif g.finish:
                            ending.finish((y, y_at, 0, 0), (sums, sums_at, 0, 0), r, (1, 1, count), o, g)

    return tasks


KERNEL = RangeKernel(
    "subpixel",
    make_tasks,
    # Its own words first: a record that begins as another one's fields is a subtype to Numba, which warns of it.
    f"phases pitch step_d step_h step_w full_d full_h full_w cut_d cut_h cut_w {tiled.GEOMETRY}",
)
STRATEGY = Subpixel()

"""Groupwise: vectors whose lanes are groups, so that neither narrow maps nor groups of few channels leave lanes empty.

    y[o, p, lane] = b[o, lane] + sum_c sum_t w[o, c, t, lane] * halo[c, at(p) + off(t), lane]       lane = group

Wins for depthwise kernels on small maps, where rows are shorter than a vector, with strides, and of many taps; and for
groups of a few channels, which do not fill the rows of a tile. A plane is transposed on the way in and on the way out.
What lies beyond the ends of the input is copied within the planes, whole vectors at a time.

Tasks: (image, as many groups as lanes, output depth, block of rows). Within a task: the planes of the input channels
into lanes, then output channels, pixels ``nv`` at a time, taps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, log2
from typing import Any

import numpy as np

from numbaconv.blocking import tiled, weights
from numbaconv.blocking.border import Border
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels import border as ends
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.border import source
from numbaconv.microkernels.groups import group_tile, scatter_lanes
from numbaconv.microkernels.pack import copy_rows
from numbaconv.microkernels.winograd import channels_to_lanes, lanes_to_channels
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 512 * 1024  # bytes of a block's inputs and sums
WEIGHTS = 256 * 1024  # bytes of the weights of as many groups as lanes
NEAR = 0.25  # share of the second cache that a block had better keep to
# Registers: (mr, nv) for several output channels of a group and for one: 2*10 acc + 2 w + 1 x = 23 of 32, 10 acc + 1 w;
# with 16 registers 2*6 + 2 + 1 = 15.
PIXELS = {32: (10, 10), 16: (6, 10)}


# Cycles, from timing on Zen 4, two thirds of them: its vectors of 64 bytes take two cycles where the model of all
# strategies counts one. A shuffle, a load and a store of a square; an fma that loads its input, or shares it with
# another; the same where the inputs come from the second cache; a task; a pixel's pointers and its store.
SQUARE_STAGE, SQUARE_MOVE = 0.7, 1.3
FMA = {16: (0.52, 0.45), 32: (0.52, 0.45), 64: (0.62, 0.53)}  # by the bytes of a vector
FAR = 1.15
TASK = 200.0
WEIGHT = 8  # multiply-adds of a full tile in the time of one: 960 channels of 7x7, 3x3, take 38 us on one thread
PIXEL = 1.5


class Groupwise(Strategy):
    name = "groupwise"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.groups < 2:
            return "its lanes are groups, of which there is one"
        refusal = tiled.why_not(problem, extends=True)
        if refusal is not None:
            return refusal
        lanes, size = machine.lanes(problem.dtype), problem.itemsize
        if problem.out_channels // problem.groups * problem.terms * lanes * size > WEIGHTS:
            return f"the weights of {lanes} groups exceed its {WEIGHTS // 1024} KiB"
        if Cut(problem, lanes, 1).size * size > SCRATCH:
            return f"a row of {lanes} groups, with all that it reads, exceeds its {SCRATCH // 1024} KiB"
        return None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return cut(problem, machine).seconds(machine)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return GroupwisePlan(problem, self.name, cut(problem, machine), PIXELS[machine.registers])


@dataclass(frozen=True)
class Cut:
    """Blocks of ``rows`` output rows, of ``lanes`` groups."""

    problem: ConvProblem
    lanes: int
    rows: int

    @property
    def row_blocks(self) -> int:
        return ceil(self.problem.out_size[1] / self.rows)

    @property
    def in_rows(self) -> int:
        """Input rows that a block reads."""
        p = self.problem
        return (self.rows - 1) * p.stride[1] + (p.kernel[1] - 1) * p.dilation[1] + 1

    @property
    def reach(self) -> int:
        """Input columns that a row of outputs reads."""
        p = self.problem
        return (p.out_size[2] - 1) * p.stride[2] + (p.kernel[2] - 1) * p.dilation[2] + 1

    @property
    def before(self) -> int:
        """Columns before those: of an input that goes on, all are there to be copied from."""
        return max(0, -self.problem.padding[2][0]) if self.problem.is_extended else 0

    @property
    def pitch(self) -> int:
        """Columns of a plane."""
        pitch, p = self.before + self.reach, self.problem
        return max(pitch, self.before + p.padding[2][0] + p.in_size[2]) if p.is_extended else pitch

    @property
    def plane(self) -> int:
        return self.in_rows * self.pitch * self.lanes

    @property
    def halo(self) -> int:
        """Elements of all planes, and of a place for pixels that nobody reads."""
        p = self.problem
        return (p.in_channels // p.groups * p.kernel[0]) * self.plane + self.lanes

    @property
    def sums(self) -> int:
        """Elements of the sums of one output channel of each group, to whole squares of lanes."""
        return ceil(self.rows * self.problem.out_size[2] / self.lanes) * self.lanes * self.lanes

    @property
    def size(self) -> int:
        return self.halo + 2 * self.sums

    @property
    def tasks(self) -> int:
        p = self.problem
        return p.batch * ceil(p.groups / self.lanes) * p.out_size[0] * self.row_blocks

    def seconds(self, machine: Machine) -> float:
        """Squares of lanes in and out, fma's with a load each, and what a task costs."""
        p, lanes = self.problem, self.lanes
        square = lanes * (SQUARE_STAGE * log2(lanes) + SQUARE_MOVE)
        inner, outer = p.in_channels // p.groups, p.out_channels // p.groups
        rows = min(self.in_rows, p.in_size[1])
        moved = inner * p.kernel[0] * ceil(rows * p.in_size[2] / lanes) + outer * self.sums / lanes**2
        _, nv = PIXELS[machine.registers]
        pixels = ceil(self.rows * p.out_size[2] / nv) * nv
        far = FAR if self.halo * p.itemsize > machine.l1 * 2 else 1.0
        fma = far * FMA[machine.vector_bytes][outer > 1]
        work = TASK + moved * square + self.halo / lanes + outer * pixels * (p.terms * fma + PIXEL)
        uneven = ceil(self.tasks / machine.cores) * machine.cores / self.tasks
        return self.tasks * work * uneven / (machine.clock * 1e9)


@lru_cache(1024)  # asked for the cost, then for the plan
def cut(problem: ConvProblem, machine: Machine) -> Cut:
    """The tallest blocks that stay in the second cache, or the largest of a single row, evened out."""
    lanes, size = machine.lanes(problem.dtype), problem.itemsize
    out_h = problem.out_size[1]
    options = sorted({ceil(out_h / n) for n in range(1, out_h + 1)}, reverse=True)
    fitting = [rows for rows in options if Cut(problem, lanes, rows).size * size <= min(SCRATCH, NEAR * machine.l2)]
    return min((Cut(problem, lanes, rows) for rows in fitting[:4] or [1]), key=lambda one: one.seconds(machine))


@dataclass(frozen=True, eq=False, repr=False)
class GroupwisePlan(Plan):
    cut: Cut
    pixels: tuple[int, int]  # of a tile of two output channels, and of one
    zeros: np.ndarray = field(init=False)
    works: launch.Works = field(init=False)  # by whether the weights are packed

    def __post_init__(self) -> None:
        object.__setattr__(self, "zeros", np.zeros(self.problem.out_channels, self.problem.dtype))
        object.__setattr__(self, "works", launch.Works(self._work))

    def _work(self, packed: bool) -> launch.Work:
        p, c = self.problem, self.cut
        lanes, (_, out_h, out_w) = c.lanes, p.out_size
        inner, outer = p.in_channels // p.groups, p.out_channels // p.groups
        # Where in a plane the pixels of the input's rows go; -1 for columns that no output reads.
        first = p.padding[2][0] + c.before
        column = np.arange(p.in_size[2]) + first
        kept = (column >= 0) & (column < c.pitch)
        row = np.arange(c.in_rows)[:, None]
        places = np.where(kept, (row * c.pitch + column) * lanes, -1)
        planes = np.arange(inner * p.kernel[0]).reshape(-1, 1, 1) * c.plane
        along = np.arange(p.kernel[2]) * p.dilation[2]
        down = np.arange(p.kernel[1])[:, None] * (p.dilation[1] * c.pitch)
        at = np.arange(c.rows)[:, None] * (p.stride[1] * c.pitch) + np.arange(out_w) * p.stride[2] + c.before
        border = Border(p, (
            (p.out_size[0] - 1) * p.stride[0] + (p.kernel[0] - 1) * p.dilation[0] + 1 - p.padding[0][0],
            (c.row_blocks - 1) * c.rows * p.stride[1] + c.in_rows - p.padding[1][0], c.pitch - first,
        ))  # fmt: skip
        tables = {
            "places": places, "taps": planes + (down + along) * lanes, "pixels": at * lanes, "border": border.table(),
        }  # fmt: skip
        starts = dict(zip(tables, np.cumsum([0] + [t.size for t in tables.values()]).tolist(), strict=False))
        own = c.halo + 2 * c.sums
        bias = own + (0 if packed else outer * p.terms * lanes + lanes * lanes)
        constant = bias + outer * lanes
        size = constant + lanes
        g = KERNEL.geometry(
            **border.words(starts.pop("border")), **starts, first=first,
            raw=int(not packed), groups=p.groups, group_in=inner, group_out=outer, terms=p.terms,
            in_d=p.in_size[0], in_h=p.in_size[1], in_w=p.in_size[2], out_d=p.out_size[0], out_h=out_h, out_w=out_w,
            kernel_d=p.kernel[0], stride_d=p.stride[0], stride_h=p.stride[1], dilation_d=p.dilation[0],
            pad_d=p.padding[0][0], pad_h=p.padding[1][0], lane_blocks=ceil(p.groups / lanes),
            block_rows=c.rows, row_blocks=c.row_blocks, in_rows=c.in_rows, pitch=c.pitch, plane=c.plane, halo=c.halo,
            sums=c.sums, weights=own, bias=bias, constant=constant, whole=int(kept.all()),
            **ending.words(p.tail, p.dtype, size),
        )  # fmt: skip
        if p.tail and p.tail.moves:
            size += c.rows * out_w * lanes
        table = np.concatenate([t.ravel() for t in tables.values()])
        return launch.Work(KERNEL, p.dtype, (*self.pixels, lanes), c.tasks, WEIGHT * p.macs, size, table, g)

    def pack(self, weight: np.ndarray) -> weights.Weights:
        """``(blocks of groups, out/groups, terms, lanes)``; lanes without a group are zero."""
        p, lanes = self.problem, self.cut.lanes
        blocks, outer = ceil(p.groups / lanes), p.out_channels // p.groups
        flat = np.zeros((blocks * lanes, outer * p.terms), p.dtype)
        flat[: p.groups] = weight.reshape(p.groups, -1)
        return weights.Weights(np.ascontiguousarray(flat.reshape(blocks, lanes, -1).swapaxes(1, 2)).reshape(-1), True)

    def borrow(self, weight: np.ndarray) -> weights.Weights:
        return weights.borrow(weight)

    def run(
        self, x: np.ndarray, weight: weights.Weights, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        work: launch.Work = self.works[weight.packed]
        work.run(x, weight.flat, self.zeros if bias is None else bias, y, threads, residual)

    def __str__(self) -> str:
        return f"({self.strategy} {self.cut.lanes} {self.cut.rows} rows)"


def make_fill(lanes: int) -> Callable[..., None]:
    def vectors(scratch: Any, to: int, step: int, place: int, place_step: int, count: int) -> None:
        copy_rows((scratch, to, step), (scratch, place, place_step), count, (0, lanes), lanes, lanes)

    vectors = inline(vectors, lanes)

    def columns(scratch: Any, to: int, lines: int, table: Any, g: Any) -> None:
        """The columns beyond the ends of ``lines`` rows."""
        pitch = g.pitch * lanes
        for n in range(g.pitch - g.in_w):
            j = n if n < g.first else n + g.in_w
            column = source(j - g.first, g.in_w, g.map_w, table)
            if column >= 0:
                vectors(scratch, to + j * lanes, pitch, to + (column + g.first) * lanes, pitch, lines)
            else:
                vectors(scratch, to + j * lanes, pitch, g.constant, 0, lines)

    columns = inline(columns, lanes)

    def rows(scratch: Any, to: int, x: Any, at: int, lines: int, channels: int, table: Any, g: Any) -> None:
        """Rows that lie one after the other in x."""
        scatter_lanes((scratch, to, g.halo - lanes - to), (x, at, g.group_in * g.in_d * g.in_h * g.in_w),
                      (table, g.places), lines * g.in_w, channels, lanes)  # fmt: skip
        if g.extends != 0:
            columns(scratch, to, lines, table, g)

    rows = inline(rows, lanes)

    def row_beyond(scratch: Any, to: int, x: Any, at: int, place: Any, channels: int, table: Any, g: Any) -> None:
        """Row ``i`` of a plane, from one of its rows ``top..bottom`` of the input, or else from x."""
        i, h, top, bottom = place
        pitch = g.pitch * lanes
        line = source(h + i, g.in_h, g.map_h, table)
        if line < 0:
            vectors(scratch, to + i * pitch, lanes, g.constant, 0, g.pitch)
        elif top <= line < bottom:
            vectors(scratch, to + i * pitch, lanes, to + (line - h) * pitch, lanes, g.pitch)
        else:
            rows(scratch, to + i * pitch, x, at + line * g.in_w, 1, channels, table, g)

    row_beyond = inline(row_beyond, lanes)

    def fill(scratch: Any, x: Any, first: int, channels: int, depth: int, row: int, table: Any, g: Any) -> None:
        """The inputs of a block of rows; ``first``: the first channel of the first group, in x."""
        h = row * g.stride_h - g.pad_h
        top, bottom = max(0, h), min(g.in_h, h + g.in_rows)
        pitch = g.pitch * lanes
        for c in range(g.group_in):
            for z in range(g.kernel_d):
                d = depth * g.stride_d - g.pad_d + z * g.dilation_d
                if g.extends != 0:
                    d = source(d, g.in_d, g.map_d, table)
                to = (c * g.kernel_d + z) * g.plane
                lies = 0 <= d < g.in_d
                inside = lies and top < bottom
                at = ((first + c) * g.in_d + d) * g.in_h * g.in_w
                if g.extends != 0:
                    if not lies:
                        vectors(scratch, to, lanes, g.constant, 0, g.in_rows * g.pitch)
                elif not inside or g.in_rows > bottom - top or g.pitch > g.in_w or g.whole == 0:
                    scratch[to : to + g.plane] = 0
                if inside:
                    rows(scratch, to + (top - h) * pitch, x, at + top * g.in_w, bottom - top, channels, table, g)
                if g.extends != 0 and lies:
                    for i in range(g.in_rows):
                        if not top <= h + i < bottom:
                            row_beyond(scratch, to, x, at, (i, h, top, bottom), channels, table, g)

    return inline(fill, lanes)


def make_tasks(nv_2: int, nv_1: int, lanes: int) -> Callable[..., None]:
    fill = make_fill(lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        if g.extends != 0:
            ends.fill(scratch, g.constant, lanes, table, g)
        for task in range(lo, hi):
            rest, row_block = divmod(task, g.row_blocks)
            rest, depth = divmod(rest, g.out_d)
            image, block = divmod(rest, g.lane_blocks)
            group, row = block * lanes, row_block * g.block_rows
            channels, lines = min(lanes, g.groups - group), min(g.block_rows, g.out_h - row)
            count = lines * g.out_w
            fill(scratch, x, (image * g.groups + group) * g.group_in, channels, depth, row, table, g)
            kernels, w_at = w, block * lanes * g.group_out * g.terms
            if g.raw:
                each = g.group_out * g.terms
                channels_to_lanes((scratch, g.weights), (w, group * each, each), (0, each), each, channels, lanes)
                kernels, w_at = scratch, g.weights
            for o in range(g.group_out):
                for lane in range(lanes):
                    scratch[g.bias + o * lanes + lane] = b[(group + min(lane, channels - 1)) * g.group_out + o]
            o = 0
            while o < g.group_out:
                several = 2 if o + 1 < g.group_out else 1
                out = (scratch, g.halo, g.sums)
                kernel, bias = (kernels, w_at + o * g.terms * lanes, g.terms * lanes), (scratch, g.bias + o * lanes)
                if several == 2:
                    group_tile(out, (scratch, 0), kernel, bias, (table, g.pixels, g.taps), g.terms, count, 2, nv_2,
                               lanes)  # fmt: skip
                else:
                    group_tile(out, (scratch, 0), kernel, bias, (table, g.pixels, g.taps), g.terms, count, 1, nv_1,
                               lanes)  # fmt: skip
                plane = g.out_d * g.out_h * g.out_w
                for m in range(several):
                    first = (image * g.groups + group) * g.group_out + o + m
                    y_at = first * plane + (depth * g.out_h + row) * g.out_w
                    step = g.group_out * plane
                    sums, sums_at, sums_step = (scratch, g.pending, count) if g.staged else (y, y_at, step)
                    lanes_to_channels(
                        (sums, sums_at, sums_step), (scratch, g.halo + m * g.sums), count, channels, lanes
                    )
                    for lane in range(channels if g.finish else 0):
                        ending.finish((y, y_at + lane * step, 0, 0), (sums, sums_at + lane * sums_step, 0, 0), r,
                                      (1, 1, count), (group + lane) * g.group_out + o + m, g)  # fmt: skip
                o += several

    return tasks


KERNEL = RangeKernel(
    "groupwise",
    make_tasks,
    "places taps pixels raw groups group_in group_out terms in_d in_h in_w out_d out_h out_w kernel_d stride_d "
    "stride_h dilation_d pad_d pad_h lane_blocks block_rows row_blocks in_rows pitch plane halo sums weights bias "
    f"constant whole first {ends.GEOMETRY} {ending.GEOMETRY}",
)
STRATEGY = Groupwise()

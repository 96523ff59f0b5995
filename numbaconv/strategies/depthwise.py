"""Depthwise, and other groups of few channels: each vector of a channel feeds every output row that it is a tap of.

    y[o, i, p] = b[o] + sum_c sum_r sum_t w[o, c, r, t] * x[c, i*s + r*d, p*s + t*d]

A tile is eight rows of outputs under up to seven rows of the kernel: for each tap column, 7 + 8 - 1 vectors and 7
weights are loaded for 56 fma's, where a tile that shares no rows would load 56 vectors. Taller kernels are summed in
pieces. On maps no wider than half a vector, the halves are of two channels. Inputs are read where they lie and nothing
is packed: at the border, vectors are loaded under masks. Where the border is more than zeros, a map says which row each
line is, and only the columns beyond the ends of lines are packed. Of an input of another dtype, the rows of a set are.
With a dilation, rows d apart make up a tile, and d such sets the image.

Tasks: (image, block of output channels, depth, block of rows). Within a task: output channels, sets of rows, input
channels, planes and pieces of the kernel, row tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import tiled
from numbaconv.blocking.border import Border
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels import border as ends
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.border import extended_row, fill, source
from numbaconv.microkernels.tile import ROW_TILE_HEIGHTS, row_tile
from numbaconv.problem import ConvProblem
from numbaconv.reading import sources
from numbaconv.strategy import Plan, PlanChild, Strategy

STRIDES = (1, 2)
# Cycles on Zen 5 (AVX-512): an fma; a load, which nearly always crosses a cache line; what a tile and a channel cost
# besides (its last stores, the zeros around it). One tap column of 8 rows: 8, 11, 12, 21, 30 cycles for 1, 2, 3, 5, 7.
FMA, LOAD, TILE, CHANNEL = 0.53, 0.95, 45.0, 60.0
# What a tile costs besides where it does not meet the ends of its row, by the bytes of a vector. With 32 of them, 39,
# 42 and 49 cycles a tile on rows of 112, 56 and 28 pixels, of which 19 are fma's (Zen 4 as AVX2).
INNER = {16: 14.0, 32: 14.0, 64: TILE}
PAIRED = 0.65  # of the time of two channels one by one, 7x7: 99 cycles a channel for 159, at stride 2 180 for 257
WEIGHT = 8  # multiply-adds of a full tile in the time of one on a map of 7x7: 960 channels take 40 us on one thread
PACKED = 1024 * 1024  # bytes of scratch for packed rows or ends of lines, of two channels
PACK, PACK_ROW = 3.0, 25.0  # cycles to pack a vector, and a row besides
END = 8.0  # an element beyond the end of a line, and what tiles cost there: 3x3 10, 7x7 6, at stride 2 12 to 18 (Zen 4)
TASK_MACS = 100_000  # some 5 us: a task costs a tenth of a microsecond to take


class Depthwise(Strategy):
    name = "depthwise"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.out_size[1] < 2:
            return "its tiles are rows of outputs; here is only one"
        if problem.stride[1] != problem.stride[2] or problem.stride[1] not in STRIDES:
            return f"its tiles have a stride of 1 or 2 along both axes, not {problem.stride[1:]}"
        if problem.stride[1] > 1 and problem.dilation[1:] != (1, 1):
            return (
                f"at stride {problem.stride[1]} it takes neighbouring taps together, not {problem.dilation[1:]} apart"
            )
        refusal = tiled.why_not(problem, packs=True)
        if refusal is None:
            rows = _blocks(problem, machine)[1]
            if max(_packed(problem, rows)[1], Ends.of(problem, rows).size) * 2 * problem.itemsize > PACKED:
                return f"the rows of a task, packed, exceed its {PACKED // 1024} KiB"
        return refusal

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        lanes, stride, height = machine.lanes(problem.dtype), problem.stride[1], problem.kernel[1]
        nv = rows_of_tile(machine, stride)
        pieces = pieces_of(height)
        tap = sum(max(nv * n * FMA, ((nv - 1) * stride + n) * stride * LOAD) for n in pieces)
        vectors = ceil(problem.out_size[2] / lanes)
        besides = (min(vectors, 2) * TILE + max(0, vectors - 2) * INNER[machine.vector_bytes]) / vectors
        tile = problem.kernel[2] * tap + len(pieces) * besides
        tile *= problem.kernel[0] * (problem.in_channels // problem.groups)
        lines = problem.dilation[1] * ceil(problem.out_size[1] / (nv * problem.dilation[1]))
        each = lines * vectors * tile + CHANNEL
        paired = problem.groups == problem.in_channels == problem.out_channels and problem.out_size[2] <= lanes // 2
        planes = problem.batch * problem.out_channels * problem.out_size[0] * (PAIRED if paired else 1.0)
        planes_read = problem.terms // problem.taps * problem.kernel[0]
        if problem.is_loaded:
            width, size = _packed(problem, problem.out_size[1])
            each += planes_read * (size / lanes * PACK + size / width * PACK_ROW)
        each += planes_read * Ends.of(problem, problem.out_size[1]).size * END
        seconds = planes * each / (machine.clock * 1e9)
        tasks = _tasks(problem, *_blocks(problem, machine))
        return seconds * ceil(tasks / machine.cores) * machine.cores / tasks

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        constants = tuple(rows_of_tile(machine, stride) for stride in STRIDES)
        constants = (*constants, machine.lanes(problem.dtype), int(problem.is_extended and not problem.is_loaded))
        return DepthwisePlan(problem, self.name, constants, *_blocks(problem, machine))


def rows_of_tile(machine: Machine, stride: int) -> int:
    """8 rows: 14 x + 8 acc + 1 w = 23 of 32 registers, of stride 2 4 rows: 26 + 4 + 1 = 31; half of it with 16."""
    return (8 if machine.registers >= 32 else 4) // stride


def pieces_of(height: int) -> list[int]:
    """The kernel's rows in as few pieces as there are tiles for."""
    pieces = []
    while height:
        pieces.append(max(n for n in ROW_TILE_HEIGHTS if n <= height))
        height -= pieces[-1]
    return pieces


def _blocks(problem: ConvProblem, machine: Machine) -> tuple[int, int]:
    """(output channels, output rows) of a task: whole planes, as many as make it worth taking; or parts of one.

    A part stays in the first cache while input channels and pieces of the kernel add to it, and every core gets some.
    """
    _, out_h, out_w = problem.out_size
    planes = problem.batch * problem.out_channels * problem.out_size[0]
    line = out_w * problem.itemsize
    most = min(machine.l1 // 2 // line, ceil(out_h * planes / (4 * machine.cores)))
    unit = 8 * problem.dilation[1]
    if most >= out_h:
        plane = out_h * out_w * problem.terms
        channels = min(ceil(TASK_MACS / plane), max(1, planes // (4 * machine.cores)), problem.out_channels)
        return channels, out_h
    return 1, min(out_h, max(1, most // unit) * unit)


def _width(problem: ConvProblem) -> int:
    """Columns of the padded input that a row of outputs reads."""
    return (problem.out_size[2] - 1) * problem.stride[2] + (problem.kernel[2] - 1) * problem.dilation[2] + 1


def _packed(problem: ConvProblem, rows: int) -> tuple[int, int]:
    """(elements of a packed row, of all that a set of ``rows`` output rows reads); nothing where none are packed."""
    if not problem.is_loaded:
        return 0, 0
    width = _width(problem)
    lines = (ceil(rows / problem.dilation[1]) - 1) * problem.stride[1] + problem.kernel[1]
    return width, width * lines


@dataclass(frozen=True)
class Ends:
    """The columns beyond the ends of the lines that a set of ``rows`` output rows reads, line by line."""

    left: int
    right: int
    lines: int

    @classmethod
    def of(cls, problem: ConvProblem, rows: int) -> Ends:
        """None of them where there is nothing beyond, or lines are packed whole."""
        if problem.is_loaded or not problem.is_extended:
            return cls(0, 0, 0)
        low = problem.padding[2][0]
        right = _width(problem) - low - problem.in_size[2]
        # Tiles read lines for rows that are not there, too.
        tall = ceil(ceil(rows / problem.dilation[1]) / 8) * 8
        return cls(max(0, low), max(0, right), (tall - 1) * problem.stride[1] + problem.kernel[1])

    @property
    def width(self) -> int:
        return self.left + self.right

    @property
    def size(self) -> int:
        return self.width * self.lines


def _map(problem: ConvProblem) -> np.ndarray:
    """Where the row at each position of the padded height lies in its plane, -1 for a constant; then as many -1."""
    if not problem.is_extended:
        return np.empty(0, np.int64)
    step = problem.stride[1] * problem.dilation[1]
    count = (problem.out_size[1] + 7) * step + (problem.kernel[1] - 1) * problem.dilation[1] + 1
    found = sources(problem.padding_mode, np.arange(count) - problem.padding[1][0], problem.in_size[1])
    return np.concatenate([np.where(found < 0, -1, found * problem.in_size[2]), np.full(count, -1)])


def _tasks(problem: ConvProblem, channels: int, rows: int) -> int:
    blocks = ceil(problem.out_channels / channels) * ceil(problem.out_size[1] / rows)
    return problem.batch * problem.out_size[0] * blocks


@dataclass(frozen=True, eq=False, repr=False)
class DepthwisePlan(Plan):
    constants: tuple[int, ...]  # rows of a tile at each stride, lanes, whether lines go on beyond their ends
    channels: int  # output channels of a task
    rows: int  # output rows of a task
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p = self.problem
        axes = {"d": 0, "h": 1, "w": 2}
        words = {f"{word}_{axis}": sizes[i] for axis, i in axes.items() for word, sizes in (
            ("in", p.in_size), ("out", p.out_size), ("kernel", p.kernel), ("stride", p.stride), ("dilation", p.dilation)
        )}  # fmt: skip
        pieces = pieces_of(p.kernel[1])
        reach = zip(p.out_size, p.stride, p.kernel, p.dilation, p.padding, strict=True)
        d, h, w = ((n - 1) * s + (k - 1) * step + 1 - lo for n, s, k, step, (lo, _) in reach)
        border = Border(p, (d, h, w))
        (width, size), beyond, lanes = _packed(p, self.rows), Ends.of(p, self.rows), self.constants[2]
        pending = 2 * self.rows * p.out_size[2] if p.tail and p.tail.moves else 0
        ends_at = pending + 2 * size + lanes
        constant = ends_at + 2 * beyond.size + lanes
        table = [np.array(pieces), _map(p), border.table()]
        g = KERNEL.geometry(
            **words, **{f"pad_{axis}": p.padding[i][0] for axis, i in axes.items()},
            channels=p.out_channels, group_in=p.in_channels // p.groups, group_out=p.out_channels // p.groups,
            groups=p.groups, terms=p.terms, pieces=len(pieces),
            block_channels=self.channels, channel_blocks=ceil(p.out_channels / self.channels),
            block_rows=self.rows, row_blocks=ceil(p.out_size[1] / self.rows), packed=pending, packed_width=width,
            packed_size=size, ends=ends_at, ends_left=beyond.left, ends_width=beyond.width, ends_size=beyond.size,
            constant=constant, map=len(pieces), no_map=len(pieces) + table[1].size // 2,
            **border.words(len(pieces) + table[1].size), **ending.words(p.tail, p.dtype),
        )  # fmt: skip
        tasks = _tasks(p, self.channels, self.rows)
        scratch = constant + (p.in_size[2] + lanes if p.is_extended else 0)
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        object.__setattr__(
            self,
            "work",
            launch.Work(KERNEL, p.dtype, self.constants, tasks, WEIGHT * p.macs, scratch, np.concatenate(table), g),
        )

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weight).reshape(-1)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.work.run(x, weight, self.zeros if bias is None else bias, y, threads, residual)

    def __str__(self) -> str:
        return f"({self.strategy} {'x'.join(map(str, self.constants[:3]))} c{self.channels} {self.rows} rows)"


def _steps(distance: int, step: int) -> int:
    """ceil(distance / step), without a division, as one costs some fma's, where there is no dilation."""
    return distance if step == 1 else -(-distance // step)


def _pack(
    scratch: Any, x: Any, volume: int, place: Any, rows: int, pairs: int, channel: int, table: Any, g: Any
) -> None:
    """The rows that a set of outputs reads of one plane, of one channel or two, converted."""
    d, h = place
    for pair in range(pairs):
        start, to = volume + pair * g.in_d * g.in_h * g.in_w, g.packed + pair * g.packed_size
        for i in range(rows):
            at = (d, h + i * g.dilation_h, -g.pad_w)
            extended_row(scratch, to + i * g.packed_width, x, start, at, g.packed_width, 1, channel + pair, table, g)


def _pack_ends(scratch: Any, x: Any, at: int, lines: Any, map_at: int, pairs: int, table: Any, g: Any) -> None:
    """The columns beyond the ends of lines; ``at``: the plane, ``lines``: how many, which of them follow each other."""
    count, top, bottom = lines
    width, step = g.ends_width, g.dilation_h * g.in_w
    for n in range(pairs * width):
        pair, j = divmod(n, width)
        column = source(j - g.ends_left if j < g.ends_left else g.in_w + j - g.ends_left, g.in_w, g.map_w, table)
        to, plane = g.ends + pair * g.ends_size + j, at + pair * g.in_d * g.in_h * g.in_w + column
        if column < 0:
            value = table.view(np.float64)[g.value]
            for i in range(count):
                scratch[to + i * width] = value
            continue
        first = plane + table[map_at + top * g.dilation_h]
        for i in range(bottom - top):
            scratch[to + (top + i) * width] = x[first + i * step]
        for k in range(top + count - bottom):
            i = k if k < top else k + bottom - top
            line = table[map_at + i * g.dilation_h]
            scratch[to + i * width] = table.view(np.float64)[g.value] if line < 0 else x[plane + line]


steps, pack, pack_ends = inline(_steps), inline(_pack), inline(_pack_ends)


def make_tasks(nv_1: int, nv_2: int, lanes: int, extends: int) -> Callable[..., None]:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        if extends:
            fill(scratch, g.constant, g.in_w, table, g)
        for task in range(lo, hi):
            rest, row_block = divmod(task, g.row_blocks)
            rest, depth = divmod(rest, g.out_d)
            image, channel_block = divmod(rest, g.channel_blocks)
            row = row_block * g.block_rows
            lines = min(g.block_rows, g.out_h - row)
            start = channel_block * g.block_channels
            sets = min(g.dilation_h, lines)
            plane = g.out_d * g.out_h * g.out_w
            sums_plane = g.block_rows * g.out_w if g.staged else plane
            volume = g.in_d * g.in_h * g.in_w
            pitch = (volume if g.packed_width == 0 else g.packed_size, g.terms, sums_plane)
            group, m = divmod(start, g.group_out)
            # On narrow maps of single channels, a vector has room for two of them.
            paired = g.group_in == 1 and g.group_out == 1 and g.out_w <= lanes // 2
            stop = min(start + g.block_channels, g.channels)
            o = start
            while o < stop:
                pairs = 2 if paired and o + 1 < stop else 1
                y_at = (((image * g.channels + o) * g.out_d + depth) * g.out_h + row) * g.out_w
                sums, sums_at = (scratch, g.pending) if g.staged else (y, y_at)
                for s in range(sets):
                    set_rows = steps(lines - s, g.dilation_h)
                    first = 1
                    for c in range(g.group_in):
                        x_plane = ((image * g.groups + group) * g.group_in + c) * g.in_d
                        for z in range(g.kernel_d):
                            d = depth * g.stride_d - g.pad_d + z * g.dilation_d
                            w_at = o * g.terms + (c * g.kernel_d + z) * g.kernel_h * g.kernel_w
                            down, map_at = 0, g.map
                            from_x, packed_rows = x, 0
                            lines_read = (set_rows - 1) * g.stride_h + g.kernel_h
                            if g.packed_width != 0:
                                from_x, packed_rows = scratch, lines_read
                                place = (d, (row + s) * g.stride_h - g.pad_h)
                                pack(scratch, x, x_plane * g.in_h * g.in_w, place, packed_rows, pairs,
                                     group * g.group_in + c, table, g)  # fmt: skip
                            if extends:
                                d = source(d, g.in_d, g.map_d, table)
                                if d < 0:
                                    map_at = g.no_map
                                map_at += (row + s) * g.stride_h
                                h = (row + s) * g.stride_h - g.pad_h
                                top = min(max(0, steps(-h, g.dilation_h)), lines_read) if d >= 0 else 0
                                bottom = min(max(top, steps(g.in_h - h, g.dilation_h)), lines_read) if d >= 0 else 0
                                pack_ends(scratch, x, (x_plane + d) * g.in_h * g.in_w, (lines_read, top, bottom),
                                          map_at, pairs, table, g)  # fmt: skip
                            for piece in range(g.pieces):
                                h = (row + s) * g.stride_h - g.pad_h + down * g.dilation_h
                                top = max(0, steps(-h, g.dilation_h))
                                bottom = steps(g.in_h - h, g.dilation_h) if 0 <= d < g.in_d else 0
                                at = (sums, sums_at + s * g.out_w, g.dilation_h * g.out_w)
                                kernel = (w, w_at + down * g.kernel_w, g.kernel_w)
                                source_at = ((x_plane + d) * g.in_h + h) * g.in_w - g.pad_w
                                source_line, left, right = g.dilation_h * g.in_w, g.pad_w, g.pad_w + g.in_w
                                if g.packed_width != 0:
                                    top, bottom, left, right = 0, packed_rows - down, 0, g.packed_width
                                    source_at, source_line = g.packed + down * g.packed_width, g.packed_width
                                from_line = (from_x, source_at, source_line)
                                inside = (top, max(top, bottom), left, right)
                                beyond = (
                                    (table, map_at + down * g.dilation_h, g.dilation_h, source_at - h * g.in_w),
                                    (scratch, g.ends + down * g.ends_width, g.ends_width, g.ends_size,
                                     right - g.ends_left),
                                    (scratch, g.constant - g.pad_w),
                                )  # fmt: skip
                                if g.stride_w == 1 and pairs == 1:
                                    row_tile(at, kernel, from_line, (b, o), pitch, inside, beyond, set_rows, g.out_w,
                                             table[piece], g.kernel_w, g.dilation_w, first, 1, 1, extends, nv_1,
                                             lanes)  # fmt: skip
                                elif g.stride_w == 1:
                                    row_tile(at, kernel, from_line, (b, o), pitch, inside, beyond, set_rows, g.out_w,
                                             table[piece], g.kernel_w, g.dilation_w, first, 2, 1, extends, nv_1,
                                             lanes)  # fmt: skip
                                elif pairs == 1:
                                    row_tile(at, kernel, from_line, (b, o), pitch, inside, beyond, set_rows, g.out_w,
                                             table[piece], g.kernel_w, 1, first, 1, 2, extends, nv_2,
                                             lanes)  # fmt: skip
                                else:
                                    row_tile(at, kernel, from_line, (b, o), pitch, inside, beyond, set_rows, g.out_w,
                                             table[piece], g.kernel_w, 1, first, 2, 2, extends, nv_2,
                                             lanes)  # fmt: skip
                                down += table[piece]
                                first = 0
                if g.finish:
                    ending.finish((y, y_at, plane, g.out_w), (sums, sums_at, sums_plane, g.out_w), r,
                                  (pairs, lines, g.out_w), o, g)  # fmt: skip
                o += pairs
                m += pairs
                if m >= g.group_out:
                    group, m = group + pairs, 0

    return tasks


KERNEL = RangeKernel(
    "depthwise",
    make_tasks,
    "in_d out_d kernel_d stride_d dilation_d in_h out_h kernel_h stride_h dilation_h in_w out_w kernel_w stride_w "
    "dilation_w pad_d pad_h pad_w channels group_in group_out groups terms pieces "
    f"block_channels channel_blocks block_rows row_blocks packed packed_width packed_size ends ends_left ends_width "
    f"ends_size constant map no_map {ends.GEOMETRY} " + ending.GEOMETRY,
)
STRATEGY = Depthwise()

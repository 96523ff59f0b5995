"""Channelwise: a depthwise convolution of channels that lie side by side, whose lanes are channels.

    y[p, c] = b[c] + sum_t w[t, c] * x[p*stride + t*dilation - lo, c]

Wins wherever the channels of a pixel are neighbours, in x and in the result: both are read and written where they lie,
whole vectors at any stride and dilation, where strategies whose lanes are pixels take one number of each cache line.

Tasks: (image, output depth, block of rows, block of columns). Within a task: lines, planes of the kernel, rows of it
that lie one after the other, pixels; those near the ends of a line, some of whose taps are elsewhere, one by one.
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
from numbaconv.microkernels.border import source
from numbaconv.microkernels.channels import make_pixels
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

PIXELS = 8  # of a tile: 8 acc + 5 w + 1 x = 14 of 16 registers
SUMS = 256 * 1024  # bytes of a line of sums, where they wait in scratch
TASK_MACS = 100_000  # some 5 us: a task costs a tenth of a microsecond to take
FMA, PIXEL = 0.75, 4.0  # cycles of a vector of a tap, of a pixel besides (Zen 3)


class Channelwise(Strategy):
    name = "channelwise"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if not problem.groups == problem.in_channels == problem.out_channels:
            return "each of its channels is a group of one input and one output"
        if problem.x_strides["C"] != 1 or problem.y_strides["C"] != 1:
            return f"its vectors are of neighbouring channels, and they lie as {problem.x_order} and {problem.y_order}"
        if problem.out_channels * problem.itemsize > SUMS:
            return f"the sums of one pixel exceed its {SUMS // 1024} KiB"
        return tiled.why_not(problem, extends=True)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        vectors = problem.batch * problem.pixels * ceil(problem.out_channels / machine.lanes(problem.dtype))
        tasks = _tasks(problem, *_blocks(problem, machine))
        seconds = vectors * (problem.taps * FMA + PIXEL) / (machine.clock * 1e9)
        return seconds * ceil(tasks / machine.cores) * machine.cores / tasks

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return ChannelwisePlan(problem, self.name, machine.lanes(problem.dtype), *_blocks(problem, machine))


def _blocks(problem: ConvProblem, machine: Machine) -> tuple[int, int]:
    """(rows, columns) of a task: as few as are worth taking, and as give every core some."""
    _, out_h, out_w = problem.out_size
    cols = min(out_w, max(1, SUMS // (problem.out_channels * problem.itemsize)))
    cols = ceil(out_w / ceil(out_w / cols))
    rows = min(ceil(TASK_MACS / (cols * problem.out_channels * problem.taps)), ceil(out_h / (4 * machine.cores)))
    return max(1, rows), cols


def _tasks(problem: ConvProblem, rows: int, cols: int) -> int:
    _, out_h, out_w = problem.out_size
    return problem.batch * problem.out_size[0] * ceil(out_h / rows) * ceil(out_w / cols)


@dataclass(frozen=True, eq=False, repr=False)
class ChannelwisePlan(Plan):
    lanes: int
    rows: int  # of a task
    cols: int
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p = self.problem
        axes = {"d": 0, "h": 1, "w": 2}
        words = {f"{word}_{axis}": sizes[i] for axis, i in axes.items() for word, sizes in (
            ("in", p.in_size), ("out", p.out_size), ("kernel", p.kernel), ("stride", p.stride), ("dilation", p.dilation)
        )}  # fmt: skip
        reach = zip(p.out_size, p.stride, p.kernel, p.dilation, p.padding, strict=True)
        d, h, w = ((n - 1) * s + (k - 1) * step + 1 - lo for n, s, k, step, (lo, _) in reach)
        border = Border(p, (d, h, w))
        sums = self.cols * p.out_channels if p.tail and p.tail.moves else 0
        g = KERNEL.geometry(
            **words, **{f"pad_{axis}": p.padding[i][0] for axis, i in axes.items()},
            **border.words(1), **ending.order_words(p), constant=sums,
            channels=p.out_channels, block_rows=self.rows, row_blocks=ceil(p.out_size[1] / self.rows),
            block_cols=self.cols, col_blocks=ceil(p.out_size[2] / self.cols), **ending.words(p.tail, p.dtype),
        )  # fmt: skip
        scratch = sums + (p.out_channels if p.is_extended else 0)
        table = np.concatenate([np.zeros(1, np.int64), border.table()])
        tasks = _tasks(p, self.rows, self.cols)
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        object.__setattr__(
            self,
            "work",
            launch.Work(KERNEL, p.dtype, (PIXELS, self.lanes), tasks, 4 * p.macs, scratch, table, g),
        )

    def pack(self, weight: np.ndarray) -> np.ndarray:
        """``(kd, kh, kw, channels)``."""
        return np.ascontiguousarray(weight.reshape(self.problem.out_channels, -1).T)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.work.run(x, weight, self.zeros if bias is None else bias, y, threads, residual)

    def __str__(self) -> str:
        return f"({self.strategy} {PIXELS}x{self.lanes} {self.rows}x{self.cols})"


def make_tasks(mr: int, lanes: int) -> Callable[..., None]:
    pixels, pixel = make_pixels(0, 1, mr, lanes), make_pixels(0, 1, 1, lanes)
    dense_3, dense_3_s2 = make_pixels(3, 1, mr, lanes), make_pixels(3, 2, mr, lanes)
    dense_5, dense_5_s2 = make_pixels(5, 1, mr, lanes), make_pixels(5, 2, mr, lanes)

    def inner_pixels(y: Any, w: Any, x: Any, b: Any, taps: Any, first: int, count: int, g: Any) -> None:
        """Pixels with all taps of their rows, by the tile of the kernel."""
        known = g.dilation_w == 1 and g.stride_w <= 2
        if known and g.kernel_w == 3 and g.stride_w == 1:
            dense_3(y, w, x, b, taps, g.channels, first, count)
        elif known and g.kernel_w == 3:
            dense_3_s2(y, w, x, b, taps, g.channels, first, count)
        elif known and g.kernel_w == 5 and g.stride_w == 1:
            dense_5(y, w, x, b, taps, g.channels, first, count)
        elif known and g.kernel_w == 5:
            dense_5_s2(y, w, x, b, taps, g.channels, first, count)
        else:
            pixels(y, w, x, b, taps, g.channels, first, count)

    inner_pixels = inline(inner_pixels, mr, lanes)

    def edge_pixel(
        y: Any, w: Any, x: Any, b: Any, lines: int, at: int, first: int, scratch: Any, table: Any, g: Any
    ) -> None:
        """A pixel, from column ``at`` on, whose taps reach over an end; ``x``: (flat, column 0, row stride)."""
        (w_flat, w_at), (x_flat, x_at, x_row) = w, x
        w_row = g.kernel_w * g.channels
        t = min(max(0, -(at // g.dilation_w)), g.kernel_w)
        taps = min(max(t, -((at - g.in_w) // g.dilation_w)), g.kernel_w) - t
        if taps > 0 or g.extends == 0:
            from_x = (x_flat, x_at + (at + t * g.dilation_w) * g.x_w, x_row, g.dilation_w * g.x_w, 0)
            pixel(y, (w_flat, w_at + t * g.channels, w_row, g.channels), from_x, b, (lines, taps), g.channels, first, 1)
            first = 0
        for n in range(g.kernel_w - taps if g.extends != 0 else 0):
            tap = n if n < t else n + taps
            column = source(at + tap * g.dilation_w, g.in_w, g.map_w, table)
            lies, place, row = x_flat, x_at + column * g.x_w, x_row
            if column < 0:
                lies, place, row = scratch, g.constant, 0
            pixel(y, (w_flat, w_at + tap * g.channels, w_row, g.channels), (lies, place, row, 0, 0), b, (lines, 1),
                  g.channels, first, 1)  # fmt: skip
            first = 0

    edge_pixel = inline(edge_pixel, mr, lanes)

    def sweep(
        y: Any, w: Any, x: Any, b: Any, lines: int, first: int, span: Any, scratch: Any, table: Any, g: Any
    ) -> None:
        """Pixels ``start..stop`` under ``lines`` rows of the kernel; from ``left`` to ``right`` with all taps inside.

        x: (flat, column 0, row stride, column stride).
        """
        (y_flat, y_at, y_step), (x_flat, x_at, x_row, x_col), (start, stop, left, right) = y, x, span
        p = start
        while p < stop:
            at = p * g.stride_w - g.pad_w
            target = (y_flat, y_at + (p - start) * y_step, y_step)
            if left <= p < right:
                from_x = (x_flat, x_at + at * x_col, x_row, g.dilation_w * x_col, g.stride_w * x_col)
                inner_pixels(target, (w[0], w[1], g.kernel_w * g.channels, g.channels), from_x, (b, 0),
                             (lines, g.kernel_w), first, right - p, g)  # fmt: skip
                p = right
            else:
                edge_pixel(target, w, (x_flat, x_at, x_row), (b, 0), lines, at, first, scratch, table, g)
                p += 1

    sweep = inline(sweep, mr, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        reach = (g.kernel_w - 1) * g.dilation_w
        # Of the outputs of a line, those from `inner` to `outer` have all taps of a row inside.
        inner = max(0, -(-g.pad_w // g.stride_w))
        outer = (g.in_w - 1 - reach + g.pad_w) // g.stride_w + 1
        if g.extends != 0:
            ends.fill(scratch, g.constant, g.channels, table, g)
        for task in range(lo, hi):
            rest, col_block = divmod(task, g.col_blocks)
            rest, row_block = divmod(rest, g.row_blocks)
            image, depth = divmod(rest, g.out_d)
            start = col_block * g.block_cols
            stop = min(start + g.block_cols, g.out_w)
            left = min(max(inner, start), stop)
            span = (start, stop, left, min(max(outer, left), stop))
            for row in range(row_block * g.block_rows, min((row_block + 1) * g.block_rows, g.out_h)):
                y_at = image * g.y_n + depth * g.y_d + row * g.y_h + start * g.y_w
                sums, sums_at, step = (scratch, 0, g.channels) if g.staged else (y, y_at, g.y_w)
                target = (sums, sums_at, step)
                h = row * g.stride_h - g.pad_h
                top = min(max(0, -(h // g.dilation_h)), g.kernel_h)
                bottom = min(max(top, -((h - g.in_h) // g.dilation_h)), g.kernel_h)
                first = 1
                for z in range(g.kernel_d):
                    d = depth * g.stride_d - g.pad_d + z * g.dilation_d
                    if g.extends != 0:
                        d = source(d, g.in_d, g.map_d, table)
                    lines = bottom - top if 0 <= d < g.in_d else 0
                    if g.extends == 0 and lines == 0 and (first == 0 or z + 1 < g.kernel_d):
                        continue
                    plane, w_row = image * g.x_n + d * g.x_d, g.kernel_w * g.channels
                    w_at = z * g.kernel_h * w_row
                    if lines > 0 or g.extends == 0:
                        from_x = (x, plane + (h + top * g.dilation_h) * g.x_h, g.dilation_h * g.x_h, g.x_w)
                        sweep(target, (w, w_at + top * w_row), from_x, b, lines, first, span, scratch, table, g)
                        first = 0
                    for n in range(g.kernel_h - lines if g.extends != 0 else 0):
                        tap = n if n < top or lines == 0 else n + lines
                        line = source(h + tap * g.dilation_h, g.in_h, g.map_h, table)
                        kernel = (w, w_at + tap * w_row)
                        if d < 0 or line < 0:
                            sweep(target, kernel, (scratch, g.constant, 0, 0), b, 1, first, (start, stop, start, stop),
                                  scratch, table, g)  # fmt: skip
                        else:
                            sweep(target, kernel, (x, plane + line * g.x_h, 0, g.x_w), b, 1, first, span, scratch,
                                  table, g)  # fmt: skip
                        first = 0
                if g.finish and g.turned < 0:  # the epilogue wants to know its channel
                    ending.finish((y, y_at, 1, g.y_w), (sums, sums_at, 1, step), r, (g.channels, stop - start, 1), 0, g)
                elif g.finish:
                    ending.finish((y, y_at, 0, g.y_w), (sums, sums_at, 0, step), r, (1, stop - start, g.channels), 0, g)

    return tasks


KERNEL = RangeKernel(
    "channelwise",
    make_tasks,
    "in_d out_d kernel_d stride_d dilation_d pad_d in_h out_h kernel_h stride_h dilation_h pad_h in_w out_w kernel_w "
    "stride_w dilation_w pad_w channels constant block_rows row_blocks block_cols col_blocks "
    f"{ends.GEOMETRY} {ending.ORDER} {ending.GEOMETRY}",
)
STRATEGY = Channelwise()

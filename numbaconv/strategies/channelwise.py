"""Channelwise: a depthwise convolution of channels that lie side by side, whose lanes are channels.

    y[p, c] = b[c] + sum_t w[t, c] * x[p*stride + t*dilation - lo, c]

Wins wherever the channels of a pixel are neighbours, in x and in the result: both are read and written where they lie,
whole vectors at any stride and dilation, where strategies whose lanes are pixels take one number of each cache line.

Tasks: (image, output depth, block of rows, block of columns). Within a task: lines, planes of the kernel, pixels; those
near the ends of a line, for which taps are left out, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import tiled
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
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
        if problem.out_channels * _size(problem) > SUMS:
            return f"the sums of one pixel exceed its {SUMS // 1024} KiB"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        vectors = problem.batch * problem.pixels * ceil(problem.out_channels / machine.lanes(problem.dtype))
        tasks = _tasks(problem, *_blocks(problem, machine))
        seconds = vectors * (problem.taps * FMA + PIXEL) / (machine.clock * 1e9)
        return seconds * ceil(tasks / machine.cores) * machine.cores / tasks

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return ChannelwisePlan(problem, self.name, machine.lanes(problem.dtype), *_blocks(problem, machine))


def _size(problem: ConvProblem) -> int:
    return 8 if problem.dtype == "float64" else 4


def _blocks(problem: ConvProblem, machine: Machine) -> tuple[int, int]:
    """(rows, columns) of a task: as few as are worth taking, and as give every core some."""
    _, out_h, out_w = problem.out_size
    cols = min(out_w, max(1, SUMS // (problem.out_channels * _size(problem))))
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
        g = KERNEL.geometry(
            **words, **{f"pad_{axis}": p.padding[i][0] for axis, i in axes.items()},
            **{f"x_{letter.lower()}": step for letter, step in p.x_strides.items()}, **ending.order_words(p),
            channels=p.out_channels, block_rows=self.rows, row_blocks=ceil(p.out_size[1] / self.rows),
            block_cols=self.cols, col_blocks=ceil(p.out_size[2] / self.cols), **ending.words(p.tail, p.dtype),
        )  # fmt: skip
        scratch = self.cols * p.out_channels if p.tail and p.tail.moves else 0
        tasks = _tasks(p, self.rows, self.cols)
        object.__setattr__(self, "zeros", np.zeros(p.out_channels, p.dtype))
        object.__setattr__(
            self,
            "work",
            launch.Work(KERNEL, p.dtype, (PIXELS, self.lanes), tasks, 4 * p.macs, scratch, np.zeros(1, np.int64), g),
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

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        reach = (g.kernel_w - 1) * g.dilation_w
        # Of the outputs of a line, those from `inner` to `outer` have all taps of a row inside.
        inner = max(0, -(-g.pad_w // g.stride_w))
        outer = (g.in_w - 1 - reach + g.pad_w) // g.stride_w + 1
        for task in range(lo, hi):
            rest, col_block = divmod(task, g.col_blocks)
            rest, row_block = divmod(rest, g.row_blocks)
            image, depth = divmod(rest, g.out_d)
            start = col_block * g.block_cols
            stop = min(start + g.block_cols, g.out_w)
            left = min(max(inner, start), stop)
            right = min(max(outer, left), stop)
            for row in range(row_block * g.block_rows, min((row_block + 1) * g.block_rows, g.out_h)):
                y_at = image * g.y_n + depth * g.y_d + row * g.y_h + start * g.y_w
                sums, sums_at, step = (scratch, 0, g.channels) if g.staged else (y, y_at, g.y_w)
                h = row * g.stride_h - g.pad_h
                top = min(max(0, -(h // g.dilation_h)), g.kernel_h)
                bottom = min(max(top, -((h - g.in_h) // g.dilation_h)), g.kernel_h)
                first = 1
                for z in range(g.kernel_d):
                    d = depth * g.stride_d - g.pad_d + z * g.dilation_d
                    lines = bottom - top if 0 <= d < g.in_d else 0
                    if lines == 0 and (first == 0 or z + 1 < g.kernel_d):
                        continue
                    x_at = image * g.x_n + d * g.x_d + (h + top * g.dilation_h) * g.x_h
                    w_at = (z * g.kernel_h + top) * g.kernel_w * g.channels
                    p = start
                    while p < stop:
                        at = p * g.stride_w - g.pad_w
                        target = (sums, sums_at + (p - start) * step, step)
                        if left <= p < right:
                            source = (x, x_at + at * g.x_w, g.dilation_h * g.x_h, g.dilation_w * g.x_w,
                                      g.stride_w * g.x_w)  # fmt: skip
                            inner_pixels(target, (w, w_at, g.kernel_w * g.channels, g.channels), source, (b, 0),
                                         (lines, g.kernel_w), first, right - p, g)  # fmt: skip
                            p = right
                        else:
                            t = min(max(0, -(at // g.dilation_w)), g.kernel_w)
                            taps = min(max(t, -((at - g.in_w) // g.dilation_w)), g.kernel_w) - t
                            source = (x, x_at + (at + t * g.dilation_w) * g.x_w, g.dilation_h * g.x_h,
                                      g.dilation_w * g.x_w, 0)  # fmt: skip
                            pixel(target, (w, w_at + t * g.channels, g.kernel_w * g.channels, g.channels), source,
                                  (b, 0), (lines, taps), g.channels, first, 1)  # fmt: skip
                            p += 1
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
    "stride_w dilation_w pad_w x_n x_c x_d x_h x_w channels block_rows row_blocks block_cols col_blocks "
    f"{ending.ORDER} {ending.GEOMETRY}",
)
STRATEGY = Channelwise()

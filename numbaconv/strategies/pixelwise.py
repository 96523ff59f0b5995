"""Pixelwise: the weight gradient of depthwise layers, whose lanes are channels: pixel by pixel, all taps at once.

    y[c, r, t] = sum_n sum_i sum_p dy[n, c, i, p] * x[n, c, i*s + r*d, p*s + t*d]

Wins on small maps, whose rows leave lanes of pixels empty, at any stride and dilation: inputs and gradients are
transposed into vectors of channels, and then each gradient meets its taps, whole vectors all of them, without a sum
over lanes at the end.

Tasks: (part of the pixels, vector of input channels). Within a task: images, depths, blocks of rows, each its
gradients, then planes of the kernel, each its inputs, then output channels of an input, nine taps at a time. Parts as
in `reduction`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import parts, tiled
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.microkernels.groups import scatter_lanes
from numbaconv.microkernels.taps import pixel_taps
from numbaconv.microkernels.transpose import transpose_rows
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

SCRATCH = 1024 * 1024  # bytes of inputs and gradients in one row of a block
MANY, FEW = 9, 3  # taps of a tile: 9 acc + 1 dy of 16 registers
# Cycles of the clock of `kernelwise`, to which it is compared (Zen 4): an fma that reads memory, a vector of pixels
# transposed for each of its lanes, a zero around the inputs, a row of a tile, a task.
FMA, SQUARE, ZERO, ROW, TASK = 0.55, 3.5, 0.25, 4.0, 400.0


class Pixelwise(Strategy):
    name = "pixelwise"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.batch != 1:
            return f"its vectors are of groups of one input channel, not {problem.batch}"
        refusal = tiled.why_not_gradient(problem)
        if refusal is not None:
            return refusal
        if _line(problem, machine, 1) > SCRATCH:
            return f"a row of pixels, in vectors of channels, exceeds its {SCRATCH // 1024} KiB"
        return None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return self._plan(problem, machine).seconds(machine)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return self._plan(problem, machine)

    def _plan(self, problem: ConvProblem, machine: Machine) -> PixelwisePlan:
        p, lanes = problem, machine.lanes(problem.dtype)
        height, vectors = p.kernel[1], ceil(p.groups / lanes)
        planes = p.in_channels // p.groups * p.kernel[0]
        # A block stays in a part of the second cache; where vectors are few, blocks are at least some for each core.
        pieces = max(1, ceil(4 * machine.cores / (vectors * planes))) if vectors < 2 * machine.cores else 1
        rows = ceil(height / min(height, pieces))
        while rows > 1 and _line(p, machine, rows) > machine.l2 // 4:
            rows = ceil(rows / 2)
        blocks = planes * ceil(height / rows)
        split = 1 if vectors >= 2 * machine.cores else min(blocks, ceil(4 * machine.cores / vectors))
        return PixelwisePlan(p, self.name, lanes, rows, split)


def _window(p: ConvProblem, rows: int) -> tuple[int, int]:
    """Rows and columns of input that ``rows`` rows of gradients meet, and a column for inputs that meet none."""
    (_, kh, kw), (_, s, t), (_, dh, dw) = p.out_size, p.dilation, p.stride
    return (rows - 1) * s + (kh - 1) * dh + 1, (p.kernel[2] - 1) * t + (kw - 1) * dw + 2


def _line(p: ConvProblem, machine: Machine, rows: int) -> int:
    """Bytes of the inputs and gradients of a block of ``rows`` rows."""
    high, wide = _window(p, rows)
    return (high * wide + p.out_channels // p.groups * rows * p.kernel[2]) * machine.vector_bytes


@dataclass(frozen=True, eq=False, repr=False)
class PixelwisePlan(Plan):
    lanes: int
    rows: int  # of gradients in a block
    parts: int
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p, lanes = self.problem, self.lanes
        high, wide = _window(p, self.rows)
        (depth, height, width), (_, in_h, in_w), multiplier = p.out_size, p.in_size, p.out_channels // p.groups
        # Columns that no tap reads are written to the last one, which none reads either.
        cols = np.arange(in_w) + p.padding[2][0]
        cols = np.where((cols >= 0) & (cols < wide - 1), cols, wide - 1)
        places = np.arange(min(high, in_h))[:, None] * wide + cols
        taps = (np.arange(height)[:, None] * (p.stride[1] * wide) + np.arange(width) * p.stride[2]).ravel()
        taps = np.concatenate([taps, np.full(MANY, taps[-1])])  # tiles reach beyond the last tap
        halo, gradients = high * wide * lanes, self.rows * p.kernel[2] * lanes
        slots = height * width + MANY
        g = KERNEL.geometry(
            parts=self.parts, images=p.in_channels // p.groups, channels=p.groups, vectors=ceil(p.groups / lanes),
            multiplier=multiplier, in_d=p.in_size[0], in_h=in_h, in_w=in_w, out_d=p.kernel[0], out_h=p.kernel[1],
            out_w=p.kernel[2], kernel_d=depth, taps=height * width, stride_d=p.dilation[0], stride_h=p.dilation[1],
            stride_w=p.dilation[2], dilation_d=p.stride[0], pad_d=p.padding[0][0], pad_h=p.padding[1][0],
            reach=(height - 1) * p.stride[1] + 1, block_rows=self.rows, row_blocks=ceil(p.kernel[1] / self.rows),
            blocks=self._blocks, wide=wide, gradients=halo, gradient=gradients, sums=halo + multiplier * gradients,
            slots=slots, places=taps.size,
        )  # fmt: skip
        table = np.concatenate([taps, places.ravel()]) * lanes
        scratch = halo + multiplier * (gradients + depth * slots * lanes)
        tasks = self.parts * ceil(p.groups / lanes)
        object.__setattr__(self, "zeros", np.zeros(1, p.dtype))
        object.__setattr__(self, "work", launch.Work(KERNEL, p.dtype, (lanes,), tasks, p.macs, scratch, table, g))

    @property
    def _blocks(self) -> int:
        """Blocks of rows of all images."""
        p = self.problem
        return p.in_channels // p.groups * p.kernel[0] * ceil(p.kernel[1] / self.rows)

    def seconds(self, machine: Machine) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        p, lanes, (high, wide) = self.problem, self.lanes, _window(self.problem, self.rows)
        (depth, height, width), multiplier = p.out_size, p.out_channels // p.groups
        taps = height * width
        tiles, rest = divmod(taps, MANY)
        computed = tiles * MANY + (0 if not rest else FEW if rest <= FEW else MANY)
        rows, pixels = p.kernel[1], p.kernel[1] * p.kernel[2]
        packed = min(high, p.in_size[1]) * p.in_size[2]
        block = depth * (ceil(packed / lanes) * SQUARE * lanes + max(0, high * wide - packed) * ZERO)
        plane = depth * (pixels * computed * FMA + rows * ceil(taps / MANY) * ROW)
        plane += ceil(pixels / lanes) * SQUARE * lanes
        planes = p.in_channels // p.groups * p.kernel[0]
        cycles = ceil(p.groups / lanes) * (self._blocks * block + planes * multiplier * plane + self.parts * TASK)
        tasks = self.parts * ceil(p.groups / lanes)
        cycles *= ceil(tasks / machine.cores) * machine.cores / tasks
        return (cycles + 10000 * (self.parts > 1)) / (machine.clock * 1e9)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return parts.gradients(weight)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        parts.run(self.work, self.parts, x, weight, self.zeros, y, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {MANY}x{self.lanes} {self.rows} rows {self.parts} parts)"


def make_tasks(lanes: int) -> Callable[..., None]:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        pitch = g.wide * lanes
        in_plane, out_plane = g.in_h * g.in_w, g.out_h * g.out_w
        line = g.out_w * lanes
        for task in range(lo, hi):
            part, vector = divmod(task, g.vectors)
            c = vector * lanes
            channels = min(lanes, g.channels - c)
            scratch[: g.gradients] = 0  # what lies beyond the ends of rows stays so
            scratch[g.sums : g.sums + g.multiplier * g.kernel_d * g.slots * lanes] = 0
            for block in range(part * g.blocks // g.parts, (part + 1) * g.blocks // g.parts):
                rest, row_block = divmod(block, g.row_blocks)
                image, depth = divmod(rest, g.out_d)
                row = row_block * g.block_rows
                lines = min(g.block_rows, g.out_h - row)
                for m in range(g.multiplier):
                    w_at = (((image * g.channels + c) * g.multiplier + m) * g.out_d + depth) * out_plane + row * g.out_w
                    transpose_rows(
                        (scratch, g.gradients + m * g.gradient, lanes),
                        (w, w_at, g.multiplier * g.out_d * out_plane),
                        channels,
                        lines * g.out_w,
                        lanes,
                    )
                h = row * g.stride_h - g.pad_h
                high = (lines - 1) * g.stride_h + g.reach
                top = min(max(0, -h), high)
                bottom = min(max(top, g.in_h - h), high)
                for z in range(g.kernel_d):
                    d = depth * g.stride_d - g.pad_d + z * g.dilation_d
                    if d < 0 or d >= g.in_d or top == bottom:
                        continue
                    scratch[: top * pitch] = 0
                    scratch[bottom * pitch : high * pitch] = 0
                    x_at = ((image * g.channels + c) * g.in_d + d) * in_plane + (h + top) * g.in_w
                    scatter_lanes((scratch, top * pitch, pitch - lanes), (x, x_at, g.in_d * in_plane),
                                  (table, g.places), (bottom - top) * g.in_w, channels, lanes)  # fmt: skip
                    for m in range(g.multiplier):
                        to = g.sums + (m * g.kernel_d + z) * g.slots * lanes
                        gradients = (scratch, g.gradients + m * g.gradient, line)
                        inputs = (scratch, 0, g.stride_h * pitch, g.stride_w * lanes)
                        t = 0
                        while t < g.taps:
                            place = (scratch, to + t * lanes)
                            if g.taps - t > FEW:
                                pixel_taps(place, gradients, inputs, (table, t), lines, g.out_w, MANY, lanes)
                                t += MANY
                            else:
                                pixel_taps(place, gradients, inputs, (table, t), lines, g.out_w, FEW, lanes)
                                t += FEW
            row = g.multiplier * g.kernel_d * g.taps
            for n in range(g.multiplier * g.kernel_d):
                y_at = (part * g.channels + c) * row + n * g.taps
                transpose_rows((y, y_at, row), (scratch, g.sums + n * g.slots * lanes, lanes), g.taps, channels, lanes)

    return tasks


KERNEL = RangeKernel(
    "pixelwise",
    make_tasks,
    "parts images channels vectors multiplier in_d in_h in_w out_d out_h out_w kernel_d taps stride_d stride_h "
    "stride_w dilation_d pad_d pad_h reach block_rows row_blocks blocks wide gradients gradient sums slots places",
)
STRATEGY = Pixelwise()

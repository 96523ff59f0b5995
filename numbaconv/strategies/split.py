"""Split: a complex convolution as a real one of twice the channels, on real and imaginary parts.

    [yr]   [wr  -wi]   [xr]
    [yi] = [wi   wr] * [xi]                  each channel followed by its imaginary part, so groups stay as they are

Wins wherever there is something to multiply, as the tiles of the real strategies do the work. Every addend is one of
the products that complex multiplication is defined by, so NaN and inf come out as they do there; the bound of a real
sum of twice the terms is within that of the complex sum, so any real strategy will do.

Channels that come last in memory are real and imaginary parts side by side: such arrays are read and written as they
are. Extra memory of others: real copies of x and y, of as many images as make 4 MiB, or of one larger image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from numbaconv.blocking import images
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

PARTS = {"complex64": "float32", "complex128": "float64"}
PIECE = 4096  # pixels of a task
COPY = 20  # multiply-adds in the time of one pixel's copy


class Split(Strategy):
    name = "split"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.dtype not in PARTS:
            return f"it is for complex numbers, not {problem.dtype}"
        if problem.swapped:
            return "the gradient for weights reads images that do not lie one after the other"
        if problem.padding_value != 0:
            return f"real and imaginary parts have one padding_value, not the parts of {problem.padding_value}"
        if problem.is_ordered and (problem.x_order[-1], problem.y_order[-1]) != ("C", "C"):
            return f"it takes channels first or last, not an order like {problem.x_order} and {problem.y_order}"
        return "there is nothing to multiply" if problem.is_empty else None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        """Two thirds of the peak, two copies, and two launches more."""
        lanes = machine.lanes(PARTS[problem.dtype])
        moved = problem.batch * (problem.in_channels * problem.in_pixels + problem.out_channels * problem.pixels)
        return 9e-6 + (problem.macs * 3 / lanes + moved * 2) / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        real = PARTS[problem.dtype]
        count = problem.batch if problem.is_ordered else images.at_once(problem, np.dtype(problem.dtype).itemsize)
        child = replace(
            problem, batch=count, in_channels=2 * problem.in_channels, out_channels=2 * problem.out_channels,
            dtype=real, transposed=False,
        )  # fmt: skip
        return SplitPlan(problem, self.name, real, count, plan_child(child, self.name))


@dataclass(frozen=True, eq=False, repr=False)
class SplitPlan(Plan):
    real: str  # the dtype of the parts
    images: int  # at once
    child: Plan
    apart: launch.Work = field(init=False)
    together: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p = self.problem
        object.__setattr__(self, "apart", self._moves(p.in_channels, p.in_pixels, 0))
        object.__setattr__(self, "together", self._moves(p.out_channels, p.pixels, 1))

    def _moves(self, channels: int, pixels: int, together: int) -> launch.Work:
        pieces = -(-pixels // PIECE)
        planes = self.images * channels
        g = KERNEL.geometry(pixels=pixels, pieces=pieces)
        macs = planes * pixels * COPY
        return launch.Work(KERNEL, self.real, (together,), planes * pieces, macs, 0, np.zeros(1, np.int64), g)

    def pack(self, weight: np.ndarray) -> Any:
        return self.child.pack(self._parts(weight))

    def borrow(self, weight: np.ndarray) -> Any:
        return self.child.borrow(self._parts(weight))

    def _parts(self, weight: np.ndarray) -> np.ndarray:
        groups, outer, inner, *kernel = weight.shape
        parts = np.empty((groups, outer, 2, inner, 2, *kernel), self.real)
        parts[:, :, 0, :, 0] = parts[:, :, 1, :, 1] = weight.real
        parts[:, :, 1, :, 0] = weight.imag
        np.negative(weight.imag, out=parts[:, :, 0, :, 1])
        return parts.reshape(groups, 2 * outer, 2 * inner, *kernel)

    def run(
        self, x: np.ndarray, weight: Any, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        child = self.child
        if self.problem.is_ordered:
            b = None if bias is None else bias.view(self.real)
            child.run(x.view(self.real), weight, b, y.view(self.real), threads)
            return
        x_parts, y_parts = (np.empty(shape, self.real) for shape in (child.problem.x_shape, child.problem.y_shape))
        b = None if bias is None else bias.view(self.real)
        for first in range(0, self.problem.batch, self.images):
            here = slice(first, first + self.images)
            self.apart.run(x[here].view(self.real), x_parts, x_parts, x_parts, threads)
            child.run(x_parts, weight, b, y_parts, threads)
            self.together.run(y_parts, y_parts, y_parts, y[here].view(self.real), threads)

    def __str__(self) -> str:
        return f"({self.strategy} {self.images} at once {self.child})"


def make_tasks(together: int) -> Callable[..., None]:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            plane, piece = task // g.pieces, task % g.pieces
            at = 2 * plane * g.pixels
            first = piece * PIECE
            count = min(PIECE, g.pixels - first)
            pairs, real, imag = at + 2 * first, at + first, at + g.pixels + first
            if together:
                for j in range(count):
                    y[pairs + 2 * j] = x[real + j]
                    y[pairs + 2 * j + 1] = x[imag + j]
            else:
                for j in range(count):
                    y[real + j] = x[pairs + 2 * j]
                    y[imag + j] = x[pairs + 2 * j + 1]

    return tasks


KERNEL = RangeKernel("split", make_tasks, "pixels pieces")
STRATEGY = Split()

"""Mirrored: where a depthwise kernel is larger than its input, the two change places, and the result runs backwards.

    y[o, i, p] = b[o] + sum_a sum_b x[o, a, b] * w[o, a - i + lo, b - p + lo]

Read from the last output to the first, that is the convolution of w with the kernel x: in_size terms an output instead
of kernel, most of which would lie in the padding (13x13 on 7x7: 49 for 169). It wins on the last maps of networks with
large kernels. With a padding that never reaches beyond w, every term of the one sum is a term of the other, so no
zero meets an inf. The work is the other strategies'.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil

import numpy as np

from numbaconv.blocking import tiled
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

ROW_TILE = 8  # rows of outputs that share their loads where the work is done by `depthwise`
# Cycles of an fma there; of a channel besides, its way back included: 13x13 on 7x7, 1024 channels 114 us (Zen 4).
FMA, CHANNEL = 0.53, 120.0


class Mirrored(Strategy):
    name = "mirrored"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.batch != 1 or not problem.groups == problem.in_channels == problem.out_channels:
            return "it makes a kernel of the one image of each channel, for one output channel"
        if (problem.stride, problem.dilation) != ((1, 1, 1), (1, 1, 1)):
            return (
                f"backwards, a stride or dilation has no such form; {problem.stride} and {problem.dilation} are given"
            )
        if problem.taps <= problem.in_pixels:
            return f"the kernel {problem.kernel} is no larger than the input {problem.in_size}"
        if problem.tail and problem.tail.residual:
            return "its outputs come backwards, and a residual does not"
        axes = zip(problem.in_size, problem.kernel, problem.out_size, problem.padding, strict=True)
        if any(out - 1 > lo or lo > kernel - size for size, kernel, out, (lo, _) in axes):
            return f"with the padding {problem.padding}, zeros around the kernel would meet inputs"
        return tiled.why_not(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        rows = problem.out_size[0] * ceil(problem.out_size[1] / ROW_TILE) * ROW_TILE
        vectors = rows * ceil(problem.out_size[2] / machine.lanes(problem.dtype))
        each = problem.in_pixels * vectors * FMA + CHANNEL
        return problem.out_channels * each / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return MirroredPlan(problem, self.name, plan_child(mirror(problem), self.name))


def mirror(p: ConvProblem) -> ConvProblem:
    """The problem of the kernel as image: output ``out - 1 - i`` of it is output i of ``p``."""
    pads = []
    for size, kernel, out, (lo, _) in zip(p.in_size, p.kernel, p.out_size, p.padding, strict=True):
        low = out - 1 - lo
        pads.append((low, out + size - 1 - kernel - low))
    depth, height, width = pads
    return replace(p, in_size=p.kernel, kernel=p.in_size, padding=(depth, height, width), transposed=False)


@dataclass(frozen=True, eq=False, repr=False)
class MirroredPlan(Plan):
    child: Plan
    shape: tuple[int, ...] = field(init=False)  # of the result, mirrored

    def __post_init__(self) -> None:
        p = self.problem
        object.__setattr__(self, "shape", (1, p.out_channels, *p.out_size))

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weight)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        p, child = self.problem, self.child
        kernel = child.problem.forward_weights(x.reshape(p.groups, 1, *p.in_size[3 - p.rank :]))
        result = np.empty(self.shape, y.dtype)
        child.run(weight, child.borrow(kernel), bias, result, threads)
        y.reshape(self.shape)[...] = result[..., ::-1, ::-1, ::-1]

    def __str__(self) -> str:
        return f"({self.strategy} {self.child})"


STRATEGY = Mirrored()

"""Exchanged: where each output is fed by one pixel, weights and inputs change places in one product of matrices.

    dx[n, (c, t)] = sum_o dy[n, o] * w[o, (c, t)]              the gradient for an input as large as its kernel
    dw[o, (c, t)] = sum_n dy[n, o] * x[n, (c, t)]              the gradient for its weights

Wins for fully connected layers and convolutions of one output: the larger array, which is nearly all of the work, is
read as an image of one row, with vectors of neighbouring (c, t), where it lies; the smaller one is its 1x1 kernel. The
rest is the other strategies' work.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from numbaconv.blocking import tiled
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy


class Exchanged(Strategy):
    name = "exchanged"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.dtype not in ("float32", "float64"):
            return f"the tiles that it leaves the work to compute float32 and float64, not {problem.dtype}"
        if problem.tail or problem.is_empty:
            late = "it adds the bias when all products are done, too late for what follows the sum in the cache"
            return late if problem.tail else "there is nothing to multiply"
        if problem.swapped:
            whole = problem.in_size == problem.out_size and problem.padding == ((0, 0),) * 3
            return None if whole and problem.taps == 1 else "it is for one pixel of gradients, which meets every input"
        if not problem.transposed:
            return "weights that lie output channel first are no image of many pixels"
        reach = tuple((k - 1, k - 1) for k in problem.kernel)
        if problem.in_size != (1, 1, 1) or problem.out_size != problem.kernel or problem.padding != reach:
            return "it is for an input of one pixel, which meets every tap once"
        return tiled.why_not_as_it_lies(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        """Its vectors are full, where those of other strategies hold one pixel; all of them read the same bytes."""
        p = product_of(problem)
        return 3e-6 + p.macs / (machine.clock * 1e9 * machine.lanes(problem.dtype))

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return ExchangedPlan(problem, self.name, plan_child)


def product_of(p: ConvProblem) -> ConvProblem:
    """The 1x1 problem: (groups, rows, (c, t)) = (groups, rows, terms) x (groups, terms, (c, t))."""
    terms, rows, pixels = p.in_channels // p.groups, p.batch, p.out_channels // p.groups * p.taps
    if p.swapped:
        rows, pixels = p.out_channels // p.groups, p.batch * p.pixels
    return replace(
        p, rank=1, batch=1, in_channels=p.groups * terms, out_channels=p.groups * rows, in_size=(1, 1, pixels),
        kernel=(1, 1, 1), stride=(1, 1, 1), dilation=(1, 1, 1), input_dilation=(1, 1, 1),
        padding=((0, 0),) * 3, transposed=False, swapped=False,
    )  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class ExchangedPlan(Plan):
    plan_child: PlanChild
    child: Plan = field(init=False)
    rows: int = field(init=False)  # of a group
    straight: bool = field(init=False)  # whether the result is that of the child as it lies

    def __post_init__(self) -> None:
        p = self.problem
        product = product_of(p)
        rows = product.out_channels // p.groups
        object.__setattr__(self, "child", self.plan_child(product, self.strategy))
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "straight", p.swapped or rows == 1 or p.groups == 1)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        """The user's array as (groups, rows or terms, ...) once more."""
        if self.problem.swapped:
            return weight  # dy: (groups, rows, terms, 1, 1, 1)
        return np.ascontiguousarray(weight[..., ::-1, ::-1, ::-1].swapaxes(1, 2))

    def run(
        self, x: np.ndarray, weight: Any, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        groups, rows, child = self.problem.groups, self.rows, self.child
        if self.problem.swapped:
            image, kernel = x, weight
            if groups > 1 and len(x) > 1:  # images before groups
                image = np.ascontiguousarray(x.reshape(len(x), groups, -1).swapaxes(0, 1))
        else:
            image, kernel = weight, x.reshape(rows, groups, -1).swapaxes(0, 1)[..., None, None, None]
        result = y if self.straight else np.empty(y.size, y.dtype)
        child.run(image, child.borrow(kernel), None, result, threads)
        if not self.straight:
            y.reshape(rows, groups, -1)[...] = result.reshape(groups, rows, -1).swapaxes(0, 1)
        if bias is not None:
            y += bias.reshape(-1, *(1,) * (y.ndim - 2))

    def __str__(self) -> str:
        return f"({self.strategy} {self.child})"


STRATEGY = Exchanged()

"""Trimmed: a kernel of which some taps meet nothing but padding, as the kernel of the others.

    w[o, c, first:stop] * x, with padding lo - d*first and hi - d*(k - stop)         first, stop per axis

Wins wherever there are such taps: a dilation of 36 on a map of 33x33 leaves one of nine, and so does 3x3 on one pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

LEAST = 0.25  # of the multiply-adds are done by any strategy: by Winograd's, of 3x3 kernels


class Trimmed(Strategy):
    name = "trimmed"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.swapped:
            return "a gradient for the weights is asked for those that meet only padding too"
        if problem.is_extended:
            return f"with padding_mode={problem.padding_mode!r} there are terms in the padding"
        if problem.is_empty:
            return "there is nothing to multiply"
        if useful_taps(problem) == tuple((0, k) for k in problem.kernel):
            return "every tap of its kernel meets the input somewhere"
        return None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        """Less than anyone's, as no strategy takes longer for fewer taps."""
        macs = trim(problem).macs * LEAST / 2 / machine.lanes(problem.dtype)
        return 1e-7 + macs / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return TrimmedPlan(problem, self.name, useful_taps(problem), plan_child(trim(problem), self.name))


@lru_cache(1024)  # asked whether there are any others, for the cost, and for the plan
def useful_taps(problem: ConvProblem) -> tuple[tuple[int, int], ...]:
    """Per axis: (first, one behind the last) of the taps that some output reads an input through; one at least."""
    found = []
    for n, out, k, s, d, gap, (lo, _) in zip(
        problem.in_size, problem.out_size, problem.kernel, problem.stride, problem.dilation, problem.input_dilation,
        problem.padding, strict=True,
    ):  # fmt: skip
        # Output p reads p*s + t*d - lo, which is to be in 0..n-1; gaps of an input dilation may be hit, or not.
        first = [max(0, -((t * d - lo) // s)) for t in range(k)]
        inside = [t for t, p in enumerate(first) if p < out and p * s + t * d - lo < n]
        found.append((inside[0], inside[-1] + 1) if inside and gap == 1 else (0, k if gap > 1 else 1))
    return tuple(found)


def trim(problem: ConvProblem) -> ConvProblem:
    """The problem of the useful taps."""
    taps, padding = useful_taps(problem), []
    axes = zip(problem.padding, problem.dilation, problem.kernel, taps, strict=True)
    for (lo, hi), d, k, (first, stop) in axes:
        padding.append((lo - d * first, hi - d * (k - stop)))
    depth, height, width = (stop - first for first, stop in taps)
    return replace(problem, kernel=(depth, height, width), padding=(padding[0], padding[1], padding[2]))


@dataclass(frozen=True, eq=False, repr=False)
class TrimmedPlan(Plan):
    taps: tuple[tuple[int, int], ...]
    child: Plan

    def pack(self, weight: np.ndarray) -> Any:
        return self.child.pack(self._useful(weight))

    def borrow(self, weight: np.ndarray) -> Any:
        return self.child.borrow(self._useful(weight))

    def _useful(self, weight: np.ndarray) -> np.ndarray:
        depth, height, width = (slice(first, stop) for first, stop in self.taps)
        return weight.reshape(*weight.shape[:3], *self.problem.kernel)[..., depth, height, width]

    def run(
        self, x: np.ndarray, weight: Any, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.child.run(x, weight, bias, y, threads, residual)

    def __str__(self) -> str:
        kept = ",".join(f"{first}:{stop}" for first, stop in self.taps)
        return f"({self.strategy} {kept} {self.child})"


STRATEGY = Trimmed()

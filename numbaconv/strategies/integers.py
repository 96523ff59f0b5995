"""Integers: a convolution of integers as one of floats, wherever these hold every sum exactly.

    sum |w| * max |x| + |b|  <  2**24 (float32)  or  2**53 (float64)

Then no sum, in whatever order, leaves the whole numbers that the float has, and none is rounded. Which float does is
known of the weights and the range of x's dtype, else of x's own range, looked up in one pass: int32 data are often
small. What no float holds, and what the result's dtype cannot hold, the strategies for integers compute or refuse.

Wins wherever there is something to multiply: the tiles of the float strategies do the work, among them those alone
that add the equation's own products.

Extra memory: float copies of the weights, and of x and y, of as many images as make 4 MiB, or of one larger image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from numbaconv.blocking import images
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

EXACT = {"float32": 0.999 * 2**24, "float64": 0.999 * 2**53}  # a little less, for the rounding of the bound itself


class Integers(Strategy):
    name = "integers"
    any_order = True
    exact = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if np.dtype(problem.dtype).kind not in "iu":
            return f"it is for integers, not {problem.dtype}"
        if problem.padding_value != 0:
            return f"it knows how large x is, not that {problem.padding_value} may be larger"
        if problem.batch > 1 and (problem.x_order[0], problem.y_order[0]) != ("N", "N"):
            return f"it converts some images at a time, which do not come first in {problem.x_order}, {problem.y_order}"
        return "there is nothing to multiply" if problem.is_empty else None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        """Two thirds of the peak, and NumPy's copies, of one thread."""
        lanes = machine.lanes("float32" if np.dtype(problem.dtype).itemsize < 4 else "float64")
        moved = problem.batch * (problem.in_channels * problem.in_pixels + problem.out_channels * problem.pixels)
        return 25e-6 + (problem.macs * 0.75 / lanes + moved * machine.cores) / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return IntegersPlan(problem, self.name, images.at_once(problem, 8), plan_child)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights as they were given, and as the plans of floats that had use for them read them."""

    given: np.ndarray
    total: float  # no less than the sum of |w| of any output
    packed: bool
    of_floats: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class IntegersPlan(Plan):
    images: int  # at once
    plan_child: PlanChild

    def pack(self, weight: np.ndarray) -> Weights:
        return Weights(weight.astype(self.problem.dtype, order="K"), self._total(weight), packed=True)

    def borrow(self, weight: np.ndarray) -> Weights:
        return Weights(weight, self._total(weight), packed=False)

    def _total(self, weight: np.ndarray) -> float:
        p = self.problem
        most = float(range_of(p.dtype))
        if most * most * p.terms < EXACT["float32"]:  # whatever the weights
            return most * p.terms
        return float(np.abs(weight.astype(np.float64)).sum(axis=(2, 3, 4, 5)).max())

    def run(
        self, x: np.ndarray, weight: Weights, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        number = self._float(x, weight, bias)
        if number is None or not self._fill(number, x, weight, bias, y, threads):
            rest = self._rest()
            rest.run(x, rest.pack(weight.given), bias, y, threads)

    def _float(self, x: np.ndarray, weight: Weights, bias: np.ndarray | None) -> str | None:
        """The smallest float that holds every sum; None if neither does."""
        start = 0 if bias is None else largest(bias)
        number = narrowest(range_of(self.problem.dtype) * weight.total + start)
        if number == "float32" or x.itemsize == 1:
            return number
        return narrowest(largest(x) * weight.total + start)

    def _fill(
        self, number: str, x: np.ndarray, weight: Weights, bias: np.ndarray | None, y: np.ndarray, threads: int
    ) -> bool:
        """Compute in floats of that dtype; False where a sum does not fit ``y``."""
        child = self._child(number)
        w = weight.of_floats.get(number)
        if w is None:
            floats = weight.given.astype(number, order="K")
            w = weight.of_floats[number] = (child.pack if weight.packed else child.borrow)(floats)
        b = None if bias is None else bias.astype(number)
        limits = np.iinfo(y.dtype)
        whole = self.images == self.problem.batch
        sums = np.empty(y.shape if whole else (self.images, *y.shape[1:]), number)
        for first in range(0, self.problem.batch, self.images):
            here = slice(None) if whole else slice(first, first + self.images)
            child.run(x[here].astype(number), w, b, sums, threads)
            if sums.min() < limits.min or sums.max() > limits.max:
                return False
            np.copyto(y[here], sums, casting="unsafe")
        return True

    def _child(self, number: str) -> Plan:
        return self.plan_child(replace(self.problem, batch=self.images, dtype=number), self.strategy)

    def _rest(self) -> Plan:
        return self.plan_child(self.problem, self.strategy)

    def __str__(self) -> str:
        return f"({self.strategy} {self.images} at once {self._child('float32')}, {self._child('float64')})"


def range_of(dtype: str) -> int:
    """The largest |value| of a dtype."""
    return max(int(np.iinfo(dtype).max), -int(np.iinfo(dtype).min))


def largest(values: np.ndarray) -> int:
    """The largest |value| there is, as a Python int, which -128 of int8 does not overflow."""
    return max(int(values.max()), -int(values.min()))


def narrowest(size: float) -> str | None:
    """The smallest float that has all whole numbers up to ``size``, or None."""
    return next((number for number, exact in EXACT.items() if size < exact), None)


STRATEGY = Integers()

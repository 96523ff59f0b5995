"""The contract between the planner and the strategies: what a strategy answers, and what a plan holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numbaconv.machine import Machine
    from numbaconv.problem import ConvProblem

PlanChild = Callable[["ConvProblem", str], "Plan"]  # the best plan but for the strategy of that name


@dataclass(frozen=True)
class Plan(ABC):
    """Every decision for one problem: which loops run, in which blocks, over which tables.

    A plan is immutable, may be shared by threads, and prints on one line, children included.
    """

    problem: ConvProblem
    strategy: str  # its name

    @abstractmethod
    def pack(self, weight: np.ndarray) -> Any:
        """Weights in the order in which the loops read them, for many calls.

        ``weight`` is the forward view ``(groups, out/groups, in/groups, kd, kh, kw)``, of any strides.
        """

    def borrow(self, weight: np.ndarray) -> Any:
        """Weights for one call, read where they are where that is faster; by default packed."""
        return self.pack(weight)

    @abstractmethod
    def run(
        self, x: np.ndarray, weight: Any, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Fill ``y`` (C-contiguous, ``problem.y_shape``) from the C-contiguous ``x``.

        ``residual``, where the problem's tail has one, is like ``y``, and may be ``y`` itself.
        """

    @abstractmethod
    def __str__(self) -> str: ...


class Strategy(ABC):
    """One algorithm. It has no state: all that it decides goes into the plan."""

    name: str
    sums_directly = True  # whether it adds the equation's own products; only such strategies are strictly accurate
    exact = False  # whether what it leaves to others must be summed directly too
    any_order = False  # whether it reads and writes arrays that do not lie as (N, C, ...)

    @abstractmethod
    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        """A sentence that says why this problem is refused, or None."""

    @abstractmethod
    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        """Predicted seconds on one core, to compare strategies by; asked only where `why_not` is None."""

    @abstractmethod
    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        """Decide blocks and tables; ``plan_child`` plans what this strategy leaves to others."""

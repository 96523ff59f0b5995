"""The cheapest strategy that accepts a problem, remembered; and `explain`, which says what every other one answered.

What `tune` measured on this machine comes before what the strategies predict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from numbaconv import machine as machines
from numbaconv import wisdom
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem
from numbaconv.strategies import NAMES, strategies
from numbaconv.strategy import Plan

# Measured times nearer than this are one time. Repeated measurements of equal work differ by as much, and the choice,
# with it the rounding of results, should not.
NOISE = 1.03


class Call(NamedTuple):
    """How a problem is computed: what wisdom tells apart, and the key of its figures there."""

    problem: ConvProblem  # folded
    threads: int
    prepared: bool  # by a plan whose weights are packed, or by a plain call

    def __str__(self) -> str:
        return f"{self.problem} threads{self.threads} {'plan' if self.prepared else 'plain'}"


@dataclass(frozen=True)
class Answer:
    """What one strategy said of a problem: a cost in seconds on one core, or why not; and the time that it took."""

    strategy: str
    cost: float | None
    why_not: str | None
    measured: float | None = None


watch: Callable[[Call], None] | None = None  # is told of every call that is planned for the first time


@lru_cache(1024)  # a plan's tables are some 50 KiB
def plan(
    problem: ConvProblem,
    strategy: str | None = None,
    threads: int | None = None,
    prepared: bool = True,
    machine: Machine | None = None,
    without: str | None = None,
    strict: bool = False,
) -> Plan:
    """The plan of the best strategy but ``without``, or of the one that ``strategy`` names.

    Wisdom counts where ``threads`` are given; else the best is the cheapest. ``strict``: only strategies that add the
    equation's own products.
    """
    folded = problem.folded()
    call = None if threads is None else Call(folded, threads, prepared)
    if watch and call and strategy is without is None:
        watch(call)
    answers = ask(folded, machine or machines.host(), call, strict)
    answers = [answer for answer in answers if answer.strategy != without]
    if strategy is None:
        name = chosen(answers)
    else:
        name = strategy
        refusal = next((answer.why_not for answer in answers if answer.strategy == name), f"the names are {NAMES}")
        if refusal is not None:
            raise ValueError(f"strategy={strategy!r} does not take {problem}: {refusal}")
    best = strategies()[NAMES.index(name)]
    # What a strategy of other sums leaves to others is summed directly: two of them would else hand it on for ever.
    direct = strict or best.exact or not best.sums_directly
    return best.make_plan(
        folded,
        machine or machines.host(),
        lambda child, left_out: plan(child, None, threads, prepared, machine, left_out, direct),
    )


def ask(problem: ConvProblem, machine: Machine, call: Call | None = None, strict: bool = False) -> list[Answer]:
    """Every strategy's answer, in the order of the table; with what wisdom has of ``call``."""
    times: Mapping[str, float] = {} if call is None else wisdom.find(str(call))
    answers = []
    for strategy in strategies():
        refusal: str | None
        if problem.is_ordered and not strategy.any_order:
            refusal = f"it is for arrays that lie as (N, C, ...), not as {problem.x_order} and {problem.y_order}"
        else:
            refusal = strategy.why_not(problem, machine)
        if strict and not strategy.sums_directly:
            refusal = "accuracy='strict' keeps to direct summation"
        cost = strategy.cost(problem, machine) if refusal is None else None
        answers.append(Answer(strategy.name, cost, refusal, None if cost is None else times.get(strategy.name)))
    return answers


def cost(problem: ConvProblem, machine: Machine | None = None) -> float:
    """Seconds on one core, as the cheapest strategy predicts them."""
    answers = ask(problem.folded(), machine or machines.host())
    return min(answer.cost for answer in answers if answer.cost is not None)


def chosen(answers: list[Answer]) -> str:
    """The name of the cheapest, among those as fast as the fastest where times are known; the first among equals."""
    best = min((answer.measured for answer in answers if answer.measured is not None), default=None)
    costs = {
        answer.strategy: answer.cost
        for answer in answers
        if answer.cost is not None
        and (best is None or (answer.measured is not None and answer.measured <= NOISE * best))
    }
    return min(costs, key=costs.__getitem__)


@dataclass(frozen=True)
class Explanation:
    """The table of strategies for one problem; prints with ``*`` on the chosen one."""

    problem: ConvProblem
    answers: tuple[Answer, ...]
    plan: Plan

    def __str__(self) -> str:
        best = chosen(list(self.answers))
        lines = [str(self.problem), f"  plan {self.plan}"]
        for answer in self.answers:
            mark = "*" if answer.strategy == best else " "
            said = f"{answer.cost * 1e6:12.1f} us" if answer.cost is not None else f"{'-':>12}     {answer.why_not}"
            if answer.measured is not None:
                said += f"  measured {answer.measured * 1e6:.1f} us"
            lines.append(f"{mark} {answer.strategy:<10} {said}")
        return "\n".join(lines)


def explain(
    problem: ConvProblem, machine: Machine | None = None, threads: int | None = None, strict: bool = False
) -> Explanation:
    """What every strategy says of ``problem``, and wisdom of a prepared plan of it where ``threads`` are given."""
    call = None if threads is None else Call(problem.folded(), threads, prepared=True)
    answers = ask(problem.folded(), machine or machines.host(), call, strict)
    return Explanation(problem, tuple(answers), plan(problem, None, threads, True, machine, None, strict))

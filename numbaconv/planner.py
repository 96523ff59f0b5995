"""The cheapest strategy that accepts a problem, remembered; and `explain`, which says what every other one answered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from numbaconv import machine as machines
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem
from numbaconv.strategies import NAMES, strategies
from numbaconv.strategy import Plan


@dataclass(frozen=True)
class Answer:
    """What one strategy said of a problem: a cost in seconds on one core, or why not."""

    strategy: str
    cost: float | None
    why_not: str | None


@lru_cache(1024)  # a plan's tables are some 50 KiB
def plan(
    problem: ConvProblem, strategy: str | None = None, machine: Machine | None = None, without: str | None = None
) -> Plan:
    """The plan of the cheapest strategy but ``without``, or of the one that ``strategy`` names."""
    machine = machine or machines.host()
    folded = problem.folded()
    answers = [answer for answer in ask(folded, machine) if answer.strategy != without]
    if strategy is None:
        name = chosen(answers)
    else:
        name = strategy
        refusal = next((answer.why_not for answer in answers if answer.strategy == name), f"the names are {NAMES}")
        if refusal is not None:
            raise ValueError(f"strategy={strategy!r} does not take {problem}: {refusal}")
    best = strategies()[NAMES.index(name)]
    return best.make_plan(folded, machine, lambda child, left_out: plan(child, None, machine, left_out))


def ask(problem: ConvProblem, machine: Machine) -> list[Answer]:
    """Every strategy's answer, in the order of the table."""
    answers = []
    for strategy in strategies():
        refusal = strategy.why_not(problem, machine)
        cost = strategy.cost(problem, machine) if refusal is None else None
        answers.append(Answer(strategy.name, cost, refusal))
    return answers


def chosen(answers: list[Answer]) -> str:
    """The name of the cheapest; the earlier in the table among equals."""
    costs = {answer.strategy: answer.cost for answer in answers if answer.cost is not None}
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
            lines.append(f"{mark} {answer.strategy:<10} {said}")
        return "\n".join(lines)


def explain(problem: ConvProblem, machine: Machine | None = None) -> Explanation:
    """What every strategy says of ``problem``."""
    machine = machine or machines.host()
    return Explanation(problem, tuple(ask(problem.folded(), machine)), plan(problem, None, machine))

"""A program that runs every strategy on every case on small integers, and says on which machine, for what the compiler
is told by the environment.

Run as ``python run_cases.py [most multiply-adds of a case]``.
"""

from __future__ import annotations

import sys

import numpy as np
from cases import CASES, OTHER_SUMS, expected
from tolerance import assert_within

from numbaconv import machine, planner
from numbaconv.strategies import NAMES


def main(most=10**9):
    host = machine.host()
    print(host.vector_bytes, host.registers)
    tried = dict.fromkeys(NAMES, 0)
    for name, case in CASES.items():
        problem = case.problem()
        if problem.macs > most:
            continue
        (x, w, b), exact, allowed = expected(name, "float32", integers=True)
        for answer in planner.ask(problem.folded(), host):
            if answer.why_not is None:
                tried[answer.strategy] += 1
                for y in (case.call(x, w, b, strategy=answer.strategy), case.plan(w, b, strategy=answer.strategy)(x)):
                    if answer.strategy in OTHER_SUMS:
                        assert_within(y, exact, OTHER_SUMS[answer.strategy] * allowed)
                    else:
                        np.testing.assert_array_equal(y, exact, f"{answer.strategy}: {name}")
    print(*(name for name, count in tried.items() if count))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

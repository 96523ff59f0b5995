"""NUMBA_DISABLE_JIT=1: every strategy is also a plain Python program, which debuggers and coverage can follow."""

from __future__ import annotations

from processes import python
from test_strategies import OF_FLOATS


def test_cases_in_plain_python():
    done = python("run_cases.py", "3000", timeout=600, NUMBA_DISABLE_JIT="1")
    assert done.stdout.split()[2:] == OF_FLOATS

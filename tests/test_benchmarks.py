"""The asv suite: it imports, its literals fit the library, and every benchmark runs once on its first parameters."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from numbaconv.strategies import NAMES

FOLDER = Path(__file__).parent.parent / "asv_benchmarks"
SMALL = "tiny_8x8x8x8"
KINDS = ("time_", "timeraw_", "track_", "peakmem_")


def benchmarks():
    """(module, class, method) of each."""
    for path in sorted(FOLDER.glob("[!_]*.py")):
        module = importlib.import_module(f"asv_benchmarks.{path.stem}")
        for name, suite in inspect.getmembers(module, inspect.isclass):
            if suite.__module__ == module.__name__:
                for method, _ in inspect.getmembers(suite, inspect.isfunction):
                    if method.startswith(KINDS):
                        yield pytest.param(suite, method, id=f"{path.stem}.{name}.{method}")


@pytest.mark.parametrize(("suite", "method"), list(benchmarks()))
def test_runs_once(suite, method):
    parameters = [SMALL if SMALL in values else values[0] for values in getattr(suite, "params", [])]
    benchmark = suite()
    if hasattr(benchmark, "setup"):
        try:
            benchmark.setup(*parameters)
        except NotImplementedError:
            pytest.skip(f"does not apply to {parameters}")
    result = getattr(benchmark, method)(*parameters)
    if method.startswith("timeraw_"):
        subprocess.run([sys.executable, "-c", result], check=True)
    if method.startswith("track_"):
        assert result > 0


def test_strategies_are_the_table():
    strategies = importlib.import_module("asv_benchmarks.strategies")
    assert sorted(strategies.STRATEGIES) == sorted(NAMES), (
        "asv_benchmarks/strategies.py must name the strategies of numbaconv/strategies/__init__.py in its literal"
    )

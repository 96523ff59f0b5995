"""The asv suite: it imports, its literals fit the library, and every benchmark runs once on its first parameters."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numbaconv.bench.peers import PEERS
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


def test_engines_are_the_table():
    engines = importlib.import_module("asv_benchmarks.engines")
    assert [engines.OURS, *PEERS] == engines.ENGINES, (
        "asv_benchmarks/engines.py must name the peers of numbaconv/bench/peers/__init__.py in its literal"
    )


@pytest.mark.parametrize("engine", PEERS)
def test_engines_compute_the_same(engine):
    for package in PEERS[engine].packages:
        pytest.importorskip(package)
    engines, cases = (importlib.import_module(f"asv_benchmarks.{name}") for name in ("engines", "cases"))
    for layer in (SMALL, "unet_up2x2s2_56", "grey_15x15_512"):
        call = engines.call(engine, layer)
        assert (call is None) == (engine == "scipy" and layer != "grey_15x15_512")
        if call is not None:
            np.testing.assert_allclose(call(), cases.call(layer)(), rtol=1e-3, atol=1e-3)

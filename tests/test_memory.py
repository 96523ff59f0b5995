"""What a call allocates beyond its arrays: at most 2 MiB a thread."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from test_planner import LAYERS

from numbaconv import planner
from numbaconv.tail import Tail

MOST = 2 * 2**20
PYTHON = 64 * 2**10  # objects of the call itself


LAST = ["resnet stem", "resnet 56 3x3", "resnet 7 1x1", "mobilenet 3x3", "to one channel 1x1", "speech 1-D k10 s5"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_extra_memory(name, threads):
    assert_little(LAYERS[name][0].problem(), threads)


@pytest.mark.parametrize("tail", [None, Tail(residual=True)])
@pytest.mark.parametrize("name", LAST)
def test_extra_memory_where_channels_come_last(name, tail):
    """No transposed copy of either array."""
    problem = LAYERS[name][0].problem()
    assert_little(replace(problem, x_order="NDHWC", y_order="NDHWC", tail=tail), 1)


def assert_little(problem, threads):
    for answer in planner.ask(problem.folded(), planner.machines.host()):
        if answer.why_not is not None or answer.strategy == "generic" or answer.cost > 0.1:
            continue
        plan = planner.plan(problem, answer.strategy)
        x, w = np.ones(problem.x_shape, np.float32), np.ones(problem.w_shape, np.float32)
        packed, y = plan.pack(plan.problem.forward_weights(w)), np.empty(problem.y_shape, np.float32)
        residual = y if problem.tail else None
        plan.run(x, packed, None, y, threads, residual)  # compiles
        peak = []

        def call(plan=plan, x=x, packed=packed, y=y, residual=residual, peak=peak):
            tracemalloc.start()
            plan.run(x, packed, None, y, threads, residual)
            peak.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

        worker = threading.Thread(target=call)  # scratch belongs to a Python thread: a new one has none yet
        worker.start()
        worker.join()
        assert peak[0] <= threads * MOST + PYTHON, (answer.strategy, peak[0])

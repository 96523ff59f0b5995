"""What a call allocates beyond its arrays: at most 2 MiB a thread."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
from test_planner import LAYERS

from numbaconv import planner

MOST = 2 * 2**20
PYTHON = 64 * 2**10  # objects of the call itself


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LAYERS)
def test_extra_memory(name, threads):
    case = LAYERS[name][0]
    problem = case.problem()
    for answer in planner.ask(problem.folded(), planner.machines.host()):
        if answer.why_not is not None or answer.strategy == "generic" or answer.cost > 0.1:
            continue
        plan = planner.plan(problem, answer.strategy)
        x, w = np.ones(problem.x_shape, np.float32), np.ones(problem.w_shape, np.float32)
        packed, y = plan.pack(plan.problem.forward_weights(w)), np.empty(problem.y_shape, np.float32)
        plan.run(x, packed, None, y, threads)  # compiles
        peak = []

        def call(plan=plan, x=x, packed=packed, y=y, peak=peak):
            tracemalloc.start()
            plan.run(x, packed, None, y, threads)
            peak.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

        worker = threading.Thread(target=call)  # scratch belongs to a Python thread: a new one has none yet
        worker.start()
        worker.join()
        assert peak[0] <= threads * MOST + PYTHON, (answer.strategy, peak[0])

"""Threads and processes: concurrent calls, forked children, under every threading layer; and what an import loads."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest
import reference
from processes import python
from tolerance import assert_close

import numbaconv
from numbaconv.codegen import launch

# Layers of several strategies, each with enough tasks for two threads, and integers so that results are exact.
START = """
import os, signal, sys, threading
def limit(seconds):  # not faulthandler's watchdog: a forked child would wait for its thread, which it does not have
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)
limit(100)
import numpy as np
import numbaconv
from numbaconv import conv1d, conv2d
from numbaconv.codegen import launch

rng = np.random.default_rng(0)
def integers(*shape):
    return rng.integers(-4, 5, shape).astype(np.float32)

LAYERS = [
    (integers(1, 16, 40, 60), integers(24, 16, 3, 3), {"padding": 1}),
    (integers(2, 16, 30, 30), integers(32, 16, 1, 1), {}),
    (integers(1, 8, 60, 60), integers(8, 1, 3, 3), {"padding": 1, "groups": 8}),
]
def run():
    return [conv2d(x, w, **geometry) for x, w, geometry in LAYERS]

def check(results):
    for y, right in zip(results, RIGHT, strict=True):
        np.testing.assert_array_equal(y, right)

numbaconv.set_num_threads(1)
RIGHT = run()  # in one thread; no worker yet
numbaconv.set_num_threads(launch.max_threads())
"""

CONCURRENT = """
check(run())
def repeat():
    try:
        for _ in range(20):
            check(run())
    except BaseException as error:
        failures.append(error)

failures = []
for count in (2, 8):
    threads = [threading.Thread(target=repeat) for _ in range(count)]
    [t.start() for t in threads]
    [t.join() for t in threads]
assert not failures, failures
print("done")
"""

FORK = """
check(run())  # on several threads of the parent
def in_child(depth=1):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            limit(40)
            check(run())
            if depth > 1:
                in_child(depth - 1)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with status {status}"

in_child()
in_child(2)  # and a grandchild
check(run())  # the parent still can
thread = threading.Thread(target=in_child)
thread.start()
thread.join()
print("done")
"""

COLD_FORK = """
pid = os.fork()
if pid == 0:
    limit(40)
    check(run())
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
check(run())
print("done")
"""

POOL = """
import multiprocessing
def task(_):
    limit(60)
    check(run())
    return os.getpid()

check(run())
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert len(pool.map_async(task, range(8)).get(80)) == 8
print("done")
"""

BESIDE_ANOTHER = """
import numba
@numba.njit(parallel=True)
def other(a):
    total = 0.0
    for i in numba.prange(len(a)):
        total += a[i]
    return total

numbers = np.ones(100_000)
other(numbers)
check(run())
stop = threading.Event()
thread = threading.Thread(target=lambda: [other(numbers) for _ in iter(stop.is_set, True)])
thread.start()
for _ in range(20):
    check(run())
stop.set()
thread.join()
print("done")
"""

MODES = {"default": {}, "workqueue": {"NUMBA_THREADING_LAYER": "workqueue"}}


@pytest.mark.parametrize("mode", MODES)
def test_concurrent_calls(mode):
    done = python("-c", START + CONCURRENT, **MODES[mode])
    assert done.stdout.endswith("done\n")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("program", [FORK, COLD_FORK, POOL], ids=["fork", "fork before", "pool"])
@pytest.mark.parametrize("mode", MODES)
def test_forked_children(mode, program):
    # From 3.12 on, Python warns of any fork in a process with threads; that is the user's to judge.
    quiet = "import warnings; warnings.filterwarnings('ignore', 'This process', DeprecationWarning)\n"
    done = python("-c", quiet + START + program, **MODES[mode])
    assert done.stdout.endswith("done\n")


@pytest.mark.parametrize("mode", MODES)
def test_beside_a_users_prange(mode):
    """A user's own parallel function may run at the same time, under any of Numba's layers."""
    assert python("-c", START + BESIDE_ANOTHER, **MODES[mode]).stdout.endswith("done\n")


def test_first_calls_from_many_threads():
    """Nothing is compiled or loaded yet when eight threads start: each gets its answer."""
    program = """
threads = [threading.Thread(target=lambda: results.append(run())) for _ in range(8)]
results = []
[t.start() for t in threads]
[t.join() for t in threads]
assert len(results) == 8
for result in results:
    check(result)
print("done")
"""
    cold = START.replace("RIGHT = run()  # in one thread; no worker yet", "")
    cold = cold.replace("numbaconv.set_num_threads(1)\n", "").replace("numbaconv.set_num_threads(launch", "(launch")
    program = program.replace("for result in results", "RIGHT = run()\nfor result in results")
    assert python("-c", cold + program).stdout == "done\n"


def test_daemon_thread_at_exit():
    """A process may end while a daemon thread is in a kernel."""
    program = """
started = threading.Event()
def forever():
    while True:
        check(run())
        started.set()
threading.Thread(target=forever, daemon=True).start()
started.wait()
print("done")
"""
    assert python("-c", START + program).stdout == "done\n"


def test_small_stack():
    """Threads of other libraries may have 256 KiB of stack."""
    program = """
check(run())
threading.stack_size(256 * 1024)
failures = []
def work():
    try:
        check(run())
    except BaseException as error:
        failures.append(error)
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert not failures, failures
print("done")
"""
    assert python("-c", START + program).stdout == "done\n"


# ---- in this process -------------------------------------------------------------------------------------------------


@pytest.fixture
def threads():
    """set_num_threads, undone at the end."""
    before = numbaconv.get_num_threads()
    yield numbaconv.set_num_threads
    numbaconv.set_num_threads(before)


def test_number_of_threads(threads):
    most = launch.max_threads()
    assert 1 <= numbaconv.get_num_threads() <= most
    for n in (1, most, np.int64(1)):
        threads(n)
        assert numbaconv.get_num_threads() == n
    for n in (0, -1, most + 1):
        with pytest.raises(ValueError, match=f"n must be between 1 and {most}.*got {n}"):
            threads(n)
    for n in (1.0, True, "1", None):
        with pytest.raises(TypeError, match="n must be an int"):
            threads(n)
    assert numbaconv.get_num_threads() == 1


@pytest.mark.parametrize("planned", [False, True])
def test_num_threads_of_a_call(planned):
    x, w = np.ones((1, 2, 9, 9), np.float32), np.ones((3, 2, 3, 3), np.float32)

    def call(n):
        if planned:
            return numbaconv.plan_conv2d(x.shape, w, num_threads=n)(x)
        return numbaconv.conv2d(x, w, num_threads=n)

    before = numbaconv.get_num_threads()
    for n in (None, 1, launch.max_threads()):
        assert_close(call(n), reference.conv, x, w)
    with pytest.raises(ValueError, match="num_threads must be between 1 and"):
        call(launch.max_threads() + 1)
    with pytest.raises(TypeError, match="num_threads must be an int"):
        call(2.0)
    assert numbaconv.get_num_threads() == before


def test_a_plan_is_shared_by_threads():
    x = np.random.default_rng(0).standard_normal((8, 1, 4, 30, 31)).astype(np.float32)
    w = np.ones((9, 4, 3, 3), np.float32)
    plan = numbaconv.plan_conv2d(x[0].shape, w, padding=1)
    right = [plan(a) for a in x]
    results = [None] * 8

    def work(i):
        for _ in range(20):
            results[i] = plan(x[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result, expected in zip(results, right, strict=True):
        np.testing.assert_array_equal(result, expected)


def test_import_loads_no_compiler():
    program = "import sys, numbaconv; print(*{'numba', 'llvmlite'} & set(sys.modules))"
    assert python("-c", program).stdout == "\n"
    assert "numba" in sys.modules  # here, after a call, it is

"""Worker threads that wait for tasks, while nobody waits for threads: one slow to come finds its tasks done by others.

The caller posts a job (a range kernel, its argument block, a counter of tasks), takes tasks itself until none is left,
closes the job, and waits only for workers that are still in a task of theirs. An OpenMP region waits for every thread:
with another process on the second of two cores, half of the calls that take 0.3 ms took 16 and more; by this pool the
median is 0.33 (Zen 5, 1x1, 256 -> 64, 56x56).

Workers are Python threads. After a job they linger in machine code, without the GIL, for the next one; soon they go to
sleep on a lock, from which a later caller wakes them without waiting. There is one job at a time: a second caller gets
no help and runs its tasks alone. A forked child starts workers of its own, and no parallel region of Numba is entered,
so that neither GNU OpenMP, which kills such children, nor Numba's `workqueue`, which aborts on two callers, matters.
"""

from __future__ import annotations

import os
import threading
import time
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from numbaconv.codegen.jit import (
    BLOCK_WORDS,
    cached,
    call_tasks,
    exchange,
    fetch_add,
    in_helper_thread,
    inline,
    load,
    pause,
)

LINE = 8  # int64 words in a cache line: words that different threads write lie apart
POSTED = 0  # number of the last job
OPEN = LINE  # 1 while workers may enter it
INSIDE = 2 * LINE  # workers in it
NEXT = 3 * LINE  # its next task
JOB = 4 * LINE  # function, tasks, grain, threads, then the argument block
FUNCTION, TASKS, GRAIN, THREADS, BLOCK = range(JOB, JOB + 5)
WORDS = BLOCK + BLOCK_WORDS

LINGER = 20_000  # looks for a new job before sleeping: some 0.5 ms (Zen 5), a few calls of a network's layers apart
PATIENCE = 100_000  # looks for the end of others' tasks before this thread offers its core to them


def _take(state, slot):  # type: ignore[no-untyped-def]
    """Run tasks of the job, ``grain`` at a time, until none is left."""
    tasks, grain = state[TASKS], state[GRAIN]
    while True:
        lo = fetch_add(state, NEXT, grain)
        if lo >= tasks:
            break
        call_tasks(state[FUNCTION], lo, min(lo + grain, tasks), slot, state[BLOCK:].ctypes.data)


_take = inline(_take)


def _lead(state, function, tasks, grain, threads, fixed, own, size, x, w, b, y, r):  # type: ignore[no-untyped-def]
    """Post the job, take its tasks until none is left, close it. ``fixed``: the addresses that a plan brings."""
    state[FUNCTION], state[TASKS], state[GRAIN], state[THREADS] = function, tasks, grain, threads
    block = state[BLOCK:]
    block[0], block[1], block[2], block[3], block[4] = fixed[0], own.ctypes.data, size, fixed[1], fixed[2]
    block[5], block[6], block[7], block[8] = x.ctypes.data, x.size, w.ctypes.data, w.size
    block[9], block[10], block[11], block[12] = b.ctypes.data, b.size, y.ctypes.data, y.size
    block[13], block[14] = r.ctypes.data, r.size
    exchange(state, NEXT, 0)
    exchange(state, OPEN, 1)
    fetch_add(state, POSTED, 1)
    _take(state, 0)
    exchange(state, OPEN, 0)


def _settled(state):  # type: ignore[no-untyped-def]
    """Whether every worker has left the closed job, within some patience."""
    for _ in range(PATIENCE):
        if load(state, INSIDE) == 0:
            return True
        pause()
    return False


def _linger(state, worker):  # type: ignore[no-untyped-def]
    """Join every job that is open, until none has come for a while.

    A worker counts itself in before it looks whether the job is open, and the caller closes it before it counts who is
    in, so one of them sees the other: nobody reads the words of a job that is over.
    """
    seen = -1
    idle = 0
    while idle < LINGER:
        posted = load(state, POSTED)
        if posted == seen:
            idle += 1
            pause()
            continue
        seen = posted
        fetch_add(state, INSIDE, 1)
        if load(state, OPEN) == 1 and worker < state[THREADS]:
            _take(state, worker)
            idle = 0
        fetch_add(state, INSIDE, -1)


WORD = numba.types.int64
LEAD, SETTLED, LINGER_ON = cached(_lead, "pool-lead"), cached(_settled, "pool-settled"), cached(_linger, "pool-linger")


@lru_cache(64)
def leader(dtype: np.dtype[Any]) -> Any:
    """`_lead` for arrays of ``dtype``, compiled where Ctrl-C cannot break the compiler."""
    array = numba.from_dtype(dtype)[::1]
    words = WORD[::1]
    job = (words, WORD, WORD, WORD, WORD, numba.types.UniTuple(WORD, 3), array, WORD, *[array] * 5)

    def build() -> None:
        LEAD.compile(job)
        SETTLED.compile((words,))
        LINGER_ON.compile((words, WORD))

    in_helper_thread(build)
    return LEAD


def lead_alone(leader: Any, function: int, tasks: int, bound: tuple[Any, ...]) -> None:
    """All tasks of a job, in order, by this thread."""
    try:
        state = _own.state
    except AttributeError:
        state = _own.state = np.zeros(WORDS, np.int64)
    leader(state, function, tasks, tasks, 1, *bound)


class Pool:
    """The workers of this process."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._state = np.zeros(WORDS + LINE, np.int64)
        self._sleeps: list[threading.Lock] = []  # held by a worker that sleeps; released to wake it
        self._asleep: list[bool] = []

    def lead(self, leader: Any, function: int, tasks: int, grain: int, threads: int, bound: tuple[Any, ...]) -> None:
        """All tasks of a job, by this thread and up to ``threads - 1`` workers that come in time."""
        if not self._busy.acquire(blocking=False):
            lead_alone(leader, function, tasks, bound)
            return
        try:
            self._wake(threads - 1)
            try:
                leader(self._state, function, tasks, grain, threads, *bound)
            finally:
                self._settle()
        finally:
            self._busy.release()

    def _settle(self) -> None:
        """Wait for the last tasks, also through Ctrl-C: the arrays must outlive them."""
        interrupt = None
        while True:
            try:
                while not SETTLED(self._state):
                    time.sleep(0)
                break
            except KeyboardInterrupt as raised:
                interrupt = raised
        if interrupt is not None:
            raise interrupt

    def _wake(self, count: int) -> None:
        while len(self._sleeps) < count:
            self._start()
        for worker in range(count):
            if self._asleep[worker]:
                self._asleep[worker] = False
                self._sleeps[worker].release()

    def _start(self) -> None:
        sleep = threading.Lock()
        worker = len(self._sleeps)
        self._sleeps.append(sleep)
        self._asleep.append(False)

        def work() -> None:
            sleep.acquire()
            while True:
                LINGER_ON(self._state, worker + 1)
                self._asleep[worker] = True
                sleep.acquire()

        threading.Thread(target=work, name=f"numbaconv-{worker + 1}", daemon=True).start()


_pool = Pool()
_own = threading.local()  # the job of a thread that works alone


def _after_fork_in_child() -> None:
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def pool() -> Pool:
    """The workers of this process; a forked child has its own."""
    return _pool

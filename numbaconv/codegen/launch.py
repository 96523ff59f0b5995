"""Where a plan's tasks run: in this thread, under a prange, or on Python threads. One place decides.

* Numba's `workqueue` layer aborts the process when two threads are in parallel regions at once, whoever started them.
* GNU OpenMP kills a forked child that enters a parallel region after its parent did.

So a prange is used only under `omp` and `tbb`, and never in a forked child. Elsewhere the same range kernel, which
holds no lock and starts nothing, runs on a few Python threads. All of them take tasks from one atomic counter, so a
core that is slow or busy simply takes fewer; no output depends on who computed it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from numbaconv.codegen.jit import (
    BLOCK_WORDS,
    DISABLED,
    RangeKernel,
    cached,
    call_tasks,
    fetch_add,
    in_helper_thread,
    inline,
)

_threads: int | None = None  # what set_num_threads chose
_forked = False
_executor: ThreadPoolExecutor | None = None
_lock = threading.Lock()
_own = threading.local()


def _after_fork_in_child() -> None:
    global _forked, _executor, _lock
    _forked, _executor, _lock = True, None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def max_threads() -> int:
    """The most threads that a call may use: Numba's pool, NUMBA_NUM_THREADS, by default one a core."""
    return int(numba.config.NUMBA_NUM_THREADS)


def set_num_threads(n: int) -> None:
    """Use at most ``n`` threads in calls that do not say ``num_threads=``; 1 <= n <= NUMBA_NUM_THREADS."""
    global _threads
    _threads = checked_threads(n, "n")


def get_num_threads() -> int:
    """The number of threads that calls use."""
    return max_threads() if _threads is None else _threads


def checked_threads(n: Any, argument: str = "num_threads") -> int:
    """``n`` as an int, or the error that names the argument."""
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{argument} must be an int, got {n!r}")
    count = n.__index__()
    if not 1 <= count <= max_threads():
        raise ValueError(f"{argument} must be between 1 and {max_threads()} (NUMBA_NUM_THREADS), got {count}")
    return int(count)


def threading_mode() -> str:
    """'prange', 'python threads' or 'python loops' (NUMBA_DISABLE_JIT): how parallel work runs in this process."""
    if DISABLED:
        return "python loops"
    return "python threads" if _forked or _layer() == "workqueue" else "prange"


@lru_cache(1)
def _layer() -> str:
    numba.get_num_threads()  # makes Numba choose its threading layer; starts no parallel region
    return str(numba.threading_layer())


def _bind(fixed, own, size, x, w, b, y):  # type: ignore[no-untyped-def]
    """The argument block of one call; ``fixed``: the addresses that a plan brings."""
    block = np.empty(BLOCK_WORDS, np.int64)
    block[0], block[1], block[2], block[3], block[4] = fixed[0], own.ctypes.data, size, fixed[1], fixed[2]
    block[5], block[6], block[7], block[8] = x.ctypes.data, x.size, w.ctypes.data, w.size
    block[9], block[10], block[11], block[12] = b.ctypes.data, b.size, y.ctypes.data, y.size
    return block


_bind = inline(_bind)


def _serial_body(function, tasks, fixed, own, size, x, w, b, y):  # type: ignore[no-untyped-def]
    block = _bind(fixed, own, size, x, w, b, y)
    call_tasks(function, 0, tasks, 0, block.ctypes.data)


def _prange_body(function, slots, grain, tasks, fixed, own, size, x, w, b, y):  # type: ignore[no-untyped-def]
    block = _bind(fixed, own, size, x, w, b, y)
    counter = np.zeros(1, np.int64)
    for slot in numba.prange(slots):
        while True:
            lo = fetch_add(counter, grain)
            if lo >= tasks:
                break
            call_tasks(function, lo, min(lo + grain, tasks), slot, block.ctypes.data)


def _thread_body(function, slot, grain, tasks, counter, fixed, own, size, x, w, b, y):  # type: ignore[no-untyped-def]
    block = _bind(fixed, own, size, x, w, b, y)
    while True:
        lo = fetch_add(counter, grain)
        if lo >= tasks:
            break
        call_tasks(function, lo, min(lo + grain, tasks), slot, block.ctypes.data)


WORD = numba.types.int64
LAUNCHERS = {  # how: the dispatcher, and the types of the arguments that come before those of `_bind`
    "serial": (cached(_serial_body, "launch-serial"), [WORD, WORD]),
    "prange": (cached(_prange_body, "launch-prange", parallel=True), [WORD] * 4),
    "python threads": (cached(_thread_body, "launch-thread"), [WORD] * 4 + [WORD[::1]]),
}


@lru_cache(64)
def _launcher(how: str, dtype: np.dtype[Any]) -> Any:
    """The dispatcher, compiled where Ctrl-C cannot break the compiler."""
    dispatcher, first = LAUNCHERS[how]
    array = numba.from_dtype(dtype)[::1]
    bound = [numba.types.UniTuple(WORD, 3), array, WORD, array, array, array, array]
    in_helper_thread(lambda: dispatcher.compile((*first, *bound)))
    return dispatcher


def scratch(dtype: np.dtype[Any], size: int) -> np.ndarray:
    """At least ``size`` elements that this Python thread alone uses until its next call; 64-byte aligned."""
    buffers: dict[np.dtype[Any], np.ndarray] | None = getattr(_own, "buffers", None)
    if buffers is None:
        buffers = _own.buffers = {}
    found = buffers.get(dtype)
    if found is None or found.size < size:
        raw = np.empty(size * dtype.itemsize + 64, np.uint8)
        start = -raw.ctypes.data % 64
        found = buffers[dtype] = raw[start : start + size * dtype.itemsize].view(dtype)
    return found


def _flat(array: np.ndarray) -> np.ndarray:
    """``array``, which is C-contiguous, as one writable axis: a read-only one would be another type to the compiler."""
    if array.flags.writeable:
        return array.reshape(-1)
    place = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
    return np.frombuffer(place, array.dtype)  # type: ignore[call-overload]  # any buffer will do


# Below this many multiply-adds a call is over (some 10 us) before another thread has begun.
SERIAL_MACS = 500_000


class Work:
    """A range kernel bound to one plan's tables: everything of a launch that no call changes.

    ``tasks`` of ``macs`` multiply-adds in all, taken ``grain`` at a time; each thread gets ``scratch_size`` elements of
    ``dtype``.
    """

    def __init__(
        self,
        kernel: RangeKernel,
        dtype: str,
        constants: tuple[object, ...],
        tasks: int,
        macs: int,
        scratch_size: int,
        table: np.ndarray,
        g: np.ndarray,
        grain: int = 1,
    ) -> None:
        self._grain = grain
        self._kernel, self._dtype, self._constants = kernel, np.dtype(dtype), constants
        self._tasks, self._serial = tasks, macs < SERIAL_MACS
        self._scratch_size = -(-scratch_size // 64) * 64  # whole cache lines, so that threads do not share one
        self._table, self._g = np.ascontiguousarray(table, np.int64), g
        self._fixed = (g.ctypes.data, self._table.ctypes.data, self._table.size)

    def run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray, threads: int) -> None:
        """Run all tasks on up to ``threads`` threads; the arrays are C-contiguous, of any shape."""
        if self._tasks <= 0:
            return
        threads = 1 if self._serial else min(threads, -(-self._tasks // self._grain))
        entry = self._kernel.entry(self._dtype, *self._constants)
        size, tasks, grain = self._scratch_size, self._tasks, self._grain
        own = scratch(self._dtype, size * threads)
        x, w, b, y = _flat(x), _flat(w), _flat(b), _flat(y)
        if DISABLED:
            entry.loops(0, tasks, own[:size], x, w, b, y, self._table, self._g.view(np.recarray)[0])
            return
        bound: tuple[Any, ...] = (self._fixed, own, size, x, w, b, y)
        how = "serial" if threads == 1 else threading_mode()
        launch = _launcher(how, self._dtype)
        if how == "serial":
            launch(entry.address, tasks, *bound)
        elif how == "prange":
            launch(entry.address, threads, grain, tasks, *bound)
        else:
            counter = np.zeros(1, np.int64)
            others = [
                _python_threads().submit(launch, entry.address, slot, grain, tasks, counter, *bound)
                for slot in range(1, threads)
            ]
            launch(entry.address, 0, grain, tasks, counter, *bound)
            for other in others:
                other.result()


def _python_threads() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(max(1, max_threads() - 1), thread_name_prefix="numbaconv")
        return _executor

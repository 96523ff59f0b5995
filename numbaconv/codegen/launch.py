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

from numbaconv.codegen.jit import DISABLED, Block, RangeKernel, cached, call_tasks, fetch_add

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


def _prange_body(function, slots, grain, tasks, counter, block):  # type: ignore[no-untyped-def]
    for slot in numba.prange(slots):
        while True:
            lo = fetch_add(counter, grain)
            if lo >= tasks:
                break
            call_tasks(function, lo, min(lo + grain, tasks), slot, block)


def _thread_body(function, slot, grain, tasks, counter, block):  # type: ignore[no-untyped-def]
    while True:
        lo = fetch_add(counter, grain)
        if lo >= tasks:
            break
        call_tasks(function, lo, min(lo + grain, tasks), slot, block)


_under_prange = cached(_prange_body, "launch-prange", parallel=True)
_in_thread = cached(_thread_body, "launch-thread")


def scratch(dtype: np.dtype[Any], size: int) -> np.ndarray:
    """At least ``size`` elements that this Python thread alone uses until its next call; 64-byte aligned."""
    need = size * dtype.itemsize
    block = getattr(_own, "scratch", None)
    if block is None or block.size < need:
        raw = np.empty(need + 64, np.uint8)
        start = -raw.ctypes.data % 64
        block = _own.scratch = raw[start : start + need]
    return block[:need].view(dtype)  # type: ignore[no-any-return]


def address(array: np.ndarray) -> int:
    """Where the first element of ``array`` lies."""
    return int(array.__array_interface__["data"][0])


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
        self._fixed = (address(self._table), self._table.size, g.ctypes.data)

    def run(self, x: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray, threads: int) -> None:
        """Run all tasks on up to ``threads`` threads; the arrays are C-contiguous, of any shape."""
        if self._tasks <= 0:
            return
        threads = 1 if self._serial else min(threads, -(-self._tasks // self._grain))
        entry = self._kernel.entry(self._dtype, *self._constants)
        size = self._scratch_size
        own = scratch(self._dtype, size * threads)
        if DISABLED:
            flat = (array.reshape(-1) for array in (x, w, b, y))
            entry.loops(0, self._tasks, own[:size], *flat, self._table, self._g.view(np.recarray)[0])
            return
        block = Block(
            address(own), size, address(x), x.size, address(w), w.size, address(b), b.size, address(y), y.size,
            *self._fixed,
        )  # fmt: skip
        place = ctypes.addressof(block)
        if threads == 1:
            entry.call(0, self._tasks, 0, place)  # type: ignore[misc]  # ctypes lets go of the GIL
            return
        counter = np.zeros(1, np.int64)
        if threading_mode() == "prange":
            _under_prange(entry.address, threads, self._grain, self._tasks, counter, place)
            return
        pool = _python_threads()
        others = [
            pool.submit(_in_thread, entry.address, slot, self._grain, self._tasks, counter, place)
            for slot in range(1, threads)
        ]
        _in_thread(entry.address, 0, self._grain, self._tasks, counter, place)
        for other in others:
            other.result()


def _python_threads() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(max(1, max_threads() - 1), thread_name_prefix="numbaconv")
        return _executor

"""Where a plan's tasks run: in this thread, or here and on the workers of the pool. One place decides."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from numbaconv.codegen.jit import DISABLED, Entry, RangeKernel
from numbaconv.codegen.pool import lead_alone, leader, pool

_threads: int | None = None  # what set_num_threads chose
_own = threading.local()


def max_threads() -> int:
    """The most threads that a call may use: NUMBA_NUM_THREADS, by default one a core."""
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
    if type(n) is int and 1 <= n <= max_threads():
        return n
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{argument} must be an int, got {n!r}")
    count = n.__index__()
    if not 1 <= count <= max_threads():
        raise ValueError(f"{argument} must be between 1 and {max_threads()} (NUMBA_NUM_THREADS), got {count}")
    return int(count)


def scratch(dtype: np.dtype[Any], size: int) -> np.ndarray:
    """At least ``size`` elements that this Python thread alone uses until its next call; 64-byte aligned."""
    buffers: dict[np.dtype[Any], np.ndarray] | None = getattr(_own, "buffers", None)
    if buffers is None:
        buffers = _own.buffers = {}
    found = buffers.get(dtype)
    if found is None or found.size < size:
        # Lanes beyond a row are summed and dropped: in plain Python, whatever lay there would warn of an overflow.
        raw = (np.zeros if DISABLED else np.empty)(size * dtype.itemsize + 64, np.uint8)
        start = -raw.ctypes.data % 64
        found = buffers[dtype] = raw[start : start + size * dtype.itemsize].view(dtype)
    return found


def _flat(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """``array``, which is C-contiguous, as one writable axis of ``dtype``: the only type that kernels are compiled for.

    One of another dtype lies as it is, its last few bytes counted as one more element.
    """
    if array.flags.writeable:
        if array.dtype is dtype:
            return array if array.ndim == 1 else array.ravel()  # a view, in half of the time of reshape
        if array.nbytes % dtype.itemsize == 0:
            return array.ravel().view(dtype)  # in a third of the time of what follows
    size = -(-array.nbytes // dtype.itemsize)
    place = (ctypes.c_char * (size * dtype.itemsize)).from_address(array.ctypes.data)
    return np.frombuffer(place, dtype)  # type: ignore[call-overload]  # any buffer will do


class Works(dict[Any, Any]):
    """What a plan launches, by how its operands lie; made when it is first asked for."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __missing__(self, key: Any) -> Any:
        found = self[key] = self._make(key)
        return found


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
        # Never by way of floats, which would round the words of a padding value.
        self._table, self._g = np.ascontiguousarray(table.astype(np.int64, casting="safe", copy=False)), g
        self._fixed = (g.ctypes.data, self._table.ctypes.data, self._table.size)
        self._entry: Entry | None = None  # compiled when first run, as is the leader
        self._leader: Any = None

    def run(
        self, x: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray, threads: int, r: np.ndarray | None = None
    ) -> None:
        """Run all tasks on up to ``threads`` threads; the arrays are C-contiguous, of any shape.

        ``r`` is a second input, as large as ``y``: what a residual connection adds.
        """
        if self._tasks <= 0:
            return
        threads = 1 if self._serial else min(threads, -(-self._tasks // self._grain))
        dtype, entry = self._dtype, self._entry
        if entry is None:
            self._leader = None if DISABLED else leader(dtype)
            entry = self._entry = self._kernel.entry(dtype, *self._constants)
        size, tasks, grain = self._scratch_size, self._tasks, self._grain
        own = scratch(dtype, size * threads)
        # One by one, as a loop over them would take a tenth of a small call; packed weights are flat already.
        x, b, y = _flat(x, dtype), _flat(b, dtype), _flat(y, dtype)
        if w.ndim != 1 or w.dtype is not dtype or not w.flags.writeable:
            w = _flat(w, dtype)
        r = b if r is None else _flat(r, dtype)
        if DISABLED:
            entry.loops(0, tasks, own[:size], x, w, b, y, r, self._table, self._g.view(np.recarray)[0])
            return
        bound: tuple[Any, ...] = (self._fixed, own, size, x, w, b, y, r)
        if threads == 1:
            lead_alone(self._leader, entry.address, tasks, bound)
        else:
            pool().lead(self._leader, entry.address, tasks, grain, threads, bound)

"""The speed of memory and of the last cache: how fast cores read what lies there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from numbaconv.machine import Machine

LEAST, MOST = 64 * 2**20, 512 * 2**20  # bytes of the arrays; four times the last cache, if that lies between
BEYOND_SECOND = 3  # times a core's second cache: nothing stays there, and the last one is far from full
SECONDS = 0.3


def measure(machine: Machine, threads: int = 1, cached: bool = False) -> float:
    """GB/s of so many cores together, from memory or from the last cache.

    The best of repeated passes of each, each the maximum of an array, which NumPy finds by several vectors at once.
    """
    size = BEYOND_SECOND * machine.l2 if cached else min(max(LEAST, 4 * machine.l3), MOST) // threads
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(_reads, [size] * threads))


def _reads(size: int) -> float:
    """GB/s of one thread, which does not hold the interpreter's lock while it reads."""
    array = np.ones(size // 4, np.float32)  # written, so that its pages exist
    best = float("inf")
    end = perf_counter() + SECONDS
    while perf_counter() < end:
        start = perf_counter()
        array.max()
        best = min(best, perf_counter() - start)
    return array.nbytes / best * 1e-9

"""Timing calls side by side: in blocks by turns, so that each contender meets the same machine; minima and medians.

Thread pools spin for some milliseconds after their last work, and would slow whoever comes next: each block begins
after a short sleep, and with an untimed call that wakes its own pool. Blocks rotate, so none is always first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep
from typing import Any

SPIN = 0.005  # seconds; GNU OpenMP's workers spin about 3 ms by default
MOST = 20_000  # calls a block, so that lists of times stay short
ROUNDS = 3
LONG = 5.0  # seconds; a call that takes this long is measured once: its noise is small and its patience too


@dataclass(frozen=True)
class Times:
    """Seconds of one call."""

    best: float
    median: float


def interleaved(calls: Mapping[str, Callable[[], Any]], seconds: float, rounds: int = ROUNDS) -> dict[str, Times]:
    """Times of each call, each in ``rounds`` blocks that together last about ``seconds``, by turns.

    A block has at least one timed call, however long that takes; after one of more than `LONG` there is no other.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            if samples[name] and samples[name][-1] > LONG:
                continue
            sleep(SPIN)
            samples[name] += _block(calls[name], seconds / rounds)
    return {name: Times(min(times), median(times)) for name, times in samples.items()}


def _block(call: Callable[[], Any], seconds: float) -> list[float]:
    start = perf_counter()
    call()
    first = perf_counter() - start
    if first > seconds:
        return [first]
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < MOST:
        start = perf_counter()
        call()
        stop = perf_counter()
        times.append(stop - start)
        if stop > end:
            break
    return times

"""Timing calls side by side: in blocks by turns, so that each contender meets the same machine; minima and medians.

Thread pools spin after their last work, and would slow whoever comes next: GNU OpenMP's for about 3 ms, ONNX Runtime's
for 50 ms. So a block begins when the process is idle, and with an untimed call that wakes its own pool. Blocks rotate,
so none is always first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any

IDLE_STEP = 0.005  # seconds; also where the clock of the process is too coarse to see who spins
IDLE_SHARE = 0.1  # of a step: what a process without spinning threads stays below
IDLE_PATIENCE = 0.5  # seconds; then somebody works for ever, and measuring goes on
MOST = 20_000  # calls a block, so that lists of times stay short
ROUNDS = 3
LONG = 2.0  # seconds; a call that takes this long is measured once: its noise is small and its patience too


@dataclass(frozen=True)
class Times:
    """Seconds of one call."""

    best: float
    median: float


def unheard(name: str) -> None:
    """For those who need not know whose turn it is."""


def interleaved(
    calls: Mapping[str, Callable[[], Any]],
    seconds: float,
    rounds: int = ROUNDS,
    say: Callable[[str], None] = unheard,
) -> dict[str, Times]:
    """Times of each call, each in ``rounds`` blocks that together last about ``seconds``, by turns.

    A block has at least one timed call, however long that takes; after one of more than `LONG` there is no other.
    ``say`` hears whose block begins.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            if samples[name] and samples[name][-1] > LONG:
                continue
            say(name)
            wait_until_idle()
            samples[name] += _block(calls[name], seconds / rounds)
    return {name: Times(min(times), median(times)) for name, times in samples.items()}


def wait_until_idle() -> None:
    """Sleep until no thread of this process works or spins any more."""
    patience = perf_counter() + IDLE_PATIENCE
    while perf_counter() < patience:
        used = process_time()
        sleep(IDLE_STEP)
        if process_time() - used < IDLE_SHARE * IDLE_STEP:
            break


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

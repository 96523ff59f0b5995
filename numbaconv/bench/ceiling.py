"""What holds a convolution on this machine: multiply-adds in registers, bytes from memory and from the last cache."""

from __future__ import annotations

from dataclasses import dataclass

from numbaconv import machine
from numbaconv.bench import bandwidth
from numbaconv.microkernels import peak

TRIES = 2  # something else may have been running during the first


@dataclass(frozen=True)
class Ceiling:
    """GFLOP/s of the register tile on operands in the first cache; GB/s read from memory and from the last cache."""

    peak: float
    memory: float
    cache: float

    def __str__(self) -> str:
        return f"peak {self.peak:.0f} GFLOP/s; {self.memory:.0f} GB/s from memory, {self.cache:.0f} from the last cache"


def measure(dtype: str, threads: int) -> Ceiling:
    """On so many threads together."""
    host = machine.host()
    top = max(peak.measure(dtype, threads) for _ in range(TRIES))
    return Ceiling(top, bandwidth.measure(host, threads), bandwidth.measure(host, threads, cached=True))

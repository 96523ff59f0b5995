"""One layer by all contenders: our plan, our plain call, the peers; every result checked before any is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numbaconv.bench import sample
from numbaconv.bench.clock import Times, interleaved
from numbaconv.bench.layers import Array, Call, Layer
from numbaconv.bench.peers import PEERS, RefusedError

PLAN, PLAIN = "plan", "plain"  # our two contenders
OURS = (PLAN, PLAIN)

# Units of the bound of direct summation. A peer's transforms (Winograd, FFT) may lose that much and still be honest.
WRONG_ABOVE = {PLAN: 1.0, PLAIN: 1.0}
PEER_WRONG_ABOVE = 16.0


@dataclass(frozen=True)
class Comparison:
    """Times and errors of those who computed the layer, and the words of those who did not or did it wrong."""

    layer: Layer
    strategy: str
    flops: int
    times: dict[str, Times]
    errors: dict[str, float]  # in units of the bound
    remarks: dict[str, str]  # a refusal, or 'wrong: ...'

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that have a time and a right result."""
        return tuple(name for name in self.times if name not in OURS and name not in self.remarks)

    def ratio(self, peer: str, ours: str = PLAN) -> float:
        """How many times as long the peer takes."""
        return self.times[peer].best / self.times[ours].best


@dataclass(frozen=True)
class Setting:
    """What holds for all layers of a run."""

    peers: tuple[str, ...]
    dtype: str
    threads: int
    seconds: float  # for each contender
    strategy: str | None = None


def compare(layer: Layer, setting: Setting) -> Comparison:
    """Compute, check and time one layer."""
    x, w, b = layer.arrays(setting.dtype)
    remarks: dict[str, str] = {}
    plan = layer.plan(w, b, setting.threads, setting.strategy)
    calls: dict[str, Call] = {
        PLAN: lambda: plan(x),
        PLAIN: layer.plain(x, w, b, setting.threads, setting.strategy),
    }
    for name in setting.peers:
        try:
            calls[name] = PEERS[name].make(layer, x, w, b, setting.threads)
        except RefusedError as refusal:
            remarks[name] = str(refusal)
    results: dict[str, Array] = {}
    for name in list(calls):
        try:
            results[name] = calls[name]()
        except Exception as error:  # whatever an engine raises is its answer
            if name in OURS:
                raise
            remarks[name] = f"refused: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
            del calls[name]
    problem = plan.problem
    for name in [name for name, y in results.items() if y.shape != problem.y_shape]:
        remarks[name] = f"wrong: shape {results.pop(name).shape} where the equation has {problem.y_shape}"
        del calls[name]
    suspects = _most_different(list(results.values()))
    truth = sample.outputs(problem, x, w, b, more=suspects)
    errors = {name: truth.error(y) for name, y in results.items()}
    for name, off in errors.items():
        if off > WRONG_ABOVE.get(name, PEER_WRONG_ABOVE):
            remarks[name] = f"wrong: error {off:.3g} times the bound of rounding"
    results.clear()
    times = interleaved(calls, setting.seconds)
    return Comparison(layer, plan.strategy, problem.flops, times, errors, remarks)


def _most_different(results: Sequence[Array]) -> tuple[int, ...]:
    """Where each result differs most from the first: flat indices at which the truth must be asked."""
    first = results[0]
    if first.size == 0:
        return ()
    with np.errstate(invalid="ignore"):
        return tuple(int(np.argmax(np.abs(y - first))) for y in results[1:])

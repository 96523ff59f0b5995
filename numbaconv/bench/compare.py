"""One layer by all contenders: our plan, our plain call, the peers; every result checked before any is timed."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from time import perf_counter

import numpy as np

from numbaconv.bench import backward, sample
from numbaconv.bench.ceiling import Ceiling
from numbaconv.bench.clock import Times, interleaved, unheard
from numbaconv.bench.layers import Array, Call, Layer
from numbaconv.bench.peer import RefusedError
from numbaconv.bench.peers import PEERS
from numbaconv.strategies import NAMES

PLAN, PLAIN = "plan", "plain"  # our contenders but for gradients; "plan direct" is a plan whose strategy is forced
OURS = (PLAN, PLAIN, backward.OURS)

# Units of the bound of direct summation. A peer's transforms (Winograd, FFT) may lose that much and still be honest.
WRONG_ABOVE, PEER_WRONG_ABOVE = 1.0, 16.0

ENOUGH = 10.0  # seconds; a peer whose first call takes this long is not asked again, what it prepared late is little
FORCED_MACS = 100_000_000  # `generic` is the last resort: on larger layers its time says nothing and takes minutes


@dataclass(frozen=True)
class Setting:
    """What holds for all layers of a run."""

    peers: tuple[str, ...]
    dtype: str
    threads: int
    seconds: float  # for each contender
    ceiling: Ceiling
    strategy: str | None = None
    regret: bool = False  # whether every strategy of ours that accepts a layer is a contender as well
    gradients: bool = False  # whether those of a layer are compared with PyTorch's, where that is a peer


@dataclass(frozen=True)
class Comparison:
    """Times and errors of those who computed the layer, and the words of those who did not or did it wrong."""

    layer: str
    kind: str
    problem: str  # as `ConvProblem` prints itself
    dtype: str
    threads: int
    strategy: str
    flops: int
    bytes: int  # of input, weights and result
    times: Mapping[str, Times]
    errors: Mapping[str, float]  # in units of the bound
    remarks: Mapping[str, str]  # a refusal, or 'wrong: ...'
    ceiling: Ceiling

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that have a time and a right result."""
        return tuple(name for name in self.times if name in PEERS and name not in self.remarks)

    @property
    def function(self) -> str:
        """The public function that computes the layer."""
        return self.problem.split()[0]

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of input and weights."""
        _, _, x, _, w, *_ = self.problem.split()
        return tuple(map(int, x.split("x"))), tuple(map(int, w.split("x")))

    @property
    def speed(self) -> float:
        """GFLOP/s of the plan, by the operations of the defining sum."""
        return self.flops / self.times[PLAN].best * 1e-9

    @property
    def wrong(self) -> bool:
        """Whether a result of ours is."""
        return any(is_ours(name) for name in self.remarks)

    def best_peer(self, figure: str = "best", among: Container[str] = PEERS) -> str | None:
        """The peer with the least time, by minima ("best") or medians; None where none of them computed the layer."""
        peers = [name for name in self.peers if name in among]
        return min(peers, key=lambda name: float(getattr(self.times[name], figure)), default=None)

    def ratio(self, peer: str, ours: str = PLAN, figure: str = "best") -> float | None:
        """How many times as long as ours the peer takes; None where it has no right result."""
        if peer not in self.peers:
            return None
        return float(getattr(self.times[peer], figure) / getattr(self.times[ours], figure))

    def over_best(self, figure: str = "best", among: Container[str] = PEERS) -> float | None:
        """`ratio` to the best peer."""
        best = self.best_peer(figure, among)
        return None if best is None else self.ratio(best, figure=figure)

    def gradients(self) -> float | None:
        """PyTorch's time for both gradients over ours; None where they were not measured, or one was wrong."""
        if not {backward.OURS, backward.THEIRS} <= self.times.keys() - self.remarks.keys():
            return None
        return self.times[backward.THEIRS].best / self.times[backward.OURS].best

    def regret(self) -> float | None:
        """Time of the automatic choice over that of the best strategy; None where none was forced."""
        forced = {name: self.times[name].best for name in self.times if name.startswith(f"{PLAN} ")}
        right = [best for name, best in forced.items() if name not in self.remarks]
        chosen = min(self.times[PLAN].best, forced.get(f"{PLAN} {self.strategy}", inf))  # the same twice: less noise
        return chosen / min(chosen, *right) if right else None


def is_ours(contender: str) -> bool:
    """Whether it is one of our plans or calls."""
    return contender.partition(" ")[0] in OURS


def compare(layer: Layer, setting: Setting, say: Callable[[str], None] = unheard) -> Comparison:
    """Compute, check and time one layer; ``say`` hears whose turn it is, which a crash would not tell."""
    x, w, b = layer.arrays(setting.dtype)
    say(PLAN)
    plan = layer.plan(w, b, setting.threads, setting.strategy)
    problem = plan.problem
    calls: dict[str, Call] = {
        PLAN: lambda: plan(x),
        PLAIN: layer.plain(x, w, b, setting.threads, setting.strategy),
    }
    if setting.regret:
        calls |= _forced(layer, x, w, b, setting.threads)
    remarks: dict[str, str] = {}
    results: dict[str, Array] = {}
    firsts: dict[str, float] = {}
    for name in [*calls, *setting.peers]:
        say(name)
        try:
            if name not in calls:
                calls[name] = PEERS[name].make(layer, x, w, b, setting.threads)
            start = perf_counter()
            results[name] = calls[name]()
            firsts[name] = perf_counter() - start
        except Exception as error:  # whatever an engine raises is its answer
            if is_ours(name):
                raise
            calls.pop(name, None)
            word = "" if isinstance(error, RefusedError) else "refused: "
            remarks[name] = word + (str(error).splitlines() or [type(error).__name__])[0]
    for name in [name for name, y in results.items() if y.shape != problem.y_shape]:
        remarks[name] = f"wrong: shape {results.pop(name).shape} where the equation has {problem.y_shape}"
        del calls[name]
    suspects = _most_different(list(results.values()))
    truth = sample.outputs(problem, x, w, b, more=suspects)
    errors = {name: truth.error(y) for name, y in results.items()}
    results.clear()
    slow = {name: Times(took, took) for name, took in firsts.items() if not is_ours(name) and took > ENOUGH}
    times = slow | interleaved({n: c for n, c in calls.items() if n not in slow}, setting.seconds, say=say)
    if setting.gradients and backward.PEER in setting.peers and backward.takes(layer):
        more_times, more_errors = backward.measure(layer, x, w, setting.threads, setting.seconds, say)
        times, errors = times | more_times, errors | more_errors
    for name, off in errors.items():
        if off > (WRONG_ABOVE if is_ours(name) else PEER_WRONG_ABOVE):
            remarks[name] = f"wrong: error {off:.3g} times the bound of rounding"
    words = str(layer), layer.kind, str(problem), setting.dtype, setting.threads, plan.strategy, layer.flops
    return Comparison(*words, layer.bytes(setting.dtype), times, errors, remarks, setting.ceiling)


def _forced(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> dict[str, Call]:
    """A plan of each strategy that accepts the layer."""
    calls: dict[str, Call] = {}
    for name in NAMES:
        if name == "generic" and layer.problem(str(x.dtype)).macs > FORCED_MACS:
            continue
        try:
            plan = layer.plan(w, b, threads, name)
        except ValueError:  # it refuses
            continue
        calls[f"{PLAN} {name}"] = lambda plan=plan: plan(x)  # type: ignore[misc]
    return calls


def _most_different(results: Sequence[Array]) -> tuple[int, ...]:
    """Where each result differs most from the first: flat indices at which the truth must be asked."""
    first = results[0]
    if first.size == 0:
        return ()
    with np.errstate(invalid="ignore"):
        return tuple(int(np.argmax(np.abs(y - first))) for y in results[1:])

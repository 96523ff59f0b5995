"""Measured choice: `tune` times the strategies that could be the fastest, and keeps what it found as wisdom.

It stands above the cost model and never inside a strategy: the planner looks into wisdom first, then asks for costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from numbaconv import machine, planner, wisdom
from numbaconv.bench import bandwidth
from numbaconv.bench.clock import interleaved
from numbaconv.bench.progress import progress as progress_bar
from numbaconv.bench.tables import geometric_mean, row
from numbaconv.calls import PreparedConv
from numbaconv.planner import Call
from numbaconv.problem import ConvProblem
from numbaconv.tail import dtype_of

# Predictions are within a factor of 5 (Zen 5, 70 layers; `dot` and `generic` may take more), mostly of 2. A strategy of
# so many times the least prediction is not measured: it would take most of the time. One that takes so many times its
# own prediction was disturbed: beside another process on one of two cores, calls of 60 us took multiples of the
# scheduler's 4 ms for tens of milliseconds.
FAR = 10.0
CALL = 20e-6  # seconds, at most, that no prediction counts: waking threads
TRIES = 5
WIDTHS = (-58, 7, -5, -10, -10, 10, 10, 6)
HEAD = ("convolution", "threads", "call", "predicted", "fastest", "us", "us", "ratio")

Layer = PreparedConv | ConvProblem


@dataclass(frozen=True)
class Tuned:
    """One call: what the cost model chose, and what the strategies took."""

    call: Call
    predicted: str  # the strategy that the cost model chooses
    times: dict[str, float]  # seconds; empty where there was nothing to choose, or no quiet moment to measure it in
    hopeless: dict[str, float] = field(default_factory=dict)  # not measured: predicted times of the least prediction
    disturbed: dict[str, float] = field(default_factory=dict)  # seconds that are no measure of the strategy

    @property
    def fastest(self) -> str:
        """The name of the fastest strategy."""
        return min(self.times, key=self.times.__getitem__, default=self.predicted)

    @property
    def regret(self) -> float:
        """The time of the cost model's choice over that of the fastest strategy."""
        return self.times[self.predicted] / self.times[self.fastest] if self.times else 1.0

    def __str__(self) -> str:
        problem, threads, prepared = self.call
        cells = [str(problem), str(threads), "plan" if prepared else "plain", self.predicted, self.fastest]
        cells += [f"{self.times[name] * 1e6:.1f}" if self.times else "-" for name in (self.predicted, self.fastest)]
        others = [f"{name} {seconds * 1e6:.1f}" for name, seconds in self.times.items() if name not in cells]
        others += [f"{name} (predicted {ratio:.0f}x, not measured)" for name, ratio in self.hopeless.items()]
        others += [f"{name} ({seconds * 1e6:.1f}, disturbed)" for name, seconds in self.disturbed.items()]
        return "  ".join([row([*cells, f"{self.regret:.2f}"], WIDTHS), *others])


@dataclass(frozen=True)
class Report:
    """What `tune` found: prints as a table, with the regret of the cost model."""

    tuned: tuple[Tuned, ...]

    @property
    def measured(self) -> tuple[Tuned, ...]:
        """Those with times: where there was a choice, and a quiet moment."""
        return tuple(one for one in self.tuned if one.times)

    @property
    def regret(self) -> float:
        """The geometric mean of the regrets of those measured; 1 is perfect."""
        return geometric_mean([one.regret for one in self.measured] or [1.0])

    @property
    def worst(self) -> Tuned:
        """The one of the largest regret."""
        return max(self.tuned, key=lambda one: one.regret)

    def __str__(self) -> str:
        total = (
            f"the predicted over the fastest: {self.regret:.3f} in the geometric mean of {len(self.measured)}, "
            f"at worst {self.worst.regret:.2f} ({self.worst.call})"
        )
        return "\n".join([row(HEAD, WIDTHS) + "  others, us", *map(str, self.tuned), total])


def tune(
    network: Callable[[], Any] | Layer | Iterable[Layer],
    *,
    seconds: float = 0.1,
    num_threads: int | None = None,
    name: str = wisdom.DEFAULT,
    progress: bool = True,
) -> Report:
    """Measure which strategy is the fastest for the convolutions of a network on this machine, and remember it.

    What was found is kept on disk and holds for every process to come, for the same convolutions (shapes, dtype,
    geometry) with the same number of threads, until the processor or the package changes. Plans that already exist
    stay as they are: plan again. Results may differ in rounding from those before.

    Parameters
    ----------
    network : callable, `PreparedConv`, `ConvProblem`, or an iterable of these two
        A function without arguments is called once, and all convolutions that it calls or plans are measured, as
        plain calls or as plans. A prepared convolution is measured as a plan, a problem (`ConvProblem.of`) as both.
    seconds : float
        For each strategy of each convolution.
    num_threads : int, optional
        Of prepared convolutions and problems; by default their own, else `get_num_threads()`. Not with a function.
    name : str
        The set of wisdom to put this into; of several sets that know a convolution, the one tuned last counts.
    progress : bool
        Show a bar on standard error, if that is a terminal.

    Returns
    -------
    Report
        A table to print: what the cost model chooses, what is the fastest, times, and the ratio of the two (regret).
        What other processes disturbed is marked in it, and not kept.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit, and a ``network`` without a convolution.

    See Also
    --------
    explain : Shows measured times beside the predicted ones.
    export_wisdom, import_wisdom, forget_wisdom : What becomes of the figures.

    Notes
    -----
    The first time, the clock and the memory bandwidth of a core are measured too, which takes a second and makes the
    predicted times those of this machine.

    Examples
    --------
    >>> import numpy as np
    >>> from numbaconv import conv2d
    >>> x, w = np.ones((1, 16, 12, 12), np.float32), np.ones((16, 16, 3, 3), np.float32)
    >>> report = tune(lambda: conv2d(x, w, padding=1), seconds=0.001, name="example")
    >>> report.tuned[0].fastest in report.tuned[0].times
    True
    >>> forget_wisdom("example")
    """
    wisdom.checked(name)
    if not seconds > 0:
        raise ValueError(f"seconds must be positive; got {seconds!r}")
    calls = list(dict.fromkeys(_calls(network, num_threads)))
    if not calls:
        raise ValueError("network has no convolution to measure: give a function that calls or plans some with no "
                         "strategy forced, or plans, or problems")  # fmt: skip
    tuned = []
    try:
        with progress_bar(len(calls)) as bar:
            bar.shown = bar.shown and progress
            if not wisdom.find(machine.SPEEDS):
                wisdom.keep(name, machine.SPEEDS, _speeds())
                machine.host.cache_clear()
            for call in bar.over(calls):
                tuned.append(_measured(call, seconds))
                if tuned[-1].times:
                    wisdom.keep(name, str(call), tuned[-1].times)
    finally:
        _plan_anew()
    return Report(tuple(tuned))


def export_wisdom(name: str = wisdom.DEFAULT) -> str:
    """The wisdom of that name as a text, to be kept, or to be imported on an equal machine.

    Parameters
    ----------
    name : str
        As given to `tune`.

    Returns
    -------
    str
        JSON: format, processor and package that it belongs to, and every convolution's times in seconds.

    Raises
    ------
    ValueError
        There is no wisdom of that name; the message says what there is.

    Examples
    --------
    >>> export_wisdom("never tuned")
    Traceback (most recent call last):
    ValueError: name must be up to 64 letters, digits, '_', '-' and '.', none of the last two first; got 'never tuned'
    """
    return wisdom.as_text(name)


def import_wisdom(text: str) -> str:
    """Add what `export_wisdom` gave to the wisdom of this machine, under its name; later figures stay.

    Parameters
    ----------
    text : str
        What `export_wisdom` returned.

    Returns
    -------
    str
        The name of the set.

    Raises
    ------
    ValueError
        The text is no wisdom, or is that of another processor, package or format; the message says which.

    Examples
    --------
    >>> import_wisdom("[]")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: this is not a text that export_wisdom gave: ...
    """
    name = wisdom.take(text)
    _plan_anew()
    return name


def forget_wisdom(name: str = wisdom.DEFAULT) -> None:
    """Remove the wisdom of that name, so that the cost model chooses again; other processes notice when they start.

    Parameters
    ----------
    name : str
        As given to `tune`.

    Raises
    ------
    ValueError
        No set has that name; the message says which there are.

    Examples
    --------
    >>> forget_wisdom("-")
    Traceback (most recent call last):
    ValueError: name must be up to 64 letters, digits, '_', '-' and '.', none of the last two first; got '-'
    """
    wisdom.forget(name)
    _plan_anew()


def _plan_anew() -> None:
    machine.host.cache_clear()
    planner.plan.cache_clear()


# ---- what to measure -------------------------------------------------------------------------------------------------


def _calls(network: Any, num_threads: int | None) -> Iterator[Call]:
    if callable(network) and not isinstance(network, PreparedConv):
        if num_threads is not None:
            raise ValueError(f"num_threads={num_threads!r} does not go with a function, whose calls say it themselves")
        yield from _calls_of(network)
        return
    from numbaconv.codegen import launch

    layers = [network] if isinstance(network, Layer) else network
    for layer in layers:
        if not isinstance(layer, Layer):
            raise TypeError(f"network must be a function, or hold prepared convolutions or problems; got {layer!r}")
        prepared = isinstance(layer, PreparedConv)
        problem = layer.problem if isinstance(layer, PreparedConv) else layer
        asked = layer.num_threads if isinstance(layer, PreparedConv) and num_threads is None else num_threads
        threads = launch.get_num_threads() if asked is None else launch.checked_threads(asked)
        if not problem.is_empty:
            yield from (Call(problem.folded(), threads, use) for use in ((True,) if prepared else (True, False)))


def _calls_of(function: Callable[[], Any]) -> list[Call]:
    """What is planned while ``function`` runs; nothing is known before, so that it is everything."""
    planner.plan.cache_clear()
    calls: list[Call] = []
    planner.watch = calls.append
    try:
        function()
    finally:
        planner.watch = None
    return calls


# ---- measuring -------------------------------------------------------------------------------------------------------


def _measured(call: Call, seconds: float) -> Tuned:
    """Times of all strategies with a chance, by turns on the same arrays."""
    answers = planner.ask(call.problem, machine.host())
    costs = {answer.strategy: answer.cost for answer in answers if answer.cost is not None}
    least, predicted = min(costs.values()), planner.chosen(answers)
    hopeless = {name: cost / least for name, cost in costs.items() if cost > FAR * least}
    if len(costs) - len(hopeless) < 2:
        return Tuned(call, predicted, {}, hopeless)
    runs = _runs(call, [name for name in costs if name not in hopeless])
    for run in runs.values():
        run()  # compiles, or loads what was compiled before
    times: dict[str, float] = {}
    disturbed: dict[str, float] = {}
    again = set(runs)
    for _ in range(TRIES):
        before = times.get(predicted, inf)
        for name, time in interleaved({name: runs[name] for name in runs if name in again}, seconds).items():
            times[name] = min(times.get(name, inf), time.best)
        disturbed = {name: time for name, time in times.items() if time > FAR * (costs[name] + CALL)}
        again = set(disturbed)
        fastest = min(times, key=times.__getitem__)
        # Against the cost model decides only what wins until the model's choice gets no better.
        if times[predicted] > planner.NOISE * times[fastest] and times[predicted] * planner.NOISE < before:
            again |= {predicted, fastest}
        if not again:
            break
    certain = {} if predicted in disturbed else {name: time for name, time in times.items() if name not in disturbed}
    return Tuned(call, predicted, certain, hopeless, disturbed)


def _runs(call: Call, names: Iterable[str]) -> dict[str, Callable[[], None]]:
    problem, threads, prepared = call
    rng = np.random.default_rng(0)
    x, w = ((rng.random(shape) * 2 - 1).astype(problem.dtype) for shape in (problem.x_shape, problem.w_shape))
    if problem.x_dtype:
        x = np.abs(100 * x).astype(dtype_of(problem.x_dtype))
    y = np.empty(problem.y_shape, problem.result_dtype)
    residual = np.zeros_like(y) if problem.tail and problem.tail.residual else None
    weight = problem.forward_weights(w)

    def run_of(name: str) -> Callable[[], None]:
        plan = planner.plan(problem, name, threads, prepared)
        packed = plan.pack(weight) if prepared else None
        return lambda: plan.run(x, packed if prepared else plan.borrow(weight), None, y, threads, residual)

    return {name: run_of(name) for name in names}


def _speeds() -> dict[str, float]:
    """Clock and bandwidth as `Machine` has them, to two digits: repeated measurements differ by more."""
    from numbaconv.microkernels import peak

    here = machine.host()
    clock = peak.measure("float32") / (2 * 2 * here.lanes("float32"))
    return {"clock": float(f"{clock:.2g}"), "bandwidth": float(f"{bandwidth.measure(here):.2g}")}

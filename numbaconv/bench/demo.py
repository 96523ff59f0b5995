"""The demo: every convolution of ResNet-50 and MobileNetV2 on this machine, timed, checked, and added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numbaconv
from numbaconv.bench import networks, sample, tables
from numbaconv.bench.clock import interleaved
from numbaconv.bench.layers import Layer
from numbaconv.bench.progress import progress
from numbaconv.codegen import host
from numbaconv.microkernels import peak

SECONDS = 0.15  # of each layer
WIDTHS = (-30, 3, -10, 9, 9, 7, 9)
HEAD = ("layer", "x", "strategy", "ms", "GFLOP/s", "of peak", "error")
DTYPE = "float32"


@dataclass(frozen=True)
class Result:
    """A layer, its strategy, the best time in seconds, and the largest error in units of the bound."""

    layer: Layer
    strategy: str
    seconds: float
    error: float

    @property
    def flops(self) -> int:
        """Of one call."""
        return self.layer.problem(DTYPE).flops


@dataclass(frozen=True)
class Total:
    """Some layers of a network, each as often as the network has it."""

    count: int
    seconds: float
    flops: int
    error: float

    @classmethod
    def of(cls, results: Sequence[Result]) -> Total:
        """The sum."""
        return cls(
            sum(result.layer.count for result in results),
            sum(result.layer.count * result.seconds for result in results),
            sum(result.layer.count * result.flops for result in results),
            max(result.error for result in results),
        )


def run(threads: int, quick: bool = False) -> tuple[str, bool]:
    """Measure and print; (the summary as Markdown, whether every error is within its bound)."""
    todo = {name: networks.unique(network) for name, network in networks.NETWORKS.items()}
    if quick:
        todo = {name: layers[:: len(layers) // 4] for name, layers in todo.items()}
    with progress(sum(map(len, todo.values()))) as bar:
        bar.line(f"numbaconv {numbaconv.__version__} on {host.name()}, {threads} threads, {DTYPE}, batch 1")
        top = peak.measure(DTYPE, threads)
        bar.line(f"peak: {top:.0f} GFLOP/s, measured with the register tile in the first cache")
        bar.line(
            "error: the largest of some outputs summed in float64, in units of the bound of rounding; 1 is allowed"
        )
        found = {}
        for name, layers in todo.items():
            top = max(top, peak.measure(DTYPE, threads))  # again: something else may have been running before
            bar.line()
            bar.line(name)
            bar.line(tables.row(HEAD, WIDTHS))
            results = []
            for layer in bar.over(layers):
                result = measured(layer, threads)
                results.append(result)
                bar.line(tables.row(_cells(result, top), WIDTHS))
            total = Total.of(results)
            bar.line(tables.row(("total", str(total.count), "", *_figures(total, top)), WIDTHS))
            found[name] = results
        top = max(top, peak.measure(DTYPE, threads))  # the summary is of all that was seen
    summary = [line for name, results in found.items() for line in _summary(name, results, top)]
    good = all(result_error <= 1 for *_, result_error in summary)
    machine = f"{host.name()}, {threads} threads, {DTYPE}, batch 1; measured peak {top:.0f} GFLOP/s."
    head = ("network, convolutions", "count", "ms", "GFLOP/s", "of peak", "error/bound")
    return f"{machine}\n\n{tables.markdown(head, [cells for cells, _ in summary])}", good


def measured(layer: Layer, threads: int) -> Result:
    """Plan, call, check a sample, time."""
    x, w, b = layer.arrays(DTYPE)
    plan = layer.plan(w, b, threads)
    y = plan(x)  # compiles, or loads what was compiled before
    error = sample.outputs(layer.problem(DTYPE), x, w, b).error(y)
    times = interleaved({"plan": lambda: plan(x, out=y)}, SECONDS)
    return Result(layer, plan.strategy, times["plan"].best, error)


def _cells(result: Result, top: float) -> tuple[str, ...]:
    once = Total(1, result.seconds, result.flops, result.error)
    return (str(result.layer), str(result.layer.count), result.strategy, *_figures(once, top))


def _figures(total: Total, top: float) -> tuple[str, ...]:
    speed = total.flops / total.seconds * 1e-9
    return f"{total.seconds * 1e3:.3f}", f"{speed:.1f}", f"{speed / top:.0%}", f"{total.error:.1e}"


def _summary(name: str, results: list[Result], top: float) -> list[tuple[tuple[str, ...], float]]:
    """The lines of the Markdown table: each kind of layer, then all."""
    groups = {
        kind: [r for r in results if r.layer.kind == kind] for kind in dict.fromkeys(r.layer.kind for r in results)
    }
    totals = {f"{name}, {kind}": Total.of(group) for kind, group in groups.items()}
    totals[f"**{name}**"] = Total.of(results)
    return [((label, str(total.count), *_figures(total, top)), total.error) for label, total in totals.items()]

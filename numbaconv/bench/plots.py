"""Two charts of comparisons: the roofline, and every layer's ratio to its best peer, sorted within its class."""

from __future__ import annotations

from collections.abc import Sequence
from math import atan, degrees
from pathlib import Path
from typing import Any

import numpy as np

from numbaconv.bench.compare import Comparison
from numbaconv.bench.report import by, mean

AHEAD, BEHIND, PEER, ROOF = "#1f6fb4", "#d1495b", "#8a8a8a", "#333333"
TICKS = (0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)


def draw(results: Sequence[Comparison], path: Path) -> bool:
    """A PNG of both charts, of the results with the most threads, in float32 where there are any.

    There is nothing to draw, and False is returned, where no peer computed anything.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    compared = [result for result in results if result.peers]
    if not compared:
        return False
    dtype = min(result.dtype for result in compared)
    threads = max(result.threads for result in compared if result.dtype == dtype)
    shown = [result for result in compared if (result.dtype, result.threads) == (dtype, threads)]
    figure = Figure(figsize=(12, 12), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, height_ratios=(1, 1.15))
    title = f"{dtype}, {threads} thread{'s'[: threads > 1]}"
    ratios(upper, shown, title)
    roofline(lower, shown, title)
    figure.savefig(path)
    return True


def ratios(axes: Any, results: Sequence[Comparison], title: str) -> None:
    """A bar a layer, from 1 to its ratio, sorted within its class; the classes' geometric means on top."""
    groups = sorted(by(results, lambda result: result.kind).items(), key=lambda item: -_mean(item[1]))
    for place, (_, group) in enumerate(groups):
        values = np.sort([result.over_best() or 1.0 for result in group])[::-1]
        # Every class is as wide, however many layers it has: 0.9 of its place.
        edges = place + 0.05 + 0.9 * np.arange(len(values) + 1) / len(values)
        colours = [AHEAD if value >= 1 else BEHIND for value in values]
        axes.bar(edges[:-1], values - 1, np.diff(edges), 1, align="edge", color=colours, linewidth=0)
        axes.plot([place + 0.05, place + 0.95], [_mean(group)] * 2, color="black", linewidth=1.5)
    axes.set_yscale("log", base=2)
    every = [result.over_best() or 1.0 for result in results]
    axes.set_ylim(min(0.5, *every) / 1.1, max(2.0, *every) * 1.6)
    axes.set_yticks([tick for tick in TICKS if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.axhline(1, color=ROOF, linewidth=1)
    axes.set_xlim(0, len(groups))
    names = [kind.replace("_", "\n").replace(" ", "\n") for kind, _ in groups]
    labels = [f"{_mean(group):.2f}x\n{name}\n({len(group)})" for name, (_, group) in zip(names, groups, strict=True)]
    axes.set_xticks([place + 0.5 for place in range(len(groups))], labels, fontsize=8)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_ylabel("best peer's time / numbaconv's")
    axes.set_title(f"How many times as fast as the best other engine, layer by layer ({title})")
    words = "A bar is a layer, a black line and the number below the mean of its class (and how many layers)."
    axes.text(0.995, 0.97, words, transform=axes.transAxes, ha="right", va="top", fontsize=9)


def roofline(axes: Any, results: Sequence[Comparison], title: str) -> None:
    """Speed over operations per byte: ours, the best peer's, and the two roofs."""
    intensity = np.array([result.flops / result.bytes for result in results])
    ours = np.array([result.speed for result in results])
    theirs = ours / np.array([result.over_best() for result in results], float)
    ceilings = [result.ceiling for result in results]
    top, cache, memory = (max(getattr(c, name) for c in ceilings) for name in ("peak", "cache", "memory"))
    wins = ours >= theirs
    for colour, chosen, what in ((AHEAD, wins, "faster than"), (BEHIND, ~wins, "slower than")):
        axes.vlines(intensity[chosen], theirs[chosen], ours[chosen], color=colour, linewidth=0.8, alpha=0.5)
        label = f"numbaconv, {what} the best peer ({chosen.sum()} layers)"
        axes.scatter(intensity[chosen], ours[chosen], 18, colour, linewidth=0, label=label, zorder=3)
    axes.scatter(intensity, theirs, 14, "none", edgecolor=PEER, linewidth=0.9, label="best peer", zorder=2)
    x = np.geomspace(intensity.min() / 1.5, intensity.max() * 1.5, 400)
    axes.plot(x, np.minimum(top, x * cache), color=ROOF, linewidth=1.2)
    axes.plot(x, np.minimum(top, x * memory), color=ROOF, linewidth=1.2, linestyle="--")
    axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]))
    axes.set_ylim(min(ours.min(), theirs.min()) / 1.5, max(top, ours.max(), theirs.max()) * 1.8)
    axes.text(x[-1], top * 1.05, f"measured peak {top:.0f} GFLOP/s ", ha="right", va="bottom", fontsize=9)
    for slope, words in ((cache, "last cache"), (memory, "memory")):
        axes.text(x[0] * 1.1, x[0] * 1.15 * slope, f"{words} {slope:.0f} GB/s", rotation=degrees(atan(slope)),
                  rotation_mode="anchor", transform_rotates_text=True, va="bottom", fontsize=9)  # fmt: skip
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("operations per byte of input, weights and result")
    axes.set_ylabel("GFLOP/s, by the operations of the defining sum")
    axes.set_title(f"Speed under the roofs of the machine ({title}); Winograd and FFT may pass the peak")
    axes.legend(loc="lower right", fontsize=9)


def _mean(results: Sequence[Comparison]) -> float:
    return mean(results, Comparison.over_best) or 1.0

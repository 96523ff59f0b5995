"""What is said of comparisons: a line a layer; means by class and peer, the worst ten, and who computed nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from math import inf
from operator import itemgetter
from typing import Any

from numbaconv.bench.compare import PLAIN, PLAN, Comparison
from numbaconv.bench.peers import PEERS
from numbaconv.bench.tables import columns, geometric_mean, row

Table = tuple[list[str], list[list[str]]]  # head and rows
Ratio = Callable[[Comparison], float | None]

WORST = 10
NAME = 40
ALL = "all"
WHAT = "time of the other over time of ours, geometric means: above 1 numbaconv is faster"


def head(peers: Sequence[str]) -> str:
    """Above the lines of layers."""
    ratios = [f"{peer}/plan" for peer in peers]
    cells = ["layer", "threads", "strategy", "plan ms", "GFLOP/s", "of peak", "plain ms", *ratios, "best/plan"]
    return row(cells, _widths(peers))


def line(result: Comparison, peers: Sequence[str]) -> str:
    """One layer."""
    cells = [result.layer[:NAME], str(result.threads), result.strategy, f"{result.times[PLAN].best * 1e3:.3f}"]
    cells += [f"{result.speed:.1f}", f"{result.speed / result.ceiling.peak:.0%}"]
    cells += [f"{result.times[PLAIN].best * 1e3:.3f}", *(_number(result.ratio(peer)) for peer in peers)]
    remarks = "; ".join(f"{name} {remark}" for name, remark in result.remarks.items())
    return row([*cells, _number(result.over_best())], _widths(peers)) + (f"   ! {remarks}" if remarks else "")


def summary(results: Sequence[Comparison], peers: Sequence[str]) -> list[str]:
    """For each dtype and number of threads: the means, the layers that lose most, who refused or was wrong."""
    lines = []
    for (dtype, threads), group in by(results, lambda result: (result.dtype, result.threads)).items():
        if any(result.peers for result in group):
            lines += ["", f"{dtype}, {threads} threads: {WHAT}", *columns(*means(group, peers))]
            lines += ["", f"the {WORST} layers with the lowest ratio to the best peer:", *columns(*worst(group))]
        missing = refusals(group)
        if missing[1]:
            lines += ["", "not in the means:", *columns(*missing)]
    return lines


def means(results: Sequence[Comparison], peers: Sequence[str], sizes: Mapping[str, int] | None = None) -> Table:
    """By class: the ratio of each peer to our plan, of the best peer for each layer, and of those to the plain call.

    Only peers that prepare no weights are set against the plain call. Where a peer computed fewer layers than the
    class has, their number is given. ``sizes``: how many layers each class stands for in the last line, where
    the results are a sample.
    """
    plain = [peer for peer in peers if not PEERS[peer].prepared]
    ratios: dict[str, Ratio] = {
        **{peer: lambda result, peer=peer: result.ratio(peer) for peer in peers},  # type: ignore[misc]
        "best peer": lambda result: result.over_best(),
        "by medians": lambda result: result.over_best("median"),
        **{f"{peer}/plain": lambda result, peer=peer: result.ratio(peer, PLAIN) for peer in plain},  # type: ignore[misc]
    }
    rows = [
        [kind, str(len(group)), *(_mean(group, ratio) for ratio in ratios.values())]
        for kind, group in by(results, lambda result: result.kind).items()
    ]
    rows += [[ALL, str(len(results)), *(_number(mean(results, ratio, sizes)) for ratio in ratios.values())]]
    return ["class", "layers", *ratios], rows


def gradients(results: Sequence[Comparison], sizes: Mapping[str, int] | None = None) -> Table:
    """By class: PyTorch's time for both gradients of a layer over ours, the mean and the least."""
    known = [result for result in results if result.gradients() is not None]
    groups = [*by(known, lambda result: result.kind).items(), *([(ALL, known)] if known else [])]
    rows = [
        [
            kind,
            str(len(group)),
            _number(mean(group, Comparison.gradients, sizes)),
            _number(min(ratio for result in group if (ratio := result.gradients()) is not None)),
        ]
        for kind, group in groups
    ]
    return ["class", "layers", "mean", "least"], rows


def worst(results: Iterable[Comparison], among: Container[str] = PEERS, below: float = inf, most: int = WORST) -> Table:
    """The layers with the lowest ratio to their best peer of some, worst first."""
    known = [(ratio, r) for r in results if (ratio := r.over_best(among=among)) is not None and ratio < below]
    rows = [
        [
            r.layer,
            r.kind,
            r.problem,
            r.strategy,
            f"{r.times[PLAN].best * 1e3:.3f}",
            f"{r.speed / r.ceiling.peak:.0%}",
            f"{1e-9 * r.bytes / r.times[PLAN].best / r.ceiling.cache:.0%}",
            str(r.best_peer(among=among)),
            f"{ratio:.2f}",
        ]
        for ratio, r in sorted(known, key=itemgetter(0))[:most]
    ]
    return [
        "layer",
        "class",
        "problem",
        "strategy",
        "plan ms",
        "of peak",
        "of bandwidth",
        "best peer",
        "its ratio",
    ], rows


def refusals(results: Iterable[Comparison]) -> Table:
    """Who did not compute how many layers, or did it wrong, and the words, of which figures are left out."""
    count = Counter((name, _without_figures(remark)) for r in results for name, remark in r.remarks.items())
    return ["who", "layers", "why"], [[name, str(n), why] for (name, why), n in sorted(count.items())]


def by(results: Iterable[Comparison], key: Callable[[Comparison], Any]) -> dict[Any, list[Comparison]]:
    """Groups of equal key, in the order of keys."""
    groups: dict[Any, list[Comparison]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return dict(sorted(groups.items()))


def mean(results: Iterable[Comparison], ratio: Ratio, sizes: Mapping[str, int] | None = None) -> float | None:
    """The geometric mean; each class as heavy as its size, by default the number of its results."""
    known = [(result.kind, value) for result in results if (value := ratio(result)) is not None]
    if not known:
        return None
    counts = Counter(kind for kind, _ in known)
    sizes = sizes or counts
    return geometric_mean(
        [value for _, value in known], [sizes.get(kind, counts[kind]) / counts[kind] for kind, _ in known]
    )


def _mean(group: Sequence[Comparison], ratio: Ratio) -> str:
    count = sum(ratio(result) is not None for result in group)
    return _number(mean(group, ratio)) + (f" ({count})" if 0 < count < len(group) else "")


def _number(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _without_figures(remark: str) -> str:
    return "wrong result" if remark.startswith("wrong: ") else remark


def _widths(peers: Sequence[str]) -> list[int]:
    return [-NAME, 7, -10, 9, 8, 7, 9, *(len(peer) + 5 for peer in peers), 9]

"""The command `report`: measures what its CSV does not have yet, for as long as it may, and writes docs/performance.md.

Layers are measured in an order of which every beginning is a fair sample (`layers.fairly`), each in all settings before
the next, so that an interrupted or short run is a smaller report, and the next run goes on where it ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from time import monotonic

from numbaconv.bench import ceiling, figures, layers, plots, reach, report
from numbaconv.bench.compare import PEER_WRONG_ABOVE, Comparison, Setting
from numbaconv.bench.layers import Layer
from numbaconv.bench.peers import PEERS
from numbaconv.bench.progress import progress
from numbaconv.bench.run import Job, compared, usable
from numbaconv.bench.tables import markdown

MIB = 2048  # of a layer's arrays
SECONDS = 0.1  # for each contender
DOUBLE_PEERS = ("torch",)  # OpenVINO and ncnn compute float32 only, ONNX Runtime has no float64 convolution


@dataclass(frozen=True)
class Order:
    """What to report: layer files, peers, thread counts, the time for measuring, the CSV, and the Markdown file."""

    files: Sequence[Path]
    peers: tuple[str, ...]
    threads: tuple[int, ...]
    minutes: float
    csv: Path
    output: Path

    def __str__(self) -> str:
        files, threads = " ".join(map(str, self.files)), ",".join(map(str, self.threads))
        return f"python -m numbaconv report --layers {files} --against {','.join(self.peers)} --threads {threads}"


def run(order: Order) -> bool:
    """Measure and write; False where a result of ours was wrong or lost."""
    order.output.parent.mkdir(parents=True, exist_ok=True)
    known = figures.read(order.csv)[0] if order.csv.exists() else []
    every = list(chain.from_iterable(layers.read(path) for path in order.files))
    good = True
    with progress(0) as bar:
        found = usable(every, "float64", MIB, bar)
        if order.minutes > 0:
            good = _measure(order, [reach.TINY, *layers.fairly(found)], known)
    results, who = figures.read(order.csv)
    picture = order.output.with_suffix(".png")
    drawn = plots.draw([result for result in results if reach.in_files(result)], picture)
    sizes = Counter(layer.kind for layer in found)
    text = "\n\n".join(_document(order, results, who, sizes, picture.name if drawn else None))
    order.output.write_text(text + "\n", encoding="utf-8")
    print(f"{order.output}: {len(results)} comparisons of {len({result.problem for result in results})} layers")
    return good and not any(result.wrong for result in results)


def _measure(order: Order, wanted: Sequence[Layer], known: Sequence[Comparison]) -> bool:
    """Append to the CSV what it does not have, until the time is over."""
    settings = [
        Setting(
            peers, dtype, threads, SECONDS, ceiling.measure(dtype, threads), None, regret, gradients=dtype == "float32"
        )
        for dtype, peers in (("float32", order.peers), ("float64", _doubles(order.peers)))
        for threads in sorted(order.threads, reverse=True)
        for regret in [dtype == "float32" and threads == max(order.threads)]
    ]
    done = {(result.problem, result.threads) for result in known}
    jobs: list[Job] = [
        (layer, setting)
        for layer in wanted
        for setting in settings
        if (str(layer.problem(setting.dtype)), setting.threads) not in done
    ]
    good = True
    end = monotonic() + 60 * order.minutes
    with progress(len(jobs)) as bar:
        bar.line(f"{len(jobs)} comparisons to do in {order.minutes:g} minutes, {len(known)} done before")
        try:
            for (layer, setting), result in compared(jobs, bar):
                good &= isinstance(result, Comparison)
                if isinstance(result, Comparison):
                    figures.append(order.csv, result)
                    ratio, peer = result.over_best() or 0.0, result.best_peer()
                    bar.line(f"{ratio:6.2f} {peer!s:12} {setting.dtype} {setting.threads}  {layer.kind:18} {layer}")
                else:
                    bar.line(f"{layer}, {setting.dtype}, {setting.threads} threads: {result}")
                if monotonic() > end:
                    break
        except KeyboardInterrupt:
            bar.line("interrupted; the report is of what was measured so far")
    return good


def _doubles(peers: Sequence[str]) -> tuple[str, ...]:
    return tuple(peer for peer in peers if peer in DOUBLE_PEERS)


# ---- the document ----------------------------------------------------------------------------------------------------


def _document(
    order: Order, results: Sequence[Comparison], who: dict[str, str], sizes: dict[str, int], picture: str | None
) -> Iterator[str]:
    """Its paragraphs."""
    files = [result for result in results if reach.in_files(result)]
    yield "# Performance"
    yield f"`{order}` measured the figures on this page and wrote it; do not edit it."
    yield "\n".join(_conditions(files, who))
    yield "## Goals"
    yield markdown(*reach.table(results, sizes))
    if picture is not None:
        yield "## At a glance"
        yield f"![every layer's ratio to its best peer, and the roofline]({picture})"
    for (dtype, threads), group in sorted(
        report.by(files, _setting).items(), key=lambda item: (item[0][0], -item[0][1])
    ):
        yield f"## {dtype}, {_threads(threads)}"
        yield from _figures(group, sizes)
    yield "## Where numbaconv is behind"
    yield from _behind(files)
    yield "## Who did not compute what"
    missing = report.refusals(files)
    yield markdown(*missing) if missing[1] else "Every peer computed every layer, and rightly."


def _conditions(files: Sequence[Comparison], who: dict[str, str]) -> Iterator[str]:
    """What was measured on what, how."""
    engines = sorted({words for name, words in who.items() if name != "machine"})
    yield f"* Machine: {who['machine']}."
    yield f"* Engines: {', '.join(engines)}."
    for (dtype, threads), group in report.by(files, _setting).items():
        yield f"* {dtype}, {_threads(threads)}: {group[-1].ceiling}."
    yield (
        "* Layers: batch 1, of real networks. Where there was no time for all, a sample that is spread over the sizes"
        ' of each class; a line "all" gives each class the weight that it has in the files.'
    )
    yield (
        "* Times: the least of many calls, in blocks by turns in one process, each block begun when no thread spins any"
        " more. Peers have what they can prepare: ONNX Runtime, OpenVINO and ncnn pack the weights and keep the memory"
        " of their results; our plan packs the weights and returns a new array each time. The allocator keeps freed"
        " memory up to 32 MiB a block, which spares all engines, PyTorch most, the cost of new pages."
    )
    yield (
        "* Results: 50 outputs of each layer, and those where two engines differ most, are compared with the sum in"
        f" float64. A peer is wrong above {PEER_WRONG_ABOVE:g} times the bound of rounding, we are above the bound."
    )
    yield f"* Ratios: {report.WHAT}. A number in brackets is how many layers a peer computed, if not all."


def _figures(group: Sequence[Comparison], sizes: dict[str, int]) -> Iterator[str]:
    """Of one dtype and number of threads: ratios by class, and the worst layers."""
    peers = [peer for peer in PEERS if any(peer in result.peers for result in group)]
    yield markdown(*report.means(group, peers, sizes))
    yield f"The {report.WORST} layers with the lowest ratio:"
    yield markdown(*report.worst(group))
    gradients = report.gradients(group, sizes)
    if gradients[1]:
        yield "Gradients for input and weights together, PyTorch's time over that of `conv_backward`:"
        yield markdown(*gradients)


def _behind(files: Sequence[Comparison]) -> Iterator[str]:
    """Every class whose mean is below 1, and how many layers of it; or that there is none."""
    rows = []
    for (dtype, threads, kind), group in report.by(files, lambda r: (r.dtype, r.threads, r.kind)).items():
        ratios = [(ratio, r) for r in group if (ratio := r.over_best()) is not None]
        below = Counter(r.best_peer() for ratio, r in ratios if ratio < 1)
        overall = report.mean(group, lambda r: r.over_best())
        if below and overall is not None:
            whom = ", ".join(f"{peer} {count}" for peer, count in below.most_common())
            name = f"**{kind}**" if overall < 1 else kind
            rows.append([name, dtype, str(threads), f"{overall:.2f}", f"{below.total()} of {len(ratios)}", whom])
    if not rows:
        yield "On no layer."
        return
    for (dtype, threads), group in report.by(files, _setting).items():
        slower = report.worst(group, ("torch",), reach.NOISE, len(group))
        words = f"PyTorch's time is below {reach.NOISE:g} of ours, {dtype}, {_threads(threads)}"
        yield f"Layers on which {words}:" if slower[1] else f"There is no layer on which {words}."
        if slower[1]:
            yield markdown(*slower)
    yield "Classes with layers that the best peer computes faster; bold where it is faster in the mean of the class:"
    yield markdown(["class", "dtype", "threads", "mean ratio", "layers behind", "behind whom"], rows)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _setting(result: Comparison) -> tuple[str, int]:
    return result.dtype, result.threads

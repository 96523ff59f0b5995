"""The command `bench`: layers from files, compared one by one, reported as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numbaconv
from numbaconv.bench import figures, layers, plots, report
from numbaconv.bench.compare import Comparison, Setting
from numbaconv.bench.layers import Layer
from numbaconv.bench.peer import RefusedError
from numbaconv.bench.progress import Progress, progress
from numbaconv.bench.worker import LostError, Worker
from numbaconv.codegen import host

Job = tuple[Layer, Setting]


@dataclass(frozen=True)
class Selection:
    """Which layers of the files to run."""

    pattern: str = ""  # a regular expression on name and kind
    limit: int | None = None
    batch: int | None = None
    mib: int = 2048  # input, weights and result of a layer; larger ones are skipped, and said so


def run(
    files: Sequence[Path], selection: Selection, settings: Sequence[Setting], csv: Path | None, plot: Path | None
) -> bool:
    """Print the comparison of all layers in all settings; False where a result of ours was wrong or lost."""
    peers = settings[0].peers
    chosen = list(islice(layers.chosen(files, selection.pattern, selection.batch), selection.limit))
    if csv is not None:
        csv.unlink(missing_ok=True)
    results: list[Comparison] = []
    good = True
    with progress(len(chosen) * len(settings)) as bar:
        bar.line(f"numbaconv {numbaconv.__version__} on {host.name()}; best times, by turns in one process")
        for setting in settings:
            bar.line(f"{setting.dtype}, {setting.threads} threads: {setting.ceiling}")
        bar.line(report.head(peers))
        jobs = [
            (layer, setting) for layer in usable(chosen, settings[0].dtype, selection.mib, bar) for setting in settings
        ]
        try:
            for (layer, _), result in compared(jobs, bar):
                if isinstance(result, Comparison):
                    results.append(result)
                    bar.line(report.line(result, peers))
                    if csv is not None:
                        figures.append(csv, result)
                else:
                    good &= isinstance(result, RefusedError)
                    bar.line(f"{layer}: {result}")
        except KeyboardInterrupt:
            bar.line("interrupted; of the layers so far:")
        for text in report.summary(results, peers):
            bar.line(text)
        wrong = [result for result in results if result.wrong]
        bar.line(f"\n{len(results)} comparisons, {len(wrong)} of ours wrong")
    if plot is not None and not plots.draw(results, plot):
        print(f"{plot} is not drawn, as no layer was computed by a peer")
    return good and not wrong


def compared(jobs: Sequence[Job], bar: Progress) -> Iterator[tuple[Job, Comparison | RefusedError | LostError]]:
    """Each job's comparison, or what was in its way; a process for each dtype and number of threads."""
    workers: dict[tuple[str, int], Worker] = {}
    try:
        for layer, setting in bar.over(jobs):
            worker = workers.setdefault((setting.dtype, setting.threads), Worker())
            try:
                yield (layer, setting), worker.compare(layer, setting)
            except (RefusedError, LostError) as error:
                yield (layer, setting), error
    finally:
        for worker in workers.values():
            worker.stop()


def usable(chosen: Sequence[Layer], dtype: str, mib: int, bar: Progress) -> list[Layer]:
    """The layers that are convolutions, of no more than ``mib`` MiB; the others are named."""
    found = []
    for layer in chosen:
        try:
            need = layer.bytes(dtype) >> 20
        except ValueError as error:
            bar.line(f"{layer}: {error}")
            continue
        if need > mib:
            bar.line(f"{layer}: skipped, its arrays take {need} MiB of the {mib} allowed")
            continue
        found.append(layer)
    return found

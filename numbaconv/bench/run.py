"""The command `bench`: layers from files, compared one by one, reported as they come."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numbaconv
from numbaconv.bench import layers, report
from numbaconv.bench.compare import OURS, Comparison, Setting, compare
from numbaconv.bench.layers import Layer
from numbaconv.bench.peers import PEERS
from numbaconv.bench.progress import progress
from numbaconv.codegen import host
from numbaconv.microkernels import peak


@dataclass(frozen=True)
class Selection:
    """Which layers of the files to run."""

    pattern: str = ""  # a regular expression on name and kind
    limit: int | None = None
    batch: int | None = None
    mib: int = 2048  # input, weights and result of a layer; larger ones are skipped, and said so


def run(files: Sequence[Path], selection: Selection, setting: Setting, csv: Path | None = None) -> bool:
    """Print the comparison of all layers; False where one of our results was wrong."""
    for peer in setting.peers:
        PEERS[peer].check()
    chosen = list(islice(_chosen(files, selection), selection.limit))
    results: list[Comparison] = []
    with progress(len(chosen)) as bar:
        top = peak.measure(setting.dtype, setting.threads)
        bar.line(f"numbaconv {numbaconv.__version__} on {host.name()}, {setting.threads} threads, {setting.dtype}; "
                 f"measured peak {top:.0f} GFLOP/s; best times, by turns in one process")  # fmt: skip
        bar.line(report.head(setting.peers))
        try:
            for layer in bar.over(chosen):
                result = _compared(layer, selection, setting)
                if isinstance(result, str):
                    bar.line(f"{layer}: {result}")
                else:
                    results.append(result)
                    bar.line(report.line(result, setting.peers, top))
        except KeyboardInterrupt:
            bar.line("interrupted; of the layers so far:")
        for text in report.summary(results, setting.peers):
            bar.line(text)
        wrong = [result for result in results if any(name in result.remarks for name in OURS)]
        bar.line(f"\n{len(results)} layers, {len(wrong)} of ours wrong")
    if csv:
        report.write_csv(csv, results, (*OURS, *setting.peers), top)
    return not wrong


def _compared(layer: Layer, selection: Selection, setting: Setting) -> Comparison | str:
    """The comparison, or why there is none."""
    try:
        need = layer.bytes(setting.dtype) >> 20
        if need > selection.mib:
            return f"skipped, its arrays take {need} MiB of the {selection.mib} allowed (--memory)"
        return compare(layer, setting)
    except (ValueError, TypeError) as error:  # a layer that is no convolution, or that --strategy refuses
        return str(error)


def _chosen(files: Sequence[Path], selection: Selection) -> chain[Layer]:
    pattern = re.compile(selection.pattern)
    every = (layers.read(path, selection.batch) for path in files)
    return chain.from_iterable((layer for layer in found if pattern.search(f"{layer} {layer.kind}")) for found in every)

"""The CSV of all that was measured: a line for each layer and contender, written as they come, read by the report."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any

import numbaconv
from numbaconv import machine, wisdom
from numbaconv.bench.ceiling import Ceiling
from numbaconv.bench.clock import Times
from numbaconv.bench.compare import Comparison, is_ours
from numbaconv.bench.peers import PEERS
from numbaconv.codegen import host

LAYER = ("layer", "kind", "problem", "dtype", "threads", "strategy", "flops", "bytes")
CEILING = tuple(field.name for field in fields(Ceiling))
CONTENDER = ("machine", "contender", "engine", "best", "median", "error", "remark")
HEAD = (*LAYER, *CEILING, *CONTENDER)


def append(path: Path, result: Comparison) -> None:
    """Add a comparison to the file, so that it is on disk before the next is measured."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        if new:
            lines.writerow(HEAD)
        lines.writerows(_rows(result))


def read(path: Path) -> tuple[list[Comparison], dict[str, str]]:
    """The comparisons; and who they are of: "machine", and the version of each contender."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and tuple(rows[0]) != HEAD:
        raise ValueError(f"{path} has the columns {', '.join(rows[0])}; figures have {', '.join(HEAD)}")
    who = {row["contender"]: row["engine"] for row in rows}
    if rows:
        who["machine"] = rows[-1]["machine"]
    groups = groupby(rows, lambda row: [row[name] for name in (*LAYER, *CEILING)])
    return [_comparison(list(group)) for _, group in groups], who


def _rows(result: Comparison) -> Iterator[tuple[Any, ...]]:
    facts = [getattr(result, name) for name in LAYER] + [f"{getattr(result.ceiling, name):.1f}" for name in CEILING]
    for name in [*result.times, *(name for name in result.remarks if name not in result.times)]:
        times, error = result.times.get(name), result.errors.get(name)
        engine = f"numbaconv {numbaconv.__version__}" if is_ours(name) else str(PEERS[name.partition(" ")[0]])
        seconds = (f"{times.best:.9f}", f"{times.median:.9f}") if times else ("", "")
        off = "" if error is None else f"{error:.4g}"
        yield *facts, _machine(), name, engine, *seconds, off, result.remarks.get(name, "")


def _machine() -> str:
    """What the figures are of: the processor, and what `tune` told the planner about it."""
    this = machine.host()
    caches = ", ".join(f"{size >> 10} KiB" for size in (this.l1, this.l2, this.l3))
    known = sum(wisdom.sizes().values())
    vectors = f"vectors of {8 * this.vector_bytes} bits"
    return f"{host.name()}, {this.cores} cores, {vectors}, caches of {caches}; {known} entries of wisdom"


def _comparison(rows: list[dict[str, str]]) -> Comparison:
    first = rows[0]
    return Comparison(
        layer=first["layer"],
        kind=first["kind"],
        problem=first["problem"],
        dtype=first["dtype"],
        threads=int(first["threads"]),
        strategy=first["strategy"],
        flops=int(first["flops"]),
        bytes=int(first["bytes"]),
        times={row["contender"]: Times(float(row["best"]), float(row["median"])) for row in rows if row["best"]},
        errors={row["contender"]: float(row["error"]) for row in rows if row["error"]},
        remarks={row["contender"]: row["remark"] for row in rows if row["remark"]},
        ceiling=Ceiling(*(float(first[name]) for name in CEILING)),
    )

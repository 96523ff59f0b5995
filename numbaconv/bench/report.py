"""What `bench` prints of its comparisons: a line a layer, means by kind, the worst ten; and the CSV of everything."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from numbaconv.bench.compare import OURS, PLAIN, PLAN, Comparison
from numbaconv.bench.tables import geometric_mean, row

WORST = 10
NAME = 44


def head(peers: Sequence[str]) -> str:
    """Above the lines of layers."""
    ratios = [f"{peer}/{ours}" for peer in peers for ours in OURS]
    cells = ["layer", "strategy", "plan ms", "GFLOP/s", "of peak", "plain ms", *(f"{p} ms" for p in peers), *ratios]
    return row(cells, _widths(peers))


def line(result: Comparison, peers: Sequence[str], peak: float) -> str:
    """One layer."""
    speed = result.flops / result.times[PLAN].best * 1e-9
    cells = [str(result.layer)[:NAME], result.strategy, _ms(result, PLAN), f"{speed:.1f}", f"{speed / peak:.0%}"]
    cells += [_ms(result, PLAIN), *(_ms(result, peer) for peer in peers)]
    cells += [f"{result.ratio(peer, ours):.2f}" if peer in result.peers else "-" for peer in peers for ours in OURS]
    remarks = "; ".join(f"{name} {remark}" for name, remark in result.remarks.items())
    return row(cells, _widths(peers)) + (f"   ! {remarks}" if remarks else "")


def summary(results: Sequence[Comparison], peers: Sequence[str]) -> list[str]:
    """Geometric means for each peer, by kind and overall, and the layers that lose most."""
    lines = []
    for peer in peers:
        compared = [result for result in results if peer in result.peers]
        lines += ["", f"{peer} over numbaconv: geometric means of the best times (above 1, numbaconv is faster)"]
        if not compared:
            lines.append("  no layer was computed by both")
            continue
        kinds = sorted({result.layer.kind for result in compared})
        groups = {kind: [result for result in compared if result.layer.kind == kind] for kind in kinds}
        for kind, group in [*groups.items(), ("all", compared)]:
            plan = geometric_mean([result.ratio(peer, PLAN) for result in group])
            plain = geometric_mean([result.ratio(peer, PLAIN) for result in group])
            lines.append(f"  {kind:<20} {len(group):4d} layers   plan {plan:6.2f}   plain call {plain:6.2f}")
        lines.append(f"the {WORST} layers with the lowest ratio to {peer}:")
        for result in sorted(compared, key=lambda result: result.ratio(peer))[:WORST]:
            plan, plain = result.ratio(peer, PLAN), result.ratio(peer, PLAIN)
            what = f"{result.strategy:<10} {result.layer.kind:<18} {result.layer}"
            lines.append(f"  plan {plan:5.2f}  plain {plain:5.2f}  {what}")
        refused = [result for result in results if peer in result.remarks]
        if refused:
            lines.append(f"{len(refused)} layers are not in the means of {peer}: refused or wrong, see their lines (!)")
    return lines


def write_csv(path: Path, results: Sequence[Comparison], contenders: Sequence[str], peak: float) -> None:
    """All figures: seconds, errors in units of the bound, remarks."""
    figures = [f"{name}_{what}" for name in contenders for what in ("best", "median", "error", "remark")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["layer", "kind", "problem", "strategy", "flops", "peak_gflops", *figures])
        for result in results:
            problem = result.layer.problem("float32")
            cells = [str(result.layer), result.layer.kind, problem, result.strategy, result.flops, f"{peak:.1f}"]
            for name in contenders:
                times = result.times.get(name)
                cells += [f"{times.best:.9f}", f"{times.median:.9f}"] if times else ["", ""]
                cells += [f"{result.errors[name]:.4f}" if name in result.errors else "", result.remarks.get(name, "")]
            writer.writerow(cells)


def _widths(peers: Sequence[str]) -> list[int]:
    return [-NAME, -10, 9, 8, 7, 9, *(max(9, len(p) + 3) for p in peers), *(len(p) + 6 for p in peers for _ in OURS)]


def _ms(result: Comparison, name: str) -> str:
    return f"{result.times[name].best * 1e3:.3f}" if name in result.times else "-"

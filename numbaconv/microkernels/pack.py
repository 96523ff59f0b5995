"""Copying rows: into a halo with its zeros, and from a halo into the rows of a panel."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen import emit
from numbaconv.codegen.emit import emitted_by


@emitted_by(emit.copy_row)
def copy_row(target: Any, source: Any, count: int, lanes: int) -> None:
    """``target[i] = source[i]``, i < count, then zeros up to a whole vector. Both: (flat, base)."""
    (t_flat, t_base), (s_flat, s_base) = target, source
    for i in range(count):
        t_flat[t_base + i] = s_flat[s_base + i]
    for i in range(count, -(-count // lanes) * lanes):
        t_flat[t_base + i] = 0


@emitted_by(emit.gather_rows)
def gather_rows(target: Any, source: Any, table: Any, terms: int, lanes: int) -> None:
    """``target[k, to[p] + i] = source[off[k] + from[p] + i]``, i < lanes, pieces p in rising order of ``to``.

    target: (flat, base, row stride); source: (flat, base);
    table: (flat, place of the terms' words, place of the pieces' words (from, to), number of pieces).
    """
    (t_flat, t_base, t_row), (s_flat, s_base) = target, source
    words, taps, pieces, count = table
    for k in range(terms):
        for p in range(count):
            start, to = words[pieces + 2 * p : pieces + 2 * p + 2]
            for i in range(lanes):
                t_flat[t_base + k * t_row + to + i] = s_flat[s_base + words[taps + 2 * k] + start + i]

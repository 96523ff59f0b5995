"""Copying rows: into a halo with its zeros, the phases of a stride apart, and from a halo into a panel."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen import emit
from numbaconv.codegen.emit import emitted_by


@emitted_by(emit.copy_rows)
def copy_rows(target: Any, source: Any, rows: int, inside: Any, width: int, lanes: int) -> None:
    """``target[i, j] = source[i, j] if lo <= j < hi else 0``, i < rows, j < width rounded up to whole vectors.

    target, source: (flat, base, row stride); inside: (lo, hi). What a row writes too much, the next one overwrites.
    """
    (t_flat, t_base, t_row), (s_flat, s_base, s_row) = target, source
    lo, hi = inside
    for i in range(rows):
        for j in range(-(-width // lanes) * lanes):
            t_flat[t_base + i * t_row + j] = s_flat[s_base + i * s_row + j] if lo <= j < hi else 0


@emitted_by(emit.split_rows)
def split_rows(target: Any, source: Any, rows: int, inside: Any, width: int, stride: int, lanes: int) -> None:
    """`copy_rows` of every ``stride``-th element, and, if ``t_phase`` is not 0, phase n of them n * t_phase on.

    target: (flat, base, row stride, t_phase); source: (flat, base, row stride); inside: (lo, hi) in source elements.
    """
    (t_flat, t_base, t_row, t_phase), (s_flat, s_base, s_row) = target, source
    lo, hi = inside
    for i in range(rows):
        for block in range(0, width, lanes):
            for phase in range(stride if t_phase else 1):
                for j in range(block, block + lanes):
                    at = stride * j + phase
                    value = s_flat[s_base + i * s_row + at] if lo <= at < hi else 0
                    t_flat[t_base + i * t_row + phase * t_phase + j] = value


@emitted_by(emit.gather_rows)
def gather_rows(target: Any, source: Any, table: Any, terms: int, lanes: int) -> None:
    """``target[k, to[p] + i] = source[off[k] + from[p] + i]``, i < lanes, pieces p in rising order of ``to``.

    target: (flat, base, row stride); source: (flat, base, end of what may be read);
    table: (flat, place of the terms' words, place of the pieces' words (from, to), number of pieces).
    """
    (t_flat, t_base, t_row), (s_flat, s_base, end) = target, source
    words, taps, pieces, count = table
    for k in range(terms):
        for p in range(count):
            start, to = words[pieces + 2 * p : pieces + 2 * p + 2]
            for i in range(lanes):
                place = s_base + words[taps + 2 * k] + start + i
                t_flat[t_base + k * t_row + to + i] = s_flat[place] if place < end else 0


@emitted_by(emit.join_rows)
def join_rows(target: Any, source: Any, rows: int, count: int, phases: int, lanes: int) -> None:
    """``target[i, j] = source[i, (j + skip) % phases, (j + skip) // phases]``, i < rows, j < count.

    target: (flat, base, row stride); source: (flat, base, row stride, stride from phase to phase, skip), skip < phases.
    """
    (t_flat, t_base, t_row), (s_flat, s_base, s_row, s_phase, skip) = target, source
    for i in range(rows):
        for j in range(count):
            q, phase = divmod(j + skip, phases)
            t_flat[t_base + i * t_row + j] = s_flat[s_base + i * s_row + phase * s_phase + q]

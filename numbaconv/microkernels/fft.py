"""Fourier transforms in place of many signals side by side, one in each lane, as complex vectors.

    Z[f] = sum_t z[t] * exp(-2*pi*i*f*t/n)          and its inverse, times n

A complex vector is two vectors that follow each other: real parts, imaginary parts. Each pass cuts the blocks of an
axis into ``radix`` shorter ones (Gentleman & Sande, 1966), so frequencies come out with their digits reversed. Nothing
puts them in order: products of spectra do not care, and the inverse takes the same passes backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbaconv.codegen import emit_fft
from numbaconv.codegen.emit import emitted_by
from numbaconv.codegen.jit import inline

LEVEL_WORDS, PASS_WORDS = 8, 4
PLAIN, SHARED, OWN = emit_fft.PLAIN, emit_fft.SHARED, emit_fft.OWN


@emitted_by(emit_fft.butterflies)
def butterflies(signals: Any, roots: Any, count: int, radix: int, inverse: int, turned: int, lanes: int) -> None:
    """``count`` transforms of ``radix`` points, each output k > 0 then turned by root k: PLAIN, SHARED or OWN.

    signals: (flat, base, stride from point to point, stride from transform to transform);
    roots: (flat, place of roots 1, 2, ... as pairs; if OWN, those of the next transform follow).
    """
    (flat, base, step, ahead), (r_flat, first) = signals, roots
    dft = np.exp(-2j * np.pi * np.outer(np.arange(radix), np.arange(radix)) / radix)
    for i in range(count):
        turns = np.ones((radix, 1), complex)
        for k in range(1, radix if turned else 1):
            root = first + (i * (radix - 1) if turned == OWN else 0) * 2 + 2 * k - 2
            turns[k] = complex(r_flat[root], r_flat[root + 1])
        at = base + i * ahead + np.arange(radix)[:, None] * step + np.arange(lanes)
        z = flat[at] + 1j * flat[at + lanes]
        z = dft.conj() @ (turns.conj() * z) if inverse else turns * (dft @ z)
        flat[at], flat[at + lanes] = z.real, z.imag


@emitted_by(emit_fft.multiply_spectra)
def multiply_spectra(
    y: Any, w: Any, x: Any, points: int, terms: int, first: int, mr: int, wide: int, lanes: int
) -> None:  # fmt: skip
    """``y[i, f] = (0 if first else y[i, f]) + sum_t w[t, f, i] * x[t, f]``, i < mr, f < points, all complex.

    y: (flat, base, row stride); w: (flat, base, term stride), each of its numbers one for all lanes, or if ``wide`` a
    vector; x: (flat, base, term stride).
    """
    (y_flat, y_base, y_row), (w_flat, w_base, w_term), (x_flat, x_base, x_term) = y, w, x
    width = lanes if wide else 1
    part = np.arange(lanes)
    for f in range(points):
        at = 2 * f * lanes + part
        sums = []
        for i in range(mr):
            old = y_base + i * y_row + at
            total = np.zeros(lanes, complex) if first else y_flat[old] + 1j * y_flat[old + lanes]
            for t in range(terms):
                x_at = x_base + t * x_term + at
                w_at = w_base + t * w_term + 2 * (f * mr + i) * width + np.arange(width)
                total += (w_flat[w_at] + 1j * w_flat[w_at + width]) * (x_flat[x_at] + 1j * x_flat[x_at + lanes])
            sums.append(total)
        for i in range(mr):
            to = y_base + i * y_row + at
            y_flat[to], y_flat[to + lanes] = sums[i].real, sums[i].imag


@emitted_by(emit_fft.transpose)
def transpose(target: Any, source: Any, blocks: int, lanes: int) -> None:
    """``target[j, i] = source[i, j]``, i, j < lanes, of each of ``blocks`` squares.

    target, source: (flat, base, row stride, stride from block to block).
    """
    (t_flat, t_base, t_row, t_next), (s_flat, s_base, s_row, s_next) = target, source
    for k in range(blocks):
        for i in range(lanes):
            for j in range(lanes):
                t_flat[t_base + k * t_next + j * t_row + i] = s_flat[s_base + k * s_next + i * s_row + j]


@emitted_by(emit_fft.norms)
def norms(target: Any, source: Any, count: int, lanes: int) -> None:
    """Lane by lane the sum of |s|, the largest |s| and the sum of |s|**2 of ``count`` vectors s; NaN in the sums.

    target: (flat, base); source: (flat, base, stride).
    """
    (t_flat, t_base), (s_flat, s_base, s_step) = target, source
    for lane in range(lanes):
        sizes = np.abs(s_flat[s_base + lane + np.arange(count) * s_step])
        for n, norm in enumerate((sizes.sum(), np.fmax.reduce(sizes, initial=0), (sizes * sizes).sum())):
            t_flat[t_base + n * lanes + lane] = norm


@emitted_by(emit_fft.settle)
def settle(y: Any, marks: Any, values: Any, limits: Any, b: Any, count: int, lanes: int) -> None:
    """``y[i] = values[i] + b``, and into the mark how many values are not finite or less than the least.

    y, marks, values, b: (flat, base); limits: (flat, place) of the least and of the largest.
    """
    (y_flat, y_base), (m_flat, m_base), (v_flat, v_base), (b_flat, b_base) = y, marks, values, b
    least, most = (flat[at] for flat, at in limits)
    here = v_flat[v_base : v_base + count]
    y_flat[y_base : y_base + count] = here + b_flat[b_base]
    m_flat[m_base] = count - ((least <= np.abs(here)) & (np.abs(here) <= most)).sum()


@emitted_by(emit_fft.doubt)
def doubt(target: Any, values: Any, limits: Any, w: Any, x: Any, count: int, taps: int, lanes: int) -> None:
    """Mark with 1, else 0, each value that neither its own size nor that of its terms speaks for; then their number.

    A value stands if it is finite and it, or ``sum_{t < taps} |w[t] * x[i + t*step]|``, is no less than the least.
    The number follows the marks of ``count`` values rounded up to whole vectors.
    target, values, w: (flat, base); limits: (flat, place) of the least and of the largest; x: (flat, base, step).
    """
    (t_flat, t_base), (v_flat, v_base), (w_flat, w_base), (x_flat, x_base, step) = target, values, w, x
    least, most = (flat[at] for flat, at in limits)
    vectors = -(-count // lanes) * lanes
    number = 0
    for i in range(vectors):
        size = abs(v_flat[v_base + i])
        terms = sum(abs(w_flat[w_base + t] * x_flat[x_base + i + t * step]) for t in range(taps if i < count else 0))
        stands = size <= most and (size >= least or terms >= least)
        t_flat[t_base + i] = 0 if stands or i >= count else 1
        number += t_flat[t_base + i]
    t_flat[t_base + vectors] = number


def make_transform(lanes: int) -> Callable[..., None]:
    """``transform(signals, at, roots, table, first, levels, inverse)``: all levels of `blocking.fourier`."""
    number = 2 * lanes

    def make_pass(radix: int, inverse: int) -> Callable[..., None]:
        def one_pass(flat: Any, at: int, roots: Any, root: int, cut: Any, apart: int, lines: int, line: int) -> None:
            blocks, m = cut
            step = m * apart * number
            if m == 1 and apart == 1:  # blocks follow each other, from line to line too
                butterflies(
                    (flat, at, step, radix * number), (roots, root), lines * blocks, radix, inverse, PLAIN, lanes
                )
            elif m == 1:
                for block in range(blocks):
                    here = flat, at + block * radix * step, step, line * number
                    butterflies(here, (roots, root), lines, radix, inverse, PLAIN, lanes)
            elif apart == 1 and m >= lines:
                for n in range(lines):
                    for block in range(blocks):
                        here = flat, at + n * line * number + block * radix * step, step, number
                        butterflies(here, (roots, root), m, radix, inverse, OWN, lanes)
            else:
                for block in range(blocks):
                    for j in range(m):
                        here = flat, at + block * radix * step + j * apart * number, step, line * number
                        turns = roots, root + j * 2 * (radix - 1)
                        butterflies(here, turns, lines, radix, inverse, SHARED, lanes)

        return inline(one_pass, radix, inverse, lanes)

    two, three, four, five = (make_pass(radix, 0) for radix in (2, 3, 4, 5))
    from_two, from_three, from_four, from_five = (make_pass(radix, 1) for radix in (2, 3, 4, 5))

    def one_pass(flat: Any, at: int, roots: Any, words: Any, apart: int, lines: int, line: int, inverse: int) -> None:
        table, w = words
        radix, cut, root = table[w], (table[w + 1], table[w + 2]), table[w + 3]
        if inverse:
            if radix == 4:
                from_four(flat, at, roots, root, cut, apart, lines, line)
            elif radix == 3:
                from_three(flat, at, roots, root, cut, apart, lines, line)
            elif radix == 2:
                from_two(flat, at, roots, root, cut, apart, lines, line)
            else:
                from_five(flat, at, roots, root, cut, apart, lines, line)
        elif radix == 4:
            four(flat, at, roots, root, cut, apart, lines, line)
        elif radix == 3:
            three(flat, at, roots, root, cut, apart, lines, line)
        elif radix == 2:
            two(flat, at, roots, root, cut, apart, lines, line)
        else:
            five(flat, at, roots, root, cut, apart, lines, line)

    one_pass = inline(one_pass, lanes)

    def transform(flat: Any, at: int, roots: Any, table: Any, first: int, levels: int, inverse: int) -> None:
        for n in range(levels):
            w = first + (levels - 1 - n if inverse else n) * LEVEL_WORDS
            outer, span, apart = table[w], table[w + 1], table[w + 2]
            lines, line, strip = table[w + 3], table[w + 4], table[w + 5]
            passes, many = table[w + 6], table[w + 7]
            for u in range(outer):
                for first_line in range(0, lines, strip):
                    here = at + (u * span + first_line * line) * number
                    count = min(strip, lines - first_line)
                    for p in range(many):
                        word = passes + (many - 1 - p if inverse else p) * PASS_WORDS
                        one_pass(flat, here, roots, (table, word), apart, count, line, inverse)

    return inline(transform, lanes)


def make_multiply(wide: int, lanes: int) -> Callable[..., None]:
    """``multiply(y, w, x, points, terms, first, rows)`` for 8, 4, 2 or 1 rows."""

    def multiply(y: Any, w: Any, x: Any, points: int, terms: int, first: int, rows: int) -> None:
        if rows == 8:
            multiply_spectra(y, w, x, points, terms, first, 8, wide, lanes)
        elif rows == 4:
            multiply_spectra(y, w, x, points, terms, first, 4, wide, lanes)
        elif rows == 2:
            multiply_spectra(y, w, x, points, terms, first, 2, wide, lanes)
        else:
            multiply_spectra(y, w, x, points, terms, first, 1, wide, lanes)

    return inline(multiply, wide, lanes)

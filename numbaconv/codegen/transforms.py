"""The matrices of F(m, k), m outputs of k taps by m + k - 1 products: evaluate two polynomials at points, interpolate.

    y = A ((G w) * (B d))          A: m x n,  G: n x k,  B: n x n,  n = m + k - 1          (Toom-Cook, transposed)

With a stride s, each phase of the taps meets one of the inputs: the transforms of the phases stand side by side, and
n = s * (m - 1) + k.

Points are 0, pairs of opposite numbers, whose rows share their even and odd parts, and infinity. Small integers and
their inverses keep the numbers of B and A small, on which the error depends (Barabasz et al., arXiv:1803.10986).
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import NamedTuple

POINTS = tuple(map(Fraction, ("0", "1", "-1", "2", "-2", "1/2", "-1/2")))
Matrix = tuple[tuple[float, ...], ...]


class Transform(NamedTuple):
    """F(m, k)."""

    A: Matrix
    B: Matrix
    G: Matrix


def products(m: int, k: int, stride: int) -> int:
    """Of m outputs; and the inputs that these meet."""
    return stride * (m - 1) + k


@lru_cache(32)
def transform(m: int, k: int, stride: int) -> Transform:
    """Of a kernel at least as wide as the stride."""
    n = products(m, k, stride)
    rows_a: list[tuple[float, ...]] = [()] * m
    rows_b, rows_g = [], []
    for phase in range(min(stride, k)):
        a, b, g = _of_one_phase(m, len(range(phase, k, stride)))
        rows_a = [left + right for left, right in zip(rows_a, a, strict=True)]
        rows_b += [_spread(row, phase, stride, n) for row in b]
        rows_g += [_spread(row, phase, stride, k) for row in g]
    return Transform(tuple(rows_a), tuple(rows_b), tuple(rows_g))


def _spread(row: tuple[float, ...], phase: int, stride: int, size: int) -> tuple[float, ...]:
    """The row where every ``stride``-th element of ``size``, from ``phase`` on, is one of its own."""
    places = dict(zip(range(phase, size, stride), row, strict=True))
    return tuple(places.get(i, 0.0) for i in range(size))


def _of_one_phase(m: int, k: int) -> Transform:
    """Of Lagrange's polynomials through the first m + k - 2 points and infinity; one tap meets each input alone."""
    if k == 1:
        identity = tuple(tuple(float(i == j) for j in range(m)) for i in range(m))
        return Transform(identity, identity, ((1.0,),) * m)
    points = POINTS[: m + k - 2]
    rows_a = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    rows_b = [[*_product([q for q in points if q != p]), Fraction(0)] for p in points]
    rows_b.append(_product(points))
    scales = [prod(((p - q) for q in points if q != p), start=Fraction(1)) for p in points]
    rows_g = [[p**t / scale for t in range(k)] for p, scale in zip(points, scales, strict=True)]
    rows_g.append([Fraction(t == k - 1) for t in range(k)])
    return Transform(*(tuple(tuple(map(float, row)) for row in rows) for rows in (rows_a, rows_b, rows_g)))


def _product(roots: list[Fraction] | tuple[Fraction, ...]) -> list[Fraction]:
    """Coefficients of the product of ``x - root``, the constant first."""
    result = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *result], [-root * c for c in result] + [Fraction(0)]
        result = [a + b for a, b in zip(shifted, scaled, strict=True)]
    return result

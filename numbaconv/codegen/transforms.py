"""The matrices of F(m, k), m outputs of k taps by m + k - 1 products: evaluate two polynomials at points, interpolate.

    y = A ((G w) * (B d))          A: m x n,  G: n x k,  B: n x n,  n = m + k - 1          (Toom-Cook, transposed)

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


@lru_cache(32)
def transform(m: int, k: int) -> Transform:
    """Of Lagrange's polynomials through the first m + k - 2 points and infinity; F(1, 1) is one product."""
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

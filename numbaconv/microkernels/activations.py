"""Activations as scalar formulas without branches, which the compiler turns into vectors; accurate to a few ulp.

    exp(x)     = 2**n * (1 + q(r))                 n = round(x / ln 2),  r = x - n*ln 2,  q(r) = exp(r) - 1, by Taylor
    sigmoid(x) = 1 / (1 + exp(-|x|)), or exp(-|x|) times that where x < 0
    tanh|x|    = m / (m + 2),  m = exp(2|x|) - 1
    gelu(x)    = x * Phi(x),  Phi(-a) = exp(-a*a/2) * G((a - K) / (a + K)) / (1 + a)   (Shepherd & Laframboise, 1981)

G is a polynomial that was fitted here to the scaled complementary error function, to 2**-28 and 2**-57. NaN passes
through all of them. `gelu_tanh` is Hendrycks & Gimpel's x * sigmoid(2u), u = sqrt(2/pi) * (x + 0.044715 x**3).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from math import factorial, log, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from numbaconv.codegen.bits import either, polynomial, power_of_two, upper_half
from numbaconv.codegen.jit import as_written

Scalar = Callable[..., Any]
LN2 = Decimal("0.693147180559945309417232121458176568")


class Kind(NamedTuple):
    """What the formulas need to know of a dtype."""

    number: Any
    round: float  # added to a number and taken away again, rounds it to a whole one
    bias: int  # of exponents
    split: int  # bits of ln 2 whose products with n are exact
    terms: int  # of the Taylor series
    lowest: float  # exp of it is 0
    highest: float  # exp of it is inf
    least: float  # exp of it is a normal number
    one: float  # tanh of it is 1
    zero: float  # gelu of minus it is 0
    center: float  # K
    fitted: tuple[float, ...]  # G, lowest power first


KINDS = {
    "float32": Kind(
        np.float32, 1.5 * 2**23, 127, 14, 7, -105.0, 89.0, -87.0, 10.0, 15.0, 4.0,
        (0.4720532064, -0.09670346798, 0.01399963659, 0.0286000328, -0.03219781535, 0.01793944948, -0.005002140853,
         -0.0002999187613, 0.0006908448556, -6.673718492e-5, -7.437454417e-5),
    ),
    "float64": Kind(
        np.float64, 1.5 * 2**52, 1023, 40, 13, -746.0, 710.0, -708.0, 20.0, 39.0, 6.0,
        (0.453455200271127945, -0.0850253623057707227, 0.0398114245624298582, -0.00437338677959318555,
         -0.0161415173321992679, 0.0225924670627812738, -0.0197664792199317858, 0.0132468641540478622,
         -0.00705981942146276396, 0.00293565551751844502, -0.000868994663322578359, 0.0001194896582852616,
         3.77948937044667446e-5, -2.63534037132007232e-5, 4.41242098846512906e-6, 1.78383623414682e-6,
         -9.99608288663402863e-7, -4.64962963292916711e-10, 1.3237526176866645e-7, -1.99993571973919876e-8,
         -1.5635639755801341e-8, 2.93309927362930612e-9, 1.5659013079192759e-9),
    ),
}  # fmt: skip


def make_exp(dtype: str) -> tuple[Scalar, Scalar]:
    """(``exp(x, low)``, that is exp(x + low) for a ``low`` that x is too large to hold; ``expm1(x)``)."""
    kind = KINDS[dtype]
    number = kind.number
    upper = round(LN2 * 2**kind.split) / 2**kind.split
    ln2, rest, per = number(upper), number(LN2 - Decimal(upper)), number(1 / log(2))
    whole, biased, half, one = number(kind.round), number(kind.round + kind.bias), number(0.5), number(1)
    lowest, highest, least = number(kind.lowest), number(kind.highest), number(kind.least)
    series = polynomial(dtype, tuple(1 / factorial(k) for k in range(1, kind.terms + 1)))

    def exp(x: Any, low: Any) -> Any:
        x = either(x < lowest, lowest, either(x > highest, highest, x))
        n = ((x + low) * per + whole) - whole
        r = ((x - n * ln2) - n * rest) + low
        # In two steps, as 2**n alone would overflow, or underflow, where the result does not.
        first = (n * half + whole) - whole
        scale = power_of_two(first + biased)
        return (scale + scale * (series(r) * r)) * power_of_two((n - first) + biased)

    def expm1(x: Any) -> Any:
        x = either(x < least, least, x)
        n = (x * per + whole) - whole
        r = (x - n * ln2) - n * rest
        scale = power_of_two(n + biased)
        return scale * (series(r) * r) + (scale - one)

    return as_written(exp, dtype), as_written(expm1, dtype)


def make_sigmoid(dtype: str) -> Scalar:
    exp, _ = make_exp(dtype)
    one, zero = KINDS[dtype].number(1), KINDS[dtype].number(0)

    def sigmoid(x: Any) -> Any:
        e = exp(-abs(x), zero)
        return either(x < zero, e, one) / (one + e)

    return as_written(sigmoid, dtype)


def make_silu(dtype: str) -> Scalar:
    sigmoid = make_sigmoid(dtype)

    def silu(x: Any) -> Any:
        return x * sigmoid(x)

    return as_written(silu, dtype)


def make_tanh(dtype: str) -> Scalar:
    _, expm1 = make_exp(dtype)
    most, two, zero = (KINDS[dtype].number(n) for n in (KINDS[dtype].one, 2, 0))

    def tanh(x: Any) -> Any:
        a = abs(x)
        m = expm1(two * either(a > most, most, a))
        y = m / (m + two)
        return either(x < zero, -y, y)

    return as_written(tanh, dtype)


def make_gelu(dtype: str) -> Scalar:
    kind = KINDS[dtype]
    exp, _ = make_exp(dtype)
    fitted = polynomial(dtype, kind.fitted)
    most, center, half, one, zero = (kind.number(n) for n in (kind.zero, kind.center, 0.5, 1, 0))

    def gelu(x: Any) -> Any:
        a = abs(x)
        a = either(a > most, most, a)
        h = upper_half(a)
        e = exp(-half * (h * h), -half * ((a - h) * (a + h)))
        below = e * fitted((a - center) / (a + center)) / (one + a)
        return x * either(x < zero, below, one - below)

    return as_written(gelu, dtype)


def make_gelu_tanh(dtype: str) -> Scalar:
    number = KINDS[dtype].number
    sigmoid = make_sigmoid(dtype)
    first, third = number(2 * sqrt(2 / pi)), number(2 * sqrt(2 / pi) * 0.044715)

    def gelu_tanh(x: Any) -> Any:
        return x * sigmoid(x * (first + third * (x * x)))

    return as_written(gelu_tanh, dtype)


def make_relu(dtype: str) -> Scalar:
    zero = KINDS[dtype].number(0)

    def relu(x: Any) -> Any:
        return either(x < zero, zero, x + zero)  # stored where it was loaded, x would make a slow masked store

    return as_written(relu, dtype)


def make_clip(dtype: str, lo: float, hi: float) -> Scalar:
    least, most = KINDS[dtype].number(lo), KINDS[dtype].number(hi)

    def clip(x: Any) -> Any:
        return either(x < least, least, either(x > most, most, x))

    return as_written(clip, dtype, lo, hi)


def make_relu6(dtype: str) -> Scalar:
    return make_clip(dtype, 0.0, 6.0)


def make_leaky_relu(dtype: str, slope: float) -> Scalar:
    zero, factor = KINDS[dtype].number(0), KINDS[dtype].number(slope)

    def leaky_relu(x: Any) -> Any:
        return either(x > zero, x + zero, x * factor)

    return as_written(leaky_relu, dtype, slope)


def make_elu(dtype: str, alpha: float) -> Scalar:
    _, expm1 = make_exp(dtype)
    zero, factor = KINDS[dtype].number(0), KINDS[dtype].number(alpha)

    def elu(x: Any) -> Any:
        return either(x > zero, x + zero, factor * expm1(either(x > zero, zero, x)))

    return as_written(elu, dtype, alpha)


def make_hardswish(dtype: str) -> Scalar:
    clip = make_relu6(dtype)
    three, six = KINDS[dtype].number(3), KINDS[dtype].number(6)

    def hardswish(x: Any) -> Any:
        return x * clip(x + three) / six

    return as_written(hardswish, dtype)


MAKERS: dict[str, Callable[..., Scalar]] = {
    "relu": make_relu,
    "relu6": make_relu6,
    "leaky_relu": make_leaky_relu,
    "elu": make_elu,
    "clip": make_clip,
    "sigmoid": make_sigmoid,
    "silu": make_silu,
    "tanh": make_tanh,
    "gelu": make_gelu,
    "gelu_tanh": make_gelu_tanh,
    "hardswish": make_hardswish,
}

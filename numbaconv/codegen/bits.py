"""Numbers and their bits: float16 and bfloat16, which Numba cannot compute with, powers of two; what has no branches.

A float16 or bfloat16 lies in memory as a uint16. Both round to nearest, ties to even; NaN stays NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from numbaconv.codegen.jit import DISABLED

WORD = {32: ir.IntType(32), 64: ir.IntType(64)}
SIGNIFICAND = {32: 23, 64: 52}  # bits of a float32 and of a float64


def half_of(number: Any) -> Any:
    """The bits of ``number``, a float32, as a float16."""
    with np.errstate(over="ignore"):  # beyond the largest lies inf
        return np.float16(number).view(np.uint16)


def of_half(number: Any) -> Any:
    """The float32 of a float16's bits."""
    return np.float32(np.uint16(number).view(np.float16))


def bfloat_of(number: Any) -> Any:
    """The bits of ``number``, a float32, as a bfloat16: its upper half, rounded."""
    bits = int(np.float32(number).view(np.uint32))
    if np.isnan(number):
        return np.uint16(bits >> 16 | 64)  # a NaN whose upper half alone might be that of inf
    return np.uint16((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)


def of_bfloat(number: Any) -> Any:
    """The float32 of a bfloat16's bits."""
    return np.uint32(int(number) << 16).view(np.float32)


def power_of_two(number: Any) -> Any:
    """``2**k`` of ``number = k + bias + 1.5 * 2**significand``, whose last bits are those of an exponent."""
    word, size = (np.uint32, 32) if isinstance(number, np.float32) else (np.uint64, 64)
    shifted = int(number.view(word)) << SIGNIFICAND[size]
    return word(shifted & (1 << size) - 1).view(type(number))


def upper_half(number: Any) -> Any:
    """``number`` with the lower half of its significand zero, so that its square is exact."""
    word, low = (np.uint32, 12) if isinstance(number, np.float32) else (np.uint64, 27)
    return word(int(number.view(word)) >> low << low).view(type(number))


def either(condition: Any, one: Any, other: Any) -> Any:
    """``one if condition else other`` without a branch, which would keep a loop from being run in vectors."""
    return one if condition else other


def polynomial(dtype: str, coefficients: tuple[float, ...]) -> Callable[[Any], Any]:
    """A function of numbers of ``dtype``: Horner's rule, written out; coefficients of the lowest power first."""
    number = np.dtype(dtype).type

    def meaning(x: Any) -> Any:
        total = number(0)
        for c in reversed(coefficients):
            total = total * x + number(c)
        return total

    if DISABLED:
        return meaning

    @intrinsic
    def emitted(typing_context, x):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            (at,) = arguments
            highest, *others = (ir.Constant(at.type, float(number(c))) for c in reversed(coefficients))
            total = highest
            for constant in others:
                product = builder.fmul(total, at, flags=("contract",))
                total = builder.fadd(product, constant, flags=("contract",))
            return total

        return x(x), codegen

    return emitted


@intrinsic
def _either(typing_context, condition, one, other):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.select(*arguments)

    return one(condition, one, one), codegen


def _emitted(meaning: Callable[[Any], Any], result: Callable[[Any], Any], emit: Callable[[Any, Any], Any]) -> None:
    """Replace ``meaning`` in compiled code by what ``emit(builder, value)`` emits, of the type ``result(argument)``."""

    @intrinsic
    def emitted(typing_context, number):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return emit(builder, arguments[0])

        return result(number)(number), codegen

    @overload(meaning, jit_options={"forceinline": True})
    def choose(number):  # type: ignore[no-untyped-def]
        return lambda number: emitted(number)  # noqa: PLW0108  # Numba takes no intrinsic here


def _constant(kind: Any, value: int) -> Any:
    return ir.Constant(kind, value)


def _half_of(builder: Any, number: Any) -> Any:
    return builder.bitcast(builder.fptrunc(number, ir.HalfType()), ir.IntType(16))


def _of_half(builder: Any, bits: Any) -> Any:
    return builder.fpext(builder.bitcast(bits, ir.HalfType()), ir.FloatType())


def _bfloat_of(builder: Any, number: Any) -> Any:
    word = WORD[32]
    bits = builder.bitcast(number, word)
    upper = builder.lshr(bits, _constant(word, 16))
    odd = builder.and_(upper, _constant(word, 1))
    rounded = builder.lshr(builder.add(bits, builder.add(odd, _constant(word, 0x7FFF))), _constant(word, 16))
    quiet = builder.or_(upper, _constant(word, 64))
    is_nan = builder.fcmp_unordered("uno", number, number)
    return builder.trunc(builder.select(is_nan, quiet, rounded), ir.IntType(16))


def _of_bfloat(builder: Any, bits: Any) -> Any:
    word = WORD[32]
    return builder.bitcast(builder.shl(builder.zext(bits, word), _constant(word, 16)), ir.FloatType())


def _power_of_two(builder: Any, number: Any) -> Any:
    size = 32 if number.type == ir.FloatType() else 64
    shifted = builder.shl(builder.bitcast(number, WORD[size]), _constant(WORD[size], SIGNIFICAND[size]))
    return builder.bitcast(shifted, number.type)


def _upper_half(builder: Any, number: Any) -> Any:
    size, low = (32, 12) if number.type == ir.FloatType() else (64, 27)
    mask = _constant(WORD[size], (1 << size) - (1 << low))
    return builder.bitcast(builder.and_(builder.bitcast(number, WORD[size]), mask), number.type)


if not DISABLED:

    @overload(either, jit_options={"forceinline": True})
    def _choose(condition, one, other):  # type: ignore[no-untyped-def]
        return lambda condition, one, other: _either(condition, one, other)  # noqa: PLW0108  # the same

    _emitted(half_of, lambda _: types.uint16, _half_of)
    _emitted(of_half, lambda _: types.float32, _of_half)
    _emitted(bfloat_of, lambda _: types.uint16, _bfloat_of)
    _emitted(of_bfloat, lambda _: types.float32, _of_bfloat)
    _emitted(power_of_two, lambda number: number, _power_of_two)
    _emitted(upper_half, lambda number: number, _upper_half)

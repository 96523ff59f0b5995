"""Arrays as a convolution takes them: what becomes an ndarray, which dtypes mix, what is copied, what ``out`` is."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.problem import ConvProblem

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = {"f": "float", "c": "float", "i": "integer", "u": "integer", "b": "integer"}  # kinds that mix
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
COMPUTED = {np.dtype(name) for name in (*INTEGERS, "float16", "float32", "float64", "complex64", "complex128")}


def as_array(name: str, value: Any) -> Array:
    """An ndarray of whatever layout and dtype; lists and objects that NumPy can read become one."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; fill it first: {name}.filled(0)")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array or a regular nest of numbers; NumPy says: {error}") from None


@lru_cache(256)
def promoted(
    x: np.dtype[Any], weight: np.dtype[Any], names: tuple[str, str] = ("x", "weight"), loads: bool = False
) -> np.dtype[Any]:
    """The dtype that two arrays have together: floats and complex numbers mix, integers and bool mix, the kinds do not.

    ``loads``: whether x may be converted as it is read, so that integers and bool meet float weights, and the bfloat16
    of ml_dtypes, which NumPy alone does not know, is taken.
    """
    if loads and "bfloat16" in {x.name, weight.name}:
        other = promoted(*(np.dtype("float16") if d.name == "bfloat16" else d for d in (x, weight)), names, loads)
        return x if x == weight else np.result_type(other, np.float32)
    for name, dtype in zip(names, (x, weight), strict=True):
        if not computed(dtype):
            raise TypeError(f"{name} has dtype {dtype}; accepted are {', '.join(sorted(map(str, COMPUTED)))}")
    if loads and KINDS[x.kind] == "integer" and KINDS[weight.kind] == "float":
        return np.dtype(str(np.result_type(x, weight)))
    if KINDS[x.kind] != KINDS[weight.kind]:
        raise TypeError(
            f"{names[0]} has dtype {x} and {names[1]} {weight}: convert one to the other's kind, e.g. "
            f"{names[1]}.astype({str(x)!r})"
        )
    result = np.result_type(x, weight)
    if KINDS[result.kind] != KINDS[x.kind]:
        raise TypeError(
            f"{names[0]} has dtype {x} and {names[1]} {weight}, which no integer dtype holds both; convert one of them"
        )
    return np.dtype(str(result))


def floats(x: np.dtype[Any], weight: np.dtype[Any], names: tuple[str, str] = ("x", "weight")) -> np.dtype[Any]:
    """The dtype of both together, for what is computed in float32 and float64 alone."""
    dtype = promoted(x, weight, names)
    if dtype.name not in {"float32", "float64"}:
        raise TypeError(f"{names[0]} and {names[1]} must be float32 or float64 together; got {x} and {weight}")
    return dtype


def computed(dtype: np.dtype[Any]) -> bool:
    """Whether convolutions take this dtype, in either byte order; asked by kind first, as some dtypes have no order."""
    return dtype.kind in KINDS and dtype.newbyteorder("=") in COMPUTED


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether this is the bfloat16 of ml_dtypes."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def ready(x: Array, dtype: np.dtype[Any]) -> Array:
    """``x`` as strategies read it: C-contiguous, aligned, of this dtype in native byte order; a copy if it is not."""
    if x.dtype is dtype and x.flags.carray:
        return x
    return np.require(x, dtype, ["C", "A"])


def bias_of(bias: Any, problem: ConvProblem, dtype: np.dtype[Any], images: int = 0) -> Array:
    """``bias`` as strategies read it: one of the result's dtype for each output channel.

    ``images`` with weights of their own: ``problem`` is that of `of_images`, and images may share their bias.
    """
    given = as_array("bias", bias)
    if images:
        own = (images, problem.out_channels // images)
        if given.shape not in {own, own[1:]}:
            raise ValueError(f"bias must have shape {own[1:]}, shared by all images, or {own}, for weights of shape "
                             f"(N, ...); got {given.shape}")  # fmt: skip
        given = np.broadcast_to(given, own).reshape(-1)
    if given.shape != (problem.out_channels,):
        raise ValueError(
            f"bias must have shape ({problem.out_channels},), one for each output channel; got {given.shape}"
        )
    if given.dtype is dtype and given.flags.carray:
        return given
    if not (computed(given.dtype) or is_bfloat16(given.dtype)) or not np.can_cast(given.dtype, dtype, "same_kind"):
        raise TypeError(f"bias has dtype {given.dtype}, which does not cast to the result's {dtype} (same_kind)")
    cast = np.require(given, dtype, ["C", "A"])
    if KINDS[dtype.kind] == "integer" and not np.array_equal(cast, given):
        raise OverflowError(
            f"bias has values that do not fit the result dtype {dtype}; convert x or weight to a wider one"
        )
    return cast


def residual_of(residual: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """``residual`` as strategies read it: of the result's shape and dtype."""
    given = as_array("residual", residual)
    if given.shape != shape:
        raise ValueError(f"residual must have the shape of the result, {shape}; got {given.shape}")
    if given.dtype != dtype and not np.can_cast(given.dtype, dtype, "safe"):
        raise TypeError(f"residual must have the result's dtype {dtype} or one that casts safely; got {given.dtype}")
    return ready(given, dtype)


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], **operands: Array | None) -> None:
    """Raise where the result cannot be written to ``out``; ``operands`` are what it is computed from, by name."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be a NumPy array of shape {shape} and dtype {dtype}; got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype}; got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}; got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writable; got a read-only array")
    for name, operand in operands.items():
        # Interleaved views overlap in bounds only; an exact answer that takes long to find counts as an overlap.
        if name == "residual" and operand is not None and _is_same(out, operand):
            continue  # each output is written when what lay in its place was read
        if operand is not None and np.may_share_memory(out, operand, max_work=10_000):  # type: ignore[arg-type]
            raise ValueError(f"out must not overlap {name}: results would overwrite inputs that are still needed")


def _is_same(one: Array, other: Array) -> bool:
    """Whether two arrays are the same elements in the same places."""
    return one.dtype == other.dtype and one.__array_interface__["data"] == other.__array_interface__["data"] and (
        (one.shape, one.strides) == (other.shape, other.strides)
    )  # fmt: skip

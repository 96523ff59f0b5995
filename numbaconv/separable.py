"""Kernels that are products of smaller ones: w[i, j, k] = u[i] * v[j, k], or any other parts of the axes, or of all.

Through its largest weight, the pivot, every part has one slice; the kernel splits if the slices' product over the pivot
is the kernel again. Two passes then replace one: 3 + 3 products instead of 9, at the price of an image between them.

Integers split exactly: slices without their common divisor, and equality. Floats split if the result stays as near to
the exact sum as the direct sum must. The direct sum may be off by (terms + 2) roundings, of half an eps each, of
|x| conv |w|. Passes of k1, k2, ... taps make k1 + k2 + ... of them, one product and at most k - 1 additions to each
product of a pass, and the slices' product, rounded to the dtype, is off each weight by some roundings more, which are
measured: all together must be no more than terms + 2. So a zero of the kernel must be an exact zero of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import gcd, prod
from typing import Any

import numpy as np

from numbaconv.arrays import Array

Parts = tuple[tuple[int, ...], ...]  # of the axes: every axis is in one part

PARTS: dict[int, tuple[Parts, ...]] = {
    1: (((0,),),),
    2: (((0, 1),), ((1,), (0,))),
    3: (((0, 1, 2),), ((2,), (1,), (0,)), ((1, 2), (0,)), ((2,), (0, 1)), ((0, 2), (1,))),
}
SECOND_ORDER = 1.01  # (1 + u)**n - 1 over n*u, and more, for the n and u at hand


def split(kernel: Array, parts: Parts, dtype: np.dtype[Any]) -> list[Array] | None:
    """A factor for each part, of ``kernel``'s rank and 1 along the other axes; None if the kernel is no product.

    ``dtype`` is that of the computation, to which the factors of floats are rounded.
    """
    if len(parts) == 1:
        return [kernel]
    slices = _through_pivot(kernel, parts)
    if kernel.dtype.kind in "biu":
        return _exact(kernel, slices)
    pivot = slices[0].flat[np.argmax(np.abs(slices[0]))]
    if not (np.isfinite(kernel).all() and pivot):
        return None
    stored = dtype if kernel.dtype.kind == "c" else np.empty(0, dtype).real.dtype
    factors = [(part if i == 0 else part / pivot).astype(stored) for i, part in enumerate(slices)]
    wide = np.result_type(kernel, np.float64)
    size = np.abs(kernel)
    off = np.abs(prod((factor.astype(wide) for factor in factors[1:]), start=factors[0].astype(wide)) - kernel)
    if (off[size == 0] > 0).any():
        return None
    rounding = float(np.finfo(dtype).eps) / 2
    measured = (off[size > 0] / size[size > 0]).max() / rounding + len(parts) * 2.0**-53 / rounding
    passes = sum(factor.size for factor in factors)
    return factors if measured + passes * SECOND_ORDER <= kernel.size + 2 else None


def _through_pivot(kernel: Array, parts: Sequence[tuple[int, ...]]) -> list[Array]:
    """The slices of the kernel through its largest weight."""
    pivot = np.unravel_index(np.argmax(np.abs(kernel.astype(np.result_type(kernel, np.float64)))), kernel.shape)
    return [
        kernel[tuple(slice(None) if axis in part else slice(at, at + 1) for axis, at in enumerate(pivot))]
        for part in parts
    ]


def _exact(kernel: Array, slices: list[Array]) -> list[Array] | None:
    """Integers: slices without their divisors, the first one with the factor that makes the product the kernel."""
    whole = kernel.astype(object) + 0  # Python integers, which never overflow; True becomes 1
    primitive = [part.astype(object) // max(reduce(gcd, (abs(int(w)) for w in part.flat)), 1) for part in slices]
    pattern = reduce(np.multiply, primitive)
    at = np.unravel_index(np.argmax(np.abs(pattern)), kernel.shape)
    if not pattern[at]:
        return None
    scale = whole[at] // pattern[at]
    if not (pattern * scale == whole).all():
        return None
    primitive[0] = primitive[0] * scale
    return [part.astype(np.int64 if kernel.dtype.kind != "u" else np.uint64) for part in primitive]

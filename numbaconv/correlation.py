"""Correlation of arrays that have no channels, the one sum under `signal` and `ndimage`.

    y[p] = sum over t of  w[t] * x[p + t - lo]        along ``axes``; x and w broadcast along all others

An axis along which only x has a size is a batch, one along which both have is a group, one along which only w has is
filters: so any such sum is one convolution (batch, groups, *axes) * (groups*filters, 1, *axes) of the engine.

Integers and bool are computed as floats wherever no sum of any of the products leaves the floats' whole numbers, up to
2/eps: then none is rounded. uint8 images are float32 work that way. Larger numbers are summed in 64 bits, and where
those do not hold a sum, 16 bits of each number at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from numbaconv import api, calls
from numbaconv.arrays import COMPUTED, Array, as_array, computed
from numbaconv.reading import Reading, sources
from numbaconv.separable import PARTS, Parts, split

CONV = {1: api.conv1d, 2: api.conv2d, 3: api.conv3d}

Pair = tuple[int, int]


@dataclass(frozen=True)
class Reach:
    """Along which axes a sum reaches how far beyond the ends of x, and what lies there, in the engine's words."""

    axes: tuple[int, ...]
    padding: tuple[Pair, ...]  # (lo, hi) for each of the axes
    mode: str = "zeros"
    value: Any = 0  # of mode 'constant'


FEWEST_TAPS = 100  # of a kernel that transforms may be faster for
EXACT = 1.999  # in 1/eps: all whole numbers up to 2/eps are floats; and a little less for the rounding of the bound


def operand(name: str, value: Any) -> Array:
    """``value`` as an array of numbers that can be computed with."""
    array = as_array(name, value)
    if not computed(array.dtype):
        raise TypeError(f"{name} has dtype {array.dtype}; accepted are {', '.join(sorted(map(str, COMPUTED)))}")
    return array


def sums(x: Array, w: Array, reach: Reach, dtype: np.dtype[Any], **options: Any) -> Array:
    """The sum, in ``dtype``; integers modulo its range, and bool as "any product true".

    ``options`` go to the engine. An integer ``dtype`` wants integers x, w and ``reach.value``.
    """
    if dtype.kind in "fc":
        narrow = dtype == np.float16  # summed in float32, rounded once
        y = _floats(x, w, reach, np.dtype(np.float32) if narrow else dtype, options)
        with np.errstate(over="ignore"):
            return y.astype(dtype, copy=False)
    exact = whole_numbers(x, w, reach, **options)
    if exact is not None:
        return to_integers(exact, dtype)
    wide = np.dtype(np.uint64 if dtype.kind == "u" else np.int64)
    x, w = x.astype(wide, copy=False), w.astype(wide, copy=False)
    try:
        y = _engine(x, w, reach, options)
    except OverflowError:
        y = _modulo(x, w, reach, options)
    return y.astype(dtype, copy=False)


def whole_numbers(x: Array, w: Array, reach: Reach, **options: Any) -> Array | None:
    """Exact sums as floats, for whole numbers of any dtype; None where floats may not hold them."""
    weights = float(np.abs(w.astype(np.float64)).sum(axis=reach.axes).max())
    largest = max(1.0, _largest(x), abs(float(reach.value))) * weights
    for wide in (np.dtype(np.float32), np.dtype(np.float64)):
        if largest < EXACT / float(np.finfo(wide).eps):
            exactly_split = w if w.dtype.kind in "biu" else w.astype(np.int64)
            return _floats(x, exactly_split, reach, wide, options | {"accuracy": "strict"})
    return None


def to_integers(y: Array, dtype: np.dtype[Any]) -> Array:
    """Floats cut off to integers modulo the range of ``dtype``; bool is "not 0"."""
    if dtype.kind == "b":
        return np.not_equal(np.trunc(y), 0)
    limits = np.iinfo(dtype)
    least, most = float(y.min(initial=0)), float(y.max(initial=0))
    if limits.min - 1 < least and most < limits.max + 1:
        return y.astype(dtype)
    with np.errstate(invalid="ignore"):  # inf, which like NaN becomes 0
        size = np.fmod(np.abs(y.astype(np.float64, copy=False)), 2.0**64)  # exact
    positive = np.nan_to_num(size).astype(np.uint64)  # of a float beyond the range the cast would not be defined
    return np.where(y < 0, 0 - positive, positive).astype(dtype)


def _modulo(x: Array, w: Array, reach: Reach, options: dict[str, Any]) -> Array:
    """The sum of 64-bit integers modulo 2**64: sums of products of 16 bits are exact, and then only shifted."""
    total: Any = np.uint64(0)
    for i, x_bits in enumerate(_sixteens(x)):
        for j, w_bits in enumerate(_sixteens(w)[: 4 - i]):
            value = int(_sixteens(np.asarray(reach.value, x.dtype))[i])
            part = sums(x_bits, w_bits, replace(reach, value=value), np.dtype(np.int64), **options)
            total = total + (part.view(np.uint64) << np.uint64(16 * (i + j)))
    return np.asarray(total.view(x.dtype))


def _sixteens(values: Array) -> list[Array]:
    """Integers as four of 16 bits and the sign, the lowest first."""
    size = np.where(values < 0, 0 - values.view(np.uint64), values.view(np.uint64))
    sign = np.where(values < 0, -1, 1)
    return [sign * (size >> np.uint64(shift) & np.uint64(0xFFFF)).astype(np.int64) for shift in (0, 16, 32, 48)]


# ---- floats ----------------------------------------------------------------------------------------------------------


def _floats(x: Array, w: Array, reach: Reach, dtype: np.dtype[Any], options: dict[str, Any]) -> Array:
    """The sum in a float or complex dtype, in as many passes as are cheapest."""
    if reach.mode == "constant" and reach.value == 0 and np.isfinite(w).all():
        reach = Reach(reach.axes, reach.padding)
    x = x.astype(dtype, copy=False)
    kernel = w.reshape(-1, *(w.shape[axis] for axis in reach.axes))
    if len(kernel) == 1 and len(reach.axes) in PARTS:
        shape = tuple(x.shape[axis] for axis in reach.axes)
        batch = x.size // max(prod(shape), 1)
        for parts in _cheaper(batch, shape, kernel.shape[1:], reach.padding, dtype):
            factors = split(kernel[0], parts, dtype)
            if factors is not None:
                return _passes(x, factors, parts, reach, dtype, options)
    return _engine(x, w.astype(dtype, copy=False), reach, options)


def _passes(
    x: Array, factors: Sequence[Array], parts: Parts, reach: Reach, dtype: np.dtype[Any], options: dict[str, Any]
) -> Array:
    """One after another, each along its part of the axes; what was constant outside is so after a pass."""
    value = reach.value
    for factor, part in zip(factors, parts, strict=True):
        shape = [1] * x.ndim
        for i in part:
            shape[reach.axes[i]] = factor.shape[i]
        pads = tuple(pair if i in part else (0, 0) for i, pair in enumerate(reach.padding))
        one = Reach(reach.axes, pads, reach.mode, value)
        x = _engine(x, factor.reshape(shape).astype(dtype, copy=False), one, options)
        value = value * factor.sum(dtype=np.result_type(factor, np.float64))
    return x


@lru_cache(1024)
def _cheaper(
    batch: int, shape: tuple[int, ...], kernel: tuple[int, ...], padding: tuple[Pair, ...], dtype: np.dtype[Any]
) -> tuple[Parts, ...]:
    """The ways to split a kernel of this shape that cost less than the whole, the cheapest first."""
    costs = {}
    for parts in PARTS[len(kernel)]:
        size, costs[parts] = shape, 0.0
        for part in parts:
            factor = tuple(k if i in part else 1 for i, k in enumerate(kernel))
            pads = tuple(pair if i in part else (0, 0) for i, pair in enumerate(padding))
            if min(n + sum(pair) - k for n, pair, k in zip(size, pads, factor, strict=True)) < 0:
                return ()  # no result, as the engine will say
            costs[parts] += calls.cost(len(kernel), (batch, 1, *size), (1, 1, *factor), dtype, (1, pads, 1, 1))
            size = tuple(n + sum(pair) - k + 1 for n, pair, k in zip(size, pads, factor, strict=True))
    whole = costs[PARTS[len(kernel)][0]]
    return tuple(sorted((parts for parts in costs if costs[parts] < whole), key=costs.__getitem__))


# ---- the engine ------------------------------------------------------------------------------------------------------


def _engine(x: Array, w: Array, reach: Reach, options: dict[str, Any]) -> Array:
    """One convolution of the engine, x and w of one dtype."""
    pads = dict(zip(reach.axes, reach.padding, strict=True))
    spatial = _spatial(w.shape, pads)
    rest = [axis for axis in range(x.ndim) if axis not in spatial]
    groups = [axis for axis in rest if x.shape[axis] == w.shape[axis] != 1]
    filters = [axis for axis in rest if x.shape[axis] == 1 != w.shape[axis]]
    batch = [axis for axis in rest if axis not in groups and axis not in filters]
    rank = len(spatial)
    sizes = [[a.shape[axis] for axis in kind] for a, kind in ((x, batch), (x, groups), (w, filters))]
    together = prod(sizes[1])
    if reach.mode != "zeros" and _copy_pays(x.shape, w.shape, together, spatial, reach, x.dtype):
        x, pads = _extended(x, reach), dict.fromkeys(pads, (0, 0))
    padding = tuple(pads[axis] for axis in spatial)
    x = x.transpose(batch + groups + filters + spatial)
    w = w.transpose(batch + groups + filters + spatial)
    y = CONV[rank](
        x.reshape(prod(sizes[0]), together, *x.shape[-rank:]),
        w.reshape(-1, 1, *w.shape[-rank:]),
        padding=padding,
        groups=together,
        padding_mode=reach.mode,
        padding_value=reach.value if reach.mode == "constant" else 0,
        **options,
    )
    order = batch + groups + filters + spatial
    back = sorted(range(len(order)), key=order.__getitem__)
    return np.ascontiguousarray(y.reshape(*sizes[0], *sizes[1], *sizes[2], *y.shape[2:]).transpose(back))


def _copy_pays(
    x_shape: tuple[int, ...], w_shape: tuple[int, ...], groups: int, spatial: list[int], reach: Reach,
    dtype: np.dtype[Any],
) -> bool:  # fmt: skip
    """Whether a padded copy is cheaper, as a strategy that knows no modes wins: 'fft', of large kernels."""
    taps = prod(w_shape[axis] for axis in spatial)
    if taps < FEWEST_TAPS or dtype.kind != "f":
        return False
    pads = dict(zip(reach.axes, reach.padding, strict=True))
    size = tuple(x_shape[axis] for axis in spatial)
    padded = tuple(n + sum(pads[axis]) for n, axis in zip(size, spatial, strict=True))
    lead = prod(x_shape) // max(1, prod(size) * groups), groups
    filters = (prod(w_shape) // taps, 1, *(w_shape[axis] for axis in spatial))
    rank, here = len(spatial), tuple(pads[axis] for axis in spatial)
    value = reach.value if reach.mode == "constant" else 0.0
    if any(n < k for n, k in zip(padded, filters[2:], strict=True)) or 0 in size:
        return False
    fused = calls.cost(rank, (*lead, *size), filters, dtype, (1, here, 1, groups), Reading(reach.mode, value))
    return calls.cost(rank, (*lead, *padded), filters, dtype, (1, 0, 1, groups)) < 0.9 * fused


def _extended(x: Array, reach: Reach) -> Array:
    """A copy of x with what lies beyond its ends."""
    for axis, (lo, hi) in zip(reach.axes, reach.padding, strict=True):
        place = sources(reach.mode, np.arange(-lo, x.shape[axis] + hi), x.shape[axis])
        x = x.take(place, axis)
        if reach.mode == "constant":
            x[(slice(None),) * axis + (place < 0,)] = reach.value
    return x


def _spatial(kernel: Sequence[int], pads: dict[int, Pair]) -> list[int]:
    """The axes that the engine convolves along: at most three, and without the leading ones of single taps."""
    axes = sorted(pads)
    single = [axis for axis in axes if kernel[axis] == 1 and pads[axis] == (0, 0)]
    while len(axes) > 1 and axes[0] in single:
        axes = axes[1:]
    if len(axes) > 3:
        axes = [axis for axis in axes if axis not in single]
    if len(axes) > 3:
        raise ValueError(
            f"a kernel may be larger than 1 along at most 3 axes; it has shape {tuple(kernel)}, larger along {axes}"
        )
    return axes or [max(pads)]


def _largest(values: Array) -> float:
    """max |value|; in Python's numbers, as -128 of int8 has no opposite there."""
    return float(max(values.max(initial=0).item(), -values.min(initial=0).item()))

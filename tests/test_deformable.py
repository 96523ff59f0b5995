"""Deformable convolution against its equation in plain loops, and against `conv2d` where it is one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import numbaconv
from numbaconv import conv2d, deform_conv2d
from numbaconv.codegen.cache import KernelFile

DEFORMED = {rank: getattr(numbaconv, f"deform_conv{rank}d") for rank in (1, 2, 3)}
# rank, dtype, images, channels, outputs, groups, offset groups, size, kernel, stride, padding, dilation, masked
CASES = [
    (1, "float32", 2, 4, 6, 2, 2, (23,), (3,), 1, 1, 1, True),
    (2, "float32", 2, 6, 5, 1, 3, (8, 9), (3, 3), 1, 1, 1, True),
    (2, "float64", 1, 4, 6, 2, 1, (9, 11), (3, 2), 2, 2, 2, False),
    (2, "float64", 2, 2, 2, 2, 2, (5, 6), (1, 1), 1, 0, 1, True),
    (3, "float32", 1, 2, 3, 1, 1, (4, 5, 5), (2, 3, 2), 1, 1, 1, True),
]


def numbers(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def sampled(x, place):
    """x at ``place``, linear between pixels, zero outside."""
    total, low = 0.0, np.floor(place).astype(int)
    for corner in product((0, 1), repeat=x.ndim):
        at = low + corner
        if (at >= 0).all() and (at < x.shape).all():
            total += np.prod(1 - np.abs(place - at)) * float(x[tuple(at)])
    return total


def equation(x, offset, w, b, stride, padding, dilation, mask, groups, offset_groups):
    rank, kernel, size = x.ndim - 2, w.shape[2:], offset.shape[2:]
    inner, outer, taps = w.shape[1], w.shape[0] // groups, int(np.prod(kernel))
    y = np.zeros((len(x), len(w), *size)) + b.astype(float).reshape(-1, *(1,) * rank)
    for n, c, (t, tap), p in product(
        range(len(x)), range(x.shape[1]), enumerate(np.ndindex(kernel)), list(np.ndindex(size))
    ):
        kind = c // (x.shape[1] // offset_groups) * taps + t
        move = offset[(n, slice(kind * rank, (kind + 1) * rank), *p)].astype(float)
        value = sampled(x[n, c], np.array(p) * stride + np.array(tap) * dilation - padding + move)
        value *= 1 if mask is None else float(mask[(n, kind, *p)])
        o = slice(c // inner * outer, (c // inner + 1) * outer)
        y[(n, o, *p)] += w[(o, c % inner, *tap)].astype(float) * value
    return y


@pytest.mark.parametrize("case", CASES)
def test_equation(case):
    rank, dtype, n, c, o, groups, parts, size, kernel, stride, padding, dilation, masked = case
    x, w, b = numbers((n, c, *size), dtype, 0), numbers((o, c // groups, *kernel), dtype, 1), numbers(o, dtype, 2)
    out = [(s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(size, kernel, strict=True)]
    taps = int(np.prod(kernel))
    offset = 2 * numbers((n, rank * parts * taps, *out), dtype, 3)
    mask = numbers((n, parts * taps, *out), dtype, 4) if masked else None
    y = DEFORMED[rank](x, offset, w, b, stride, padding, dilation, mask, groups, parts)
    assert y.dtype == dtype
    expected = equation(x, offset, w, b, stride, padding, dilation, mask, groups, parts)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1000 * np.finfo(dtype).eps)


def test_offsets_that_are_whole_pixels_move_the_input():
    x, w = numbers((2, 3, 9, 10), "float32", 0), numbers((4, 3, 3, 3), "float32", 1)
    offset = np.zeros((2, 18, 9, 10), np.float32)
    np.testing.assert_allclose(deform_conv2d(x, offset, w, padding=1), conv2d(x, w, padding=1, strategy="generic"),
                               rtol=0, atol=1e-4)  # fmt: skip
    offset[:, 1::2] = 1
    moved = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))[..., 1:]
    y = deform_conv2d(x, offset, w, padding=1)[..., 1:]
    np.testing.assert_allclose(y, conv2d(moved, w, padding=1, strategy="generic")[..., 1:], rtol=0, atol=1e-4)


def test_a_new_geometry_never_compiles():
    def call(size, kernel, stride):
        x, w = np.ones((1, 2, size, size), np.float32), np.ones((3, 2, kernel, kernel), np.float32)
        out = (size - kernel) // stride + 1
        return deform_conv2d(x, np.zeros((1, 2 * kernel**2, out, out), np.float32), w, stride=stride)

    call(9, 3, 1)
    before = KernelFile.hits, KernelFile.misses
    assert (call(12, 5, 2) == 50).all()
    assert (KernelFile.hits, KernelFile.misses) == before


def test_refusals():
    x, w = np.ones((1, 4, 5, 5), np.float32), np.ones((2, 4, 3, 3), np.float32)
    offset = np.zeros((1, 18, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"offset must have shape \(1, 36, 3, 3\); got \(1, 18, 3, 3\)"):
        deform_conv2d(x, offset, w, offset_groups=2)
    with pytest.raises(ValueError, match="offset_groups must divide the 4 channels of x; got 3"):
        deform_conv2d(x, offset, w, offset_groups=3)
    with pytest.raises(ValueError, match=r"mask must have shape \(1, 9, 3, 3\)"):
        deform_conv2d(x, offset, w, mask=offset)
    with pytest.raises(TypeError, match="x and weight must be float32 or float64 together; got int64"):
        deform_conv2d(x.astype(int), offset, w.astype(int))


def test_an_offset_that_is_nan_is_no_zero():
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 1, 1), np.float32)
    offset = np.zeros((1, 2, 4, 4), np.float32)
    offset[0, 1, 2, 3] = np.nan
    expected = np.ones((1, 1, 4, 4), np.float32)
    expected[0, 0, 2, 3] = np.nan
    np.testing.assert_array_equal(deform_conv2d(x, offset, w), expected)

"""SciPy as an outside oracle: its correlations, written by others and much older, say the same."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from cases import Case
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import bound

import numbaconv

ndimage = pytest.importorskip("scipy.ndimage")
signal = pytest.importorskip("scipy.signal")

SIZES = {1: (700,), 2: (19, 37), 3: (6, 9, 13)}
KERNELS = {1: (24,), 2: (4, 5), 3: (2, 3, 4)}


def one_channel(rank, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(size).astype(dtype) for size in (SIZES[rank], KERNELS[rank]))


def assert_equal(y, expected, image, kernel, **geometry):
    """Both are within the bound of the exact sum, so they are within two of each other."""
    allowed = bound(reference.conv, image[None, None], kernel[None, None], None, y.dtype, 2.0, **geometry)[0, 0]
    assert y.shape == expected.shape
    assert (np.abs(y - expected) <= allowed).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_correlate(rank, mode, dtype):
    image, kernel = one_channel(rank, dtype)
    conv = getattr(numbaconv, f"conv{rank}d")
    y = conv(image[None, None], kernel[None, None], padding=mode)[0, 0]
    expected = signal.correlate(image, kernel, mode, method="direct")
    if mode == "same":  # of an even kernel's two middles SciPy takes the other
        y = conv(image[None, None], kernel[None, None], padding="same_lower")[0, 0]
    pads = {"valid": [(0, 0)] * rank, "full": [(k - 1, k - 1) for k in kernel.shape],
            "same": [(k // 2, (k - 1) // 2) for k in kernel.shape]}  # fmt: skip
    assert_equal(y, expected, image, kernel, padding=pads[mode])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_flipped_kernel_is_convolve(rank, dtype):
    image, kernel = one_channel(rank, dtype)
    y = getattr(numbaconv, f"conv{rank}d")(image[None, None], np.flip(kernel)[None, None], padding="full")[0, 0]
    expected = signal.convolve(image, kernel, method="direct")
    assert_equal(y, expected, image, np.flip(kernel), padding=[(k - 1, k - 1) for k in kernel.shape])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_ndimage(rank):
    image, kernel = one_channel(rank, "float64")
    expected = ndimage.correlate(image, kernel, mode="constant")
    y = getattr(numbaconv, f"conv{rank}d")(image[None, None], kernel[None, None], padding="same_lower")[0, 0]
    assert_equal(y, expected, image, kernel, padding=[(k // 2, (k - 1) // 2) for k in kernel.shape])


@pytest.mark.parametrize("dtype", ["int32", "int64", "complex128"])
def test_other_numbers(dtype):
    rng = np.random.default_rng(0)
    image, kernel = rng.integers(-99, 99, (20, 21)).astype(dtype), rng.integers(-99, 99, (3, 4)).astype(dtype)
    if dtype == "complex128":
        image, kernel = image + 1j * image[::-1], kernel * 1j
    y = numbaconv.conv2d(image[None, None], kernel[None, None])[0, 0]
    np.testing.assert_array_equal(y, signal.correlate(image, kernel.conj(), "valid", method="direct"))


@pytest.mark.parametrize("factor", [2, 3])
def test_transposed_is_upfirdn(factor):
    """Zeros between the samples, then a filter: resampling, as SciPy spells it."""
    rng = np.random.default_rng(0)
    samples, taps = rng.standard_normal(200), rng.standard_normal(31)
    y = numbaconv.conv_transpose1d(samples[None, None], taps[None, None], stride=factor)[0, 0]
    expected = signal.upfirdn(taps, samples, up=factor)
    allowed = bound(
        reference.conv_transpose, samples[None, None], taps[None, None], None, "float64", 2.0, stride=factor
    )
    assert y.shape == expected.shape and (np.abs(y - expected) <= allowed[0, 0]).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(5, 40), st.integers(1, 5), st.integers(1, 4))
def test_channels_are_sums_of_correlations(inner, outer, size, kernel, stride):
    case = Case((1, inner, size, size + 3), (outer, inner, kernel, kernel), {"stride": stride})
    x, w, b = case.arrays("float64", integers=True)
    whole = [
        sum(signal.correlate(x[0, c], w[o, c], "valid", method="direct") for c in range(inner)) for o in range(outer)
    ]
    expected = np.array(whole)[:, ::stride, ::stride] + b[:, None, None]
    np.testing.assert_array_equal(case.call(x, w, b)[0], expected)

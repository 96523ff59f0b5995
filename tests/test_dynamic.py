"""Weights of their own for each image: the equation image by image, in every strategy, and its gradients."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_close

import numbaconv
from numbaconv import conv2d, conv_backward, plan_conv2d
from numbaconv.codegen.cache import KernelFile
from numbaconv.problem import ConvProblem

FORWARD = {rank: getattr(numbaconv, f"conv{rank}d") for rank in (1, 2, 3)}
TRANSPOSED = {rank: getattr(numbaconv, f"conv_transpose{rank}d") for rank in (1, 2, 3)}


def numbers(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def checked(y, operation, x, w, b, **geometry):
    for n in range(len(x)):
        own = None if b is None else b if b.ndim == 1 else b[n]
        assert_close(y[n : n + 1].copy(), operation, x[n : n + 1], w[n], own, **geometry)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_each_image_is_convolved_with_its_own_weights(data):
    rank = data.draw(st.integers(1, 3))
    transposed = data.draw(st.booleans())
    groups, inner, outer = (data.draw(st.integers(1, 3)) for _ in range(3))
    images = data.draw(st.integers(1, 4))
    kernel = tuple(data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank)))
    size = tuple(k + 2 + data.draw(st.integers(0, 5)) for k in kernel)
    geometry = {"stride": data.draw(st.integers(1, 2)), "padding": data.draw(st.integers(0, 1)), "groups": groups}
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    x = (numbers((images, groups * inner, *size)) * 4).astype(dtype)
    lead = (groups * inner, outer) if transposed else (groups * outer, inner)
    w = (numbers((images, *lead, *kernel), seed=1) * 4).astype(dtype)
    shape = data.draw(st.sampled_from([None, (groups * outer,), (images, groups * outer)]))
    b = None if shape is None else (numbers(shape, seed=2) * 4).astype(dtype)
    if transposed:
        y = TRANSPOSED[rank](x, w, b, **geometry)
        checked(y, reference.conv_transpose, x, w, b, **geometry)
    else:
        y = FORWARD[rank](x, w, b, **geometry)
        checked(y, reference.conv, x, w, b, **geometry)


@pytest.mark.parametrize("strategy", ["direct", "im2col", "generic", "winograd"])
def test_strategies_by_name(strategy):
    x, w = numbers((3, 16, 20, 20)), numbers((3, 24, 16, 3, 3), seed=1)
    y = conv2d(x, w, padding=1, strategy=strategy)
    factor = 30 if strategy == "winograd" else 1
    for n in range(3):
        assert_close(y[n : n + 1].copy(), reference.conv, x[n : n + 1], w[n], factor=factor, padding=1)


def test_out_residual_and_activation():
    x, w, b = numbers((2, 3, 9, 9)), numbers((2, 4, 3, 3, 3), seed=1), numbers((2, 4), seed=2)
    r = numbers((2, 4, 9, 9), seed=3)
    expected = np.stack([conv2d(x[n], w[n], b[n], padding=1, residual=r[n], activation="relu") for n in range(2)])
    y = conv2d(x, w, b, padding=1, residual=r, activation="relu")
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    for out in (np.empty((2, 4, 9, 9), np.float32), np.empty((2, 9, 9, 4), np.float32).transpose(0, 3, 1, 2)):
        assert conv2d(x, w, b, padding=1, residual=r, activation="relu", out=out) is out
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_a_plan_holds_the_weights_of_all_images():
    x, w, b = numbers((3, 4, 9, 8)), numbers((3, 6, 2, 3, 3), seed=1), numbers((3, 6), seed=2)
    plan = pickle.loads(pickle.dumps(plan_conv2d(x.shape, w, b, groups=2)))
    assert plan.output_shape == (3, 6, 7, 6)
    checked(plan(x), reference.conv, x, w, b, groups=2)
    out = np.empty((3, 7, 6, 6), np.float32).transpose(0, 3, 1, 2)
    assert plan(x, out) is out
    np.testing.assert_array_equal(out, plan(x))


@pytest.mark.parametrize("transposed", [False, True])
def test_gradients(transposed):
    x, w = numbers((3, 4, 9, 8), "float64"), numbers((3, 4, 2, 3, 2), "float64", seed=1)
    geometry = {"stride": 2, "padding": 1, "groups": 2}
    forward = numbaconv.conv_transpose2d if transposed else conv2d
    dy = numbers(forward(x, w, **geometry).shape, "float64", seed=2)
    whole = conv_backward(dy, x, w, transposed=transposed, per_sample=True, **geometry)
    for n in range(3):
        own = conv_backward(dy[n], x[n], w[n], transposed=transposed, **geometry)
        for got, expected in zip(whole, own, strict=True):
            np.testing.assert_allclose(got[n], expected, rtol=1e-12, atol=1e-12)
    name = "conv_transpose2d" if transposed else "conv2d"
    for_x = getattr(numbaconv, f"{name}_input")(x.shape, w, dy, **geometry)
    for_w = getattr(numbaconv, f"{name}_weight")(x, w.shape, dy, **geometry)
    np.testing.assert_array_equal(for_x, whole.x)
    np.testing.assert_array_equal(for_w, whole.weight)
    out = np.empty_like(for_x)
    assert getattr(numbaconv, f"{name}_input")(x.shape, w, dy, out=out, **geometry) is out
    np.testing.assert_array_equal(out, for_x)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_explain(rank, transposed):
    x, w = numbers((3, 4, 9, 8, 7)[: rank + 2]), numbers((3, 4, 2, 3, 3, 3)[: rank + 3])
    make = ConvProblem.of_transposed if transposed else ConvProblem.of
    problem = make(rank, x.shape, w.shape[1:], "float32", groups=2, padding=1).of_images()
    assert (problem.batch, problem.groups) == (1, 6)
    options = {"per_sample": True} if transposed else {}
    for bias in (None, numbers(4), numbers((3, 4))):
        table = numbaconv.explain(x, w, bias, groups=2, padding=1, transposed=transposed, **options)
        assert table.startswith(f"{problem}\n")


def test_explain_tells_weights_for_each_image_from_an_input_without_images():
    assert "conv1d f32 1x12x9 * 18x4x3" in numbaconv.explain(numbers((3, 4, 9)), numbers((3, 6, 4, 3)))
    x, w = numbers((3, 4, 9)), numbers((3, 3, 4, 3))  # both fit
    assert "conv2d f32 1x3x4x9 * 3x3x4x3" in numbaconv.explain(x, w)
    assert "conv1d f32 1x12x9 * 9x4x3" in numbaconv.explain(x, w, per_sample=True)
    with pytest.raises(ValueError, match="weight of 6 dimensions must have the images of x on its first axis, 3"):
        numbaconv.explain(numbers((3, 4, 5, 5, 5)), numbers((2, 6, 4, 3, 3, 3)))
    with pytest.raises(ValueError, match="x has 3 channels, but weight of shape"):
        numbaconv.explain(x, numbers((2, 6, 4, 3)))
    with pytest.raises(ValueError, match=r"weight must have 3, 4 or 5 dimensions.* one more than x .*; got 6"):
        numbaconv.explain(x, numbers((3, 4, 9, 8, 7, 6)))
    with pytest.raises(ValueError, match=r"weight must have 4, 5 or 6 dimensions.*, for weights of each image; got 3"):
        numbaconv.explain(x, w[0], per_sample=True)


def test_refusals():
    x, w = numbers((3, 4, 9, 8)), numbers((3, 6, 4, 3, 3))
    with pytest.raises(ValueError, match=r"weight of 5 dimensions must have the images of x on its first axis, 3"):
        conv2d(x, w[:2])
    with pytest.raises(ValueError, match=r"x must have 4 dimensions, the first for N images"):
        conv2d(x[0], w)
    with pytest.raises(ValueError, match=r"bias must have shape \(6,\), shared by all images, or \(3, 6\)"):
        conv2d(x, w, numbers((3, 5)))
    with pytest.raises(ValueError, match=r"x has 4 channels, but weight of shape \(6, 3, 3, 3\)"):
        conv2d(x, w[:, :, :3])
    with pytest.raises(ValueError, match=r"4, 5 or 6 dimensions, for per_sample=True"):
        conv_backward(x, x, w[0, 0], per_sample=True)


def test_a_new_geometry_never_compiles():
    def call(size, kernel, stride):
        x, w = np.ones((2, 4, size, size), np.float32), np.ones((2, 8, 4, kernel, kernel), np.float32)
        return conv2d(x, w, stride=stride, strategy="direct")

    call(9, 3, 1)
    before = KernelFile.hits, KernelFile.misses
    assert (call(12, 5, 2) == 100).all()
    assert (KernelFile.hits, KernelFile.misses) == before

"""What lies beyond the ends of the input: every mode, width and strategy against the equation of a padded copy."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_close

import numbaconv
from numbaconv import conv1d, conv2d, conv3d, conv_transpose2d, explain, plan_conv2d
from numbaconv.problem import ConvProblem
from numbaconv.reading import MODES, Reading, sources

NUMPY = {
    "constant": "constant",
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
}
every_mode = pytest.mark.parametrize("mode", NUMPY)
RNG = np.random.default_rng


def extended(x, padding, mode, value=0.0):
    """The padded copy of x: wide first, then cropped."""
    pads = reference.ends(padding, x.ndim - 2)
    options = {"constant_values": value} if mode == "constant" else {}
    x = np.pad(x, [(0, 0), (0, 0), *((max(lo, 0), max(hi, 0)) for lo, hi in pads)], NUMPY[mode], **options)
    return x[(..., *(slice(max(-lo, 0), x.shape[i] - max(-hi, 0)) for i, (lo, hi) in enumerate(pads, 2)))]


def assert_padded(x_shape, w_shape, padding, mode, dtype="float32", strategy=None, **geometry):
    rng = RNG(0)
    x, w = rng.standard_normal(x_shape).astype(dtype), rng.standard_normal(w_shape).astype(dtype)
    value = 1.5 if mode == "constant" else 0
    convolve = {1: conv1d, 2: conv2d, 3: conv3d}[x.ndim - 2]
    options = {"padding": padding, "padding_mode": mode, "padding_value": value, "strategy": strategy}
    y = convolve(x, w, **geometry, **options)
    assert_close(y, reference.conv, extended(x, padding, mode, value), w, **geometry)
    plan = getattr(numbaconv, f"plan_conv{x.ndim - 2}d")(x.shape, w, **geometry, **options)
    assert_close(plan(x), reference.conv, extended(x, padding, mode, value), w, **geometry)


@every_mode
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_sources_are_those_of_numpy(mode, size):
    positions = np.arange(-20, size + 20)
    found = sources(mode, positions, size)
    expected = np.pad(np.arange(size), 20, NUMPY[mode], **({"constant_values": -1} if mode == "constant" else {}))
    np.testing.assert_array_equal(found, expected)


PACKING = {
    "generic": ((2, 3, 7, 9), (4, 3, 3, 3), {}),
    "direct": ((2, 5, 11, 37), (9, 5, 3, 3), {}),
    "im2col": ((2, 5, 11, 13), (9, 5, 3, 3), {"stride": 2}),
    "depthwise": ((1, 5, 19, 35), (5, 1, 3, 3), {"groups": 5}),
    "winograd": ((1, 20, 13, 35), (17, 20, 3, 3), {}),
}


@every_mode
@pytest.mark.parametrize("strategy", PACKING)
@pytest.mark.parametrize("padding", [1, ((12, 3), (-2, 40))], ids=["one", "many"])
def test_every_strategy_that_packs(strategy, mode, padding):
    x, w, geometry = PACKING[strategy]
    if (strategy, mode) == ("winograd", "constant"):  # which refuses outputs of constants only: they may be zero
        padding = 1
    assert_padded(x, w, padding, mode, strategy=strategy, **geometry)


@pytest.mark.parametrize(
    ("strategy", "x", "geometry"),
    [
        ("depthwise", (2, 6, 7, 5), {"groups": 6}),  # two channels in a vector
        ("depthwise", (1, 4, 17, 33), {"groups": 4, "stride": 2}),
        ("depthwise", (1, 4, 17, 33), {"groups": 4, "dilation": 3}),
        ("direct", (1, 4, 9, 33), {"groups": 2, "stride": (2, 4), "dilation": (3, 1)}),
        ("direct", (1, 4, 9, 33), {"groups": 2, "stride": (1, 3), "dilation": (1, 2)}),
        ("im2col", (1, 4, 9, 33), {"groups": 2, "stride": (1, 2), "dilation": (5, 2)}),
        ("winograd", (1, 32, 9, 33), {"dilation": 2}),
    ],
)
def test_strides_and_dilations(strategy, x, geometry):
    w = (x[1], x[1] // geometry.get("groups", 1), 3, 3)
    # Outputs of nothing but a constant, which may be 0, are no ordinary sums to `winograd`.
    for mode in ("reflect", "replicate" if strategy == "winograd" else "constant"):
        assert_padded(x, w, ((4, 2), (3, 5)), mode, strategy=strategy, **geometry)


@every_mode
def test_three_axes_in_float64(mode):
    assert_padded((1, 3, 4, 5, 6), (5, 3, 3, 3, 3), ((2, 1), (4, 5), (1, 7)), mode, "float64", stride=(2, 1, 1))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "constant"])
def test_folding_keeps_the_mode(mode):
    """A 3x1 kernel is 1-D over whole rows only where rows go on as their pixels do."""
    assert_padded((1, 4, 6, 5), (3, 4, 3, 1), ((2, 3), (0, 0)), mode)
    assert_padded((1, 4, 6, 5), (3, 4, 3, 1), ((-1, -1), (0, 0)), mode)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_geometry(data):
    draw = data.draw
    size, kernel = draw(st.tuples(*[st.integers(1, 12)] * 2)), draw(st.tuples(*[st.integers(1, 4)] * 2))
    padding = tuple(draw(st.tuples(st.integers(-2, 15), st.integers(-2, 15))) for _ in size)
    stride, dilation = (draw(st.tuples(*[st.integers(1, 3)] * 2)) for _ in range(2))
    left = [n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True)]
    if any(n < d * (k - 1) + 1 for n, d, k in zip(left, dilation, kernel, strict=True)):
        return
    if any(n + min(lo, 0) + min(hi, 0) < 1 for n, (lo, hi) in zip(size, padding, strict=True)):
        return
    mode = draw(st.sampled_from(sorted(NUMPY)))
    groups = draw(st.sampled_from([1, 3]))
    assert_padded((2, 3, *size), (6, 3 // groups, *kernel), padding, mode, stride=stride, dilation=dilation,
                  groups=groups)  # fmt: skip


@pytest.mark.parametrize("word", ["same", "same_lower", "full", "causal"])
def test_padding_words(word):
    x, w = RNG(0).standard_normal((2, 3, 9)), RNG(1).standard_normal((4, 3, 4))
    lo, hi = {"same": (1, 2), "same_lower": (2, 1), "full": (3, 3), "causal": (3, 0)}[word]
    y = conv1d(x, w, padding=word, padding_mode="reflect")
    assert_close(y, reference.conv, extended(x, ((lo, hi),), "reflect"), w)


# ---- transposed ------------------------------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("strategy", ["transposed", "subpixel", "winograd", "generic", None])
@pytest.mark.parametrize("kernel", [3, 4])
def test_transposed_sums_over_the_extended_input(mode, strategy, kernel):
    """More pixels at both sides, and what they add beyond the result cut off."""
    x, w = (
        RNG(0).standard_normal((2, 40, 5, 7)).astype("f4"),
        RNG(1).standard_normal((40, 3, kernel, kernel)).astype("f4"),
    )
    value = 2.5 if mode == "constant" else 0
    refusals = {("subpixel", 3): "must divide the kernel", ("winograd", 3): "an output at the border has"}
    if (strategy, kernel) in refusals:
        with pytest.raises(ValueError, match=refusals[strategy, kernel]):
            conv_transpose2d(x, w, stride=2, padding=1, padding_mode=mode, strategy=strategy)
        return
    y = conv_transpose2d(x, w, stride=2, padding=1, padding_mode=mode, padding_value=value, strategy=strategy)
    wide = extended(x, 4, mode, value)
    assert_close(y, reference.conv_transpose, wide, w, stride=2, padding=1 + 4 * 2)


# ---- what is multiplied ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", PACKING)
def test_terms_beyond_the_ends_are_true_terms(strategy):
    """inf * 0 is NaN where the constant is 0, and nothing where zeros are skipped."""
    x, w, geometry = PACKING[strategy]
    x, w = np.ones(x, np.float32), np.ones(w, np.float32)
    w[:, :, 0, 0] = np.inf
    y = conv2d(x, w, padding=1, padding_mode="constant", strategy=strategy, **geometry)
    assert np.isnan(y[..., 0, 0]).all() and np.isposinf(y[..., 2, 2]).all()
    y = conv2d(x, w, padding=1, strategy=strategy, **geometry)
    assert np.isfinite(y[..., 0, 0]).all() and np.isposinf(y[..., 2, 2]).all()


@pytest.mark.parametrize("strategy", PACKING)
def test_the_constant_keeps_its_digits(strategy):
    x, w, geometry = PACKING[strategy]
    x, w = np.zeros(x), np.zeros(w)
    w[:, 0, 0, 0] = 1
    y = conv2d(x, w, padding=1, padding_mode="constant", padding_value=1 / 3, strategy=strategy, **geometry)
    np.testing.assert_allclose(y[..., 0, 0], 1 / 3, rtol=20 * np.finfo(np.float64).eps)


def test_a_pixel_that_is_not_finite_is_repeated():
    x = np.ones((1, 1, 5, 5))
    x[..., 0, 0] = np.nan
    y = conv2d(x, np.ones((1, 1, 3, 3)), padding=1, padding_mode="circular")
    np.testing.assert_array_equal(np.isnan(y[0, 0]), [[1, 1, 0, 0, 1]] * 2 + [[0] * 5] * 2 + [[1, 1, 0, 0, 1]])


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool", "complex64", "float16"])
def test_other_dtypes(dtype):
    x, w = (RNG(0).integers(0, 2, shape).astype(dtype) for shape in ((1, 2, 4, 5), (2, 2, 3, 3)))
    y = conv2d(x, w, padding=2, padding_mode="constant", padding_value=1)
    assert y.dtype == dtype
    assert_close(y, reference.conv, extended(x, 2, "constant", 1), w)


def test_complex_constant():
    x, w = np.ones((1, 1, 2)) + 0j, np.ones((1, 1, 2)) + 0j
    y = conv1d(x, w, padding=1, padding_mode="constant", padding_value=1j)
    np.testing.assert_array_equal(y, [[[1 + 1j, 2, 1 + 1j]]])


# ---- outside oracles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_as_torch(mode):
    torch = pytest.importorskip("torch")
    x, w = RNG(0).standard_normal((2, 4, 9, 11)), RNG(1).standard_normal((6, 4, 3, 3))
    theirs = torch.nn.functional.pad(torch.from_numpy(x), (2, 5, 1, 3), mode=mode)
    theirs = torch.nn.functional.conv2d(theirs, torch.from_numpy(w), stride=2).numpy()
    ours = conv2d(x, w, stride=2, padding=((1, 3), (2, 5)), padding_mode=mode)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


# ---- how it is described ---------------------------------------------------------------------------------------------


def test_problems_tell_modes_apart():
    problem = ConvProblem.of(2, (1, 2, 5, 5), (3, 2, 3, 3), "float32", padding=1)
    texts = {str(problem.read_as(Reading(mode, 2.0 if mode == "constant" else 0.0))) for mode in MODES}
    assert len(texts) == len(MODES) and str(problem) in texts
    for gradient in (ConvProblem.adjoint, ConvProblem.weight_gradient):
        with pytest.raises(ValueError, match="gradients are for padding_mode='zeros'"):
            gradient(problem.read_as(Reading("reflect")))


def test_without_padding_the_mode_does_not_matter():
    problem = ConvProblem.of(2, (1, 2, 5, 5), (3, 2, 3, 3), "float32", padding=-1)
    assert problem.read_as(Reading("reflect")) == problem


def test_explain_and_pickles():
    x, w = np.ones((1, 4, 8, 8), np.float32), np.ones((4, 4, 1, 3), np.float32)
    table = explain(x, w, padding=1, padding_mode="reflect")
    assert " reflect\n" in table
    plan = plan_conv2d(x.shape, w, padding=1, padding_mode="constant", padding_value=3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan))(x), plan(x))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"padding_mode": "edge"}, ValueError, "padding_mode must be one of 'zeros'.*got 'edge'"),
        ({"padding_mode": "reflect", "padding_value": 1}, ValueError, "padding_value is for padding_mode='constant'"),
        ({"padding_value": 1}, ValueError, "padding_value is for padding_mode='constant'; got 1 for 'zeros'"),
        ({"padding_mode": np.array(["reflect", "wrap"])}, ValueError, "padding_mode must be one of 'zeros'.*got array"),
        ({"padding_mode": "constant", "padding_value": 10**400}, ValueError, "padding_value must be .* a float holds"),
        ({"padding_mode": "constant", "padding_value": "1"}, TypeError, "padding_value must be a number; got '1'"),
        ({"padding_mode": "constant", "padding_value": 1j}, TypeError, "padding_value must be real"),
        ({"padding_mode": "constant", "strategy": "fft"}, ValueError, "leaves out what lies beyond the input"),
    ],
)
def test_refusals(options, error, match):
    with pytest.raises(error, match=match):
        conv2d(np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), padding=1, **options)


def test_integers_refuse_what_they_do_not_hold():
    x = np.ones((1, 1, 4), np.int8)
    for value in (0.5, 128, float("nan")):
        with pytest.raises(ValueError, match="whole number from -128 to 127"):
            conv1d(x, x, padding=1, padding_mode="constant", padding_value=value)


def test_nothing_to_go_on_from():
    with pytest.raises(ValueError, match="nothing to go on from"):
        conv1d(np.ones((1, 1, 0)), np.ones((1, 1, 1)), padding=2, padding_mode="reflect")

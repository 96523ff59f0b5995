"""`numbaconv.quantized` against its equations, in Python's integers and fractions."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from numbaconv.codegen.rows import call_from_python
from numbaconv.microkernels import requantising
from numbaconv.quantized import conv_integer, plan_qlinear_conv, qlinear_conv

DTYPES = ("int8", "uint8")


def sums(x, x_zero, w, w_zero, b=None, **geometry):
    """In Python's integers."""
    w_zero = np.reshape(w_zero, (-1, *[1] * (w.ndim - 1))).astype(np.int64)
    return reference.conv(x.astype(np.int64) - int(x_zero), w.astype(np.int64) - w_zero, b, **geometry)


def quantised(exact, x_scale, w_scale, y_scale, y_zero):
    """In fractions, which `round` rounds half to even."""
    limits = np.iinfo(y_zero.dtype)
    scales = np.broadcast_to(w_scale, exact.shape[1])
    y = np.empty(exact.shape, y_zero.dtype)
    for index in np.ndindex(exact.shape):
        factor = Fraction(float(x_scale)) * Fraction(float(scales[index[1]])) / Fraction(float(y_scale))
        y[index] = min(max(round(int(exact[index]) * factor) + int(y_zero), limits.min), limits.max)
    return y


def whole(rng, dtype, shape):
    """All of the dtype's numbers are as likely."""
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def assert_same(y, expected, dtype):
    assert y.dtype == dtype and y.flags.c_contiguous and type(y) is np.ndarray
    np.testing.assert_array_equal(y.astype(object), expected)


@st.composite
def cases(draw):
    """(x, x zero point, w, w zero point), attributes in ONNX's words, and in those of `reference`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rank, group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides, dilations = ([draw(st.integers(1, 3)) for _ in range(rank)] for _ in range(2))
    low, high = ([draw(st.integers(0, 3)) for _ in range(rank)] for _ in range(2))
    size = [d * (k - 1) + draw(st.integers(1, 6)) for d, k in zip(dilations, kernel, strict=True)]
    inner, outer = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    x = whole(rng, draw(st.sampled_from(DTYPES)), (draw(st.integers(1, 2)), group * inner, *size))
    w = whole(rng, draw(st.sampled_from(DTYPES)), (group * outer, inner, *kernel))
    w_zero = whole(rng, w.dtype, draw(st.sampled_from([(), (1,), (len(w),)])))
    theirs = {"dilations": dilations, "strides": strides, "group": group, "kernel_shape": kernel}
    padding = draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if padding == "NOTSET":
        theirs["pads"] = low + high
    else:
        theirs["auto_pad"] = padding
        total = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0) * (padding != "VALID")
            for n, s, d, k in zip(size, strides, dilations, kernel, strict=True)
        ]
        low = [(t + (padding == "SAME_LOWER")) // 2 for t in total]
        high = [t - lo for t, lo in zip(total, low, strict=True)]
    geometry = {"stride": tuple(strides), "dilation": tuple(dilations), "groups": group}
    geometry["padding"] = tuple(zip(low, high, strict=True))
    return (x, whole(rng, x.dtype, ()), w, w_zero), theirs, geometry


@settings(max_examples=60, deadline=None)
@given(cases())
def test_conv_integer(case):
    (x, x_zero, w, w_zero), attributes, geometry = case
    y = conv_integer(x, w, x_zero, w_zero, **attributes)
    assert_same(y, sums(x, x_zero, w, w_zero, **geometry), np.int32)


@settings(max_examples=40, deadline=None)
@given(cases(), st.data())
def test_qlinear_conv(case, data):
    (x, x_zero, w, w_zero), attributes, geometry = case
    scale = st.sampled_from([0.5, 0.0625, 0.1, 0.003, 1.7]).map(np.float32)  # with 2**-n there are many ties
    x_scale, y_scale = data.draw(scale), data.draw(scale)
    w_scale = np.array([data.draw(scale) for _ in w]) if data.draw(st.booleans()) else data.draw(scale)
    y_zero = whole(np.random.default_rng(len(w)), data.draw(st.sampled_from(DTYPES)), ())
    b = np.arange(-len(w), len(w), 2, np.int32) * 100 if data.draw(st.booleans()) else None
    y = qlinear_conv(x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b, **attributes)
    exact = sums(x, x_zero, w, w_zero, b, **geometry)
    assert_same(y, quantised(exact, x_scale, w_scale, y_scale, y_zero), y_zero.dtype)
    if data.draw(st.booleans()):
        plan = plan_qlinear_conv(x.shape, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, b, **attributes)
        np.testing.assert_array_equal(plan(x), y)


def test_a_plan():
    """It has copies of its own, survives pickling, and writes where it is told."""
    rng = np.random.default_rng(0)
    x, w, b = whole(rng, "uint8", (2, 8, 9, 20)), whole(rng, "int8", (6, 8, 3, 3)), np.arange(6, dtype=np.int32) * 999
    scales = np.linspace(0.01, 0.02, 6)
    rest = 0.02, np.uint8(120), w, scales, np.int8(3), 0.9, np.int8(-5), b
    y, geometry = qlinear_conv(x, *rest, pads=[1] * 4), {"pads": [1] * 4}
    plan = plan_qlinear_conv(x.shape, *rest, **geometry, num_threads=1)
    assert plan.input_shape == x.shape and plan.output_shape == y.shape and "integers" in repr(plan)
    w[:], b[:], scales[:] = 0, 0, 1
    out, strided = np.empty_like(y), np.empty((*y.shape[:-1], 2 * y.shape[-1]), y.dtype)[..., ::2]
    for result in (plan(x), plan(np.asfortranarray(x)), plan(x, out=out), out, plan(x, out=strided), strided,
                   pickle.loads(pickle.dumps(plan))(x)):  # fmt: skip
        np.testing.assert_array_equal(result, y)
    assert plan(x, out=strided) is strided
    for wrong, error, words in (
        (x[:1], ValueError, r"x must have the planned shape \(2, 8, 9, 20\)"),
        (x.view("int8"), TypeError, "x must have the planned dtype uint8; got int8"),
    ):
        with pytest.raises(error, match=words):
            plan(wrong)
    with pytest.raises(TypeError, match="out must have dtype int8"):
        plan(x, out=np.empty(y.shape, np.uint8))
    with pytest.raises(ValueError, match="out must not overlap x"):
        plan(x, out=x.view("int8").reshape(-1)[: y.size].reshape(y.shape))


def test_a_plan_of_nothing():
    b = np.array([7, -7], np.int32)
    rest = 1.0, np.uint8(0), np.zeros((2, 0, 1), np.int8), 0.5, 0, 1.0, np.int8(1), b
    assert plan_qlinear_conv((1, 0, 2), *rest)(np.zeros((1, 0, 2), np.uint8)).tolist() == [[[5, 5], [-3, -3]]]
    assert plan_qlinear_conv((0, 0, 2), *rest)(np.zeros((0, 0, 2), np.uint8)).shape == (0, 2, 2)
    with pytest.raises(TypeError, match="x_zero_point must be of NumPy's int8 or uint8, as the inputs are to be"):
        plan_qlinear_conv((1, 0, 2), 1.0, 0, *rest[2:])
    with pytest.raises(ValueError, match=r"input_shape must have 3, 4 or 5 dimensions, .* got \(1, 2\)"):
        plan_qlinear_conv((1, 2), *rest)
    with pytest.raises(ValueError, match="num_threads"):
        plan_qlinear_conv((1, 0, 2), *rest, num_threads=0)


SCALED = ((0.5, 1.0), (1.0, 3.0), (2**-15, 1.0), (2**-16, 1.0), (np.nextafter(0.25, 1), 1.0), (1e-30, 1e30),
          (1e30, 1e-30), (0.1, 0.3), (7.0, 2**20))  # fmt: skip


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("stored", DTYPES)
def test_requantising_next_to_ties(dtype, stored):
    """Sums on ties, next to them, and huge ones; factors that are powers of two, nearly so, tiny and huge."""
    rng, zero = np.random.default_rng(0), 3
    limits = np.iinfo(stored)
    for scale, unit in SCALED:
        told = requantising.table(np.array([9.9, scale]), unit, zero)
        near = (rng.integers(-300, 300, 150) + 0.5) * unit / scale
        most = 2.0**24 if dtype == "float32" else 2.0**31 - 128
        total = np.concatenate([np.rint(near) + n for n in (-1, 0, 1)] + [[0, 1, -1, most, -most]])
        total = np.clip(total, -most, most).astype(dtype)
        expected = (
            np.clip(np.rint(total.astype(np.float64) * scale / unit), limits.min - zero, limits.max - zero) + zero
        )
        address = requantising.row_of(dtype, stored).address
        for count in (1, 15, 16, 17, 63, 64, 100, len(total)):
            y = np.full(count + 1, 77, stored)
            call_from_python(address, y.ctypes.data, total.ctypes.data, told.ctypes.data, count, 1)
            np.testing.assert_array_equal(y, [*expected[:count], 77])


def test_ties_go_to_the_even_number_and_the_range_ends():
    x = np.array([[[1, 3, 5, 254, 255]]], np.uint8)
    one = np.ones((1, 1, 1), np.int8)
    y = qlinear_conv(x, 1.0, 0, one, 0.5, 0, 1.0, np.int8(0))
    assert_same(y, [[[0, 2, 2, 127, 127]]], np.int8)
    y = qlinear_conv(x, 1.0, 0, -one, 0.5, 0, 1.0, np.int8(-10))
    assert_same(y, [[[-10, -12, -12, -128, -128]]], np.int8)
    y = qlinear_conv(x, 1.0, 0, -one, 0.5, 0, 1.0, np.uint8(2))
    assert_same(y, [[[2, 0, 0, 0, 0]]], np.uint8)


@pytest.mark.parametrize(
    ("shape", "group"),
    [((1, 700, 2, 3), 1), ((1, 1400, 2, 2), 2), ((1, 1, 1, 300), 1)],
    ids=["channels in parts", "groups", "one channel too much"],
)
def test_sums_that_float32_does_not_hold(shape, group):
    kernel = (1, 300) if shape[-1] == 300 else (1, 1)
    x, w = np.full(shape, 255, np.uint8), np.full((4, shape[1] // group, *kernel), 255, np.uint8)
    x[0, 0, 0, 0], w[1::2, ::3] = 254, 1
    expected = sums(x, 0, w, 0, groups=group)
    assert max(expected.ravel()) > 2**24
    assert_same(conv_integer(x, w, group=group), expected, np.int32)
    b = np.array([2**31 - 1, -(2**31), 1, 0], np.int32)
    args = (np.float32(1e-4), np.uint8(3), w, np.float32(0.7), np.uint8(0), np.float32(30), np.uint8(100), b)
    y = qlinear_conv(x, *args, group=group)
    assert_same(y, quantised(sums(x, 3, w, 0, b, groups=group), args[0], args[3], args[5], args[6]), np.uint8)


def test_a_sum_beyond_int32_is_refused_by_one_and_saturated_by_the_other():
    x, w = np.full((1, 33026, 1), 255, np.uint8), np.full((1, 33026, 1), 255, np.uint8)
    assert conv_integer(x[:, 1:], w[:, 1:]).item() == 33025 * 255**2
    with pytest.raises(OverflowError, match="a sum does not fit the result dtype int32"):
        conv_integer(x, w)
    assert qlinear_conv(x, 1.0, 0, w, 1.0, 0, 1.0, np.int8(0)).item() == 127


def test_padding_is_the_real_zero():
    x = np.full((1, 1, 2), 7, np.uint8)
    y = conv_integer(x, np.ones((1, 1, 3), np.int8), np.uint8(5), pads=[2, 2])
    assert_same(y, [[[2, 4, 4, 2]]], np.int32)


def test_any_layout_and_nothing_at_all():
    rng = np.random.default_rng(1)
    x, w = whole(rng, "int8", (2, 3, 9, 8)), whole(rng, "int8", (4, 3, 3, 3))
    y = conv_integer(x, w, 5, -7)
    turned = conv_integer(x.transpose(3, 1, 2, 0).copy().transpose(3, 1, 2, 0), np.asfortranarray(w), 5, -7)
    np.testing.assert_array_equal(turned, y)
    assert conv_integer(x[:0], w).shape == (0, 4, 7, 6)
    assert qlinear_conv(x[:0], 1.0, 0, w, 1.0, 0, 1.0, np.int8(0)).shape == (0, 4, 7, 6)


def test_many_pixels_are_scaled_in_blocks():
    x = np.arange(70_000, dtype=np.uint8).reshape(1, 1, -1)
    y = qlinear_conv(x, 1.0, 0, np.array([[[1]], [[-1]]], np.int8), [0.5, 0.25], 0, 1.0, np.uint8(64))
    assert_same(y[0, 0], np.rint(x[0, 0] / 2) + 64, np.uint8)
    assert_same(y[0, 1], np.maximum(64 - np.rint(x[0, 0] / 4), 0), np.uint8)


X, W = np.zeros((1, 2, 4, 4), np.uint8), np.zeros((2, 2, 3, 3), np.int8)
SCALES = {"x_scale": 1.0, "x_zero_point": 0, "w_scale": 1.0, "w_zero_point": 0, "y_scale": 1.0,
          "y_zero_point": np.uint8(0)}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"x": X.astype(float)}, TypeError, "x must be of int8 or uint8; got float64"),
        ({"w": W.astype("int16")}, TypeError, "w must be of int8 or uint8; got int16"),
        ({"x": X[0, 0]}, ValueError, "x must have 3, 4 or 5 dimensions"),
        ({"w": W[0]}, ValueError, "w must have as many dimensions as x, 4"),
        ({"x_zero_point": np.int8(1)}, TypeError, "x_zero_point must be of uint8, as what it belongs to; got int8"),
        ({"x_zero_point": -1}, ValueError, "x_zero_point must be of uint8, 0 to 255; got -1"),
        ({"x_zero_point": True}, TypeError, "x_zero_point must be of uint8, as what it belongs to; got bool"),
        ({"x_zero_point": np.zeros(2, "uint8")}, ValueError, r"x_zero_point must be one number; got shape \(2,\)"),
        ({"w_zero_point": np.zeros(3, "int8")}, ValueError, r"w_zero_point must be one number, or have shape \(2,\)"),
        ({"auto_pad": "SAME"}, ValueError, "auto_pad must be one of 'NOTSET', 'SAME_UPPER', .* got 'SAME'"),
        ({"auto_pad": "VALID", "pads": [0, 0, 1, 1]}, ValueError, "pads must be left out where auto_pad"),
        ({"pads": [1, 1]}, ValueError, r"pads must be 4 numbers that are not negative, .*; got \[1, 1\]"),
        ({"pads": [0, 0, 0, -1]}, ValueError, "pads must be 4 numbers that are not negative"),
        ({"kernel_shape": [3, 2]}, ValueError, r"kernel_shape must be that of w, \(3, 3\); got \[3, 2\]"),
        ({"strides": [0, 1]}, ValueError, "stride"),
        ({"dilations": [1]}, ValueError, "dilation"),
        ({"group": 2}, ValueError, "x has 2 channels"),
    ],
)
def test_what_is_refused(changes, error, words):
    arguments = {"x": X, "w": W} | changes
    with pytest.raises(error, match=words):
        conv_integer(**arguments)
    with pytest.raises(error, match=words):
        qlinear_conv(**SCALES | arguments)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"x_scale": 0.0}, ValueError, "x_scale must be positive and finite; got 0.0"),
        ({"y_scale": np.inf}, ValueError, "y_scale must be positive and finite; got inf"),
        ({"w_scale": [1.0, np.nan]}, ValueError, "w_scale must be positive and finite"),
        ({"w_scale": [1.0] * 3}, ValueError, r"w_scale must be one number, or have shape \(2,\)"),
        ({"x_scale": 1j}, TypeError, "x_scale must be a real number; got complex128"),
        ({"y_zero_point": 0}, TypeError, "y_zero_point must be of NumPy's int8 or uint8, .*; got int64"),
        ({"b": np.zeros(2)}, TypeError, "b must be of int32; got float64"),
        ({"b": np.zeros(1, "int32")}, ValueError, r"b must have shape \(2,\), one for each filter; got \(1,\)"),
    ],
)
def test_what_qlinear_conv_refuses(changes, error, words):
    with pytest.raises(error, match=words):
        qlinear_conv(**{"x": X, "w": W} | SCALES | changes)

"""Inputs of another dtype than the sums, and the user's own function, both while the input is packed."""

from __future__ import annotations

import pickle
import tracemalloc

import ml_dtypes
import numba
import numpy as np
import pytest
import reference
from processes import python
from tolerance import assert_close

from numbaconv import conv1d, conv2d, conv_transpose2d, explain, plan_conv2d
from numbaconv.reading import LOADED

RNG = np.random.default_rng
PACKING = {
    "generic": ((2, 3, 7, 9), (4, 3, 3, 3), {}),
    "direct": ((2, 5, 11, 37), (9, 5, 3, 3), {"stride": (2, 1)}),
    "im2col": ((2, 5, 11, 13), (9, 5, 3, 3), {"stride": 3}),
    "depthwise": ((1, 5, 19, 35), (5, 1, 3, 3), {"groups": 5}),
    "winograd": ((1, 20, 13, 35), (17, 20, 3, 3), {}),
}
every_strategy = pytest.mark.parametrize("strategy", PACKING)


def numbers(shape, dtype, seed=0):
    """Of the whole range of small dtypes."""
    rng = RNG(seed)
    if dtype == "bfloat16":
        return rng.standard_normal(shape).astype(ml_dtypes.bfloat16)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    low, high = (0, 2) if dtype.kind == "b" else (max(np.iinfo(dtype).min, -(2**31)), min(np.iinfo(dtype).max, 2**31))
    return rng.integers(low, high, shape).astype(dtype)


@every_strategy
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "bfloat16"])
def test_every_strategy_that_packs(strategy, dtype):
    x_shape, w_shape, geometry = PACKING[strategy]
    x, w = numbers(x_shape, dtype), RNG(1).standard_normal(w_shape).astype(np.float32)
    exact = x.astype(np.float32)
    y = conv2d(x, w, padding=1, strategy=strategy, **geometry)
    assert y.dtype == np.float32
    assert_close(y, reference.conv, exact, w, padding=1, **geometry)
    plan = plan_conv2d(x.shape, w, padding=1, dtype=dtype, strategy=strategy, **geometry)
    assert_close(plan(x), reference.conv, exact, w, padding=1, **geometry)


@pytest.mark.parametrize("weight", ["float32", "float64"])
@pytest.mark.parametrize("dtype", [name for name in LOADED if name != "bfloat16"])
def test_the_result_is_of_numpys_dtype(dtype, weight):
    x, w = numbers((1, 2, 40), dtype), RNG(1).standard_normal((3, 2, 3)).astype(weight)
    y = conv1d(x, w, padding=1, strategy="direct")
    assert y.dtype == np.result_type(x, w)
    assert_close(y, reference.conv, x.astype(y.dtype), w, padding=1)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_stay_narrow(dtype):
    x, w = (RNG(0).standard_normal(shape).astype(dtype) for shape in ((1, 4, 9, 20), (5, 4, 3, 3)))
    y = conv2d(x, w, padding=1)
    assert y.dtype == dtype
    exact = reference.conv(x.astype(np.float64), w.astype(np.float64), padding=1)
    # rounded once: half a unit of the last place beside float32's error
    np.testing.assert_allclose(y.astype(np.float64), exact, rtol=0.51 * float(ml_dtypes.finfo(dtype).eps), atol=1e-4)
    assert " from " in explain(x, w, padding=1)


def test_transposed_loads_too():
    x, w = numbers((1, 4, 5, 9), "uint8"), RNG(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    y = conv_transpose2d(x, w, stride=2, padding=1)
    assert_close(y, reference.conv_transpose, x.astype(np.float32), w, stride=2, padding=1)


def test_views_and_other_byte_order():
    x, w = numbers((1, 3, 9, 20), "int16"), np.ones((2, 3, 3, 3), np.float32)
    expected = conv2d(x[..., ::2].astype(np.float32), w)
    np.testing.assert_array_equal(conv2d(x[..., ::2], w), expected)
    np.testing.assert_array_equal(conv2d(x[..., ::2].astype(">i2"), w), expected)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_float_images_do_not_meet_integer_weights(dtype):
    with pytest.raises(TypeError, match="x has dtype float32 and weight"):
        conv1d(np.ones((1, 1, 3), np.float32), np.ones((1, 1, 1), dtype))


# ---- prologue --------------------------------------------------------------------------------------------------------


@numba.njit
def normalised(value):
    return (value - 127.5) / 64


def scaled(value, channel):
    return value * (channel + 1) - channel


@every_strategy
def test_prologue_in_every_strategy(strategy):
    x_shape, w_shape, geometry = PACKING[strategy]
    x, w = numbers(x_shape, "uint8"), RNG(1).standard_normal(w_shape).astype(np.float32)
    y = conv2d(x, w, padding=1, prologue=normalised, strategy=strategy, **geometry)
    seen = ((x - 127.5) / 64).astype(np.float32)  # exact
    assert_close(y, reference.conv, seen, w, padding=1, **geometry)
    y = conv2d(x, w, padding=2, prologue=scaled, padding_mode="reflect", strategy=strategy, **geometry)
    channel = np.arange(x.shape[1], dtype=np.float32)[:, None, None]
    seen = np.pad(x * (channel + 1) - channel, [(0, 0), (0, 0), (2, 2), (2, 2)], "reflect")
    assert_close(y, reference.conv, seen, w, **geometry)


def test_padding_does_not_pass_through_it():
    x, w, one = np.ones((1, 1, 2)), np.ones((1, 1, 1)), lambda value: value + 1
    np.testing.assert_array_equal(conv1d(x, w, padding=1, prologue=one), [[[0, 2, 2, 0]]])
    y = conv1d(x, w, padding=1, prologue=one, padding_mode="constant", padding_value=5)
    np.testing.assert_array_equal(y, [[[5, 2, 2, 5]]])


def test_plans_pickle_with_their_function():
    x, w = numbers((1, 3, 8, 8), "uint8"), np.ones((2, 3, 3, 3), np.float32)
    plan = plan_conv2d(x.shape, w, dtype=np.uint8, prologue=scaled)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan))(x), plan(x))
    assert "from uint8 prologue scaled" in repr(plan)


@pytest.mark.parametrize(
    ("prologue", "match"),
    [
        (3, "prologue must be a function"),
        (lambda: 1.0, "prologue must be a function"),
        (lambda value, channel, other: value, "has the parameters"),
        (lambda value: str(value) + 1, "does not compile for scalars of float64"),
        (lambda value: (value, value), "must return a number"),
    ],
)
def test_refused_functions(prologue, match):
    with pytest.raises(TypeError, match=match):
        conv1d(np.ones((1, 1, 3)), np.ones((1, 1, 1)), prologue=prologue)


def test_integers_have_no_prologue():
    x = np.ones((1, 1, 3), np.int32)
    with pytest.raises(TypeError, match="taken where sums are float32 or float64"):
        conv1d(x, x, prologue=scaled)


def test_without_the_compiler():
    python(
        "-c",
        "import numpy as np, numbaconv as n\n"
        "x = np.arange(20, dtype=np.uint8).reshape(1, 2, 10); w = np.ones((2, 2, 3), np.float32)\n"
        "for s in ('direct', 'generic'):\n"
        "    y = n.conv1d(x, w, padding=2, padding_mode='reflect', prologue=lambda v, c: v + c, strategy=s)\n"
        "    e = np.pad(x + np.arange(2.0)[:, None], ((0, 0), (0, 0), (2, 2)), 'reflect').sum(1)\n"
        "    assert np.array_equal(y[0, 0], e[0, :-2] + e[0, 1:-1] + e[0, 2:]), s\n"
        "    n.conv1d(x.astype(np.float16), w, padding=1, strategy=s)\n",
        NUMBA_DISABLE_JIT="1",
    )


def test_no_copy_of_the_input_is_made():
    """A float32 copy of this image would take four times the limit."""
    x, w = np.zeros((1, 1, 2048, 2048), np.uint8), np.ones((1, 1, 3, 3), np.float32)
    out = np.empty((1, 1, 1023, 1023), np.float32)
    plan = plan_conv2d(x.shape, w, stride=2, dtype="uint8")
    plan(x, out=out)
    tracemalloc.start()
    plan(x, out=out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes

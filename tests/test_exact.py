"""Complex numbers and integers: what real and float strategies compute of them is what the equation says."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Case, problems
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_close

import numbaconv

COMPLEX = {
    "groups": Case((3, 6, 9, 11), (9, 2, 3, 3), {"padding": 1, "groups": 3}),
    "depthwise s2": Case((2, 4, 9, 11), (4, 1, 3, 3), {"padding": 1, "groups": 4, "stride": 2}),
    "transposed": Case((2, 4, 5, 6), (4, 3, 4, 4), {"padding": 1, "stride": 2, "groups": 2}, transposed=True),
    "1-D": Case((2, 3, 5000), (2, 3, 5), {"dilation": 2}),
    "3-D": Case((1, 2, 4, 5, 6), (3, 2, 3, 3, 3), {"padding": 1}),
}


def complex_arrays(case, dtype, integers=False):
    (x, w, b), (u, v, c) = (case.arrays("float64", integers, seed) for seed in (0, 1))
    return [(real + 1j * imag).astype(dtype) for real, imag in ((x, u), (w, v), (b, c))]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
@pytest.mark.parametrize("name", COMPLEX)
def test_complex(name, dtype):
    case = COMPLEX[name]
    x, w, b = complex_arrays(case, dtype)
    for y in (case.call(x, w, b, strategy="split"), case.plan(w, b, strategy="split")(x), case.call(x, w, b)):
        assert_close(y, case.operation, x, w, b, **case.geometry)
    np.testing.assert_array_equal(case.call(x, w, strategy="split"), case.call(x, w, 0 * b, strategy="split"))


@settings(max_examples=25, deadline=None)
@given(problems(), st.booleans())
def test_any_complex_problem(case, planned):
    x, w, b = complex_arrays(case, "complex64")
    y = case.plan(w, b, strategy="split")(x) if planned else case.call(x, w, b, strategy="split")
    assert_close(y, case.operation, x, w, b, **case.geometry)


def test_more_images_than_are_copied_at_once(monkeypatch):
    case = Case((6, 2, 7, 8), (3, 2, 3, 3))
    x, w, b = complex_arrays(case, "complex64", integers=True)  # exact, whichever strategy takes so many images
    whole = case.call(x, w, b, strategy="split")
    for copied in (1, 5000):  # one image, and some
        monkeypatch.setattr("numbaconv.blocking.images.COPIED", copied)
        numbaconv.planner.plan.cache_clear()
        np.testing.assert_array_equal(case.call(x, w, b, strategy="split"), whole)
    numbaconv.planner.plan.cache_clear()


@pytest.mark.parametrize("strategy", ["split", "generic"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, complex(0, -np.inf), complex(np.inf, 1)])
def test_complex_nan_and_inf_go_where_the_products_send_them(strategy, bad):
    case = Case((1, 2, 6, 7), (3, 2, 3, 3), {"padding": 1})
    for where in (0, 1):
        x, w, b = complex_arrays(case, "complex64")
        (x, w)[where].flat[5] = bad
        xs, ws = ([a.real.copy(), a.imag.copy()] for a in (x, w))
        with np.errstate(invalid="ignore"):  # real sums of the naive products
            parts = [[case.operation(a, c, **case.geometry) for c in ws] for a in xs]
            real, imag = parts[0][0] - parts[1][1], parts[0][1] + parts[1][0]
        for y in (case.call(x, w, b, strategy=strategy), case.plan(w, b, strategy=strategy)(x)):
            for got, exact in ((y.real, real), (y.imag, imag)):
                np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
                np.testing.assert_array_equal(got[np.isinf(exact)], exact[np.isinf(exact)])


# ---- integers --------------------------------------------------------------------------------------------------------

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def integer_arrays(case, dtype, most_x, most_w, seed=0):
    rng = np.random.default_rng(seed)
    least = 0 if dtype.startswith("u") else -1
    draw = lambda shape, most: rng.integers(least * most, most + 1, shape).astype(dtype)  # noqa: E731
    return draw(case.x, most_x), draw(case.w, most_w), draw((case.out_channels,), most_w)


def assert_integers(case, x, w, b, strategy="integers"):
    """Exactly the sum of Python's integers, or an OverflowError where the dtype does not hold that."""
    exact = case.operation(x, w, b, **case.geometry)
    info = np.iinfo(x.dtype)
    fits = info.min <= exact.min(initial=0) and exact.max(initial=0) <= info.max
    for call in (lambda: case.call(x, w, b, strategy=strategy), lambda: case.plan(w, b, strategy=strategy)(x)):
        if fits:
            y = call()
            assert y.dtype == x.dtype
            np.testing.assert_array_equal(y.astype(object), exact)
        else:
            with pytest.raises(OverflowError, match=str(x.dtype)):
                call()


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from(INTEGERS), st.integers(0, 62), st.integers(0, 62), st.integers(0, 9))
def test_any_problem_of_integers(case, dtype, bits_x, bits_w, seed):
    info = np.iinfo(dtype)
    x, w, b = integer_arrays(case, dtype, min(2**bits_x, info.max), min(2**bits_w, info.max), seed)
    assert_integers(case, x, w, b)
    assert_integers(case, x, w, b, None)


@pytest.mark.parametrize("most_x", [2**10, 2**23, 2**31, 2**50, 2**59])
@pytest.mark.parametrize("most_w", [1, 2**3, 2**12])
def test_at_the_ends_of_what_floats_hold(most_x, most_w):
    case = Case((1, 1, 40), (1, 1, 3), {"padding": 1})
    for x_off, w_off in ((0, 0), (-1, 0), (1, 0), (0, -1)):
        x = np.full(case.x, most_x + x_off)
        x[0, 0, ::2] *= -1
        assert_integers(case, x, np.array([[[most_w + w_off, 1, -most_w]]]), np.array([1]))


@pytest.mark.parametrize("transposed", [False, True])
def test_the_least_integer_has_no_opposite(transposed):
    for dtype in ("int8", "int16", "int32", "int64"):
        least = np.iinfo(dtype).min
        case = Case((1, 1, 1), (1, 1, 1), transposed=transposed)
        for weight in (1, 0, -1):
            assert_integers(case, np.full((1, 1, 1), least, dtype), np.full((1, 1, 1), weight, dtype), None)


def test_integers_leave_nothing_to_other_sums():
    case = Case((1, 32, 28, 28), (32, 32, 3, 3), {"padding": 1})
    for dtype in INTEGERS:
        plan = str(case.plan(np.ones(case.w, dtype), strategy="integers"))
        assert "winograd" not in plan and "fft" not in plan
        assert case.plan(np.ones(case.w, dtype)).strategy == "integers"


def test_integers_in_blocks_of_images(monkeypatch):
    monkeypatch.setattr("numbaconv.blocking.images.COPIED", 1)
    numbaconv.planner.plan.cache_clear()
    case = Case((3, 2, 7, 8), (3, 2, 3, 3))
    assert_integers(case, *integer_arrays(case, "int32", 1000, 1000))
    assert_integers(case, *integer_arrays(case, "int32", 100_000, 10_000))
    numbaconv.planner.plan.cache_clear()


def test_gradients_of_integers():
    rng = np.random.default_rng(0)
    x, w, dy = (rng.integers(-99, 99, shape) for shape in ((2, 4, 9, 9), (6, 2, 3, 3), (2, 6, 9, 9)))
    kind = {"padding": 1, "groups": 2}
    for of in (
        lambda *a: numbaconv.conv2d_input(x.shape, a[1], a[2], **kind),
        lambda *a: numbaconv.conv2d_weight(a[0], w.shape, a[2], **kind),
    ):
        np.testing.assert_array_equal(of(x, w, dy), of(*(a.astype(np.float64) for a in (x, w, dy))))

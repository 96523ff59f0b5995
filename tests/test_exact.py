"""Complex numbers and integers: what real and float strategies compute of them is what the equation says."""

from __future__ import annotations

import pickle
import tracemalloc

import numpy as np
import pytest
from cases import Case, problems
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_close

import numbaconv
from numbaconv.codegen import host

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


# ---- dtypes of results, and what follows the sum -------------------------------------------------------------------


def assert_results(case, x, w, b, strategy=None, residual=None, **options):
    """Exactly what Python's integers give, or an OverflowError where a dtype does not hold that."""
    exact = case.operation(x, w, b, **case.geometry)
    result = np.dtype(options.get("out_dtype") or np.result_type(x, w))
    inside = lambda values, dtype: (  # noqa: E731
        np.iinfo(dtype).min <= values.min(initial=0) and values.max(initial=0) <= np.iinfo(dtype).max
    )
    fits = inside(exact, options.get("accumulate_dtype", "int64"))
    if residual is not None:
        exact = exact + residual.astype(object)
    activation = options.get("activation")
    if activation is not None:
        low, high = (0, 2**62) if activation == "relu" else activation[1:]
        exact = np.clip(exact, low, high)
    calls = (
        lambda: case.call(x, w, b, strategy=strategy, residual=residual, **options),
        lambda: case.plan(
            w, b, strategy=strategy, dtype=x.dtype, residual=residual is not None, **options
        )(x, residual=residual),
    )  # fmt: skip
    for call in calls:
        if fits and (result.kind == "f" or inside(exact, result)):
            y = call()
            assert y.dtype == result
            np.testing.assert_array_equal(y, exact.astype(result) if result.kind == "f" else exact)
        else:
            with pytest.raises(OverflowError, match=r"does not fit the (result dtype|accumulate_dtype) u?int"):
                call()


OPERANDS = ("bool", "int8", "uint8", "int32")
RESULTS = ("int8", "int32", "uint32", "int64", "float32")


@settings(max_examples=20, deadline=None)
@given(problems(), *[st.sampled_from(OPERANDS)] * 2, st.sampled_from(RESULTS), *[st.integers(0, 31)] * 2, st.data())
def test_any_result_of_any_integers(case, x_dtype, w_dtype, out_dtype, bits_x, bits_w, data):
    most = lambda dtype, bits: 1 if dtype == "bool" else min(2**bits, np.iinfo(dtype).max)  # noqa: E731
    x, _, _ = integer_arrays(case, x_dtype.replace("bool", "uint8"), most(x_dtype, bits_x), 1)
    _, w, b = integer_arrays(case, w_dtype.replace("bool", "uint8"), 1, most(w_dtype, bits_w))
    options = {"out_dtype": out_dtype}
    if data.draw(st.booleans()):
        options["activation"] = data.draw(st.sampled_from(["relu", ("clip", 3, 2**40)]))
    if data.draw(st.booleans()):
        options["accumulate_dtype"] = "int32" if np.can_cast(np.result_type(x_dtype, w_dtype), "int32") else "int64"
    residual = None
    if data.draw(st.booleans()) and "int" in out_dtype:
        residual = np.random.default_rng(1).integers(0, 100, case.problem().y_shape).astype(out_dtype)
    x, w = x.astype(x_dtype), w.astype(w_dtype)
    for strategy in ("integers", "generic"):
        assert_results(case, x, w, b.astype(np.int16), strategy, residual, **options)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("out_dtype", ["int32", "int64", "uint32", "float64"])
def test_sums_in_parts(groups, out_dtype):
    """What float32 does not hold of all channels together it holds of some of them."""
    case = Case((2, 8, 9, 10), (4, 8 // groups, 9, 9), {"padding": 4, "groups": groups})
    x, w = np.full(case.x, 255, np.uint8), np.full(case.w, 255, np.uint32)  # too wide for pairs
    x[0, ::3], w[1::2, :, 3] = 254, 3
    exact = case.operation(x, w, None, **case.geometry)
    assert 2**24 < exact.max() < 2**31
    plan = case.plan(w, out_dtype=out_dtype, dtype="uint8")
    for bias in (None, np.array([2**20, -(2**20), 1, 0])):
        assert_results(case, x, w, bias, out_dtype=out_dtype)
    np.testing.assert_array_equal(plan(x).astype(object), exact)
    assert {key[0] for key in plan._plan.children} == {"float32"}
    assert max(key[2] for key in plan._plan.children) < 8 // groups
    residual = np.arange(exact.size).reshape(exact.shape).astype(out_dtype)
    if "int" in out_dtype:
        assert_results(case, x, w, None, residual=residual, out_dtype=out_dtype, activation=("clip", 5, 2**25))
        assert_results(case, x, w, None, residual=residual + residual.dtype.type(2**31 - 1), out_dtype=out_dtype)


PAIRS = {
    "odd channels": Case((2, 5, 9, 20), (7, 5, 3, 3), {"padding": 1}),
    "groups of odd channels": Case((2, 6, 9, 20), (8, 3, 3, 3), {"padding": 1, "groups": 2, "stride": 2}),
    "pointwise": Case((2, 70, 15, 7), (33, 70, 1, 1)),
    "dilated": Case((1, 2, 9, 40), (3, 2, 3, 3), {"dilation": 2, "stride": (1, 3)}),
    "1-D": Case((1, 4, 300), (6, 4, 7), {"padding": 3}),
    "3-D": Case((1, 3, 4, 5, 6), (2, 3, 2, 2, 2)),
}


@pytest.mark.parametrize("dtypes", ["uint8 int8", "int8 int8", "uint8 uint8", "int16 int16"])
@pytest.mark.parametrize("name", PAIRS)
def test_products_at_a_time(name, dtypes):
    """What float32 does not hold, pairs of int16 do, and quads of 8 bits."""
    numbaconv.planner.plan.cache_clear()  # so that none of its children is of other weights
    case, dtypes = PAIRS[name], dtypes.split()
    most = min(np.iinfo(dtypes[0]).max, int((0.98 * 2**31 / np.prod(case.w[1:])) ** 0.5))
    x, _, b = integer_arrays(case, dtypes[0], most, most)
    _, w, _ = integer_arrays(case, dtypes[1], 1, min(most, np.iinfo(dtypes[1]).max))
    x[:, :, -1], w[-1] = most, w.max() if dtypes[1] == "uint8" else -w.max()
    exact = case.operation(x, w, b, **case.geometry)
    for options in (
        {},
        {"activation": ("clip", -5, 999)},
        {"residual": True},
        {"activation": "relu", "residual": True},
    ):
        residual = np.full(exact.shape, 1000, np.int32) if "residual" in options else None
        plan = case.plan(w, b, dtype=x.dtype, out_dtype="int32", strategy="integers", **options)
        y = plan(x, residual=residual)
        products = 4 if host.has_quads() and dtypes[1] == "int8" else 2
        assert {(key[0], key[4]) for key in plan._plan.children} == {("int32", products)}
        expected = exact if residual is None else exact + 1000
        ends = {None: (-(2**31), 2**31), "relu": (0, 2**31)}.get(options.get("activation"), (-5, 999))
        np.testing.assert_array_equal(y, np.clip(expected, *ends))
    np.testing.assert_array_equal(case.call(x, w, b, out_dtype="float64", strategy="integers"), exact.astype(float))


@pytest.mark.parametrize("dtypes", ["uint8 int8", "int16 int16", "uint16 uint16"])
def test_channels_last(dtypes):
    """Channels that do not lie plane by plane are not put together, nor summed in parts."""
    case, rng = Case((1, 70, 5, 9), (7, 70, 3, 3), {"padding": 1}), np.random.default_rng(0)
    x_dtype, w_dtype = dtypes.split()
    x = rng.integers(0, 255 if "8" in dtypes else 999, case.x).astype(x_dtype)
    w = rng.integers(-100 if w_dtype[0] == "i" else 0, 127, case.w).astype(w_dtype)
    last = {"dimension_numbers": ("NHWC", "OIHW", "NHWC"), "padding": 1, "strategy": "integers"}
    y = numbaconv.conv2d(x.transpose(0, 2, 3, 1).copy(), w, out_dtype="int32", **last)
    np.testing.assert_array_equal(y.transpose(0, 3, 1, 2), case.operation(x, w, None, **case.geometry))
    first = last | {"dimension_numbers": ("NCHW", "OIHW", "NHWC")}
    np.testing.assert_array_equal(numbaconv.conv2d(x, w, out_dtype="int32", **first), y)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool"])
def test_quads_and_what_lies_around_them(dtype):
    """A shifted input has its padding shifted; where that is none of 256 numbers, there are no quads."""
    case = Case((1, 6, 7, 18), (9, 6, 3, 3))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, case.x, np.uint8).view("int8" if dtype == "int8" else "uint8")
    x, w = (x > 99 if dtype == "bool" else x), rng.integers(-128, 128, case.w).astype("int16")  # which int8 holds
    numpy = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    for mode, value in (("constant", 7), ("constant", 256), ("constant", -129), *((m, 0) for m in list(numpy)[1:])):
        more = {"constant_values": value} if mode == "constant" else {}
        around = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (2, 2), (2, 2)), numpy[mode], **more)
        read = {"padding": 2, "padding_mode": mode, "padding_value": value}
        plan = numbaconv.plan_conv2d(x.shape, w, **read, dtype=dtype, out_dtype="int32", strategy="integers")
        np.testing.assert_array_equal(plan(x), case.operation(around, w, None))
        fits = mode != "constant" or (0 <= value + 128 * (dtype == "int8") < 256)
        assert {key[4] == 4 for key in plan._plan.children} == {fits and host.has_quads()}


def test_quads_do_not_saturate():
    """Sums of two products beyond int16, of four beyond that; and sums that int32 just holds, and does not."""
    x, w = np.full((1, 65_792, 1), 255, np.uint8), np.full((2, 65_792, 1), -128, np.int8)
    w[1] = 127
    exact = 255 * 65_700 * np.array([-128, 127])
    y = numbaconv.conv1d(x[:, :65_700], w[:, :65_700], out_dtype="int32", strategy="integers")
    np.testing.assert_array_equal(y.ravel(), exact)
    assert (numbaconv.conv1d(x, w[:1], out_dtype="int32") == -128 * 255 * 65_792).all()
    with pytest.raises(OverflowError, match="a sum does not fit the result dtype int32"):
        numbaconv.conv1d(x, w[:1], np.array([-(2**23)]), out_dtype="int32")


def test_saturation_is_a_clip():
    case = Case((1, 4, 9, 9), (5, 4, 3, 3), {"padding": 1})
    x, w, _ = integer_arrays(case, "int8", 127, 127)
    assert_results(case, x, w, None, out_dtype="int8", activation=("clip", -128, 127))
    assert_results(case, x, w, None, activation=("clip", -128, 127))
    assert_results(case, x, w, None, out_dtype="uint8", activation=("clip", 0, 255))
    assert_results(case, x, w, None, out_dtype="uint8", activation="relu")  # an error


def test_what_the_dtype_of_the_sums_is_for():
    x, w = np.full((1, 1, 4), 100, np.int8), np.ones((1, 1, 2), np.int8)
    for strategy in ("integers", "generic"):
        assert numbaconv.conv1d(x, w, out_dtype="int16", strategy=strategy).tolist() == [[[200] * 3]]
        with pytest.raises(OverflowError, match="accumulate_dtype int8; a wider accumulate_dtype"):
            numbaconv.conv1d(x, w, out_dtype="int16", accumulate_dtype="int8", strategy=strategy)
        with pytest.raises(OverflowError, match="result dtype int8; a wider out_dtype"):
            numbaconv.conv1d(x, w, accumulate_dtype="int16", strategy=strategy)
    huge = np.full((1, 1, 3), 2**63, np.uint64)
    assert numbaconv.conv1d(huge, np.ones((1, 1, 1), np.uint8), out_dtype="float32").tolist() == [[[2.0**63] * 3]]
    with pytest.raises(OverflowError, match="accumulate_dtype uint64"):
        numbaconv.conv1d(huge, np.ones((1, 1, 2), np.uint8), out_dtype="float32")
    with pytest.raises(OverflowError, match="result dtype int64"):
        numbaconv.conv1d(np.full((1, 1, 1), 2**62), np.ones((1, 1, 1), int), residual=np.full((1, 1, 1), 2**62))


def test_sums_of_nothing():
    w, bias = np.ones((2, 0, 3), np.int8), np.array([300, -300])
    for x in (np.ones((1, 0, 5), np.uint8), np.ones((0, 0, 5), np.uint8)):
        y = numbaconv.conv1d(x, w, bias, out_dtype="int32", activation="relu")
        assert y.dtype == np.int32 and y.tolist() == [[[300] * 3, [0] * 3]] * len(x)


def test_true_products_are_counted_where_a_dtype_says_so():
    x, w = np.ones((1, 3, 5, 5), bool), np.ones((2, 3, 3, 3), bool)
    assert (numbaconv.conv2d(x, w, out_dtype="uint8") == 27).all()
    assert numbaconv.conv2d(x, w).dtype == bool
    with pytest.raises(TypeError, match="activation: a sum of bool is whether any product is true; with out_dtype="):
        numbaconv.conv2d(x, w, activation="relu")


@pytest.mark.parametrize("mode", ["constant", "reflect", "circular"])
def test_padding_of_integers(mode):
    x, w, _ = integer_arrays(Case((2, 2, 7, 9), (3, 2, 3, 3)), "int8", 127, 127)
    value = {"padding_value": 100} if mode == "constant" else {}
    names = {"circular": "wrap"}
    wide = np.pad(
        x, ((0, 0), (0, 0), (2, 2), (2, 2)), names.get(mode, mode), **({"constant_values": 100} if value else {})
    )
    y = numbaconv.conv2d(x, w, padding=2, padding_mode=mode, out_dtype="int32", **value)
    np.testing.assert_array_equal(y, numbaconv.conv2d(wide, w, out_dtype="int32", strategy="generic"))


def test_weights_for_each_image():
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 255, (3, 4, 8, 9), np.uint8), rng.integers(-128, 127, (3, 2, 4, 3, 3), np.int8)
    each = np.stack([numbaconv.conv2d(a, b, padding=1, out_dtype="int32") for a, b in zip(x, w, strict=True)])
    np.testing.assert_array_equal(numbaconv.conv2d(x, w, padding=1, out_dtype="int32"), each)
    plan = numbaconv.plan_conv2d(x.shape, w, padding=1, dtype="uint8", out_dtype="int32")
    np.testing.assert_array_equal(plan(x), each)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(plan))(x), each)


def test_no_copy_of_a_large_image_is_made():
    x, w = np.ones((1, 1, 2048, 2048), np.uint8), np.ones((1, 1, 3, 3), np.int8)
    out = np.empty((1, 1, 1023, 1023), np.int32)
    plan = numbaconv.plan_conv2d(x.shape, w, stride=2, dtype="uint8", out_dtype="int32")
    plan(x, out=out)
    tracemalloc.start()
    plan(x, out=out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes
    assert (out == 9).all()


@pytest.mark.parametrize(
    ("dtypes", "options", "error", "words"),
    [
        ("int8 int8", {"out_dtype": "bool"}, TypeError, "out_dtype must be one of int8, .*, float64; got bool"),
        ("int8 int8", {"out_dtype": "complex64"}, TypeError, "out_dtype must be one of int8"),
        ("int8 int8", {"accumulate_dtype": "float32"}, TypeError, "accumulate_dtype must be one of int8, .*, uint64"),
        ("uint8 int8", {"accumulate_dtype": "int8"}, ValueError, "must hold x and weight, .* int16; got int8"),
        ("uint64 uint64", {"out_dtype": "int64"}, TypeError, "sums of uint64 .* out_dtype int64"),
        ("int8 int8", {"epilogue": abs}, TypeError, "epilogue: taken where x and weight are real floats"),
        ("int8 int8", {"activation": "gelu"}, TypeError, "activation of integers must be one of relu, relu6, clip"),
        ("int8 int8", {"activation": ("clip", 0, 2.5)}, TypeError, "of whole numbers; got"),
        ("int8 int8", {"out_dtype": "float32", "residual": np.ones((1, 1, 3))}, TypeError, "residual: taken where"),
    ],
)  # fmt: skip
def test_what_is_refused_of_integers(dtypes, options, error, words):
    x, w = (np.ones((1, 1, 3 - 2 * i), dtype) for i, dtype in enumerate(dtypes.split()))
    with pytest.raises(error, match=words):
        numbaconv.conv1d(x, w, **options)

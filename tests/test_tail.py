"""What follows the sum: activation, residual, epilogue and the dtype of the result, in every strategy."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import erfc, sqrt

import ml_dtypes
import mpmath
import numba
import numpy as np
import pytest
from cases import OTHER_SUMS, Case, problems, reference_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import python
from tolerance import bound

import numbaconv
from numbaconv import conv1d, conv2d, explain, machine, plan_conv1d, plan_conv2d, planner
from numbaconv.codegen.rows import call_row
from numbaconv.microkernels import finish
from numbaconv.microkernels.activations import MAKERS
from numbaconv.strategies import NAMES
from numbaconv.tail import ACTIVATIONS, Tail, activation_of

mpmath.mp.dps = 30

# ---- formulas --------------------------------------------------------------------------------------------------------

EXACT = {
    "relu": lambda x: np.where(x < 0, 0, x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(x / 2),
    "silu": lambda x: x * (0.5 + 0.5 * np.tanh(x / 2)),
    "tanh": np.tanh,
    "gelu": np.vectorize(lambda x: x * erfc(-x / sqrt(2)) / 2, otypes=[float]),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
}
STEEPEST = 1.5  # no activation's slope is larger: that of hardswish
# Roundings, in units of the last place, of the formulas with exp: reduction of the argument and its series 1, the sum
# with 1, the division, the last product.
SMOOTH = {
    "elu": (2, lambda x: x if x > 0 else mpmath.expm1(x)),
    "sigmoid": (3, lambda x: 1 / (1 + mpmath.exp(-x))),
    "silu": (3.5, lambda x: x / (1 + mpmath.exp(-x))),
    "tanh": (3.5, mpmath.tanh),
    "gelu": (5, lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2),
    "gelu_tanh": (4, lambda x: x / (1 + mpmath.exp(-2 * mpmath.sqrt(2 / mpmath.pi) * (x + 44715 * x**3 / 10**6)))),
}


@numba.njit
def call(function, y, channel):
    call_row(function, y.ctypes.data, y.ctypes.data, y.ctypes.data, y.size, channel)


def applied(activation, x):
    """An activation of all of ``x``, as kernels call it."""
    y = np.array(x)
    call(finish.row_of(Tail(activation=activation_of(activation)), str(y.dtype), False).address, y, 0)
    return y


def points(dtype, seed=0):
    """Numbers of all sizes, most of them near zero, on both sides."""
    rng = np.random.default_rng(seed)
    far = 100 if dtype == "float32" else 750
    parts = (
        rng.standard_normal(60) * 3,
        rng.uniform(-far, far, 40),
        rng.standard_normal(40) * 10.0 ** rng.uniform(-9, 0, 40),
    )
    return np.concatenate([*parts, np.linspace(-15, 7, 60)]).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMOOTH)
def test_formulas_are_accurate_to_a_few_units_of_the_last_place(name, dtype):
    units, formula = SMOOTH[name]
    x = points(dtype)
    for argument, result in zip(x, applied(name, x), strict=True):
        exact = formula(mpmath.mpf(float(argument)))
        allowed = units * float(np.spacing(np.abs(np.array(float(exact), dtype))))
        allowed += abs(float(argument)) * float(np.finfo(dtype).smallest_subnormal)  # of a factor near zero
        if name == "gelu_tanh":  # exp makes of the roundings of its argument, 2u, as many times |2u|
            u = 2 * abs(0.8 * float(argument) * (1 + 0.044715 * float(argument) ** 2))
            allowed += 2.5 * u * float(np.finfo(dtype).eps) * abs(float(exact))
        assert abs(mpmath.mpf(float(result)) - exact) <= allowed, (argument, result, exact)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXACT)
def test_formulas_at_the_ends(name, dtype):
    huge = np.finfo(dtype).max / 16
    ends = np.array([np.nan, 0, np.inf, huge, -huge], dtype)
    y = applied(name, ends)
    rises = {"relu6": 6, "sigmoid": 1, "tanh": 1}.get(name, np.inf)
    assert np.isnan(y[0]) and y[1] == (0.5 if name == "sigmoid" else 0) and y[2] == rises
    assert y[3] == min(rises, huge) or np.isclose(y[3], huge)
    falls = {"elu": -1, "tanh": -1, "leaky_relu": ends[4] * 0.01}.get(name, 0)
    np.testing.assert_allclose(y[4], falls, rtol=1e-6)


def test_formulas_and_names_are_the_same():
    assert set(ACTIVATIONS) == set(MAKERS) == {*EXACT, "clip"}


@pytest.mark.parametrize("count", [1, 7, 8, 15, 31, 33, 100])
def test_every_element_of_a_row(count):
    x = np.linspace(-3, 3, count).astype(np.float32)
    np.testing.assert_array_equal(applied(("clip", -1, 2), x), np.clip(x, -1, 2))


# ---- every strategy --------------------------------------------------------------------------------------------------

# Each strategy has a case of its own, besides those that many accept.
TRIED = [
    Case((2, 6, 9, 19), (10, 3, 3, 3), {"padding": 1, "groups": 2}),
    Case((1, 16, 13, 35), (17, 16, 3, 3), {"padding": 1}),
    Case((2, 3, 5, 7), (5, 3, 1, 1)),
    Case((1, 3, 9, 39), (3, 1, 5, 5), {"padding": 2, "stride": 2, "groups": 3}),
    Case((2, 5, 7, 7), (5, 1, 3, 3), {"padding": 1, "groups": 5}),
    Case((1, 3, 4, 5), (3, 1, 11, 11), {"padding": 5, "groups": 3}),
    Case((1, 4, 150), (3, 4, 41), {"padding": 20}),
    Case((1, 2, 4, 5, 6), (3, 2, 2, 3, 3), {"padding": 1, "stride": (2, 1, 1)}),
    Case(
        (2, 6, 5, 9), (6, 4, 4, 3), {"stride": (2, 3), "padding": 1, "output_padding": 1, "groups": 2}, transposed=True
    ),
    Case((1, 3, 6, 17), (3, 2, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 3}, transposed=True),
    Case((1, 4, 3, 3), (2, 4, 3, 3)),
    Case((2, 17, 1, 1), (17, 1, 3, 3), {"padding": 1, "groups": 17}),
]
RELU = Tail(activation=("relu",))
# All but those of gradients, whose sums are not done where the tail would be, and those of numbers other than floats.
GRADIENTS = {"reduction", "kernelwise", "pixelwise"}
FOLLOWED = [name for name in NAMES if name not in {"exchanged", "split", "integers"} | GRADIENTS]


def accepting(strategy, tail=RELU, x_dtype=""):
    """The cases of `TRIED` that a strategy takes."""
    for case in TRIED:
        problem = replace(case.problem(), tail=tail, x_dtype=x_dtype)
        answers = planner.ask(problem.folded(), machine.host())
        if next(answer.why_not for answer in answers if answer.strategy == strategy) is None:
            yield case


def assert_finished(y, case, x, w, b, formula, residual=None, factor=1.0, slope=STEEPEST):
    """``y`` is ``formula(sum + residual, channel)``, within the sum's bound and the roundings that follow."""
    geometry = reference_geometry(case)
    sums = case.operation(x, w, b, **geometry)
    info = np.finfo(np.promote_types(x.dtype, np.float32))
    allowed = bound(case.operation, x, w, b, info.dtype, factor, **geometry)
    if residual is not None:
        sums, allowed = sums + residual, allowed + info.eps * (np.abs(sums) + np.abs(residual))
    exact = formula(sums, np.arange(case.out_channels).reshape(-1, *[1] * case.rank))
    allowed = slope * allowed + 5 * info.eps * (np.abs(exact) + np.abs(sums)) + info.tiny
    stored = ml_dtypes.finfo(y.dtype)
    allowed = allowed + (float(stored.eps) / 2 * (np.abs(exact) + allowed) if stored.bits == 16 else 0)
    assert y.shape == exact.shape
    assert (np.abs(y.astype(np.float64) - exact) <= allowed).all()


@pytest.mark.parametrize("strategy", FOLLOWED)
def test_every_strategy(strategy):
    found = 0
    for case in accepting(strategy):
        found += 1
        x, w, b = case.arrays()
        factor = OTHER_SUMS.get(strategy, 1.0)
        for name in ("relu", "gelu"):
            formula = lambda v, c, name=name: EXACT[name](v)  # noqa: E731
            for y in (
                case.call(x, w, b, activation=name, strategy=strategy),
                case.plan(w, b, activation=name, strategy=strategy)(x),
            ):
                assert_finished(y, case, x, w, b, formula, factor=factor)
        y = case.call(x, w, b, epilogue=add_channel, strategy=strategy)
        assert_finished(y, case, x, w, b, lambda v, c: v + c, factor=factor)
    assert found


@pytest.mark.parametrize("strategy", [name for name in FOLLOWED if name != "mirrored"])
def test_every_strategy_with_a_residual(strategy):
    for case in accepting(strategy, Tail(residual=True)):
        x, w, b = case.arrays()
        factor = OTHER_SUMS.get(strategy, 1.0)
        residual = np.random.default_rng(1).standard_normal(case.problem().y_shape).astype(np.float32)
        options = {"activation": "tanh", "strategy": strategy}
        formula = lambda v, c: np.tanh(v)  # noqa: E731
        y = case.call(x, w, b, residual=residual, **options)
        assert_finished(y, case, x, w, b, formula, residual, factor)
        plan = case.plan(w, b, residual=True, **options)
        y = plan(x, residual=residual)
        assert_finished(y, case, x, w, b, formula, residual, factor)
        np.testing.assert_array_equal(plan(x, residual=residual, out=residual), y, "in place of the residual")


def test_what_cannot_be_followed():
    x, w = np.ones((1, 4, 1, 1), np.float32), np.ones((4, 3, 5, 5), np.float32)
    assert numbaconv.conv_transpose2d(x, w, strategy="exchanged").shape == (1, 3, 5, 5)
    with pytest.raises(ValueError, match=r"exchanged.*too late"):
        numbaconv.conv_transpose2d(x, w, strategy="exchanged", activation="relu")
    x, w = np.ones((1, 3, 4, 5), np.float32), np.ones((3, 1, 11, 11), np.float32)
    options = {"padding": 5, "groups": 3, "strategy": "mirrored"}
    with pytest.raises(ValueError, match=r"mirrored.*backwards"):
        conv2d(x, w, residual=conv2d(x, w, **options), **options)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("strategy", FOLLOWED)
def test_every_strategy_with_narrow_results(strategy, dtype):
    """Inputs as narrow as the results where the strategy reads them, else of float32."""
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    tail, found = Tail(activation=("hardswish",), dtype=dtype), 0
    for read in (kind, np.dtype("float32")):
        for case in accepting(strategy, tail, dtype if read == kind else ""):
            found += 1
            x, w, b = (a.astype(kind).astype(read) for a in case.arrays())
            options = {"strategy": strategy, "activation": "hardswish", "out_dtype": dtype}
            for y in (case.call(x, w, b, **options), case.plan(w, b, dtype=read, **options)(x)):
                assert y.dtype == kind
                assert_finished(
                    y, case, *map(np.float32, (x, w, b)), lambda v, c: EXACT["hardswish"](v),
                    factor=OTHER_SUMS.get(strategy, 1.0),
                )  # fmt: skip
    assert found


@pytest.mark.parametrize("strategy", ["direct", "im2col", "pointwise", "depthwise", "transposed", "generic", "dot"])
def test_doubles(strategy):
    for case in accepting(strategy):
        x, w, b = case.arrays("float64")
        y = case.call(x, w, b, strategy=strategy, activation="silu")
        assert_finished(y, case, x, w, b, lambda v, c: EXACT["silu"](v))


def add_channel(value, channel):
    return value + channel


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from(["relu", "elu", "sigmoid", None]), st.booleans(), st.booleans())
def test_any_problem(case, activation, with_residual, unbatched):
    x, w, b = case.arrays()
    formula = lambda v, c: v if activation is None else EXACT[activation](v)  # noqa: E731
    residual = (
        np.random.default_rng(2).standard_normal(case.problem().y_shape).astype(np.float32) if with_residual else None
    )
    if unbatched and case.x[0] == 1:
        given = None if residual is None else residual[0]
        y = case.call(x[0], w, b, activation=activation, residual=given)[None]
    else:
        y = case.call(x, w, b, activation=activation, residual=residual)
    assert_finished(y, case, x, w, b, formula, residual)


# ---- parameters ------------------------------------------------------------------------------------------------------

LINE, TAP = np.arange(-4, 5, dtype=np.float32).reshape(1, 1, 9), np.ones((1, 1, 1), np.float32)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        (("leaky_relu", 0.25), lambda x: np.where(x > 0, x, x / 4)),
        (("leaky_relu",), lambda x: np.where(x > 0, x, x * np.float32(0.01))),
        (("clip", -2, 3), lambda x: np.clip(x, -2, 3)),
        (("clip", -np.inf, np.float32(1)), lambda x: np.minimum(x, 1)),
        (("relu",), lambda x: np.maximum(x, 0)),
        (None, lambda x: x),
    ],
)
def test_parameters(activation, formula):
    np.testing.assert_array_equal(conv1d(LINE, TAP, activation=activation), formula(LINE))


def test_alpha_of_elu():
    np.testing.assert_allclose(
        conv1d(LINE, TAP, activation=("elu", 2)), np.where(LINE > 0, LINE, 2 * np.expm1(LINE)), 1e-6
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"activation": "swish"}, ValueError, "silu.*got 'swish'"),
        ({"activation": 3}, TypeError, "activation must be"),
        ({"activation": ()}, TypeError, "activation must be"),
        ({"activation": ("relu", 1)}, ValueError, "no parameters"),
        ({"activation": ("clip", 1)}, ValueError, "lo, hi"),
        ({"activation": ("clip", 2, 1)}, ValueError, "lo <= hi"),
        ({"activation": ("elu", "1")}, TypeError, "alpha must be a number"),
        ({"activation": ("leaky_relu", np.nan)}, ValueError, "slope must not be NaN"),
        ({"residual": np.zeros((1, 1, 8), np.float32)}, ValueError, r"residual must have the shape .*\(1, 1, 9\)"),
        ({"residual": np.zeros((1, 9), np.float32)}, ValueError, "residual must have the shape"),
        ({"residual": np.zeros((1, 1, 9))}, TypeError, "residual must have the result's dtype float32"),
        ({"epilogue": 1}, TypeError, "epilogue must be a function"),
        ({"epilogue": np.tanh}, TypeError, "epilogue must be a function.*not a method, class or built-in; got <ufunc"),
        ({"epilogue": abs}, TypeError, "epilogue must be a function.*got <built-in"),
        ({"epilogue": lambda: 1}, TypeError, "epilogue must be a function"),
        ({"epilogue": lambda a, b, c=1: 1}, TypeError, "epilogue must be a function"),
        ({"epilogue": lambda v: v.nothing}, TypeError, "does not compile for scalars of float32"),
        ({"epilogue": lambda v: "text"}, TypeError, "must return a number"),
        ({"out_dtype": "int8"}, TypeError, "out_dtype must be one of float16"),
        ({"out_dtype": "floaty"}, TypeError, "out_dtype must be one of float16"),
        ({"accumulate_dtype": "float16"}, ValueError, "accumulate_dtype must hold float32"),
        ({"accumulate_dtype": "float32", "out_dtype": "float64"}, ValueError, "accumulate_dtype must hold float64"),
    ],
)
def test_refusals(options, error, message):
    with pytest.raises(error, match=message):
        conv1d(LINE, TAP, **options)


@pytest.mark.parametrize(
    "options",
    [{"activation": "relu"}, {"out_dtype": "float32"}, {"epilogue": abs}, {"accumulate_dtype": "float64"}],
)
def test_not_of_complex_numbers(options):
    with pytest.raises(TypeError, match="real floats or integers"):
        conv1d(LINE.astype(np.complex64), TAP.astype(np.complex64), **options)


def test_gradients_have_no_tail():
    with pytest.raises(TypeError, match="unexpected keyword argument 'activation'"):
        numbaconv.conv1d_input((1, 1, 9), TAP, LINE, activation="relu")
    with pytest.raises(TypeError, match="unexpected keyword argument 'epilog'"):
        explain(LINE, TAP, epilog=None)


def test_residuals_of_plans():
    plan, plain = plan_conv1d((1, 1, 9), TAP, residual=True), plan_conv1d((1, 1, 9), TAP)
    np.testing.assert_array_equal(plan(LINE, residual=LINE.astype(np.int8)), 2 * LINE)
    with pytest.raises(ValueError, match="planned with residual=True"):
        plan(LINE)
    with pytest.raises(ValueError, match="planned without residual=True"):
        plain(LINE, residual=LINE)
    with pytest.raises(TypeError, match="True or False"):
        plan_conv1d((1, 1, 9), TAP, residual=LINE)


def test_out_and_residual():
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 9)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((3, 3, 3, 3)).astype(np.float32)
    room = np.zeros(x.size + 1, np.float32)
    residual, shifted = room[:-1].reshape(x.shape), room[1:].reshape(x.shape)
    residual[...] = x
    expected = conv2d(x, w, padding=1, residual=x.copy())
    with pytest.raises(ValueError, match="out must not overlap residual"):
        conv2d(x, w, padding=1, residual=residual, out=shifted)
    assert conv2d(x, w, padding=1, residual=residual, out=residual) is residual
    np.testing.assert_array_equal(residual, expected)
    with pytest.raises(TypeError, match="out must have dtype float16"):
        conv2d(x, w, padding=1, out_dtype="float16", out=np.empty_like(x))


# ---- dtypes ----------------------------------------------------------------------------------------------------------


def test_narrow_results_round_to_even():
    ties = np.array([1 + 2**-11, 1 + 3 * 2**-11, 2**-25, 65519, 65520, -(2**-24), np.nan, np.inf], np.float32)
    y = conv1d(ties.reshape(1, 1, -1), TAP, out_dtype="float16")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y[0, 0], ties.astype(np.float16))
    bits = np.random.default_rng(0).integers(0, 2**32, 4000, np.uint32).view(np.float32)
    ties = np.arange(0x3F808000, 0x3F8F8000, 0x10000, np.uint32).view(np.float32)
    for numbers in (bits, ties):
        y = conv1d(numbers.reshape(1, 1, -1), TAP, out_dtype="bfloat16")
        with np.errstate(over="ignore", invalid="ignore"):
            np.testing.assert_array_equal(
                *(a.astype(np.float32) for a in (y[0, 0], numbers.astype(ml_dtypes.bfloat16)))
            )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_residuals_of_narrow_results(dtype):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    x = LINE.astype(kind)
    y = conv1d(x, TAP.astype(kind), residual=x, activation="relu")
    assert y.dtype == kind and y.tolist() == np.maximum(2 * LINE, 0).tolist()


@pytest.mark.parametrize(
    ("x", "w", "options", "result"),
    [
        ("float16", "float16", {}, "float16"),
        ("bfloat16", "bfloat16", {}, "bfloat16"),
        ("bfloat16", "float16", {}, "float32"),
        ("bfloat16", "float32", {}, "float32"),
        ("bfloat16", "float64", {}, "float64"),
        ("float16", "float16", {"out_dtype": "float32"}, "float32"),
        ("float16", "float16", {"accumulate_dtype": "float64"}, "float16"),
        ("float32", "float32", {"accumulate_dtype": "float64"}, "float32"),
        ("float32", "float32", {"out_dtype": np.float64}, "float64"),
        ("float32", "float32", {"out_dtype": "bfloat16"}, "bfloat16"),
        ("float64", "float64", {"out_dtype": "float32"}, "float32"),
        ("float64", "float32", {"out_dtype": "float16"}, "float16"),
    ],
)
def test_dtypes_of_results(x, w, options, result):
    x, w = LINE.astype(x), TAP.astype(w)
    y = conv1d(x, w, **options)
    assert y.dtype.name == result and y.tolist() == LINE.tolist()
    plan = plan_conv1d(x.shape, w, dtype=x.dtype, **options)
    assert plan(x).dtype.name == result and plan(x).tolist() == LINE.tolist()


def test_accumulating_in_double():
    x = np.array([[[2**24, 1, 1, -(2**24)]]], np.float32)
    assert conv1d(x, np.ones((1, 1, 4), np.float32), accumulate_dtype="float64") == 2
    assert conv1d(x, np.ones((1, 1, 4), np.float32), strategy="direct") == 0


def test_only_the_last_rounding_is_to_half():
    """2048 + 1 is no float16, and 512 times that rounding would be lost."""
    x = np.ones((1, 4096, 1), np.float16)
    assert conv1d(x, np.ones((1, 4096, 1), np.float16)) == 4096


# ---- NaN and inf -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strategy",
    [name for name in FOLLOWED if name not in {"channelwise", "mirrored", "pointwise", "spread", "transposed"}],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite(strategy, value):
    """It goes as far as the kernel and no further, and a residual is added once where a sum is done again."""
    case = next(accepting(strategy, Tail(residual=True)))
    x, w, b = case.arrays()
    residual = np.random.default_rng(3).standard_normal(case.problem().y_shape).astype(np.float32)
    x[0, 0, ..., 2] = value
    with np.errstate(invalid="ignore"):
        sums = case.operation(x, w, b, **reference_geometry(case)) + residual
    exact = EXACT["relu"](sums)
    for y in (
        case.call(x, w, b, residual=residual, activation="relu", strategy=strategy),
        case.plan(w, b, residual=True, activation="relu", strategy=strategy)(x, residual=residual),
        case.call(x, w, b, residual=residual.copy(), out=residual, activation="relu", strategy=strategy),
    ):
        np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
        np.testing.assert_allclose(y, exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("strategy", [None, "winograd", "direct", "fft"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_weights_that_are_not_finite(strategy, activation):
    case = Case((1, 16, 12, 20), (5, 16, 3, 3), {"padding": 1})
    x, w, b = case.arrays()
    w[2, 0, 0, 0] = -np.inf
    w[3, 1, 2, 1] = np.nan
    residual = np.ones(case.problem().y_shape, np.float32)
    with np.errstate(invalid="ignore"):
        exact = EXACT[activation](case.operation(x, w, b, padding=1) + residual)
    y = case.call(x, w, b, strategy=strategy, activation=activation, residual=residual, out=residual)
    np.testing.assert_allclose(y, exact, rtol=1e-3, atol=1e-4)


# ---- around it -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 0, 4), (0, 2, 4)])
def test_nothing_to_multiply(shape):
    b = np.array([-1, 0, 2], np.float32)
    x, w = np.zeros(shape, np.float32), np.zeros((3, shape[1], 3), np.float32)
    y = conv1d(x, w, b, activation="relu", epilogue=add_channel, out_dtype="float16")
    assert y.dtype == np.float16 and y.shape == (shape[0], 3, 2)
    np.testing.assert_array_equal(y, np.broadcast_to(np.array([0, 1, 4]).reshape(3, 1), y.shape))


def test_a_users_function():
    double = numba.njit(lambda v: 2 * v)
    assert conv1d(LINE, TAP, epilogue=double).tolist() == (2 * LINE).tolist()
    assert conv1d(LINE, TAP, activation="relu", epilogue=lambda v: v > 1).tolist() == (LINE > 1).tolist()


def test_plans_pickle_and_print():
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 7)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    plan = plan_conv2d(
        x.shape, w, residual=True, activation=("clip", 0, 2), epilogue=add_channel, out_dtype="bfloat16", padding=1
    )
    residual = np.ones((1, 4, 6, 7), ml_dtypes.bfloat16)
    again = pickle.loads(pickle.dumps(plan))
    np.testing.assert_array_equal(again(x, residual=residual), plan(x, residual=residual))
    assert "+residual clip(0, 2) epilogue add_channel to bf16" in repr(plan)
    assert again.problem == plan.problem
    half = plan_conv2d(x.shape, w.astype(np.float16))
    assert pickle.loads(pickle.dumps(half))(x.astype(np.float16)).dtype == np.float16


def test_tune():
    plan = plan_conv2d((1, 4, 6, 7), np.ones((4, 4, 3, 3), np.float32), residual=True, activation="relu")
    report = numbaconv.tune([plan], seconds=0.001, name="test-tail", progress=False)
    try:
        assert "+residual relu" in str(report)
    finally:
        numbaconv.forget_wisdom("test-tail")


def test_explain():
    x, w = np.zeros((1, 4, 6, 7), np.float32), np.zeros((4, 4, 3, 3), np.float32)
    told = explain(x, w, activation="gelu", residual=True, out_dtype="float16")
    assert "+residual gelu to f16" in told and "* " in told
    assert "relu" not in explain(x, w)


def test_plain_python():
    program = (
        "import numpy as np, numbaconv as nc\n"
        "x = np.arange(-11, 11, dtype='f4').reshape(1, 2, 11)\n"
        "w = np.ones((2, 2, 9), 'f4')\n"
        "for s in ('direct', 'generic', 'dot'):\n"
        "    y = nc.conv1d(x, w, padding=4, activation='gelu', residual=x, strategy=s, epilogue=lambda v, c: v + c)\n"
        "    h = nc.conv1d(x, w, activation=('leaky_relu', 0.5), strategy=s,\n"
        "                  out_dtype='bfloat16' if s == 'dot' else 'float16')\n"
        "    print(float(np.float64(y).sum()), float(np.float64(h).sum()))\n"
    )
    plain, compiled = (
        np.array(python("-c", program, NUMBA_DISABLE_JIT=flag).stdout.split(), float) for flag in ("1", "0")
    )
    np.testing.assert_allclose(plain, compiled, rtol=1e-6)

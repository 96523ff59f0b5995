"""Every strategy of the table on every case that it accepts, against the equation; and what the equation implies."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, OTHER_SUMS, Case, expected, gradient, problems, reference_geometry
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from processes import ZEN3, python
from tolerance import assert_close, assert_within

import numbaconv
from numbaconv import machine, planner
from numbaconv.codegen import host, launch
from numbaconv.strategies import NAMES

OF_FLOATS = [name for name in NAMES if name not in ("split", "integers")]


def refusal(strategy, case, dtype="float32"):
    """Why a strategy does not take a case, or None."""
    return planner.strategies()[NAMES.index(strategy)].why_not(case.problem(dtype).folded(), machine.host())


def taken(case, dtype="float32"):
    """Names of the strategies that accept a case."""
    return [name for name in NAMES if refusal(name, case, dtype) is None]


def each_taken(cases, dtypes=("float32",)):
    """Parametrise a test by strategy, name of a case, and dtype, one after the other where the strategy accepts."""
    found = [
        (strategy, name, dtype)
        for strategy in NAMES
        for name, case in cases.items()
        for dtype in dtypes
        if refusal(strategy, case, dtype) is None
    ]
    return pytest.mark.parametrize(("strategy", "name", "dtype"), found, ids=map("-".join, found))


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_table_is_the_folder():
    folder = Path(numbaconv.__file__).parent / "strategies"
    assert set(NAMES) == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert len(set(NAMES)) == len(NAMES)
    for name, strategy in zip(NAMES, planner.strategies(), strict=True):
        assert strategy.name == name and not vars(strategy), "a strategy holds no state"


@pytest.mark.parametrize("strategy", NAMES)
def test_refusals_are_sentences(strategy):
    told = set()
    for name, case in CASES.items():
        for dtype in ("float32", "int64"):
            why_not = refusal(strategy, case, dtype)
            if why_not is None:
                continue
            assert len(why_not.split()) >= 4 and why_not == why_not.strip() and not why_not.endswith("."), why_not
            if why_not not in told and not case.problem().is_empty:
                told.add(why_not)
                x, w, b = case.arrays()
                with pytest.raises(ValueError, match=strategy) as error:
                    case.call(x.astype(dtype), w.astype(dtype), strategy=strategy)
                assert why_not in str(error.value), name


def test_every_strategy_is_taken_somewhere():
    dtypes = "float32", "complex64", "int64"
    assert {name for case in CASES.values() for dtype in dtypes for name in taken(case, dtype)} == set(NAMES)


# ---- every strategy on every case ------------------------------------------------------------------------------------


@each_taken(CASES, ("float32", "float64"))
def test_case(strategy, name, dtype):
    case = CASES[name]
    factor = OTHER_SUMS.get(strategy, 1.0)
    (x, w, b), exact, allowed = expected(name, dtype)
    borrowed = case.call(x, w, b, strategy=strategy)
    assert_within(borrowed, exact, factor * allowed)
    plan = case.plan(w, b, strategy=strategy)
    packed = plan(x)
    assert_within(packed, exact, factor * allowed)
    np.testing.assert_array_equal(case.call(x, w, b, strategy=strategy), borrowed, "a second call differs")
    np.testing.assert_array_equal(plan(x), packed, "a second call of the plan differs")
    (x, w, b), exact, allowed = expected(name, dtype, integers=True, biased=False)
    for y in (case.call(x, w, strategy=strategy), case.plan(w, strategy=strategy)(x)):
        if strategy in OTHER_SUMS:
            assert_within(y, exact, factor * allowed)
        else:
            np.testing.assert_array_equal(y, exact)


@pytest.mark.skipif(launch.max_threads() == 1, reason="one thread is all there is")
@pytest.mark.parametrize("strategy", NAMES)
def test_threads_do_not_change_a_bit(strategy):
    for name, case in CASES.items():
        if refusal(strategy, case) is not None:
            continue
        x, w, b = case.arrays()
        one, two = (case.call(x, w, b, strategy=strategy, num_threads=n) for n in (1, 2))
        np.testing.assert_array_equal(one, two, name)
        one, two = (case.plan(w, b, strategy=strategy, num_threads=n)(x) for n in (1, 2))
        np.testing.assert_array_equal(one, two, name)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is protected by Linux's mprotect")
@pytest.mark.parametrize("strategy", OF_FLOATS)
def test_nothing_is_touched_outside_the_arrays(strategy):
    done = python("guard.py", strategy)
    assert done.stdout.count("at the end") > 2


@pytest.mark.skipif(host.vectors() != (64, 32) or sys.platform != "linux", reason="for hosts with AVX-512")
def test_avx2_on_a_wider_host():
    """All cases in float32, with the tiles of a machine of half the vectors and registers."""
    done = python("run_cases.py", timeout=900, **ZEN3)  # compiles every strategy once more
    assert done.stdout.split() == ["32", "16", *OF_FLOATS]


# ---- NaN and inf -----------------------------------------------------------------------------------------------------

# What is outside the input is left out of the sum. A strategy that multiplies its padding, or a weight that it made up,
# by zero would turn inf into NaN there.
SPECIAL = {
    "padded": Case((1, 2, 6, 21), (5, 2, 3, 3), {"padding": 1}),
    "much padded": Case((1, 2, 4, 5), (5, 2, 3, 3), {"padding": 4}),
    "strided": Case((1, 2, 9, 40), (5, 2, 3, 3), {"padding": 2, "stride": 2}),
    "dilated": Case((1, 2, 9, 20), (5, 2, 3, 3), {"padding": 3, "dilation": 3}),
    "unpadded": Case((1, 3, 8, 19), (5, 3, 3, 3)),
    "1x1": Case((1, 3, 4, 5), (5, 3, 1, 1)),
    "1x1 with padding": Case((1, 3, 4, 5), (5, 3, 1, 1), {"padding": 1}),
    "depthwise": Case((1, 3, 8, 19), (3, 1, 3, 3), {"padding": 1, "groups": 3}),
    "depthwise 5x5 s2": Case((1, 3, 9, 39), (3, 1, 5, 5), {"padding": 2, "stride": 2, "groups": 3}),
    "depthwise 9x9": Case((1, 2, 14, 20), (2, 1, 9, 9), {"padding": 4, "groups": 2}),
    "one channel 11x11": Case((1, 1, 20, 34), (1, 1, 11, 11), {"padding": 5}),
    "one output channel": Case((1, 4, 9, 20), (1, 4, 5, 5), {"padding": 2}),
    "one output": Case((2, 3, 4, 5), (6, 3, 4, 5)),
    "1-D": Case((1, 1, 300), (1, 1, 40), {"padding": 20}),
    "3-D": Case((1, 2, 4, 5, 6), (3, 2, 3, 3, 3), {"padding": 1}),
    "transposed": Case((1, 3, 5, 18), (3, 4, 4, 4), {"stride": 2, "padding": 1}, transposed=True),
    "transposed k<s": Case((1, 3, 5, 6), (3, 4, 2, 2), {"stride": 3, "output_padding": 1}, transposed=True),
    "transposed s1": Case((1, 3, 5, 18), (3, 4, 3, 3), {}, transposed=True),
    "transposed depthwise": Case(
        (1, 3, 5, 18), (3, 1, 3, 3), {"stride": 2, "padding": 1, "groups": 3}, transposed=True
    ),
    "gradient": gradient((2, 3, 6, 21), (5, 3, 3, 3), padding=1),
    "gradient s2": gradient((1, 3, 9, 40), (5, 3, 3, 3), padding=2, stride=2),
    "gradient depthwise": gradient((2, 3, 8, 19), (3, 1, 3, 3), padding=1, groups=3),
    "gradient depthwise 7x7": gradient((1, 3, 8, 19), (3, 1, 7, 7), padding=3, groups=3),
    "gradient of one output": gradient((2, 3, 4, 5), (6, 3, 4, 5)),
}


@pytest.mark.parametrize("where", ["x", "weight", "both"])
@each_taken(SPECIAL)
def test_nan_and_inf_go_where_the_equation_sends_them(strategy, name, dtype, where):
    case = SPECIAL[name]
    x, w, b = (None if a is None else abs(a) + np.float32(0.5) for a in case.arrays(dtype))
    plain = x, w
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 0.37, 0.71, 1):  # corners, where the padding is, and inside
            x, w = (a.copy() for a in plain)
            if where in ("x", "both"):
                x.flat[int(place * (x.size - 1))] = bad
            if where in ("weight", "both"):
                w.flat[int((1 - place) * (w.size - 1))] = bad
            for y in (case.call(x, w, b, strategy=strategy), case.plan(w, b, strategy=strategy)(x)):
                assert_close(y, case.operation, x, w, b, OTHER_SUMS.get(strategy, 1.0), **reference_geometry(case))


@each_taken(SPECIAL)
def test_zero_weights_still_meet_nan_and_inf(strategy, name, dtype):
    case = SPECIAL[name]
    x, w, b = case.arrays(dtype)
    w.flat[::2] = 0
    x.flat[[0, x.size // 2, -1]] = np.inf
    x.flat[x.size // 3] = np.nan
    for y in (case.call(x, w, b, strategy=strategy), case.plan(w, b, strategy=strategy)(x)):
        assert_close(y, case.operation, x, w, b, OTHER_SUMS.get(strategy, 1.0), **reference_geometry(case))


# ---- what the equation implies ---------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(["float32", "float64"]))
def test_any_problem_on_every_strategy(case, dtype):
    x, w, b = case.arrays(dtype)
    for name in (None, *taken(case, dtype)):
        for y in (case.call(x, w, b, strategy=name), case.plan(w, b, strategy=name)(x)):
            assert_close(y, case.operation, x, w, b, OTHER_SUMS.get(name, 1.0), **case.geometry)


@settings(max_examples=60, deadline=None)
@given(problems(transposed=False), st.integers(0, 10**6))
def test_identity_filter(case, chosen):
    """A kernel that is 1 at one tap of one channel copies that channel, shifted; outside the input there is nothing."""
    x, w, b = case.arrays()
    w[:] = 0
    one = np.unravel_index(chosen % w.size, w.shape)
    w[one] = 1
    y = case.call(x, w)
    assert (y[:, np.arange(len(w)) != one[0]] == 0).all()
    groups = case.geometry["groups"]
    channel = one[0] // (len(w) // groups) * w.shape[1] + one[1]
    pads = [(max(lo, 0), max(hi, 0)) for lo, hi in case.geometry["padding"]]
    padded = np.pad(x[:, channel], [(0, 0), *pads])
    index = tuple(
        np.arange(n) * s + t * d - min(lo, 0)
        for n, s, t, d, (lo, _) in zip(
            y.shape[2:], case.geometry["stride"], one[2:], case.geometry["dilation"], case.geometry["padding"],
            strict=True,
        )
    )  # fmt: skip
    np.testing.assert_array_equal(y[:, one[0]], padded[(slice(None), *np.ix_(*index))])


@settings(max_examples=60, deadline=None)
@given(problems())
def test_linear(case):
    x, w, b = case.arrays(integers=True)
    other, v, _ = case.arrays(integers=True, seed=1)
    np.testing.assert_array_equal(case.call(2 * x - other, w), 2 * case.call(x, w) - case.call(other, w))
    np.testing.assert_array_equal(case.call(x, 2 * w - v), 2 * case.call(x, w) - case.call(x, v))
    np.testing.assert_array_equal(case.call(x, w, b), case.call(x, w) + b.reshape(-1, *[1] * case.rank))


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(1, 3))
def test_shift(case, pixels):
    """Zeros put before each row move the result by whole pixels, into other lanes of other vectors."""
    stride = case.geometry["stride"][-1]
    step, by = (1, stride) if case.transposed else (stride, 1)

    def moved(x):
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(pixels * step, 0)])

    x, w, b = case.arrays(integers=True)
    wider = Case(moved(x).shape, case.w, case.geometry, case.transposed)
    np.testing.assert_array_equal(wider.call(moved(x), w, b)[..., pixels * by :], case.call(x, w, b))
    x, w, b = case.arrays()
    y = np.ascontiguousarray(wider.call(moved(x), w, b)[..., pixels * by :])
    assert_close(y, case.operation, x, w, b, **case.geometry)


@settings(max_examples=60, deadline=None)
@given(problems(transposed=False))
def test_transposed_is_the_adjoint(case):
    """<conv(x), y> == <x, conv_transpose(y)>, exactly, as the data are small integers."""
    x, w, _ = case.arrays("float64", integers=True)
    y = case.call(x, w)
    other = Case(y.shape, w.shape).arrays("float64", integers=True, seed=3)[0]
    geometry = dict(case.geometry)
    # inputs beyond the last stride are read by no output; more of them than output_padding may add: not adjoint
    beyond = [
        n + lo + hi - (d * (k - 1) + 1) - (m - 1) * s
        for n, (lo, hi), d, k, m, s in zip(
            x.shape[2:], geometry["padding"], geometry["dilation"], w.shape[2:], y.shape[2:], geometry["stride"],
            strict=True,
        )
    ]  # fmt: skip
    assume(all(0 <= n < max(s, d) for n, s, d in zip(beyond, geometry["stride"], geometry["dilation"], strict=True)))
    back = Case(y.shape, w.shape, {**geometry, "output_padding": tuple(beyond)}, transposed=True).call(other, w)
    assert back.shape == x.shape
    assert (y * other).sum() == (x * back).sum()

"""Winograd's transforms, microkernels and variants, each alone: errors, NaN and inf; and what strictness leaves."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import reference
from called import compiled as callable_of
from cases import Case, reference_geometry
from tolerance import assert_close

import numbaconv
from numbaconv import machine, planner
from numbaconv.blocking.tiles import VARIANTS, Variant, accurate, fewest_terms
from numbaconv.codegen.transforms import products, transform
from numbaconv.microkernels.panels import make_multiply
from numbaconv.microkernels.tile import Tile
from numbaconv.microkernels.winograd import (
    channels_to_lanes,
    lanes_to_channels,
    winograd_input,
    winograd_output,
    winograd_weights,
)
from numbaconv.strategies.winograd import WinogradPlan

SIZES = sorted({variant.sizes for variant in VARIANTS})


def planned(case, variant, dtype="float32"):
    """The plan of one variant, and its two ways to take the weights."""
    problem = case.problem(dtype).folded()
    direct = planner.plan(problem, None, None, "winograd", strict=True)
    plan = WinogradPlan.of(problem, machine.host(), [variant], direct)
    return plan, (plan.pack, plan.borrow)


def results(case, variant, x, w, b):
    """By prepared weights and by those of a plain call."""
    plan, ways = planned(case, variant, str(x.dtype))
    for take in ways:
        y = np.empty(case.problem(str(x.dtype)).y_shape, x.dtype)
        plan.run(x, take(plan.problem.forward_weights(w)), b, y, 2)
        yield y


def case_of(variant: Variant, channels, **geometry):
    """A small layer of that kernel and stride: tiles and vectors of channels are not all whole."""
    x, kernel = (
        ((2, channels, 11, 21), (variant.kh, variant.kw)) if variant.kh > 1 else ((2, channels, 83), (variant.kw,))
    )
    if variant.stride > 1 and geometry.get("padding") == "same":
        geometry["padding"] = variant.kw // 2
    geometry = {"stride": variant.stride, **geometry}
    return Case(x, (38, channels // geometry.get("groups", 1), *kernel), geometry)


# ---- transforms and microkernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m", "k", "stride"),
    [(m, k, s) for m in range(1, 7) for k in range(1, 8) for s in (1, 2, 3) if m + k <= 9 and s <= k],
)
def test_transform_is_a_correlation(m, k, stride):
    a, b, g = (np.array(matrix) for matrix in transform(m, k, stride))
    rng = np.random.default_rng(m + k)
    d, w = rng.integers(-4, 5, products(m, k, stride)), rng.integers(-4, 5, k)
    np.testing.assert_allclose(a @ ((g @ w) * (b @ d)), np.correlate(d, w)[::stride], atol=1e-10)


DTYPED = [(size, "float32") for size in SIZES] + [((4, 3, 4, 3, 1), "float64")]


def assert_same(call, arrays, *constants):
    """A kernel's plain meaning and its compiled form do the same to copies of ``arrays``."""
    plain, compiled = ([array.copy() for array in arrays] for _ in range(2))
    call(*plain)
    callable_of(call, "test", arrays[0].dtype, *constants)(*compiled)
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_channels_to_lanes_and_back(dtype):
    lanes = machine.host().lanes(dtype)

    def there(target, source, lo, hi, width, channels):
        channels_to_lanes((target, 3), (source, 70, 60), (lo, hi), width, channels, lanes)

    def back(target, source, count, channels):
        lanes_to_channels((target, 2, 50), (source, 1), count, channels, lanes)

    rng = np.random.default_rng(0)
    source, target = (rng.standard_normal(size).astype(dtype) for size in (70 + 60 * lanes, 4000))
    compiled = callable_of(there, "test", dtype), callable_of(back, "test", dtype)
    for width, lo, hi in ((1, 0, 1), (5, 2, 4), (lanes, -3, 40), (lanes + 7, 1, lanes + 3), (40, 3, 3), (9, -9, 0)):
        for channels in (1, lanes - 1, lanes, lanes + 5):
            plain, fast = target.copy(), target.copy()
            there(plain, source, lo, hi, width, channels)
            compiled[0](fast, source, lo, hi, width, channels)
            stop = 3 + width * lanes
            np.testing.assert_array_equal(plain[:stop], fast[:stop])
            np.testing.assert_array_equal(target[stop + (lanes - 1) * lanes :], fast[stop + (lanes - 1) * lanes :])
            plain, fast = target.copy(), target.copy()
            compiled[1](fast, np.resize(source, 48 * lanes + 1), min(width, 40), channels)
            back(plain, np.resize(source, 48 * lanes + 1), min(width, 40), channels)
            np.testing.assert_array_equal(plain, fast)


@pytest.mark.parametrize(("sizes", "dtype"), DTYPED)
def test_transforms_of_a_tile(sizes, dtype):
    mh, kh, mw, kw, stride = sizes
    lanes, points = machine.host().lanes(dtype), products(mh, kh, stride) * products(mw, kw, stride)

    def call(target, source, out, check):
        winograd_input((target, 5, 2 * lanes), (source, 1, 12 * lanes, lanes), mh, kh, mw, kw, stride, lanes)
        winograd_weights(
            (target, 5 + lanes, 2 * lanes), (source, 3 + kh * kw * lanes, -lanes), mh, kh, mw, kw, stride, lanes
        )
        winograd_output(
            (out, 2, 8 * lanes, lanes), (target, 5, 2 * lanes), (source, 9), (check, 1), mh, kh, mw, kw, stride, lanes
        )

    rng = np.random.default_rng(0)
    sizes = (5 + 2 * points * lanes, 12 * 12 * lanes, 2 + 8 * 8 * lanes)
    arrays = [rng.standard_normal(size).astype(dtype) for size in sizes] + [np.zeros(1 + lanes, dtype)]
    assert_same(call, arrays, mh, kh, mw, kw, stride)
    arrays[1][1 + lanes + 2] = np.inf  # not finite in one lane only
    with np.errstate(invalid="ignore"):
        call(*arrays)
    told = np.isnan(arrays[3])
    assert told[1 + 2] and told.sum() <= 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products(dtype):
    tile = Tile.of(machine.host(), dtype)
    multiply = make_multiply(tile.mr, tile.nv, tile.lanes)
    rng = np.random.default_rng(0)
    terms, pitch, lanes = 7, tile.nv * tile.lanes + 5, tile.lanes
    left = rng.integers(-9, 10, 4 + 3 * tile.mr * 11).astype(dtype)
    right = rng.integers(-9, 10, 1 + terms * tile.nv * lanes).astype(dtype)
    before = rng.integers(-9, 10, 3 + 3 * tile.mr * pitch).astype(dtype)

    def compiled(y, left, right, tiles, first, width):
        multiply((y, 3, pitch), (left, 4, 11), (right, 1), terms, tiles, first, width)

    fast = callable_of(compiled, "test", dtype)
    for tiles in range(1, 2 * tile.mr + 3):
        for width in range(1, tile.nv + 1):
            first, y = tiles % 2, before.copy()
            fast(y, left, right, tiles, first, width)
            for t in range(tiles):
                panel = right[1 : 1 + terms * width * lanes].reshape(terms, width * lanes)
                at = slice(3 + t * pitch, 3 + t * pitch + width * lanes)
                sums = left[4 + t * 11 : 4 + t * 11 + terms] @ panel
                np.testing.assert_array_equal(y[at], sums + (0 if first else before[at]))


# ---- every variant ---------------------------------------------------------------------------------------------------


def variants():
    return pytest.mark.parametrize("variant", VARIANTS, ids=str)


LAYERS = {
    "padded": {"padding": "same"},
    "unpadded": {},
    "cropped": {"padding": ((-1, 2), (1, -2))},
    "dilated": {"padding": "same", "dilation": 2},
    "far apart": {"padding": 2, "dilation": (2, 4)},
    "groups": {"padding": "same", "groups": 2},
}


@pytest.mark.parametrize(
    ("variant", "name"),
    [
        (variant, name)
        for variant in VARIANTS
        for name in LAYERS
        if variant.stride == 1 or "dilation" not in LAYERS[name]
    ],
    ids=str,
)
def test_variant(variant, name):
    geometry = dict(LAYERS[name])
    if variant.kh == 1:
        geometry = {key: value[-1:] if isinstance(value, tuple) else value for key, value in geometry.items()}
    case = case_of(variant, 41 * geometry.get("groups", 1), **geometry)
    x, w, b = case.arrays()
    for y in results(case, variant, x, w, b):
        assert_close(y, case.operation, x, w, b, **reference_geometry(case))


def test_depth_of_a_stride():
    case = Case((1, 40, 7, 9, 12), (20, 40, 3, 3, 3), {"padding": 1, "stride": 2, "dilation": (2, 1, 1)})
    x, w, b = case.arrays()
    for y in (case.plan(w, b, strategy="winograd")(x), case.call(x, w, b, strategy="winograd")):
        assert_close(y, case.operation, x, w, b, **reference_geometry(case))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_depth_and_blocks(dtype):
    """Planes of the kernel are terms; more channels than a block holds, more outputs than a chunk."""
    case = Case((1, 130, 4, 6, 9), (90, 130, 3, 3, 3), {"padding": 1, "dilation": (1, 2, 1)})
    variant = next(variant for variant in VARIANTS if variant.sizes == (4, 3, 4, 3, 1))
    x, w, b = case.arrays(dtype)
    for y in results(case, variant, x, w, b):
        assert_close(y, case.operation, x, w, b, **reference_geometry(case))


@pytest.mark.parametrize("where", ["x", "weight"])
@variants()
def test_nan_and_inf_stay_where_the_equation_has_them(variant, where):
    case = case_of(variant, 33, padding="same")
    arrays = [abs(array) + np.float32(0.5) for array in case.arrays()]
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 0.4, 1):
            x, w, b = (array.copy() for array in arrays)
            target = x if where == "x" else w
            target.flat[int(place * (target.size - 1))] = bad
            plan = case.plan(w, b) if where == "weight" else None
            found = [plan(x), case.call(x, w, b)] if plan else results(case, variant, x, w, b)
            for y in found:
                assert_close(y, case.operation, x, w, b, **reference_geometry(case))


def test_results_that_overflow_only_between():
    """Transformed inputs overflow where the equation's sums do not: done again by direct summation."""
    case = case_of(VARIANTS[1], 32, padding=1)
    x, w, b = case.arrays()
    x, w = x * np.float32(2e37), w * np.float32(1e-30)
    for y in results(case, VARIANTS[1], x, w, b):
        assert_close(y, case.operation, x, w, b, padding=1)


# ---- transposed: phases are channels --------------------------------------------------------------------------------

TRANSPOSED = {
    "k4 s2": Case((2, 40, 7, 18), (40, 9, 4, 4), {"stride": 2, "padding": 1}, transposed=True),
    "k4 s2, uneven padding": Case(
        (1, 40, 9, 7), (40, 9, 4, 4), {"stride": 2, "padding": ((0, 3), (2, 1))}, transposed=True
    ),
    "k4 s2, groups": Case((1, 80, 5, 6), (80, 3, 4, 4), {"stride": 2, "padding": 1, "groups": 2}, transposed=True),
    "k5 s2, weights missing": Case(
        (1, 80, 8, 9), (80, 5, 5, 5), {"stride": 2, "padding": 2, "output_padding": 1}, transposed=True
    ),
    "k2x6 s1x3, one output": Case(
        (1, 40, 9, 11), (40, 1, 2, 6), {"stride": (1, 3), "padding": (0, 1)}, transposed=True
    ),
    "k4 s2, 1-D": Case((2, 40, 50), (40, 9, 4), {"stride": 2, "padding": 1}, transposed=True),
    "k16 s8, 1-D": Case((1, 40, 33), (40, 9, 16), {"stride": 8, "padding": 4}, transposed=True),
    "3-D": Case((1, 60, 3, 5, 6), (60, 5, 2, 4, 4), {"stride": (1, 2, 2), "padding": (0, 1, 1)}, transposed=True),
    # without phases, weights of a call are read as they lie
    "k3 s1, groups": Case((2, 80, 9, 11), (80, 17, 3, 3), {"padding": 1, "groups": 2}, transposed=True),
    "k3 s1, one output": Case((1, 80, 9, 11), (80, 1, 3, 3), {"padding": 1, "groups": 2}, transposed=True),
    "k3 s1, 1-D": Case((2, 40, 50), (40, 19, 3), {"padding": 1}, transposed=True),
    "k3 s1, 3-D": Case((1, 40, 4, 7, 8), (40, 5, 3, 3, 3), {"padding": 1}, transposed=True),
}


@pytest.mark.parametrize("name", TRANSPOSED)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transposed(name, dtype):
    case = TRANSPOSED[name]
    x, w, b = case.arrays(dtype)
    for y in (case.plan(w, b, strategy="winograd")(x), case.call(x, w, b, strategy="winograd")):
        assert_close(y, case.operation, x, w, b, **reference_geometry(case))


@pytest.mark.parametrize("name", ["k4 s2", "k2x6 s1x3, one output", "k16 s8, 1-D"])
def test_what_follows_transposed_sums(name):
    case = TRANSPOSED[name]
    x, w, b = case.arrays()
    residual = np.random.default_rng(1).standard_normal(case.problem().y_shape).astype(np.float32)
    for options in ({"activation": "relu"}, {"residual": residual}, {"residual": residual, "out_dtype": "float64"}):
        expected = case.call(x, w, b, strategy="generic", **options)
        y = case.call(x, w, b, strategy="winograd", **options)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_zeros_for_missing_weights_do_not_meet_inf(bad):
    case = TRANSPOSED["k5 s2, weights missing"]
    x, w, b = (abs(array) + np.float32(0.5) for array in case.arrays())
    x[0, 3, 4, 5] = bad
    assert_close(case.plan(w, b, strategy="winograd")(x), case.operation, x, w, b, **reference_geometry(case))


def test_phases_that_do_not_fall_into_vectors_are_refused():
    case = Case((1, 64, 9, 9), (64, 64, 9, 9), {"stride": 3}, transposed=True)
    with pytest.raises(ValueError, match="do not fall into whole vectors"):
        case.plan(*case.arrays()[1:], strategy="winograd")


# ---- accuracy --------------------------------------------------------------------------------------------------------

DATA = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.random(shape),
    "half of them zero": lambda rng, shape: np.maximum(0, rng.standard_normal(shape)),
}


@pytest.mark.parametrize("kind", DATA)
@variants()
def test_fewest_terms_are_enough(variant, kind):
    """With as few channels as are accepted, errors stay within direct summation's bound for the terms there are."""
    rng = np.random.default_rng(1)
    for padding in (0, "same"):
        problems = ((c, case_of(variant, c, padding=padding).problem()) for c in range(1, 99))
        channels = next(c for c, problem in problems if variant in accurate(problem, fewest_terms(problem)))
        case = case_of(variant, channels, padding=padding)
        x, w, b = DATA[kind](rng, case.x), rng.standard_normal(case.w), np.zeros(case.out_channels)
        x, w, b = (array.astype(np.float32) for array in (x, w, b))
        geometry = reference_geometry(case)
        terms = reference.conv(np.ones(case.x), np.ones(case.w), **geometry)
        size = reference.conv(abs(x), abs(w), **geometry)
        exact = reference.conv(x, w, **geometry)
        for y in results(case, variant, x, w, b):
            assert (abs(y - exact) <= (terms + 2) / 2 * np.finfo(np.float32).eps * size).all()


def test_few_channels_are_refused():
    case = Case((1, 4, 20, 20), (64, 4, 3, 3), {"padding": 1})
    assert fewest_terms(case.problem()) == 16
    with pytest.raises(ValueError, match="an output at the border has 16"):
        case.call(*case.arrays(), strategy="winograd")


def test_far_apart_tiles_that_do_not_fit_are_refused():
    case = Case((1, 64, 4000), (64, 64, 3), {"dilation": 1300, "padding": 1300})
    with pytest.raises(ValueError, match="too long for the scratch"):
        planner.plan(case.problem(), "winograd")


# ---- strictness ------------------------------------------------------------------------------------------------------


def test_strict_keeps_to_direct_summation():
    case = Case((1, 32, 30, 30), (32, 32, 3, 3), {"padding": 1})
    x, w, b = case.arrays(integers=True)
    assert case.plan(w, b).strategy == "winograd"
    plan = case.plan(w, b, accuracy="strict")
    direct = {strategy.name for strategy in planner.strategies() if strategy.sums_directly}
    assert plan.strategy in direct and "winograd" not in direct
    exact = case.operation(x, w, b, padding=1)
    for y in (plan(x), pickle.loads(pickle.dumps(plan))(x), case.call(x, w, b, accuracy="strict")):
        np.testing.assert_array_equal(y, exact)
    assert pickle.loads(pickle.dumps(plan)).strategy == plan.strategy
    lines = numbaconv.explain(x, w, b, padding=1, accuracy="strict").splitlines()
    assert any("winograd" in line and "accuracy='strict'" in line for line in lines)
    with pytest.raises(ValueError, match="accuracy='strict'"):
        case.call(x, w, b, accuracy="strict", strategy="winograd")


@pytest.mark.parametrize("wrong", ["exact", None, 1, "Strict"])
def test_accuracy_is_one_of_two_words(wrong):
    case = Case((1, 2, 5), (3, 2, 3))
    x, w, b = case.arrays()
    for call in (lambda: case.call(x, w, b, accuracy=wrong), lambda: case.plan(w, b, accuracy=wrong),
                 lambda: numbaconv.explain(x, w, b, accuracy=wrong)):  # fmt: skip
        with pytest.raises(ValueError, match=f"accuracy must be one of 'bounded', 'strict'; got {wrong!r}"):
            call()

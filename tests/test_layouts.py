"""Orders of axes by `dimension_numbers`: the same numbers as in the order that goes without saying, elsewhere."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from cases import CASES, problems, reference_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_within, bound

import numbaconv
from numbaconv import conv2d, conv_transpose2d, machine, plan_conv2d, planner
from numbaconv.layout import layout_of
from numbaconv.strategies import NAMES, strategies

ANY_ORDER = [name for name, strategy in zip(NAMES, strategies(), strict=True) if strategy.any_order]
RNG = np.random.default_rng(0)
SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def lead(case):
    """The letters of the weights' first two axes, as they are by default."""
    return "IO" if case.transposed else "OI"


def last(case):
    """Channels last, as TensorFlow and JAX have them."""
    s = SPATIAL[case.rank]
    return f"N{s}C", f"{s}IO", f"N{s}C"


def permuted(a, letters, order):
    """``a``, whose axes are ``letters``, in another order; a new array."""
    return np.ascontiguousarray(a.transpose([letters.index(letter) for letter in order]))


def call(case, x, w, b, numbers, residual=None, plan=False, unbatched=False, **options):
    """(result in the default order) of arrays in that order, through a call in another one."""
    s = SPATIAL[case.rank]
    spatial = "".join(letter for letter in numbers if letter in s)
    orders = numbers if isinstance(numbers, tuple) else (numbers, lead(case) + spatial, numbers)
    x_order, w_order, y_order = orders
    x, w = permuted(x, "NC" + s, x_order), permuted(w, lead(case) + s, w_order)
    if residual is not None:
        residual = permuted(residual, "NC" + s, y_order)
    if unbatched:
        x = x.squeeze(x_order.index("N"))
        residual = None if residual is None else residual.squeeze(y_order.index("N"))
    name = f"conv{'_transpose' * case.transposed}{case.rank}d"
    if plan:
        make = getattr(numbaconv, f"plan_{name}")
        dtype = {} if x.dtype == w.dtype else {"dtype": x.dtype}
        options |= dtype | {"residual": residual is not None}
        planned = make(x.shape, w, b, **case.geometry, dimension_numbers=numbers, **options)
        y = pickle.loads(pickle.dumps(planned))(x, residual=residual)
        assert y.shape == planned.output_shape
    else:
        options |= {} if residual is None else {"residual": residual}
        y = getattr(numbaconv, name)(x, w, b, **case.geometry, dimension_numbers=numbers, **options)
    assert y.flags.c_contiguous
    y = np.expand_dims(y, y_order.index("N")) if unbatched else y
    return permuted(y, y_order, "NC" + s)


def assert_same(case, numbers, dtype="float32", **options):
    x, w, b = case.arrays(dtype)
    y = call(case, x, w, b, numbers, **options)
    exact = case.operation(x, w, b, **reference_geometry(case))
    assert_within(y, exact, bound(case.operation, x, w, b, dtype, **reference_geometry(case)))


FORWARD = [
    "body 3x3", "body 3x3 s2", "stem 7x7 s2", "9 channels in and out, 1x1", "33 channels in and out, 1x1",
    "width 17, depthwise", "33 channels out",
]  # fmt: skip


@pytest.mark.parametrize("plan", [False, True], ids=["call", "plan"])
@pytest.mark.parametrize("name", [name for name in CASES if not CASES[name].gradient][::5] + FORWARD)
def test_channels_last(name, plan):
    assert_same(CASES[name], last(CASES[name]), plan=plan)


def accepting(strategy, numbers):
    """Cases of few numbers that a strategy takes in an order."""
    found = []
    for name, case in CASES.items():
        if case.gradient or not case.x[0] or np.prod(case.x) * case.out_channels > 2e5:
            continue
        x_order, y_order = layout_of(numbers(case), case.rank, case.transposed).orders()
        problem = replace(case.problem(), x_order=x_order, y_order=y_order).folded()
        if next(a.why_not for a in planner.ask(problem, machine.host()) if a.strategy == strategy) is None:
            found.append(name)
    return found


def first_to_last(case):
    s = SPATIAL[case.rank]
    return f"NC{s}", f"OI{s}", f"N{s}C"


def last_to_first(case):
    s = SPATIAL[case.rank]
    return f"N{s}C", f"I{s}O", f"NC{s}"


def backwards(case):
    s = SPATIAL[case.rank]
    return f"{s[::-1]}CN", f"{s}IO", f"C{s[::-1]}N"


@pytest.mark.parametrize("numbers", [last, first_to_last, last_to_first, backwards])
@pytest.mark.parametrize("strategy", ANY_ORDER)
def test_every_strategy(strategy, numbers):
    names = accepting(strategy, numbers)
    for name in names[:: max(1, len(names) // 12)]:
        assert_same(CASES[name], numbers(CASES[name]), strategy=strategy)


MODES = ["constant", "reflect", "symmetric", "replicate", "circular"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("numbers", [last, last_to_first])
@pytest.mark.parametrize("name", ["body 3x3 s2", "width 17, depthwise", "body 3x3", "transposed 3 groups"])
def test_padding_modes(name, numbers, mode):
    case = CASES[name]
    x, w, b = case.arrays()
    options = {"padding_mode": mode, "padding_value": 1.5} if mode == "constant" else {"padding_mode": mode}
    expected = case.call(x, w, b, **options)
    y = call(case, x, w, b, numbers(case), **options)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)


def last_is_added(value, channel):
    return value * 2 + channel


@pytest.mark.parametrize("plan", [False, True], ids=["call", "plan"])
@pytest.mark.parametrize("numbers", [last, backwards])
@pytest.mark.parametrize("name", ["body 3x3", "body 3x3 s2", "33 channels in and out, 1x1", "depthwise",
                                  "transposed 3 groups", "transposed k4 s2 p1"])  # fmt: skip
def test_what_follows_the_sum(name, numbers, plan):
    case = CASES[name]
    x, w, b = case.arrays()
    residual = np.random.default_rng(1).standard_normal(case.problem().y_shape).astype(np.float32)
    for options in (
        {"activation": "relu"}, {"epilogue": last_is_added}, {"activation": "tanh", "residual": residual},
        {"residual": residual, "epilogue": last_is_added}, {"out_dtype": "float64", "activation": "silu"},
    ):  # fmt: skip
        expected = case.call(x, w, b, **options)
        y = call(case, x, w, b, numbers(case), plan=plan, **options)
        assert y.dtype == expected.dtype
        np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int32", "bool", "complex64"])
@pytest.mark.parametrize("numbers", [last, backwards])
@pytest.mark.parametrize("name", ["body 3x3", "9 channels in and out, 1x1", "depthwise", "transposed 3 groups"])
def test_dtypes(name, numbers, dtype):
    case = CASES[name]
    x, w, b = case.arrays(integers=True)
    if dtype in {"bool", "uint8"}:
        x, w, b = (np.abs(a) for a in (x, w, b))
    x, w = x.astype(dtype), w.astype("float32" if dtype == "uint8" else dtype)
    expected = case.call(x, w, b.astype(w.dtype))
    for plan in (False, True):
        y = call(case, x, w, b.astype(w.dtype), numbers(case), plan=plan)
        assert y.dtype == expected.dtype
        if y.dtype.kind in "biu":
            np.testing.assert_array_equal(y, expected)
        else:  # one of the two may be winograd's
            np.testing.assert_allclose(y, expected, rtol=2e-3, atol=5e-3)


@pytest.mark.parametrize("numbers", [last, last_to_first])
@pytest.mark.parametrize("name", ["body 3x3", "depthwise"])
def test_prologue(name, numbers):
    case = CASES[name]
    x, w, b = case.arrays()
    x = (x * 20).astype(np.int16)
    options = {"prologue": lambda value, channel: value / 4 + channel}
    expected = case.call(x, w, b, **options)
    np.testing.assert_allclose(call(case, x, w, b, numbers(case), **options), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("plan", [False, True], ids=["call", "plan"])
@pytest.mark.parametrize("numbers", [last, backwards])
@pytest.mark.parametrize("name", ["body 3x3", "transposed depthwise"])
def test_unbatched(name, numbers, plan):
    case = CASES[name]
    assert case.x[0] == 1
    assert_same(case, numbers(case), plan=plan, unbatched=True)
    residual = np.ones(case.problem().y_shape, np.float32)
    x, w, b = case.arrays()
    y = call(case, x, w, b, numbers(case), plan=plan, unbatched=True, residual=residual)
    np.testing.assert_allclose(y, case.call(x, w, b, residual=residual), atol=1e-3)


def test_one_string_is_the_order_of_x_and_the_result():
    """Spatial axes of the weights, and of what counts them, are in the order of that string."""
    for name in ("body 3x3", "transposed k4 s2 p1"):
        for order in ("NHWC", "HWNC", "NWHC"):
            assert_same(CASES[name], order)


def test_axes_are_counted_as_the_weights_letters_stand():
    """As JAX does: stride (2, 1) of weights "WHIO" is 2 along W."""
    x, w = RNG.random((1, 3, 9, 8)), RNG.random((2, 3, 3, 2))
    y = conv2d(x, w, stride=(1, 2), padding=(0, 1))
    numbers = ("NHWC", "WHIO", "NCWH")
    other = conv2d(x.transpose(0, 2, 3, 1), w.transpose(3, 2, 1, 0), stride=(2, 1), padding=(1, 0),
                   dimension_numbers=numbers)  # fmt: skip
    np.testing.assert_allclose(other.swapaxes(2, 3), y, rtol=1e-12)


def test_transposed_weights():
    """I counts the channels of x, O those of the result; the default is "IOHW", as torch has it."""
    x, w = RNG.random((2, 6, 5, 4)), RNG.random((6, 2, 3, 3))
    y = conv_transpose2d(x, w, stride=2, groups=3)
    assert y.shape[1] == 6
    for spec in ("IOHW", "OIHW", "HWIO", "HWOI"):
        other = permuted(w, "IOHW", spec)
        z = conv_transpose2d(x, other, stride=2, groups=3, dimension_numbers=("NCHW", spec, "NCHW"))
        np.testing.assert_allclose(z, y, rtol=1e-12)
    whole = {"output_size": (2, 11, 9, 6), "dimension_numbers": ("NCHW", "IOHW", "NHWC")}
    assert conv_transpose2d(x, w, stride=2, groups=3, **whole).shape == (2, 11, 9, 6)
    assert conv_transpose2d(x[0], w, stride=2, groups=3, **whole | {"output_size": (11, 9, 6)}).shape == (11, 9, 6)


def test_out_in_place_of_the_residual():
    x, w = RNG.random((2, 9, 8, 5)).astype(np.float32), RNG.random((3, 3, 5, 5)).astype(np.float32)
    options = {"padding": 1, "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    y = conv2d(x, w, **options)
    added = conv2d(x, w, residual=y, **options)
    out = np.empty_like(y)
    assert conv2d(x, w, **options, out=out) is out
    np.testing.assert_array_equal(out, y)
    assert conv2d(x, w, residual=y, out=y, **options) is y
    np.testing.assert_array_equal(y, added)
    wide = np.zeros((2, 9, 8, 10), np.float32)
    np.testing.assert_array_equal(conv2d(x, w, **options, out=wide[..., ::2]), out)


def test_nothing_to_multiply_and_what_is_not_finite():
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    y = conv2d(np.ones((2, 4, 5, 0)), np.ones((3, 3, 0, 2)), [1.0, 2.0], **options)
    np.testing.assert_array_equal(y, np.broadcast_to([1.0, 2.0], (2, 2, 3, 2)))
    assert conv2d(np.ones((0, 4, 5, 3)), np.ones((3, 3, 3, 2)), **options).shape == (0, 2, 3, 2)
    x, w = np.ones((1, 6, 7, 4), np.float32), np.ones((3, 3, 4, 5), np.float32)
    w[0, 0, 1, 2] = np.inf
    for y in (conv2d(x, w, padding=1, **options), plan_conv2d(x.shape, w, padding=1, **options)(x)):
        assert np.isinf(y[0, 1:, 1:, 2]).all() and np.isfinite(y[0, 0]).all() and np.isfinite(y[0, :, 0]).all()
        assert np.isfinite(y[..., [0, 1, 3, 4]]).all()


def test_the_default_order_is_no_order():
    problem = plan_conv2d((1, 3, 4, 5), np.ones((2, 3, 1, 1))).problem
    for numbers in (None, "NCHW", ("NCHW", "OIHW", "NCHW"), ["NCab", "OIab", "NCab"]):
        assert plan_conv2d((1, 3, 4, 5), np.ones((2, 3, 1, 1)), dimension_numbers=numbers).problem == problem
    other = plan_conv2d((1, 4, 5, 3), np.ones((2, 3, 1, 1)), dimension_numbers="NHWC").problem
    assert other != problem and str(other) != str(problem)
    assert other.x_shape == (1, 4, 5, 3) and other.y_shape == (1, 4, 5, 2)
    assert replace(other, in_channels=1, out_channels=1).folded().x_order == "NCDHW", "there is nothing to reorder"


@pytest.mark.parametrize(
    ("numbers", "error", "words"),
    [
        (3, TypeError, "dimension_numbers must be three strings.*got 3"),
        (("NHWC", "HWIO"), TypeError, "three strings"),
        (("NHWC", "HWIO", None), TypeError, "three strings"),
        ("NHW", ValueError, "dimension_numbers of x must be 4 distinct letters, N and C among them; got 'NHW'"),
        ("NHHC", ValueError, "4 distinct letters"),
        (("NHWC", "HWCO", "NHWC"), ValueError, "of weight must be 4 distinct letters, O and I among them"),
        (("NHWC", "HWIO", "NHC"), ValueError, "of result"),
        (("NHWC", "HWIO", "NXYC"), ValueError, "same spatial letters"),
    ],
)
def test_refusals(numbers, error, words):
    x, w = np.ones((1, 4, 5, 3)), np.ones((3, 3, 3, 2))
    for function, first in ((conv2d, x), (plan_conv2d, x.shape), (numbaconv.explain, x)):
        with pytest.raises(error, match=words):
            function(first, w, dimension_numbers=numbers)


def test_shapes_that_do_not_fit():
    numbers = ("NHWC", "HWIO", "NHWC")
    with pytest.raises(ValueError, match=r"x must have 4 dimensions, NHWC, or 3 without N.*got 2, shape"):
        conv2d(np.ones((4, 5)), np.ones((3, 3, 3, 2)), dimension_numbers=numbers)
    with pytest.raises(ValueError, match=r"x has 5 channels.*dimension_numbers="):
        conv2d(np.ones((1, 4, 6, 5)), np.ones((3, 3, 3, 2)), dimension_numbers=numbers)
    with pytest.raises(ValueError, match=r"weight must have 4 dimensions"):
        conv2d(np.ones((1, 4, 6, 5)), np.ones((3, 3, 5)), dimension_numbers=numbers)
    with pytest.raises(ValueError, match=r"out must have shape \(1, 2, 4, 2\)"):
        conv2d(np.ones((1, 4, 6, 3)), np.ones((3, 3, 3, 2)), dimension_numbers=numbers, out=np.ones((1, 2, 2, 4)))
    with pytest.raises(ValueError, match="weights for each image"):
        conv2d(np.ones((1, 4, 6, 3)), np.ones((1, 3, 3, 3, 2)), dimension_numbers=numbers)
    problem = plan_conv2d((1, 4, 6, 3), np.ones((3, 3, 3, 2)), dimension_numbers=numbers).problem
    with pytest.raises(ValueError, match=r"lie as \(N, C"):
        problem.weight_gradient()
    assert problem.adjoint().adjoint() == problem and problem.adjoint().x_shape == problem.y_shape


def test_explain():
    table = numbaconv.explain(np.ones((1, 9, 9, 16), np.float32), np.ones((3, 3, 16, 8), np.float32), padding=1,
                              dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip
    assert "1x9x9x16 * 8x16x3x3" in table and "NDHWC->NDHWC" in table
    assert "it is for arrays that lie as (N, C, ...)" in table


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_as_jax(rank, transposed):
    jax = pytest.importorskip("jax")
    rng, s = np.random.default_rng(rank), SPATIAL[rank]
    stride, dilation, padding = (2, 1, 2)[:rank], (1, 2, 1)[:rank], ((1, 2), (0, 1), (2, 0))[:rank]
    for numbers in (
        (f"N{s}C", f"{s}IO", f"N{s}C"), (f"NC{s}", f"OI{s}", f"N{s}C"), (f"C{s[::-1]}N", f"{s}IO", f"{s}NC"),
        (f"N{s}C", f"O{s[::-1]}I", f"NC{s}"),
    ):  # fmt: skip
        sizes = {"N": 2, "C": 4, "O": 6, "I": 2, "D": 6, "H": 7, "W": 8}
        kernel = {"D": 2, "H": 3, "W": 3}
        x = rng.standard_normal([sizes[c] for c in numbers[0]]).astype(np.float32)
        w = rng.standard_normal([kernel.get(c, sizes[c]) for c in numbers[1]]).astype(np.float32)
        name = f"conv{'_transpose' * transposed}{rank}d"
        geometry = {"window_strides": stride, "rhs_dilation": dilation, "padding": padding, "feature_group_count": 2}
        if transposed:  # JAX's kernels of a convolution with gaps in x: flipped, O of all groups
            axes = [i for i, c in enumerate(numbers[1]) if c in s]
            letters = [numbers[1][i] for i in axes]
            reach = [d * (kernel[c] - 1) for c, d in zip(letters, dilation, strict=True)]
            pads = tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, padding, strict=True))
            geometry |= {"window_strides": (1,) * rank, "lhs_dilation": stride, "padding": pads}
            theirs = jax.lax.conv_general_dilated(x, np.flip(w, axes), dimension_numbers=numbers, **geometry)
            # Ours has weights (in, out/groups): group g of O beside group g of I
            o, i = numbers[1].index("O"), numbers[1].index("I")
            w = np.concatenate(np.split(w, 2, axis=o), axis=i)
        else:
            theirs = jax.lax.conv_general_dilated(x, w, dimension_numbers=numbers, **geometry)
        y = getattr(numbaconv, name)(x, w, stride=stride, dilation=dilation, padding=padding, groups=2,
                                     dimension_numbers=numbers)  # fmt: skip
        assert y.shape == theirs.shape
        np.testing.assert_allclose(y, theirs, rtol=1e-3, atol=1e-3)


def drawn(case, data):
    """Three orders, in the words of numbaconv's axes."""
    spatial = "".join(data.draw(st.permutations("abc"[: case.rank])))
    numbers = tuple("".join(data.draw(st.permutations(first + spatial))) for first in ("NC", "OI", "NC"))
    if data.draw(st.booleans()):
        numbers = last(case)
    # Sizes count axes in the order of the weights' letters, in all three strings.
    letters = [c for c in numbers[1] if c not in "OI"]
    names = str.maketrans(dict(zip(letters, SPATIAL[case.rank], strict=True)))
    return tuple("".join(c if c in first else c.translate(names) for c in numbers[i])
                 for i, first in enumerate(("NC", "OI", "NC")))  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(problems(), st.data())
def test_any_problem(case, data):
    orders = drawn(case, data)
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    assert_same(case, orders, dtype, plan=data.draw(st.booleans()))


# ---- gradients -------------------------------------------------------------------------------------------------------


def gradient_functions(case):
    name = f"conv{'_transpose' * case.transposed}{case.rank}d"
    return getattr(numbaconv, f"{name}_input"), getattr(numbaconv, f"{name}_weight")


@settings(max_examples=80, deadline=None)
@given(problems(), st.data())
def test_gradients_of_any_problem(case, data):
    """The same numbers as in the default order, as the data are small integers."""
    s, (x_order, w_order, y_order) = SPATIAL[case.rank], drawn(case, data)
    x, w, _ = case.arrays(integers=True)
    dy = np.random.default_rng(5).integers(-3, 4, case.problem().y_shape).astype(np.float32)
    for_input, for_weight = gradient_functions(case)
    px, pw = permuted(x, "NC" + s, x_order), permuted(w, lead(case) + s, w_order)
    pdy, options = permuted(dy, "NC" + s, y_order), case.geometry | {"dimension_numbers": (x_order, w_order, y_order)}
    dx, dw = for_input(px.shape, pw, pdy, **options), for_weight(px, pw.shape, pdy, **options)
    assert dx.flags.c_contiguous and dw.flags.c_contiguous
    np.testing.assert_array_equal(dx, permuted(for_input(x.shape, w, dy, **case.geometry), "NC" + s, x_order))
    expected = permuted(for_weight(x, w.shape, dy, **case.geometry), lead(case) + s, w_order)
    np.testing.assert_array_equal(dw, expected)
    into = np.empty(dx.shape, np.float32), np.full((*dw.shape, 2), np.nan, np.float32)[..., 0]
    assert for_input(px.shape, pw, pdy, **options, out=into[0]) is into[0]
    assert for_weight(px, pw.shape, pdy, **options, out=into[1]) is into[1]
    np.testing.assert_array_equal(into[0], dx)
    np.testing.assert_array_equal(into[1], dw)


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("numbers", [last, first_to_last, last_to_first, backwards])
@pytest.mark.parametrize("name", ["body 3x3", "transposed depthwise"])
def test_backward(name, numbers, unbatched):
    case = CASES[name]
    s, orders = SPATIAL[case.rank], numbers(case)
    orders = orders[0], orders[1] if not case.transposed else orders[1].replace("OI", "IO"), orders[2]
    x, w, _ = case.arrays(integers=True)
    dy = np.random.default_rng(5).integers(-3, 4, case.problem().y_shape).astype(np.float32)
    expected = numbaconv.conv_backward(dy, x, w, **case.geometry, transposed=case.transposed)
    px, pdy = permuted(x, "NC" + s, orders[0]), permuted(dy, "NC" + s, orders[2])
    if unbatched:
        px, pdy = px.squeeze(orders[0].index("N")), pdy.squeeze(orders[2].index("N"))
    found = numbaconv.conv_backward(pdy, px, permuted(w, lead(case) + s, orders[1]), **case.geometry,
                                    transposed=case.transposed, dimension_numbers=orders)  # fmt: skip
    dx = np.expand_dims(found.x, orders[0].index("N")) if unbatched else found.x
    np.testing.assert_array_equal(dx, permuted(expected.x, "NC" + s, orders[0]))
    np.testing.assert_array_equal(found.weight, permuted(expected.weight, lead(case) + s, orders[1]))
    np.testing.assert_array_equal(found.bias, expected.bias)


def test_gradients_refuse_what_does_not_fit():
    numbers = ("NHWC", "HWIO", "NHWC")
    x, w, dy = np.ones((1, 4, 6, 3)), np.ones((3, 3, 3, 2)), np.ones((1, 2, 4, 2))
    with pytest.raises(ValueError, match=r"grad_output must have the shape.*\(1, 2, 4, 2\); got \(1, 2, 2, 4\)"):
        numbaconv.conv2d_input(x.shape, w, dy.reshape(1, 2, 2, 4), dimension_numbers=numbers)
    with pytest.raises(ValueError, match=r"out must have shape \(3, 3, 3, 2\)"):
        numbaconv.conv2d_weight(x, w.shape, dy, dimension_numbers=numbers, out=np.ones((2, 3, 3, 3)))
    with pytest.raises(ValueError, match="x has 5 channels"):
        numbaconv.conv2d_weight(np.ones((1, 4, 6, 5)), w.shape, dy, dimension_numbers=numbers)
    with pytest.raises(ValueError, match="weight must have 4 dimensions"):
        numbaconv.conv2d_input(x.shape, w[0], dy, dimension_numbers=numbers)
    with pytest.raises(ValueError, match="weights for each image"):
        numbaconv.conv_backward(dy, x, w[None], per_sample=True, dimension_numbers=numbers)

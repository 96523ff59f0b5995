"""Gradients: they are the derivatives, the adjoint, PyTorch's numbers; and what they refuse, they refuse in words.

Every strategy of the weight gradient on every shape is tested with all others, in test_strategies.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from cases import Case, problems, reference_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import assert_close

import numbaconv
from numbaconv import machine, planner
from numbaconv.problem import ConvProblem


def functions(case):
    """(the gradient for the input, that for the weights) of a case's function."""
    name = f"conv{'_transpose' * case.transposed}{case.rank}d"
    return getattr(numbaconv, f"{name}_input"), getattr(numbaconv, f"{name}_weight")


def three(case, dtype="float64", integers=True):
    """(x, w, gradient of the result)."""
    x, w, _ = case.arrays(dtype, integers)
    dy = Case(case.problem().y_shape, case.w).arrays(dtype, integers, seed=5)[0]
    return x, w, dy


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from(["float32", "float64"]))
def test_adjoint(case, dtype):
    """<conv(x, w), dy> == <x, dx> == <w, dw>, exactly, as the data are small integers."""
    x, w, dy = three(case, dtype)
    for_input, for_weight = functions(case)
    dx, dw = for_input(x.shape, w, dy, **case.geometry), for_weight(x, w.shape, dy, **case.geometry)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)
    assert dx.dtype == dw.dtype == x.dtype
    expected = (case.call(x, w).astype(np.float64) * dy).sum()
    assert (x.astype(np.float64) * dx).sum() == expected == (w.astype(np.float64) * dw).sum()


@settings(max_examples=40, deadline=None)
@given(problems(transposed=False), st.sampled_from(["float32", "float64"]))
def test_within_the_bound_of_the_equation(case, dtype):
    x, w, dy = three(case, dtype, integers=False)
    geometry = reference_geometry(case)
    dw = functions(case)[1](x, w.shape, dy, **case.geometry)
    assert_close(dw, reference.conv_weight, x, dy, weight_size=w.shape, **geometry)
    # the input's gradient, as the transposed convolution whose result is cut or filled to the input's size
    dx = functions(case)[0](x.shape, w, dy, **case.geometry)
    extra = tuple(
        n - ((m - 1) * s - lo - hi + d * (k - 1) + 1)
        for n, m, k, s, d, (lo, hi) in zip(
            x.shape[2:], dy.shape[2:], w.shape[2:], geometry["stride"], geometry["dilation"], geometry["padding"],
            strict=True,
        )
    )  # fmt: skip
    assert_close(dx, reference.conv_transpose, dy, w, output_padding=extra, **geometry)


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(0, 10**6))
def test_finite_differences(case, chosen):
    """A step of 1 in one weight and in one input changes the sum by the gradient there, as it is linear."""
    x, w, dy = three(case)
    for_input, for_weight = functions(case)
    dx, dw = for_input(x.shape, w, dy, **case.geometry), for_weight(x, w.shape, dy, **case.geometry)
    before = (case.call(x, w) * dy).sum()
    for array, derivative in ((x, dx), (w, dw)):
        array.flat[chosen % array.size] += 1
        assert (case.call(x, w) * dy).sum() - before == derivative.flat[chosen % array.size]
        array.flat[chosen % array.size] -= 1


PADDINGS = [2, (1, 0), ((2, 0), (0, 3)), ((-1, 2), (-2, -1)), "same", "same_lower", "valid", "full"]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
def test_padding_of_every_kind(padding, stride):
    case = Case((2, 3, 9, 11), (4, 3, 3, 2), {"padding": padding, "stride": stride})
    x, w, dy = three(case)
    for_input, for_weight = functions(case)
    assert (case.call(x, w) * dy).sum() == (x * for_input(x.shape, w, dy, **case.geometry)).sum()
    assert (case.call(x, w) * dy).sum() == (w * for_weight(x, w.shape, dy, **case.geometry)).sum()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("batched", [False, True])
def test_backward_is_all_three(transposed, batched):
    options = {"stride": 2, "padding": 1, "output_padding": 1} if transposed else {"stride": 2, "padding": 1}
    case = Case((1, 4, 7, 8), (4, 3, 3, 3) if transposed else (6, 4, 3, 3), options, transposed)
    x, w, dy = three(case)
    if not batched:
        x, dy = x[0], dy[0]
    gradients = numbaconv.conv_backward(dy, x, w, transposed=transposed, **options)
    for_input, for_weight = functions(case)
    np.testing.assert_array_equal(gradients.x, for_input(x.shape, w, dy, **options))
    np.testing.assert_array_equal(gradients.weight, for_weight(x, w.shape, dy, **options))
    np.testing.assert_array_equal(gradients.bias, dy.sum(axis=(-1, -2)) if not batched else dy.sum(axis=(0, 2, 3)))
    some = numbaconv.conv_backward(dy, x, w, transposed=transposed, **options, output_mask=(False, True, False))
    assert some.x is None and some.bias is None
    np.testing.assert_array_equal(some.weight, gradients.weight)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "uint64", "float16", "complex64"])
def test_other_dtypes(dtype):
    rng = np.random.default_rng(0)
    x, w, dy = (rng.integers(0, 2, shape).astype(dtype) for shape in ((2, 3, 6, 7), (4, 3, 3, 3), (2, 4, 4, 5)))
    gradients = numbaconv.conv_backward(dy, x, w)
    exact = reference.conv_weight(x, dy, weight_size=w.shape)
    assert all(gradient.dtype == np.dtype(dtype) for gradient in gradients)
    np.testing.assert_array_equal(gradients.weight, exact.astype(dtype))
    np.testing.assert_array_equal(gradients.x, reference.conv_transpose(dy, w).astype(dtype))
    np.testing.assert_array_equal(gradients.bias, reference.wide(dy).sum(axis=(0, 2, 3)).astype(dtype))


def test_integers_that_do_not_fit():
    dy, x, w = np.full((1, 1, 9), 100, np.int8), np.ones((1, 1, 9), np.int8), np.ones((1, 1, 1), np.int8)
    for mask in np.eye(3, dtype=bool)[1:]:
        with pytest.raises(OverflowError, match="int8"):
            numbaconv.conv_backward(dy, x, w, output_mask=mask)


@pytest.mark.parametrize(("outputs", "inputs", "cut"), [(36, 144, "o36 c144"), (144, 24, "c24 o144")], ids=str)
def test_the_operand_that_fills_vectors_is_in_the_lanes(outputs, inputs, cut):
    """Of a 1x1 kernel either may be; 24 channels fill one vector and a half, 36 two and a quarter."""
    avx512 = machine.Machine(1, vector_bytes=64, registers=32)
    problem = ConvProblem.of(2, (1, inputs, 56, 56), (outputs, inputs, 1, 1), "float32").folded().weight_gradient()
    assert cut in str(planner.plan(problem, "reduction", machine=avx512))


def test_nothing_to_sum():
    dw = numbaconv.conv2d_weight(np.ones((0, 3, 5, 6)), (4, 3, 3, 3), np.ones((0, 4, 3, 4)))
    np.testing.assert_array_equal(dw, np.zeros((4, 3, 3, 3)))
    assert numbaconv.conv2d_input((0, 3, 5, 6), np.ones((4, 3, 3, 3)), np.ones((0, 4, 3, 4))).shape == (0, 3, 5, 6)
    dx = numbaconv.conv2d_input((1, 2, 0, 6), np.ones((4, 2, 3, 3)), np.ones((1, 4, 2, 8)), padding=2)
    assert dx.shape == (1, 2, 0, 6)


def test_out():
    x, w, dy = np.ones((1, 2, 5, 6)), np.ones((3, 2, 3, 3)), np.ones((1, 3, 3, 4))
    for call, operand in (
        (lambda out: numbaconv.conv2d_input(x.shape, w, dy, out=out), x),
        (lambda out: numbaconv.conv2d_weight(x, w.shape, dy, out=out), w),
    ):
        expected = call(None)
        out = np.full((*operand.shape, 2), np.nan)[..., 0]  # no row contiguous
        assert call(out) is out
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(ValueError, match="out must have shape"):
            call(np.empty(3))
    with pytest.raises(ValueError, match="overlap grad_output"):
        numbaconv.conv2d_input(dy.shape, np.ones((3, 3, 1, 1)), dy, out=dy)


ONES = {"x": (1, 4, 9, 8), "w": (6, 4, 3, 3), "dy": (1, 6, 7, 6)}
WRONG = {
    "shape of grad_output": ({"dy": (1, 6, 7, 7)}, ValueError, r"grad_output must have .*\(1, 6, 7, 6\).*7, 7"),
    "batch of grad_output": ({"dy": (6, 7, 6)}, ValueError, "grad_output"),
    "channels": ({"x": (1, 5, 9, 8)}, ValueError, "channels"),
    "stride": ({"stride": 0}, ValueError, "stride"),
    "padding": ({"padding": "reflect"}, ValueError, "padding"),
    "groups": ({"groups": 4}, ValueError, "groups"),
    "strategy": ({"strategy": "fastest"}, ValueError, "fastest"),
    "keyword": ({"bias": 1}, TypeError, "bias"),
    "out_dtype": ({"out_dtype": "int32"}, TypeError, "'out_dtype'; accepted are .*out"),
    "threads": ({"num_threads": 0}, ValueError, "num_threads"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused(name):
    changed, kind, words = WRONG[name]
    options = ONES | changed
    x, w, dy = (np.ones(options.pop(key), np.float32) for key in ONES)
    for call in (
        lambda: numbaconv.conv2d_input(x.shape, w, dy, **options),
        lambda: numbaconv.conv2d_weight(x, w.shape, dy, **options),
    ):
        with pytest.raises(kind, match=words):
            call()


def test_dtypes_that_do_not_mix_are_named():
    with pytest.raises(TypeError, match=r"weight has dtype int16 and grad_output float32.*grad_output.astype"):
        numbaconv.conv1d_input((1, 1, 3), np.ones((1, 1, 1), np.int16), np.ones((1, 1, 3), np.float32))
    with pytest.raises(TypeError, match="grad_output has dtype object"):
        numbaconv.conv1d_weight(np.ones((1, 1, 3)), (1, 1, 1), np.ones((1, 1, 3), object))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output_mask": (True, False)}, "output_mask"),
        ({"output_mask": 1}, "output_mask"),
        ({"output_padding": 1}, "output_padding"),
    ],
    ids=str,
)
def test_backward_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        numbaconv.conv_backward(np.ones((1, 1, 3)), np.ones((1, 1, 3)), np.ones((1, 1, 1)), **options)


def test_the_gradients_of_a_gradient():
    """The adjoint's adjoint is the problem itself, and the two have the same weight gradient."""
    problem = ConvProblem.of(2, (2, 6, 11, 12), (4, 3, 3, 2), "float32", (2, 3), ((1, 0), (-1, 2)), (1, 2), 2)
    back = problem.adjoint()
    assert (back.x_shape, back.w_shape, back.y_shape) == (problem.y_shape, problem.w_shape, problem.x_shape)
    assert back.adjoint().weight_gradient() == problem.weight_gradient()
    gradient = problem.weight_gradient()
    assert (gradient.x_shape, gradient.w_shape) == (problem.x_shape, problem.y_shape)
    assert gradient.y_shape == problem.w_shape


# ---- PyTorch ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(problems())
def test_torch(case):
    torch = pytest.importorskip("torch")
    geometry = dict(case.geometry)
    # its padding is the same at both ends and never negative
    geometry["padding"] = tuple(max(0, min(pair)) for pair in geometry["padding"])
    case = Case(case.x, case.w, geometry, case.transposed)
    try:
        x, w, dy = three(case)
    except ValueError:  # no output is left
        return
    fields = [list(geometry[name]) for name in ("stride", "padding", "dilation")]
    extra = list(geometry.get("output_padding", (0,) * case.rank))
    theirs = torch.ops.aten.convolution_backward(
        *map(torch.from_numpy, (dy, x, w)),
        [dy.shape[1]],
        *fields,
        case.transposed,
        extra,
        geometry["groups"],
        [True] * 3,
    )
    ours = numbaconv.conv_backward(dy, x, w, **geometry, transposed=case.transposed)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other.numpy())

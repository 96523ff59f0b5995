"""PyTorch, where it is installed: the same arguments give the same result, and what it refuses is refused here."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import reference
from cases import CASES, Case, problems, reference_geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerance import bound

import numbaconv

torch = pytest.importorskip("torch")
F = torch.nn.functional


def padded(x, pads):
    """Padding before cropping, as an axis may be cropped of more than it has before it is padded."""
    pads = [p for pair in reversed(pads) for p in pair]
    return F.pad(F.pad(x, [max(p, 0) for p in pads]), [min(p, 0) for p in pads])


def theirs(case, x, w, b):
    """PyTorch's result; it pads alike on both sides, so that other padding is applied to the arrays."""
    geometry = reference_geometry(case)
    padding = geometry.pop("padding", 0)
    pads = reference.ends(padding, case.rank)
    name = f"conv{'_transpose' * case.transposed}{case.rank}d"
    x, w, b = (None if a is None else torch.from_numpy(a) for a in (x, w, b))
    if not case.transposed:
        return getattr(F, name)(padded(x, pads), w, b, **geometry).numpy()
    # the whole result and its output padding, from which the padding is cut, or to which, if negative, it is added
    extra = reference.each(geometry.pop("output_padding", 0), case.rank)
    whole = getattr(F, name)(x, w, None, **geometry)
    y = padded(whole, [(-lo, op - hi) for (lo, hi), op in zip(pads, extra, strict=True)])
    return (y if b is None else y + b.reshape(-1, *[1] * case.rank)).numpy()


def assert_same(case, dtype):
    """Each is within the bound of the exact sum, and PyTorch's own algorithms, other sums among them, within four."""
    x, w, b = case.arrays(dtype)
    y, other = case.call(x, w, b), theirs(case, x, w, b)
    allowed = bound(case.operation, x, w, b, dtype, 5.0, **reference_geometry(case))
    assert y.shape == other.shape and y.dtype == other.dtype
    assert (np.abs(y - other) <= allowed).all()


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.x[0] and not case.gradient])
def test_case(name):
    assert_same(CASES[name], "float32")


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(["float32", "float64"]))
def test_any_problem(case, dtype):
    assert_same(case, dtype)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_words(kernel, dilation, padding):
    case = Case((2, 3, 14, 15), (4, 3, kernel, kernel), {"padding": padding, "dilation": dilation})
    x, w, b = case.arrays("float64", integers=True)
    with warnings.catch_warnings():  # an even kernel with 'same' makes PyTorch say that it copies the input
        warnings.simplefilter("ignore", UserWarning)
        other = F.conv2d(*map(torch.from_numpy, (x, w, b)), padding=padding, dilation=dilation)
    np.testing.assert_array_equal(case.call(x, w, b), other.numpy())


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_output_size(stride, extra):
    if extra >= stride:
        pytest.skip("output_size may exceed the least by less than the stride")
    case = Case((2, 3, 5, 6), (3, 4, 3, 3), {"stride": stride, "padding": 1}, transposed=True)
    x, w, b = case.arrays("float64", integers=True)
    layer = torch.nn.ConvTranspose2d(3, 4, 3, stride, 1, bias=False, dtype=torch.float64)
    layer.weight.data = torch.from_numpy(w)
    size = [(n - 1) * stride + 1 + extra for n in (5, 6)]
    np.testing.assert_array_equal(
        case.call(x, w, output_size=size), layer(torch.from_numpy(x), output_size=size).detach().numpy()
    )


ACTIVATIONS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    ("leaky_relu", 0.2): lambda x: F.leaky_relu(x, 0.2),
    "elu": F.elu,
    ("elu", 1.5): lambda x: F.elu(x, 1.5),
    ("clip", -1, 2): lambda x: F.hardtanh(x, -1, 2),
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardswish": F.hardswish,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activations(activation, dtype):
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1e30, -1e30]
    x = np.concatenate([special, np.linspace(-12, 12, 200)]).astype(dtype).reshape(1, 1, -1)
    y = numbaconv.conv1d(x, np.ones((1, 1, 1), dtype), activation=activation)
    other = ACTIVATIONS[activation](torch.from_numpy(x)).numpy()
    if activation == "gelu":  # PyTorch's vectors of 16 lanes make NaN of gelu(inf), which is inf
        other = np.where(x == np.inf, x, other)
    # PyTorch's gelu cancels where it is small: its error is that of a number of the size of x.
    np.testing.assert_allclose(y, other, rtol=8 * np.finfo(dtype).eps, atol=12 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_narrow_floats(dtype):
    x, w, b = Case((2, 16, 9, 11), (17, 16, 3, 3), {"padding": 1}).arrays()
    narrow = [torch.from_numpy(a).to(getattr(torch, dtype)) for a in (x, w, b)]
    kind = np.float16 if dtype == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    y = numbaconv.conv2d(*(a.astype(kind) for a in (x, w, b)), padding=1)
    other = F.conv2d(*(a.float() for a in narrow), padding=1).to(narrow[0].dtype)
    step = 2.0 ** (
        -10 if dtype == "float16" else -7
    )  # sums differ by roundings of float32, results by one of their own
    np.testing.assert_allclose(y.astype(np.float32), other.float().numpy(), rtol=step, atol=1e-4)


ONES = {"x": (1, 4, 9, 8), "w": (6, 4, 3, 3)}
WRONG = {
    "rank of x": {"x": (4, 9)},
    "rank of weight": {"w": (6, 4, 3)},
    "channels": {"x": (1, 5, 9, 8)},
    "groups that do not divide": {"w": (6, 1, 3, 3), "groups": 4},
    "no groups": {"groups": 0},
    "negative groups": {"groups": -1},
    "no stride": {"stride": 0},
    "negative stride": {"stride": (1, -1)},
    "three strides": {"stride": (1, 1, 1)},
    "no dilation": {"dilation": 0},
    "negative dilation": {"dilation": -2},
    "kernel larger than input": {"w": (6, 4, 10, 3)},
    "dilated kernel larger than input": {"dilation": 5},
    "unknown padding": {"padding": "smae"},
    "no pixels": {"x": (1, 4, 0, 8)},
    "bias": {"b": 5},
}


@pytest.mark.parametrize("name", WRONG)
def test_what_both_refuse(name):
    arguments = ONES | {"b": None} | WRONG[name]
    x, w, b = arguments.pop("x"), arguments.pop("w"), arguments.pop("b")
    x, w, b = np.ones(x, np.float32), np.ones(w, np.float32), None if b is None else np.ones(b, np.float32)
    with pytest.raises((RuntimeError, ValueError)):
        F.conv2d(*(None if a is None else torch.from_numpy(a) for a in (x, w, b)), **arguments)
    with pytest.raises(ValueError, match=r"x|weight|bias|groups|stride|dilation|padding|output"):
        numbaconv.conv2d(x, w, b, **arguments)


@pytest.mark.parametrize(
    "geometry",
    [
        {"output_padding": 1},
        {"output_padding": 3, "stride": 3},
        {"stride": 0},
        {"groups": 3},
        {"padding": 20},
        {"dilation": 0},
    ],
    ids=str,
)
def test_what_both_refuse_of_a_transposed(geometry):
    x, w = np.ones((1, 4, 5, 6), np.float32), np.ones((4, 3, 3, 3), np.float32)
    with pytest.raises((RuntimeError, ValueError)):
        F.conv_transpose2d(torch.from_numpy(x), torch.from_numpy(w), **geometry)
    with pytest.raises(ValueError, match=r"groups|stride|dilation|padding"):
        numbaconv.conv_transpose2d(x, w, **geometry)

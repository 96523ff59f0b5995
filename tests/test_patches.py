"""Unfold and fold: a depthwise convolution with one-hot kernels and its transpose, PyTorch's results, and ONNX's."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import reference
from cases import problems
from hypothesis import given, settings
from hypothesis import strategies as st

from numbaconv import fold, patches, unfold, unfold_view

DTYPES = [
    "bool", "int8", "uint16", ">i4", "uint64", "float16", ">f4", "float64", "longdouble", "complex64", "clongdouble",
    "object", "U3", "S2", "M8[D]", "m8[s]", "V5", "i4,f8",
]  # fmt: skip


def geometry_of(case):
    """(kernel, dilation, padding, stride), in torch's order."""
    return case.w[2:], case.geometry["dilation"], case.geometry["padding"], case.geometry["stride"]


def one_hot(channels, kernel):
    """For each channel the kernels that pick one tap."""
    taps = int(np.prod(kernel))
    return np.tile(np.eye(taps, dtype=int).reshape(taps, 1, *kernel), (channels, *[1] * (len(kernel) + 1)))


def integers(shape, seed=0):
    return np.random.default_rng(seed).integers(-99, 100, shape)


def out_size(size, kernel, dilation, padding, stride):
    axes = zip(size, kernel, dilation, padding, stride, strict=True)
    return [(n + lo + hi - d * (k - 1) - 1) // s + 1 for n, k, d, (lo, hi), s in axes]


@settings(max_examples=200, deadline=None)
@given(problems(transposed=False))
def test_unfold_is_a_depthwise_convolution(case):
    x = integers(case.x)
    kernel, dilation, padding, stride = geometry_of(case)
    weight = one_hot(case.x[1], kernel)
    y = reference.conv(x, weight, stride=stride, padding=padding, dilation=dilation, groups=case.x[1])
    columns = unfold(x, *geometry_of(case))
    np.testing.assert_array_equal(columns, y.reshape(*y.shape[:2], -1))
    assert columns.flags.c_contiguous and columns.dtype == x.dtype
    np.testing.assert_array_equal(unfold(x[0], *geometry_of(case)), columns[0])


@settings(max_examples=200, deadline=None)
@given(problems(transposed=False), st.sampled_from(["int64", "float64", "int16"]), st.sampled_from([patches.BLOCK, 64]))
def test_fold_sums_where_unfold_reads(case, dtype, block):
    pixels = np.arange(1, 1 + np.prod(case.x)).reshape(case.x)
    places = unfold(pixels, *geometry_of(case))  # 0 in the padding
    columns = integers(places.shape).astype(dtype)
    exact = np.bincount(places.ravel(), columns.ravel(), pixels.size + 1)[1:].reshape(case.x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patches, "BLOCK", block)
        y = fold(columns, case.x[2:], *geometry_of(case))
    np.testing.assert_array_equal(y, exact)
    assert y.dtype == dtype and y.flags.c_contiguous
    np.testing.assert_array_equal(fold(columns[0], case.x[2:], *geometry_of(case)), y[0])


@settings(max_examples=50, deadline=None)
@given(problems(transposed=False))
def test_view_is_the_columns_and_the_input(case):
    kernel, dilation, _, stride = geometry_of(case)
    size = [max(n, d * (k - 1) + 1) for n, k, d in zip(case.x[2:], kernel, dilation, strict=True)]
    x = integers((*case.x[:2], *size))
    view = unfold_view(x, kernel, dilation, stride)
    assert np.shares_memory(view, x) and not view.flags.writeable
    rank = len(kernel)
    columns = np.moveaxis(view, range(2 + rank, 2 + 2 * rank), range(2, 2 + rank))
    assert columns.shape[2:] == (*kernel, *out_size(size, kernel, dilation, [(0, 0)] * rank, stride))
    same = unfold(x, kernel, dilation, 0, stride)
    np.testing.assert_array_equal(columns.reshape(same.shape), same)
    np.testing.assert_array_equal(unfold_view(x[0], kernel, dilation, stride), view[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_dtype_unfolds(dtype):
    x = np.arange(1, 7)
    x = (x.view("V8") if dtype == "V5" else x).astype(dtype).reshape(1, 6)
    for padding in (0, 1):
        y = unfold(x, 2, padding=padding)
        padded = np.concatenate([np.zeros((1, padding), dtype), x, np.zeros((1, padding), dtype)], axis=1)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, np.stack([padded[0, :-1], padded[0, 1:]]))


@pytest.mark.parametrize("dtype", ["float16", ">f2", "float32", ">f8", "longdouble", "complex64", "clongdouble"])
def test_fold_sums_floats(dtype):
    columns = (integers((2, 3, 4)) / 4).astype(dtype)
    y = fold(columns, (6,), 3)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, fold(columns.astype(np.clongdouble), (6,), 3))


def test_narrow_floats_are_summed_in_float32():
    columns = np.ones((64, 64), np.float16)
    columns[0] = 2048  # which has no neighbour at 2049
    assert fold(columns, (127,), 64)[0, 63] == np.float16(2048 + 63)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    y = fold(columns.astype(ml_dtypes.bfloat16), (127,), 64)
    assert y.dtype == ml_dtypes.bfloat16 and y[0, 63] == 2112
    with pytest.raises(TypeError, match="int4"):
        fold(np.zeros((3, 4), ml_dtypes.int4), (6,), 3)


def test_sum_of_bools_is_any():
    columns = np.array([[True, False, False], [True, False, False]])
    np.testing.assert_array_equal(fold(columns, (4,), 2), [[True, True, False, False]])


def test_fold_sums_objects():
    columns = np.full((2, 3), Fraction(1, 3), object)
    assert fold(columns, (4,), 2).tolist() == [[Fraction(1, 3), Fraction(2, 3), Fraction(2, 3), Fraction(1, 3)]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", ">u4", "int64", "uint64"])
def test_sums_of_integers_are_exact_or_an_error(dtype):
    info = np.iinfo(dtype)
    columns = np.array([[info.max, 1], [-1 if info.min else 0, info.min]], dtype)  # the middle: 1 more or less
    total = fold(columns, (3,), 2)
    assert total.tolist() == [[int(info.max), 1 + int(columns[1, 0]), int(info.min)]]
    columns[1, 0] = info.max
    with pytest.raises(OverflowError, match=f"{int(info.max) + 1}.*{columns.dtype}.*wider"):
        fold(columns, (3,), 2)


def test_no_padded_copy_is_made():
    x = np.ones((1, 4, 600, 600), np.float32)
    columns = unfold(x, 3, padding=1)
    cases = (lambda: unfold(x, 3, padding=1), columns.nbytes), (lambda: fold(columns, 600, 3, padding=1), x.nbytes)
    narrow = columns.astype(np.float16)
    for call, result in (*cases, (lambda: fold(narrow, 600, 3, padding=1), x.nbytes // 2)):
        tracemalloc.start()
        call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - result < 2 * 2**20


@pytest.mark.parametrize("shape", [(0, 3, 6), (2, 0, 6), (2, 3, 0)])
def test_empty_inputs(shape):
    x = np.ones(shape)
    columns = unfold(x, (3,), padding=2)
    size = shape[2] + 2
    assert columns.shape == (shape[0], shape[1] * 3, size)
    if shape[2]:
        np.testing.assert_array_equal(fold(columns, (shape[2],), (3,), padding=2), 3 * x)


def test_one_int_means_as_many_axes_as_in_torch():
    x = np.zeros((2, 4, 6, 8))
    assert unfold(x, 3).shape == (2, 36, 24)
    assert unfold(x[0], 3).shape == (36, 24)
    assert unfold(x[0, 0], 3).shape == (18, 6)
    assert unfold(x, (3, 3, 3)).shape == (2 * 27, 2 * 4 * 6)
    assert unfold(x[0], (3,)).shape == (4, 18, 6)
    assert unfold(x[None], 2).shape == (1, 16, 105)
    assert fold(np.zeros((36, 24)), (6, 8), 3).shape == (4, 6, 8)
    assert fold(np.zeros((36, 16)), 6, 3).shape == (4, 6, 6)
    assert fold(np.zeros((54, 64)), 6, (3, 3, 3)).shape == (2, 6, 6, 6)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: unfold(np.zeros((1, 2, 4, 4)), 5), ValueError, "no output along height: the padded input has 4"),
        (lambda: unfold(np.zeros((1, 2, 4, 4)), 0), ValueError, "kernel_size must be at least 1; got 0"),
        (lambda: unfold(np.zeros((1, 2, 4, 4)), (2, 2.0)), TypeError, r"kernel_size\[1\] must be an integer; got 2.0"),
        (lambda: unfold(np.zeros((1, 2, 4, 4)), (1, 1, 1, 1)), ValueError, "kernel_size must be an int or 1 to 3"),
        (lambda: unfold(np.zeros((1, 2, 4, 4)), (2,)), ValueError, "x must have 3 dimensions"),
        (lambda: unfold(np.zeros(4), 2), ValueError, "x must have 2 to 5 dimensions"),
        (lambda: unfold(np.zeros((1, 2, 4, 4)), 2, stride=0), ValueError, "stride must be at least 1; got 0"),
        (lambda: unfold(np.zeros((1, 2, 4, 4)), 2, padding=2**62 + 1), ValueError, "padding must be at most"),
        (lambda: unfold(np.zeros((1, 2, 4, 4)), 2, padding="wide"), ValueError, "padding must be numbers or one of"),
        (lambda: unfold(np.ma.zeros((1, 2, 4)), (2,)), TypeError, "x is a masked array"),
        (lambda: unfold_view(np.zeros((1, 2, 4)), (5,)), ValueError, "no output along width"),
        (lambda: fold(np.zeros((1, 9, 4)), 3, 2), ValueError, "columns has 9 rows, .* the 4 taps .* \\(2, 2\\)"),
        (lambda: fold(np.zeros((1, 8, 5)), (3, 4), 2), ValueError, "columns has 5 positions, .*2x3 = 6"),
        (lambda: fold(np.zeros(8), 3, 2), ValueError, "columns must have 3 dimensions"),
        (lambda: fold(np.zeros((8, 4)), (3, 3, 3), (2, 2)), ValueError, "kernel_size must be an int or 3 ints"),
        (lambda: fold(np.zeros((8, 4)), 0, 2), ValueError, "output_size must be at least 1; got 0"),
        (lambda: fold(np.zeros((8, 4), "U2"), 3, 2), TypeError, "columns has dtype <U2, which has no sums"),
        (lambda: fold(np.zeros((8, 4), "M8[s]"), 3, 2), TypeError, "has no sums; accepted are"),
        (lambda: fold(np.zeros((8, 4), "i4,f8"), 3, 2), TypeError, "has no sums; accepted are"),
    ],
)
def test_errors_name_argument_value_and_what_fits(call, error, said):
    with pytest.raises(error, match=said):
        call()


# ---- other packages --------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(problems(transposed=False), st.sampled_from(["float32", "complex128"]))
def test_torch(case, dtype):
    functional = pytest.importorskip("torch").nn.functional
    if len(case.x) != 4:
        return
    kernel, dilation, padding, stride = geometry_of(case)
    padding = [max(lo, 0) for lo, _ in padding]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [max(n, r) for n, r in zip(case.x[2:], reach, strict=True)]
    x = np.random.default_rng(0).standard_normal((*case.x[:2], *size)).astype(dtype)
    import torch

    theirs = functional.unfold(torch.from_numpy(x), kernel, dilation, padding, stride)
    columns = unfold(x, kernel, dilation, padding, stride)
    np.testing.assert_array_equal(columns, theirs.numpy())
    back = functional.fold(theirs, size, kernel, dilation, padding, stride)
    most = int(np.prod(kernel)) * np.finfo(dtype).eps * np.abs(x).max()
    np.testing.assert_allclose(fold(columns, size, kernel, dilation, padding, stride), back.numpy(), 0, most * 49)


def col2im(columns, image_shape, block_shape, dilations=None, pads=None, strides=None):
    """ONNX's Col2Im, as the docstring of `fold` says it."""
    rank = len(image_shape)
    pads = [0] * 2 * rank if pads is None else pads
    return fold(columns, image_shape, block_shape, dilations or 1, list(zip(pads[:rank], pads[rank:], strict=True)),
                strides or 1)  # fmt: skip


def test_onnx_expected_outputs(monkeypatch):
    cases = pytest.importorskip("onnx.backend.test.case.node.col2im")
    seen = []

    def compare(node, inputs, outputs, name):
        attributes = {a.name: list(a.ints) for a in node.attribute}
        np.testing.assert_array_equal(col2im(*inputs, **attributes), outputs[0], err_msg=name)
        seen.append(name)

    monkeypatch.setattr(cases, "expect", compare)
    for name in dir(cases.Col2Im):
        if name.startswith("export"):
            getattr(cases.Col2Im, name)()
    assert len(seen) >= 5


@settings(max_examples=25, deadline=None)
@given(problems(transposed=False))
def test_onnx_reference(case):
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    kernel, dilation, padding, stride = geometry_of(case)
    size = [min(n, 6) for n in case.x[2:]]
    padding = [(max(lo, 0), max(hi, 0)) for lo, hi in padding]
    ends = zip(size, kernel, dilation, padding, strict=True)
    padding = [(lo, max(hi, d * (k - 1) + 1 - n - lo)) for n, k, d, (lo, hi) in ends]
    out = out_size(size, kernel, dilation, padding, stride)
    columns = integers((1, 2 * int(np.prod(kernel)), int(np.prod(out)))).astype(np.float32)
    pads = [lo for lo, _ in padding] + [hi for _, hi in padding]
    attributes = {"dilations": list(dilation), "pads": pads, "strides": list(stride)}
    names = ["columns", "image_shape", "block_shape"]
    node = helper.make_node("Col2Im", names, ["y"], **attributes)
    given_types = [helper.make_tensor_value_info(n, t, None) for n, t in zip(names, (TensorProto.FLOAT, 7, 7))]  # noqa: B905
    y_type = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    model = helper.make_model(helper.make_graph([node], "col2im", given_types, [y_type]))
    theirs = ReferenceEvaluator(model).run(
        None, dict(zip(names, (columns, np.array(size, np.int64), np.array(kernel, np.int64)), strict=True))
    )
    np.testing.assert_array_equal(col2im(columns, size, kernel, **attributes), theirs[0])

"""Locally connected layers and their gradients: the equation, one output pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import reference

import numbaconv
from numbaconv import local_conv2d, local_conv2d_input, local_conv2d_weight
from numbaconv.codegen.cache import KernelFile

LOCAL, FOR_INPUT, FOR_WEIGHT = (
    {rank: getattr(numbaconv, f"local_conv{rank}d{of}") for rank in (1, 2, 3)} for of in ("", "_input", "_weight")
)


def numbers(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rank", "stride", "padding", "dilation", "groups"), [
    (1, 1, 2, 1, 1), (1, 3, 1, 2, 2), (2, 1, 1, 1, 2), (2, 2, 3, 1, 1), (3, 2, 1, 1, 1),
])  # fmt: skip
def test_equation(rank, stride, padding, dilation, groups, dtype):
    rng = np.random.default_rng(0)
    size, kernel = (7, 5, 9)[:rank], (2, 3, 3)[:rank]
    out = [(n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(size, kernel, strict=True)]
    x = rng.standard_normal((2, 4, *size)).astype(dtype)
    w = rng.standard_normal((6, 4 // groups, *kernel, *out)).astype(dtype)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    for b in (None, rng.standard_normal(6).astype(dtype), rng.standard_normal((6, *out)).astype(dtype)):
        y = LOCAL[rank](x, w, b, **geometry)
        assert y.dtype == dtype
        for p in np.ndindex(*out):
            expected = reference.conv(x, w[(..., *p)], **geometry)[(..., *p)]
            if b is not None:
                expected = expected + (b if b.ndim == 1 else b[(..., *p)])
            np.testing.assert_allclose(y[(..., *p)], expected, rtol=0, atol=200 * np.finfo(dtype).eps)


def gradients(x, w, dy, stride, padding, dilation, groups):
    """(dx, dweight): each product of the sum goes back, or meets what it was multiplied by."""
    rank, dx, dw = x.ndim - 2, np.zeros(x.shape), np.zeros(w.shape)
    for p in np.ndindex(dy.shape[2:]):
        for t in np.ndindex(w.shape[2 : rank + 2]):
            at = tuple(np.array(p) * stride + np.array(t) * dilation - padding)
            if all(0 <= i < n for i, n in zip(at, x.shape[2:], strict=True)):
                own = dy[(..., *p)].reshape(len(x), groups, -1)
                weights = w[(slice(None), slice(None), *t, *p)].reshape(groups, own.shape[2], -1)
                dx[(..., *at)] += np.einsum("ngo,goc->ngc", own, weights).reshape(len(x), -1)
                read = x[(..., *at)].reshape(len(x), groups, -1)
                dw[(slice(None), slice(None), *t, *p)] = np.einsum("ngo,ngc->goc", own, read).reshape(w.shape[:2])
    return dx, dw


# rank, images, channels, outputs, size, kernel, stride, padding, dilation, groups; the last: blocks of pixels and terms
GRADIENTS = [
    (1, 3, 4, 6, (7,), (2,), 1, 2, 1, 1),
    (1, 1, 4, 6, (9,), (3,), 3, 1, 2, 2),
    (2, 5, 4, 6, (7, 5), (2, 3), 1, 1, 1, 2),
    (2, 2, 3, 5, (8, 9), (3, 3), 2, 3, 1, 1),
    (3, 7, 2, 3, (4, 5, 6), (2, 3, 2), 2, 1, 1, 1),
    (2, 9, 40, 19, (6, 41), (3, 2), 1, (1, 0), 1, 1),
    (1, 2, 3, 3, (2500,), (3,), 1, 1, 1, 1),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", GRADIENTS)
def test_gradients(case, dtype):
    rank, n, c, o, size, kernel, stride, padding, dilation, groups = case
    x, w = numbers((n, c, *size), dtype), numbers((o, c // groups, *kernel, *([1] * rank)), dtype, 1)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    out = reference.conv(x, w.reshape(w.shape[: rank + 2]), **geometry).shape[2:]
    w, dy = numbers((*w.shape[: rank + 2], *out), dtype, 1), numbers((n, o, *out), dtype, 2)
    dx, dw = gradients(x.astype(float), w.astype(float), dy.astype(float), **geometry)
    for got, expected in (
        (FOR_INPUT[rank](x.shape, w, dy, **geometry), dx), (FOR_WEIGHT[rank](x, w.shape, dy, **geometry), dw),
    ):  # fmt: skip
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=200 * np.finfo(dtype).eps)


def test_torch():
    torch = pytest.importorskip("torch")
    x, w, dy = numbers((3, 4, 8, 9)), numbers((6, 4, 3, 3, 4, 5), seed=1), numbers((3, 6, 4, 5), seed=2)
    tx, tw = (torch.tensor(array, requires_grad=True) for array in (x, w))
    columns = torch.nn.functional.unfold(tx, 3, padding=1, stride=2).reshape(3, 36, 20)
    y = torch.einsum("okp,nkp->nop", tw.reshape(6, 36, 20), columns).reshape(dy.shape)
    y.backward(torch.tensor(dy))
    np.testing.assert_allclose(local_conv2d(x, w, stride=2, padding=1), y.detach(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(local_conv2d_input(x.shape, w, dy, 2, 1), tx.grad, rtol=0, atol=1e-13)
    np.testing.assert_allclose(local_conv2d_weight(x, w.shape, dy, 2, 1), tw.grad, rtol=0, atol=1e-13)


def test_the_same_bits_every_time():
    x, w = numbers((5, 6, 30, 31), "float32"), numbers((8, 6, 3, 3, 30, 31), "float32", 1)
    dy = numbers((5, 8, 30, 31), "float32", 2)
    calls = [
        lambda: local_conv2d(x, w, padding=1),
        lambda: local_conv2d_input(x.shape, w, dy, padding=1),
        lambda: local_conv2d_weight(x, w.shape, dy, padding=1),
    ]
    for call in calls:
        np.testing.assert_array_equal(call(), call())


def test_what_lies_in_the_padding_is_no_term():
    x, w = numbers((2, 3, 5, 5)), numbers((4, 3, 3, 3, 5, 5), seed=1)
    outside = local_conv2d_weight(np.ones((1, 3, 5, 5)), w.shape, np.ones((1, 4, 5, 5)), padding=1) == 0
    expected = local_conv2d(x, w, padding=1)
    np.testing.assert_array_equal(local_conv2d(x, np.where(outside, np.nan, w), padding=1), expected)
    np.testing.assert_array_equal(
        local_conv2d_input(x.shape, np.where(outside, np.inf, w), expected, padding=1),
        local_conv2d_input(x.shape, w, expected, padding=1),
    )
    expected[0, 0, 0] = np.nan
    dw = local_conv2d_weight(x, w.shape, expected, padding=1)
    assert (dw[outside] == 0).all() and np.isnan(dw[0, :, :, :, 0][~outside[0, :, :, :, 0]]).all()


def test_nothing_to_multiply():
    w = np.ones((2, 0, 3, 3, 2, 2))
    np.testing.assert_array_equal(local_conv2d(np.ones((1, 0, 4, 4)), w, np.arange(2.0))[0, :, 0, 0], [0, 1])
    assert local_conv2d_input((1, 0, 4, 4), w, np.ones((1, 2, 2, 2))).shape == (1, 0, 4, 4)
    assert not local_conv2d_weight(np.ones((0, 1, 4, 4)), (2, 1, 3, 3, 2, 2), np.ones((0, 2, 2, 2))).any()


def test_a_new_geometry_never_compiles():
    def call(size, kernel, stride):
        out = (size - kernel) // stride + 1
        return local_conv2d(np.ones((1, 2, size, size), np.float32),
                            np.ones((3, 2, kernel, kernel, out, out), np.float32), stride=stride)  # fmt: skip

    call(9, 3, 1)
    before = KernelFile.hits, KernelFile.misses
    assert (call(12, 5, 2) == 50).all()
    assert (KernelFile.hits, KernelFile.misses) == before


def test_refusals():
    x = np.ones((1, 2, 5, 5))
    with pytest.raises(ValueError, match=r"weight must have 6 dimensions, \(O, C/groups, \*kernel, \*out_size\)"):
        local_conv2d(x, np.ones((3, 2, 3, 3)))
    with pytest.raises(ValueError, match=r"weight must end in the size of the result, \(3, 3\)"):
        local_conv2d(x, np.ones((3, 2, 3, 3, 5, 5)))
    with pytest.raises(ValueError, match=r"bias must have shape \(3,\) or \(3, 3, 3\); got \(2,\)"):
        local_conv2d(x, np.ones((3, 2, 3, 3, 3, 3)), np.ones(2))
    with pytest.raises(
        ValueError, match=r"grad_output must have the shape of the convolution's result, \(1, 3, 3, 3\)"
    ):
        local_conv2d_weight(x, (3, 2, 3, 3, 3, 3), np.ones((1, 3, 4, 4)))
    with pytest.raises(TypeError, match="weight and grad_output must be float32 or float64 together; got int64"):
        local_conv2d_input(x.shape, np.ones((3, 2, 3, 3, 3, 3), np.int64), np.ones((1, 3, 3, 3), np.int64))

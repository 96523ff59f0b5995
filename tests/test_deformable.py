"""Deformable convolution and its gradients against the equation in plain loops, `conv2d` where it is one, and torch."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import numbaconv
from numbaconv import conv2d, deform_conv1d_backward, deform_conv2d, deform_conv2d_backward
from numbaconv.codegen.cache import KernelFile

DEFORMED, BACKWARD = (
    {rank: getattr(numbaconv, f"deform_conv{rank}d{of}") for rank in (1, 2, 3)} for of in ("", "_backward")
)
# rank, dtype, images, channels, outputs, groups, offset groups, size, kernel, stride, padding, dilation, masked
CASES = [
    (1, "float32", 2, 4, 6, 2, 2, (23,), (3,), 1, 1, 1, True),
    (2, "float32", 2, 6, 5, 1, 3, (8, 9), (3, 3), 1, 1, 1, True),
    (2, "float64", 1, 4, 6, 2, 1, (9, 11), (3, 2), 2, 2, 2, False),
    (2, "float64", 2, 2, 2, 2, 2, (5, 6), (1, 1), 1, 0, 1, True),
    (3, "float32", 1, 2, 3, 1, 1, (4, 5, 5), (2, 3, 2), 1, 1, 1, True),
]


def numbers(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def sampled(x, place):
    """x at ``place``, linear between pixels, zero outside."""
    total, low = 0.0, np.floor(place).astype(int)
    for corner in product((0, 1), repeat=x.ndim):
        at = low + corner
        if (at >= 0).all() and (at < x.shape).all():
            total += np.prod(1 - np.abs(place - at)) * float(x[tuple(at)])
    return total


def equation(x, offset, w, b, stride, padding, dilation, mask, groups, offset_groups):
    rank, kernel, size = x.ndim - 2, w.shape[2:], offset.shape[2:]
    inner, outer, taps = w.shape[1], w.shape[0] // groups, int(np.prod(kernel))
    y = np.zeros((len(x), len(w), *size)) + b.astype(float).reshape(-1, *(1,) * rank)
    for n, c, (t, tap), p in product(
        range(len(x)), range(x.shape[1]), enumerate(np.ndindex(kernel)), list(np.ndindex(size))
    ):
        kind = c // (x.shape[1] // offset_groups) * taps + t
        move = offset[(n, slice(kind * rank, (kind + 1) * rank), *p)].astype(float)
        value = sampled(x[n, c], np.array(p) * stride + np.array(tap) * dilation - padding + move)
        value *= 1 if mask is None else float(mask[(n, kind, *p)])
        o = slice(c // inner * outer, (c // inner + 1) * outer)
        y[(n, o, *p)] += w[(o, c % inner, *tap)].astype(float) * value
    return y


@pytest.mark.parametrize("case", CASES)
def test_equation(case):
    rank, dtype, n, c, o, groups, parts, size, kernel, stride, padding, dilation, masked = case
    x, w, b = numbers((n, c, *size), dtype, 0), numbers((o, c // groups, *kernel), dtype, 1), numbers(o, dtype, 2)
    out = [(s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(size, kernel, strict=True)]
    taps = int(np.prod(kernel))
    offset = 2 * numbers((n, rank * parts * taps, *out), dtype, 3)
    mask = numbers((n, parts * taps, *out), dtype, 4) if masked else None
    y = DEFORMED[rank](x, offset, w, b, stride, padding, dilation, mask, groups, parts)
    assert y.dtype == dtype
    expected = equation(x, offset, w, b, stride, padding, dilation, mask, groups, parts)
    np.testing.assert_allclose(y, expected, rtol=0, atol=1000 * np.finfo(dtype).eps)


def arrays_of(case, dtype):
    rank, _, n, c, o, groups, parts, size, kernel, stride, padding, dilation, masked = case
    out = [(s + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for s, k in zip(size, kernel, strict=True)]
    taps = int(np.prod(kernel))
    x, w, dy = (
        numbers((n, c, *size), dtype, 0),
        numbers((o, c // groups, *kernel), dtype, 1),
        numbers((n, o, *out), dtype, 5),
    )
    offset = 2 * numbers((n, rank * parts * taps, *out), dtype, 3)
    mask = numbers((n, parts * taps, *out), dtype, 4) if masked else None
    return x, w, dy, offset, mask, (stride, padding, dilation), (groups, parts)


def in_torch(torch, x, offset, w, mask, geometry, groups, parts):
    """The equation by operations of PyTorch, each corner gathered on its own, for its autograd."""
    (stride, padding, dilation), rank, kernel, size = geometry, x.ndim - 2, w.shape[2:], offset.shape[2:]
    n, taps = len(x), int(np.prod(kernel))
    moves = offset.reshape(n, parts, taps, rank, *size)
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"))  # rank, *size
    steps = np.stack(np.meshgrid(*map(np.arange, kernel), indexing="ij")).reshape(rank, taps)
    at = []
    for a in range(rank):
        still = grid[a][None] * stride + steps[a].reshape(-1, *(1,) * rank) * dilation - padding
        at.append(torch.tensor(still, dtype=x.dtype) + moves[:, :, :, a])
    lows = [torch.floor(place.detach()) for place in at]
    planes = x.reshape(n, parts, -1, int(np.prod(x.shape[2:])))
    samples = 0
    for corner in product((0, 1), repeat=rank):
        share, index, inside = 1, 0, 1
        for a, high in enumerate(corner):
            rest = at[a] - lows[a]
            share = share * (rest if high else 1 - rest)
            pixel = lows[a].long() + high
            inside = inside * ((pixel >= 0) & (pixel < x.shape[2 + a]))
            index = index * x.shape[2 + a] + pixel.clamp(0, x.shape[2 + a] - 1)
        flat = index.reshape(n, parts, 1, -1).expand(-1, -1, planes.shape[2], -1)
        read = torch.gather(planes, 3, flat).reshape(n, parts, -1, *index.shape[2:])
        samples = samples + read * (share * inside)[:, :, None]
    if mask is not None:
        samples = samples * mask.reshape(n, parts, 1, taps, *size)
    samples = samples.reshape(n, groups, -1, int(np.prod(size)))
    weights = w.reshape(groups, len(w) // groups, -1)
    return torch.einsum("gok,ngkp->ngop", weights, samples).reshape(n, len(w), *size)


@pytest.mark.parametrize("case", CASES)
def test_gradients_as_torch(case):
    torch = pytest.importorskip("torch")
    rank, dtype = case[:2]
    x, w, dy, offset, mask, geometry, (groups, parts) = arrays_of(case, dtype)
    offset.reshape(-1)[::7] = np.round(offset.reshape(-1)[::7])  # exactly on pixels, at the edges and outside too
    leaves = [None if a is None else torch.tensor(a.astype(float), requires_grad=True) for a in (x, offset, mask, w)]
    tx, t_offset, t_mask, tw = leaves
    y = in_torch(torch, tx, t_offset, tw, t_mask, geometry, groups, parts)
    y.backward(torch.tensor(dy.astype(float)))
    atol = 2000 * np.finfo(dtype).eps
    np.testing.assert_allclose(DEFORMED[rank](x, offset, w, None, *geometry, mask, groups, parts), y.detach(), 0, atol)
    got = BACKWARD[rank](dy, x, offset, w, *geometry, mask, groups, parts)
    for gradient, leaf in zip(got[:4], leaves, strict=True):
        if leaf is None:
            assert gradient is None
        else:
            assert gradient.dtype == dtype
            np.testing.assert_allclose(gradient, leaf.grad, rtol=0, atol=atol)
    np.testing.assert_allclose(got.bias, dy.sum(axis=(0, *range(2, rank + 2))), rtol=0, atol=atol)
    again = BACKWARD[rank](dy, x, offset, w, *geometry, mask, groups, parts)
    for one, other in zip(got, again, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[4]])
def test_finite_differences(case):
    rank = case[0]
    x, w, dy, offset, mask, geometry, groups = arrays_of(case, "float64")
    offset = np.floor(offset) + 0.1 + 0.8 * np.random.default_rng(6).random(offset.shape)  # away from the bends

    def loss(x, offset, mask, w):
        return np.sum(dy * DEFORMED[rank](x, offset, w, None, *geometry, mask, *groups))

    got = BACKWARD[rank](dy, x, offset, w, *geometry, mask, *groups)
    for i, name in enumerate(("x", "offset", "mask", "weight")):
        arrays = [x, offset, mask, w]
        step = 1e-4 * numbers(arrays[i].shape, "float64", 7)
        ends = []
        for sign in (1, -1):
            arrays[i] = (x, offset, mask, w)[i] + sign * step
            ends.append(loss(*arrays))
        expected = np.sum(got[i] * 2 * step)
        assert abs(ends[0] - ends[1] - expected) < 1e-6 * max(1, abs(expected)), name


def test_gradients_at_pixels_and_outside():
    x, one = np.array([[[1.0, 10.0, 100.0]]]), np.ones((1, 1, 1))
    at = np.array([-2, -1.5, -1, -0.5, 0, 1, 2, 2.5, 3, 4])
    slopes, places = [0, 0, 1, 1, 9, 90, -100, -100, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]
    for place, slope, seen in zip(at, slopes, places, strict=True):
        got = deform_conv1d_backward(one, x, np.full((1, 1, 1), place), one, padding=((0, -2),))
        assert got.offset.item() == slope
        assert bool(got.x.any()) == bool(seen)
        if place in (0, 1, 2):
            np.testing.assert_array_equal(got.x[0, 0], np.eye(3)[int(place)])


def test_gradients_that_are_asked_for():
    x, w, dy, offset, mask, geometry, groups = arrays_of(CASES[1], "float32")
    whole = deform_conv2d_backward(dy, x, offset, w, *geometry, mask, *groups)
    for i in range(5):
        wanted = [i == j for j in range(5)]
        for j, gradient in enumerate(deform_conv2d_backward(dy, x, offset, w, *geometry, mask, *groups, wanted)):
            if i == j:
                np.testing.assert_array_equal(gradient, whole[i])
            else:
                assert gradient is None
    with pytest.raises(ValueError, match="output_mask must be five bools"):
        deform_conv2d_backward(dy, x, offset, w, *geometry, mask, *groups, (True, False))
    with pytest.raises(
        ValueError, match=r"grad_output must have the shape of the convolution's result, \(2, 5, 8, 9\)"
    ):
        deform_conv2d_backward(dy[:1], x, offset, w, *geometry, mask, *groups)
    with pytest.raises(TypeError, match="grad_output must be of a float dtype; got int64"):
        deform_conv2d_backward(dy.astype(int), x, offset, w, *geometry, mask, *groups)


def test_many_images_go_in_parts(monkeypatch):
    x, w, dy, offset, mask, geometry, groups = arrays_of(CASES[1], "float64")
    whole = deform_conv2d_backward(dy, x, offset, w, *geometry, mask, *groups)
    monkeypatch.setattr("numbaconv.deformable.PANEL", 1)
    for one, other in zip(deform_conv2d_backward(dy, x, offset, w, *geometry, mask, *groups), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_gradients_of_nothing():
    x, w, offset = np.ones((1, 0, 4, 4)), np.ones((2, 0, 3, 3)), np.ones((1, 18, 2, 2))
    got = deform_conv2d_backward(np.ones((1, 2, 2, 2)), x, offset, w)
    assert got.x.shape == x.shape and not got.offset.any() and got.weight.shape == w.shape and (got.bias == 4).all()


def test_no_gradient_is_written_beside_its_array():
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 1, 1), np.float32)
    offset, mask = numbers((1, 2, 4, 4), "float32", 0) * 9, np.full((1, 1, 4, 4), np.nan, np.float32)
    offset[0, 0, 0] = np.nan
    got = deform_conv2d_backward(x, x, offset, w, mask=mask)
    assert np.isnan(got.offset[0, :, 0]).all() and np.isnan(got.weight).all() and np.isnan(got.mask[0, 0, 0]).all()


def test_offsets_that_are_whole_pixels_move_the_input():
    x, w = numbers((2, 3, 9, 10), "float32", 0), numbers((4, 3, 3, 3), "float32", 1)
    offset = np.zeros((2, 18, 9, 10), np.float32)
    np.testing.assert_allclose(deform_conv2d(x, offset, w, padding=1), conv2d(x, w, padding=1, strategy="generic"),
                               rtol=0, atol=1e-4)  # fmt: skip
    offset[:, 1::2] = 1
    moved = np.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1)))[..., 1:]
    y = deform_conv2d(x, offset, w, padding=1)[..., 1:]
    np.testing.assert_allclose(y, conv2d(moved, w, padding=1, strategy="generic")[..., 1:], rtol=0, atol=1e-4)


def test_a_new_geometry_never_compiles():
    def call(size, kernel, stride):
        x, w = np.ones((1, 2, size, size), np.float32), np.ones((3, 2, kernel, kernel), np.float32)
        out = (size - kernel) // stride + 1
        return deform_conv2d(x, np.zeros((1, 2 * kernel**2, out, out), np.float32), w, stride=stride)

    call(9, 3, 1)
    before = KernelFile.hits, KernelFile.misses
    assert (call(12, 5, 2) == 50).all()
    assert (KernelFile.hits, KernelFile.misses) == before


def test_refusals():
    x, w = np.ones((1, 4, 5, 5), np.float32), np.ones((2, 4, 3, 3), np.float32)
    offset = np.zeros((1, 18, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"offset must have shape \(1, 36, 3, 3\); got \(1, 18, 3, 3\)"):
        deform_conv2d(x, offset, w, offset_groups=2)
    with pytest.raises(ValueError, match="offset_groups must divide the 4 channels of x; got 3"):
        deform_conv2d(x, offset, w, offset_groups=3)
    with pytest.raises(ValueError, match=r"mask must have shape \(1, 9, 3, 3\)"):
        deform_conv2d(x, offset, w, mask=offset)
    with pytest.raises(TypeError, match="x and weight must be float32 or float64 together; got int64"):
        deform_conv2d(x.astype(int), offset, w.astype(int))


def test_an_offset_that_is_nan_is_no_zero():
    x, w = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 1, 1), np.float32)
    offset = np.zeros((1, 2, 4, 4), np.float32)
    offset[0, 1, 2, 3] = np.nan
    expected = np.ones((1, 1, 4, 4), np.float32)
    expected[0, 0, 2, 3] = np.nan
    np.testing.assert_array_equal(deform_conv2d(x, offset, w), expected)

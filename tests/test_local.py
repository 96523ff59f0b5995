"""Locally connected layers: the equation, one output pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import reference

import numbaconv
from numbaconv import local_conv2d
from numbaconv.codegen.cache import KernelFile

LOCAL = {rank: getattr(numbaconv, f"local_conv{rank}d") for rank in (1, 2, 3)}


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

"""The equation, written out: the oracle of every test. It imports nothing of the package.

    y[n, o, p] = b[o] + sum over c, t of  w[o, c, t] * x[n, g(o) + c, (p*stride + t*dilation - lo) / input_dilation]

One loop over the taps; channels and pixels are matrix products in float64, complex128 or Python integers. A term whose
position is outside the input is left out, so zero padding never meets NaN or inf.
"""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np


def wide(a):
    """float64, complex128, or Python integers, which never overflow."""
    a = np.asarray(a)
    if a.dtype.kind in "biu":
        return a.astype(object) + 0  # True becomes 1
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)


def each(value, rank):
    """One value for every axis."""
    return (value,) * rank if isinstance(value, int) else tuple(value)


def ends(padding, rank):
    """(lo, hi) for every axis."""
    return tuple((p, p) if isinstance(p, int) else tuple(p) for p in each(padding, rank))


def conv(x, w, b=None, stride=1, padding=0, dilation=1, groups=1, input_dilation=1):
    """x: (N, C, ...); w: (O, C/groups, ...); result (N, O, ...) in a wide dtype."""
    x, w = wide(x), wide(w)
    rank = x.ndim - 2
    stride, dilation, gap = each(stride, rank), each(dilation, rank), each(input_dilation, rank)
    padding = ends(padding, rank)
    size, kernel = x.shape[2:], w.shape[2:]
    out = tuple(
        ((n - 1) * g + 1 + lo + hi - d * (k - 1) - 1) // s + 1
        for n, g, (lo, hi), d, k, s in zip(size, gap, padding, dilation, kernel, stride, strict=True)
    )
    y = np.zeros((x.shape[0], w.shape[0], *out), np.result_type(x, w))
    inner, outer = w.shape[1], w.shape[0] // groups
    for tap in product(*map(range, kernel)):
        to, source = [], []
        for i in range(rank):
            position = np.arange(out[i]) * stride[i] + tap[i] * dilation[i] - padding[i][0]
            inside = (position >= 0) & (position % gap[i] == 0) & (position // gap[i] < size[i])
            to.append(np.flatnonzero(inside))
            source.append(position[inside] // gap[i])
        count = tuple(len(i) for i in to)
        for group in range(groups):
            o, c = slice(group * outer, (group + 1) * outer), slice(group * inner, (group + 1) * inner)
            pixels = x[:, c][(..., *np.ix_(*source))].reshape(x.shape[0], inner, prod(count))
            terms = w[o][(..., *tap)] @ pixels
            y[:, o][(..., *np.ix_(*to))] += terms.reshape(x.shape[0], outer, *count)
    return y if b is None else y + wide(b).reshape(-1, *(1,) * rank)


def conv_transpose(x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """x: (N, C, ...); w: (C, O/groups, ...). By its own definition: every input is scattered through the kernel.

    y[n, o, i*stride + t*dilation - lo] += w[c, o, t] * x[n, c, i]
    """
    x, w = wide(x), wide(w)
    rank = x.ndim - 2
    stride, dilation, extra = each(stride, rank), each(dilation, rank), each(output_padding, rank)
    padding = ends(padding, rank)
    size, kernel = x.shape[2:], w.shape[2:]
    out = tuple(
        (n - 1) * s - lo - hi + d * (k - 1) + op + 1
        for n, s, (lo, hi), d, k, op in zip(size, stride, padding, dilation, kernel, extra, strict=True)
    )
    inner, outer = w.shape[0] // groups, w.shape[1]
    y = np.zeros((x.shape[0], outer * groups, *out), np.result_type(x, w))
    for tap in product(*map(range, kernel)):
        to, source = [], []
        for i in range(rank):
            position = np.arange(size[i]) * stride[i] + tap[i] * dilation[i] - padding[i][0]
            inside = (position >= 0) & (position < out[i])
            to.append(position[inside])
            source.append(np.flatnonzero(inside))
        count = tuple(len(i) for i in to)
        for group in range(groups):
            o, c = slice(group * outer, (group + 1) * outer), slice(group * inner, (group + 1) * inner)
            pixels = x[:, c][(..., *np.ix_(*source))].reshape(x.shape[0], inner, prod(count))
            terms = w[c][(..., *tap)].T @ pixels
            y[:, o][(..., *np.ix_(*to))] += terms.reshape(x.shape[0], outer, *count)
    return y if b is None else y + wide(b).reshape(-1, *(1,) * rank)


def conv_weight(x, dy, b=None, weight_size=(), stride=1, padding=0, dilation=1, groups=1):
    """Gradient of `conv` for its weights. x: (N, C, ...); dy: (N, O, ...); result (O, C/groups, ...). No bias.

    dw[o, c, t] = sum over n, p of  dy[n, o, p] * x[n, g(o) + c, p*stride + t*dilation - lo]
    """
    x, dy = wide(x), wide(dy)
    rank = x.ndim - 2
    stride, dilation, padding = each(stride, rank), each(dilation, rank), ends(padding, rank)
    dw = np.zeros(weight_size, np.result_type(x, dy))
    outer, inner = weight_size[0] // groups, weight_size[1]
    for tap in product(*map(range, weight_size[2:])):
        to, source = [], []
        for i in range(rank):
            position = np.arange(dy.shape[i + 2]) * stride[i] + tap[i] * dilation[i] - padding[i][0]
            inside = (position >= 0) & (position < x.shape[i + 2])
            to.append(np.flatnonzero(inside))
            source.append(position[inside])
        for group in range(groups):
            o, c = slice(group * outer, (group + 1) * outer), slice(group * inner, (group + 1) * inner)
            gradients = dy[:, o][(..., *np.ix_(*to))].swapaxes(0, 1).reshape(outer, -1)
            pixels = x[:, c][(..., *np.ix_(*source))].swapaxes(0, 1).reshape(inner, -1)
            dw[o][(..., *tap)] += gradients @ pixels.T
    return dw

"""Winograd's transforms of one tile of F(mh x mw, kh x kw), lanes being channels; and channels into lanes and back.

U = G w G'        V = B d B'        y = b + A (sum_c U * V) A'        (Lavin & Gray, arXiv:1509.09308)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbaconv.codegen import emit_winograd
from numbaconv.codegen.emit import emitted_by
from numbaconv.codegen.transforms import products, transform


@emitted_by(emit_winograd.channels_to_lanes)
def channels_to_lanes(target: Any, source: Any, inside: Any, width: int, channels: int, lanes: int) -> None:
    """``target[j, c] = source[c, j] if lo <= j < hi else 0``, j < width; up to ``lanes - 1`` columns more are written.

    target: (flat, base); source: (flat, base, stride from channel to channel); inside: (lo, hi). Lanes without a
    channel, c >= channels, repeat the last one.
    """
    (t_flat, t_base), (s_flat, s_base, s_channel) = target, source
    lo, hi = inside
    for j in range(width):
        for c in range(lanes):
            from_channel = s_base + min(c, channels - 1) * s_channel
            t_flat[t_base + j * lanes + c] = s_flat[from_channel + j] if lo <= j < hi else 0


@emitted_by(emit_winograd.lanes_to_channels)
def lanes_to_channels(target: Any, source: Any, count: int, channels: int, lanes: int) -> None:
    """``target[c, j] = source[j, c]``, j < count, c < channels and lanes.

    target: (flat, base, stride from channel to channel); source: (flat, base), readable to whole vectors of j.
    """
    (t_flat, t_base, t_channel), (s_flat, s_base) = target, source
    for j in range(count):
        for c in range(min(channels, lanes)):
            t_flat[t_base + c * t_channel + j] = s_flat[s_base + j * lanes + c]


@emitted_by(emit_winograd.winograd_input)
def winograd_input(target: Any, source: Any, mh: int, kh: int, mw: int, kw: int, stride: int, lanes: int) -> None:
    """``target[n] = (B d B')[n]``. target: (flat, base, stride of points); source: (flat, base, row, column stride)."""
    (t_flat, t_base, t_point), (s_flat, s_base, s_row, s_col) = target, source
    high, wide = transform(mh, kh, stride).B, transform(mw, kw, stride).B
    d = _tile(s_flat, s_base, s_row, s_col, (len(high), len(wide)), lanes)
    points = np.einsum("ai,bj,ijl->abl", high, wide, d)
    _tile(t_flat, t_base, t_point, 0, (points.shape[0] * points.shape[1], 1), lanes)[:] = points.reshape(-1, 1, lanes)


@emitted_by(emit_winograd.winograd_weights)
def winograd_weights(target: Any, source: Any, mh: int, kh: int, mw: int, kw: int, stride: int, lanes: int) -> None:
    """``target[n] = (G w G')[n]``. target: (flat, base, stride of points); source: (flat, base, step between taps)."""
    (t_flat, t_base, t_point), (s_flat, s_base, s_tap) = target, source
    w = _tile(s_flat, s_base, kw * s_tap, s_tap, (kh, kw), lanes)
    points = np.einsum("ai,bj,ijl->abl", transform(mh, kh, stride).G, transform(mw, kw, stride).G, w)
    _tile(t_flat, t_base, t_point, 0, (points.shape[0] * points.shape[1], 1), lanes)[:] = points.reshape(-1, 1, lanes)


@emitted_by(emit_winograd.winograd_products)
def winograd_products(
    target: Any, left: Any, right: Any, terms: int, blocks: int, first: int, mr: int, nv: int, lanes: int
) -> None:
    """``target[t, o] = (0 if first else target[t, o]) + sum_k left[t, k] * right[k, o]``, t < blocks*mr, o < nv*lanes.

    target, left: (flat, base, row stride); right: (flat, base), one row a term.
    """
    (t_flat, t_base, t_row), (l_flat, l_base, l_row), (r_flat, r_base) = target, left, right
    panel = r_flat[r_base : r_base + terms * nv * lanes].reshape(terms, nv * lanes)
    for t in range(blocks * mr):
        y = t_flat[t_base + t * t_row : t_base + t * t_row + nv * lanes]
        y[:] = (0 if first else y) + l_flat[l_base + t * l_row : l_base + t * l_row + terms] @ panel


@emitted_by(emit_winograd.winograd_output)
def winograd_output(
    target: Any, source: Any, b: Any, check: Any, mh: int, kh: int, mw: int, kw: int, stride: int, lanes: int
) -> None:
    """``target[i, j] = b + (A m A')[i, j]``; ``check`` becomes NaN in lanes where one of them is not finite.

    target: (flat, base, row, column stride); source: (flat, base, stride of points); b, check: (flat, base), a vector.
    """
    (t_flat, t_base, t_row, t_col), (s_flat, s_base, s_point), (b_flat, b_base), (c_flat, c_base) = (
        target, source, b, check,
    )  # fmt: skip
    high, wide, n = transform(mh, kh, stride).A, transform(mw, kw, stride).A, products(mw, kw, stride)
    m = _tile(s_flat, s_base, n * s_point, s_point, (products(mh, kh, stride), n), lanes)
    y = np.einsum("ai,bj,ijl->abl", high, wide, m) + b_flat[b_base : b_base + lanes]
    _tile(t_flat, t_base, t_row, t_col, (mh, mw), lanes)[:] = y
    c_flat[c_base : c_base + lanes] += y.sum((0, 1)) * 0


def _tile(flat: Any, base: int, row: int, col: int, shape: tuple[int, int], lanes: int) -> Any:
    """The vectors at ``base + i*row + j*col`` as a view of three axes."""
    size = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat[base:], (*shape, lanes), (row * size, col * size, size))

"""Pixels of a depthwise convolution whose channels lie side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen import emit_channels
from numbaconv.codegen.emit import emitted_by
from numbaconv.codegen.jit import inline


@emitted_by(emit_channels.channel_tile)
def channel_tile(
    y: Any, w: Any, x: Any, b: Any, taps: Any, channels: int, first: int, kernel: int, stride: int, mr: int, lanes: int
) -> None:
    """``y[i, c] = (b[c] if first else y[i, c]) + sum_r sum_t w[r, t, c] * x[i, r, t, c]``, i < mr, c < channels.

    taps: how many (r, t); y: (flat, base, stride of i); w: (flat, base, of r, of t); x: (flat, base, of r, of t, of i);
    b: (flat, base). ``kernel`` is 0, or the number of t, of a dense kernel: the stride of i is ``stride`` that of t.
    """
    (y_flat, y_base, y_step), (w_flat, w_base, w_row, w_col), (x_flat, x_base, x_row, x_col, x_step) = y, w, x
    (b_flat, b_base), (rows, cols) = b, taps
    for i in range(mr):
        for c in range(channels):
            place = y_base + i * y_step + c
            total = b_flat[b_base + c] if first else y_flat[place]
            for r in range(rows):
                for t in range(cols):
                    at = x_base + r * x_row + t * x_col + i * x_step + c
                    total += w_flat[w_base + r * w_row + t * w_col + c] * x_flat[at]
            y_flat[place] = total


def make_pixels(kernel: int, stride: int, mr: int, lanes: int) -> Callable[..., None]:
    """``pixels(y, w, x, b, taps, channels, first, count)``: the tile's arguments, for ``count`` pixels in a row."""
    if mr > 1:
        fewer = make_pixels(kernel, stride, mr // 2, lanes)
    else:

        def fewer(y: Any, w: Any, x: Any, b: Any, taps: Any, channels: int, first: int, count: int) -> None:
            pass

        fewer = inline(fewer, kernel, stride, mr, lanes)

    def pixels(y: Any, w: Any, x: Any, b: Any, taps: Any, channels: int, first: int, count: int) -> None:
        (y_flat, y_at, y_step), (x_flat, x_at, x_row, x_col, x_step) = y, x
        for _ in range(count // mr):
            channel_tile((y_flat, y_at, y_step), w, (x_flat, x_at, x_row, x_col, x_step), b, taps, channels, first,
                         kernel, stride, mr, lanes)  # fmt: skip
            y_at += mr * y_step
            x_at += mr * x_step
        if mr > 1:
            fewer((y_flat, y_at, y_step), w, (x_flat, x_at, x_row, x_col, x_step), b, taps, channels, first, count % mr)

    return inline(pixels, kernel, stride, mr, lanes)

"""The weight gradient of depthwise layers: all sums of a kernel, or of a piece of it, in registers at once."""

from __future__ import annotations

from typing import Any, NamedTuple

from numbaconv.codegen import emit_gradient
from numbaconv.codegen.emit import emitted_by


class Piece(NamedTuple):
    """``rows`` x ``cols`` taps of a kernel."""

    rows: int
    cols: int


# The pieces for kernels 3, 5 and 7 or more wide, by registers; with BAND rows of gradients and one vector of inputs
# 9 + 4 + 1, 25 + 4 + 1 and 21 + 4 + 1 of 32, or 9 + 4 + 1, 10 + 4 + 1 and 7 + 4 + 1 of 16.
PIECES = {
    32: (Piece(3, 3), Piece(5, 5), Piece(3, 7)),
    16: (Piece(3, 3), Piece(2, 5), Piece(1, 7)),
}
BAND = 4


def piece_of(width: int) -> int:
    """Which piece suits kernels of this width."""
    return 0 if width <= 3 else 1 if width <= 5 else 2


@emitted_by(emit_gradient.tap_tile)
def tap_tile(
    y: Any, w: Any, x: Any, rows: int, count: int, mr: int, kernel: int, stride: int, nv: int, lanes: int
) -> None:
    """``y[r, t] += sum_i sum_p w[i, p] * x[i*stride + r, t % stride, p + t // stride]``, i < rows, p < count.

    r < mr, t < kernel. y, w: (flat, base, row stride); x: (flat, base, row stride, phase stride), the columns of the
    stride's phases apart. The emitter takes nv rows of w at a time.
    """
    (y_flat, y_base, y_row), (w_flat, w_base, w_row), (x_flat, x_base, x_row, x_phase) = y, w, x
    for r in range(mr):
        for t in range(kernel):
            total = y_flat[y_base + r * y_row + t]
            for i in range(rows):
                for p in range(count):
                    place = x_base + (i * stride + r) * x_row + (t % stride) * x_phase + p + t // stride
                    total += w_flat[w_base + i * w_row + p] * x_flat[place]
            y_flat[y_base + r * y_row + t] = total


@emitted_by(emit_gradient.pixel_taps)
def pixel_taps(y: Any, w: Any, x: Any, table: Any, rows: int, count: int, mr: int, lanes: int) -> None:
    """``y[t, c] += sum_i sum_p w[i, p, c] * x[i, p, tap(t), c]``, t < mr, i < rows, p < count, c < lanes.

    y: (flat, base), t being ``lanes`` apart; w: (flat, base, stride of i), p being ``lanes`` apart; x: (flat, base,
    stride of i, of p); table: (flat, where the offsets of the taps begin).
    """
    (y_flat, y_base), (w_flat, w_base, w_row), (x_flat, x_base, x_row, x_col), (words, taps) = y, w, x, table
    for t in range(mr):
        for c in range(lanes):
            total = y_flat[y_base + t * lanes + c]
            for i in range(rows):
                for p in range(count):
                    place = x_base + i * x_row + p * x_col + words[taps + t] + c
                    total += w_flat[w_base + i * w_row + p * lanes + c] * x_flat[place]
            y_flat[y_base + t * lanes + c] = total

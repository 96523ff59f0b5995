"""Groups in the lanes of vectors: pixels of as many channels as lanes side by side, and the sums over their taps."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen import emit_groups
from numbaconv.codegen.emit import emitted_by


@emitted_by(emit_groups.scatter_lanes)
def scatter_lanes(target: Any, source: Any, table: Any, count: int, channels: int, lanes: int) -> None:
    """``target[place(i) + c] = source[c, i]``, i < count, c < lanes; a lane without a channel repeats the last one.

    Pixels whose place is negative are nowhere.
    target: (flat, base, a place that may be written at will); source: (flat, base, stride from channel to channel);
    table: (flat, where the places of the pixels begin).
    """
    (t_flat, t_base, _), (s_flat, s_base, s_channel), (words, places) = target, source, table
    for i in range(count):
        for c in range(lanes if words[places + i] >= 0 else 0):
            t_flat[t_base + words[places + i] + c] = s_flat[s_base + min(c, channels - 1) * s_channel + i]


@emitted_by(emit_groups.group_tile)
def group_tile(
    y: Any, x: Any, w: Any, b: Any, table: Any, terms: int, count: int, mr: int, nv: int, lanes: int
) -> None:
    """``y[m, q, c] = b[m, c] + sum_k w[m, k, c] * x[pixel(q) + tap(k) + c]``, m < mr, q < count, c < lanes.

    y: (flat, base, stride of m); x, b: (flat, base); w: (flat, base, stride of m); ``nv`` pixels at a time;
    table: (flat, where the pixels' places begin, where the taps' do).
    """
    (y_flat, y_base, y_row), (x_flat, x_base), (w_flat, w_base, w_row), (b_flat, b_base) = y, x, w, b
    words, pixels, taps = table
    for m in range(mr):
        for q in range(count):
            for c in range(lanes):
                total = b_flat[b_base + m * lanes + c]
                for k in range(terms):
                    at = x_base + words[pixels + q] + words[taps + k] + c
                    total += w_flat[w_base + m * w_row + k * lanes + c] * x_flat[at]
                y_flat[y_base + m * y_row + q * lanes + c] = total

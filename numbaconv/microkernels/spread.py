"""Transposed convolution of one channel at stride 2: what each pixel adds to four neighbours, gathered by the four."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen import emit_gradient
from numbaconv.codegen.emit import emitted_by


@emitted_by(emit_gradient.spread_tile)
def spread_tile(
    y: Any, w: Any, x: Any, b: Any, at: Any, inside: Any, rows: int, count: int, kernel: int, lanes: int
) -> None:
    """``y[row + 2*q + i, col + 2*p + j] = b + sum_r sum_t w[2*r + i, 2*t + j] * x[q + m - r, p + m - t]``, i, j < 2.

    q < rows, p < count rounded up to whole vectors, m = (kernel - 1) // 2; what lies outside is not written.

    y, x: (flat, base, row stride); w, b: (flat, base); at: (row, col), of which either may be -1;
    inside: (first row, last row + 1, columns) of what may be written.
    """
    (y_flat, y_base, y_row), (w_flat, w_base), (x_flat, x_base, x_row), (b_flat, b_base) = y, w, x, b
    (row, col), (top, bottom, width) = at, inside
    m = (kernel - 1) // 2
    for line in range(max(row, top), min(row + 2 * rows, bottom)):
        for column in range(max(col, 0), min(col + 2 * count, width)):
            (q, i), (p, j) = divmod(line - row, 2), divmod(column - col, 2)
            total = b_flat[b_base]
            for r in range((kernel - i + 1) // 2):
                for t in range((kernel - j + 1) // 2):
                    tap = w_flat[w_base + (2 * r + i) * kernel + 2 * t + j]
                    total += tap * x_flat[x_base + (q + m - r) * x_row + p + m - t]
            y_flat[y_base + line * y_row + column] = total

"""Sums of products of vectors with vectors: what is left of a convolution whose weights differ from pixel to pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen import emit_lanes
from numbaconv.codegen.emit import emitted_by
from numbaconv.codegen.jit import inline


@emitted_by(emit_lanes.lane_tile)
def lane_tile(y: Any, a: Any, b: Any, terms: int, count: int, first: int, mr: int, nv: int, lanes: int) -> None:
    """``y[i, j, p] = (0 if first else y[i, j, p]) + sum_k a[i, k, p] * b[j, k, p]``, i < mr, j < nv, p < count.

    y: (flat, base, row stride, column stride); a: (flat, base, row stride, stride of terms); b: (flat, base, column
    stride, stride of terms). Pixels p are neighbours in all three.
    """
    (y_flat, y_base, y_row, y_col), (a_flat, a_base, a_row, a_term), (b_flat, b_base, b_col, b_term) = y, a, b
    for i in range(mr):
        for j in range(nv):
            for p in range(count):
                place = y_base + i * y_row + j * y_col + p
                total = 0 if first else y_flat[place]
                for k in range(terms):
                    total += a_flat[a_base + i * a_row + k * a_term + p] * b_flat[b_base + j * b_col + k * b_term + p]
                y_flat[place] = total


def make_products(lanes: int) -> Callable[..., None]:
    """``products(y, a, b, terms, count, first, rows, columns)``: `lane_tile` of any number of rows and columns."""

    def products(y: Any, a: Any, b: Any, terms: int, count: int, first: int, rows: int, columns: int) -> None:
        (y_flat, y_base, y_row, y_col), (a_flat, a_base, a_row, a_term), (b_flat, b_base, b_col, b_term) = y, a, b
        for i in range(0, rows, 2):
            left = (a_flat, a_base + i * a_row, a_row, a_term)
            j = 0
            while j < columns:
                right = (b_flat, b_base + j * b_col, b_col, b_term)
                to = (y_flat, y_base + i * y_row + j * y_col, y_row, y_col)
                if i + 1 < rows and columns - j >= 4:
                    lane_tile(to, left, right, terms, count, first, 2, 4, lanes)
                elif i + 1 < rows:
                    lane_tile(to, left, right, terms, count, first, 2, 1, lanes)
                elif columns - j >= 4:
                    lane_tile(to, left, right, terms, count, first, 1, 4, lanes)
                else:
                    lane_tile(to, left, right, terms, count, first, 1, 1, lanes)
                j += 4 if columns - j >= 4 else 1

    return inline(products, lanes)

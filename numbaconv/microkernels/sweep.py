"""All tiles of a block: its rows in steps of ``mr``, and under each panel of weights all its vectors, ``nv`` at a time.

The panel stays in the first cache while the vectors of the block stream past it, from there or from the second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.microkernels.tile import gemm_tile


def make_tiles(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    """``tiles(..., width)``: the tile of the largest ``nv``, ``nv/2``, ... that is no wider than ``width``."""
    if nv == 1:

        def tiles(y: Any, w: Any, x: Any, b: Any, table: Any, terms: int, rows: int, first: int, width: int) -> None:
            gemm_tile(y, w, x, b, table, terms, rows, first, mr, nv, lanes)
    else:
        fewer = make_tiles(mr, nv - 1 if nv <= 3 else nv // 2, lanes)

        def tiles(y: Any, w: Any, x: Any, b: Any, table: Any, terms: int, rows: int, first: int, width: int) -> None:
            if width >= nv:
                gemm_tile(y, w, x, b, table, terms, rows, first, mr, nv, lanes)
            else:
                fewer(y, w, x, b, table, terms, rows, first, width)

    return inline(tiles, mr, nv, lanes)


def make_sweep(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    """``sweep(y, w, x, b, table, terms, rows, count, first)``; the tile's arguments, for any number of rows, vectors.

    w: (flat, base, row stride, stride from one row of tiles to the next, per row).
    """
    half = (mr + 1) // 2
    whole_tiles, half_tiles = make_tiles(mr, nv, lanes), make_tiles(half, nv, lanes)

    def sweep(y: Any, w: Any, x: Any, b: Any, table: Any, terms: int, rows: int, count: int, first: int) -> None:
        y_flat, y_base, y_row = y
        w_flat, w_base, w_row, w_step = w
        b_flat, b_base = b
        words, vectors, taps = table
        for m in range(0, rows, mr):
            at = (y_flat, y_base + m * y_row, y_row)
            weights = (w_flat, w_base + m * w_step, w_row)
            bias = (b_flat, b_base + m)
            height = min(mr, rows - m)
            start = 0
            while start < count:
                width = min(nv, count - start)
                if nv == 3 and count - start == 4:  # 2 + 2 keeps both fma units busier than 3 + 1
                    width = 2
                if nv > 3:
                    width = nv if width == nv else 4 if width >= 4 else 2 if width >= 2 else 1
                here = (words, vectors + 3 * start, taps)
                if height > half:
                    whole_tiles(at, weights, x, bias, here, terms, height, first, width)
                else:
                    half_tiles(at, weights, x, bias, here, terms, height, first, width)
                start += width

    return inline(sweep, mr, nv, lanes)

"""All tiles of a block: its vectors ``nv`` at a time, and over each such group of pixels all rows in steps of ``mr``.

The group's inputs stay in the first cache while the weights of all rows stream past them, in order, from the second: a
tile reads six times as much of x as of w. With the weights staying and the inputs streaming, 1x1 layers reached half of
the peak on Zen 3, whose second cache feeds 32 bytes a cycle, and whose translation buffers rows a plane apart exhaust.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.microkernels.pack import gather_rows
from numbaconv.microkernels.tile import gemm_column, spare_column


def make_width(nv: int) -> Callable[[int], int]:
    """``width(left)``: vectors of the next group, one for which there is a tile."""

    def width(left: int) -> int:
        if nv == 3 and left == 4:  # 2 + 2 keeps both fma units busier than 3 + 1
            return 2
        if nv > 3:
            return nv if left >= nv else 4 if left >= 4 else 2 if left >= 2 else 1
        return min(nv, left)

    return inline(width, nv)


def make_column(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    """``column(..., width)``: `gemm_column` of the largest ``nv``, ``nv/2``, ... that is no wider than ``width``."""
    if nv == 1:

        def column(y: Any, w: Any, x: Any, b: Any, table: Any, terms: int, rows: int, first: int, width: int) -> None:
            gemm_column(y, w, x, b, table, terms, rows, first, mr, nv, lanes)
    else:
        fewer = make_column(mr, nv - 1 if nv <= 3 else nv // 2, lanes)

        def column(y: Any, w: Any, x: Any, b: Any, table: Any, terms: int, rows: int, first: int, width: int) -> None:
            if width >= nv:
                gemm_column(y, w, x, b, table, terms, rows, first, mr, nv, lanes)
            else:
                fewer(y, w, x, b, table, terms, rows, first, width)

    return inline(column, mr, nv, lanes)


def make_sweep(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    """``sweep(y, w, x, b, table, terms, rows, count, first)``: the column's arguments, for any number of vectors."""
    width_of, column = make_width(nv), make_column(mr, nv, lanes)

    def sweep(y: Any, w: Any, x: Any, b: Any, table: Any, terms: int, rows: int, count: int, first: int) -> None:
        words, vectors, taps = table
        start = 0
        while start < count:
            width = width_of(count - start)
            column(y, w, x, b, (words, vectors + 3 * start, taps), terms, rows, first, width)
            start += width

    return inline(sweep, mr, nv, lanes)


def make_spare(mr: int, lanes: int) -> Callable[..., None]:
    """``spare(y, w, x, b, terms, rows, count, first)``: `spare_column` of any number of pixels."""

    def spare(y: Any, w: Any, x: Any, b: Any, terms: int, rows: int, count: int, first: int) -> None:
        (y_flat, y_at, y_row), (x_flat, x_at, x_row) = y, x
        p = 0
        while p + 4 <= count:
            spare_column((y_flat, y_at + p, y_row), w, (x_flat, x_at + p, x_row), b, terms, rows, first, mr, 4, lanes)
            p += 4
        if p + 2 <= count:
            spare_column((y_flat, y_at + p, y_row), w, (x_flat, x_at + p, x_row), b, terms, rows, first, mr, 2, lanes)
            p += 2
        if p < count:
            spare_column((y_flat, y_at + p, y_row), w, (x_flat, x_at + p, x_row), b, terms, rows, first, mr, 1, lanes)

    return inline(spare, mr, lanes)


def make_panel_sweep(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    """``panel_sweep(y, w, panel, x, b, table, terms, rows, count, first, most)``: each group's inputs gathered.

        panel[k, i] = x[off(k) + at(i)]          nv*lanes elements from term to term

    panel: (flat, base); x: (flat, base, end); table: (flat, places of the vectors, of the tile's terms, of the gathered
    terms, of the pieces that make up the vectors, and of the first piece of each vector). A last vector of no more than
    ``most`` pixels leaves its lanes to the rows, for which w must be packed.
    """
    width_of, column, spare = make_width(nv), make_column(mr, nv, lanes), make_spare(mr, lanes)
    row = nv * lanes

    def panel_sweep(
        y: Any, w: Any, panel: Any, x: Any, b: Any, table: Any, terms: int, rows: int, count: int, first: int, most: int
    ) -> None:
        words, vectors, taps, gathered, pieces, starts = table
        p_flat, p_base = panel
        w_flat, w_base, _, w_step = w
        y_flat, y_base, y_row = y
        last = vectors + 3 * (count - 1)
        rest = words[last + 2]
        whole = count - 1 if rest <= most else count
        start = 0
        while start < count:
            width = width_of(whole - start) if start < whole else 1
            at = p_base - start * lanes
            piece = words[starts + start]
            count_here = words[starts + start + width] - piece
            gather_rows((p_flat, at, row), x, (words, gathered, pieces + 2 * piece, count_here), terms, lanes)
            if start < whole:
                column(y, w, (p_flat, at), b, (words, vectors + 3 * start, taps), terms, rows, first, width)
            else:
                spare((y_flat, y_base + words[last + 1], y_row), (w_flat, w_base, w_step),
                      (p_flat, at + words[last], row), b, terms, rows, rest, first)  # fmt: skip
            start += width

    return inline(panel_sweep, mr, nv, lanes)

"""Which outputs of a transform stand, by their own size or that of some terms; the others are summed directly.

The least size that an output needs is the caller's to say. |y| <= |x| conv |w|, so an output that is large enough
stands, and so does one whose first terms are, in |x||w|. Rows of doubtful outputs are summed by the tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.microkernels.fft import doubt, settle
from numbaconv.microkernels.pack import copy_rows
from numbaconv.microkernels.tile import gemm_column

COLUMNS = 256  # outputs of a row that are looked at at a time
SHOWN = 16  # terms of neighbouring outputs that are looked at first
PIECE = 32  # terms that one output sums between two questions whether they are enough
TILE_TAPS = 64  # terms of a row that the tile sums at a time
FAR = 8  # largest dilation of rows that are summed by the tile
WHOLE = 4  # outputs of a row that are summed whole before the tile takes the rest
GEOMETRY = "marks halo line by_rows vector_table tap_table"


def scratch_words(lanes: int) -> dict[str, int]:
    """Elements of scratch by geometry word."""
    return {
        "marks": COLUMNS + 2 * lanes,
        "halo": COLUMNS + (TILE_TAPS - 1) * FAR + 9 * lanes,
        "line": COLUMNS + 8 * lanes,
    }


def tables(lanes: int, dilation: int) -> tuple[list[int], list[int]]:
    """The tile's words: of 8 vectors, of the taps of a row."""
    vectors = [word for v in range(8) for word in (v * lanes, v * lanes, lanes)]
    return vectors, [word for t in range(TILE_TAPS) for word in (t * dilation, t)]


def make_look(lanes: int) -> Callable[..., None]:
    """``look(scratch, at, limit, x, x_at, w, w_at, place, start, b, y, count, table, g)``."""

    def resum(value: Any, limit: Any, x: Any, x_at: int, w: Any, w_at: int, place: Any, start: Any, g: Any) -> Any:
        """(the output, 1 if its terms were all summed): ``value``, once |x||w| so far is no less than ``limit``."""
        (out_d, out_h, out_w) = place
        (c, td, th, piece) = start
        total, size = w[0], w[0]
        stands = abs(value) <= w[1]
        v = out_w * g.stride_w - g.pad_w
        first, last = 0, g.kernel_w
        if v < 0:
            first = (g.dilation_w - 1 - v) // g.dilation_w
        if v + (g.kernel_w - 1) * g.dilation_w >= g.in_w:
            last = (g.in_w - v + g.dilation_w - 1) // g.dilation_w
        for _ in range(g.group_in * g.kernel_d * g.kernel_h * g.pieces):
            d = out_d * g.stride_d - g.pad_d + td * g.dilation_d
            h = out_h * g.stride_h - g.pad_h + th * g.dilation_h
            if 0 <= d < g.in_d and 0 <= h < g.in_h:
                source = x_at + ((c * g.in_d + d) * g.in_h + h) * g.in_w + v
                weights = w_at + ((c * g.kernel_d + td) * g.kernel_h + th) * g.kernel_w
                for t in range(max(piece * PIECE, first), min(piece * PIECE + PIECE, last)):
                    term = w[weights + t] * x[source + t * g.dilation_w]
                    total += term
                    size += abs(term)
                if stands and size >= limit:
                    return value, 0
            piece += 1
            if piece == g.pieces:
                piece, th = 0, th + 1
                if th == g.kernel_h:
                    th, td = 0, td + 1
                    if td == g.kernel_d:
                        td, c = 0, (c + 1) % g.group_in
        return total, 1

    resum = inline(resum, lanes)

    def resum_row(
        scratch: Any, x: Any, x_at: int, w: Any, w_at: int, place: Any, count: int, table: Any, g: Any
    ) -> None:
        """``count`` outputs side by side, summed by the tile into the line."""
        (out_d, out_h, out_w) = place
        start = 1
        for row in range(g.group_in * g.kernel_d * g.kernel_h):
            rest, th = divmod(row, g.kernel_h)
            c, td = divmod(rest, g.kernel_d)
            d = out_d * g.stride_d - g.pad_d + td * g.dilation_d
            h = out_h * g.stride_h - g.pad_h + th * g.dilation_h
            if 0 <= d < g.in_d and 0 <= h < g.in_h:
                for t in range(0, g.kernel_w, TILE_TAPS):
                    taps = min(TILE_TAPS, g.kernel_w - t)
                    v = out_w - g.pad_w + t * g.dilation_w
                    source = x_at + ((c * g.in_d + d) * g.in_h + h) * g.in_w + v
                    wide_enough = count + (taps - 1) * g.dilation_w
                    copy_rows((scratch, g.halo, 0), (x, source, 0), 1, (-v, g.in_w - v), wide_enough, lanes)
                    for j in range(0, count, 8 * lanes):
                        gemm_column(
                            (scratch, g.line + j, 0), (w, w_at + row * g.kernel_w + t, 0, 0), (scratch, g.halo + j),
                            (w, 0), (table, g.vector_table, g.tap_table), taps, 1, start, 1, 8, lanes,
                        )  # fmt: skip
                    start = 0
        if start:
            for j in range(count):
                scratch[g.line + j] = 0

    resum_row = inline(resum_row, lanes)

    def look(scratch: Any, at: int, limit: int, x: Any, x_at: int, w: Any, w_at: int, place: Any, start: Any, b: Any,
             y: Any, count: int, table: Any, g: Any) -> None:  # fmt: skip
        """Store ``count`` outputs side by side; those for which neither their size nor some terms speak, resummed."""
        (out_d, out_h, out_w) = place
        (c, td, th, tap) = start
        (y_flat, to), (bias, o) = y, b
        limits = (scratch, limit), (w, 1)
        settle(y, (scratch, g.marks), (scratch, at), limits, b, count, lanes)
        if scratch[g.marks] == 0:
            return
        # Some terms of all outputs at once, around the heaviest, which lies in the input where others may not.
        d = out_d * g.stride_d - g.pad_d + td * g.dilation_d
        h = out_h * g.stride_h - g.pad_h + th * g.dilation_h
        if g.by_rows and 0 <= d < g.in_d and 0 <= h < g.in_h:
            taps = min(SHOWN, g.kernel_w) // 4 * 4
            first = min(max(0, tap - taps // 2), g.kernel_w - taps)
            v = out_w - g.pad_w + first * g.dilation_w
            source = x_at + ((c * g.in_d + d) * g.in_h + h) * g.in_w + v
            width = count + (taps - 1) * g.dilation_w
            copy_rows((scratch, g.halo, 0), (x, source, 0), 1, (-v, g.in_w - v), width, lanes)
            heavy = w_at + ((c * g.kernel_d + td) * g.kernel_h + th) * g.kernel_w + first
        else:
            taps, heavy = 0, 0
        terms = scratch, g.halo, g.dilation_w
        doubt((scratch, g.marks), (scratch, at), limits, (w, heavy), terms, count, taps, lanes)
        if scratch[g.marks + (count + lanes - 1) // lanes * lanes] == 0:
            return
        begin = c, td, th, tap // PIECE
        whole, rows = 0, False
        for j in range(count):
            if scratch[g.marks + j] == 0:
                continue
            if whole == WHOLE and g.by_rows and not rows:
                # The rest of the row is likely to be as this: silence.
                resum_row(scratch, x, x_at, w, w_at, place, count, table, g)
                rows = True
            if rows:
                y_flat[to + j] = scratch[g.line + j] + bias[o]
            else:
                here = out_d, out_h, out_w + j
                value, summed = resum(scratch[at + j], scratch[limit], x, x_at, w, w_at, here, begin, g)
                y_flat[to + j] = value + bias[o]
                whole += summed

    return inline(look, lanes)

"""The register tile: its meaning, and the table of its shapes for a machine's registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numbaconv.codegen import emit, emit_rows, emit_spare
from numbaconv.codegen.emit import emitted_by

if TYPE_CHECKING:
    from numbaconv.machine import Machine

# (vector bytes, registers): (mr, nv) of the main tile and of the narrow one, for problems with few output channels.
# The main tile also comes with half the rows, and every tile with fewer vectors, for what is left at the edges.
# Measured in L1, share of FMA peak (250 GFLOP/s, Zen 5, f32, K=128): 8x3 0.98, 6x4 0.98, 4x6 0.96, 14x2 0.95; 12x2
# runs out of integer registers for its row pointers: 0.47.
TILES = {
    (64, 32): ((8, 3), (1, 8)),  # 24 acc + 3 x + 1 w = 28 of 32;  8 + 8 + 1 = 17
    (32, 16): ((4, 3), (1, 8)),  # 12 acc + 3 x + 1 w = 16 of 16;  8 acc + 1 w, x from memory = 9
    (16, 32): ((8, 3), (1, 8)),  # 24 acc + 3 x + 1 w = 28 of 32;  8 + 8 + 1 = 17
    (16, 16): ((4, 3), (1, 8)),  # 12 acc + 3 x + 1 w = 16 of 16;  8 acc + 1 w, x from memory = 9
}


ROW_TILE_HEIGHTS = emit_rows.ROW_TILE_HEIGHTS


@dataclass(frozen=True)
class Tile:
    """``mr`` rows by ``nv`` vectors of ``lanes`` elements."""

    mr: int
    nv: int
    lanes: int

    @classmethod
    def of(cls, machine: Machine, dtype: str) -> Tile:
        """The main tile of a machine for float32, float64, or int32 of two or four numbers."""
        return cls(*TILES[machine.vector_bytes, machine.registers][0], machine.lanes(dtype))

    @classmethod
    def narrow(cls, machine: Machine, dtype: str) -> Tile:
        """The tile of one output channel."""
        return cls(*TILES[machine.vector_bytes, machine.registers][1], machine.lanes(dtype))

    @property
    def cycles(self) -> float:
        """Cycles of one fma: two a cycle, unless the loads, two a cycle too, take longer.

        A load of a vector that crosses a cache line counts twice; of the shifted rows of a halo nearly all do.
        """
        return max(0.5, (1.75 * self.nv + self.mr) / (2 * self.mr * self.nv))

    @property
    def spare(self) -> int:
        """The most pixels in a last vector that are better done by `spare_column`.

        Two loads and an fma are ``lanes`` products there: 17 pixels (512 -> 256, 1x1) take 0.63 of the time of two
        vectors, 20 0.77, 23 0.97, 24 1.01 (Zen 4). 2048 -> 512 on 7x7: 85 -> 108 GFLOP/s.
        """
        return self.lanes // 2 - 1

    def term_cycles(self, vectors: int, spare: int = 0) -> float:
        """Cycles of one term under ``vectors`` vectors, a row of the tile: each tile waits 4 for its own last fma.

        ``spare``: pixels that `spare_column` does.
        """
        whole, rest = divmod(vectors, self.nv)
        widths = [self.nv] * min(whole, 1) + [n for n in (4, 2, 1) if rest & n and n < self.nv]
        each = [max(n * self.cycles, 4 / self.mr) for n in widths]
        rows = (spare + 0.7 * (spare > 0)) / self.lanes
        return sum(each) + max(0, whole - 1) * max(self.nv * self.cycles, 4 / self.mr) + rows

    def padded(self, rows: int) -> int:
        """Rows that are computed for ``rows``: whole tiles, the last one halved where that is enough."""
        whole, rest = divmod(rows, self.mr)
        return whole * self.mr + (0 if not rest else self.mr // 2 if rest <= self.mr // 2 else self.mr)

    def __str__(self) -> str:
        return f"{self.mr}x{self.nv}x{self.lanes}"


@emitted_by(emit.gemm_column)
def gemm_column(
    y: Any, w: Any, x: Any, b: Any, table: Any, terms: int, rows: int, first: int, mr: int, nv: int, lanes: int
) -> None:
    """``y[i, p] = (b[i] if first else y[i, p]) + sum_k w[i, k] * x[p, k]``, i < rows, in tiles of mr.

    Elements of int32 are pairs of int16, those of uint32 four int8 in w and four uint8 in x, and ``*`` is the sum of
    the products, modulo 2**32.
    y: (flat, base, row stride); w: (flat, base, row stride, stride from one tile to the next, per row);
    x, b: (flat, base); table: (flat, place of the vectors' words, place of the terms' words).
    """
    (y_flat, y_base, y_row), (w_flat, w_base, w_row, w_step), (x_flat, x_base), (b_flat, b_base) = y, w, x, b
    words, vectors, taps = table
    for i in range(rows):
        w_at = w_base + i // mr * mr * w_step + i % mr * w_row
        for j in range(nv):
            x_at, y_at, count = words[vectors + 3 * j : vectors + 3 * j + 3]
            for lane in range(min(count, lanes)):
                place = y_base + i * y_row + y_at + lane
                total = b_flat[b_base + i] if first else y_flat[place]
                for k in range(terms):
                    x_off, w_off = words[taps + 2 * k : taps + 2 * k + 2]
                    total = _added(total, w_flat[w_at + w_off], x_flat[x_base + x_at + lane + x_off])
                y_flat[place] = total


def _added(total: Any, w: Any, x: Any) -> Any:
    """``total + w * x``; of integers modulo 2**32."""
    if not isinstance(w, np.int32 | np.uint32):
        return total + w * x
    kinds = (np.int16, np.int16) if isinstance(w, np.int32) else (np.int8, np.uint8)
    parts = (np.array([v]).view(kind).astype(np.int32) for v, kind in zip((w, x), kinds, strict=True))
    with np.errstate(over="ignore"):
        return total + np.dot(*parts).astype(w.dtype)


@emitted_by(emit_spare.spare_column)
def spare_column(
    y: Any, w: Any, x: Any, b: Any, terms: int, rows: int, first: int, mr: int, nv: int, lanes: int
) -> None:
    """`gemm_column` of ``nv`` pixels, fewer than a vector, with the rows of packed weights in its lanes.

    y: (flat, base, row stride); w: (flat, base, stride from one tile to the next, per row), ``mr`` rows to a term, and
    all of them there; x: (flat, base, stride of terms), neighbouring pixels; b: (flat, base).
    """
    (y_flat, y_base, y_row), (w_flat, w_base, w_step), (x_flat, x_base, x_row), (b_flat, b_base) = y, w, x, b
    for i in range(rows):
        w_at = w_base + i // mr * mr * w_step + i % mr
        for p in range(nv):
            place = y_base + i * y_row + p
            total = b_flat[b_base + i] if first else y_flat[place]
            for k in range(terms):
                total = _added(total, w_flat[w_at + k * mr], x_flat[x_base + k * x_row + p])
            y_flat[place] = total


@emitted_by(emit_rows.row_tile)
def row_tile(
    y: Any, w: Any, x: Any, b: Any, pitch: Any, inside: Any, beyond: Any, rows: int, count: int, height: int, taps: int,
    dilation: int, first: int, pairs: int, stride: int, extends: int, nv: int, lanes: int,
) -> None:  # fmt: skip
    """``y[i, p] = (b if first else y[i, p]) + sum_r sum_t w[r, t] * x[i*stride + r, p*stride + t*dilation]``.

    One output channel, r < height (of `ROW_TILE_HEIGHTS`), t < taps, i < rows, nv at a time, p < count; or, of
    ``pairs`` 2, two of them, ``pitch`` = (of x, of w, of y) apart, with half of the lanes each.
    y, w, x: (flat, base, row stride); b: (flat, base); inside: (top, bottom, left, right) of x, outside of which it is
    taken to be zero and its memory is not touched. Stride 2 has dilation 1.

    If ``extends``, it is instead what ``beyond`` = (map, ends, constant) says. map: (flat, base, step, start), for each
    line where in x, from ``start`` on, its column 0 would lie; or -1 for ``constant``: (flat, base), where that of a
    line of constants would. ends: (flat, base, row stride, pitch, distance), of each line the columns before ``left``,
    then those from ``right`` on, which lie ``distance`` nearer to the first than in the line; a vector more is read at
    both sides of them, and the ends of lines for outputs that are not there.
    """
    (y_flat, y_base, y_row), (w_flat, w_base, w_row), (x_flat, x_base, x_row), (b_flat, b_base) = y, w, x, b
    x_pitch, w_pitch, y_pitch = pitch
    top, bottom, left, right = inside
    for channel in range(pairs):
        w_at, x_at = w_base + channel * w_pitch, x_base + channel * x_pitch
        for i in range(rows):
            for p in range(count):
                place = y_base + channel * y_pitch + i * y_row + p
                total = b_flat[b_base + channel] if first else y_flat[place]
                for r in range(height):
                    for t in range(taps):
                        line, column = i * stride + r, p * stride + t * dilation
                        if extends:
                            at = channel * x_pitch, channel * beyond[1][3]
                            total += w_flat[w_at + r * w_row + t] * _extended(x_flat, inside, beyond, at, line, column)
                        elif top <= line < bottom and left <= column < right:
                            total += w_flat[w_at + r * w_row + t] * x_flat[x_at + line * x_row + column]
                y_flat[place] = total


def _extended(x: Any, inside: Any, beyond: Any, at: tuple[int, int], line: int, column: int) -> Any:
    """An element of the extended input; ``at``: where its channel starts in x, and in the ends."""
    (_, _, left, right), (x_at, e_at) = inside, at
    (words, map_base, map_step, start), (e_flat, e_base, e_row, _, distance), (c_flat, c_base) = beyond
    if not left <= column < right:
        return e_flat[e_base + e_at + line * e_row + column - (distance if column >= right else 0)]
    place = words[map_base + line * map_step]
    return c_flat[c_base + column] if place < 0 else x[start + x_at + place + column]


@emitted_by(emit.dot_tile)
def dot_tile(y: Any, w: Any, x: Any, b: Any, terms: int, rows: int, mr: int, nv: int, lanes: int) -> None:
    """``y[i, j] = b[i] + sum_k w[i, k] * x[j, k]``, i < rows <= mr, j < nv: terms, not pixels, are neighbours.

    y, w, x: (flat, base, row stride); b: (flat, base).
    """
    (y_flat, y_base, y_row), (w_flat, w_base, w_row), (x_flat, x_base, x_row), (b_flat, b_base) = y, w, x, b
    for i in range(min(rows, mr)):
        for j in range(nv):
            total = b_flat[b_base + i]
            for k in range(terms):
                total += w_flat[w_base + i * w_row + k] * x_flat[x_base + j * x_row + k]
            y_flat[y_base + i * y_row + j] = total

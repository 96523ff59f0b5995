"""Rows to columns: what turns pixels of a channel into channels of a pixel, and sums back into weights."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen import emit_gradient
from numbaconv.codegen.emit import emitted_by


@emitted_by(emit_gradient.transpose_rows)
def transpose_rows(target: Any, source: Any, rows: int, cols: int, lanes: int) -> None:
    """``target[j, i] = source[i, j]``, i < rows, j < cols.

    target, source: (flat, base, row stride).
    """
    (t_flat, t_base, t_row), (s_flat, s_base, s_row) = target, source
    for i in range(rows):
        for j in range(cols):
            t_flat[t_base + j * t_row + i] = s_flat[s_base + i * s_row + j]

"""Whether the outputs of a block are all finite: the question of strategies that would spread inf and NaN."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen.jit import inline


def _is_finite(y: Any, y_at: int, rows: int, cols: int, pitch: int) -> bool:
    """Finite times zero is zero, anything else NaN; a sum of both says which, without a branch an element."""
    total = y[y_at] * 0
    for i in range(rows):
        for j in range(cols):
            total += y[y_at + i * pitch + j] * 0
    return total == 0  # type: ignore[no-any-return]


is_finite = inline(_is_finite)

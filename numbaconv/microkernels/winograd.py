"""The transforms of Winograd's F(4x4, 3x3): a vector of tiles in, the 36 points of each out; and back.

V = B' d B          y = A' (sum_c U * V) A          (Lavin & Gray, arXiv:1509.09308; points 0, 1, -1, 2, -2, inf)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from numbaconv.codegen import emit
from numbaconv.codegen.emit import emitted_by

B = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], float
)  # fmt: skip
G = np.array(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6],
     [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]
)  # fmt: skip
A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], float)


@emitted_by(emit.winograd_input)
def winograd_input(target: Any, source: Any, table: Any, lanes: int) -> None:
    """``target[6*i + j] = (B' d B)[i, j]`` of ``lanes`` tiles side by side.

    target: (flat, base, stride from point to point); source: (flat, base); table: (flat, place of the 36 offsets of d).
    """
    (t_flat, t_base, t_point), (s_flat, s_base), (words, taps) = target, source, table
    for lane in range(lanes):
        d = np.array([s_flat[s_base + words[taps + n] + lane] for n in range(36)]).reshape(6, 6)
        for n, point in enumerate((B @ d @ B.T).ravel()):
            t_flat[t_base + n * t_point + lane] = point


@emitted_by(emit.winograd_output)
def winograd_output(target: Any, source: Any, b: Any, rows: int, count: int, lanes: int) -> None:
    """``target[i, 4*lane + j] = b + (A' m A)[i, j]``, i < rows, of which the first ``count`` of a row are written.

    target: (flat, base, row stride); source: (flat, base, stride from point to point); b: (flat, base).
    """
    (t_flat, t_base, t_row), (s_flat, s_base, s_point), (b_flat, b_base) = target, source, b
    for lane in range(lanes):
        m = np.array([s_flat[s_base + n * s_point + lane] for n in range(36)]).reshape(6, 6)
        y = A @ m @ A.T
        for i in range(min(rows, 4)):
            for j in range(max(0, min(4, count - 4 * lane))):
                t_flat[t_base + i * t_row + 4 * lane + j] = b_flat[b_base] + y[i, j]

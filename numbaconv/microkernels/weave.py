"""Rows of a transposed convolution from those of its phases, put side by side; then what follows the sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.pack import join_rows

# phases: of all axes; per axis, step: phases of it; full: outputs of it; cut: outputs of the first q before the result
GEOMETRY = "phases step_d step_h step_w full_d full_h full_w cut_d cut_h cut_w"


def make_weave(lanes: int) -> Callable[..., None]:
    """``weave(y, sums, r, image, channel, block, cols, g)``."""
    place = ending.make_place(lanes)

    def weave(y: Any, sums: Any, r: Any, image: int, channel: int, block: Any, cols: int, g: Any) -> None:
        """The outputs of one row of q, ``cols`` long from ``block`` = (depth, row, column) on, if they are any.

        channel: of the ordinary problem, the first phase of a width; sums: (scratch, where it lies, how far from it
        that of the next phase, where a row may wait for what follows).
        """
        (scratch, at, pitch, woven), (depth, row, col) = sums, block
        o, phase = divmod(channel, g.phases)
        phase_d, phase_h = divmod(phase // g.step_w, g.step_h)
        d, h = depth * g.step_d + phase_d - g.cut_d, row * g.step_h + phase_h - g.cut_h
        if d < 0 or d >= g.full_d or h < 0 or h >= g.full_h:
            return
        left = max(0, col * g.step_w - g.cut_w)
        count = min((col + cols) * g.step_w - g.cut_w, g.full_w) - left
        y_at = image * g.y_n + o * g.y_c + d * g.y_d + h * g.y_h + left * g.y_w
        row_of, row_at = (scratch, woven) if g.staged else (y, y_at)
        join_rows((row_of, row_at), (scratch, at, pitch, left + g.cut_w - col * g.step_w), count, g.step_w, lanes)
        if g.reorders:
            place(y, y_at, (scratch, woven, 0, 0), r, (1, 1, count), o, g)
        elif g.finish:
            ending.finish((y, y_at, 0, 0), (row_of, row_at, 0, 0), r, (1, 1, count), o, g)

    return inline(weave, lanes)

"""Rows of a transposed convolution from those of its phases, put side by side; then what follows the sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.pack import join_rows

# per axis, step: phases; full: outputs; cut: outputs of the first q before the result. lines, line: those of q of a
# plane, and the pixels of one
GEOMETRY = "step_d step_h step_w full_d full_h full_w cut_d cut_h cut_w lines line"


def make_weave(lanes: int) -> Callable[..., None]:
    """``weave(y, sums, r, image, channels, pixels, g)``."""
    place = ending.make_place(lanes)

    def put(y: Any, y_at: int, source: Any, woven: int, r: Any, o: int, shape: Any, g: Any) -> None:
        """Rows of outputs of channel ``o`` to ``y_at``; ``shape`` = (rows, columns)."""
        (scratch, at, pitch, skip), (rows, count) = source, shape
        y_row = g.step_h * g.y_h
        to, to_at = (scratch, woven) if g.staged else (y, y_at)
        join_rows((to, to_at, y_row), (scratch, at, g.line, pitch, skip), rows, count, g.step_w, lanes)
        if g.reorders:
            place(y, y_at, (scratch, woven, 0, 0), r, (1, 1, count), o, g)
        elif g.finish:
            ending.finish((y, y_at, 0, y_row), (to, to_at, 0, y_row), r, (1, rows, count), o, g)

    put = inline(put, lanes)

    def weave(y: Any, sums: Any, r: Any, image: int, channels: Any, pixels: Any, g: Any) -> None:
        """The outputs of ``channels`` = (first, number) of the ordinary problem at ``pixels`` = (first, number) of q.

        The first channel is the first phase of a width. sums: (scratch, where they lie, how far it is from one channel
        to the next, where a row may wait for what follows).
        """
        (scratch, sums_at, pitch, woven), (channel, rows), (pixel, count) = sums, channels, pixels
        first_line, first_q = divmod(pixel, g.line)
        first_plane, first_row = divmod(first_line, g.lines)
        rest, phase_h = divmod(channel // g.step_w, g.step_h)
        o, phase_d = divmod(rest, g.step_d)
        for i in range(0, rows, g.step_w):
            y_plane = image * g.y_n + o * g.y_c
            plane, row, q, done = first_plane, first_row, first_q, 0
            while done < count:
                here, lines = min(g.line - q, count - done), 1
                if here == g.line and g.staged == 0:  # all whole lines of the plane at once
                    lines = min((count - done) // g.line, g.lines - row)
                d, h = plane * g.step_d + phase_d - g.cut_d, row * g.step_h + phase_h - g.cut_h
                cut = 1 if h < 0 else 0  # of the first line, as phases come before the result only there
                some = min(lines, (g.full_h - h + g.step_h - 1) // g.step_h) - cut
                if d >= 0 and d < g.full_d and some > 0:
                    left = max(0, q * g.step_w - g.cut_w)
                    outputs = min((q + here) * g.step_w - g.cut_w, g.full_w) - left
                    y_at = y_plane + d * g.y_d + (h + cut * g.step_h) * g.y_h + left * g.y_w
                    at = sums_at + i * pitch + done + cut * g.line
                    source = (scratch, at, pitch, left + g.cut_w - q * g.step_w)
                    put(y, y_at, source, woven, r, o, (some, outputs), g)
                done, q, row = done + lines * here, 0, row + lines
                if row == g.lines:
                    plane, row = plane + 1, 0
            phase_h += 1
            if phase_h == g.step_h:
                phase_d, phase_h = phase_d + 1, 0
                if phase_d == g.step_d:
                    o, phase_d = o + 1, 0

    return inline(weave, lanes)

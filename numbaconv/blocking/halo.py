"""The halo of a block of outputs: every input that the block needs, padded, phases of the stride apart, in scratch.

    halo[c, z, slot(r, t), phase, j] = x[c, d0 + z*dd, r0*sh + r*sh + t*dh, c0*sw + phase + j*sw]

less the padding, for the block's output rows r and columns, all taps t. With a stride, the columns of one phase
``(t*dw) % sw`` lie side by side, so that a vector of neighbouring outputs is always a vector of neighbours here. Rows
are shared between taps, ``slot = (r*sh + t*dh) / gcd``, unless the dilation leaves so many unused ones between them
that a set of rows for each tap is smaller. Outside the input there are zeros, or what `border` says, so loops never
ask where the border is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import NamedTuple

import numpy as np

from numbaconv.blocking.border import Border
from numbaconv.microkernels import border as ends
from numbaconv.problem import ConvProblem

# The words of a halo in the geometry record: `Halo.words`.
GEOMETRY = (
    f"{ends.GEOMETRY} in_d in_h in_w halo_planes halo_rows halo_cycle halo_step halo_cycle_step halo_phases halo_width "
    "halo_fill halo_constant stride_d stride_h stride_w dilation_d pad_d pad_h pad_w"
)


class Slots(NamedTuple):
    """How input rows fill the slots: slot s holds row ``s // cycle * cycle_step + s % cycle * step``."""

    row: int  # slots from one output row to the next
    tap: int  # slots from one tap to the next
    total: int
    cycle: int
    step: int
    cycle_step: int


@dataclass(frozen=True)
class Halo:
    """Layout of the halo of ``rows`` x ``cols`` outputs of one depth."""

    problem: ConvProblem
    rows: int
    cols: int
    lanes: int

    @property
    def _slots(self) -> Slots:
        kernel, stride, dilation = self.problem.kernel[1], self.problem.stride[1], self.problem.dilation[1]
        step = gcd(stride, dilation) if kernel > 1 else stride
        row, tap = stride // step, dilation // step if kernel > 1 else 0
        count = (self.rows - 1) * row + (kernel - 1) * tap + 1
        if count <= kernel * self.rows:
            return Slots(row, tap, count, count, step, 0)
        return Slots(1, self.rows, kernel * self.rows, self.rows, stride, dilation)

    @property
    def phases(self) -> tuple[int, ...]:
        """The column phases that taps use."""
        stride, dilation = self.problem.stride[2], self.problem.dilation[2]
        return tuple(sorted({t * dilation % stride for t in range(self.problem.kernel[2])}))

    @property
    def _reach(self) -> int:
        """Columns of a phase from the first tap to the last."""
        return (self.problem.kernel[2] - 1) * self.problem.dilation[2] // self.problem.stride[2]

    @property
    def fill(self) -> int:
        """Elements of a phase that some output reads; what lies beyond is never stored, and is not packed."""
        return self.cols + self._reach

    @property
    def width(self) -> int:
        """Elements from one phase to the next: the columns, and the lanes that a last vector reads too much."""
        width = -(-self.cols // self.lanes) * self.lanes + self._reach
        if len(self.phases) > 1:  # phases are stored side by side, so none may reach into the next
            width = -(-width // self.lanes) * self.lanes
        return int(width)

    @property
    def row_pitch(self) -> int:
        return len(self.phases) * self.width

    @property
    def plane(self) -> int:
        return self._slots.total * self.row_pitch

    @property
    def channel(self) -> int:
        """Elements from one channel to the next."""
        return self.problem.kernel[0] * self.plane

    def size(self, channels: int) -> int:
        """Elements of the halo of ``channels`` channels, with what `copy_row` writes too much."""
        return channels * self.channel + 2 * self.lanes

    def tap_offsets(self, channels: int) -> np.ndarray:
        """Offsets of the terms, shape ``(channels, kd, kh, kw)``."""
        kd, kh, kw = self.problem.kernel
        column = np.arange(kw) * self.problem.dilation[2]
        phase = np.searchsorted(self.phases, column % self.problem.stride[2])
        along = phase * self.width + column // self.problem.stride[2]
        return (
            np.arange(channels)[:, None, None, None] * self.channel
            + np.arange(kd)[:, None, None] * self.plane
            + np.arange(kh)[:, None] * (self._slots.tap * self.row_pitch)
            + along
        )

    def row_offsets(self) -> np.ndarray:
        """Where each output row starts, shape ``(rows,)``."""
        return np.arange(self.rows) * (self._slots.row * self.row_pitch)

    def border(self, row_blocks: int, col_blocks: int) -> Border:
        """What lies beyond the ends of the input, for halos of so many blocks."""
        p = self.problem
        starts = p.out_size[0] - 1, row_blocks * self.rows - 1, col_blocks * self.cols + self._reach + 1
        reach = [d * (k - 1) + 1 for d, k in zip(p.dilation, p.kernel, strict=True)]
        reach[2] = 0  # counted in its phases
        d, h, w = (n * s + r - lo for n, s, r, (lo, _) in zip(starts, p.stride, reach, p.padding, strict=True))
        return Border(p, (d, h, w))

    def words(self, border: Border | None = None, at: int = 0) -> dict[str, int]:
        """The geometry words that `pack_halo` reads; it also finds `phases` in the table, at ``phase_table``.

        The table of ``border`` lies at ``at``; without one, the input is an array with zeros around it.
        """
        p = self.problem
        border = border or Border(replace(p, padding_mode="zeros", x_dtype="", prologue=None), p.in_size)
        slots = self._slots
        words = border.words(at)
        constant = border.problem.padding_mode == "constant"
        if constant:  # a row with another zero around it, for which no position need be looked up
            words["extends"] = 0
        return words | {
            "in_d": p.in_size[0], "in_h": p.in_size[1], "in_w": p.in_size[2],
            "halo_planes": p.kernel[0], "halo_rows": slots.total, "halo_cycle": slots.cycle, "halo_step": slots.step,
            "halo_cycle_step": slots.cycle_step, "halo_phases": len(self.phases), "halo_width": self.width,
            "halo_fill": self.fill, "halo_constant": int(constant),
            "stride_d": p.stride[0], "stride_h": p.stride[1], "stride_w": p.stride[2], "dilation_d": p.dilation[0],
            "pad_d": p.padding[0][0], "pad_h": p.padding[1][0], "pad_w": p.padding[2][0],
        }  # fmt: skip

"""A transposed convolution taken apart: along each axis, output ``phase + stride*q`` is an ordinary convolution at q.

With s the input dilation, d the dilation and lo the padding of the forward problem, output o takes tap t where
``(o + t*d - lo) % s == 0``, from input ``(o + t*d - lo) / s``. So phase r = o % s uses the taps with
``(r + t*d - lo) % s == 0``, each at offset ``(r + t*d - lo) / s`` from q, and never meets the zeros between inputs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from numbaconv.problem import ConvProblem


@dataclass(frozen=True)
class AxisPhase:
    """One phase of one axis: its taps, and where in the input each lies relative to q."""

    phase: int
    taps: tuple[int, ...]
    offsets: tuple[int, ...]


def of_axis(problem: ConvProblem, axis: int) -> tuple[AxisPhase, ...]:
    """The phases of an axis that have any output."""
    step, dilation, low = problem.input_dilation[axis], problem.dilation[axis], problem.padding[axis][0]
    phases = []
    for phase in range(min(step, problem.out_size[axis])):
        taps = [t for t in range(problem.kernel[axis]) if (phase + t * dilation - low) % step == 0]
        phases.append(AxisPhase(phase, tuple(taps), tuple((phase + t * dilation - low) // step for t in taps)))
    return tuple(phases)


def forward_problem(
    problem: ConvProblem, depth: AxisPhase, height: AxisPhase, widths: tuple[AxisPhase, ...]
) -> ConvProblem:
    """The ordinary problem whose halo holds the inputs of one phase of rows and of all phases of columns together.

    Its kernel counts, along the width, every offset from the first to the last that any phase uses.
    """
    rows = []
    for axis, phase in ((0, depth), (1, height)):
        gap = phase.offsets[1] - phase.offsets[0] if len(phase.offsets) > 1 else 1
        first = phase.offsets[0] if phase.offsets else 0
        rows.append(_Axis(problem, axis, phase.phase, max(1, len(phase.taps)), gap, first))
    offsets = [offset for phase in widths for offset in phase.offsets] or [0]
    d, h, w = *rows, _Axis(problem, 2, 0, max(offsets) - min(offsets) + 1, 1, min(offsets))
    return replace(
        problem,
        kernel=(d.kernel, h.kernel, w.kernel),
        dilation=(d.dilation, h.dilation, w.dilation),
        input_dilation=(1, 1, 1),
        padding=(d.padding, h.padding, w.padding),
        transposed=False,
    )


@dataclass(frozen=True)
class _Axis:
    problem: ConvProblem
    axis: int
    phase: int
    kernel: int
    dilation: int
    first: int  # offset of the first tap

    @property
    def padding(self) -> tuple[int, int]:
        """What gives one output for each q: the first tap lies ``first`` on from it."""
        outputs = -(-(self.problem.out_size[self.axis] - self.phase) // self.problem.input_dilation[self.axis])
        reach = self.dilation * (self.kernel - 1)
        return -self.first, outputs + reach + self.first - self.problem.in_size[self.axis]

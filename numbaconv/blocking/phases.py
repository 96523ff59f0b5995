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


def forward_problem(problem: ConvProblem, depth: AxisPhase, height: AxisPhase, widths: tuple[AxisPhase, ...]) -> ConvProblem:
    """The ordinary problem whose halo holds the inputs of one phase of rows and of all phases of columns together.

    Its kernel counts, along the width, every offset from the first to the last that any phase uses.
    """
    size, kernel, dilation, padding = [], [], [], []
    for axis, phase in ((0, depth), (1, height)):
        outputs = -(-(problem.out_size[axis] - phase.phase) // problem.input_dilation[axis])
        gap = phase.offsets[1] - phase.offsets[0] if len(phase.offsets) > 1 else 1
        first = phase.offsets[0] if phase.offsets else 0
        size.append(outputs)
        kernel.append(max(1, len(phase.taps)))
        dilation.append(gap)
        padding.append(-first)
    offsets = [offset for phase in widths for offset in phase.offsets] or [0]
    size.append(-(-problem.out_size[2] // problem.input_dilation[2]))
    kernel.append(max(offsets) - min(offsets) + 1)
    dilation.append(1)
    padding.append(-min(offsets))
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    high = [n - 1 + r + 1 - low - given for n, r, low, given in zip(size, reach, padding, problem.in_size, strict=True)]
    return replace(
        problem,
        kernel=tuple(kernel),
        dilation=tuple(dilation),
        input_dilation=(1, 1, 1),
        padding=tuple(zip(padding, high, strict=True)),
        transposed=False,
    )

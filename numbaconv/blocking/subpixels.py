"""A transposed convolution as one ordinary convolution to a channel for each phase, whose pixels then interleave.

    z[(o, r), q] = sum_c sum_m w[c, o, s*m + r] * x[c, q - m]          y[o, s*q + r - p] = b[o] + z[(o, r), q]

per axis: 0 <= r < s, 0 <= m < k / s. Where the stride does not divide the kernel, zeros stand for the weights that are
missing. (Shi et al., arXiv:1609.05158, turned round.)
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem

JOIN = {1: 0.3, 2: 0.4}  # cycles to write an output from scratch, by stride; else an element at a time
JOIN_ELEMENT = 1.5
JOIN_ROW = 15.0


def why_not(problem: ConvProblem) -> str | None:
    """What there is no such convolution of."""
    if problem.input_dilation == (1, 1, 1):
        return "without an input dilation there is one phase, an ordinary convolution"
    if (problem.stride, problem.dilation) != ((1, 1, 1), (1, 1, 1)):
        return f"its phases are of stride and dilation 1, not {problem.stride} and {problem.dilation}"
    return None


def is_whole(problem: ConvProblem) -> bool:
    """Whether every phase has as many weights as any other, so that no zeros are needed."""
    return all(k % s == 0 for k, s in zip(problem.kernel, problem.input_dilation, strict=True))


def ordinary(problem: ConvProblem) -> ConvProblem:
    """The ordinary problem over q, from the first that has an output in the result to the last."""
    kernel, padding = [], []
    for n, taps, cut, s, out in zip(
        problem.in_size, taps_of(problem), _cuts(problem), problem.input_dilation, problem.out_size, strict=True
    ):
        first, last = cut // s, (out - 1 + cut) // s
        kernel.append(taps)
        padding.append((taps - 1 - first, last + 1 - n))
    depth, height, width = padding
    return replace(
        problem,
        out_channels=problem.out_channels * prod(problem.input_dilation),
        kernel=(kernel[0], kernel[1], kernel[2]),
        input_dilation=(1, 1, 1),
        padding=(depth, height, width),
        transposed=False,
    )


def taps_of(problem: ConvProblem) -> tuple[int, ...]:
    """Per axis: the most weights that a phase has."""
    return tuple(-(-k // s) for k, s in zip(problem.kernel, problem.input_dilation, strict=True))


def _cuts(problem: ConvProblem) -> tuple[int, ...]:
    """Per axis: how many outputs of the whole sum lie before the result."""
    return tuple(k - 1 - lo for k, (lo, _) in zip(problem.kernel, problem.padding, strict=True))


def words(problem: ConvProblem) -> dict[str, int]:
    """The geometry words of `microkernels.weave`."""
    axes = zip("dhw", problem.input_dilation, problem.out_size, _cuts(problem), strict=True)
    steps = {f"{word}_{axis}": n for axis, s, full, cut in axes for word, n in
             (("step", s), ("full", full), ("cut", cut % s))}  # fmt: skip
    _, lines, line = ordinary(problem).out_size
    return {"lines": lines, "line": line, **steps}


def phase_weights(problem: ConvProblem, weight: np.ndarray) -> np.ndarray:
    """``(groups, out/groups * phases, in/groups, kd, kh, kw)`` of the ordinary problem.

    Tap n of phase r is tap ``s*(taps - 1 - n) + r`` of the user's kernel, which ``weight`` has flipped.
    """
    groups, outs, ins = weight.shape[:3]
    steps, taps = problem.input_dilation, taps_of(problem)
    # Flipped back, tap s*m + r is element (m, r); m runs backwards.
    parts = weight[..., ::-1, ::-1, ::-1]
    if not is_whole(problem):
        missing = [(0, s * n - k) for k, s, n in zip(problem.kernel, steps, taps, strict=True)]
        parts = np.pad(parts, ((0, 0), (0, 0), (0, 0), *missing))
    parts = parts.reshape(groups, outs, ins, *(size for pair in zip(taps, steps, strict=True) for size in pair))
    parts = parts[:, :, :, ::-1, :, ::-1, :, ::-1].transpose(0, 1, 4, 6, 8, 2, 3, 5, 7)
    return parts.reshape(groups, outs * prod(steps), ins, *taps)


def join_seconds(problem: ConvProblem, machine: Machine, pieces: int) -> float:
    """Predicted time on one core to put the phases side by side, the rows of a channel in ``pieces``."""
    each = JOIN.get(problem.input_dilation[2], JOIN_ELEMENT)
    cycles = problem.pixels * each + pieces * JOIN_ROW
    return problem.batch * problem.out_channels * cycles / (machine.clock * 1e9)

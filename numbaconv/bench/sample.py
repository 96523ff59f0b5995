"""The truth at a few outputs: the defining sum in float64, and how far a result is from it in units of its bound.

    |y - exact| <= (terms + 2) * (eps/2 * (|x| conv |w| + |b|) + tiny)

Each of ``terms`` products rounds once and passes through at most ``terms`` additions and a store, in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from numbaconv.problem import ConvProblem

Array = np.ndarray[Any, np.dtype[Any]]
OUTPUTS = 50


@dataclass(frozen=True)
class Sample:
    """Some outputs of one convolution: where they are (flat), what they are, and how far off is still rounding."""

    places: Array
    exact: Array
    bound: Array

    def error(self, y: Array) -> float:
        """The largest error of ``y`` at these places, in units of the bound; inf where it is not even a number."""
        off = np.abs(y.reshape(-1)[self.places].astype(np.float64) - self.exact)
        return float(np.where(np.isnan(off), np.inf, off / self.bound).max(initial=0.0))


def outputs(
    problem: ConvProblem, x: Array, w: Array, b: Array | None, seed: int = 0, more: tuple[int, ...] = ()
) -> Sample:
    """`OUTPUTS` random outputs, the first and the last, and ``more`` (flat indices), summed in float64."""
    size = problem.batch * problem.out_channels * problem.pixels
    drawn = np.random.default_rng(seed).integers(0, size, OUTPUTS)
    places = np.unique(np.concatenate([drawn, [0, size - 1], np.array(more, np.int64)]))
    whole = x.reshape(problem.batch, problem.in_channels, *problem.in_size)
    kernels = problem.forward_weights(w)
    exact, sizes = np.zeros(len(places)), np.zeros(len(places))
    for i, place in enumerate(places):
        n, o, *pixel = np.unravel_index(place, (problem.batch, problem.out_channels, *problem.out_size))
        products = _products(problem, whole, kernels, int(n), int(o), [int(p) for p in pixel])
        bias = 0.0 if b is None else float(b[o])
        exact[i] = products.sum() + bias
        sizes[i] = np.abs(products).sum() + abs(bias)
    info = np.finfo(problem.dtype)
    return Sample(places, exact, (problem.terms + 2) * (float(info.eps) / 2 * sizes + float(info.tiny)))


def _products(problem: ConvProblem, x: Array, kernels: Array, n: int, o: int, pixel: list[int]) -> Array:
    """The terms of one output: every tap that falls on an input, over the channels of its group."""
    group, row = divmod(o, problem.out_channels // problem.groups)
    inner = problem.in_channels // problem.groups
    taps, positions = [], []
    for axis, p in enumerate(pixel):
        gap = problem.input_dilation[axis]
        tap = np.arange(problem.kernel[axis])
        at = p * problem.stride[axis] + tap * problem.dilation[axis] - problem.padding[axis][0]
        inside = (at >= 0) & (at % gap == 0) & (at // gap < problem.in_size[axis])
        taps.append(tap[inside])
        positions.append(at[inside] // gap)
    channels = np.arange(inner)
    inputs = x[n][np.ix_(group * inner + channels, *positions)]
    weights = kernels[group, row][np.ix_(channels, *taps)]
    products: Array = inputs.astype(np.float64) * weights.astype(np.float64)
    return products

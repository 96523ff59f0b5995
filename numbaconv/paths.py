"""How many paths lead from an output to each input pixel, along one axis, through any stack of layers.

Through a layer, unit p sees the units (p*stride + t*dilation - lo) / gap of the layer before, for all taps t, where
that is whole; `ConvProblem` calls the gap, which is 1 but in transposed layers, input dilation. From there follow

    jump'   = jump * stride / gap
    size'   = size + jump * dilation*(kernel - 1)           (without transposed layers)
    center' = center + jump * (dilation*(kernel - 1)/2 - lo) / gap

as in Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill 2019,
doi:10.23915/distill.00021. Paths are counted in Python's integers, as their number soon passes any float and int64: 41
layers of 3 taps make 3**41 > 2**64.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd, prod
from typing import NamedTuple

import numpy as np


class Step(NamedTuple):
    """One layer along one axis, in the words of `ConvProblem`."""

    kernel: int
    stride: int
    dilation: int
    lo: int
    gap: int

    def before(self, unit: int) -> list[int]:
        """The units of the layer before that ``unit`` sees, one for each path."""
        places = (unit * self.stride + tap * self.dilation - self.lo for tap in range(self.kernel))
        return [place // self.gap for place in places if place % self.gap == 0]


class Paths(NamedTuple):
    """How many paths lead from one unit to the pixels from ``start`` on; the first and the last have some."""

    start: int
    counts: np.ndarray  # of Python ints


class View(NamedTuple):
    """What the units of one layer see along one axis; they repeat: ``len(units)`` further, all moves by ``moved``."""

    units: tuple[Paths, ...]
    moved: int
    center: Fraction  # of what unit 0 sees, or, where units see differently much, of what they see on average

    @property
    def size(self) -> int:
        """Pixels from the first to the last that a unit sees: those of the unit that sees the most."""
        return max(len(unit.counts) for unit in self.units)

    @property
    def jump(self) -> Fraction:
        """Pixels from what a unit sees to what the next one sees."""
        return Fraction(self.moved, len(self.units))

    def paths(self, unit: int) -> Paths:
        turns, phase = divmod(unit, len(self.units))
        start, counts = self.units[phase]
        return Paths(start + turns * self.moved, counts)

    def through(self, step: Step) -> View:
        """The view of the next layer's units."""
        phases = len(self.units) * step.gap
        period = phases // gcd(phases, step.stride)
        units = tuple(_sum([self.paths(before) for before in step.before(unit)]) for unit in range(period))
        offset = (Fraction(step.dilation * (step.kernel - 1), 2) - step.lo) / step.gap
        return View(units, self.moved * period * step.stride // phases, self.center + self.jump * offset)


def _sum(parts: list[Paths]) -> Paths:
    """All paths of some units; none sees nothing where a stride is wider than the kernel of a transposed layer."""
    parts = [part for part in parts if len(part.counts)]
    if not parts:
        return Paths(0, np.zeros(0, object))
    start = min(part.start for part in parts)
    counts = np.zeros(max(part.start + len(part.counts) for part in parts) - start, object)
    for part in parts:
        counts[part.start - start :][: len(part.counts)] += part.counts
    return Paths(start, counts)


PIXEL = View((Paths(0, np.ones(1, object)),), 1, Fraction(0))


def share_seen(paths: Sequence[Paths]) -> Fraction:
    """The share of pixels that are seen, of the box between the first and the last along each axis."""
    every = prod(len(path.counts) for path in paths)
    return Fraction(prod(int(np.count_nonzero(path.counts)) for path in paths), every) if every else Fraction(0)

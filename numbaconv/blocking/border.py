"""The border of an input in tables: from which element each position before and after its ends is read.

    map[i] = source(i)  before the first element,     map[i - size] = source(i)  after the last one

counted from the word ``map`` of an axis; -1 stands for the constant, which lies at the word ``value``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from numbaconv.microkernels import border as ends
from numbaconv.microkernels import loading
from numbaconv.problem import DEFAULT_ORDER, ConvProblem, Triple
from numbaconv.reading import sources


@dataclass(frozen=True)
class Border:
    """``stop``: for each axis, a position of the input up to which no element is read."""

    problem: ConvProblem
    stop: Triple

    @property
    def is_needed(self) -> bool:
        """Whether rows are read by `extended_row`, as they are no rows of the input with zeros around them."""
        return self.problem.is_extended or self.problem.is_loaded or self.problem.x_order != DEFAULT_ORDER

    @property
    def _axes(self) -> list[tuple[int, int]]:
        """How many positions before and after the elements of each axis have a source."""
        p = self.problem
        if not p.is_extended:
            return [(0, 0)] * 3
        # Padding of a dilated input is counted in its gaps, too.
        return [
            (max(0, -(-lo // gap)), max(0, stop - n))
            for (lo, _), gap, stop, n in zip(p.padding, p.input_dilation, self.stop, p.in_size, strict=True)
        ]

    def table(self) -> np.ndarray:
        """The constant, two words; then the maps."""
        p = self.problem
        if not self.is_needed:
            return np.empty(0, np.int64)
        kind = np.dtype(p.dtype).kind
        value = np.zeros(2, np.int64)
        if kind in "biu" and p.products == 1:
            value[:1] = np.array([int(p.padding_value.real) % 2**64], np.uint64).view(np.int64)
        else:
            number = complex(p.padding_value)
            value[:] = np.array([number.real, number.imag]).view(np.int64)
        maps = [
            sources(p.padding_mode, np.concatenate([np.arange(-before, 0), n + np.arange(after)]), n)
            for (before, after), n in zip(self._axes, p.in_size, strict=True)
        ]
        return np.concatenate([value, *maps])

    def words(self, at: int) -> dict[str, int]:
        """The geometry words of `microkernels.border`, of a table that lies at ``at``."""
        p = self.problem
        strides = {f"x_{letter.lower()}": step for letter, step in p.x_strides.items()}
        if not self.is_needed:
            return dict.fromkeys(ends.GEOMETRY.split(), 0) | strides
        words = strides | loading.told(p) | {
            "extends": int(p.is_extended), "loader": loading.address(p), "x_size": loading.itemsize(p),
            "in_channels": p.in_channels, "value": at,
        }  # fmt: skip
        at += 2
        for axis, (before, after) in zip("dhw", self._axes, strict=True):
            words[f"map_{axis}"] = at + before
            at += before + after
        return words

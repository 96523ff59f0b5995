"""The passes of a transform over one, two or three axes, in the order in which they find their points in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from numbaconv.microkernels.fft import LEVEL_WORDS

LINES = 256  # complex vectors that the first cache holds beside what streams past: 32 KiB of 64-byte lines


@dataclass(frozen=True)
class Fourier:
    """A transform of ``size`` points along each axis, the last one contiguous."""

    size: tuple[int, ...]

    @property
    def points(self) -> int:
        """Points of all axes."""
        return prod(self.size)

    def radices(self, axis: int) -> tuple[int, ...]:
        """The radix of each pass over an axis."""
        return radices(self.size[axis])

    def tables(self, at: int, roots_at: int) -> tuple[np.ndarray, np.ndarray, int]:
        """(words, roots, number of levels), for `microkernels.fft.make_transform`; the words will lie at ``at``.

        A level is (outer, span, distance of points, lines, distance of lines, strip, place of its passes, their
        number): ``outer`` spans of ``lines`` transforms; all passes over one strip of lines before the next. A pass is
        (radix, blocks, m, place of its roots). A lone line longer than the first cache is two levels: its long
        passes, then its blocks as lines of their own.
        """
        levels: list[tuple[list[int], int, list[tuple[int, int, int, int]]]] = []
        roots = [np.empty(0)]
        placed = roots_at
        for axis, size in enumerate(self.size):
            apart = prod(self.size[axis + 1 :])
            length = whole = size
            for radix in radices(size):
                starts = length == size or (apart == 1 and length <= LINES < whole)
                if starts:
                    whole = length
                    last = [1, 0, 1, self.points // whole, whole]
                    levels.append((last if apart == 1 else [prod(self.size[:axis]), whole * apart, apart, apart, 1],
                                   whole, []))  # fmt: skip
                m = length // radix
                turns = roots_of_one(np.outer(np.arange(m), np.arange(1, radix)), length)
                levels[-1][2].append((radix, whole // length, m, placed))
                roots.append(turns.view(float).ravel())
                placed += turns.size * 2
                length = m
        head: list[int] = []
        tail: list[int] = []
        passes_at = at + LEVEL_WORDS * len(levels)
        for lines, length, passes in levels:
            head += [*lines, max(1, LINES // length), passes_at + len(tail), len(passes)]
            tail += [word for words in passes for word in words]
        return np.array(head + tail, np.int64), np.concatenate(roots), len(levels)


def roots_of_one(q: np.ndarray, length: int) -> np.ndarray:
    """``exp(-2*pi*i*q/length)`` to the last digit: angles up to 45 degrees, reflected into their octant.

    The whole angle, rounded, would be off by up to 4 eps, which float64 results would show.
    """
    octant, rest = np.divmod(8 * (q % length), length)
    angle = np.pi / 4 * np.where(octant % 2, length - rest, rest) / length
    small, large = np.sin(angle), np.cos(angle)
    steep = np.isin(octant, (1, 2, 5, 6))
    re = np.where(steep, small, large) * np.where(np.isin(octant, (2, 3, 4, 5)), -1, 1)
    im = np.where(steep, large, small) * np.where(octant < 4, -1, 1)
    return re + 1j * im


@lru_cache(None)
def radices(size: int) -> tuple[int, ...]:
    """Fives and threes first, so that the last pass, which turns nothing, is mostly one of fours."""
    found = []
    for radix in (5, 3):
        while size % radix == 0:
            found.append(radix)
            size //= radix
    twos = size.bit_length() - 1
    return (*found, *(2,) * (twos % 2), *(4,) * (twos // 2))


@lru_cache(1)
def sizes() -> tuple[int, ...]:
    """Every length with factors 2, 3 and 5 alone, up to 16384."""
    numbers = {2**a * 3**b * 5**c for a in range(15) for b in range(9) for c in range(7)}
    return tuple(sorted(n for n in numbers if n <= 16384))

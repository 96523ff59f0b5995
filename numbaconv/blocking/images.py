"""Images at once, where a strategy hands copies of its arrays on to others: few, so that the copies stay small."""

from __future__ import annotations

from numbaconv.problem import ConvProblem

COPIED = 4 * 1024 * 1024  # bytes of copies that no one will miss; a larger image is copied alone


def at_once(p: ConvProblem, itemsize: int) -> int:
    """The most images that divide the batch and whose copies, of ``itemsize`` an element, are small; at least one."""
    if p.swapped:  # its images are not one after the other
        return p.batch
    image = (p.in_channels * p.in_pixels + p.out_channels * p.pixels) * itemsize
    return max(n for n in range(1, p.batch + 1) if p.batch % n == 0 and (n == 1 or n * image <= COPIED))

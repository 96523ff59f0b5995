"""The order of axes of x, weights and result, as `dimension_numbers` gives it, in the words of `ConvProblem`.

Three strings of letters, as `jax.lax.conv_general_dilated` takes them: N and C are images and channels, O and I the
outputs and inputs of the weights, all other letters spatial axes, the same ones in all three. Stride, padding, dilation
and sizes of kernels count them in the order in which they stand among the weights' letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from numbaconv.problem import DEFAULT_ORDER, SPATIAL

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Orders of a rank, in letters: ``x`` and ``y`` of "NC" and the last of "DHW", ``w`` of "OI" and the same."""

    x: str
    w: str
    y: str
    spelled: str  # as it was given, for messages
    transposed: bool

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.x) - 2

    def input_shape(self, shape: Shape) -> Shape:
        """A batched shape of x as (N, C, *size)."""
        return _sorted(shape, self.x, "NC" + SPATIAL[-self.rank :])

    def result_size(self, size: Any) -> Any:
        """``output_size`` with the spatial sizes last, where it is a whole shape of the result, batched or not."""
        if isinstance(size, (tuple, list)) and len(size) in {self.rank + 1, self.rank + 2}:
            letters = self.y if len(size) == self.rank + 2 else self.y.replace("N", "")
            return _sorted(size, letters, "NC"[self.rank + 2 - len(size) :] + SPATIAL[-self.rank :])
        return size

    def weights(self, weight: np.ndarray) -> np.ndarray:
        """The weights as a view in the default order; those of other dimensions as they are, to be refused."""
        if weight.ndim != len(self.w):
            return weight
        return weight.transpose([self.w.index(letter) for letter in weights_order(self.rank, self.transposed)])

    def weights_shape(self, shape: Shape) -> Shape:
        """A shape of the weights in the default order; one of other dimensions as it is, to be refused."""
        return _sorted(shape, self.w, weights_order(self.rank, self.transposed)) if len(shape) == len(self.w) else shape

    def channels_first(self, array: np.ndarray, of: str) -> np.ndarray:
        """x or the result, which ``of`` says by its letters, as a view (N, C, ...), or (C, ...) without N."""
        letters = of if array.ndim == len(of) else of.replace("N", "")
        return array.transpose([letters.index(letter) for letter in "NC" + SPATIAL if letter in letters])

    def batched(self, shape: Shape) -> Shape:
        """The shape of x with an axis N of one image, if it has none."""
        if len(shape) != self.rank + 1:
            return shape
        at = self.x.index("N")
        return (*shape[:at], 1, *shape[at:])

    def unbatched(self, shape: Shape) -> Shape:
        """The shape of a result of one image without its axis N."""
        at = self.y.index("N")
        return (*shape[:at], *shape[at + 1 :])

    def orders(self) -> tuple[str, str]:
        """(of x, of y) of all five axes, as `ConvProblem` has them."""
        return _with_all_axes(self.x), _with_all_axes(self.y)

    def __str__(self) -> str:
        return self.spelled


def weights_order(rank: int, transposed: bool) -> str:
    """The letters of weights as they are taken by default."""
    return ("IO" if transposed else "OI") + SPATIAL[-rank:]


def _sorted(items: Any, letters: str, wanted: str) -> Shape:
    return tuple(items[letters.index(letter)] for letter in wanted)


def _with_all_axes(letters: str) -> str:
    """With the spatial axes that the rank does not have, all of size 1, before those that it has."""
    first = min(letters.index(letter) for letter in letters if letter in SPATIAL)
    return letters[:first] + SPATIAL[: 5 - len(letters)] + letters[first:]


def layout_of(numbers: Any, rank: int, transposed: bool) -> Layout | None:
    """What ``dimension_numbers`` say; None for the order that goes without saying."""
    if numbers is None:
        return None
    if isinstance(numbers, list):
        numbers = tuple(numbers)
    if not isinstance(numbers, str) and not (
        isinstance(numbers, tuple) and len(numbers) == 3 and all(isinstance(item, str) for item in numbers)
    ):
        raise TypeError(f"dimension_numbers must be {_accepted(rank, transposed)}; got {numbers!r}")
    return _layout_of(numbers, rank, transposed)


def _accepted(rank: int, transposed: bool) -> str:
    spatial = SPATIAL[-rank:]
    return (
        f"three strings for x, weight and result, as ('N{spatial}C', '{spatial}IO', 'N{spatial}C'), or one for x and "
        f"result, as 'N{spatial}C', of {rank + 2} letters for rank {rank}; by default they are "
        f"{('NC' + spatial, weights_order(rank, transposed), 'NC' + spatial)}"
    )


@lru_cache(256)
def _layout_of(numbers: str | tuple[str, str, str], rank: int, transposed: bool) -> Layout | None:
    kernel_first = "IO" if transposed else "OI"
    if isinstance(numbers, str):
        specs = (numbers, kernel_first + "".join(letter for letter in numbers if letter not in "NC"), numbers)
    else:
        specs = numbers
    accepted = _accepted(rank, transposed)
    for name, spec, needed in zip(("x", "weight", "result"), specs, ("NC", "OI", "NC"), strict=True):
        if len(spec) != rank + 2 or len(set(spec)) != len(spec) or not set(needed) <= set(spec):
            raise ValueError(f"dimension_numbers of {name} must be {rank + 2} distinct letters, {' and '.join(needed)} "
                             f"among them; got {spec!r} in {numbers!r}; accepted are {accepted}")  # fmt: skip
    spatial = [letter for letter in specs[1] if letter not in "OI"]
    for name, spec in (("x", specs[0]), ("result", specs[2])):
        if set(spec) - {"N", "C"} != set(spatial):
            raise ValueError(f"dimension_numbers must have the same spatial letters in all strings; {name} has "
                             f"{spec!r} and weight {specs[1]!r} in {numbers!r}; accepted are {accepted}")  # fmt: skip
    names = str.maketrans(dict(zip(spatial, SPATIAL[-rank:], strict=True)))
    x, w, y = (
        "".join(letter if letter in lead else letter.translate(names) for letter in spec)
        for spec, lead in zip(specs, ("NC", "OI", "NC"), strict=True)
    )
    layout = Layout(x, w, y, f"dimension_numbers={numbers!r}", transposed)
    if layout.orders() == (DEFAULT_ORDER, DEFAULT_ORDER) and w == weights_order(rank, transposed):
        return None
    return layout

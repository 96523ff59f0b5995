"""`Layer`: one convolution to measure, by shapes; read from CSV files of layers, made into arrays, plans and calls."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

import numbaconv
from numbaconv import ConvProblem, PreparedConv

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[[], Array]
AXES = "dhw"


@dataclass(frozen=True)
class Layer:
    """A convolution without its arrays; ``padding`` is a pair (lo, hi) for each axis, as `conv2d` takes it."""

    name: str
    kind: str  # what tables group by: "3x3", "pointwise", "depthwise", ...
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()
    count: int = 1  # how many times its network has it

    @property
    def rank(self) -> int:
        """1, 2 or 3."""
        return len(self.w_shape) - 2

    @property
    def function(self) -> str:
        """The public function that computes it."""
        return f"conv_transpose{self.rank}d" if self.transposed else f"conv{self.rank}d"

    @property
    def out_channels(self) -> int:
        """Of all groups."""
        return self.w_shape[1] * self.groups if self.transposed else self.w_shape[0]

    @property
    def symmetric(self) -> bool:
        """Whether one number for each axis says the padding, which is all that some peers take."""
        return all(lo == hi >= 0 for lo, hi in self.padding)

    def geometry(self) -> dict[str, Any]:
        """The keyword arguments of its function."""
        words = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}
        return words | ({"output_padding": self.output_padding} if self.transposed else {})

    def problem(self, dtype: str) -> ConvProblem:
        """The problem that the planner sees; raises ValueError where the layer is none."""
        of = ConvProblem.of_transposed if self.transposed else ConvProblem.of
        return of(self.rank, self.x_shape, self.w_shape, dtype, **self.geometry())

    @property
    def flops(self) -> int:
        """Two for each product of an input and a weight; the zeros that transposed ones insert are no input."""
        if not self.transposed:
            return self.problem("float32").flops
        batch, _, *size = self.x_shape
        return 2 * batch * prod(size) * prod(self.w_shape)

    def bytes(self, dtype: str) -> int:
        """Memory of input, weights and result."""
        shapes = self.x_shape, self.w_shape, self.problem(dtype).y_shape
        return sum(map(prod, shapes)) * np.dtype(dtype).itemsize

    def arrays(self, dtype: str, seed: int = 0) -> tuple[Array, Array, Array]:
        """Input, weights and bias: uniform in [-1, 1), which every dtype's sums hold well."""
        rng = np.random.default_rng(seed)
        shapes = self.x_shape, self.w_shape, (self.out_channels,)
        x, w, b = (rng.random(shape, np.float32).astype(dtype, copy=False) * 2 - 1 for shape in shapes)
        return x, w, b

    def plan(self, w: Array, b: Array, threads: int, strategy: str | None = None) -> PreparedConv:
        """The planned convolution, weights packed."""
        make = getattr(numbaconv, f"plan_{self.function}")
        prepared: PreparedConv = make(self.x_shape, w, b, **self.geometry(), strategy=strategy, num_threads=threads)
        return prepared

    def plain(self, x: Array, w: Array, b: Array, threads: int, strategy: str | None = None) -> Call:
        """The call of the plain function."""
        function, geometry = getattr(numbaconv, self.function), self.geometry()
        return lambda: function(x, w, b, **geometry, strategy=strategy, num_threads=threads)

    def __str__(self) -> str:
        return self.name


def square(
    name: str, kind: str, channels: tuple[int, int], size: int, kernel: int, stride: int = 1, groups: int = 1
) -> Layer:
    """A 2-D layer of a classification network: batch 1, square maps, padding that keeps the size at stride 1."""
    into, out = channels
    return Layer(
        name,
        kind,
        (1, into, size, size),
        (out, into // groups, kernel, kernel),
        (stride, stride),
        ((kernel // 2, kernel // 2),) * 2,
        (1, 1),
        groups,
    )


def fairly(layers: Sequence[Layer]) -> list[Layer]:
    """In an order of which every beginning is a fair sample: the kinds by turns, small and large layers of each.

    Within a kind, by operations, the first is the median; from there, places follow in the order of reversed bits.
    """
    kinds: dict[str, list[Layer]] = {}
    for layer in sorted(layers, key=lambda layer: layer.flops):
        kinds.setdefault(layer.kind, []).append(layer)
    spread = [[found[i - len(found) // 2] for i in _reversed_bits(len(found))] for found in kinds.values()]
    return [layer for turn in zip_longest(*spread) for layer in turn if layer is not None]


def _reversed_bits(count: int) -> list[int]:
    """Numbers below ``count``, each far from those before it: 0, 1/2, 1/4, 3/4, ... of the next power of two."""
    return sorted(range(count), key=lambda number: f"{number:032b}"[::-1])


def read(path: Path, batch: int | None = None) -> Iterator[Layer]:
    """The layers of a CSV file: forward ones of any rank, or transposed ones (a column ``nd``).

    A row has ``ic``, ``oc``, ``g``, ``mb`` and, for the axes that its rank has, input size ``i*``, kernel ``k*``,
    stride ``s*``, padding ``p*``, dilation ``d*``. High padding is ``pr*`` where ``torch_sym_pad`` is 0, else the same.
    ``batch`` replaces the ``mb`` of the file.
    """
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            layer = _transposed(row) if "nd" in row else _forward(row)
            yield layer if batch is None else replace(layer, x_shape=(batch, *layer.x_shape[1:]))


def chosen(files: Iterable[Path], pattern: str, batch: int | None = None) -> Iterator[Layer]:
    """The layers of several files whose name or kind matches the regular expression ``pattern``."""
    matches = re.compile(pattern).search
    every = chain.from_iterable(read(path, batch) for path in files)
    return (layer for layer in every if matches(f"{layer} {layer.kind}"))


def _forward(row: dict[str, str]) -> Layer:
    axes = [axis for axis in AXES if f"k{axis}" in row]
    high = "p" if row["torch_sym_pad"] == "1" else "pr"
    groups = int(row["g"])
    return Layer(
        f"{_network(row)} {row['name']}",
        row.get("category", f"conv{len(axes)}d"),
        (int(row["mb"]), int(row["ic"]), *_numbers(row, "i", axes)),
        (int(row["oc"]), int(row["ic"]) // groups, *_numbers(row, "k", axes)),
        _numbers(row, "s", axes),
        tuple(zip(_numbers(row, "p", axes), _numbers(row, high, axes), strict=True)),
        _numbers(row, "d", axes),
        groups,
        count=int(row.get("mult", 1)),
    )


def _transposed(row: dict[str, str]) -> Layer:
    axes = list(AXES[3 - int(row["nd"]) :])
    groups = int(row["g"])
    return Layer(
        f"{_network(row)} {row['name']}",
        f"transposed {row['nd']}d",
        (int(row["mb"]), int(row["ic"]), *_numbers(row, "i", axes)),
        (int(row["ic"]), int(row["oc"]) // groups, *_numbers(row, "k", axes)),
        _numbers(row, "s", axes),
        tuple((pad, pad) for pad in _numbers(row, "p", axes)),
        _numbers(row, "d", axes),
        groups,
        transposed=True,
        output_padding=_numbers(row, "opad_", axes),
        count=int(row["mult"]),
    )


def _network(row: dict[str, str]) -> str:
    """Of the networks that share a layer, the first."""
    return row["network"].partition("|")[0]


def _numbers(row: dict[str, str], prefix: str, axes: list[str]) -> tuple[int, ...]:
    return tuple(int(row[f"{prefix}{axis}"]) for axis in axes)

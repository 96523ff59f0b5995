"""Named convolutions that every strategy is tried on, one line each, and a hypothesis strategy that draws others.

Sizes are small: what a case is about is in its name, and edges of vectors and tiles are crossed by a few elements, as
registers hold 2 to 16 of them and tiles 1 to 8 rows by 1 to 8 vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import reference
from hypothesis import strategies as st
from tolerance import bound

import numbaconv
from numbaconv.problem import ConvProblem

# Strategies that compute other sums than the equation's, and how many times its error bound they are allowed. All
# others add the products themselves, so that sums of small integers are exact.
OTHER_SUMS: dict[str, float] = {"winograd": 1.0, "fft": 1.0, "trimmed": 1.0}  # trimmed may leave the rest to winograd


@dataclass(frozen=True)
class Case:
    """Shapes and keyword arguments of one call."""

    x: tuple[int, ...]
    w: tuple[int, ...]
    geometry: dict[str, Any] = field(default_factory=dict, hash=False)
    transposed: bool = False
    gradient: bool = False  # for the weights: ``w`` is the gradient of the result, and the geometry has "weight_size"

    @property
    def rank(self):
        return len(self.x) - 2

    @property
    def out_channels(self):
        return self.w[1] * self.geometry.get("groups", 1) if self.transposed else self.w[0]

    @property
    def operation(self):
        """The equation of this case, in `reference`."""
        if self.gradient:
            return reference.conv_weight
        return reference.conv_transpose if self.transposed else reference.conv

    def problem(self, dtype="float32"):
        if self.gradient:
            geometry = dict(self.geometry)
            size = geometry.pop("weight_size")
            return ConvProblem.of(self.rank, self.x, size, dtype, **geometry).folded().weight_gradient()
        make = ConvProblem.of_transposed if self.transposed else ConvProblem.of
        return make(self.rank, self.x, self.w, dtype, **self.geometry)

    def call(self, x, w, b=None, **options):
        """The plain function: borrowed weights."""
        if self.gradient:
            geometry = dict(self.geometry)
            size = geometry.pop("weight_size")
            return getattr(numbaconv, f"conv{self.rank}d_weight")(x, size, w, **geometry, **options)
        name = f"conv{'_transpose' * self.transposed}{self.rank}d"
        return getattr(numbaconv, name)(x, w, b, **self.geometry, **options)

    def plan(self, w, b=None, **options):
        """The prepared one: packed weights; a gradient, whose operands all change, has none."""
        if self.gradient:
            return lambda x, out=None: self.call(x, w, b, out=out, **options)
        name = f"plan_conv{'_transpose' * self.transposed}{self.rank}d"
        return getattr(numbaconv, name)(self.x, w, b, **self.geometry, **options)

    def arrays(self, dtype="float32", integers=False, seed=0):
        """(x, w, b) of normal numbers, or of small integers, a third of them zero, whose sums are exact."""
        rng = np.random.default_rng(seed)
        shapes = self.x, self.w, (self.out_channels,)
        draw = lambda shape: rng.integers(-4, 5, shape) * (rng.random(shape) < 0.75) + 0.0  # noqa: E731
        x, w, b = ((draw if integers else rng.standard_normal)(shape).astype(dtype) for shape in shapes)
        return x, w, None if self.gradient else b


def conv(x, w, **geometry):
    return Case(x, w, geometry)


def transposed(x, w, **geometry):
    return Case(x, w, geometry, transposed=True)


def gradient(x, weight_size, **geometry):
    problem = ConvProblem.of(len(x) - 2, x, weight_size, "float32", **geometry)
    return Case(x, problem.y_shape, geometry | {"weight_size": weight_size}, gradient=True)


EDGES = (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 49, 63, 65, 127, 129)

CASES = {
    # channels and rows around the edges of tiles and vectors
    **{f"{n} channels out": conv((1, 3, 5, 19), (n, 3, 3, 3), padding=1) for n in EDGES},
    **{f"{n} channels in": conv((1, n, 6, 7), (5, n, 3, 3), padding=1) for n in EDGES},
    **{f"{n} channels in and out, 1x1": conv((2, n, 3, 7), (n, n, 1, 1)) for n in EDGES},
    **{f"width {n}": conv((1, 2, 4, n), (9, 2, 3, 3), padding=1) for n in WIDTHS},
    **{f"{n} pixels, 1x1": conv((2, 3, n, 1), (9, 3, 1, 1)) for n in WIDTHS},
    **{f"width {n}, one channel": conv((1, 1, 5, n), (1, 1, 3, 3), padding=1) for n in WIDTHS},
    **{f"width {n}, depthwise": conv((1, 2, 5, n), (2, 1, 3, 3), padding=1, groups=2) for n in WIDTHS},
    **{f"{n} rows, depthwise 5x5": conv((1, 2, n, 17), (2, 1, 5, 5), padding=2, groups=2) for n in EDGES},
    # real layers, with fewer channels
    "stem 7x7 s2": conv((1, 3, 33, 35), (16, 3, 7, 7), stride=2, padding=3),
    "patches 8x8 s8": conv((1, 3, 32, 24), (12, 3, 8, 8), stride=8),
    "body 3x3": conv((1, 24, 14, 14), (32, 24, 3, 3), padding=1),
    "body 3x3 s2": conv((1, 24, 15, 14), (32, 24, 3, 3), stride=2, padding=1),
    "body 3x3 on 7x7": conv((1, 40, 7, 7), (48, 40, 3, 3), padding=1),
    "many channels, one pixel": conv((1, 300, 1, 1), (70, 300, 1, 1)),
    "many channels, three pixels 3x3": conv((1, 70, 3, 1), (35, 70, 3, 3), padding=1),
    **{f"{n} tiles of 4 high": conv((1, 16, 4 * n - 1, 4 * n + 5), (9, 16, 3, 3), padding=1) for n in (1, 4, 7, 9)},
    "tiles of 4, channel edges": conv((2, 33, 13, 18), (31, 33, 3, 3), padding=1),
    "tiles of 4, wide": conv((1, 16, 5, 300), (3, 16, 3, 3), padding=1),
    "tiles of 4, groups": conv((1, 48, 9, 14), (15, 16, 3, 3), padding=1, groups=3),
    "tiles of 4, any padding": conv((1, 40, 9, 14), (8, 40, 3, 3), padding=((2, 0), (-1, 1))),
    "one tile of 4": conv((1, 16, 4, 4), (1, 16, 3, 3), padding=1),
    "tiles of 4, in depth": conv((1, 16, 4, 10, 9), (5, 16, 3, 3, 3), padding=1),
    "shortcut 1x1 s2": conv((1, 20, 9, 11), (24, 20, 1, 1), stride=2),
    "expand 1x1": conv((1, 16, 13, 13), (96, 16, 1, 1)),
    "inception 1x7": conv((1, 8, 17, 17), (12, 8, 1, 7), padding=(0, 3)),
    "inception 7x1": conv((1, 8, 17, 17), (12, 8, 7, 1), padding=(3, 0)),
    "1x1 with padding": conv((1, 5, 4, 6), (7, 5, 1, 1), padding=1),
    "dilated 3x3 d6": conv((1, 6, 19, 21), (8, 6, 3, 3), padding=6, dilation=6),
    "grey 5x5": conv((1, 1, 23, 70), (1, 1, 5, 5), padding=2),
    "grey 15x15": conv((1, 1, 40, 37), (1, 1, 15, 15), padding=7),
    "grey 31x31": conv((1, 1, 50, 65), (1, 1, 31, 31), padding=15),
    "grey to three 9x9": conv((1, 1, 20, 37), (3, 1, 9, 9)),
    "three to one 9x9": conv((2, 3, 20, 37), (1, 3, 9, 9), padding=4),
    "speech 1-D k10 s5": conv((1, 1, 400), (24, 1, 10), stride=5),
    "tcn 1-D d8": conv((2, 12, 60), (12, 12, 3), padding=((16, 0),), dilation=8),
    "video 3x3x3": conv((1, 4, 5, 9, 10), (9, 4, 3, 3, 3), padding=1),
    "video 3x3x3 s2": conv((1, 4, 7, 9, 10), (9, 4, 3, 3, 3), stride=2, padding=1),
    "video 3x1x1": conv((1, 4, 6, 5, 7), (9, 4, 3, 1, 1), padding=(1, 0, 0)),
    "video 1x3x3": conv((1, 4, 3, 7, 9), (9, 4, 1, 3, 3), padding=(0, 1, 1)),
    "video depthwise": conv((1, 5, 6, 7, 9), (5, 1, 3, 3, 3), padding=1, groups=5),
    "video anisotropic": conv(
        (2, 3, 7, 9, 11), (4, 3, 2, 3, 4), stride=(2, 1, 3), padding=(1, 2, 0), dilation=(1, 3, 2)
    ),
    # sizes of 1
    "everything 1": conv((1, 1, 1, 1), (1, 1, 1, 1)),
    "everything 1, 1-D": conv((1, 1, 1), (1, 1, 1)),
    "everything 1, 3-D": conv((1, 1, 1, 1, 1), (1, 1, 1, 1, 1)),
    "one output": conv((2, 5, 4, 6), (7, 5, 4, 6)),
    "one row": conv((1, 3, 1, 30), (5, 3, 1, 5), padding=(0, 2)),
    "one column": conv((1, 3, 30, 1), (5, 3, 5, 1), padding=(2, 0)),
    "one row, 3x3": conv((1, 3, 1, 30), (5, 3, 3, 3), padding=1),
    "one column, 3x3": conv((1, 3, 30, 1), (5, 3, 3, 3), padding=1),
    "one pixel, depthwise": conv((2, 17, 1, 1), (17, 1, 3, 3), padding=1, groups=17),
    "one pixel, 3x3": conv((1, 3, 1, 1), (5, 3, 3, 3), padding=1),
    # kernels
    "even 2x2": conv((1, 3, 8, 9), (5, 3, 2, 2)),
    "even 4x6 same": conv((1, 3, 8, 9), (5, 3, 4, 6), padding="same"),
    "even 2x2 s2": conv((1, 3, 8, 9), (5, 3, 2, 2), stride=2),
    "even depthwise 4x4": conv((1, 3, 8, 19), (3, 1, 4, 4), padding=((1, 2), (2, 1)), groups=3),
    "kernel larger than input": conv((1, 2, 3, 4), (5, 2, 7, 9), padding=(3, 4)),
    "kernel larger than input, uneven": conv((1, 5, 6, 7), (5, 1, 13, 9), padding=((6, 5), (2, 1)), groups=5),
    "kernel larger than input, video": conv((1, 3, 2, 3, 4), (3, 1, 3, 5, 7), padding=(1, 2, 3), groups=3),
    "kernel larger than input, 1-D": conv((1, 4, 20), (4, 1, 41), padding=20, groups=4),
    "kernel larger than input, depthwise": conv((1, 3, 3, 4), (3, 1, 7, 9), padding=(3, 4), groups=3),
    "1xN wide": conv((1, 2, 3, 80), (3, 2, 1, 40)),
    "Nx1 tall": conv((1, 2, 80, 3), (3, 2, 40, 1)),
    "1xN depthwise": conv((1, 3, 4, 60), (3, 1, 1, 9), padding=(0, 4), groups=3),
    "Nx1 depthwise": conv((1, 3, 20, 33), (3, 1, 9, 1), padding=(4, 0), groups=3),
    # padding
    "padding larger than kernel": conv((1, 3, 5, 6), (4, 3, 3, 3), padding=(7, 9)),
    "padding larger than everything": conv((1, 2, 2, 3), (4, 2, 2, 2), padding=40),
    "padding larger than kernel, depthwise": conv((1, 3, 5, 6), (3, 1, 3, 3), padding=(7, 19), groups=3),
    "asymmetric padding": conv((1, 3, 7, 8), (5, 3, 3, 3), padding=((0, 2), (3, 1))),
    "asymmetric padding s2": conv((1, 3, 7, 8), (5, 3, 3, 3), stride=2, padding=((0, 1), (1, 0))),
    "cropped": conv((1, 3, 11, 12), (5, 3, 3, 3), padding=((-1, -2), (-3, 0))),
    "cropped and padded": conv((1, 3, 9, 8), (5, 3, 3, 3), padding=((-3, 4), (5, -2))),
    "cropped by stride": conv((1, 3, 11, 12), (5, 3, 2, 2), stride=3, padding=-2),
    "cropped 1x1": conv((1, 3, 5, 6), (4, 3, 1, 1), padding=-1),
    "cropped depthwise": conv((1, 3, 11, 40), (3, 1, 3, 3), padding=((-2, 1), (-5, -3)), groups=3),
    "full": conv((1, 2, 5, 6), (3, 2, 3, 4), padding="full"),
    "causal": conv((2, 3, 40), (5, 3, 4), padding="causal", dilation=3),
    "only padding at the far end": conv((1, 2, 1, 1), (3, 2, 3, 3), padding=((0, 2), (0, 2))),
    # stride
    "stride larger than kernel": conv((1, 3, 20, 23), (5, 3, 2, 3), stride=(5, 7)),
    "stride larger than kernel, padded": conv((1, 3, 20, 23), (5, 3, 2, 3), stride=(5, 7), padding=((3, 4), (6, 2))),
    "stride larger than input": conv((1, 3, 4, 5), (5, 3, 2, 2), stride=50),
    "stride along one axis": conv((1, 3, 9, 20), (5, 3, 3, 3), stride=(1, 2), padding=1),
    "stride along the other axis": conv((1, 3, 9, 20), (5, 3, 3, 3), stride=(3, 1), padding=1),
    "stride 2 depthwise": conv((1, 3, 13, 70), (3, 1, 3, 3), stride=2, padding=1, groups=3),
    "stride 3 depthwise 5x5": conv((1, 3, 13, 40), (3, 1, 5, 5), stride=3, padding=2, groups=3),
    "stride 2 grey 11x11": conv((1, 1, 30, 31), (1, 1, 11, 11), stride=2, padding=5),
    # dilation, with stride: taps share input rows and column phases where the two have a common divisor
    **{
        f"stride {s} dilation {d}": conv((1, 2, 19, 41), (5, 2, 3, 3), stride=s, dilation=d, padding=2)
        for s, d in ((1, 2), (2, 2), (2, 3), (3, 2), (2, 4), (4, 2), (4, 6), (6, 4), (3, 3), (6, 3))
    },
    "dilation along one axis": conv((1, 3, 9, 20), (5, 3, 3, 3), dilation=(1, 4), padding=2),
    "dilation along the other axis": conv((1, 3, 19, 20), (5, 3, 3, 3), dilation=(5, 1), padding=2),
    "far taps": conv((1, 2, 90, 95), (3, 2, 3, 3), dilation=40, padding=2),
    "far taps in the padding": conv((1, 2, 5, 6), (3, 2, 3, 3), dilation=50, padding=50),
    "far taps with stride": conv((1, 2, 90, 95), (3, 2, 2, 3), dilation=(60, 30), stride=(7, 4), padding=(3, 0)),
    "far taps 1-D": conv((1, 2, 3000), (3, 2, 3), dilation=1400, padding=30),
    "far taps depthwise": conv((1, 3, 60, 64), (3, 1, 3, 3), dilation=25, padding=4, groups=3),
    "dilated depthwise": conv((1, 3, 14, 33), (3, 1, 3, 3), dilation=2, padding=2, groups=3),
    # groups and batch
    "3 groups": conv((2, 9, 6, 7), (15, 3, 3, 3), padding=1, groups=3),
    "3 groups of one input": conv((1, 3, 6, 7), (12, 1, 3, 3), padding=1, groups=3),
    "3 groups to one output": conv((1, 12, 6, 7), (3, 4, 3, 3), padding=1, groups=3),
    "3 groups 1x1": conv((2, 9, 6, 7), (51, 3, 1, 1), groups=3),
    "32 groups of 4": conv((1, 128, 5, 6), (128, 4, 3, 3), padding=1, groups=32),
    "depthwise": conv((2, 17, 9, 10), (17, 1, 3, 3), padding=1, groups=17),
    "depthwise 1x1": conv((2, 5, 4, 9), (5, 1, 1, 1), groups=5),
    "depthwise 7x7": conv((1, 5, 14, 21), (5, 1, 7, 7), padding=3, groups=5),
    "depthwise 13x13": conv((1, 3, 20, 21), (3, 1, 13, 13), padding=6, groups=3),
    "depthwise multiplier 2": conv((2, 3, 6, 18), (6, 1, 3, 3), padding=1, groups=3),
    "depthwise multiplier 3 s2": conv((1, 4, 9, 18), (12, 1, 5, 5), padding=2, stride=2, groups=4),
    "depthwise 1-D": conv((2, 6, 100), (6, 1, 9), padding=4, groups=6),
    "depthwise 1-D causal k4": conv((2, 6, 50), (6, 1, 4), padding="causal", groups=6),
    "batch 0": conv((0, 3, 5, 6), (4, 3, 3, 3)),
    "batch 3": conv((3, 4, 6, 7), (5, 4, 3, 3), padding=1),
    "batch 3, one output each": conv((3, 4, 3, 3), (40, 4, 3, 3)),
    "batch 3, 1x1": conv((3, 4, 5, 7), (9, 4, 1, 1)),
    # long rows
    "wide rows": conv((1, 2, 3, 2000), (3, 2, 3, 3), padding=1),
    "wide rows s2": conv((1, 2, 3, 2001), (3, 2, 3, 3), padding=1, stride=2),
    "wide rows depthwise": conv((1, 2, 4, 2000), (2, 1, 3, 3), padding=1, groups=2),
    "wide rows 1x1": conv((1, 3, 2, 2000), (5, 3, 1, 1)),
    "long 1-D": conv((1, 1, 10_000), (1, 1, 25), padding=12),
    "long 1-D, many taps": conv((1, 1, 10_000), (1, 1, 600)),
    "long 1-D, many outputs": conv((1, 2, 10_000), (5, 2, 3)),
    "a page between rows": conv((1, 5, 2, 1024), (9, 5, 1, 1)),
    # transposed
    "transposed k2 s2": transposed((1, 8, 6, 7), (8, 5, 2, 2), stride=2),
    "transposed k2 s2, one channel": transposed((1, 1, 3, 4), (1, 2, 2, 2), stride=2),
    "transposed k3 s1": transposed((1, 5, 6, 7), (5, 4, 3, 3), padding=1),
    "transposed k4 s2 p1": transposed((2, 9, 6, 17), (9, 8, 4, 4), stride=2, padding=1),
    "transposed k4 s2, many channels": transposed((1, 40, 6, 9), (40, 5, 4, 4), stride=2, padding=1),
    "transposed k3 s2 output padding": transposed((1, 5, 6, 7), (5, 4, 3, 3), stride=2, padding=1, output_padding=1),
    "transposed k5 s3": transposed((1, 5, 6, 7), (5, 4, 5, 5), stride=3, padding=2, output_padding=(2, 0)),
    "transposed k2 s3": transposed((1, 5, 4, 6), (5, 4, 2, 2), stride=3),
    "transposed k1 s2": transposed((1, 5, 4, 6), (5, 4, 1, 1), stride=2, output_padding=1),
    "transposed k2 s5 padded": transposed((1, 3, 4, 6), (3, 4, 2, 2), stride=5, padding=1, output_padding=4),
    "transposed dilated": transposed((1, 3, 5, 6), (3, 4, 3, 3), dilation=2, padding=1),
    "transposed dilated with stride": transposed((1, 3, 5, 6), (3, 4, 3, 3), stride=3, dilation=2, padding=1),
    "transposed gcd 2": transposed((1, 3, 5, 6), (3, 4, 3, 3), stride=4, dilation=2, padding=(1, 0), output_padding=3),
    "transposed gcd of all": transposed((1, 3, 5, 6), (3, 4, 3, 2), stride=2, dilation=4),
    "transposed stride along one axis": transposed((1, 3, 5, 6), (3, 4, 3, 4), stride=(1, 2), padding=(1, 0)),
    "transposed asymmetric padding": transposed((1, 3, 6, 7), (3, 4, 4, 4), stride=2, padding=((0, 3), (2, 1))),
    "transposed negative padding": transposed((1, 3, 4, 5), (3, 4, 3, 3), stride=2, padding=-2),
    "transposed padding cuts inputs": transposed((1, 3, 6, 7), (3, 4, 3, 3), stride=2, padding=5),
    "transposed same": transposed((1, 3, 6, 7), (3, 4, 5, 2), stride=3, padding="same"),
    "transposed 3 groups": transposed((2, 9, 5, 6), (9, 2, 4, 4), stride=2, padding=1, groups=3),
    "transposed depthwise": transposed((1, 6, 5, 16), (6, 1, 4, 4), stride=2, padding=1, groups=6),
    "transposed depthwise multiplier": transposed((1, 3, 5, 6), (3, 2, 3, 3), stride=2, groups=3),
    "transposed one pixel": transposed((1, 7, 1, 1), (7, 9, 4, 4), stride=1),
    "transposed batch 0": transposed((0, 3, 5, 6), (3, 4, 3, 3), stride=2),
    "transposed wide rows": transposed((1, 2, 2, 1000), (2, 3, 4, 4), stride=2, padding=1),
    "transposed 1-D": transposed((2, 6, 30), (6, 5, 16), stride=8, padding=4),
    "transposed 1-D k<s": transposed((2, 6, 30), (6, 5, 3), stride=8),
    "transposed 3-D": transposed((1, 4, 3, 4, 5), (4, 3, 2, 3, 4), stride=(2, 1, 2), padding=(0, 1, 1)),
    "transposed 3-D k2 s2": transposed((1, 4, 3, 4, 5), (4, 6, 2, 2, 2), stride=2),
    "transposed depthwise k5 s2": transposed((2, 3, 5, 18), (3, 1, 5, 5), stride=2, padding=2, groups=3),
    "transposed depthwise k7 s2": transposed((1, 3, 9, 4), (3, 2, 7, 7), stride=2, padding=((0, 3), (-1, 2)), groups=3),
    "transposed depthwise k3 s2": transposed((1, 2, 40, 33), (2, 1, 3, 3), stride=2, padding=1, groups=2),
    "transposed depthwise k3 s2, small": transposed((1, 2, 3, 4), (2, 1, 3, 3), stride=2, groups=2),
    "transposed depthwise video": transposed((1, 2, 3, 4, 5), (2, 1, 1, 3, 3), stride=(1, 2, 2), groups=2),
    "transposed one pixel s2, groups": transposed((3, 34, 1, 1), (34, 2, 3, 4), stride=2, groups=2),
    "transposed one pixel, groups": transposed((3, 6, 1, 1), (6, 4, 3, 3), groups=2),
    # gradients for the weights
    **{f"gradient, {n} channels": gradient((1, n, 6, 7), (n, n, 3, 3), padding=1) for n in EDGES},
    **{f"gradient, {n} channels out": gradient((2, 5, 4, 5), (n, 5, 3, 3), padding=1) for n in EDGES},
    **{f"gradient depthwise, width {n}": gradient((1, 2, 5, n), (2, 1, 3, 3), padding=1, groups=2) for n in WIDTHS},
    **{f"gradient 1x1, {n} pixels": gradient((2, 3, n, 1), (9, 3, 1, 1)) for n in WIDTHS},
    "gradient stem 7x7 s2": gradient((1, 3, 33, 35), (16, 3, 7, 7), stride=2, padding=3),
    "gradient in parts": gradient((1, 3, 70, 71), (7, 3, 3, 3), padding=1),
    "gradient of many images": gradient((9, 8, 5, 6), (12, 8, 3, 3), padding=1),
    "gradient 1x1 s2": gradient((1, 20, 9, 11), (24, 20, 1, 1), stride=2),
    "gradient 1x1, outputs in rows": gradient((2, 33, 9, 8), (6, 33, 1, 1)),
    "gradient 1x1, groups": gradient((2, 40, 5, 7), (18, 20, 1, 1), groups=2),
    "gradient 1x1 in parts": gradient((1, 8, 80, 90), (7, 8, 1, 1)),
    "gradient 1-D": gradient((2, 6, 600), (5, 6, 9), stride=3, padding=4, dilation=2),
    "gradient 3-D": gradient((2, 3, 5, 9, 10), (9, 3, 2, 3, 3), stride=(2, 1, 2), padding=1, dilation=(1, 2, 1)),
    "gradient, groups": gradient((2, 9, 6, 7), (15, 3, 3, 3), padding=1, groups=3),
    "gradient, groups of 17": gradient((2, 34, 6, 7), (34, 17, 3, 3), padding=1, groups=2),
    "gradient cropped": gradient((1, 3, 11, 12), (5, 3, 3, 3), padding=((-1, -2), (-3, 4))),
    "gradient cropped by stride": gradient((1, 3, 11, 12), (5, 3, 2, 2), stride=3, padding=-2),
    "gradient, kernel larger than input": gradient((1, 2, 3, 4), (5, 2, 7, 9), padding=(3, 4)),
    "gradient, far taps": gradient((1, 2, 90, 95), (3, 2, 2, 3), dilation=(60, 30), stride=(7, 4), padding=(3, 0)),
    "gradient depthwise 5x5 s2": gradient((2, 3, 13, 40), (3, 1, 5, 5), stride=2, padding=2, groups=3),
    "gradient depthwise 7x7": gradient((1, 5, 14, 21), (5, 1, 7, 7), padding=3, groups=5),
    "gradient depthwise 13x13": gradient((1, 2, 20, 21), (2, 1, 13, 13), padding=6, groups=2),
    "gradient depthwise multiplier 2": gradient((2, 3, 6, 18), (6, 1, 3, 3), padding=1, groups=3),
    "gradient depthwise of 35 channels": gradient((2, 35, 9, 10), (70, 1, 3, 3), stride=2, padding=1, groups=35),
    "gradient depthwise, dilated": gradient((1, 19, 12, 14), (19, 1, 3, 3), dilation=(2, 3), padding=3, groups=19),
    "gradient depthwise cropped": gradient((1, 3, 9, 8), (3, 1, 3, 2), stride=3, padding=((-1, 2), (-3, 4)), groups=3),
    "gradient depthwise 3-D": gradient((1, 3, 6, 7, 9), (3, 1, 3, 3, 3), padding=1, groups=3),
    "gradient grey 9x9": gradient((1, 1, 40, 37), (1, 1, 9, 9), padding=4),
    "gradient of one output": gradient((3, 8, 4, 5), (6, 4, 4, 5), groups=2),
    "gradient fully connected": gradient((1, 40, 1, 1), (70, 40, 1, 1)),
    "gradient of no image": gradient((0, 3, 5, 6), (4, 3, 3, 3)),
}  # fmt: skip


@lru_cache(None)
def expected(name, dtype, integers=False, biased=True):
    """(arrays, exact result, allowed error) of a case, computed once for all strategies."""
    case = CASES[name]
    x, w, b = case.arrays(dtype, integers)
    b = b if biased else None
    exact = case.operation(x, w, b, **reference_geometry(case))
    allowed = bound(case.operation, x, w, b, dtype, **reference_geometry(case))
    return (x, w, b), exact, allowed


def reference_geometry(case):
    """A case's geometry with padding words in numbers, as the equation takes it."""
    geometry = dict(case.geometry)
    if isinstance(geometry.get("padding"), str):
        problem, first = case.problem(), 3 - case.rank
        pads = problem.padding[first:]
        if case.transposed:
            reach = [d * (k - 1) for d, k in zip(problem.dilation[first:], problem.kernel[first:], strict=True)]
            pads = tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, pads, strict=True))
        geometry["padding"] = pads
    return geometry


@st.composite
def problems(draw, transposed=None):
    """Any `Case` with an output: all ranks, sizes small but across the edges of vectors."""
    rank = draw(st.integers(1, 3))
    largest = {1: 150, 2: 36, 3: 9}[rank]
    axes = lambda values: tuple(draw(values) for _ in range(rank))  # noqa: E731
    groups = draw(st.sampled_from((1, 1, 1, 2, 3, 5)))
    inner, outer = draw(st.sampled_from((1, 1, 2, 4, 9, 17))), draw(st.sampled_from((1, 1, 2, 3, 5, 8, 17)))
    batch = draw(st.sampled_from((1, 1, 2, 3)))
    size, kernel = axes(st.integers(1, largest)), axes(st.integers(1, 7 if rank < 3 else 3))
    stride, dilation = axes(st.sampled_from((1, 1, 1, 2, 3, 5))), axes(st.sampled_from((1, 1, 1, 2, 3, 6)))
    ends = [(draw(st.integers(-2, 6)), draw(st.integers(-2, 6))) for _ in range(rank)]
    geometry = {"stride": stride, "dilation": dilation, "groups": groups}
    x = (batch, groups * inner, *size)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    # The high end of the padding is moved where it would leave no output.
    if draw(st.booleans()) if transposed is None else transposed:
        extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
        grown = [(n - 1) * s + r + op for n, s, r, op in zip(size, stride, reach, extra, strict=True)]
        padding = tuple((lo, min(hi, most - lo)) for (lo, hi), most in zip(ends, grown, strict=True))
        geometry |= {"padding": padding, "output_padding": extra}
        return Case(x, (groups * inner, outer, *kernel), geometry, transposed=True)
    padding = tuple((lo, max(hi, r + 1 - n - lo)) for (lo, hi), r, n in zip(ends, reach, size, strict=True))
    return Case(x, (groups * outer, inner, *kernel), geometry | {"padding": padding})

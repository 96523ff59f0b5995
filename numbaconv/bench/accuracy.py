"""Errors of direct summation and of each of Winograd's variants, by channels, against the equation in float64.

error = max |y - exact| / (eps * (|x| conv |w|))          share = error / ((K + 2) / 2), K the output's own terms
"""

from __future__ import annotations

from itertools import product

import numpy as np

from numbaconv import machine, planner
from numbaconv.bench import tables
from numbaconv.bench.layers import Array
from numbaconv.blocking.tiles import VARIANTS, Variant, accurate, fewest_terms
from numbaconv.problem import ConvProblem
from numbaconv.strategies.winograd import WinogradPlan
from numbaconv.strategy import Plan

CHANNELS = (8, 16, 32, 64, 128, 256)
OUTPUTS = 32  # channels
DRAWS = 3


def table() -> str:
    """Markdown: a row for direct summation and each variant; '-' where the variant is refused."""
    shown = [None, *VARIANTS]
    rows = [[str(variant or "direct, 3x3"), *(_cell(variant, c) for c in CHANNELS)] for variant in shown]
    return tables.markdown(["channels", *map(str, CHANNELS)], rows)


def _cell(variant: Variant | None, channels: int) -> str:
    kh, kw = (3, 3) if variant is None else (variant.kh, variant.kw)
    size = (21, 22) if kh > 1 else (1, 250)
    problem = ConvProblem.of(
        2,
        (1, channels, *size),
        (OUTPUTS, channels, kh, kw),
        "float32",
        padding=(kh // 2, kw // 2),
        stride=(1, 1) if variant is None else variant.strides,
    ).folded()
    plan: Plan = planner.plan(problem, "direct")
    if variant is not None:
        if variant not in accurate(problem, fewest_terms(problem)):
            return "-"
        plan = WinogradPlan.of(problem, machine.host(), [variant], plan)
    errors, shares = zip(*(_errors(problem, plan, seed) for seed in range(DRAWS)), strict=True)
    return f"{max(errors):.1f} ({max(shares):.2f})"


def _errors(problem: ConvProblem, plan: Plan, seed: int) -> tuple[float, float]:
    """The largest error and share of one draw: normal weights, normal inputs whose negative half is zero."""
    rng = np.random.default_rng(seed)
    x = np.maximum(0, rng.standard_normal(problem.x_shape)).astype(np.float32)
    w = rng.standard_normal(problem.w_shape).astype(np.float32)
    y = np.empty(problem.y_shape, np.float32)
    plan.run(x, plan.pack(problem.forward_weights(w)), None, y, 1)
    exact, size, terms = (
        _sum(problem, a, b) for a, b in ((x, w), (abs(x), abs(w)), (np.ones_like(x), np.ones_like(w)))
    )
    known = size > 0
    errors = abs(y - exact)[known] / (float(np.finfo(np.float32).eps) * size[known])
    return float(errors.max()), float((errors / ((terms[known] + 2) / 2)).max())


def _sum(problem: ConvProblem, x: Array, w: Array) -> Array:
    """The equation of a 2-D problem in float64."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *problem.padding[1:]))
    (high, wide), (down, across) = problem.out_size[1:], problem.stride[1:]
    y = np.zeros(problem.y_shape)
    for i, j in product(*map(range, problem.kernel[1:])):
        y += np.einsum(
            "oc,nchw->nohw", w[:, :, i, j].astype(np.float64), padded[:, :, i::down, j::across][:, :, :high, :wide]
        )
    return y

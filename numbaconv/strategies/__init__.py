"""The table of strategies: one line each. File name, strategy name, test id and benchmark parameter are one word."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numbaconv.strategy import Strategy

NAMES = (
    "trimmed",
    "winograd",
    "fft",
    "groupwise",
    "depthwise",
    "channelwise",
    "mirrored",
    "direct",
    "dot",
    "im2col",
    "pointwise",
    "spread",
    "subpixel",
    "transposed",
    "exchanged",
    "reduction",
    "kernelwise",
    "pixelwise",
    "split",
    "integers",
    "generic",
)


@lru_cache(1)
def strategies() -> tuple[Strategy, ...]:
    """Every strategy, in the order of the table, which decides between equal costs."""
    return tuple(import_module(f"numbaconv.strategies.{name}").STRATEGY for name in NAMES)

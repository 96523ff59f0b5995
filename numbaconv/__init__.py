"""Convolutions of NumPy arrays on multicore CPUs, in pure Python and Numba.

The path of a call: `api` describes it as a `problem.ConvProblem`, the `planner` asks every one of `strategies` and
takes the cheapest, whose plan launches its loops over the tiles of `microkernels`, which `codegen` compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numbaconv.api import (
        PreparedConv,
        conv1d,
        conv2d,
        conv3d,
        conv_transpose1d,
        conv_transpose2d,
        conv_transpose3d,
        explain,
        get_num_threads,
        plan_conv1d,
        plan_conv2d,
        plan_conv3d,
        plan_conv_transpose1d,
        plan_conv_transpose2d,
        plan_conv_transpose3d,
        set_num_threads,
        show_config,
    )
    from numbaconv.problem import ConvProblem

__version__ = "0.1.0"

__all__ = [
    "ConvProblem",
    "PreparedConv",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "explain",
    "get_num_threads",
    "plan_conv1d",
    "plan_conv2d",
    "plan_conv3d",
    "plan_conv_transpose1d",
    "plan_conv_transpose2d",
    "plan_conv_transpose3d",
    "set_num_threads",
    "show_config",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'numbaconv' has no attribute {name!r}")
    from numbaconv import api

    value = globals()[name] = getattr(api, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

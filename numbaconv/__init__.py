"""Convolutions of NumPy arrays on multicore CPUs, in pure Python and Numba.

The path of a call: `api` hands it to `calls`, which describe it as a `problem.ConvProblem`; the `planner` asks every
one of `strategies` and takes the cheapest, whose plan launches its loops over the tiles of `microkernels`, which
`codegen` compiles.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numbaconv import ndimage, nn, quantized, signal
    from numbaconv.api import (
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
    from numbaconv.calls import PreparedConv
    from numbaconv.deformable import (
        DeformGradients,
        deform_conv1d,
        deform_conv1d_backward,
        deform_conv2d,
        deform_conv2d_backward,
        deform_conv3d,
        deform_conv3d_backward,
    )
    from numbaconv.gradients import (
        Gradients,
        conv1d_input,
        conv1d_weight,
        conv2d_input,
        conv2d_weight,
        conv3d_input,
        conv3d_weight,
        conv_backward,
        conv_transpose1d_input,
        conv_transpose1d_weight,
        conv_transpose2d_input,
        conv_transpose2d_weight,
        conv_transpose3d_input,
        conv_transpose3d_weight,
    )
    from numbaconv.local import (
        local_conv1d,
        local_conv1d_input,
        local_conv1d_weight,
        local_conv2d,
        local_conv2d_input,
        local_conv2d_weight,
        local_conv3d,
        local_conv3d_input,
        local_conv3d_weight,
    )
    from numbaconv.patches import fold, unfold, unfold_view
    from numbaconv.problem import ConvProblem
    from numbaconv.receptive import Layer, ReceptiveField, output_shape, receptive_field
    from numbaconv.tuning import export_wisdom, forget_wisdom, import_wisdom, tune

__version__ = "0.1.0"

__all__ = [
    "ConvProblem",
    "DeformGradients",
    "Gradients",
    "Layer",
    "PreparedConv",
    "ReceptiveField",
    "conv1d",
    "conv1d_input",
    "conv1d_weight",
    "conv2d",
    "conv2d_input",
    "conv2d_weight",
    "conv3d",
    "conv3d_input",
    "conv3d_weight",
    "conv_backward",
    "conv_transpose1d",
    "conv_transpose1d_input",
    "conv_transpose1d_weight",
    "conv_transpose2d",
    "conv_transpose2d_input",
    "conv_transpose2d_weight",
    "conv_transpose3d",
    "conv_transpose3d_input",
    "conv_transpose3d_weight",
    "deform_conv1d",
    "deform_conv1d_backward",
    "deform_conv2d",
    "deform_conv2d_backward",
    "deform_conv3d",
    "deform_conv3d_backward",
    "explain",
    "export_wisdom",
    "fold",
    "forget_wisdom",
    "get_num_threads",
    "import_wisdom",
    "local_conv1d",
    "local_conv1d_input",
    "local_conv1d_weight",
    "local_conv2d",
    "local_conv2d_input",
    "local_conv2d_weight",
    "local_conv3d",
    "local_conv3d_input",
    "local_conv3d_weight",
    "ndimage",
    "nn",
    "output_shape",
    "plan_conv1d",
    "plan_conv2d",
    "plan_conv3d",
    "plan_conv_transpose1d",
    "plan_conv_transpose2d",
    "plan_conv_transpose3d",
    "quantized",
    "receptive_field",
    "set_num_threads",
    "show_config",
    "signal",
    "tune",
    "unfold",
    "unfold_view",
]

_MODULES = ("ndimage", "nn", "quantized", "signal")
_HOMES = {  # of the names that are not functions of `api`
    "PreparedConv": "calls",
    **dict.fromkeys((f"deform_conv{n}d{of}" for n in (1, 2, 3) for of in ("", "_backward")), "deformable"),
    "DeformGradients": "deformable",
    **dict.fromkeys((f"local_conv{n}d{of}" for n in (1, 2, 3) for of in ("", "_input", "_weight")), "local"),
    **dict.fromkeys(("fold", "unfold", "unfold_view"), "patches"),
    "ConvProblem": "problem",
    **dict.fromkeys(("Layer", "ReceptiveField", "output_shape", "receptive_field"), "receptive"),
    **dict.fromkeys(("export_wisdom", "forget_wisdom", "import_wisdom", "tune"), "tuning"),
    **dict.fromkeys(("Gradients", "conv_backward"), "gradients"),
    **dict.fromkeys(
        (f"conv{kind}{n}d_{of}" for kind in ("", "_transpose") for n in (1, 2, 3) for of in ("input", "weight")),
        "gradients",
    ),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'numbaconv' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"numbaconv.{name}")
    home = import_module(f"numbaconv.{_HOMES.get(name, 'api')}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""PyTorch: `torch.nn.functional`; padding that it has no argument for is `pad`, inside the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.bench.layers import Array, Call, Layer
from numbaconv.bench.peer import RefusedError


def make(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """Tensors that share the arrays' memory; a call gives its result as an array of the tensor's memory."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    function = getattr(functional, layer.function)
    data, weight, bias = (torch.from_numpy(array) for array in (x, w, b))
    geometry = layer.geometry()
    prepare: Callable[[Any], Any] = lambda data: data  # noqa: E731
    if layer.symmetric:
        geometry["padding"] = [lo for lo, _ in layer.padding]
    elif layer.transposed:
        raise RefusedError("torch's transposed convolution takes one padding for both ends")
    else:
        ends = [end for pair in reversed(layer.padding) for end in pair]  # the last axis first
        geometry["padding"] = 0
        prepare = lambda data: functional.pad(data, ends)  # noqa: E731

    def call() -> Array:
        with torch.inference_mode():
            return function(prepare(data), weight, bias, **geometry).numpy()  # type: ignore[no-any-return]

    return call

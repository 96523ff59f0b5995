"""Both gradients of a layer in one call, for its input and its weights, by us and by PyTorch: times and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import numbaconv
from numbaconv.bench import sample
from numbaconv.bench.clock import Times, interleaved, unheard
from numbaconv.bench.layers import Array, Layer

OURS, THEIRS = "backward", "torch backward"  # the contenders
PEER = "torch"
Pair = tuple[Array, Array]


def takes(layer: Layer) -> bool:
    """Whether PyTorch's own call says the layer: one padding for both ends of an axis."""
    return layer.symmetric


def measure(
    layer: Layer, x: Array, w: Array, threads: int, seconds: float, say: Callable[[str], None] = unheard
) -> tuple[dict[str, Times], dict[str, float]]:
    """(times, errors in units of the bound) of both contenders."""
    dy = np.random.default_rng(1).random(layer.problem(str(x.dtype)).y_shape, np.float32).astype(x.dtype) * 2 - 1
    calls = {OURS: _ours(layer, x, w, dy, threads), THEIRS: _theirs(layer, x, w, dy, threads)}
    speakers = {OURS: OURS, THEIRS: PEER}  # who is to blame for a crash
    errors = {}
    for name, call in calls.items():
        say(speakers[name])
        errors[name] = error(layer, x, w, dy, call())
    return interleaved(calls, seconds, say=lambda name: say(speakers[name])), errors


def _ours(layer: Layer, x: Array, w: Array, dy: Array, threads: int) -> Callable[[], Pair]:
    mask = (True, True, False)

    def call() -> Pair:
        found = numbaconv.conv_backward(
            dy, x, w, **layer.geometry(), transposed=layer.transposed, output_mask=mask, num_threads=threads
        )
        return found.x, found.weight  # type: ignore[return-value]  # both were asked for

    return call


def _theirs(layer: Layer, x: Array, w: Array, dy: Array, threads: int) -> Callable[[], Pair]:
    import torch

    torch.set_num_threads(threads)
    arrays = [torch.from_numpy(array) for array in (dy, x, w)]
    extra = layer.output_padding or (0,) * layer.rank
    words: list[Any] = [[layer.out_channels], layer.stride, [lo for lo, _ in layer.padding], layer.dilation]
    words += [layer.transposed, extra, layer.groups, [True, True, False]]

    def call() -> Pair:
        with torch.inference_mode():
            for_input, for_weight, _ = torch.ops.aten.convolution_backward(*arrays, *words)
        return for_input.numpy(), for_weight.numpy()

    return call


def error(layer: Layer, x: Array, w: Array, dy: Array, gradients: Pair) -> float:
    """How far some elements of both are from their sums in float64, in units of the bound; inf for other shapes."""
    problem = layer.problem(str(x.dtype))
    for_input, for_weight = gradients
    if (for_input.shape, for_weight.shape) != (x.shape, w.shape):
        return float("inf")
    of_input = sample.outputs(problem.adjoint(), dy, w, None).error(for_input)
    image, kernel = (dy, x) if layer.transposed else (x, dy)
    gradient = (problem.adjoint() if layer.transposed else problem).weight_gradient()
    # Its images are input channels: they lie second, those of a group behind each other.
    split = image.reshape(-1, gradient.groups, gradient.batch, *image.shape[2:])
    of_weight = sample.outputs(gradient, np.ascontiguousarray(split.swapaxes(0, 2)), kernel, None)
    return max(of_input, of_weight.error(np.ascontiguousarray(for_weight.swapaxes(0, 1))))

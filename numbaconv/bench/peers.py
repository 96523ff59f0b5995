"""The engines to compare with: a table of adapters, each of which turns a layer into a call of that engine.

An adapter makes ``call() -> ndarray`` from a layer and its arrays, with everything that the engine may prepare done
before; or it raises `RefusedError` with the reason. A missing package is `MissingError`, with the extra that brings it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from numbaconv.bench.layers import Array, Call, Layer


class RefusedError(Exception):
    """The engine does not compute this layer; the message says why."""


class MissingError(Exception):
    """A package is not installed; the message names the extra that brings it."""


@dataclass(frozen=True)
class Peer:
    """An engine: how to make its call, and the package that must be there."""

    package: str
    make: Callable[[Layer, Array, Array, Array, int], Call]

    def check(self) -> None:
        """Raise `MissingError` where the package is not installed."""
        try:
            import_module(self.package)
        except ImportError as error:
            raise MissingError(f'{self.package} is not installed: pip install "numbaconv[peers]"') from error


def torch_call(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """`torch.nn.functional`; padding that it has no argument for is `pad`, inside the call, as a user would write."""
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


def scipy_call(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """`scipy.signal.correlate`, which chooses between summing and FFT, channel by channel; it uses one thread."""
    from scipy import signal

    depthwise = layer.groups == layer.x_shape[1] == layer.out_channels
    if layer.transposed or not depthwise:
        raise RefusedError("SciPy filters single channels: depthwise and grey layers only")
    if any(n + lo + hi <= 0 for n, (lo, hi) in zip(layer.x_shape[2:], layer.padding, strict=True)):
        raise RefusedError("SciPy does not crop everything away")
    rank = layer.rank
    spread = np.zeros([d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.w_shape[2:], strict=True)], w.dtype)
    steps = tuple(slice(None, None, d) for d in layer.dilation)
    kernels = []
    for weights in w[:, 0]:
        kernel = spread.copy()
        kernel[steps] = weights
        kernels.append(kernel)
    strides = tuple(slice(None, None, s) for s in layer.stride)
    pads = [(0, 0)] * 2 + [(max(0, lo), max(0, hi)) for lo, hi in layer.padding]
    crops = tuple(slice(max(0, -lo), -max(0, -hi) or None) for lo, hi in layer.padding)

    def call() -> Array:
        padded = np.pad(x, pads)[(..., *crops)]
        y = [
            [signal.correlate(image[c], kernels[c], "valid")[strides] for c in range(len(kernels))] for image in padded
        ]
        return np.asarray(y) + b.reshape(-1, *(1,) * rank)

    return call


PEERS = {"torch": Peer("torch", torch_call), "scipy": Peer("scipy", scipy_call)}

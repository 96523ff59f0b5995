"""SciPy: `scipy.signal.correlate`, which chooses between summing and FFT, channel by channel, on one thread."""

from __future__ import annotations

import numpy as np

from numbaconv.bench.layers import Array, Call, Layer
from numbaconv.bench.peer import RefusedError


def make(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """Padded and filtered in the call; kernels are spread by the dilation before."""
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

"""JAX: `jax.lax.conv_general_dilated`, compiled for the shape; a transposed layer is its forward one."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbaconv.bench.environment import environment
from numbaconv.bench.layers import Array, Call, Layer
from numbaconv.bench.peer import RefusedError

THREADS = "NPROC"  # read by XLA once, when its pool of threads starts

_threads: int | None = None  # of that pool


def make(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """A compiled function of JAX's own arrays; a call gives its result as an array of the same memory."""
    _start(threads)
    import jax
    from jax import lax

    jax.config.update("jax_enable_x64", x.dtype.itemsize == 8)
    spatial = "DHW"[3 - layer.rank :]
    words: dict[str, Any] = {"window_strides": layer.stride, "padding": layer.padding}
    if layer.transposed:
        reaches = [d * (k - 1) for d, k in zip(layer.dilation, w.shape[2:], strict=True)]
        pads = zip(reaches, layer.padding, layer.output_padding, strict=True)
        words = {
            "window_strides": (1,) * layer.rank,
            "padding": [(reach - lo, reach - hi + more) for reach, (lo, hi), more in pads],
            "lhs_dilation": layer.stride,
        }
        flipped = np.flip(w, tuple(range(2, w.ndim))).reshape(layer.groups, -1, *w.shape[1:]).swapaxes(1, 2)
        w = flipped.reshape(layer.out_channels, -1, *w.shape[2:])

    def convolve(x: Any, w: Any, b: Any) -> Any:
        y = lax.conv_general_dilated(
            x,
            w,
            **words,
            rhs_dilation=layer.dilation,
            dimension_numbers=("NC" + spatial, "OI" + spatial, "NC" + spatial),
            feature_group_count=layer.groups,
            precision=lax.Precision.HIGHEST,
        )
        return y + b.reshape(-1, *(1,) * layer.rank)

    compiled = jax.jit(convolve)
    data, weight, bias = (jax.device_put(array) for array in (x, w, b))
    return lambda: np.asarray(compiled(data, weight, bias))


def _start(threads: int) -> None:
    """Start JAX's threads; in the environment for no longer than that, as other processes may want other numbers."""
    global _threads
    if _threads is None:
        with environment({THREADS: str(threads), "JAX_PLATFORMS": "cpu"}):
            import jax

            jax.devices()
        _threads = threads
    if threads != _threads:
        raise RefusedError(f"JAX has one number of threads in a process, here {_threads}")

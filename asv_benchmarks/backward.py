"""How fast are gradients? Input and weights of each layer, apart, all three together, and beside PyTorch's."""

import numpy as np

import numbaconv

from .cases import LAYERS, THREADS, Suite, arrays, geometry, plan
from .engines import as_layer

# The forward layers, and those of the transposed ones.
NAMES = [name for name, layer in LAYERS.items() if layer[0].startswith("conv2d") or layer[0].startswith("conv_tr")]


class Gradients(Suite):
    """Float32, two threads, batch as the layer has it."""

    param_names = ["layer", "of"]
    params = [NAMES, ["input", "weight", "all"]]

    def setup_cache(self):
        """Compile everything that the layers need."""
        for layer in NAMES:
            for of in self.params[1]:
                gradient(layer, of)()

    setup_cache.timeout = 900

    def setup(self, layer, of):
        self.call = gradient(layer, of)

    def time_gradient(self, layer, of):
        self.call()


class OverTorch(Suite):
    """PyTorch's time for the gradients of input and weights over ours; one thread, as the goal of 1.5 is."""

    param_names = ["layer"]
    params = [NAMES]
    unit = "times"

    def setup(self, layer):
        try:
            import torch  # noqa: F401

            import numbaconv.bench.backward  # noqa: F401
        except ImportError:  # or a version of the library from before it
            raise NotImplementedError from None  # asv's word for: skip

    def track_ratio(self, layer):
        from numbaconv.bench import backward

        x, w, _ = arrays(layer)
        times, _ = backward.measure(as_layer(layer), x, w, 1, 0.5)
        return times[backward.THEIRS].best / times[backward.OURS].best


def gradient(layer, of):
    """The call, ready to be timed."""
    x, w, _ = arrays(layer)
    dy = np.ones(plan(layer).output_shape, np.float32)
    options = geometry(layer)
    if of == "all":
        transposed = "transpose" in LAYERS[layer][0]
        return lambda: numbaconv.conv_backward(dy, x, w, transposed=transposed, num_threads=THREADS, **options)
    function = getattr(numbaconv, f"{LAYERS[layer][0]}_{of}")
    operands = (x.shape, w) if of == "input" else (x, w.shape)
    return lambda: function(*operands, dy, num_threads=THREADS, **options)

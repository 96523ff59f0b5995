"""What follows a convolution, in the cache or in passes of its own: the ratio of the rows is what fusing saves."""

import numpy as np

import numbaconv

from .cases import LAYERS, THREADS, Suite, arrays, geometry, plan

SOME = ["r50_3x3_56", "r50_1x1_56", "mbv2_dw3x3_56", "r50_3x3_7", "unet_up2x2s2_56", "tiny_8x8x8x8"]
TAILS = ["relu", "gelu", "residual relu"]


def prepared(layer, tail):
    """The plan with its tail, compiled; and a residual, or None."""
    x, w, b = arrays(layer)
    make = getattr(numbaconv, f"plan_{LAYERS[layer][0]}")
    residual = "residual" in tail
    options = {"activation": tail.split()[-1], "residual": residual, "num_threads": THREADS}
    fused = make(x.shape, w, b, **geometry(layer), **options)
    other = np.ones(fused.output_shape, np.float32) if residual else None
    fused(x, residual=other)
    return fused, other


class Tail(Suite):
    """Prepared weights, results in an array that is there already, two threads."""

    param_names = ["layer", "tail"]
    params = [SOME, TAILS]

    def setup(self, layer, tail):
        key = layer, tail
        if getattr(Tail, "key", None) != key:
            Tail.key, Tail.made = key, prepared(layer, tail)
        self.x = arrays(layer)[0]
        self.fused, self.residual = Tail.made
        self.plain = plan(layer)
        self.out = np.empty(self.fused.output_shape, np.float32)

    def time_fused(self, layer, tail):
        self.fused(self.x, self.out, self.residual)

    def time_apart(self, layer, tail):
        y = self.plain(self.x, self.out)
        if self.residual is not None:
            np.add(y, self.residual, out=y)
        np.maximum(y, 0, out=y)  # relu for gelu too, for which NumPy has no name

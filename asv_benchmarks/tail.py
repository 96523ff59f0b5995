"""What follows a convolution, in the cache or in passes of its own: the ratio of the rows is what fusing saves."""

import numpy as np

from .cases import Suite, arrays, plan, variant

SOME = ["r50_3x3_56", "r50_1x1_56", "mbv2_dw3x3_56", "r50_3x3_7", "unet_up2x2s2_56", "tiny_8x8x8x8"]
TAILS = ["relu", "gelu", "residual relu"]


def prepared(layer, tail):
    """The plan with its tail, compiled; and a residual, or None."""
    return variant(layer, activation=tail.split()[-1], residual="residual" in tail)


class Tail(Suite):
    """Prepared weights, results in an array that is there already, two threads."""

    param_names = ["layer", "tail"]
    params = [SOME, TAILS]

    def setup(self, layer, tail):
        self.fused, self.residual = self.once(prepared, layer, tail)
        self.x = arrays(layer)[0]
        self.plain = plan(layer)
        self.out = np.empty(self.fused.output_shape, np.float32)

    def time_fused(self, layer, tail):
        self.fused(self.x, self.out, self.residual)

    def time_apart(self, layer, tail):
        y = self.plain(self.x, self.out)
        if self.residual is not None:
            np.add(y, self.residual, out=y)
        np.maximum(y, 0, out=y)  # relu for gelu too, for which NumPy has no name

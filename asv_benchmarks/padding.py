"""Padding modes: their time and memory beside those of zeros, which they should not exceed."""

import numpy as np

from .cases import Suite, arrays, variant

SOME = ["r50_3x3_56", "r50_3x3_7", "r50_3x3s2_28", "mbv2_dw3x3_56", "mbv2_dw3x3s2_28"]
MODES = ["zeros", "constant", "reflect", "symmetric", "replicate", "circular"]


def prepared(layer, mode):
    """The plan, compiled."""
    return variant(layer, padding_mode=mode)[0]


class Padding(Suite):
    """Prepared weights, results in an array that is there already, two threads."""

    param_names = ["layer", "mode"]
    params = [SOME, MODES]

    def setup(self, layer, mode):
        self.plan = self.once(prepared, layer, mode)
        self.x = arrays(layer)[0]
        self.out = np.empty(self.plan.output_shape, np.float32)

    def time_mode(self, layer, mode):
        self.plan(self.x, self.out)

    def peakmem_mode(self, layer, mode):
        self.plan(self.x, self.out)

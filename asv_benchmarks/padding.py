"""Padding modes: their time and memory beside those of zeros, which they should not exceed."""

import numpy as np

import numbaconv

from .cases import LAYERS, THREADS, Suite, arrays, geometry

SOME = ["r50_3x3_56", "r50_3x3_7", "mbv2_dw3x3_56"]
MODES = ["zeros", "constant", "reflect", "symmetric", "replicate", "circular"]


def prepared(layer, mode):
    """The plan, compiled."""
    x, w, b = arrays(layer)
    make = getattr(numbaconv, f"plan_{LAYERS[layer][0]}")
    plan = make(x.shape, w, b, **geometry(layer), padding_mode=mode, num_threads=THREADS)
    plan(x)
    return plan


class Padding(Suite):
    """Prepared weights, results in an array that is there already, two threads."""

    param_names = ["layer", "mode"]
    params = [SOME, MODES]

    def setup(self, layer, mode):
        key = layer, mode
        if getattr(Padding, "key", None) != key:
            Padding.key, Padding.made = key, prepared(layer, mode)
        self.x = arrays(layer)[0]
        self.out = np.empty(Padding.made.output_shape, np.float32)

    def time_mode(self, layer, mode):
        Padding.made(self.x, self.out)

    def peakmem_mode(self, layer, mode):
        Padding.made(self.x, self.out)

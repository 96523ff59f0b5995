"""Quantised layers: QLinearConv with prepared weights, and as a plain call."""

from functools import lru_cache

import numpy as np

from numbaconv import quantized

from .cases import LAYERS, Suite, geometry

SOME = ["r50_first_7x7s2", "r50_3x3_56", "r50_3x3_7", "r50_1x1_56", "r50_1x1_7", "mbv2_dw3x3_56", "tiny_8x8x8x8"]


@lru_cache(1)
def operands(layer):
    """QLinearConv's inputs and attributes, with zero points that are not zero, and a scale for each filter."""
    _, x_shape, w_shape, *_ = LAYERS[layer]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, x_shape, np.uint8)
    w = rng.integers(-127, 128, w_shape, np.int8)
    scale, unit = rng.uniform(0.01, 0.02, w_shape[0]), 0.002 * np.sqrt(w[0].size)
    words = geometry(layer)
    attributes = {"strides": [words["stride"]] * 2, "pads": [words["padding"]] * 4, "group": words["groups"]}
    return (x, 0.02, np.uint8(120), w, scale, np.int8(0), unit, np.uint8(100)), attributes


@lru_cache(1)
def prepared(layer):
    """The plan, compiled."""
    (x, *rest), attributes = operands(layer)
    plan = quantized.plan_qlinear_conv(x.shape, *rest, **attributes)
    plan(x)
    return plan


class Quantized(Suite):
    """As many threads as there are."""

    param_names = ["layer"]
    params = [SOME]

    def setup(self, layer):
        self.inputs, self.attributes = operands(layer)
        self.plan = prepared(layer)

    def time_plan(self, layer):
        self.plan(self.inputs[0])

    def time_call(self, layer):
        quantized.qlinear_conv(*self.inputs, **self.attributes)

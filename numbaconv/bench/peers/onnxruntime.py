"""ONNX Runtime: a session with the weights as constants, which it packs, and its input and output bound to arrays."""

from __future__ import annotations

import numpy as np

from numbaconv.bench import onnx_model
from numbaconv.bench.layers import Array, Call, Layer


def make(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """A session of so many threads; each call writes the same array.

    Its threads spin between calls as they do by default: without, calls below 0.1 ms take 1.2 to 1.4 times as long
    (medians on two Zen 5 cores). They spin on for 50 ms after the last one, which the clock waits for.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # a refusal is an exception, and is reported; not printed as well
    model = onnx_model.serialized(layer, w, b)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    y = np.empty(layer.problem(str(x.dtype)).y_shape, x.dtype)
    bound = session.io_binding()
    bound.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
    bound.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(y))

    def call() -> Array:
        session.run_with_iobinding(bound)
        return y

    return call

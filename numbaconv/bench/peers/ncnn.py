"""ncnn: a net of one layer, whose weights it packs and transforms when it loads them; image by image."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from numbaconv.bench.layers import Array, Call, Layer
from numbaconv.bench.peer import RefusedError

MAGIC = 7767517  # first line of ncnn's text format
HALVES = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")

# Numbers of ncnn's parameters, last axis first: width, height, depth.
KERNEL, DILATION, STRIDE = (1, 11, 21), (2, 12, 22), (3, 13, 23)
LOW, HIGH, OUTPUT_PADDING = (4, 14, 24), (15, 16, 17), (18, 19, 20)
OUTPUTS, BIAS, WEIGHTS, GROUPS = 0, 5, 6, 7


def make(layer: Layer, x: Array, w: Array, b: Array, threads: int) -> Call:
    """A net of so many threads; its result is a view of the matrix that it hands out."""
    import ncnn

    if x.dtype != "float32":
        raise RefusedError("ncnn computes float32, not " + str(x.dtype))
    if any(end < 0 for pair in layer.padding for end in pair):
        raise RefusedError("ncnn has no negative padding")
    net = ncnn.Net()
    net.opt.num_threads = threads
    for half in HALVES:
        setattr(net.opt, f"use_{half}", False)
    net.load_param_mem(_graph(layer, w))
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "weights"
        # A zero word says that float32 follows; a bias has no such word.
        weights.write_bytes(bytes(4) + _ordered(layer, w).tobytes() + b.tobytes())
        if net.load_model(str(weights)) != 0:
            raise RefusedError("ncnn does not load this layer")
    images = [ncnn.Mat(image) for image in x]

    def call() -> Array:
        results = []
        for image in images:
            extractor = net.create_extractor()
            extractor.input("x", image)
            code, y = extractor.extract("y")
            if code != 0:
                raise RefusedError(f"ncnn returned {code}")
            results.append(np.asarray(y))
        return results[0][None] if len(results) == 1 else np.stack(results)

    return call


def _graph(layer: Layer, w: Array) -> str:
    """The net in ncnn's text format."""
    depthwise = "DepthWise" if layer.groups > 1 else ""
    rank = "" if layer.rank == 2 else f"{layer.rank}D"
    kind = f"{'Deconvolution' if layer.transposed else 'Convolution'}{depthwise}{rank}"
    lows, highs = zip(*layer.padding, strict=True)
    words = {OUTPUTS: layer.out_channels, BIAS: 1, WEIGHTS: w.size}
    words |= {GROUPS: layer.groups} if layer.groups > 1 else {}
    lists = [(KERNEL, w.shape[2:]), (DILATION, layer.dilation), (STRIDE, layer.stride), (LOW, lows), (HIGH, highs)]
    lists += [(OUTPUT_PADDING, layer.output_padding)] if layer.transposed else []
    for numbers, values in lists:
        words |= zip(numbers, reversed(values), strict=False)  # as many as the layer has axes
    options = " ".join(f"{number}={value}" for number, value in sorted(words.items()))
    return f"{MAGIC}\n2 2\nInput x 0 1 x\n{kind} y 1 1 x y {options}\n"


def _ordered(layer: Layer, w: Array) -> Array:
    """Weights with outputs first: ncnn keeps those of transposed layers so too, group by group."""
    if not layer.transposed:
        return w
    return np.ascontiguousarray(w.reshape(layer.groups, -1, *w.shape[1:]).swapaxes(1, 2))

"""The layers that all benchmarks name, and their arrays and plans, made once in each process.

Literal, and of plain numbers: parameters must not change with the version of the library that is measured.
"""

from functools import lru_cache

import numpy as np

import numbaconv

THREADS = 2
SEED = 0

# Of each name: function, input, weights, stride, padding, groups.
LAYERS = {
    "r50_first_7x7s2": ("conv2d", (1, 3, 224, 224), (64, 3, 7, 7), 2, 3, 1),
    "r50_3x3_56": ("conv2d", (1, 64, 56, 56), (64, 64, 3, 3), 1, 1, 1),
    "r50_3x3_14": ("conv2d", (1, 256, 14, 14), (256, 256, 3, 3), 1, 1, 1),
    "r50_3x3_7": ("conv2d", (1, 512, 7, 7), (512, 512, 3, 3), 1, 1, 1),
    "r50_3x3s2_28": ("conv2d", (1, 128, 56, 56), (128, 128, 3, 3), 2, 1, 1),
    "r50_1x1_56": ("conv2d", (1, 64, 56, 56), (256, 64, 1, 1), 1, 0, 1),
    "r50_1x1_7": ("conv2d", (1, 2048, 7, 7), (512, 2048, 1, 1), 1, 0, 1),
    "r50_1x1s2_14": ("conv2d", (1, 512, 28, 28), (1024, 512, 1, 1), 2, 0, 1),
    "resnext_3x3g32_28": ("conv2d", (1, 256, 28, 28), (256, 8, 3, 3), 1, 1, 32),
    "mbv2_dw3x3_56": ("conv2d", (1, 144, 56, 56), (144, 1, 3, 3), 1, 1, 144),
    "mbv2_dw3x3s2_28": ("conv2d", (1, 192, 28, 28), (192, 1, 3, 3), 2, 1, 192),
    "convnext_dw7x7_28": ("conv2d", (1, 192, 28, 28), (192, 1, 7, 7), 1, 3, 192),
    "replk_dw31x31_14": ("conv2d", (1, 512, 14, 14), (512, 1, 31, 31), 1, 15, 512),
    "grey_15x15_512": ("conv2d", (1, 1, 512, 512), (1, 1, 15, 15), 1, 7, 1),
    "wave_k7_800": ("conv1d", (1, 256, 800), (256, 256, 7), 1, 3, 1),
    "c3d_3x3x3_28": ("conv3d", (1, 32, 8, 28, 28), (64, 32, 3, 3, 3), 1, 1, 1),
    "pix2pix_up4x4s2_32": ("conv_transpose2d", (1, 256, 32, 32), (256, 128, 4, 4), 2, 1, 1),
    "unet_up2x2s2_56": ("conv_transpose2d", (1, 128, 56, 56), (128, 64, 2, 2), 2, 0, 1),
    "tiny_8x8x8x8": ("conv2d", (8, 8, 8, 8), (8, 8, 3, 3), 1, 1, 1),
}

SMOKE = "tiny_8x8x8x8"


@lru_cache(2)
def arrays(layer, dtype="float32"):
    """Input, weights, bias; every page touched."""
    function, x_shape, w_shape, _, _, groups = LAYERS[layer]
    channels = w_shape[1] * groups if "transpose" in function else w_shape[0]
    rng = np.random.default_rng(SEED)
    return tuple((rng.random(shape) * 2 - 1).astype(dtype) for shape in (x_shape, w_shape, (channels,)))


def geometry(layer):
    """Keyword arguments."""
    _, _, _, stride, padding, groups = LAYERS[layer]
    return {"stride": stride, "padding": padding, "groups": groups}


@lru_cache(2)
def plan(layer, dtype="float32", threads=THREADS, strategy=None):
    """The plan, compiled; ValueError where the strategy refuses."""
    x, w, b = arrays(layer, dtype)
    make = getattr(numbaconv, f"plan_{LAYERS[layer][0]}")
    prepared = make(x.shape, w, b, **geometry(layer), num_threads=threads, strategy=strategy)
    prepared(x)
    return prepared


def variant(layer, residual=False, **options):
    """The plan with more options, compiled; and a residual, or None."""
    x, w, b = arrays(layer)
    make = getattr(numbaconv, f"plan_{LAYERS[layer][0]}")
    prepared = make(x.shape, w, b, **geometry(layer), num_threads=THREADS, residual=residual, **options)
    other = np.ones(prepared.output_shape, np.float32) if residual else None
    prepared(x, residual=other)
    return prepared, other


def call(layer, dtype="float32", threads=THREADS):
    """The plain function, ready to be called."""
    x, w, b = arrays(layer, dtype)
    function, keywords = getattr(numbaconv, LAYERS[layer][0]), geometry(layer)
    return lambda: function(x, w, b, **keywords, num_threads=threads)


class Suite:
    """What all timed suites share.

    asv_runner calls ``setup`` before every timed call, so setups only look things up, in the caches above; what
    compiles has been compiled, to disk, by the one ``setup_cache``, which asv runs once for a commit.
    """

    version = "1"  # else asv forgets the history whenever the source of a benchmark changes
    timeout = 300
    rounds = 2
    repeat = (3, 15, 4.0)
    warmup_time = 0.2

    @classmethod
    def once(cls, make, *key):
        """``make(*key)``, which the suite keeps till it is asked for another."""
        if getattr(cls, "key", None) != key:
            cls.key, cls.made = key, make(*key)
        return cls.made

    def setup_cache(self):
        """Compile everything that the layers need."""
        for layer in LAYERS:
            for dtype in ("float32", "float64"):
                plan(layer, dtype)

    setup_cache.timeout = 1800  # on a core that others shared, 900 were too few

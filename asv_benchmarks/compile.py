"""The first convolution of a process, import included: how long with nothing cached, how long with all cached."""

import os
import subprocess
import sys
import tempfile

from .cases import LAYERS, geometry

FIRST_CALL = """
from time import perf_counter
start = perf_counter()
import numpy, numbaconv
numbaconv.{function}(numpy.ones({x}, 'f'), numpy.ones({w}, 'f'), **{geometry})
print(perf_counter() - start)
"""


class FirstCall:
    """Seconds, in a process of its own."""

    version = "1"
    param_names = ["layer"]
    params = [["r50_3x3_14", "r50_1x1_56", "mbv2_dw3x3_56", "pix2pix_up4x4s2_32", "tiny_8x8x8x8"]]
    timeout = 300
    unit = "s"

    def track_cold(self, layer):
        with tempfile.TemporaryDirectory() as cache:
            return first_call(layer, cache)

    def track_cached(self, layer):
        with tempfile.TemporaryDirectory() as cache:
            first_call(layer, cache)
            return min(first_call(layer, cache) for _ in range(3))


def first_call(layer, cache):
    """Import and call in a new process whose compiled code is kept in ``cache``."""
    function, x, w, *_ = LAYERS[layer]
    code = FIRST_CALL.format(function=function, x=x, w=w, geometry=geometry(layer))
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)

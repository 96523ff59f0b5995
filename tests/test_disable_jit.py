"""NUMBA_DISABLE_JIT=1: every strategy is also a plain Python program, which debuggers and coverage can follow."""

from __future__ import annotations

from processes import python
from test_strategies import OF_FLOATS


def test_cases_in_plain_python():
    done = python("run_cases.py", "3000", timeout=600, NUMBA_DISABLE_JIT="1")
    assert done.stdout.split()[2:] == OF_FLOATS


QUANTISED = """
import numpy as np
import reference
from numbaconv.quantized import plan_qlinear_conv, qlinear_conv

rng = np.random.default_rng(0)
for dtype, kernel in (("uint8", (2, 2)), ("int8", (1, 1))):
    x, w = rng.integers(0, 256, (1, 5, 3, 5)).astype(np.uint8).view(dtype), rng.integers(-128, 128, (3, 5, *kernel))
    rest = 0.02, np.array(7, dtype), w.astype(np.int8), 0.01, 0, 0.3, np.int8(-3), np.arange(3, dtype=np.int32)
    exact = reference.conv(x.astype(int) - 7, w, np.arange(3), padding=1).astype(float) * (0.02 * 0.01) / 0.3
    for y in (qlinear_conv(x, *rest, pads=[1] * 4), plan_qlinear_conv(x.shape, *rest, pads=[1] * 4)(x)):
        np.testing.assert_array_equal(y, np.clip(np.rint(exact) - 3, -128, 127))
"""


def test_quantised_in_plain_python():
    python("-c", QUANTISED, NUMBA_DISABLE_JIT="1")

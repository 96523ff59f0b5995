"""How far a result may be from the equation: the a-priori bound of its own sum, computed, never a guessed rtol.

    |y - exact| <= factor * (terms + 2)/2 * eps * (|x| conv |w| + |b|)  +  tiny

Each product and each addition rounds by at most eps/2 of its result (eps = 2**-23 for float32). However the sum of
``terms`` products and a bias is ordered, blocked or fused, no product passes through more than ``terms`` additions, one
multiplication and one store: terms + 2 roundings. ``tiny`` is a smallest normal number for each rounding, for results
that underflow. ``factor`` is 1, except for algorithms that compute other sums; their tests state theirs. A complex
product is four real ones and two additions: sqrt(8) at most, in the same formula.
"""

from __future__ import annotations

import numpy as np
import reference


def bound(operation, x, w, b, dtype, factor=1.0, **geometry):
    """The largest error of each output, for ``operation`` = reference.conv or reference.conv_transpose."""
    info = np.finfo(dtype)
    size = operation(np.abs(x), np.abs(w), None if b is None else np.abs(b), **geometry)
    channels = w.shape[1]
    if operation is reference.conv_transpose:
        channels = w.shape[0] // geometry.get("groups", 1)
    if operation is reference.conv_weight:  # the sum is over images
        channels = w.shape[0]
    roundings = channels * int(np.prod(w.shape[2:])) + 2
    if np.dtype(dtype).kind == "c":
        factor *= 8**0.5
    return factor * roundings * (info.eps / 2 * size + info.tiny)


def assert_close(y, operation, x, w, b=None, factor=1.0, **geometry):
    """``y`` is the sum, within the bound; integers and bool exactly; NaN and inf where the equation has them."""
    with np.errstate(invalid="ignore"):
        exact = operation(x, w, b, **geometry)
        allowed = bound(operation, x, w, b, y.dtype, factor, **geometry) if y.dtype.kind in "fc" else None
    assert_within(y, exact, allowed)


def assert_within(y, exact, allowed):
    """``y`` is a new array of the result's shape, and no further from ``exact`` than ``allowed``."""
    assert y.shape == exact.shape, f"shape {y.shape}, expected {exact.shape}"
    assert type(y) is np.ndarray and y.flags.c_contiguous
    if y.dtype.kind == "b":
        np.testing.assert_array_equal(y, exact != 0)
    elif y.dtype.kind in "iu":
        np.testing.assert_array_equal(y.astype(object), exact)
    else:
        finite = np.isfinite(exact)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
        np.testing.assert_array_equal(y[~finite & ~np.isnan(exact)], exact[~finite & ~np.isnan(exact)])
        error, allowed = np.abs(y[finite] - exact[finite]), allowed[finite]
        worst = (error / np.where(allowed > 0, allowed, 1)).max(initial=0)
        assert (error <= allowed).all(), f"error is {worst:.3g} times the bound"

"""Convolution that knows missing values: NaN are left out, and the weights that remain are normalised.

    y[p] = sum over t of  kernel[t] * array[p + t0 - t]  /  sum over t of  kernel[t],     both where array is not NaN

That is the meaning of `astropy.convolution.convolve`. It is two convolutions, of the array with NaN as 0 and of ones
where it is not NaN; without any NaN the second one is the sum of the kernel.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import Array
from numbaconv.correlation import Reach, operand, sums

BOUNDARIES = {"fill": "constant", "wrap": "circular", "extend": "replicate", None: "zeros"}
NAN_TREATMENTS = ("interpolate", "fill")
SMALLEST_SUM = 0.01  # of a kernel that is normalised, in astropy


def convolve_nan(
    array: npt.ArrayLike,
    kernel: npt.ArrayLike,
    boundary: Literal["fill", "wrap", "extend"] | None = "fill",
    fill_value: float = 0.0,
    nan_treatment: Literal["interpolate", "fill"] = "interpolate",
    normalize_kernel: bool = True,
    mask: npt.ArrayLike | None = None,
    preserve_nan: bool = False,
    normalization_zero_tol: float = 1e-8,
) -> Array:
    """Convolve an array that has NaN where nothing is known, as `astropy.convolution.convolve` does.

    Parameters
    ----------
    array : array_like
        Real, of 1 to 3 dimensions.
    kernel : array_like
        Real, of as many dimensions, each of an odd size.
    boundary : {'fill', 'wrap', 'extend'} or None
        What lies beyond: ``fill_value``, the opposite end, or the edge. With None results are 0 wherever the kernel
        reaches beyond.
    fill_value : float
        For the boundary 'fill', and for ``nan_treatment='fill'``. NaN is left out as in the array.
    nan_treatment : {'interpolate', 'fill'}
        Leave NaN out and normalise by the other weights; or put ``fill_value`` for them.
    normalize_kernel : bool
        Divide by the sum of the kernel. Without, interpolated results are those with, times the sum.
    mask : array_like, optional
        Of the array's shape; where it is not 0 counts as NaN.
    preserve_nan : bool
        Results are NaN where the array is.
    normalization_zero_tol : float
        A sum of the kernel that is as near to 0 as this does not normalise.

    Returns
    -------
    ndarray
        Of the array's shape, and of its dtype where that is a float; else float64. Sums are in float64. NaN where all
        values under the kernel are NaN, with a RuntimeWarning unless that is asked for by ``preserve_nan``.

    Raises
    ------
    ValueError
        Shapes and words that do not fit, and kernels that cannot be normalised.
    TypeError
        Complex numbers and dtypes that are not computed with.

    Examples
    --------
    >>> import numpy as np
    >>> convolve_nan([1.0, np.nan, 3.0], [1.0, 1.0, 1.0], boundary="extend")
    array([1., 2., 3.])
    """
    given, w = operand("array", array), operand("kernel", kernel)
    _check(given, w, boundary, nan_treatment)
    x, w = given.astype(np.float64), np.flip(w).astype(np.float64)
    if mask is not None:
        if np.shape(mask) != x.shape:
            raise ValueError(f"mask must have the shape of array, {x.shape}; got {np.shape(mask)}")
        x[np.asarray(mask) != 0] = np.nan
    missing = np.isnan(x)
    if nan_treatment == "fill":
        x[missing] = fill_value
    total = w.sum()
    interpolate = nan_treatment == "interpolate" and bool(
        missing.any() or (boundary == "fill" and np.isnan(fill_value))
    )
    if (normalize_kernel or interpolate) and (
        total < SMALLEST_SUM or np.isclose(total, 0, atol=normalization_zero_tol)
    ):
        needs = "nan_treatment='interpolate', with NaN in array," if interpolate else "normalize_kernel=True"
        raise ValueError(f"{needs} needs a kernel with a sum of at least {SMALLEST_SUM}; got {total}")
    pads = tuple((k // 2, k // 2) for k in w.shape)
    reach = Reach(tuple(range(x.ndim)), pads, BOUNDARIES[boundary], fill_value if boundary == "fill" else 0)
    y = _interpolated(x, w, reach, missing) if interpolate else sums(x, w, reach, x.dtype)
    if interpolate and not normalize_kernel:
        y *= total
    elif normalize_kernel and not interpolate:
        y /= total
    if boundary is None:
        inside = np.zeros(x.shape, bool)
        inside[tuple(slice(lo, n - hi) for n, (lo, hi) in zip(x.shape, pads, strict=True))] = True
        y[~inside] = 0
    if preserve_nan:
        y[missing] = np.nan
    elif interpolate and np.isnan(y).any():
        warnings.warn("array has NaN wherever the kernel reaches, at some places: the result is NaN there; "
                      "a larger kernel reaches further", RuntimeWarning, stacklevel=2)  # fmt: skip
    return y.astype(given.dtype, copy=False) if given.dtype.kind == "f" else y


def _interpolated(x: Array, w: Array, reach: Reach, missing: Array) -> Array:
    known = (~missing).astype(x.dtype)
    beyond = 0.0 if np.isnan(reach.value) else 1.0
    top = Reach(reach.axes, reach.padding, reach.mode, reach.value if beyond else 0.0)
    bottom = Reach(reach.axes, reach.padding, reach.mode, beyond if reach.mode == "constant" else 0.0)
    # By direct summation, in which weights of nothing but missing values sum up to exactly 0.
    above, below = (
        sums(a, w, r, x.dtype, accuracy="strict") for a, r in ((np.where(missing, 0.0, x), top), (known, bottom))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        y: Array = above / below
    return y


def _check(x: Array, w: Array, boundary: Any, nan_treatment: Any) -> None:
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be one of {', '.join(map(repr, BOUNDARIES))}; got {boundary!r}")
    if nan_treatment not in NAN_TREATMENTS:
        raise ValueError(f"nan_treatment must be one of {', '.join(map(repr, NAN_TREATMENTS))}; got {nan_treatment!r}")
    if "c" in (x.dtype.kind, w.dtype.kind):
        raise TypeError(f"array and kernel must be real; got dtypes {x.dtype} and {w.dtype}")
    if not 1 <= x.ndim == w.ndim <= 3 or x.size == 0 or any(k % 2 == 0 for k in w.shape):
        raise ValueError("array must have 1 to 3 dimensions, and kernel as many, each of an odd size; got shapes "
                         f"{x.shape} and {w.shape}")  # fmt: skip
    if boundary is None and any(n < k for n, k in zip(x.shape, w.shape, strict=True)):
        raise ValueError(f"boundary=None needs a kernel that fits into array; got shapes {w.shape} and {x.shape}")

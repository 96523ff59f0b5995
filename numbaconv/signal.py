"""Convolution and correlation by the names, arguments and results of `scipy.signal`.

    convolve:   full[p] = sum over t of  in2[t] * in1[p - t]
    correlate:  full[p] = sum over t of  conj(in2[t]) * in1[p + t - (k - 1)]

'valid' and 'same' are parts of 'full'. Sums are the engine's, by the cheapest strategy, kernels that are products in
passes along the axes; whatever SciPy's functions would choose, results agree with the direct sum within its bound.
Integers are exact, modulo the range of the result's dtype as in SciPy: convert to a wider one first where they may
not fit. Where SciPy refuses bool or float16 for no reason of the mathematics, they work here.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import Array
from numbaconv.correlation import Pair, Reach, operand, sums
from numbaconv.normalized import convolve_nan

__all__ = [
    "convolve",
    "convolve2d",
    "convolve_many",
    "convolve_nan",
    "correlate",
    "correlate2d",
    "correlate_many",
    "fftconvolve",
    "oaconvolve",
]

Mode = Literal["full", "valid", "same"]
Method = Literal["auto", "direct", "fft"]

MODES = ("full", "valid", "same")
METHODS: dict[str, dict[str, Any]] = {"auto": {}, "direct": {"accuracy": "strict"}, "fft": {}}
BOUNDARIES = {
    "fill": "constant", "pad": "constant", "wrap": "circular", "circular": "circular",
    "symm": "symmetric", "symmetric": "symmetric",
}  # fmt: skip


def convolve(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: Mode = "full", method: Method = "auto") -> Array:
    """Convolve two arrays, as `scipy.signal.convolve` does.

    Parameters
    ----------
    in1, in2 : array_like
        Of equally many dimensions, of any dtypes that `numbaconv.conv2d` computes, also different ones. ``in2``, or
        the smaller one, may be larger than 1 along at most 3 axes.
    mode : {'full', 'valid', 'same'}
        Which part of the result: all of it; where one array lies wholly in the other; or a part of the size of
        ``in1`` from the middle.
    method : {'auto', 'direct', 'fft'}
        'direct' keeps to direct summation. With the others the planner takes the strategy that costs least.

    Returns
    -------
    ndarray
        Of the promoted dtype of both; a number where both are. Integers are exact modulo its range; bool is "any
        product true".

    Raises
    ------
    ValueError
        Arguments that do not fit: a word that is not known, different numbers of dimensions, an empty array, or
        'valid' where neither array is as large as the other along every axis.
    TypeError
        Dtypes that are not computed with.

    Examples
    --------
    >>> convolve([1, 2, 3], [0, 1, 1], mode="same")
    array([1, 3, 5])
    """
    _check("method", method, tuple(METHODS))
    in1, in2 = _pair(in1, in2)
    if in1.ndim == 0:
        return in1 * in2  # a number, as in SciPy
    if _swaps(in1.shape, in2.shape, mode):
        in1, in2 = in2, in1
    pads = tuple(_pads(k, mode) for k in in2.shape)
    return sums(in1, np.flip(in2), Reach(tuple(range(in1.ndim)), pads), np.result_type(in1, in2), **METHODS[method])


def correlate(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: Mode = "full", method: Method = "auto") -> Array:
    """Correlate two arrays, as `scipy.signal.correlate` does: a complex ``in2`` is conjugated.

    Parameters
    ----------
    in1, in2, mode, method
        As in `convolve`.

    Returns
    -------
    ndarray
        As of `convolve`.

    Raises
    ------
    ValueError, TypeError
        As `convolve`.

    Examples
    --------
    >>> correlate([1, 2, 3], [0, 1, 0.5])
    array([0.5, 2. , 3.5, 3. , 0. ])
    """
    _check("method", method, tuple(METHODS))
    in1, in2 = _pair(in1, in2)
    if in1.ndim == 0:
        return in1 * in2.conj()
    swapped = _swaps(in1.shape, in2.shape, mode)
    if swapped:
        in1, in2 = in2, in1
    pads = tuple(_pads(k, mode) for k in in2.shape)
    y = sums(in1, in2.conj(), Reach(tuple(range(in1.ndim)), pads), np.result_type(in1, in2), **METHODS[method])
    return np.ascontiguousarray(np.flip(y.conj())) if swapped else y


def convolve2d(
    in1: npt.ArrayLike, in2: npt.ArrayLike, mode: Mode = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Array:
    """Convolve two images, as `scipy.signal.convolve2d` does.

    Parameters
    ----------
    in1, in2 : array_like
        Two-dimensional.
    mode : {'full', 'valid', 'same'}
        As in `convolve`.
    boundary : {'fill', 'wrap', 'symm'}
        What lies beyond ``in1``, however far: ``fillvalue``, the opposite end, or the mirror image with the edge
        repeated.
    fillvalue : number
        For 'fill'; cut off to an integer where the result has integers.

    Returns
    -------
    ndarray
        As of `convolve`.

    Raises
    ------
    ValueError, TypeError
        As `convolve`; and a ``fillvalue`` that the dtype of the result cannot hold.

    Examples
    --------
    >>> import numpy as np
    >>> convolve2d(np.eye(3, dtype=int), [[1, 1]], mode="same", boundary="wrap")
    array([[1, 1, 0],
           [0, 1, 1],
           [1, 0, 1]])
    """
    in1, in2 = _images(in1, in2)
    if _swaps(in1.shape, in2.shape, "valid" if mode == "valid" else "same"):
        in1, in2 = in2, in1
    dtype = np.result_type(in1, in2)
    pads = tuple(_pads(k, mode) for k in in2.shape)
    return sums(in1, np.flip(in2), Reach((0, 1), pads, *_beyond(boundary, fillvalue, dtype)), dtype)


def correlate2d(
    in1: npt.ArrayLike, in2: npt.ArrayLike, mode: Mode = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Array:
    """Correlate two images, as `scipy.signal.correlate2d` does: a complex ``in2`` is conjugated.

    Of the two middles of a kernel of even size, 'same' takes the other one than `correlate`, as in SciPy.

    Parameters
    ----------
    in1, in2, mode, boundary, fillvalue
        As in `convolve2d`.

    Returns
    -------
    ndarray
        As of `convolve`.

    Raises
    ------
    ValueError, TypeError
        As `convolve2d`.

    Examples
    --------
    >>> correlate2d([[1, 2, 3]], [[1, 10]], mode="same")
    array([[21, 32,  3]])
    """
    in1, in2 = _images(in1, in2)
    swapped = _swaps(in1.shape, in2.shape, "valid" if mode == "valid" else "same")
    if swapped:
        in1, in2 = in2, in1
    dtype = np.result_type(in1, in2)
    pads = tuple(_pads(k, mode)[::-1] for k in in2.shape)
    y = sums(in1, in2.conj(), Reach((0, 1), pads, *_beyond(boundary, fillvalue, dtype)), dtype)
    return np.ascontiguousarray(np.flip(y)) if swapped else y  # without the conjugate: so does SciPy


def oaconvolve(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: Mode = "full", axes: Any = None) -> Array:
    """Convolve along some axes, as `scipy.signal.oaconvolve` does; the arrays broadcast along all others.

    So ``in1`` of shape (channels, samples) goes with a filter for each channel, (channels, taps), or one for all,
    (1, taps); and one signal, (1, samples), with many filters.

    Parameters
    ----------
    in1, in2 : array_like
        Of equally many dimensions.
    mode : {'full', 'valid', 'same'}
        As in `convolve`, along ``axes``.
    axes : int or ints, optional
        By default all.

    Returns
    -------
    ndarray
        Of the promoted dtype; integers and bool become float64 and float16 becomes float32, as in SciPy. Empty if an
        operand is.

    Raises
    ------
    ValueError, TypeError
        As `convolve`; axes that are not there, or twice, or none; shapes that do not broadcast along the others.

    Examples
    --------
    >>> oaconvolve([[1, 2, 3], [4, 5, 6]], [[1, 1], [1, -1]], axes=1)
    array([[ 1.,  3.,  5.,  3.],
           [ 4.,  1.,  1., -6.]])
    """
    in1, in2 = _operands(in1, in2)
    _check("mode", mode, MODES)
    if in1.ndim == 0:
        return in1 * in2  # a number, as in SciPy
    if in1.size == 0 or in2.size == 0:
        return np.array([])
    ndim = in1.ndim
    # Along an axis of size 1 in either array a convolution is a product, which broadcasts.
    axes = tuple(a for a in _axes(axes, ndim) if in1.shape[a] != 1 != in2.shape[a])
    one, two = (np.array(a.shape) for a in (in1, in2))
    if any(one[a] != two[a] and 1 not in (one[a], two[a]) for a in range(ndim) if a not in axes):
        raise ValueError(f"in1 and in2 must have equal sizes, or 1, along all axes but {axes}; got shapes "
                         f"{in1.shape} and {in2.shape}")  # fmt: skip
    if _swaps([in1.shape[a] for a in axes], [in2.shape[a] for a in axes], "valid" if mode == "valid" else "same"):
        in1, in2 = in2, in1
    if axes:
        dtype = np.result_type(*(_as_floats(a.dtype) for a in (in1, in2)))
        pads = tuple(_pads(in2.shape[a], mode) for a in axes)
        y = sums(in1, np.flip(in2, axes), Reach(axes, pads), dtype)
    else:
        y = np.asarray(in1 * in2)
    if mode == "same":  # also of axes that broadcast
        first = [
            (have - want) // 2 if a not in axes else 0
            for a, (have, want) in enumerate(zip(y.shape, in1.shape, strict=True))
        ]
        y = y[tuple(slice(f, f + n) for f, n in zip(first, in1.shape, strict=True))]
    return np.ascontiguousarray(y)


def fftconvolve(in1: npt.ArrayLike, in2: npt.ArrayLike, mode: Mode = "full", axes: Any = None) -> Array:
    """The same as `oaconvolve`, by the name of `scipy.signal.fftconvolve`.

    Parameters
    ----------
    in1, in2, mode, axes
        As in `oaconvolve`.

    Returns
    -------
    ndarray
        As of `oaconvolve`.

    Raises
    ------
    ValueError, TypeError
        As `oaconvolve`.

    Examples
    --------
    >>> fftconvolve([1, 2, 3], [1, 1], mode="valid")
    array([3., 5.])
    """
    return oaconvolve(in1, in2, mode, axes)


def convolve_many(
    in1: npt.ArrayLike, filters: npt.ArrayLike, mode: Mode = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Array:
    """Convolve one array with many filters of one shape in one pass over it.

    Parameters
    ----------
    in1 : array_like
        Of 1 to 3 dimensions.
    filters : array_like, (F, ...)
        One axis more: filter after filter.
    mode : {'full', 'valid', 'same'}
        As in `convolve`; but 'valid' wants filters that fit into ``in1``.
    boundary, fillvalue
        As in `convolve2d`, for any number of dimensions.

    Returns
    -------
    ndarray, (F, ...)
        ``convolve(in1, filters[f], mode)`` for each f.

    Raises
    ------
    ValueError, TypeError
        As `convolve2d`.

    Examples
    --------
    >>> convolve_many([1, 2, 4], [[1, 1], [1, -1]], mode="valid")
    array([[3, 6],
           [1, 2]])
    """
    return _many(in1, filters, mode, boundary, fillvalue, flip=True)


def correlate_many(
    in1: npt.ArrayLike, filters: npt.ArrayLike, mode: Mode = "full", boundary: str = "fill", fillvalue: Any = 0
) -> Array:
    """Correlate one array with many filters of one shape in one pass over it; complex filters are conjugated.

    Parameters
    ----------
    in1, filters, mode, boundary, fillvalue
        As in `convolve_many`.

    Returns
    -------
    ndarray, (F, ...)
        ``correlate(in1, filters[f], mode)`` for each f.

    Raises
    ------
    ValueError, TypeError
        As `convolve2d`.

    Examples
    --------
    >>> correlate_many([1, 2, 4], [[1, 1], [1, -1]], mode="valid")
    array([[ 3,  6],
           [-1, -2]])
    """
    return _many(in1, filters, mode, boundary, fillvalue, flip=False)


def _many(in1: npt.ArrayLike, filters: npt.ArrayLike, mode: str, boundary: str, fillvalue: Any, flip: bool) -> Array:
    x, w = operand("in1", in1), operand("filters", filters)
    if not 1 <= x.ndim == w.ndim - 1 <= 3:
        raise ValueError("filters must have one dimension more than in1, which has 1 to 3; got shapes "
                         f"{w.shape} and {x.shape}")  # fmt: skip
    _check("mode", mode, MODES)
    if x.size == 0 or w.size == 0:
        raise ValueError(f"in1 and filters must not be empty; got shapes {x.shape} and {w.shape}")
    if mode == "valid" and any(n < k for n, k in zip(x.shape, w.shape[1:], strict=True)):
        raise ValueError(f"mode='valid' wants filters that fit into in1 along every axis; got shapes {w.shape} and "
                         f"{x.shape}")  # fmt: skip
    dtype = np.result_type(x, w)
    axes = tuple(range(1, w.ndim))
    w = np.flip(w, axes) if flip else w.conj()
    reach = Reach(axes, tuple(_pads(k, mode) for k in w.shape[1:]), *_beyond(boundary, fillvalue, dtype))
    return sums(x[None], w, reach, dtype)


# ---- what SciPy's words mean -----------------------------------------------------------------------------------------


def _pads(k: int, mode: str) -> Pair:
    """What reaches beyond in1; the middle of an even kernel is that of `convolve`, flipped, and of `correlate`."""
    return {"full": (k - 1, k - 1), "same": (k // 2, (k - 1) // 2), "valid": (0, 0)}[mode]


def _swaps(one: Sequence[int], two: Sequence[int], mode: str) -> bool:
    """Whether in2 is the array to slide over: as it must be in 'valid', and as is cheaper in 'full'."""
    _check("mode", mode, MODES)
    if mode == "valid":
        if all(n >= k for n, k in zip(one, two, strict=True)):
            return False
        if any(n > k for n, k in zip(one, two, strict=True)):
            raise ValueError("mode='valid' wants one array at least as large as the other along every axis; got shapes "
                             f"{tuple(one)} and {tuple(two)}")  # fmt: skip
        return True
    return mode == "full" and prod(two) > prod(one)


def _beyond(boundary: Any, fillvalue: Any, dtype: np.dtype[Any]) -> tuple[str, Any]:
    """The engine's padding mode and value."""
    _check("boundary", boundary, tuple(BOUNDARIES))
    mode = BOUNDARIES[boundary]
    if mode != "constant":
        return mode, 0
    fill = np.asarray(fillvalue)
    if fill.size != 1 or fill.dtype.kind not in "biufc":
        raise ValueError(f"fillvalue must be one number; got {fillvalue!r}")
    value = fill.reshape(()).item()
    if dtype.kind in "biu":
        if isinstance(value, complex) or not np.isfinite(value) or not _fits(int(value), dtype):
            raise ValueError(f"fillvalue must fit the dtype of the result, {dtype}; got {fillvalue!r}")
        value = int(value)
    elif dtype.kind == "f" and isinstance(value, complex):
        raise ValueError(f"fillvalue must be real for a result of dtype {dtype}; got {fillvalue!r}")
    return mode, value


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "b":
        return value in (0, 1)
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def _as_floats(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What Fourier transforms make of a dtype."""
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _axes(axes: Any, ndim: int) -> list[int]:
    if axes is None:
        return list(range(ndim))
    given = [operator.index(a) for a in np.atleast_1d(np.asarray(axes, dtype=None if np.size(axes) else int))]
    if not given or any(not -ndim <= a < ndim for a in given) or len({a % ndim for a in given}) < len(given):
        raise ValueError(f"axes must be at least one of {-ndim} to {ndim - 1}, none twice; got {axes!r}")
    return [a % ndim for a in given]


def _operands(in1: npt.ArrayLike, in2: npt.ArrayLike) -> tuple[Array, Array]:
    one, two = operand("in1", in1), operand("in2", in2)
    if one.ndim != two.ndim:
        raise ValueError(f"in1 and in2 must have equally many dimensions; got shapes {one.shape} and {two.shape}")
    return one, two


def _pair(in1: npt.ArrayLike, in2: npt.ArrayLike) -> tuple[Array, Array]:
    one, two = _operands(in1, in2)
    if one.size == 0 or two.size == 0:
        raise ValueError(f"in1 and in2 must not be empty; got shapes {one.shape} and {two.shape}")
    return one, two


def _images(in1: npt.ArrayLike, in2: npt.ArrayLike) -> tuple[Array, Array]:
    one, two = _pair(in1, in2)
    if one.ndim != 2:
        raise ValueError(f"in1 and in2 must be two-dimensional; got shapes {one.shape} and {two.shape}")
    return one, two


def _check(name: str, value: Any, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, accepted))}; got {value!r}")

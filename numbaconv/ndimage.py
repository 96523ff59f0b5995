"""Filters of images by the names, arguments and results of `scipy.ndimage`.

    correlate:  y[p] = sum over t of  weights[t] * input[p + t - k//2 - origin]

`convolve` is the same with the weights flipped. Results have the size of the input, and its dtype, or that of
``output``: floats are within the bound of the direct sum in that dtype; SciPy sums in float64. Integers are cut off
towards zero, modulo the dtype's range, as SciPy does. Weights and inputs of whole numbers are exact; with others a sum
that is a whole number but for rounding is computed in SciPy's order, so that it falls to the same side.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import COMPUTED, Array, computed
from numbaconv.correlation import Reach, operand, sums, to_integers, whole_numbers
from numbaconv.reading import sources

DOUBT = 1e-3  # of float32 sums that are still taken: they are summed again for some 0.2 % of the pixels

__all__ = ["FilterError", "convolve", "convolve1d", "correlate", "correlate1d"]

MODES = {
    "reflect": "symmetric", "grid-mirror": "symmetric", "mirror": "reflect", "nearest": "replicate",
    "wrap": "circular", "grid-wrap": "circular", "constant": "constant", "grid-constant": "constant",
}  # fmt: skip


class FilterError(ValueError, RuntimeError):
    """Arguments that do not fit. SciPy raises the one for some of them and the other for others; this is both."""


def correlate(
    input: npt.ArrayLike,  # noqa: A002  # SciPy's name
    weights: npt.ArrayLike,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Correlate an array of any number of dimensions, as `scipy.ndimage.correlate` does.

    Parameters
    ----------
    input : array_like
        Of any dtype that `numbaconv.conv2d` computes.
    weights : array_like
        Of as many dimensions as there are ``axes``, in the order that the axes have in ``input``, and larger than 1
        along at most 3 of them. Complex ones are conjugated.
    output : dtype or ndarray, optional
        The dtype of the result, or where to write it. By default the dtype of ``input``, made complex if ``weights``
        are. A real dtype for complex numbers is made complex too, with a warning.
    mode : {'reflect', 'mirror', 'nearest', 'wrap', 'constant', 'grid-mirror', 'grid-wrap', 'grid-constant'}
        What lies beyond the input, however far::

            reflect, grid-mirror    c b a | a b c d | d c b      mirror              d c b | a b c d | c b a
            nearest                 a a a | a b c d | d d d      wrap, grid-wrap     b c d | a b c d | a b c
            constant, grid-constant     ``cval``
    cval : number
        For 'constant'; complex only where ``input`` is.
    origin : int or ints
        Moves the weights: for each of ``axes``, at least ``-(k // 2)`` and at most ``(k - 1) // 2``.
    axes : int or ints, optional
        Along which to correlate, by default all.

    Returns
    -------
    ndarray
        Of the shape of ``input``; ``output`` if that is an array.

    Raises
    ------
    FilterError
        Arguments that do not fit; the message says what would. It is a ValueError and a RuntimeError.
    TypeError
        Dtypes that are not computed with.

    Examples
    --------
    >>> import numpy as np
    >>> correlate(np.arange(9).reshape(3, 3), [[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    array([[ 4,  8, 12],
           [16, 20, 24],
           [28, 32, 36]])
    """
    x, w = operand("input", input), operand("weights", weights)
    axes, shifts = _along(axes, origin, x.ndim)
    return _filtered(x, w.conj(), output, mode, cval, shifts, axes)


def convolve(
    input: npt.ArrayLike,  # noqa: A002
    weights: npt.ArrayLike,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int | Sequence[int] = 0,
    *,
    axes: int | Sequence[int] | None = None,
) -> Array:
    """Convolve an array of any number of dimensions, as `scipy.ndimage.convolve` does.

    Parameters
    ----------
    input, weights, output, mode, cval, origin, axes
        As in `correlate`; nothing is conjugated, and ``origin`` moves the other way.

    Returns
    -------
    ndarray
        As of `correlate`.

    Raises
    ------
    FilterError, TypeError
        As `correlate`.

    Examples
    --------
    >>> convolve([2, 0, 0, 1], [1, 2, 3], mode="constant")
    array([4, 6, 1, 2])
    """
    x, w = operand("input", input), operand("weights", weights)
    axes, shifts = _along(axes, origin, x.ndim)
    return _filtered(x, np.flip(w), output, mode, cval, _flipped(shifts, w, axes), axes)


def correlate1d(
    input: npt.ArrayLike,  # noqa: A002
    weights: npt.ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """Correlate along one axis, as `scipy.ndimage.correlate1d` does.

    Parameters
    ----------
    input : array_like
        Of any number of dimensions.
    weights : array_like
        One-dimensional.
    axis : int
        Along which.
    output, mode, cval, origin
        As in `correlate`.

    Returns
    -------
    ndarray
        As of `correlate`.

    Raises
    ------
    FilterError, TypeError
        As `correlate`.

    Examples
    --------
    >>> correlate1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([ 8, 26,  8, 12,  7, 28, 36,  9])
    """
    x, w = operand("input", input), operand("weights", weights)
    axes, shifts = _along((axis,), origin, x.ndim)
    return _filtered(x, w.conj(), output, mode, cval, shifts, axes, one_line=True)


def convolve1d(
    input: npt.ArrayLike,  # noqa: A002
    weights: npt.ArrayLike,
    axis: int = -1,
    output: Any = None,
    mode: str = "reflect",
    cval: complex = 0.0,
    origin: int = 0,
) -> Array:
    """Convolve along one axis, as `scipy.ndimage.convolve1d` does.

    Parameters
    ----------
    input, weights, axis, output, mode, cval, origin
        As in `correlate1d`; nothing is conjugated, and ``origin`` moves the other way.

    Returns
    -------
    ndarray
        As of `correlate`.

    Raises
    ------
    FilterError, TypeError
        As `correlate`.

    Examples
    --------
    >>> convolve1d([2, 8, 0, 4, 1, 9, 9, 0], weights=[1, 3])
    array([14, 24,  4, 13, 12, 36, 27,  0])
    """
    x, w = operand("input", input), operand("weights", weights)
    axes, shifts = _along((axis,), origin, x.ndim)
    return _filtered(x, np.flip(w), output, mode, cval, _flipped(shifts, w, axes), axes, one_line=True)


def _filtered(
    x: Array,
    w: Array,
    output: Any,
    mode: str,
    cval: complex,
    origin: Any,
    axes: Sequence[int],
    one_line: bool = False,
) -> Array:
    """The correlation along ``axes``; ``one_line`` says that SciPy would compute it by `correlate1d`."""
    if not isinstance(mode, str) or mode not in MODES:
        raise FilterError(f"mode must be one of {', '.join(map(repr, MODES))}; got {mode!r}")
    sizes = _sizes(w, axes)
    if x.ndim == 0:
        raise FilterError("input must have at least one dimension")
    for at, k in zip(origin, sizes, strict=True):
        if not -(k // 2) <= at <= (k - 1) // 2:
            raise FilterError(f"origin must be from {-(k // 2)} to {(k - 1) // 2} for {k} weights along an axis, and "
                              f"in a convolution minus that; got {at} for the flipped weights")  # fmt: skip
    dtype, out = _output(output, x, w)
    if np.iscomplexobj(cval) and x.dtype.kind != "c":
        raise FilterError(f"cval must be real for an input of dtype {x.dtype}; got {cval!r}")
    reach = Reach(
        axes=tuple(axes),
        padding=tuple((k // 2 + at, k - 1 - k // 2 - at) for at, k in zip(origin, sizes, strict=True)),
        mode=MODES[mode],
        value=cval if MODES[mode] == "constant" else 0,
    )
    w = np.expand_dims(w, tuple(axis for axis in range(x.ndim) if axis not in axes))
    y = _sums(x, w, reach, dtype, one_line) if x.size else np.empty(x.shape, dtype)
    if out is None:
        return y
    out[...] = y
    return out


def _sums(x: Array, w: Array, reach: Reach, dtype: np.dtype[Any], one_line: bool) -> Array:
    """The sums in ``dtype``, by the narrowest computation that is as good as SciPy's in that dtype."""
    if dtype.kind in "fc":
        wide = np.promote_types(np.result_type(dtype, x.real), np.float32)
        return sums(x, w, reach, wide).astype(dtype, copy=False)
    if _whole(x) and _whole(w) and _whole(np.asarray(reach.value)):
        exact = whole_numbers(x, w, reach)
        if exact is not None:
            return to_integers(exact, dtype)
    return _cut(x, w, reach, dtype, one_line)


def _cut(x: Array, w: Array, reach: Reach, dtype: np.dtype[Any], one_line: bool) -> Array:
    """Sums in floats cut off to integers, again and in SciPy's order where rounding decides to which."""
    w = w.astype(np.float64)
    size = np.abs(x.astype(np.float64))
    largest = max(float(size.max(where=np.isfinite(size), initial=0)), abs(reach.value)) * float(np.abs(w).sum())
    for wide in (np.dtype(np.float32), np.dtype(np.float64)):
        doubt = (w.size + 2) * float(np.finfo(wide).eps) * largest  # twice the bound: of this sum, and of SciPy's
        if doubt < DOUBT and np.can_cast(x.dtype, wide):
            break
    y = sums(x, w, reach, wide)
    nearest = np.rint(y)
    with np.errstate(invalid="ignore"):  # inf - inf
        at = np.nonzero(np.abs(y - nearest) <= doubt)
    at = tuple(index[nearest[at] != 0] for index in at)  # on both sides of 0 there is 0
    if at[0].size:
        y = y.astype(np.float64, copy=False)
        y[at] = _in_order(x, w, reach, at, one_line)
    return to_integers(y, dtype)


def _in_order(x: Array, w: Array, reach: Reach, at: tuple[Array, ...], one_line: bool) -> Array:
    """The sums at some places, with every product and sum rounded, in the order that SciPy takes."""
    index = [np.arange(n) for n in x.shape]
    outside = reach.mode == "constant"
    for axis, (lo, hi) in zip(reach.axes, reach.padding, strict=True):
        n = x.shape[axis]
        index[axis] = sources(reach.mode, np.arange(-lo, n + hi), n)

    def pixels(tap: tuple[int, ...]) -> Array:
        found = tuple(line[place + t] for line, place, t in zip(index, at, tap, strict=True))
        values: Array = x[found].astype(np.float64)
        return np.where(np.min(found, axis=0) < 0, reach.value, values) if outside else values

    k = w.size
    sign = _symmetry(w.reshape(-1)) if one_line else 0
    total = np.zeros(at[0].shape)
    taps = list(np.ndindex(w.shape))
    if not sign:
        for tap in (*taps[-1:], *taps[:-1]) if one_line else taps:  # SciPy begins a line with its last tap
            total += w[tap] * pixels(tap)
        return total
    total += w[taps[k // 2]] * pixels(taps[k // 2])
    for tap, opposite in zip(taps[: k // 2], reversed(taps), strict=False):
        total += (pixels(tap) + sign * pixels(opposite)) * w[tap]
    return total


def _symmetry(weights: Array) -> int:
    """1 for a line of weights that SciPy sums by symmetric pairs, -1 by antisymmetric ones, 0 by itself."""
    if weights.size % 2:
        for sign in (1, -1):
            if (np.abs(weights - sign * weights[::-1]) <= np.finfo(np.float64).eps)[: weights.size // 2].all():
                return sign
    return 0


def _whole(values: Array) -> bool:
    """Whether all are whole numbers, known by the dtype or, for weights and the like, seen."""
    return values.dtype.kind in "biu" or (values.dtype.kind == "f" and bool((values == np.rint(values)).all()))


# ---- what SciPy's words mean -----------------------------------------------------------------------------------------


def _output(output: Any, x: Array, w: Array) -> tuple[np.dtype[Any], Array | None]:
    """The dtype of the result, and the array to write it to if there is one."""
    is_complex = "c" in (x.dtype.kind, w.dtype.kind)
    out = output if isinstance(output, np.ndarray) else None
    if out is not None and out.shape != x.shape:
        raise FilterError(f"output must have the shape of input, {x.shape}; got {out.shape}")
    if output is None:
        dtype = np.promote_types(x.dtype, np.complex64) if is_complex else x.dtype
    else:
        dtype = np.dtype(output) if out is None else out.dtype
    dtype = dtype.newbyteorder("=")
    if not computed(dtype):
        raise TypeError(f"output must be an array or a dtype of {', '.join(sorted(map(str, COMPUTED)))}; got {dtype}")
    if is_complex and dtype.kind != "c":
        if out is not None:
            raise FilterError(f"output must be complex where input or weights are; got an array of {dtype}")
        complex_dtype = np.promote_types(dtype, np.complex64)
        warnings.warn(f"promoting specified output dtype to complex: {dtype} to {complex_dtype}", stacklevel=4)
        dtype = complex_dtype
    return dtype, out


def _along(axes: Any, origin: Any, ndim: int) -> tuple[list[int], list[int]]:
    """The axes in the order of the array's, as the weights have them too, and the origin for each."""
    given = list(range(ndim)) if axes is None else [operator.index(a) for a in np.atleast_1d(axes)]
    if not given or any(not -ndim <= a < ndim for a in given) or len({a % ndim for a in given}) < len(given):
        raise FilterError(f"axes must be at least one of {-ndim} to {ndim - 1}, none twice; got {axes!r}")
    values = list(origin) if isinstance(origin, Iterable) else [origin] * len(given)
    if len(values) != len(given):
        raise FilterError(f"origin must be an integer or {len(given)} of them; got {origin!r}")
    pairs = sorted((a % ndim, operator.index(at)) for a, at in zip(given, values, strict=True))
    return [a for a, _ in pairs], [at for _, at in pairs]


def _flipped(origin: Sequence[int], w: Array, axes: Sequence[int]) -> list[int]:
    """The origin for the weights flipped, of which, where there are two, the other one is in the middle."""
    return [-at - (k + 1) % 2 for at, k in zip(origin, _sizes(w, axes), strict=True)]


def _sizes(w: Array, axes: Sequence[int]) -> tuple[int, ...]:
    if w.ndim != len(axes) or w.size == 0:
        raise FilterError(f"weights must have {len(axes)} dimensions, and not be empty; got shape {w.shape}")
    return tuple(w.shape)

"""Quantised convolution by the names, arguments and results of ONNX: `ConvInteger` and `QLinearConv`.

    sum[n, o, p] = b[o] + sum over c, t of  (w[o, c, t] - w_zero_point[o]) * (x[n, c, ...] - x_zero_point)
    y = saturate(round(sum * x_scale * w_scale[o] / y_scale) + y_zero_point)

The sums are exact: those of `conv2d` with ``out_dtype="int32"`` (or int64, where these are not enough), which takes the
zero point of x away as it reads. Padding is the real zero, which x_zero_point stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.api import conv1d, conv2d, conv3d
from numbaconv.arrays import Array, as_array
from numbaconv.reading import Centred

__all__ = ["conv_integer", "qlinear_conv"]

AutoPad = Literal["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]

CONV: dict[int, Callable[..., Array]] = {1: conv1d, 2: conv2d, 3: conv3d}
AUTO_PADS = {"NOTSET": None, "SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
STORED = (np.dtype("int8"), np.dtype("uint8"))


def conv_integer(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    x_zero_point: npt.ArrayLike | None = None,
    w_zero_point: npt.ArrayLike | None = None,
    *,
    auto_pad: AutoPad = "NOTSET",
    dilations: Sequence[SupportsIndex] | None = None,
    group: SupportsIndex = 1,
    kernel_shape: Sequence[SupportsIndex] | None = None,
    pads: Sequence[SupportsIndex] | None = None,
    strides: Sequence[SupportsIndex] | None = None,
) -> Array:
    """Convolution of 8-bit integers with 32-bit sums: ONNX's ConvInteger.

    Parameters
    ----------
    x : array_like, (N, C, *size)
        Of int8 or uint8, of 1 to 3 spatial dimensions.
    w : array_like, (M, C/group, *kernel)
        Of int8 or uint8, which need not be that of ``x``.
    x_zero_point : scalar, optional
        What stands for zero in ``x``, of its dtype; by default 0. It is also what padding is.
    w_zero_point : scalar or array_like, (M,), optional
        What stands for zero in ``w``, of its dtype, for all filters or for each; by default 0.
    auto_pad : {'NOTSET', 'SAME_UPPER', 'SAME_LOWER', 'VALID'}
        By default ``pads`` say it. SAME pads for ``ceil(size/stride)`` outputs, an odd one at the high (UPPER) or at
        the low side.
    dilations, strides : sequence of int, optional
        One for each spatial axis, at least 1; by default 1.
    group : int
        Channels are split into this many independent groups; must divide C and M.
    kernel_shape : sequence of int, optional
        That of ``w``, which is checked.
    pads : sequence of int, optional
        At the low sides of all axes, then at the high sides: [begin..., end...]; by default 0.

    Returns
    -------
    ndarray, (N, M, ...)
        Of int32, exact.

    Raises
    ------
    ValueError
        Shapes and attributes that do not fit.
    TypeError
        Dtypes other than int8 and uint8, zero points of another dtype than theirs.
    OverflowError
        A sum that int32 cannot hold.

    Notes
    -----
    The definition is that of ONNX, operator ConvInteger, since version 10. A sum of more than 33 025 products may
    overflow there; here it is never wrong silently.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(2, 11, dtype=np.uint8).reshape(1, 1, 3, 3)
    >>> conv_integer(x, np.ones((1, 1, 2, 2), np.uint8), np.uint8(1), pads=[0, 0, 1, 1])
    array([[[[12, 16,  9],
             [24, 28, 15],
             [15, 17,  9]]]], dtype=int32)
    """
    operands = _operands(x, x_zero_point, w, w_zero_point)
    geometry = _geometry(operands.w.shape, auto_pad, dilations, group, kernel_shape, pads, strides)
    return _sums(operands, None, geometry, "int32")


def qlinear_conv(
    x: npt.ArrayLike,
    x_scale: npt.ArrayLike,
    x_zero_point: npt.ArrayLike,
    w: npt.ArrayLike,
    w_scale: npt.ArrayLike,
    w_zero_point: npt.ArrayLike,
    y_scale: npt.ArrayLike,
    y_zero_point: npt.ArrayLike,
    b: npt.ArrayLike | None = None,
    *,
    auto_pad: AutoPad = "NOTSET",
    dilations: Sequence[SupportsIndex] | None = None,
    group: SupportsIndex = 1,
    kernel_shape: Sequence[SupportsIndex] | None = None,
    pads: Sequence[SupportsIndex] | None = None,
    strides: Sequence[SupportsIndex] | None = None,
) -> Array:
    """Convolution of quantised numbers to quantised numbers: ONNX's QLinearConv.

    Parameters
    ----------
    x, x_zero_point, w, w_zero_point, auto_pad, dilations, group, kernel_shape, pads, strides
        As in `conv_integer`.
    x_scale : scalar
        ``x`` stands for the real numbers ``x_scale * (x - x_zero_point)``; positive.
    w_scale : scalar or array_like, (M,)
        The same of ``w``, for all filters or for each.
    y_scale : scalar
        The same of the result.
    y_zero_point : scalar
        Of NumPy's int8 or uint8, which is the dtype of the result.
    b : array_like, (M,), optional
        Of int32, in units of ``x_scale * w_scale``; added to each output channel.

    Returns
    -------
    ndarray, (N, M, ...)
        Of the dtype of ``y_zero_point``, saturated: what is beyond its range becomes the nearest end.

    Raises
    ------
    ValueError
        Shapes and attributes that do not fit, scales that are not positive and finite.
    TypeError
        Dtypes other than int8 and uint8, zero points of another dtype than theirs, a bias other than int32, scales
        that are not real.

    Notes
    -----
    The definition is that of ONNX, operator QLinearConv, since version 10. Sums are exact, of any size, and are scaled
    in float64, rounded to nearest, ties to even. Engines that scale in float32, ONNX Runtime among them, round some
    numbers next to a tie to the other side. Extra memory: the sums, as int32.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.array([[[10, 20, 250]]], np.uint8), np.array([[[1, 2]]], np.int8)
    >>> qlinear_conv(x, 0.5, np.uint8(10), w, 0.1, np.int8(0), 0.2, np.int8(-4))
    array([[[  1, 118]]], dtype=int8)
    """
    operands = _operands(x, x_zero_point, w, w_zero_point)
    filters = len(operands.w)
    scale = _scale("x_scale", x_scale, 1) * _scale("w_scale", w_scale, filters)  # exact for factors of float32
    unit = float(_scale("y_scale", y_scale, 1)[0])
    zero = as_array("y_zero_point", y_zero_point)
    if zero.dtype not in STORED:
        raise TypeError(f"y_zero_point must be of NumPy's int8 or uint8, as the result is to be; got {zero.dtype}")
    zero_point = _zero_point("y_zero_point", zero, zero.dtype, 1)
    bias = None if b is None else _bias(b, filters)
    geometry = _geometry(operands.w.shape, auto_pad, dilations, group, kernel_shape, pads, strides)
    # Products of 8-bit numbers are below 2**16.
    start = 0 if bias is None else max(abs(int(bias.min(initial=0))), int(bias.max(initial=0)))
    narrow = prod(operands.w.shape[1:]) * 2**16 + start < 2**31
    sums = _sums(operands, bias, geometry, "int32" if narrow else "int64")
    y = np.empty(sums.shape, zero.dtype)
    if y.size:
        from numbaconv.microkernels.settling import requantise

        threads = calls.thread_count(None)
        requantise(sums, np.broadcast_to(scale, filters), unit, int(zero_point[0]), y, threads)
    return y


# ---- what is given ---------------------------------------------------------------------------------------------------


class _Operands(NamedTuple):
    """x and w as they are stored, with what stands for zero in each: x_zero (1,), w_zero (1,) or (M,)."""

    x: Array
    x_zero: Array
    w: Array
    w_zero: Array


def _operands(x: Any, x_zero_point: Any, w: Any, w_zero_point: Any) -> _Operands:
    arrays = as_array("x", x), as_array("w", w)
    for name, array in zip("xw", arrays, strict=True):
        if array.dtype not in STORED:
            raise TypeError(f"{name} must be of int8 or uint8; got {array.dtype}")
    image, kernel = arrays
    if not 3 <= image.ndim <= 5:
        raise ValueError(f"x must have 3, 4 or 5 dimensions, (N, C, *size); got shape {image.shape}")
    if kernel.ndim != image.ndim:
        raise ValueError(f"w must have as many dimensions as x, {image.ndim}; got shape {kernel.shape}")
    x_zero = _zero_point("x_zero_point", x_zero_point, image.dtype, 1)
    return _Operands(image, x_zero, kernel, _zero_point("w_zero_point", w_zero_point, kernel.dtype, len(kernel)))


def _zero_point(name: str, value: Any, dtype: np.dtype[Any], filters: int) -> Array:
    """As int16, (1,) or (filters,); Python's ints have the dtype that is wanted, where they fit."""
    if value is None:
        return np.zeros(1, np.int16)
    given = as_array(name, value)
    if isinstance(value, int) and not isinstance(value, bool):
        limits = np.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            raise ValueError(f"{name} must be of {dtype}, {limits.min} to {limits.max}; got {value}")
    elif given.dtype != dtype:
        raise TypeError(f"{name} must be of {dtype}, as what it belongs to; got {given.dtype}")
    return _one_or_each(name, given, filters, np.int16)


def _scale(name: str, value: Any, filters: int) -> Array:
    """As float64, (1,) or (filters,)."""
    given = as_array(name, value)
    if given.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be a real number; got {given.dtype}")
    scale = _one_or_each(name, given, filters, np.float64)
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"{name} must be positive and finite; got {value!r}")
    return scale


def _one_or_each(name: str, given: Array, filters: int, dtype: npt.DTypeLike) -> Array:
    if given.shape not in {(), (1,), (filters,)}:
        each = "" if filters == 1 else f", or have shape ({filters},), one for each filter"
        raise ValueError(f"{name} must be one number{each}; got shape {given.shape}")
    return given.astype(dtype).reshape(-1)


def _bias(b: Any, filters: int) -> Array:
    given = as_array("b", b)
    if given.dtype != np.int32:
        raise TypeError(f"b must be of int32; got {given.dtype}")
    if given.shape != (filters,):
        raise ValueError(f"b must have shape ({filters},), one for each filter; got {given.shape}")
    return given


def _geometry(
    weight: tuple[int, ...], auto_pad: Any, dilations: Any, group: Any, kernel_shape: Any, pads: Any, strides: Any
) -> dict[str, Any]:
    """ONNX's attributes in the words of `conv2d`, which checks their values."""
    rank = len(weight) - 2
    if auto_pad not in AUTO_PADS:
        raise ValueError(f"auto_pad must be one of {', '.join(map(repr, AUTO_PADS))}; got {auto_pad!r}")
    if kernel_shape is not None and tuple(kernel_shape) != weight[2:]:
        raise ValueError(f"kernel_shape must be that of w, {weight[2:]}; got {kernel_shape!r}")
    both = [0] * 2 * rank if pads is None else list(pads)
    if len(both) != 2 * rank or min(both) < 0:
        raise ValueError(f"pads must be {2 * rank} numbers that are not negative, [begin..., end...]; got {pads!r}")
    if auto_pad != "NOTSET" and any(both):
        raise ValueError(f"pads must be left out where auto_pad says them, as {auto_pad!r} does; got {pads!r}")
    return {
        "stride": (1,) * rank if strides is None else tuple(strides),
        "padding": AUTO_PADS[auto_pad] or tuple(zip(both[:rank], both[rank:], strict=True)),
        "dilation": (1,) * rank if dilations is None else tuple(dilations),
        "groups": group,
    }


# ---- sums ------------------------------------------------------------------------------------------------------------


def _sums(operands: _Operands, bias: Array | None, geometry: dict[str, Any], dtype: str) -> Array:
    """The exact sums."""
    x, x_zero, w, w_zero = operands
    weights = w - w_zero.reshape(-1, *[1] * (w.ndim - 1)) if w_zero.any() else w
    zero = int(x_zero[0])
    reading = {"prologue": Centred(zero)} if zero else {}
    return CONV[x.ndim - 2](x, weights, bias, out_dtype=dtype, **reading, **geometry)

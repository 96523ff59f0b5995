"""The public functions: each describes its problem, asks the planner, and runs the plan, in that order.

Everything that a caller can get wrong is refused before any work: shapes and geometry by `ConvProblem`, arrays and
dtypes here. Neither this module nor the package imports the compiler before the first convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv.problem import ConvProblem, shape_of

if TYPE_CHECKING:
    from types import ModuleType

    from numbaconv.strategy import Plan

Ints = SupportsIndex | Sequence[SupportsIndex]
Padding = str | SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]]
Array = np.ndarray[Any, np.dtype[Any]]

KINDS = {"f": "float", "c": "float", "i": "integer", "u": "integer", "b": "integer"}  # kinds that mix
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
COMPUTED = {np.dtype(name) for name in (*INTEGERS, "float16", "float32", "float64", "complex64", "complex128")}


def conv1d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    out: Array | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """1-D convolution, as deep learning means it: the kernel is not flipped.

    y[n, o, p] = bias[o] + sum over c, t of  weight[o, c, t] * x[n, c, p*stride + t*dilation - lo]

    Parameters
    ----------
    x : array_like, (N, C, L) or (C, L)
        Input; without ``N`` the result has none either.
    weight : array_like, (O, C/groups, k)
        Filters.
    bias : array_like, (O,), optional
        Added to each output channel; cast to the dtype of the result.
    stride : int
        Step between outputs, at least 1.
    padding : int, 1 pair (lo, hi), or str
        Zeros around the input; negative numbers crop it. Zeros are skipped, so NaN and inf spread no further than
        the kernel reaches. Or one of:

            'valid'       none
            'same'        as many as give ceil(size/stride) outputs, the odd one at the high side
                          (torch at stride 1, TensorFlow's SAME and ONNX's SAME_UPPER at larger strides)
            'same_lower'  the odd one at the low side (ONNX's SAME_LOWER)
            'full'        dilation*(kernel-1) at both sides
            'causal'      dilation*(kernel-1) at the low side only
    dilation : int
        Step between kernel taps, at least 1.
    groups : int
        Channels are split into this many independent groups; must divide C and O.
    out : ndarray, optional
        Where to write: of exactly the shape and dtype of the result, any strides, overlapping no operand.
    strategy : str, optional
        Forces a strategy by name ("direct", ...); see `explain`.
    num_threads : int, optional
        For this call; by default `get_num_threads()`.

    Returns
    -------
    ndarray, (N, O, ...) or (O, ...)
        Of size ``(size + lo + hi - dilation*(kernel-1) - 1) // stride + 1`` along each axis, C-contiguous, of the
        promoted dtype of x and weight: bool, integer, float16/32/64 or complex64/128. Integers are exact.

    Raises
    ------
    ValueError
        Shapes, geometry or ``out`` that do not fit; the message says what would.
    TypeError
        Dtypes that are not numbers or of two kinds (float with integer), masked arrays.
    OverflowError
        An integer result that its dtype cannot hold.

    See Also
    --------
    plan_conv1d : The same with the weights packed once for many calls.

    Examples
    --------
    >>> import numpy as np
    >>> conv1d(np.array([[1., 2., 3., 4.]]), np.array([[[1., 0., -1.]]]), padding=1)
    array([[-2., -2., -2.,  3.]])
    """
    geometry = (stride, padding, dilation, groups)
    return _convolve(1, False, x, weight, bias, geometry, out, strategy, num_threads)


def conv2d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    out: Array | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """2-D convolution, as deep learning means it: the kernel is not flipped.

    y[n, o, p] = bias[o] + sum over c, t of  weight[o, c, t] * x[n, c, p*stride + t*dilation - lo]

    Parameters
    ----------
    x : array_like, (N, C, H, W) or (C, H, W)
        Input; without ``N`` the result has none either.
    weight : array_like, (O, C/groups, kh, kw)
        Filters.
    bias : array_like, (O,), optional
        Added to each output channel; cast to the dtype of the result.
    stride : int or 2 ints
        Step between outputs, at least 1.
    padding : int or 2 ints, 2 pairs (lo, hi), or str
        Zeros around the input; negative numbers crop it. Zeros are skipped, so NaN and inf spread no further than
        the kernel reaches. Or one of:

            'valid'       none
            'same'        as many as give ceil(size/stride) outputs, the odd one at the high side
                          (torch at stride 1, TensorFlow's SAME and ONNX's SAME_UPPER at larger strides)
            'same_lower'  the odd one at the low side (ONNX's SAME_LOWER)
            'full'        dilation*(kernel-1) at both sides
    dilation : int or 2 ints
        Step between kernel taps, at least 1.
    groups : int
        Channels are split into this many independent groups; must divide C and O.
    out : ndarray, optional
        Where to write: of exactly the shape and dtype of the result, any strides, overlapping no operand.
    strategy : str, optional
        Forces a strategy by name ("direct", ...); see `explain`.
    num_threads : int, optional
        For this call; by default `get_num_threads()`.

    Returns
    -------
    ndarray, (N, O, ...) or (O, ...)
        Of size ``(size + lo + hi - dilation*(kernel-1) - 1) // stride + 1`` along each axis, C-contiguous, of the
        promoted dtype of x and weight: bool, integer, float16/32/64 or complex64/128. Integers are exact.

    Raises
    ------
    ValueError
        Shapes, geometry or ``out`` that do not fit; the message says what would.
    TypeError
        Dtypes that are not numbers or of two kinds (float with integer), masked arrays.
    OverflowError
        An integer result that its dtype cannot hold.

    See Also
    --------
    plan_conv2d : The same with the weights packed once for many calls.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(x, np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    """
    geometry = (stride, padding, dilation, groups)
    return _convolve(2, False, x, weight, bias, geometry, out, strategy, num_threads)


def conv3d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    out: Array | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """3-D convolution, as deep learning means it: the kernel is not flipped.

    y[n, o, p] = bias[o] + sum over c, t of  weight[o, c, t] * x[n, c, p*stride + t*dilation - lo]

    Parameters
    ----------
    x : array_like, (N, C, D, H, W) or (C, D, H, W)
        Input; without ``N`` the result has none either.
    weight : array_like, (O, C/groups, kd, kh, kw)
        Filters.
    bias : array_like, (O,), optional
        Added to each output channel; cast to the dtype of the result.
    stride : int or 3 ints
        Step between outputs, at least 1.
    padding : int or 3 ints, 3 pairs (lo, hi), or str
        Zeros around the input; negative numbers crop it. Zeros are skipped, so NaN and inf spread no further than
        the kernel reaches. Or one of:

            'valid'       none
            'same'        as many as give ceil(size/stride) outputs, the odd one at the high side
                          (torch at stride 1, TensorFlow's SAME and ONNX's SAME_UPPER at larger strides)
            'same_lower'  the odd one at the low side (ONNX's SAME_LOWER)
            'full'        dilation*(kernel-1) at both sides
    dilation : int or 3 ints
        Step between kernel taps, at least 1.
    groups : int
        Channels are split into this many independent groups; must divide C and O.
    out : ndarray, optional
        Where to write: of exactly the shape and dtype of the result, any strides, overlapping no operand.
    strategy : str, optional
        Forces a strategy by name ("direct", ...); see `explain`.
    num_threads : int, optional
        For this call; by default `get_num_threads()`.

    Returns
    -------
    ndarray, (N, O, ...) or (O, ...)
        Of size ``(size + lo + hi - dilation*(kernel-1) - 1) // stride + 1`` along each axis, C-contiguous, of the
        promoted dtype of x and weight: bool, integer, float16/32/64 or complex64/128. Integers are exact.

    Raises
    ------
    ValueError
        Shapes, geometry or ``out`` that do not fit; the message says what would.
    TypeError
        Dtypes that are not numbers or of two kinds (float with integer), masked arrays.
    OverflowError
        An integer result that its dtype cannot hold.

    See Also
    --------
    plan_conv3d : The same with the weights packed once for many calls.

    Examples
    --------
    >>> import numpy as np
    >>> conv3d(np.ones((1, 1, 3, 3, 3)), np.ones((1, 1, 3, 3, 3)))
    array([[[[[27.]]]]])
    """
    geometry = (stride, padding, dilation, groups)
    return _convolve(3, False, x, weight, bias, geometry, out, strategy, num_threads)


def conv_transpose1d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    *,
    output_size: Ints | None = None,
    out: Array | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """1-D transposed convolution: the gradient of `conv1d` for its input, as an operation of its own.

    y[n, o, i*stride + t*dilation - lo] += weight[c, o, t] * x[n, c, i]   for all c, i, t;  then bias[o] is added

    Parameters
    ----------
    x : array_like, (N, C, L) or (C, L)
        Input; without ``N`` the result has none either.
    weight : array_like, (C, O/groups, k)
        Filters; note the order, C first.
    bias : array_like, (O,), optional
        Added to each output channel; cast to the dtype of the result.
    stride : int
        Step between the outputs that neighbouring inputs reach, at least 1.
    padding : int, 1 pair (lo, hi), or str
        What is cut off the result (torch's meaning); negative numbers extend it. 'valid' cuts nothing, 'same' gives
        ``size*stride`` outputs (Keras), as the gradient of a forward 'same'.
    output_padding : int
        Added to the size of the result at the high side; less than stride or dilation.
    groups : int
        Channels are split into this many independent groups; must divide C and O.
    dilation : int
        Step between kernel taps, at least 1.
    output_size : int, or the shape of the result, optional
        Chooses ``output_padding``.
    out : ndarray, optional
        Where to write: of exactly the shape and dtype of the result, any strides, overlapping no operand.
    strategy : str, optional
        Forces a strategy by name; see `explain`.
    num_threads : int, optional
        For this call; by default `get_num_threads()`.

    Returns
    -------
    ndarray, (N, O, ...) or (O, ...)
        Of size ``(size-1)*stride - lo - hi + dilation*(kernel-1) + output_padding + 1`` along each axis (torch's
        formula), C-contiguous, of the promoted dtype of x and weight. Integers are exact.

    Raises
    ------
    ValueError
        Shapes, geometry or ``out`` that do not fit; the message says what would.
    TypeError
        Dtypes that are not numbers or of two kinds (float with integer), masked arrays.
    OverflowError
        An integer result that its dtype cannot hold.

    See Also
    --------
    plan_conv_transpose1d : The same with the weights packed once for many calls.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose1d(np.array([[1., 2.]]), np.array([[[1., 10., 100.]]]), stride=2)
    array([[  1.,  10., 102.,  20., 200.]])
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return _convolve(1, True, x, weight, bias, geometry, out, strategy, num_threads)


def conv_transpose2d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    *,
    output_size: Ints | None = None,
    out: Array | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """2-D transposed convolution: the gradient of `conv2d` for its input, as an operation of its own.

    y[n, o, i*stride + t*dilation - lo] += weight[c, o, t] * x[n, c, i]   for all c, i, t;  then bias[o] is added

    Parameters
    ----------
    x : array_like, (N, C, H, W) or (C, H, W)
        Input; without ``N`` the result has none either.
    weight : array_like, (C, O/groups, kh, kw)
        Filters; note the order, C first.
    bias : array_like, (O,), optional
        Added to each output channel; cast to the dtype of the result.
    stride : int or 2 ints
        Step between the outputs that neighbouring inputs reach, at least 1.
    padding : int or 2 ints, 2 pairs (lo, hi), or str
        What is cut off the result (torch's meaning); negative numbers extend it. 'valid' cuts nothing, 'same' gives
        ``size*stride`` outputs (Keras), as the gradient of a forward 'same'.
    output_padding : int or 2 ints
        Added to the size of the result at the high side; less than stride or dilation.
    groups : int
        Channels are split into this many independent groups; must divide C and O.
    dilation : int or 2 ints
        Step between kernel taps, at least 1.
    output_size : int or 2 ints, or the shape of the result, optional
        Chooses ``output_padding``.
    out : ndarray, optional
        Where to write: of exactly the shape and dtype of the result, any strides, overlapping no operand.
    strategy : str, optional
        Forces a strategy by name; see `explain`.
    num_threads : int, optional
        For this call; by default `get_num_threads()`.

    Returns
    -------
    ndarray, (N, O, ...) or (O, ...)
        Of size ``(size-1)*stride - lo - hi + dilation*(kernel-1) + output_padding + 1`` along each axis (torch's
        formula), C-contiguous, of the promoted dtype of x and weight. Integers are exact.

    Raises
    ------
    ValueError
        Shapes, geometry or ``out`` that do not fit; the message says what would.
    TypeError
        Dtypes that are not numbers or of two kinds (float with integer), masked arrays.
    OverflowError
        An integer result that its dtype cannot hold.

    See Also
    --------
    plan_conv_transpose2d : The same with the weights packed once for many calls.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d(np.array([[[1., 2.]]]), np.ones((1, 1, 2, 2)), stride=2)
    array([[[1., 1., 2., 2.],
            [1., 1., 2., 2.]]])
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return _convolve(2, True, x, weight, bias, geometry, out, strategy, num_threads)


def conv_transpose3d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    *,
    output_size: Ints | None = None,
    out: Array | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
) -> Array:
    """3-D transposed convolution: the gradient of `conv3d` for its input, as an operation of its own.

    y[n, o, i*stride + t*dilation - lo] += weight[c, o, t] * x[n, c, i]   for all c, i, t;  then bias[o] is added

    Parameters
    ----------
    x : array_like, (N, C, D, H, W) or (C, D, H, W)
        Input; without ``N`` the result has none either.
    weight : array_like, (C, O/groups, kd, kh, kw)
        Filters; note the order, C first.
    bias : array_like, (O,), optional
        Added to each output channel; cast to the dtype of the result.
    stride : int or 3 ints
        Step between the outputs that neighbouring inputs reach, at least 1.
    padding : int or 3 ints, 3 pairs (lo, hi), or str
        What is cut off the result (torch's meaning); negative numbers extend it. 'valid' cuts nothing, 'same' gives
        ``size*stride`` outputs (Keras), as the gradient of a forward 'same'.
    output_padding : int or 3 ints
        Added to the size of the result at the high side; less than stride or dilation.
    groups : int
        Channels are split into this many independent groups; must divide C and O.
    dilation : int or 3 ints
        Step between kernel taps, at least 1.
    output_size : int or 3 ints, or the shape of the result, optional
        Chooses ``output_padding``.
    out : ndarray, optional
        Where to write: of exactly the shape and dtype of the result, any strides, overlapping no operand.
    strategy : str, optional
        Forces a strategy by name; see `explain`.
    num_threads : int, optional
        For this call; by default `get_num_threads()`.

    Returns
    -------
    ndarray, (N, O, ...) or (O, ...)
        Of size ``(size-1)*stride - lo - hi + dilation*(kernel-1) + output_padding + 1`` along each axis (torch's
        formula), C-contiguous, of the promoted dtype of x and weight. Integers are exact.

    Raises
    ------
    ValueError
        Shapes, geometry or ``out`` that do not fit; the message says what would.
    TypeError
        Dtypes that are not numbers or of two kinds (float with integer), masked arrays.
    OverflowError
        An integer result that its dtype cannot hold.

    See Also
    --------
    plan_conv_transpose3d : The same with the weights packed once for many calls.

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose3d(np.ones((1, 1, 1, 1, 2)), np.ones((1, 1, 1, 1, 2)))
    array([[[[[1., 2., 1.]]]]])
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return _convolve(3, True, x, weight, bias, geometry, out, strategy, num_threads)


def plan_conv1d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    strategy: str | None = None,
    num_threads: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> PreparedConv:
    """Plan `conv1d` for inputs of one shape, its weights packed once: ``plan(x, out=None)`` computes.

    Parameters
    ----------
    input_shape : tuple of int, (N, C, L) or (C, L)
        Shape of the inputs to come.
    dtype : dtype, optional
        Dtype of the inputs to come, by default that of ``weight``; the two are promoted as in `conv1d`.
    weight, bias, stride, padding, dilation, groups, strategy, num_threads
        As in `conv1d`. Weights and bias are copied: later edits of yours do not matter.

    Returns
    -------
    PreparedConv
        Callable, immutable, shareable by threads, picklable; has ``problem``, ``strategy``, ``input_shape`` and
        ``output_shape``, and prints its plan.

    Raises
    ------
    ValueError, TypeError
        As `conv1d`; a call raises them for an ``x`` of another shape, or whose dtype does not cast safely.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv1d((1, 1, 3), np.ones((2, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3)
    >>> plan(np.ones((1, 1, 3))).shape
    (1, 2, 3)
    """
    geometry = (stride, padding, dilation, groups)
    return _prepare(1, False, input_shape, weight, bias, geometry, strategy, num_threads, dtype)


def plan_conv2d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    strategy: str | None = None,
    num_threads: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> PreparedConv:
    """Plan `conv2d` for inputs of one shape, its weights packed once: ``plan(x, out=None)`` computes.

    Parameters
    ----------
    input_shape : tuple of int, (N, C, H, W) or (C, H, W)
        Shape of the inputs to come.
    dtype : dtype, optional
        Dtype of the inputs to come, by default that of ``weight``; the two are promoted as in `conv2d`.
    weight, bias, stride, padding, dilation, groups, strategy, num_threads
        As in `conv2d`. Weights and bias are copied: later edits of yours do not matter.

    Returns
    -------
    PreparedConv
        Callable, immutable, shareable by threads, picklable; has ``problem``, ``strategy``, ``input_shape`` and
        ``output_shape``, and prints its plan.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; a call raises them for an ``x`` of another shape, or whose dtype does not cast safely.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv2d((1, 1, 3, 3), np.ones((2, 1, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3, 3)
    >>> plan(np.ones((1, 1, 3, 3))).shape
    (1, 2, 3, 3)
    """
    geometry = (stride, padding, dilation, groups)
    return _prepare(2, False, input_shape, weight, bias, geometry, strategy, num_threads, dtype)


def plan_conv3d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    strategy: str | None = None,
    num_threads: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> PreparedConv:
    """Plan `conv3d` for inputs of one shape, its weights packed once: ``plan(x, out=None)`` computes.

    Parameters
    ----------
    input_shape : tuple of int, (N, C, D, H, W) or (C, D, H, W)
        Shape of the inputs to come.
    dtype : dtype, optional
        Dtype of the inputs to come, by default that of ``weight``; the two are promoted as in `conv3d`.
    weight, bias, stride, padding, dilation, groups, strategy, num_threads
        As in `conv3d`. Weights and bias are copied: later edits of yours do not matter.

    Returns
    -------
    PreparedConv
        Callable, immutable, shareable by threads, picklable; has ``problem``, ``strategy``, ``input_shape`` and
        ``output_shape``, and prints its plan.

    Raises
    ------
    ValueError, TypeError
        As `conv3d`; a call raises them for an ``x`` of another shape, or whose dtype does not cast safely.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv3d((1, 1, 3, 3, 3), np.ones((2, 1, 1, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3, 3, 3)
    >>> plan(np.ones((1, 1, 3, 3, 3))).shape
    (1, 2, 3, 3, 3)
    """
    geometry = (stride, padding, dilation, groups)
    return _prepare(3, False, input_shape, weight, bias, geometry, strategy, num_threads, dtype)


def plan_conv_transpose1d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    *,
    output_size: Ints | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> PreparedConv:
    """Plan `conv_transpose1d` for inputs of one shape, weights packed once: ``plan(x, out=None)`` computes.

    Parameters
    ----------
    input_shape : tuple of int, (N, C, L) or (C, L)
        Shape of the inputs to come.
    dtype : dtype, optional
        Dtype of the inputs to come, by default that of ``weight``; the two are promoted as in `conv_transpose1d`.
    weight, bias, stride, padding, output_padding, groups, dilation, output_size, strategy, num_threads
        As in `conv_transpose1d`. Weights and bias are copied: later edits of yours do not matter.

    Returns
    -------
    PreparedConv
        Callable, immutable, shareable by threads, picklable; has ``problem``, ``strategy``, ``input_shape`` and
        ``output_shape``, and prints its plan.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose1d`; a call raises them for an ``x`` of another shape, or whose dtype does not cast safely.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv_transpose1d((1, 1, 3), np.ones((1, 2, 1)))
    >>> plan.output_shape
    (1, 2, 3)
    >>> plan(np.ones((1, 1, 3))).shape
    (1, 2, 3)
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return _prepare(1, True, input_shape, weight, bias, geometry, strategy, num_threads, dtype)


def plan_conv_transpose2d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    *,
    output_size: Ints | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> PreparedConv:
    """Plan `conv_transpose2d` for inputs of one shape, weights packed once: ``plan(x, out=None)`` computes.

    Parameters
    ----------
    input_shape : tuple of int, (N, C, H, W) or (C, H, W)
        Shape of the inputs to come.
    dtype : dtype, optional
        Dtype of the inputs to come, by default that of ``weight``; the two are promoted as in `conv_transpose2d`.
    weight, bias, stride, padding, output_padding, groups, dilation, output_size, strategy, num_threads
        As in `conv_transpose2d`. Weights and bias are copied: later edits of yours do not matter.

    Returns
    -------
    PreparedConv
        Callable, immutable, shareable by threads, picklable; has ``problem``, ``strategy``, ``input_shape`` and
        ``output_shape``, and prints its plan.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`; a call raises them for an ``x`` of another shape, or whose dtype does not cast safely.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv_transpose2d((1, 1, 3, 3), np.ones((1, 2, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3, 3)
    >>> plan(np.ones((1, 1, 3, 3))).shape
    (1, 2, 3, 3)
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return _prepare(2, True, input_shape, weight, bias, geometry, strategy, num_threads, dtype)


def plan_conv_transpose3d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    *,
    output_size: Ints | None = None,
    strategy: str | None = None,
    num_threads: int | None = None,
    dtype: npt.DTypeLike | None = None,
) -> PreparedConv:
    """Plan `conv_transpose3d` for inputs of one shape, weights packed once: ``plan(x, out=None)`` computes.

    Parameters
    ----------
    input_shape : tuple of int, (N, C, D, H, W) or (C, D, H, W)
        Shape of the inputs to come.
    dtype : dtype, optional
        Dtype of the inputs to come, by default that of ``weight``; the two are promoted as in `conv_transpose3d`.
    weight, bias, stride, padding, output_padding, groups, dilation, output_size, strategy, num_threads
        As in `conv_transpose3d`. Weights and bias are copied: later edits of yours do not matter.

    Returns
    -------
    PreparedConv
        Callable, immutable, shareable by threads, picklable; has ``problem``, ``strategy``, ``input_shape`` and
        ``output_shape``, and prints its plan.

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose3d`; a call raises them for an ``x`` of another shape, or whose dtype does not cast safely.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv_transpose3d((1, 1, 3, 3, 3), np.ones((1, 2, 1, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3, 3, 3)
    >>> plan(np.ones((1, 1, 3, 3, 3))).shape
    (1, 2, 3, 3, 3)
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return _prepare(3, True, input_shape, weight, bias, geometry, strategy, num_threads, dtype)


def explain(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    transposed: bool = False,
    output_padding: Ints = 0,
    output_size: Ints | None = None,
) -> str:
    """What each strategy says of a convolution: its predicted cost or why it refuses, ``*`` on the one chosen.

    Parameters
    ----------
    x, weight, bias, stride, padding, dilation, groups
        As in `conv1d`, `conv2d` or `conv3d`, whichever ``weight`` has the dimensions of.
    transposed : bool
        Explain `conv_transpose2d` (or its kin) instead; then ``output_padding`` and ``output_size`` count too.

    Returns
    -------
    str
        A table to print.

    Examples
    --------
    >>> import numpy as np
    >>> print(explain(np.ones((1, 8, 8, 8)), np.ones((8, 8, 3, 3)), padding=1))  # doctest: +ELLIPSIS
    conv2d f64 1x8x8x8 * 8x8x3x3 s1 p1 d1 g1...
    """
    x, weight = _array("x", x), _array("weight", weight)
    rank = weight.ndim - 2
    if rank not in (1, 2, 3):
        raise ValueError(f"weight must have 3, 4 or 5 dimensions, for 1-D, 2-D or 3-D convolution; got {weight.ndim}")
    batched = x[None] if x.ndim == rank + 1 else x
    geometry = (stride, padding, dilation, groups)
    if transposed:
        geometry = (stride, padding, output_padding, groups, dilation, output_size)  # type: ignore[assignment]
    dtype = _promoted(x.dtype, weight.dtype)
    problem, _, _ = _described(rank, bool(transposed), batched.shape, weight.shape, dtype, geometry)
    if bias is not None:
        _bias(bias, problem, dtype)
    return str(_engine()[0].explain(problem))


def set_num_threads(n: int) -> None:
    """Use ``n`` threads in calls that do not say ``num_threads=``; at least 1, at most NUMBA_NUM_THREADS."""
    _engine()[1].set_num_threads(n)


def get_num_threads() -> int:
    """The number of threads that calls use."""
    return int(_engine()[1].get_num_threads())


def show_config() -> None:
    """Print what decides speed here: versions, threads, the machine as the planner sees it, the cache."""
    import platform

    import llvmlite
    import numba

    import numbaconv
    from numbaconv import machine
    from numbaconv.codegen import cache, host, launch

    print(f"numbaconv  {numbaconv.__version__}")
    print(f"python     {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}, llvmlite "
          f"{llvmlite.__version__}")  # fmt: skip
    print(f"processor  {host.name()}")
    print(f"machine    {machine.host()}")
    print(f"threads    {launch.get_num_threads()} of {launch.max_threads()}, by {launch.threading_mode()}")
    print(f"cache      {cache.directory() or 'none: no directory is writable'}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PreparedConv:
    """A convolution with its plan and its packed weights: made by `plan_conv2d` and its kin, called with inputs.

    It may be shared by threads. It keeps its own copy of the weights, from which it is rebuilt when unpickled, as the
    packed ones suit only the machine that packed them.
    """

    problem: ConvProblem
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    num_threads: int | None
    _plan: Plan | None
    _asked: str | None
    _dtype: np.dtype[Any]
    _weight: Array
    _packed: Any
    _bias: Array | None

    def __call__(self, x: npt.ArrayLike, out: Array | None = None) -> Array:
        """The convolution of ``x``, which has ``input_shape`` and a dtype that casts safely to the plan's.

        Returns ``out`` if it is given, else a new array.
        """
        given = x = _array("x", x)
        if x.shape != self.input_shape:
            raise ValueError(f"x must have the planned shape {self.input_shape}; got {x.shape}")
        if x.dtype is not self._dtype and (
            not _computed(x.dtype)
            or KINDS[x.dtype.kind] != KINDS[self._dtype.kind]
            or not np.can_cast(x.dtype, self._dtype, "safe")
        ):
            raise TypeError(f"x must have the planned dtype {self._dtype} or one that casts safely; got {x.dtype}")
        threads = _threads(self.num_threads)
        if out is not None:
            _check_out(out, self.output_shape, self._dtype, given)
        return _fill(
            self._plan, self._packed, _ready(x, self._dtype), self._bias, out, self.output_shape, self.problem, threads
        )

    @property
    def strategy(self) -> str:
        """The name of the planned strategy; 'none' where there is nothing to multiply."""
        return "none" if self._plan is None else self._plan.strategy

    def __repr__(self) -> str:
        return f"<{self.problem}: {self._plan or 'nothing to multiply'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.problem, self._weight, self._bias, self._asked, self.num_threads, self.input_shape
        return _prepared, state


# ---- the one path of all of the above --------------------------------------------------------------------------------


def _convolve(
    rank: int,
    transposed: bool,
    x: Any,
    weight: Any,
    bias: Any,
    geometry: tuple[Any, ...],
    out: Array | None,
    strategy: str | None,
    num_threads: Any,
) -> Array:
    """Describe, plan, run. The common case, a contiguous float array of the weight's dtype, skips every conversion."""
    given, kernel = _array("x", x), _array("weight", weight)
    dtype = _promoted(given.dtype, kernel.dtype)
    x = _ready(given, dtype)
    unbatched = x.ndim == rank + 1
    if unbatched:
        x = x[None]
    problem, shape, empty = _described(rank, transposed, x.shape, kernel.shape, dtype, geometry)
    if unbatched:
        shape = shape[1:]
    if bias is not None:
        bias = _bias(bias, problem, dtype)
    threads = _threads(num_threads)
    if out is not None:
        _check_out(out, shape, dtype, given, kernel, bias)
    if empty:
        return _fill(None, None, x, bias, out, shape, problem, threads)
    if kernel.dtype is not dtype or not kernel.flags.aligned:
        kernel = np.require(kernel, dtype, ["A"])
    plan = _engine()[0].plan(problem, strategy)
    # The plan's problem may be the folded one, whose kernel has the same weights on other axes.
    y = _fill(plan, plan.borrow(plan.problem.forward_weights(kernel)), x, bias, out, shape, problem, threads)
    if problem.is_padded and _meets_padding(kernel, y if not unbatched else y[None], problem):
        plan = _exact(problem)
        y = _fill(plan, plan.borrow(plan.problem.forward_weights(kernel)), x, bias, out, shape, problem, threads)
    return y


def _prepare(
    rank: int,
    transposed: bool,
    input_shape: Any,
    weight: Any,
    bias: Any,
    geometry: tuple[Any, ...],
    strategy: str | None,
    num_threads: Any,
    dtype: npt.DTypeLike | None,
) -> PreparedConv:
    weight = _array("weight", weight)
    result = _promoted(weight.dtype if dtype is None else np.dtype(dtype), weight.dtype)
    shape = shape_of("input_shape", input_shape)
    batched = (1, *shape) if len(shape) == rank + 1 else shape
    problem, _, _ = _described(rank, transposed, batched, weight.shape, result, geometry)
    if bias is not None:
        bias = _bias(bias, problem, result).copy()
    _threads(num_threads)
    return _prepared(problem, np.array(weight, result), bias, strategy, num_threads, shape)


def _prepared(
    problem: ConvProblem,
    weight: Array,
    bias: Array | None,
    strategy: str | None,
    num_threads: int | None,
    input_shape: tuple[int, ...],
) -> PreparedConv:
    """``weight`` and ``bias`` belong to the result from here on."""
    shape = problem.y_shape if len(input_shape) == problem.rank + 2 else problem.y_shape[1:]
    plan = None if problem.is_empty else _engine()[0].plan(problem, strategy)
    if plan is not None and problem.is_padded and not np.isfinite(weight).all():
        plan = _exact(problem)
    packed = None if plan is None else plan.pack(plan.problem.forward_weights(weight))
    dtype = np.dtype(problem.dtype)
    return PreparedConv(problem, input_shape, shape, num_threads, plan, strategy, dtype, weight, packed, bias)


def _meets_padding(weight: Array, y: Array, problem: ConvProblem) -> bool:
    """Whether a weight is inf or NaN, so that a fast strategy multiplied it by the zeros that it keeps as padding.

    Such a weight shows in every output of its channel (and phase); only if one of each does, are the weights searched.
    """
    return not np.isfinite(y[problem.one_of_each]).all() and not np.isfinite(weight).all()


def _exact(problem: ConvProblem) -> Plan:
    """The plan that leaves out terms in the padding instead of multiplying them by zero."""
    plan: Plan = _engine()[0].plan(problem, "generic")
    return plan


def _fill(
    plan: Plan | None,
    weight: Any,
    x: Array,
    bias: Array | None,
    out: Array | None,
    shape: tuple[int, ...],
    problem: ConvProblem,
    threads: int,
) -> Array:
    """Run the plan into ``out``, through a new array where ``out`` is not contiguous; no plan means only the bias."""
    y = np.empty(shape, x.dtype) if out is None or not out.flags.carray else out.view(np.ndarray)
    batched = y if y.ndim == problem.rank + 2 else y[None]
    if plan is not None:
        plan.run(x if x.ndim == batched.ndim else x[None], weight, bias, batched, threads)
    elif bias is None:
        y[...] = 0
    else:
        batched[...] = bias.reshape(-1, *(1,) * problem.rank)
    if out is None:
        return y
    if not out.flags.carray:
        out[...] = y
    return out


def _described(
    rank: int,
    transposed: bool,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
) -> tuple[ConvProblem, tuple[int, ...], bool]:
    """(problem, batched shape of the result, whether there is nothing to multiply), remembered for equal arguments."""
    describe = _describe
    try:
        hash(geometry)
    except TypeError:  # lists: not remembered
        describe = _describe.__wrapped__  # type: ignore[assignment]
    # The spelling keeps 1, 1.0 and True apart, which are equal, but not all accepted.
    return describe(rank, transposed, x_shape, w_shape, dtype, geometry, repr(geometry))


@lru_cache(4096)
def _describe(
    rank: int,
    transposed: bool,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
    spelling: str,
) -> tuple[ConvProblem, tuple[int, ...], bool]:
    of = ConvProblem.of_transposed if transposed else ConvProblem.of
    problem = of(rank, x_shape, w_shape, dtype, *geometry)
    return problem, problem.y_shape, problem.is_empty


@cache
def _engine() -> tuple[ModuleType, ModuleType]:
    """(planner, launch), imported with the first convolution because the compiler comes with them."""
    from numbaconv import planner
    from numbaconv.codegen import launch

    return planner, launch


def _threads(num_threads: Any) -> int:
    launch = _engine()[1]
    return int(launch.get_num_threads() if num_threads is None else launch.checked_threads(num_threads))


# ---- arrays and dtypes -----------------------------------------------------------------------------------------------


def _array(name: str, value: Any) -> Array:
    """An ndarray of whatever layout and dtype; lists and objects that NumPy can read become one."""
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost; fill it first: {name}.filled(0)")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array or a regular nest of numbers; NumPy says: {error}") from None


@lru_cache(256)
def _promoted(x: np.dtype[Any], weight: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the computation: floats and complex numbers mix, integers and bool mix, the two kinds do not."""
    for name, dtype in (("x", x), ("weight", weight)):
        if not _computed(dtype):
            raise TypeError(f"{name} has dtype {dtype}; accepted are {', '.join(sorted(map(str, COMPUTED)))}")
    if KINDS[x.kind] != KINDS[weight.kind]:
        raise TypeError(
            f"x has dtype {x} and weight {weight}: convert one to the other's kind, e.g. weight.astype({str(x)!r})"
        )
    result = np.result_type(x, weight)
    if KINDS[result.kind] != KINDS[x.kind]:
        raise TypeError(f"x has dtype {x} and weight {weight}, which no integer dtype holds both; convert one of them")
    return np.dtype(str(result))


def _computed(dtype: np.dtype[Any]) -> bool:
    """Whether convolutions take this dtype, in either byte order; asked by kind first, as some dtypes have no order."""
    return dtype.kind in KINDS and dtype.newbyteorder("=") in COMPUTED


def _ready(x: Array, dtype: np.dtype[Any]) -> Array:
    """``x`` as strategies read it: C-contiguous, aligned, of this dtype in native byte order; a copy if it is not."""
    if x.dtype is dtype and x.flags.carray:
        return x
    return np.require(x, dtype, ["C", "A"])


def _bias(bias: Any, problem: ConvProblem, dtype: np.dtype[Any]) -> Array:
    given = _array("bias", bias)
    if given.shape != (problem.out_channels,):
        raise ValueError(
            f"bias must have shape ({problem.out_channels},), one for each output channel; got {given.shape}"
        )
    if given.dtype is dtype and given.flags.carray:
        return given
    if not _computed(given.dtype) or not np.can_cast(given.dtype, dtype, "same_kind"):
        raise TypeError(f"bias has dtype {given.dtype}, which does not cast to the result's {dtype} (same_kind)")
    cast = np.require(given, dtype, ["C", "A"])
    if KINDS[dtype.kind] == "integer" and not np.array_equal(cast, given):
        raise OverflowError(
            f"bias has values that do not fit the result dtype {dtype}; convert x or weight to a wider one"
        )
    return cast


def _check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *operands: Array | None) -> None:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be a NumPy array of shape {shape} and dtype {dtype}; got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype}; got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}; got {out.shape}")
    if not out.flags.writeable:
        raise ValueError("out must be writable; got a read-only array")
    for name, operand in zip(("x", "weight", "bias"), operands):  # noqa: B905  # a prepared call has only x
        # Interleaved views overlap in bounds only; an exact answer that takes long to find counts as an overlap.
        if operand is not None and np.may_share_memory(out, operand, max_work=10_000):  # type: ignore[arg-type]
            raise ValueError(f"out must not overlap {name}: results would overwrite inputs that are still needed")

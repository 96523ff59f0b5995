"""Locally connected layers: convolutions whose weights are not shared by the output pixels; and their gradients.

    y[n, o, p]          = bias[o, p] + sum over c, t of  weight[o, c, t, p] * x[n, c, at(p, t)]
    dx[n, c, at(p, t)] += sum over o of                  weight[o, c, t, p] * dy[n, o, p]
    dweight[o, c, t, p] = sum over n of                  dy[n, o, p] * x[n, c, at(p, t)]

where ``at(p, t) = p*stride + t*dilation - lo``. The gradient for the bias is the sum of dy over n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.arrays import Array, as_array, floats, ready
from numbaconv.problem import ConvProblem, Ints, Padding, shape_of

Shape = Sequence[SupportsIndex]


def local_conv1d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """1-D locally connected layer; all is as in `local_conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv1d(np.ones((1, 1, 2)), np.arange(2.).reshape(1, 1, 1, 2))
    array([[[0., 1.]]])
    """
    return _local(1, x, weight, bias, (stride, padding, dilation, groups))


def local_conv2d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """2-D locally connected layer: `conv2d` with weights of its own for each output pixel.

    y[n, o, p] = bias[o, p] + sum over c, t of  weight[o, c, t, p] * x[n, c, p*stride + t*dilation - lo]

    Parameters
    ----------
    x : array_like, (N, C, H, W)
        Input, float32 or float64.
    weight : array_like, (O, C/groups, kh, kw, oh, ow)
        Filters; pixels are last, so that neighbours in a row are neighbours in memory.
    bias : array_like, (O,) or (O, oh, ow), optional
        Added to each output channel, or to each output.
    stride, padding, dilation, groups
        As in `conv2d`.

    Returns
    -------
    ndarray, (N, O, oh, ow)
        Of the promoted dtype of x and weight.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit; the message says what would.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv2d(np.ones((1, 1, 2, 2)), np.arange(4.).reshape(1, 1, 1, 1, 2, 2))
    array([[[[0., 1.],
             [2., 3.]]]])
    """
    return _local(2, x, weight, bias, (stride, padding, dilation, groups))


def local_conv3d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """3-D locally connected layer; all is as in `local_conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv3d(np.ones((1, 1, 1, 1, 2)), np.arange(2.).reshape(1, 1, 1, 1, 1, 1, 1, 2))
    array([[[[[0., 1.]]]]])
    """
    return _local(3, x, weight, bias, (stride, padding, dilation, groups))


def local_conv1d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """Gradient of `local_conv1d` for its input; all is as in `local_conv2d_input`.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv1d_input((1, 1, 3), np.array([[[[1., 2.], [3., 4.]]]]), np.array([[[1., 10.]]]))
    array([[[ 1., 23., 40.]]])
    """
    return _for_input(1, input_size, weight, grad_output, (stride, padding, dilation, groups))


def local_conv2d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """Gradient of `local_conv2d` for its input.

    dx[n, c, p*stride + t*dilation - lo] += sum over o of  weight[o, c, t, p] * grad_output[n, o, p]  for all p, t

    Parameters
    ----------
    input_size : tuple of ints, (N, C, H, W)
        Shape of the input.
    weight : array_like, (O, C/groups, kh, kw, oh, ow)
        Filters, float32 or float64.
    grad_output : array_like, (N, O, oh, ow)
        Gradient for the result.
    stride, padding, dilation, groups
        As given to `local_conv2d`.

    Returns
    -------
    ndarray, (N, C, H, W)
        Of the promoted dtype of weight and grad_output; inputs that no output reads are zero.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit; the message says what would.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv2d_input((1, 1, 1, 3), np.ones((1, 1, 1, 2, 1, 2)), np.array([[[[1., 10.]]]]))
    array([[[[ 1., 11., 10.]]]])
    """
    return _for_input(2, input_size, weight, grad_output, (stride, padding, dilation, groups))


def local_conv3d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """Gradient of `local_conv3d` for its input; all is as in `local_conv2d_input`.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv3d_input((1, 1, 1, 1, 2), np.ones((1, 1, 1, 1, 1, 1, 1, 2)), np.array([[[[[1., 10.]]]]]))
    array([[[[[ 1., 10.]]]]])
    """
    return _for_input(3, input_size, weight, grad_output, (stride, padding, dilation, groups))


def local_conv1d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """Gradient of `local_conv1d` for its weights; all is as in `local_conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv1d_weight(np.array([[[1., 2., 3.]]]), (1, 1, 2, 2), np.array([[[1., 10.]]]))
    array([[[[ 1., 20.],
             [ 2., 30.]]]])
    """
    return _for_weight(1, x, weight_size, grad_output, (stride, padding, dilation, groups))


def local_conv2d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """Gradient of `local_conv2d` for its weights; that for a bias is ``grad_output.sum(0)``.

    dweight[o, c, t, p] = sum over n of  grad_output[n, o, p] * x[n, c, p*stride + t*dilation - lo]

    Parameters
    ----------
    x : array_like, (N, C, H, W)
        Input, float32 or float64.
    weight_size : tuple of ints, (O, C/groups, kh, kw, oh, ow)
        Shape of the weights.
    grad_output : array_like, (N, O, oh, ow)
        Gradient for the result.
    stride, padding, dilation, groups
        As given to `local_conv2d`.

    Returns
    -------
    ndarray, (O, C/groups, kh, kw, oh, ow)
        Of the promoted dtype of x and grad_output; weights that meet only padding are zero.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit; the message says what would.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv2d_weight(np.array([[[[1., 2.]]]]), (1, 1, 1, 1, 1, 2), np.array([[[[1., 10.]]]]))
    array([[[[[[ 1., 20.]]]]]])
    """
    return _for_weight(2, x, weight_size, grad_output, (stride, padding, dilation, groups))


def local_conv3d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
) -> Array:
    """Gradient of `local_conv3d` for its weights; all is as in `local_conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> local_conv3d_weight(np.ones((2, 1, 1, 1, 2)), (1, 1, 1, 1, 1, 1, 1, 2), np.ones((2, 1, 1, 1, 2)))
    array([[[[[[[[2., 2.]]]]]]]])
    """
    return _for_weight(3, x, weight_size, grad_output, (stride, padding, dilation, groups))


def _local(rank: int, x: Any, weight: Any, bias: Any, geometry: tuple[Any, ...]) -> Array:
    x, kernel = as_array("x", x), as_array("weight", weight)
    dtype = floats(x.dtype, kernel.dtype)
    problem, shape = _problem(rank, x.shape, kernel.shape, dtype, geometry)
    y, b = np.empty(shape, dtype), _bias(bias, problem, shape, dtype)
    if problem.is_empty:
        y[...] = b
        return y
    data, kernel = ready(x, dtype), ready(kernel, dtype)
    _run("FORWARD", problem, data, kernel, b, y)
    if problem.is_padded and not np.isfinite(y).all() and not np.isfinite(kernel).all():
        # A weight that is inf or NaN, and may have met a zero of the padding, whose term is to be left out.
        _run("FORWARD", problem, data, np.where(_inside(problem, kernel.shape), kernel, dtype.type(0)), b, y)
    return y


def _for_input(rank: int, input_size: Any, weight: Any, grad_output: Any, geometry: tuple[Any, ...]) -> Array:
    kernel, given = as_array("weight", weight), as_array("grad_output", grad_output)
    dtype = floats(kernel.dtype, given.dtype, ("weight", "grad_output"))
    size = shape_of("input_size", input_size)
    problem, shape = _problem(rank, size, kernel.shape, dtype, geometry)
    _check_gradient(given, shape)
    if problem.is_empty:
        return np.zeros(size, dtype)
    dx, dy = np.empty(size, dtype), ready(given, dtype)
    _run("INPUT", problem, dy, ready(kernel, dtype), dy, dx)
    return dx


def _for_weight(rank: int, x: Any, weight_size: Any, grad_output: Any, geometry: tuple[Any, ...]) -> Array:
    data, given = as_array("x", x), as_array("grad_output", grad_output)
    dtype = floats(data.dtype, given.dtype, ("x", "grad_output"))
    size = shape_of("weight_size", weight_size)
    problem, shape = _problem(rank, data.shape, size, dtype, geometry)
    _check_gradient(given, shape)
    if problem.is_empty:
        return np.zeros(size, dtype)
    dw, dy = np.empty(size, dtype), ready(given, dtype)
    _run("WEIGHT", problem, ready(data, dtype), dy, dy, dw)
    if problem.is_padded and not np.isfinite(dy).all():  # no term, so no NaN either
        np.copyto(dw, 0, where=~_inside(problem, size))
    return dw


def _run(kernel: str, problem: ConvProblem, x: Array, w: Array, b: Array, y: Array) -> None:
    """Fill ``y`` by one of the kernels of `blocking.unshared`."""
    from numbaconv import machine
    from numbaconv.blocking import unshared

    unshared.work(problem, machine.host(), getattr(unshared, kernel)).run(x, w, b, y, calls.thread_count(None))


def _problem(
    rank: int, x_shape: tuple[int, ...], w_shape: tuple[int, ...], dtype: np.dtype[Any], geometry: tuple[Any, ...]
) -> tuple[ConvProblem, tuple[int, ...]]:
    """The convolution with the same geometry, and the shape of the result."""
    if len(w_shape) != 2 * rank + 2:
        raise ValueError(f"weight must have {2 * rank + 2} dimensions, (O, C/groups, *kernel, *out_size); "
                         f"got shape {w_shape}")  # fmt: skip
    problem, shape, _ = calls.described(rank, False, x_shape, w_shape[: rank + 2], dtype, geometry)
    if w_shape[rank + 2 :] != shape[2:]:
        raise ValueError(f"weight must end in the size of the result, {shape[2:]}; got shape {w_shape}")
    return problem, shape


def _check_gradient(given: Array, shape: tuple[int, ...]) -> None:
    if given.shape != shape:
        raise ValueError(f"grad_output must have the shape of the convolution's result, {shape}; got {given.shape}")


def _inside(problem: ConvProblem, w_shape: tuple[int, ...]) -> Array:
    """Where a weight meets an element of x, not padding, in the shape of a kernel and its result."""
    inside: Array = np.ones((), bool)
    for n, m, k, s, d, (lo, _) in zip(
        problem.in_size,
        problem.out_size,
        problem.kernel,
        problem.stride,
        problem.dilation,
        problem.padding,
        strict=True,
    ):
        at = np.arange(k)[:, None] * d + np.arange(m) * s - lo
        inside = np.multiply.outer(inside, (at >= 0) & (at < n))
    return inside.transpose(0, 2, 4, 1, 3, 5).reshape(w_shape[2:])


def _bias(bias: Any, problem: ConvProblem, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """One for each output of an image."""
    if bias is None:
        return np.zeros(shape[1:], dtype)
    given = as_array("bias", bias)
    if given.shape not in {shape[1:2], shape[1:]}:
        raise ValueError(f"bias must have shape {shape[1:2]} or {shape[1:]}; got {given.shape}")
    if not np.can_cast(given.dtype, dtype, "same_kind"):
        raise TypeError(f"bias has dtype {given.dtype}, which does not cast to the result's {dtype} (same_kind)")
    each = given if given.ndim > 1 else given.reshape(-1, *(1,) * problem.rank)
    return np.ascontiguousarray(np.broadcast_to(each, shape[1:]), dtype)

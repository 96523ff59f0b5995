"""Locally connected layers: convolutions whose weights are not shared by the output pixels.

y[n, o, p] = bias[o, p] + sum over c, t of  weight[o, c, t, p] * x[n, c, p*stride + t*dilation - lo]
"""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.arrays import Array, as_array, floats, ready
from numbaconv.problem import ConvProblem, Ints, Padding


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


def _local(rank: int, x: Any, weight: Any, bias: Any, geometry: tuple[Any, ...]) -> Array:
    x, kernel = as_array("x", x), as_array("weight", weight)
    dtype = floats(x.dtype, kernel.dtype)
    if kernel.ndim != 2 * rank + 2:
        raise ValueError(f"weight must have {2 * rank + 2} dimensions, (O, C/groups, *kernel, *out_size); "
                         f"got shape {kernel.shape}")  # fmt: skip
    problem, shape, empty = calls.described(rank, False, x.shape, kernel.shape[: rank + 2], dtype, geometry)
    if kernel.shape[rank + 2 :] != shape[2:]:
        raise ValueError(f"weight must end in the size of the result, {shape[2:]}; got shape {kernel.shape}")
    y, b = np.empty(shape, dtype), _bias(bias, problem, shape, dtype)
    if empty:
        y[...] = b
        return y
    from numbaconv.blocking import unshared

    unshared.work(problem).run(ready(x, dtype), ready(kernel, dtype), b, y, calls.thread_count(None))
    return y


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

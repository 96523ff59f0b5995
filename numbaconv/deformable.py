"""Deformable convolution: each tap of each output reads where its own offset says, between pixels too.

    y[n, o, p] = b[o] + sum over c, t of  w[o, c, t] * mask[n, t, p] * x(n, c, at[n, t, p])
    at[n, t, p] = p*stride + t*dilation - lo + offset[n, t, p]

``x(...)`` is linear between neighbouring pixels along each axis, and zero outside. Without masks this is version 1 (Dai
et al. 2017, "Deformable Convolutional Networks"), with them version 2 (Zhu et al. 2018, "Deformable ConvNets v2").
"""

from __future__ import annotations

from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.arrays import Array, as_array, bias_of, floats, ready
from numbaconv.problem import ConvProblem, Ints, Padding, per_axis


def deform_conv1d(
    x: npt.ArrayLike,
    offset: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    mask: npt.ArrayLike | None = None,
    groups: SupportsIndex = 1,
    offset_groups: SupportsIndex = 1,
) -> Array:
    """1-D deformable convolution; all is as in `deform_conv2d`, with one value of ``offset`` for each tap.

    Examples
    --------
    >>> import numpy as np
    >>> deform_conv1d(np.array([[[0., 10., 20.]]]), np.full((1, 1, 3), 0.5), np.ones((1, 1, 1)))
    array([[[ 5., 15., 10.]]])
    """
    return _deformed(1, x, offset, weight, bias, (stride, padding, dilation, groups), mask, offset_groups)


def deform_conv2d(
    x: npt.ArrayLike,
    offset: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    mask: npt.ArrayLike | None = None,
    groups: SupportsIndex = 1,
    offset_groups: SupportsIndex = 1,
) -> Array:
    """2-D deformable convolution: the arguments of ``torchvision.ops.deform_conv2d``, the sums of ONNX DeformConv.

    y[n, o, p] = bias[o] + sum over c, t of  weight[o, c, t] * mask[n, t, p] * x(n, c, p*stride + t*dilation - lo +
    offset[n, t, p]), where x(...) is bilinear between pixels and zero outside

    Parameters
    ----------
    x : array_like, (N, C, H, W)
        Input, float32 or float64.
    offset : array_like, (N, 2*offset_groups*kh*kw, oh, ow)
        For each offset group and tap a pair (dy, dx), which is added to the place that the tap reads.
    weight : array_like, (O, C/groups, kh, kw)
        Filters.
    bias : array_like, (O,), optional
        Added to each output channel.
    stride, padding, dilation, groups
        As in `conv2d`.
    mask : array_like, (N, offset_groups*kh*kw, oh, ow), optional
        What each sample is multiplied by.
    offset_groups : int
        Channels are split into this many parts, each with offsets of its own; must divide C.

    Returns
    -------
    ndarray, (N, O, oh, ow)
        Of the promoted dtype of x and weight.

    Raises
    ------
    ValueError
        Shapes and geometry that do not fit; the message says what would.
    TypeError
        Dtypes other than float32 and float64.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(4.0).reshape(1, 1, 2, 2)
    >>> deform_conv2d(x, np.zeros((1, 2, 2, 2)), np.ones((1, 1, 1, 1)))
    array([[[[0., 1.],
             [2., 3.]]]])
    """
    return _deformed(2, x, offset, weight, bias, (stride, padding, dilation, groups), mask, offset_groups)


def deform_conv3d(
    x: npt.ArrayLike,
    offset: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    mask: npt.ArrayLike | None = None,
    groups: SupportsIndex = 1,
    offset_groups: SupportsIndex = 1,
) -> Array:
    """3-D deformable convolution; all is as in `deform_conv2d`, with (dz, dy, dx) for each tap.

    Examples
    --------
    >>> import numpy as np
    >>> deform_conv3d(np.ones((1, 1, 1, 1, 2)), np.zeros((1, 3, 1, 1, 2)), np.ones((1, 1, 1, 1, 1)))
    array([[[[[1., 1.]]]]])
    """
    return _deformed(3, x, offset, weight, bias, (stride, padding, dilation, groups), mask, offset_groups)


def _deformed(
    rank: int, x: Any, offset: Any, weight: Any, bias: Any, geometry: tuple[Any, ...], mask: Any, offset_groups: Any
) -> Array:
    x, kernel, moves = as_array("x", x), as_array("weight", weight), as_array("offset", offset)
    dtype = floats(x.dtype, kernel.dtype)
    problem, shape, empty = calls.described(rank, False, x.shape, kernel.shape, dtype, geometry)
    (parts,) = per_axis("offset_groups", offset_groups, 1, least=1)
    if problem.in_channels % parts:
        raise ValueError(f"offset_groups must divide the {problem.in_channels} channels of x; got {parts}")
    given = [_checked("offset", moves, problem, rank * parts, shape, dtype)]
    if mask is not None:
        given.append(_checked("mask", as_array("mask", mask), problem, parts, shape, dtype))
    b = np.zeros(problem.out_channels, dtype) if bias is None else bias_of(bias, problem, dtype)
    y = np.empty(shape, dtype)
    if empty:
        y[...] = b.reshape(-1, *(1,) * rank)
        return y
    r = given[0] if mask is None else np.concatenate([part.ravel() for part in given])
    from numbaconv import machine
    from numbaconv.blocking import deformed

    launched = deformed.work(problem, machine.host(), parts, mask is not None)
    launched.run(ready(x, dtype), ready(kernel, dtype), b, y, calls.thread_count(None), r)
    return y


def _checked(
    name: str, given: Array, problem: ConvProblem, each: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Offsets or masks of the shape that the problem has them in, ``each`` for a tap."""
    fits = (problem.batch, each * problem.taps, *shape[2:])
    if given.shape != fits:
        raise ValueError(f"{name} must have shape {fits}; got {given.shape}")
    if given.dtype.kind != "f":
        raise TypeError(f"{name} must be of a float dtype; got {given.dtype}")
    return ready(given, dtype)

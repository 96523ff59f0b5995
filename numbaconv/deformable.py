"""Deformable convolution and its gradients: each tap of each output reads where its own offset says.

    y[n, o, p] = b[o] + sum over c, t of  w[o, c, t] * mask[n, t, p] * x(n, c, at[n, t, p])
    at[n, t, p] = p*stride + t*dilation - lo + offset[n, t, p]

``x(...)`` is linear between neighbouring pixels along each axis, and zero outside; where ``at`` is exactly a pixel, its
derivative is taken to be that to the right, and farther outside than one pixel it is zero. Without masks this is
version 1 (Dai et al. 2017, "Deformable Convolutional Networks"), with them version 2 (Zhu et al. 2018, "Deformable
ConvNets v2").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.arrays import Array, as_array, bias_of, floats, ready
from numbaconv.problem import ConvProblem, Ints, Padding, per_axis

PANEL = 32 * 2**20  # bytes of what the samples of some images get at a time, one at least
EVERY = (True,) * 5


class DeformGradients(NamedTuple):
    """What `deform_conv2d_backward` and its kin return; None where a gradient was not asked for."""

    x: Array | None
    offset: Array | None
    mask: Array | None
    weight: Array | None
    bias: Array | None


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


def deform_conv1d_backward(
    grad_output: npt.ArrayLike,
    x: npt.ArrayLike,
    offset: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    mask: npt.ArrayLike | None = None,
    groups: SupportsIndex = 1,
    offset_groups: SupportsIndex = 1,
    output_mask: Sequence[bool] = EVERY,
) -> DeformGradients:
    """Gradients of `deform_conv1d`; all is as in `deform_conv2d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[0., 10., 30.]]])
    >>> deform_conv1d_backward(np.ones((1, 1, 3)), x, np.full((1, 1, 3), 0.5), np.ones((1, 1, 1))).offset
    array([[[ 10.,  20., -30.]]])
    """
    geometry = (stride, padding, dilation, groups)
    return _backward(1, grad_output, x, offset, weight, geometry, mask, offset_groups, output_mask)


def deform_conv2d_backward(
    grad_output: npt.ArrayLike,
    x: npt.ArrayLike,
    offset: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    mask: npt.ArrayLike | None = None,
    groups: SupportsIndex = 1,
    offset_groups: SupportsIndex = 1,
    output_mask: Sequence[bool] = EVERY,
) -> DeformGradients:
    """Gradients of `deform_conv2d` for its input, offsets, masks, weights and bias, each only if it is asked for.

    dpanel[n, c, t, p] = sum over o of  weight[o, c, t] * grad_output[n, o, p]          (c, t) at[n, t, p] as above
    dx[n, c, i]     += dpanel[n, c, t, p] * mask[n, t, p] * share(i)       for the pixels i around at
    doffset[n, t, p] = sum over c of  dpanel[n, c, t, p] * mask[n, t, p] * slope of x(n, c, at)
    dmask[n, t, p]   = sum over c of  dpanel[n, c, t, p] * x(n, c, at)
    dweight[o, c, t] = sum over n, p of  grad_output[n, o, p] * mask[n, t, p] * x(n, c, at)

    x(...) has a bend at each pixel: a sample exactly there gives an offset the slope to the right (down, deeper), as
    torchvision does, and all of its gradient to the one pixel. A sample a pixel or more outside gives and gets nothing.

    Parameters
    ----------
    grad_output : array_like, (N, O, oh, ow)
        Gradient for the result.
    x, offset, weight, stride, padding, dilation, mask, groups, offset_groups
        As given to `deform_conv2d`.
    output_mask : five bools
        Which gradients to compute: for ``x``, ``offset``, ``mask``, ``weight``, bias.

    Returns
    -------
    DeformGradients
        A named tuple ``(x, offset, mask, weight, bias)`` of the promoted dtype of x and weight, with None for what was
        not asked for, and for a mask that was not given. The same bits for the same number of threads.

    Raises
    ------
    ValueError
        Shapes and geometry that do not fit; the message says what would.
    TypeError
        Dtypes other than float32 and float64.

    Examples
    --------
    >>> import numpy as np
    >>> x, offset = np.array([[[[0., 10., 30.]]]]), np.zeros((1, 2, 1, 2)) + 0.5
    >>> offset[:, 0] = 0
    >>> dy, weight = np.ones((1, 1, 1, 2)), np.ones((1, 1, 1, 1))
    >>> gradients = deform_conv2d_backward(dy, x, offset, weight, padding=(0, (0, -1)))
    >>> gradients.x, gradients.offset[0, 1], gradients.weight.item()
    (array([[[[0.5, 1. , 0.5]]]]), array([[10., 20.]]), 25.0)
    """
    geometry = (stride, padding, dilation, groups)
    return _backward(2, grad_output, x, offset, weight, geometry, mask, offset_groups, output_mask)


def deform_conv3d_backward(
    grad_output: npt.ArrayLike,
    x: npt.ArrayLike,
    offset: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    mask: npt.ArrayLike | None = None,
    groups: SupportsIndex = 1,
    offset_groups: SupportsIndex = 1,
    output_mask: Sequence[bool] = EVERY,
) -> DeformGradients:
    """Gradients of `deform_conv3d`; all is as in `deform_conv2d_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> ones = np.ones((1, 1, 1, 1, 2))
    >>> deform_conv3d_backward(ones, ones, np.zeros((1, 3, 1, 1, 2)), np.ones((1, 1, 1, 1, 1))).x
    array([[[[[1., 1.]]]]])
    """
    geometry = (stride, padding, dilation, groups)
    return _backward(3, grad_output, x, offset, weight, geometry, mask, offset_groups, output_mask)


def _deformed(
    rank: int, x: Any, offset: Any, weight: Any, bias: Any, geometry: tuple[Any, ...], mask: Any, offset_groups: Any
) -> Array:
    x, kernel = as_array("x", x), as_array("weight", weight)
    dtype = floats(x.dtype, kernel.dtype)
    problem, shape, empty = calls.described(rank, False, x.shape, kernel.shape, dtype, geometry)
    parts, moves = _moves(problem, shape, offset, mask, offset_groups, dtype)
    b = np.zeros(problem.out_channels, dtype) if bias is None else bias_of(bias, problem, dtype)
    y = np.empty(shape, dtype)
    if empty:
        y[...] = b.reshape(-1, *(1,) * rank)
        return y
    from numbaconv import machine
    from numbaconv.blocking import deformed

    launched = deformed.work(problem, machine.host(), parts, mask is not None)
    launched.run(ready(x, dtype), ready(kernel, dtype), b, y, calls.thread_count(None), _together(moves))
    return y


def _backward(
    rank: int,
    grad_output: Any,
    x: Any,
    offset: Any,
    weight: Any,
    geometry: tuple[Any, ...],
    mask: Any,
    offset_groups: Any,
    output_mask: Any,
) -> DeformGradients:
    given, data, kernel = as_array("grad_output", grad_output), as_array("x", x), as_array("weight", weight)
    dtype = floats(data.dtype, kernel.dtype)
    problem, shape, empty = calls.described(rank, False, data.shape, kernel.shape, dtype, geometry)
    parts, moves = _moves(problem, shape, offset, mask, offset_groups, dtype)
    if given.shape != shape:
        raise ValueError(f"grad_output must have the shape of the convolution's result, {shape}; got {given.shape}")
    if given.dtype.kind != "f":
        raise TypeError(f"grad_output must be of a float dtype; got {given.dtype}")
    try:
        for_x, for_offset, for_mask, for_weight, for_bias = map(bool, output_mask)
    except (TypeError, ValueError):
        raise ValueError(
            f"output_mask must be five bools, for x, offset, mask, weight and bias; got {output_mask!r}"
        ) from None
    data, kernel, dy = ready(data, dtype), ready(kernel, dtype), ready(given, dtype)
    dx = np.zeros(data.shape, dtype) if for_x else None
    d_moves = [np.zeros(move.shape, dtype) for move in moves]
    dw = np.zeros(kernel.shape, dtype) if for_weight else None
    few = max(1, PANEL // max(1, problem.in_channels * problem.taps * problem.pixels * dtype.itemsize))
    for n in range(0, 0 if empty else problem.batch, few):
        own = slice(n, n + few)
        images = _Images(replace(problem, batch=len(dy[own])), parts, [move[own] for move in moves], dy[own])
        panel = images.panel(kernel)
        if dx is not None:
            images.scatter(panel, dx[own])
        if for_offset or for_mask or for_weight:
            found = images.moved(data[own], panel)
            for part, values in zip(d_moves, found, strict=False):
                part[own] = values.reshape(part[own].shape)
            if dw is not None:
                dw += images.weight(found[-1]).reshape(dw.shape)
    return DeformGradients(
        dx,
        d_moves[0] if for_offset else None,
        d_moves[1] if for_mask and mask is not None else None,
        dw,
        dy.sum(axis=tuple(range(2, rank + 2))).sum(axis=0) if for_bias else None,
    )


class _Images(NamedTuple):
    """The steps of the gradients for a few images, as `blocking.deformed_gradients` has them."""

    problem: ConvProblem
    parts: int  # offset groups
    moves: list[Array]
    dy: Array

    def panel(self, kernel: Array) -> Array:
        """What each sample gets of ``dy``, (N, C*taps, pixels): a transposed convolution of one tap."""
        problem = self.problem
        dy, weight = self.dy.reshape(*self.dy.shape[:2], -1), kernel.reshape(problem.out_channels, -1, 1)
        one, shape, _ = calls.described(1, True, dy.shape, weight.shape, dy.dtype, (1, 0, 0, problem.groups))
        return calls.compute(one, dy, weight, None, None, shape, None, calls.thread_count(None), False)

    def weight(self, samples: Array) -> Array:
        """The gradient for the weights, (O, C/groups*taps, 1), of one tap too."""
        problem = self.problem
        dy, size = self.dy.reshape(*self.dy.shape[:2], -1), (problem.out_channels, problem.terms, 1)
        samples = samples.reshape(len(dy), -1, problem.pixels)
        one, _, _ = calls.described(1, False, samples.shape, size, dy.dtype, (1, 0, 1, problem.groups))
        gradient = one.weight_gradient()
        return calls.compute(gradient, samples, dy, None, None, size, None, calls.thread_count(None), False)

    def scatter(self, panel: Array, dx: Array) -> None:
        """Fill ``dx``."""
        self._run("SCATTER", panel, panel, dx)

    def moved(self, x: Array, panel: Array) -> list[Array]:
        """The gradients for offsets and, if there are any, masks; and the samples."""
        sizes = [*(move.size for move in self.moves), panel.size]
        found = np.empty(sum(sizes), panel.dtype)
        self._run("MOVES", x, panel, found)
        return np.split(found, np.cumsum(sizes[:-1]))

    def _run(self, kernel: str, x: Array, w: Array, y: Array) -> None:
        from numbaconv import machine
        from numbaconv.blocking import deformed_gradients

        masked, launched = len(self.moves) > 1, getattr(deformed_gradients, kernel)
        work = deformed_gradients.work(self.problem, machine.host(), self.parts, masked, launched)
        work.run(x, w, x, y, calls.thread_count(None), _together(self.moves))


def _moves(
    problem: ConvProblem, shape: tuple[int, ...], offset: Any, mask: Any, offset_groups: Any, dtype: np.dtype[Any]
) -> tuple[int, list[Array]]:
    """(offset groups, offsets and, if there are any, masks)."""
    (parts,) = per_axis("offset_groups", offset_groups, 1, least=1)
    if problem.in_channels % parts:
        raise ValueError(f"offset_groups must divide the {problem.in_channels} channels of x; got {parts}")
    moves = [_checked("offset", as_array("offset", offset), problem, problem.rank * parts, shape, dtype)]
    if mask is not None:
        moves.append(_checked("mask", as_array("mask", mask), problem, parts, shape, dtype))
    return parts, moves


def _together(moves: list[Array]) -> Array:
    """One after the other, as kernels read them."""
    return moves[0] if len(moves) == 1 else np.concatenate([move.ravel() for move in moves])


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

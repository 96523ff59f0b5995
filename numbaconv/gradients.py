"""Gradients of convolutions: each is a convolution again, described from the problem whose gradient it is.

    dx[n, c, p*stride + t*dilation - lo] += sum over o of     weight[o, c, t] * dy[n, o, p]     for all p, t
    dweight[o, c, t]                      = sum over n, p of  dy[n, o, p] * x[n, c, p*stride + t*dilation - lo]
    dbias[o]                              = sum over n, p of  dy[n, o, p]

The first is a transposed convolution of dy, the second a convolution of x whose kernel is dy: `ConvProblem.adjoint` and
`ConvProblem.weight_gradient`. Those of a transposed convolution are the same two with x and dy in each other's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, SupportsIndex, Unpack

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.arrays import KINDS, Array, as_array, check_out, promoted, ready
from numbaconv.calls import GradientOptions
from numbaconv.documentation import documented
from numbaconv.layout import Layout, layout_of
from numbaconv.problem import DEFAULT_ORDER, ConvProblem, Ints, Padding, shape_of

Shape = Sequence[SupportsIndex]


class Gradients(NamedTuple):
    """What `conv_backward` returns; None where a gradient was not asked for."""

    x: Array | None
    weight: Array | None
    bias: Array | None


@documented
def conv1d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv1d` for its input.

    $input

    Examples
    --------
    >>> import numpy as np
    >>> conv1d_input((1, 4), np.array([[[1., 2.]]]), np.array([[1., 0., 10.]]))
    array([[ 1.,  2., 10., 20.]])
    """
    return _for_input(1, False, input_size, weight, grad_output, (stride, padding, dilation, groups), options)


@documented
def conv2d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv2d` for its input.

    $input

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_input((1, 1, 2, 3), np.array([[[[1., 2.]]]]), np.array([[[[1., 0.], [0., 1.]]]]))
    array([[[[1., 2., 0.],
             [0., 1., 2.]]]])
    """
    return _for_input(2, False, input_size, weight, grad_output, (stride, padding, dilation, groups), options)


@documented
def conv3d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv3d` for its input.

    $input

    Examples
    --------
    >>> import numpy as np
    >>> conv3d_input((1, 1, 1, 1, 3), np.ones((1, 1, 1, 1, 2)), np.ones((1, 1, 1, 1, 2)))
    array([[[[[1., 2., 1.]]]]])
    """
    return _for_input(3, False, input_size, weight, grad_output, (stride, padding, dilation, groups), options)


@documented
def conv1d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv1d` for its weights.

    $weight

    Examples
    --------
    >>> import numpy as np
    >>> conv1d_weight(np.array([[1., 2., 3., 4.]]), (1, 1, 2), np.array([[1., 0., 10.]]))
    array([[[31., 42.]]])
    """
    return _for_weight(1, False, x, weight_size, grad_output, (stride, padding, dilation, groups), options)


@documented
def conv2d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv2d` for its weights.

    $weight

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_weight(np.arange(6.).reshape(1, 1, 2, 3), (1, 1, 1, 2), np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.]]]])
    """
    return _for_weight(2, False, x, weight_size, grad_output, (stride, padding, dilation, groups), options)


@documented
def conv3d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv3d` for its weights.

    $weight

    Examples
    --------
    >>> import numpy as np
    >>> conv3d_weight(np.ones((1, 1, 3, 3, 3)), (1, 1, 1, 1, 1), np.ones((1, 1, 3, 3, 3)))
    array([[[[[27.]]]]])
    """
    return _for_weight(3, False, x, weight_size, grad_output, (stride, padding, dilation, groups), options)


@documented
def conv_transpose1d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv_transpose1d` for its input.

    $input

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose1d_input((1, 2), np.array([[[1., 10., 100.]]]), np.ones((1, 5)), stride=2)
    array([[111., 111.]])
    """
    return _for_input(
        1, True, input_size, weight, grad_output, (stride, padding, output_padding, groups, dilation), options
    )


@documented
def conv_transpose2d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv_transpose2d` for its input.

    $input

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d_input((1, 1, 2), np.ones((1, 1, 2, 2)), np.ones((1, 2, 4)), stride=2)
    array([[[4., 4.]]])
    """
    return _for_input(
        2, True, input_size, weight, grad_output, (stride, padding, output_padding, groups, dilation), options
    )


@documented
def conv_transpose3d_input(
    input_size: Shape,
    weight: npt.ArrayLike,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv_transpose3d` for its input.

    $input

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose3d_input((1, 1, 1, 1, 2), np.ones((1, 1, 1, 1, 2)), np.ones((1, 1, 1, 1, 3)))
    array([[[[[2., 2.]]]]])
    """
    return _for_input(
        3, True, input_size, weight, grad_output, (stride, padding, output_padding, groups, dilation), options
    )


@documented
def conv_transpose1d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv_transpose1d` for its weights.

    $weight

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose1d_weight(np.array([[1., 2.]]), (1, 1, 3), np.arange(5.)[None], stride=2)
    array([[[ 4.,  7., 10.]]])
    """
    return _for_weight(
        1, True, x, weight_size, grad_output, (stride, padding, output_padding, groups, dilation), options
    )


@documented
def conv_transpose2d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv_transpose2d` for its weights.

    $weight

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d_weight(np.array([[[1., 2.]]]), (1, 1, 1, 2), np.ones((1, 1, 4)), stride=(1, 2))
    array([[[[3., 3.]]]])
    """
    return _for_weight(
        2, True, x, weight_size, grad_output, (stride, padding, output_padding, groups, dilation), options
    )


@documented
def conv_transpose3d_weight(
    x: npt.ArrayLike,
    weight_size: Shape,
    grad_output: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    **options: Unpack[GradientOptions],
) -> Array:
    """Gradient of `conv_transpose3d` for its weights.

    $weight

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose3d_weight(np.ones((1, 1, 2, 2, 2)), (1, 1, 1, 1, 1), np.ones((1, 1, 2, 2, 2)))
    array([[[[[8.]]]]])
    """
    return _for_weight(
        3, True, x, weight_size, grad_output, (stride, padding, output_padding, groups, dilation), options
    )


def conv_backward(
    grad_output: npt.ArrayLike,
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    transposed: bool = False,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    output_mask: Sequence[bool] = (True, True, True),
    *,
    per_sample: bool = False,
    dimension_numbers: str | tuple[str, str, str] | None = None,
    num_threads: int | None = None,
) -> Gradients:
    """Gradients of a convolution for its input, its weights and its bias, each only if it is asked for.

    The arguments are those of ``torch.ops.aten.convolution_backward``; the rank is that of ``weight``.

    Parameters
    ----------
    grad_output : array_like
        Gradient for the result of the convolution, of its shape.
    x, weight, stride, padding, dilation, groups
        As given to `conv1d`, `conv2d` or `conv3d`, padding words and pairs included; zeros are its only padding.
    transposed : bool
        The convolution was `conv_transpose2d` or its kin; then ``output_padding`` counts too.
    output_mask : three bools
        Which gradients to compute: for ``x``, ``weight``, bias.
    per_sample : bool
        ``weight`` is ``(N, ...)``, weights for each image of ``x``; then the gradient for the bias is (N, O), whose sum
        over N is that of a shared bias.
    dimension_numbers : str or tuple of 3 str, optional
        The order of axes of x, weight and grad_output, as given to the convolution; gradients are in it, too.
    num_threads : int, optional
        For this call; by default `get_num_threads()`.

    Returns
    -------
    Gradients
        A named tuple ``(x, weight, bias)``, with None for what was not asked for.

    Raises
    ------
    ValueError, TypeError, OverflowError
        As the functions for each of them, `conv2d_input` and `conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> gradients = conv_backward(np.ones((1, 1, 2)), np.array([[[1., 2., 3.]]]), np.array([[[1., 10.]]]))
    >>> gradients.x, gradients.weight, gradients.bias
    (array([[[ 1., 11., 10.]]]), array([[[3., 5.]]]), array([2.]))
    """
    dy, data, kernel = as_array("grad_output", grad_output), as_array("x", x), as_array("weight", weight)
    rank = kernel.ndim - 3 if per_sample else kernel.ndim - 2
    if rank not in (1, 2, 3):
        more = "4, 5 or 6 dimensions, for per_sample=True" if per_sample else "3, 4 or 5 dimensions, for"
        raise ValueError(f"weight must have {more} 1-D, 2-D or 3-D convolution; got {kernel.ndim}")
    try:
        for_input, for_weight, for_bias = map(bool, output_mask)
    except (TypeError, ValueError):
        raise ValueError(f"output_mask must be three bools, for x, weight and bias; got {output_mask!r}") from None
    layout = layout_of(dimension_numbers, rank, bool(transposed))
    geometry: tuple[Any, ...] = (stride, padding, dilation, groups)
    if transposed:
        geometry = (stride, padding, output_padding, groups, dilation)
    elif (type(output_padding) is not int or output_padding) and np.asarray(output_padding).any():
        raise ValueError(f"output_padding is for transposed=True, else 0; got {output_padding!r}")
    dtype = promoted(promoted(data.dtype, kernel.dtype), dy.dtype, ("x and weight", "grad_output"))
    problem = _problem(rank, bool(transposed), data.shape, kernel.shape, dy.shape, dtype, geometry, layout)
    how = _how({"num_threads": num_threads})
    sums = dy if layout is None else layout.channels_first(dy, layout.y)
    return Gradients(
        _input(problem, data.shape, kernel, dy, dtype, None, how, layout) if for_input else None,
        _weight_in(layout, problem, data, kernel.shape, dy, dtype, None, how) if for_weight else None,
        (_image_bias(rank, dy) if per_sample else _bias(rank, sums)) if for_bias else None,
    )


def _for_input(
    rank: int,
    transposed: bool,
    input_size: Any,
    weight: Any,
    dy: Any,
    geometry: tuple[Any, ...],
    options: GradientOptions,
) -> Array:
    calls.check_options(options, GradientOptions)
    kernel, given = as_array("weight", weight), as_array("grad_output", dy)
    dtype = promoted(kernel.dtype, given.dtype, ("weight", "grad_output"))
    size = shape_of("input_size", input_size)
    layout = layout_of(options.get("dimension_numbers"), rank, transposed)
    problem = _problem(rank, transposed, size, kernel.shape, given.shape, dtype, geometry, layout)
    how, out = _how(options), options.get("out")
    if out is not None:
        check_out(out, size, dtype, weight=kernel, grad_output=given)
    return _input(problem, size, kernel, given, dtype, out, how, layout)


def _how(options: GradientOptions) -> tuple[str | None, int, bool]:
    """(strategy, threads, strict) of a call."""
    return options.get("strategy"), calls.thread_count(options.get("num_threads")), calls.is_strict(options)


def _input(
    problem: ConvProblem,
    size: tuple[int, ...],
    kernel: Array,
    dy: Array,
    dtype: np.dtype[Any],
    out: Array | None,
    how: tuple[str | None, int, bool],
    layout: Layout | None,
) -> Array:
    """The adjoint problem, of dy and the same weights."""
    data = ready(dy if dy.ndim == problem.rank + 2 else dy.reshape(problem.y_shape), dtype)
    if layout is not None:
        kernel = layout.weights(kernel)
    if kernel.ndim == problem.rank + 3:
        data, kernel = data.reshape(problem.y_shape), kernel.reshape(problem.w_shape)
        own = problem.x_shape
        return calls.reshaped(
            size, own, out, lambda y: calls.compute(_adjoint(problem), data, kernel, None, y, own, *how)
        )
    return calls.compute(_adjoint(problem), data, kernel, None, out, size, *how)


def _for_weight(
    rank: int, transposed: bool, x: Any, weight_size: Any, dy: Any, geometry: tuple[Any, ...], options: GradientOptions
) -> Array:
    calls.check_options(options, GradientOptions)
    data, given = as_array("x", x), as_array("grad_output", dy)
    dtype = promoted(data.dtype, given.dtype, ("x", "grad_output"))
    size = shape_of("weight_size", weight_size)
    layout = layout_of(options.get("dimension_numbers"), rank, transposed)
    problem = _problem(rank, transposed, data.shape, size, given.shape, dtype, geometry, layout)
    how, out = _how(options), options.get("out")
    if out is not None:
        check_out(out, size, dtype, x=data, grad_output=given)
    return _weight_in(layout, problem, data, size, given, dtype, out, how)


def _weight_in(
    layout: Layout | None,
    problem: ConvProblem,
    x: Array,
    size: tuple[int, ...],
    dy: Array,
    dtype: np.dtype[Any],
    out: Array | None,
    how: tuple[str | None, int, bool],
) -> Array:
    """`_weight`, of copies of x and dy where they lie in another order: its sums run over images and pixels."""
    if layout is None:
        return _weight(problem, x, size, dy, dtype, out, how)
    dw = np.empty(size, dtype) if out is None else out
    first = replace(problem, x_order=DEFAULT_ORDER, y_order=DEFAULT_ORDER)
    x, dy = layout.channels_first(x, layout.x), layout.channels_first(dy, layout.y)
    _weight(first, x, layout.weights_shape(size), dy, dtype, layout.weights(dw), how)
    return dw


def _weight(
    problem: ConvProblem,
    x: Array,
    size: tuple[int, ...],
    dy: Array,
    dtype: np.dtype[Any],
    out: Array | None,
    how: tuple[str | None, int, bool],
) -> Array:
    """The weight gradient of the problem, or, with x and dy in each other's place, of its adjoint."""
    if len(size) == problem.rank + 3:
        x, dy = ready(x, dtype).reshape(problem.x_shape), ready(dy, dtype).reshape(problem.y_shape)
        own = problem.w_shape
        return calls.reshaped(size, own, out, lambda dw: _weight(problem, x, own, dy, dtype, dw, how))
    image, kernel = (dy, x) if problem.transposed else (x, dy)
    if image.ndim == problem.rank + 1:
        image, kernel = image[None], kernel[None]
    gradient, image = _weight_gradient(problem), ready(image, dtype)
    return calls.compute(gradient, image, ready(kernel, dtype), None, out, size, *how)


def _image_bias(rank: int, dy: Array) -> Array:
    """Sums of each image on its own."""
    own = dy.reshape(1, dy.shape[0] * dy.shape[1], *dy.shape[2:])
    return _bias(rank, own).reshape(dy.shape[:2])


def _bias(rank: int, dy: Array) -> Array:
    """Sums in pairs over the pixels, then image by image; integers exactly, float16 in float32."""
    dtype = promoted(dy.dtype, dy.dtype, ("grad_output", "grad_output"))
    data = dy.reshape(-1, dy.shape[-rank - 1], int(np.prod(dy.shape[dy.ndim - rank :])))
    if dtype.kind == "b":
        total: Array = np.asarray(data.any(axis=(0, 2)))
    elif KINDS[dtype.kind] == "integer":
        total = (data.astype(object) if data.itemsize == 8 else data).sum(axis=(0, 2))
        if total.size and not np.iinfo(dtype).min <= min(total) <= max(total) <= np.iinfo(dtype).max:
            raise OverflowError(f"a sum does not fit the dtype {dtype} of grad_output; convert it to a wider one")
    else:
        total = data.sum(axis=2, dtype=np.float32 if dtype == np.float16 else dtype).sum(axis=0)
    return total.astype(dtype, copy=False)


def _problem(
    rank: int,
    transposed: bool,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dy_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
    layout: Layout | None,
) -> ConvProblem:
    """The problem whose gradient is asked for; dy has the shape of its result."""
    if len(w_shape) == rank + 3:
        calls.check_images_first(layout)
        problem, shape = calls.images_described(rank, transposed, x_shape, w_shape, dtype, geometry)
    elif layout is not None:
        w_shape = layout.weights_shape(w_shape)
        batched = layout.batched(x_shape)
        problem, shape, _ = calls.described(rank, transposed, batched, w_shape, dtype, geometry, layout=layout)
        shape = shape if batched == x_shape else layout.unbatched(shape)
    else:
        batched = (1, *x_shape) if len(x_shape) == rank + 1 else x_shape
        problem, shape, _ = calls.described(rank, transposed, batched, w_shape, dtype, geometry)
        shape = shape[len(batched) - len(x_shape) :]
    if dy_shape != shape:
        raise ValueError(f"grad_output must have the shape of the convolution's result, {shape}; got {dy_shape}")
    return problem


@lru_cache(4096)
def _adjoint(problem: ConvProblem) -> ConvProblem:
    return problem.adjoint()


@lru_cache(4096)
def _weight_gradient(problem: ConvProblem) -> ConvProblem:
    """Of the folded problem: fewer axes are longer runs of pixels."""
    return (problem.adjoint() if problem.transposed else problem).folded().weight_gradient()

"""The public functions: each hands what it was given to the path of a call in `calls`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, Unpack

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.arrays import Array
from numbaconv.calls import CallOptions, ExplainOptions, PlanOptions, PreparedConv
from numbaconv.documentation import documented
from numbaconv.problem import Ints, Padding


@documented
def conv1d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[CallOptions],
) -> Array:
    """1-D convolution, as deep learning means it: the kernel is not flipped.

    $forward

    Examples
    --------
    >>> import numpy as np
    >>> conv1d(np.array([[1., 2., 3., 4.]]), np.array([[[1., 0., -1.]]]), padding=1)
    array([[-2., -2., -2.,  3.]])
    """
    return calls.convolve(1, False, x, weight, bias, (stride, padding, dilation, groups), options)


@documented
def conv2d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[CallOptions],
) -> Array:
    """2-D convolution, as deep learning means it: the kernel is not flipped.

    $forward

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d(x, np.ones((1, 1, 2, 2)))
    array([[[[ 8., 12.],
             [20., 24.]]]])
    >>> conv2d(x, np.ones((1, 1, 2, 2)), [-16.0], activation="relu", epilogue=lambda value: value / 2)
    array([[[[0., 0.],
             [2., 4.]]]])
    >>> conv2d(x[..., :1], np.ones((1, 1, 1, 3)), padding=(0, 2), padding_mode="replicate")
    array([[[[ 0.,  0.,  0.],
             [ 9.,  9.,  9.],
             [18., 18., 18.]]]])
    >>> conv2d(np.array([[[0, 255]]], np.uint8), np.ones((1, 1, 1, 1), np.float32), prologue=lambda v: v / 255)
    array([[[0., 1.]]], dtype=float32)
    >>> conv2d(np.ones((1, 6, 5, 3)), np.ones((3, 3, 3, 8)), dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
    (1, 4, 3, 8)
    """
    return calls.convolve(2, False, x, weight, bias, (stride, padding, dilation, groups), options)


@documented
def conv3d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[CallOptions],
) -> Array:
    """3-D convolution, as deep learning means it: the kernel is not flipped.

    $forward

    Examples
    --------
    >>> import numpy as np
    >>> conv3d(np.ones((1, 1, 3, 3, 3)), np.ones((1, 1, 3, 3, 3)))
    array([[[[[27.]]]]])
    """
    return calls.convolve(3, False, x, weight, bias, (stride, padding, dilation, groups), options)


@documented
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
    **options: Unpack[CallOptions],
) -> Array:
    """1-D transposed convolution: the gradient of `conv1d` for its input, as an operation of its own.

    $transposed

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose1d(np.array([[1., 2.]]), np.array([[[1., 10., 100.]]]), stride=2)
    array([[  1.,  10., 102.,  20., 200.]])
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return calls.convolve(1, True, x, weight, bias, geometry, options)


@documented
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
    **options: Unpack[CallOptions],
) -> Array:
    """2-D transposed convolution: the gradient of `conv2d` for its input, as an operation of its own.

    $transposed

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d(np.array([[[1., 2.]]]), np.ones((1, 1, 2, 2)), stride=2)
    array([[[1., 1., 2., 2.],
            [1., 1., 2., 2.]]])
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return calls.convolve(2, True, x, weight, bias, geometry, options)


@documented
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
    **options: Unpack[CallOptions],
) -> Array:
    """3-D transposed convolution: the gradient of `conv3d` for its input, as an operation of its own.

    $transposed

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose3d(np.ones((1, 1, 1, 1, 2)), np.ones((1, 1, 1, 1, 2)))
    array([[[[[1., 2., 1.]]]]])
    """
    geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return calls.convolve(3, True, x, weight, bias, geometry, options)


@documented
def plan_conv1d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[PlanOptions],
) -> PreparedConv:
    """Plan `conv1d` for inputs of one shape, its weights packed once: ``plan(x, out=None, residual=None)``.

    $plan

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv1d((1, 1, 3), np.ones((2, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3)
    >>> plan(np.ones((1, 1, 3))).shape
    (1, 2, 3)
    """
    return calls.prepare(1, False, input_shape, weight, bias, (stride, padding, dilation, groups), options)


@documented
def plan_conv2d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[PlanOptions],
) -> PreparedConv:
    """Plan `conv2d` for inputs of one shape, its weights packed once: ``plan(x, out=None, residual=None)``.

    $plan

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv2d((1, 1, 3, 3), np.ones((2, 1, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3, 3)
    >>> plan(np.ones((1, 1, 3, 3))).shape
    (1, 2, 3, 3)
    """
    return calls.prepare(2, False, input_shape, weight, bias, (stride, padding, dilation, groups), options)


@documented
def plan_conv3d(
    input_shape: Sequence[SupportsIndex],
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    **options: Unpack[PlanOptions],
) -> PreparedConv:
    """Plan `conv3d` for inputs of one shape, its weights packed once: ``plan(x, out=None, residual=None)``.

    $plan

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_conv3d((1, 1, 3, 3, 3), np.ones((2, 1, 1, 1, 1)))
    >>> plan.output_shape
    (1, 2, 3, 3, 3)
    >>> plan(np.ones((1, 1, 3, 3, 3))).shape
    (1, 2, 3, 3, 3)
    """
    return calls.prepare(3, False, input_shape, weight, bias, (stride, padding, dilation, groups), options)


@documented
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
    **options: Unpack[PlanOptions],
) -> PreparedConv:
    """Plan `conv_transpose1d` for inputs of one shape, its weights packed once: ``plan(x, out=None, residual=None)``.

    $plan

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
    return calls.prepare(1, True, input_shape, weight, bias, geometry, options)


@documented
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
    **options: Unpack[PlanOptions],
) -> PreparedConv:
    """Plan `conv_transpose2d` for inputs of one shape, its weights packed once: ``plan(x, out=None, residual=None)``.

    $plan

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
    return calls.prepare(2, True, input_shape, weight, bias, geometry, options)


@documented
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
    **options: Unpack[PlanOptions],
) -> PreparedConv:
    """Plan `conv_transpose3d` for inputs of one shape, its weights packed once: ``plan(x, out=None, residual=None)``.

    $plan

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
    return calls.prepare(3, True, input_shape, weight, bias, geometry, options)


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
    **options: Unpack[ExplainOptions],
) -> str:
    """What each strategy says of a convolution: its predicted cost or why it refuses, ``*`` on the one chosen.

    Where `tune` has measured the convolution, for plans and `get_num_threads()`, the times stand beside and decide.

    Parameters
    ----------
    x, weight, bias, stride, padding, dilation, groups
        As in `conv1d`, `conv2d` or `conv3d`, whichever x and weight have the dimensions of.
    transposed : bool
        Explain `conv_transpose2d` (or its kin) instead; then ``output_padding`` and ``output_size`` count too.
    accuracy : {'bounded', 'strict'}
        As in `conv2d`.
    residual : bool
        Whether the call adds a residual.
    per_sample : bool, optional
        Whether ``weight`` is ``(N, ...)``, weights for each image of ``x``. By default, where it has a dimension more
        than ``x``, the channels tell that from an ``x`` without ``N``, which it is where they fit both.
    dimension_numbers, activation, epilogue, out_dtype, accumulate_dtype, padding_mode, padding_value, prologue
        As in `conv2d`.

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
    geometry: tuple[Any, ...] = (stride, padding, dilation, groups)
    if transposed:
        geometry = (stride, padding, output_padding, groups, dilation, output_size)
    return calls.explain(bool(transposed), x, weight, bias, geometry, options)


def set_num_threads(n: int) -> None:
    """Use ``n`` threads in calls that do not say ``num_threads=``; at least 1, at most NUMBA_NUM_THREADS."""
    calls.engine()[1].set_num_threads(n)


def get_num_threads() -> int:
    """The number of threads that calls use."""
    return int(calls.engine()[1].get_num_threads())


def show_config() -> None:
    """Print what decides speed here: versions, threads, the machine as the planner sees it, the cache."""
    import platform

    import llvmlite
    import numba

    import numbaconv
    from numbaconv import machine, wisdom
    from numbaconv.codegen import cache, host, launch

    print(f"numbaconv  {numbaconv.__version__}")
    print(f"python     {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}, llvmlite "
          f"{llvmlite.__version__}")  # fmt: skip
    print(f"processor  {host.name()}")
    print(f"machine    {machine.host()}")
    print(f"threads    {launch.get_num_threads()} of {launch.max_threads()}")
    print(f"cache      {cache.directory() or 'none: no directory is writable'}")
    print(f"wisdom     {', '.join(f'{name} ({size})' for name, size in wisdom.sizes().items()) or 'none'}")

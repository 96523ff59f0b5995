"""Patches of an input as columns, back again, and as a view: `unfold`, its adjoint `fold`, and `unfold_view`.

    unfold:  y[n, (c, t), p] = x[n, c, p*stride + t*dilation - lo]
    fold:    y[n, c, p*stride + t*dilation - lo] += columns[n, (c, t), p]   for all p and t

``p`` runs over output positions and ``t`` over kernel taps; (c, t) and p are one axis each. Both are the geometry of a
depthwise convolution with one output channel for each tap, which is how `ConvProblem` describes and checks them. They
only move memory, so NumPy's strided copies and sums do all the work: one for each tap, on the part of the input that
the tap meets, so that nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import Array, as_array
from numbaconv.problem import ConvProblem, Ints, Padding, per_axis, rank_of, rank_of_input, times

BLOCK = 1 << 19  # bytes of sums that all taps pass over before the next: 1.0 to 1.4 x all at once (Zen 5, 1 MiB of L2)

Index = tuple[Any, ...]


def unfold(x: npt.ArrayLike, kernel_size: Ints, dilation: Ints = 1, padding: Padding = 0, stride: Ints = 1) -> Array:
    """Patches of ``x`` as columns (im2col), in the layout of `torch.nn.functional.unfold`, of any rank and dtype.

    y[n, (c, t), p] = x[n, c, p*stride + t*dilation - lo], and 0 where that is outside of ``x``

    Parameters
    ----------
    x : array_like, (N, C, ...) or (C, ...)
        Input with 1 to 3 spatial axes, of any dtype; without ``N`` the result has none either.
    kernel_size : int or ints
        Size of a patch. Its length is the number of spatial axes. One int stands for 2 axes where ``x`` has 3 or 4
        dimensions, as in torch; for 1 where it has 2, and for 3 where it has 5.
    dilation, padding, stride
        As in `conv2d`, padding words and pairs (lo, hi) included; the order is torch's. Padding is zeros of ``x``'s
        dtype.

    Returns
    -------
    ndarray, (N, C*taps, positions) or (C*taps, positions)
        C-contiguous, of ``x``'s dtype.

    Raises
    ------
    ValueError, TypeError
        Arguments that do not fit; the message says what would.

    See Also
    --------
    unfold_view : The same without a copy, where there is no padding.
    fold : The adjoint.

    Examples
    --------
    >>> import numpy as np
    >>> unfold(np.array([[1, 2, 3, 4]]), 3, padding=1)
    array([[0, 1, 2, 3],
           [1, 2, 3, 4],
           [2, 3, 4, 0]])
    """
    x, problem, unbatched = _described(x, kernel_size, dilation=dilation, padding=padding, stride=stride)
    if _has_padding(problem):
        y = np.zeros(_columns_shape(problem), x.dtype)
        for meeting in _meetings(problem, [slice(0, n) for n in x.shape[2:]]):
            y[meeting.columns] = x[meeting.pixels]
    else:
        y = np.empty(_columns_shape(problem), x.dtype)
        y[...] = _as_columns(_windows(x, problem), problem.rank)
    y = y.reshape(problem.batch, problem.in_channels * problem.taps, problem.pixels)
    return y[0] if unbatched else y


def unfold_view(x: npt.ArrayLike, kernel_size: Ints, dilation: Ints = 1, stride: Ints = 1) -> Array:
    """Patches of ``x`` as a read-only view of its memory, (N, C, *positions, *kernel); no padding, no copy.

    view[n, c, p, t] = x[n, c, p*stride + t*dilation]

    Parameters
    ----------
    x, kernel_size, dilation, stride
        As in `unfold`.

    Returns
    -------
    ndarray, (N, C, *positions, *kernel_size) or (C, *positions, *kernel_size)

    Raises
    ------
    ValueError, TypeError
        As `unfold`.

    Examples
    --------
    The largest of each 2x2 block:

    >>> import numpy as np
    >>> x = np.arange(16).reshape(1, 1, 4, 4)
    >>> unfold_view(x, 2, stride=2).max(axis=(-2, -1))
    array([[[[ 5,  7],
             [13, 15]]]])
    """
    x, problem, unbatched = _described(x, kernel_size, dilation=dilation, stride=stride)
    view = _windows(x, problem)
    return view[0] if unbatched else view


def fold(
    columns: npt.ArrayLike,
    output_size: Ints,
    kernel_size: Ints,
    dilation: Ints = 1,
    padding: Padding = 0,
    stride: Ints = 1,
) -> Array:
    """Sum columns back into an image (col2im), as `torch.nn.functional.fold` does: the adjoint of `unfold`.

    y[n, c, p*stride + t*dilation - lo] += columns[n, (c, t), p] for all p and t, wherever that is inside

    ONNX's ``Col2Im(input, image_shape, block_shape, dilations, pads, strides)``, whose ``pads`` are all begins and then
    all ends, is ``fold(input, image_shape, block_shape, dilations, list(zip(pads[:rank], pads[rank:])), strides)``.

    Parameters
    ----------
    columns : array_like, (N, C*taps, positions) or (C*taps, positions)
        As `unfold` makes them of an input of ``output_size``.
    output_size : int or ints
        Spatial size of the result. Its length, or else that of ``kernel_size``, is the number of spatial axes; where
        both are one int there are 2, as in torch.
    kernel_size, dilation, padding, stride
        As in `unfold`.

    Returns
    -------
    ndarray, (N, C, *output_size) or (C, *output_size)
        C-contiguous, of the dtype of ``columns``. Sums of floats narrower than float32 are kept in float32. A sum of
        bools is "any of them true".

    Raises
    ------
    ValueError
        Arguments that do not fit; the message says what would.
    TypeError
        A dtype that has no sums: text, dates, records.
    OverflowError
        A sum that its integer dtype cannot hold.

    Examples
    --------
    Each pixel comes back as often as patches hold it:

    >>> import numpy as np
    >>> fold(unfold(np.array([[1, 2, 3, 4]]), 3, padding=1), (4,), 3, padding=1)
    array([[2, 6, 9, 8]])
    """
    columns = as_array("columns", columns)
    if columns.ndim not in (2, 3):
        raise ValueError(
            f"columns must have 3 dimensions, (N, C*taps, positions), or 2 without N; got shape {columns.shape}"
        )
    unbatched = columns.ndim == 2
    columns = columns[None] if unbatched else columns
    rank = rank_of("output_size", output_size, rank_of("kernel_size", kernel_size, 2))
    kernel = per_axis("kernel_size", kernel_size, rank, least=1)
    batch, rows, positions = columns.shape
    if rows % prod(kernel):
        raise ValueError(f"columns has {rows} rows, which is no multiple of the {prod(kernel)} taps of a kernel of "
                         f"size {kernel}")  # fmt: skip
    size = per_axis("output_size", output_size, rank, least=1)
    problem = _depthwise(
        rank, (batch, rows // prod(kernel), *size), kernel, columns.dtype,
        dilation=dilation, padding=padding, stride=stride,
    )  # fmt: skip
    if positions != problem.pixels:
        raise ValueError(f"columns has {positions} positions, but patches of an input of size {size} have "
                         f"{times(problem.out_size[3 - rank:])} = {problem.pixels}")  # fmt: skip
    sums = _sums_dtype(columns, problem.taps)
    columns = columns.reshape(_columns_shape(problem))
    y = np.zeros(problem.x_shape, columns.dtype)
    apart = all(s > d * (k - 1) for s, d, k in zip(problem.stride, problem.dilation, problem.kernel, strict=True))
    if apart and not _has_padding(problem):  # no two patches share a pixel: 7 x faster for 16x16 patches of a photo
        _as_columns(_windows(y, problem, writeable=True), rank)[...] = columns
    else:
        _add(y, columns, sums, problem)
    return y[0] if unbatched else y


# ---- geometry --------------------------------------------------------------------------------------------------------


def _described(x: npt.ArrayLike, kernel_size: Ints, **geometry: Any) -> tuple[Array, ConvProblem, bool]:
    """(batched ``x``, its problem, whether it came without a batch)."""
    x = as_array("x", x)
    rank = rank_of_input(x.ndim, kernel_size)
    unbatched = x.ndim == rank + 1
    x = x[None] if unbatched else x
    return x, _depthwise(rank, x.shape, kernel_size, x.dtype, **geometry), unbatched


def _depthwise(rank: int, x_shape: tuple[int, ...], kernel_size: Ints, dtype: Any, **geometry: Any) -> ConvProblem:
    """The convolution whose output p of a channel reads just what patch p of that channel holds."""
    channels = x_shape[1] if len(x_shape) > 1 else 0  # the problem refuses the shape in the second case
    return ConvProblem.of_kernel(rank, x_shape, channels, kernel_size, dtype, max(channels, 1), **geometry)


def _columns_shape(problem: ConvProblem) -> tuple[int, ...]:
    """Of the columns before (c, t) and p become one axis each: (N, C, *kernel, *positions)."""
    first = 3 - problem.rank
    return (problem.batch, problem.in_channels, *problem.kernel[first:], *problem.out_size[first:])


def _has_padding(problem: ConvProblem) -> bool:
    """Whether patches begin or end elsewhere than the input does, be it by padding or by cropping."""
    return any(lo or hi for lo, hi in problem.padding)


def _windows(x: Array, problem: ConvProblem, writeable: bool = False) -> Array:
    """The view of ``x`` with axes (N, C, *positions, *kernel), where there is no padding."""
    axes = tuple(range(2, x.ndim))
    first = 3 - problem.rank
    reach = tuple(d * (k - 1) + 1 for d, k in zip(problem.dilation[first:], problem.kernel[first:], strict=True))
    steps: Index = tuple(slice(None, None, s) for s in (*problem.stride[first:], *problem.dilation[first:]))
    return np.lib.stride_tricks.sliding_window_view(x, reach, axes, writeable=writeable)[..., *steps]


def _as_columns(view: Array, rank: int) -> Array:
    """The same with the axes of the kernel first: (N, C, *kernel, *positions)."""
    kernel = tuple(range(2 + rank, 2 + 2 * rank))
    return np.moveaxis(view, kernel, range(2, 2 + rank))


class _Meeting(NamedTuple):
    """The positions at which a tap meets a box of pixels, in the columns, and the pixels that it meets, in the box."""

    columns: Index  # of (N, C, *kernel, *positions)
    pixels: Index  # of (N, C, *box)


def _meetings(problem: ConvProblem, box: Sequence[slice]) -> Iterator[_Meeting]:
    """One for each tap; ``box`` has a slice for each spatial axis."""
    first = 3 - problem.rank
    sizes = problem.out_size[first:], problem.stride[first:], problem.dilation[first:], problem.padding[first:]
    axes = list(zip(box, *sizes, strict=True))
    for taps in product(*map(range, problem.kernel[first:])):
        positions, pixels = [], []
        for tap, (part, out, stride, dilation, (lo, _)) in zip(taps, axes, strict=True):
            offset = tap * dilation - lo - part.start  # of the pixel that position 0 meets, in the box
            begin = max(-(offset // stride), 0)  # the first position whose pixel is not before the box
            end = max(min((part.stop - part.start - 1 - offset) // stride + 1, out), begin)
            positions.append(slice(begin, end))
            pixels.append(slice(begin * stride + offset, end * stride + offset, stride))
        yield _Meeting((slice(None), slice(None), *taps, *positions), (slice(None), slice(None), *pixels))


# ---- sums ------------------------------------------------------------------------------------------------------------


def _sums_dtype(columns: Array, taps: int) -> np.dtype[Any]:
    """What sums of up to ``taps`` elements are kept in, so that none of them overflows on the way."""
    dtype = columns.dtype
    if dtype.kind in "iu":
        largest = max(-int(columns.min(initial=0)), int(columns.max(initial=0)))
        return np.dtype(np.int64 if taps * largest < 2**63 else object)
    if dtype.kind in "bcO" or (dtype.kind == "f" and dtype.itemsize > 2):
        return dtype.newbyteorder("=")
    if np.can_cast(dtype, np.float32) and not np.can_cast(dtype, np.int64):
        return np.dtype(np.float32)  # float16, and narrow floats that other packages bring
    raise TypeError(f"columns has dtype {dtype}, which has no sums; accepted are bool, integers, floats, complex "
                    "numbers and objects")  # fmt: skip


def _add(y: Array, columns: Array, dtype: np.dtype[Any], problem: ConvProblem) -> None:
    """Add up columns (N, C, *kernel, *positions) in ``y``, which is all zeros, box by box."""
    boxes = _boxes(y.shape, BLOCK // dtype.itemsize)
    for spatial in product(*boxes[2:]):
        meetings = list(_meetings(problem, spatial))
        for images, channels in product(*boxes[:2]):
            part, result = columns[images, channels], y[(images, channels, *spatial)]
            sums = result if dtype == y.dtype else np.zeros(result.shape, dtype)
            for meeting in meetings:
                met = sums[meeting.pixels]
                np.add(met, part[meeting.columns], out=met, dtype=dtype, casting="unsafe")
            if sums is not result:
                _store(sums, result)


def _boxes(shape: tuple[int, ...], most: int) -> list[list[slice]]:
    """Slices that cut each axis, the first ones first, so that a box of one of each has at most ``most`` elements."""
    cuts = []
    for axis, n in enumerate(shape):
        step = max(1, min(n, most // max(prod(shape[axis + 1 :]), 1)))
        cuts.append([slice(begin, min(begin + step, n)) for begin in range(0, n, step)])
    return cuts


def _store(sums: Array, y: Array) -> None:
    """``sums`` in the dtype of ``y``; an integer that it cannot hold is an error."""
    if y.dtype.kind in "iu" and y.size:
        limits = np.iinfo(y.dtype)
        least, largest = int(sums.min()), int(sums.max())
        if least < limits.min or largest > limits.max:
            raise OverflowError(f"sums of columns are between {least} and {largest}; their dtype {y.dtype} holds "
                                f"{limits.min} to {limits.max}: convert columns to a wider one")  # fmt: skip
    y[...] = sums

"""Quantised convolution by the names, arguments and results of ONNX: `ConvInteger` and `QLinearConv`.

    sum[n, o, p] = b[o] + sum over c, t of  (w[o, c, t] - w_zero_point[o]) * (x[n, c, ...] - x_zero_point)
    y = saturate(round(sum * x_scale * w_scale[o] / y_scale) + y_zero_point)

The sums are exact, of any size: `conv_integer` is `conv2d` with ``out_dtype="int32"``, which takes the zero point of x
away as it reads. `qlinear_conv` scales its sums while they are in the cache; `plan_qlinear_conv` packs weights once.
Padding is the real zero, which x_zero_point stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt

from numbaconv import calls
from numbaconv.api import conv1d, conv2d, conv3d
from numbaconv.arrays import Array, as_array, check_out, ready
from numbaconv.problem import ConvProblem, shape_of
from numbaconv.reading import Centred, Reading, reading_of
from numbaconv.tail import Tail

if TYPE_CHECKING:
    from numbaconv.strategy import Plan

__all__ = ["PreparedQLinearConv", "conv_integer", "plan_qlinear_conv", "qlinear_conv"]

AutoPad = Literal["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]

CONV: dict[int, Callable[..., Array]] = {1: conv1d, 2: conv2d, 3: conv3d}
AUTO_PADS = {"NOTSET": None, "SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}
STORED = (np.dtype("int8"), np.dtype("uint8"))
SUMS = np.dtype("int64")  # as the problem has them; it is known beforehand how few bits will do


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
    return _sums(operands, geometry)


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
    numbers next to a tie to the other side. Extra memory: ``x`` and ``w`` with four channels side by side; of depthwise
    layers, both as float32.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.array([[[10, 20, 250]]], np.uint8), np.array([[[1, 2]]], np.int8)
    >>> qlinear_conv(x, 0.5, np.uint8(10), w, 0.1, np.int8(0), 0.2, np.int8(-4))
    array([[[  1, 118]]], dtype=int8)
    """
    operands = _operands(x, x_zero_point, w, w_zero_point)
    layer = _layer(operands, x_scale, w_scale, y_scale, y_zero_point, b)
    geometry = _geometry(operands.w.shape, auto_pad, dilations, group, kernel_shape, pads, strides)
    problem = layer.problem(operands.x.shape, geometry)
    plan, packed, threads = None, None, calls.thread_count(None)
    if not problem.is_empty:
        plan = calls.engine()[0].plan(problem, None, threads, False)
        packed = plan.borrow(plan.problem.forward_weights(layer.weight))
    return layer.run(problem, plan, packed, ready(operands.x, operands.x.dtype), None, threads)


def plan_qlinear_conv(
    input_shape: Sequence[SupportsIndex],
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
    num_threads: int | None = None,
) -> PreparedQLinearConv:
    """`qlinear_conv` for inputs of one shape, planned and with packed weights, for many calls.

    Parameters
    ----------
    input_shape : sequence of int
        The shape of the inputs, (N, C, *size).
    x_scale, w, w_scale, w_zero_point, y_scale, y_zero_point, b
        As in `qlinear_conv`; the plan has copies.
    x_zero_point : scalar
        Of NumPy's int8 or uint8, which is the dtype of the inputs.
    auto_pad, dilations, group, kernel_shape, pads, strides
        As in `conv_integer`.
    num_threads : int, optional
        For every call of the plan; by default as `set_num_threads` says when it is called.

    Returns
    -------
    PreparedQLinearConv
        Called with an input, and with ``out=`` where there is an array for the result.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([[[1, 2]]], np.int8)
    >>> plan = plan_qlinear_conv((1, 1, 3), 0.5, np.uint8(10), w, 0.1, 0, 0.2, np.int8(-4))
    >>> plan(np.array([[[10, 20, 250]]], np.uint8))
    array([[[  1, 118]]], dtype=int8)
    """
    zero, shape = _stored("x_zero_point", x_zero_point, "the inputs are"), shape_of("input_shape", input_shape)
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"input_shape must have 3, 4 or 5 dimensions, (N, C, *size); got {shape}")
    operands = _operands(np.broadcast_to(np.zeros((), zero.dtype), shape), zero, w, w_zero_point)
    layer = _layer(operands, x_scale, w_scale, y_scale, y_zero_point, b)
    geometry = _geometry(operands.w.shape, auto_pad, dilations, group, kernel_shape, pads, strides)
    if num_threads is not None:
        num_threads = calls.thread_count(num_threads)
    return PreparedQLinearConv(layer.copy(), layer.problem(shape, geometry), num_threads)


@dataclass(frozen=True, slots=True)
class _Layer:
    """All of a layer but its geometry: weights less their zero points, and what becomes of sums."""

    dtype: np.dtype[Any]  # of x
    zero: int  # of x
    weight: Array
    bias: Array | None
    told: Array  # `requantising.table`
    result: np.dtype[Any]

    def copy(self) -> _Layer:
        """One that the caller's arrays are no part of."""
        return replace(
            self, weight=self.weight.copy(), bias=None if self.bias is None else self.bias.copy(), told=self.told.copy()
        )

    def problem(self, x_shape: tuple[int, ...], geometry: dict[str, Any]) -> ConvProblem:
        read, tail = _around(self.dtype, self.zero, self.result)
        words = (geometry["stride"], geometry["padding"], geometry["dilation"], geometry["groups"])
        rank = self.weight.ndim - 2
        return calls.described(rank, False, x_shape, self.weight.shape, SUMS, words, tail, read)[0]

    def run(
        self, problem: ConvProblem, plan: Plan | None, packed: Any, x: Array, out: Array | None, threads: int
    ) -> Array:
        """The result, in ``out`` if that is given; no plan means that there are no products."""
        y = np.empty(problem.y_shape, self.result) if out is None or not out.flags.carray else out.view(np.ndarray)
        if plan is not None:
            plan.run(x, packed, self.bias, y, threads, self.told)
        elif y.size:
            from numbaconv.microkernels import requantising

            sums = np.zeros(y.shape, np.int32)
            if self.bias is not None:
                sums += self.bias.reshape(-1, *[1] * problem.rank)
            requantising.requantise(sums, self.told, y, threads)
        if out is not None and y is not out and not out.flags.carray:
            out[...] = y
        return y if out is None else out


@lru_cache(1024)
def _around(dtype: np.dtype[Any], zero: int, result: np.dtype[Any]) -> tuple[Reading | None, Tail]:
    """What precedes and what follows the sums."""
    read = reading_of("zeros", 0.0, Centred(zero) if zero else None, dtype, SUMS)
    return read, Tail(dtype=result.name, quantised=True)


class PreparedQLinearConv:
    """A quantised convolution with its plan and its packed weights: made by `plan_qlinear_conv`, called with inputs.

    It may be shared by threads, and pickled.
    """

    __slots__ = ("_layer", "_packed", "_plan", "num_threads", "problem")

    def __init__(self, layer: _Layer, problem: ConvProblem, num_threads: int | None) -> None:
        self.problem, self.num_threads, self._layer = problem, num_threads, layer
        self._plan: Plan | None = None
        self._packed: Any = None
        if not problem.is_empty:
            plan = self._plan = calls.engine()[0].plan(problem, None, calls.thread_count(num_threads), True)
            self._packed = plan.pack(plan.problem.forward_weights(layer.weight))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """That of the inputs."""
        return self.problem.x_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """That of the results."""
        return self.problem.y_shape

    def __call__(self, x: npt.ArrayLike, out: Array | None = None) -> Array:
        """The convolution of ``x``, which has the planned shape and dtype; ``out`` if it is given, else a new array."""
        given, dtype = as_array("x", x), self._layer.dtype
        if given.shape != self.input_shape:
            raise ValueError(f"x must have the planned shape {self.input_shape}; got {given.shape}")
        if given.dtype != dtype:
            raise TypeError(f"x must have the planned dtype {dtype}; got {given.dtype}")
        if out is not None:
            check_out(out, self.output_shape, self._layer.result, x=given)
        threads = self.num_threads or calls.thread_count(None)
        return self._layer.run(self.problem, self._plan, self._packed, ready(given, dtype), out, threads)

    def __repr__(self) -> str:
        return f"<{self.problem}: {self._plan or 'nothing to multiply'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return PreparedQLinearConv, (self._layer, self.problem, self.num_threads)


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


def _layer(operands: _Operands, x_scale: Any, w_scale: Any, y_scale: Any, y_zero_point: Any, b: Any) -> _Layer:
    """QLinearConv's inputs, checked, but for x."""
    from numbaconv.microkernels import requantising

    filters = len(operands.w)
    scale = _scale("x_scale", x_scale, 1) * _scale("w_scale", w_scale, filters)  # exact for factors of float32
    unit = float(_scale("y_scale", y_scale, 1)[0])
    zero = _stored("y_zero_point", y_zero_point, "the result is")
    told = requantising.table(
        np.broadcast_to(scale, filters), unit, int(_zero_point("y_zero_point", zero, zero.dtype, 1)[0])
    )
    weight, bias = _centred(operands.w, operands.w_zero), None if b is None else _bias(b, filters)
    return _Layer(operands.x.dtype, int(operands.x_zero[0]), weight, bias, told, zero.dtype)


def _stored(name: str, value: Any, what: str) -> Array:
    """A zero point whose own dtype counts."""
    zero = as_array(name, value)
    if zero.dtype not in STORED:
        raise TypeError(f"{name} must be of NumPy's int8 or uint8, as {what} to be; got {zero.dtype}")
    return zero


def _centred(w: Array, zero: Array) -> Array:
    """Weights less their zero points: of int8 where it is plain that these hold them, else of int16."""
    if not zero.any():
        return w
    if w.dtype == np.uint8 and (zero == 128).all():
        return (w ^ np.uint8(128)).view(np.int8)
    return w - zero.reshape(-1, *[1] * (w.ndim - 1))


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


def _sums(operands: _Operands, geometry: dict[str, Any]) -> Array:
    """The exact sums."""
    x, x_zero, w, w_zero = operands
    reading = {"prologue": Centred(int(x_zero[0]))} if x_zero[0] else {}
    return CONV[x.ndim - 2](x, _centred(w, w_zero), None, out_dtype="int32", **reading, **geometry)

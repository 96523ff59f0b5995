"""Convolution layers: arguments, names, first weights and text are those of ``torch.nn``, the work is numbaconv's.

A lazy layer takes its number of input channels from its first input, or from the arrays that it loads, and is an
ordinary layer from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, SupportsIndex, cast

import numpy as np
import numpy.typing as npt

from numbaconv import api, calls
from numbaconv.arrays import Array, as_array, computed
from numbaconv.gradients import conv_backward
from numbaconv.layout import layout_of
from numbaconv.nn import init
from numbaconv.nn.module import Module, Parameter
from numbaconv.problem import LARGEST, PADDING_WORDS, SPATIAL, Ints, Padding, per_axis
from numbaconv.reading import sources

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")

LAYER = """

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and result. Lazy layers have no ``in_channels``.
    kernel_size, stride, padding, dilation, output_padding
        As the function of the layer takes them: an int, one for each axis, and for ``padding`` also pairs and words.
    groups : int
        Must divide both numbers of channels.
    bias : bool
        Whether something is added to each channel.
    padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}
        What lies in the padding; of transposed layers 'zeros', as there.
    dtype : dtype, optional
        Of the parameters: float16, float32 (by default) or float64.
    dimension_numbers : str, optional
        The order of axes of input and result, as 'NHWC' for channels last, which are read and written as they lie.
        ``weight`` keeps PyTorch's order, its spatial axes in that of the string.
    rng : numpy.random.Generator or int, optional
        Where the first weights come from: uniform within 1/sqrt(inputs of one output), as PyTorch's.

    Attributes
    ----------
    weight, bias : Parameter
        ``bias`` is None if there is none."""


class Convolution(Module):
    """What the six layers and their lazy forms share; ``rank`` and ``transposed`` tell them apart."""

    rank: int
    transposed = False
    lazy = False
    weight: Parameter
    bias: Parameter | None

    def __init_subclass__(cls) -> None:
        if cls.__doc__:
            cls.__doc__ += LAYER

    def _set(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel_size: Ints,
        stride: Ints,
        padding: Padding,
        dilation: Ints,
        output_padding: Ints,
        groups: SupportsIndex,
        bias: bool,
        padding_mode: str,
        dtype: npt.DTypeLike | None,
        rng: init.Rng,
        dimension_numbers: str | None = None,
    ) -> None:
        """Check all arguments, and make the parameters unless they are still to be known."""
        modes = ("zeros",) if self.transposed else PADDING_MODES
        if padding_mode not in modes:
            raise ValueError(f"padding_mode must be {' or '.join(map(repr, modes))}; got {padding_mode!r}")
        (self.in_channels,) = per_axis("in_channels", in_channels, 1, least=0 if self.lazy else 1)
        (self.out_channels,) = per_axis("out_channels", out_channels, 1, least=1)
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank, least=1)
        self.stride = per_axis("stride", stride, self.rank, least=1)
        self.padding = _padding(padding, self.rank)
        self.dilation = per_axis("dilation", dilation, self.rank, least=1)
        self.output_padding = per_axis("output_padding", output_padding, self.rank, least=0)
        (self.groups,) = per_axis("groups", groups, 1, least=1)
        self.padding_mode = padding_mode
        if not isinstance(dimension_numbers, (str, type(None))):
            raise TypeError(f"dimension_numbers of a layer must be one string for x and result, as 'N"
                            f"{SPATIAL[-self.rank :]}C'; got {dimension_numbers!r}")  # fmt: skip
        self._layout = layout_of(dimension_numbers, self.rank, self.transposed)
        self.dimension_numbers = dimension_numbers
        self._biased = bool(bias)
        self._dtype = np.dtype(np.float32 if dtype is None else dtype)
        if not computed(self._dtype) or self._dtype.kind != "f":
            raise TypeError(f"dtype must be float16, float32 or float64; got {self._dtype}")
        if self.out_channels % self.groups:
            raise ValueError(f"groups must divide out_channels={self.out_channels}; got groups={self.groups}")
        self._rng: init.Rng = rng
        if self.in_channels:
            self._create(self.in_channels)

    def _create(self, in_channels: int) -> None:
        if in_channels % self.groups:
            raise ValueError(f"groups must divide in_channels={in_channels}; got groups={self.groups}")
        self.in_channels = in_channels
        self._make_parameters()
        rng, self._rng = self._rng, None
        self.reset_parameters(rng)

    def _make_parameters(self) -> None:
        outer, inner = (
            (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        )  # weights of a transposed convolution have the input's channels first
        self.weight = Parameter(np.empty((outer, inner // self.groups, *self.kernel_size), self._dtype))
        self.bias = Parameter(np.empty(self.out_channels, self._dtype)) if self._biased else None

    def reset_parameters(self, rng: init.Rng = None) -> None:
        """New weights and bias, uniform within 1/sqrt(fan in)."""
        rng = np.random.default_rng(rng)
        init.kaiming_uniform_(self.weight, a=5**0.5, rng=rng)
        if self.bias is not None:
            reach = prod(self.weight.shape[1:]) ** -0.5
            init.uniform_(self.bias, -reach, reach, rng=rng)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The convolution of ``x``, (N, C, ...) or (C, ...)."""
        data = as_array("x", x)
        convolve = getattr(api, f"conv{self.rank}d")
        geometry = (self.stride, self.padding, self.dilation, self.groups)
        order = {"dimension_numbers": self.dimension_numbers}
        y: Array = convolve(data, self.weight.data, self._bias, *geometry, padding_mode=self.padding_mode, **order)
        self.keep((data, 0))
        return y

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        """The gradient for the input; ``weight.grad`` and ``bias.grad`` are set. By `numbaconv.conv_backward`."""
        data, output_padding = self.kept()
        padding, pads = self.padding, None
        if self.padding_mode != "zeros":  # the input itself goes on, so that its border has several gradients to add up
            axes, geometry = self._axes(data.ndim), (self.stride, self.padding, self.dilation, self.groups)
            shape = (1, self.in_channels, *(data.shape[axis] for axis in axes))
            problem, *_ = calls.described(self.rank, False, shape, self.weight.shape, self._dtype, geometry)
            pads, padding = dict(zip(axes, problem.padding[3 - self.rank :], strict=True)), 0
            data = _extended(data, pads, self.padding_mode)
        gradients = conv_backward(
            grad_output,
            data,
            self.weight.data,
            self.stride,
            padding,
            self.dilation,
            self.transposed,
            output_padding,
            self.groups,
            (True, True, self.bias is not None),
            dimension_numbers=self.dimension_numbers,
        )
        self.weight.keep(gradients.weight)
        if self.bias is not None:
            self.bias.keep(gradients.bias)
        dx = cast("Array", gradients.x)
        if pads is not None:
            dx = _gathered(dx, pads, self.padding_mode)
        return dx

    def _axes(self, ndim: int) -> list[int]:
        """Where an input or result of so many dimensions has its spatial axes, as the weights count them."""
        return [self._axis(letter, ndim) for letter in SPATIAL[-self.rank :]]

    def _axis(self, letter: str, ndim: int) -> int:
        letters = "NC" + SPATIAL[-self.rank :] if self._layout is None else self._layout.x
        return (letters if ndim == len(letters) else letters.replace("N", "")).index(letter)

    @property
    def _bias(self) -> Array | None:
        return None if self.bias is None else self.bias.data

    def extra_repr(self) -> str:
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        zeros, ones = (0,) * self.rank, (1,) * self.rank
        mode = "" if self.padding_mode == "zeros" else f", padding_mode={self.padding_mode}"
        mode += "" if self.dimension_numbers is None else f", dimension_numbers={self.dimension_numbers}"
        for name, default in (("padding", zeros), ("dilation", ones), ("output_padding", zeros), ("groups", 1)):
            if getattr(self, name) != default:
                shown += f", {name}={getattr(self, name)}"
        return (shown if self._biased else f"{shown}, bias=False") + mode


class _Forward(Convolution):
    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: SupportsIndex = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        dtype: npt.DTypeLike | None = None,
        *,
        dimension_numbers: str | None = None,
        rng: init.Rng = None,
    ) -> None:
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, padding_mode, dtype,
            rng, dimension_numbers,
        )  # fmt: skip


class _Transposed(Convolution):
    transposed = True

    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        output_padding: Ints = 0,
        groups: SupportsIndex = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        dtype: npt.DTypeLike | None = None,
        *,
        dimension_numbers: str | None = None,
        rng: init.Rng = None,
    ) -> None:
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding, groups, bias,
            padding_mode, dtype, rng, dimension_numbers,
        )  # fmt: skip

    def forward(self, x: npt.ArrayLike, output_size: Ints | None = None) -> Array:
        """The transposed convolution of ``x``; ``output_size`` chooses the output padding for this call."""
        data = as_array("x", x)
        convolve = getattr(api, f"conv_transpose{self.rank}d")
        extra: Ints = self.output_padding if output_size is None else 0
        geometry = (self.stride, self.padding, extra, self.groups, self.dilation)
        order = {"dimension_numbers": self.dimension_numbers}
        y: Array = convolve(data, self.weight.data, self._bias, *geometry, output_size=output_size, **order)
        if output_size is not None:
            axes = self._axes(data.ndim)
            shape = (1, self.in_channels, *(data.shape[axis] for axis in axes))
            _, least, _ = calls.described(self.rank, True, shape, self.weight.shape, y.dtype, geometry)
            extra = tuple(y.shape[axis] - m for axis, m in zip(axes, least[2:], strict=True))
        self.keep((data, extra))
        return y


class _Lazy(Convolution):
    """Put before a layer's class; an instance changes to that class when its input channels are known."""

    lazy = True

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(0, *args, **options)  # type: ignore[call-arg]

    def forward(self, x: npt.ArrayLike, *args: Any, **options: Any) -> Array:
        """Make the parameters for the channels of ``x``, then convolve as ever after."""
        data = as_array("x", x)
        if data.ndim not in (self.rank + 1, self.rank + 2):
            raise ValueError(f"x must have {self.rank + 1} or {self.rank + 2} dimensions; got {data.ndim}")
        self._become(data.shape[self._axis("C", data.ndim)])
        return self(data, *args, **options)

    def meet(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        shape = shapes.get("weight", ())
        if len(shape) == self.rank + 2:
            self._become(shape[0] if self.transposed else shape[1] * self.groups)

    def own_parameters(self) -> Iterator[tuple[str, Parameter]]:
        raise RuntimeError(
            f"{type(self).__name__} has no parameters before it has an input or loads some; call it once first"
        )

    def _become(self, in_channels: int) -> None:
        if in_channels < 1:
            raise ValueError(
                "x must have at least one channel, for a lazy layer to take its in_channels from it; got 0"
            )
        self._create(in_channels)
        known: Any = next(layer for layer in type(self).__mro__ if not issubclass(layer, _Lazy))
        self.__class__ = known


class Conv1d(_Forward):
    """1-D convolution layer, as ``torch.nn.Conv1d``; by `numbaconv.conv1d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv1d(4, 8, 3, stride=2, padding=1, rng=0)
    >>> layer
    Conv1d(4, 8, kernel_size=(3,), stride=(2,), padding=(1,))
    >>> layer(np.ones((2, 4, 9))).shape
    (2, 8, 5)
    """

    rank = 1


class Conv2d(_Forward):
    """2-D convolution layer, as ``torch.nn.Conv2d``; by `numbaconv.conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv2d(4, 8, 3, stride=2, padding=1, rng=0)
    >>> layer
    Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
    >>> layer(np.ones((2, 4, 9, 9))).shape
    (2, 8, 5, 5)
    """

    rank = 2


class Conv3d(_Forward):
    """3-D convolution layer, as ``torch.nn.Conv3d``; by `numbaconv.conv3d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv3d(4, 8, 3, stride=2, padding=1, rng=0)
    >>> layer
    Conv3d(4, 8, kernel_size=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1))
    >>> layer(np.ones((2, 4, 9, 9, 9))).shape
    (2, 8, 5, 5, 5)
    """

    rank = 3


class ConvTranspose1d(_Transposed):
    """1-D transposed convolution layer, as ``torch.nn.ConvTranspose1d``; by `numbaconv.conv_transpose1d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose1d(4, 8, 3, stride=2, padding=1, output_padding=1, rng=0)
    >>> layer
    ConvTranspose1d(4, 8, kernel_size=(3,), stride=(2,), padding=(1,), output_padding=(1,))
    >>> layer(np.ones((2, 4, 9))).shape
    (2, 8, 18)
    """

    rank = 1


class ConvTranspose2d(_Transposed):
    """2-D transposed convolution layer, as ``torch.nn.ConvTranspose2d``; by `numbaconv.conv_transpose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose2d(4, 8, 3, stride=2, padding=1, output_padding=1, rng=0)
    >>> layer
    ConvTranspose2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1))
    >>> layer(np.ones((2, 4, 9, 9))).shape
    (2, 8, 18, 18)
    """

    rank = 2


class ConvTranspose3d(_Transposed):
    """3-D transposed convolution layer, as ``torch.nn.ConvTranspose3d``; by `numbaconv.conv_transpose3d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose3d(4, 8, 3, stride=2, padding=1, output_padding=1, rng=0)
    >>> layer
    ConvTranspose3d(4, 8, kernel_size=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1), output_padding=(1, 1, 1))
    >>> layer(np.ones((2, 4, 9, 9, 9))).shape
    (2, 8, 18, 18, 18)
    """

    rank = 3


class LazyConv1d(_Lazy, Conv1d):
    """`Conv1d` that learns ``in_channels`` from its first input, as ``torch.nn.LazyConv1d``."""


class LazyConv2d(_Lazy, Conv2d):
    """`Conv2d` that learns ``in_channels`` from its first input, as ``torch.nn.LazyConv2d``."""


class LazyConv3d(_Lazy, Conv3d):
    """`Conv3d` that learns ``in_channels`` from its first input, as ``torch.nn.LazyConv3d``."""


class LazyConvTranspose1d(_Lazy, ConvTranspose1d):
    """`ConvTranspose1d` that learns ``in_channels`` from its first input, as ``torch.nn.LazyConvTranspose1d``."""


class LazyConvTranspose2d(_Lazy, ConvTranspose2d):
    """`ConvTranspose2d` that learns ``in_channels`` from its first input, as ``torch.nn.LazyConvTranspose2d``."""


class LazyConvTranspose3d(_Lazy, ConvTranspose3d):
    """`ConvTranspose3d` that learns ``in_channels`` from its first input, as ``torch.nn.LazyConvTranspose3d``."""


def _extended(x: Array, pads: Mapping[int, tuple[int, int]], mode: str) -> Array:
    """``x`` with its padding, by axis."""
    for axis, (lo, hi) in pads.items():
        n = x.shape[axis]
        x = x.take(sources(mode, np.arange(-lo, n + hi), n), axis)
    return x


def _gathered(dx: Array, pads: Mapping[int, tuple[int, int]], mode: str) -> Array:
    """The gradient for the input of `_extended`: the sum of those of each element's copies."""
    for axis, (lo, hi) in pads.items():
        n = dx.shape[axis] - lo - hi
        sums = np.zeros((n, *np.delete(dx.shape, axis)), dx.dtype)
        np.add.at(sums, sources(mode, np.arange(-lo, n + hi), n), np.moveaxis(dx, axis, 0))
        dx = np.moveaxis(sums, 0, axis)
    return np.ascontiguousarray(dx)


def _padding(padding: Any, rank: int) -> Any:
    """A word, or one item for each axis; pairs are checked by the first call."""
    if isinstance(padding, str):
        if padding not in PADDING_WORDS:
            raise ValueError(f"padding must be ints, pairs or one of {', '.join(PADDING_WORDS)}; got {padding!r}")
        return padding
    if isinstance(padding, Sequence) and not all(isinstance(item, SupportsIndex) for item in padding):
        return tuple(padding)
    return per_axis("padding", padding, rank, least=-LARGEST)

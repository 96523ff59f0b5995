"""Layers whose kernels adapt: to the image, to the pixel, or in where they read; of rank 1 to 3 each.

`DynamicConv2d` is from Chen et al., "Dynamic Convolution: Attention over Convolution Kernels", 2020, `DeformConv2d` as
``torchvision.ops.DeformConv2d``, `LocallyConnected2d` as Keras had it, with channels first.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar, NamedTuple, SupportsIndex, cast

import numpy as np
import numpy.typing as npt

from numbaconv import api, deformable, local
from numbaconv.arrays import Array, as_array
from numbaconv.gradients import conv_backward
from numbaconv.nn import init
from numbaconv.nn.convolution import Convolution
from numbaconv.nn.module import Parameter
from numbaconv.nn.network import Linear, ReLU, Sequential
from numbaconv.problem import ConvProblem, Ints, Padding, per_axis

TEXT = """

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and result.{first}
    kernel_size, stride, padding, dilation
        As `conv{rank}d` takes them: an int, one for each axis, and for ``padding`` also pairs and words.
    groups : int
        Must divide both numbers of channels.
    bias : bool
        Whether something is added to each {biased}.{more}
    dtype : dtype, optional
        Of the parameters: float32 (by default) or float64.
    rng : numpy.random.Generator or int, optional
        Where the first weights come from: uniform within 1/sqrt(inputs of one output), as PyTorch's.

    Attributes
    ----------
    {attributes}"""


class Adaptive(Convolution):
    """What the layers of this file share: more axes of their parameters than a convolution has, and their text."""

    text: ClassVar[dict[str, str]]
    lead: tuple[int, ...] = ()
    tail: tuple[int, ...] = ()

    def __init_subclass__(cls) -> None:
        if cls.__doc__:
            cls.__doc__ += TEXT.format(rank=cls.rank, **cls.text)

    def _make_parameters(self) -> None:
        if self._dtype.itemsize < 4:
            raise TypeError(f"dtype of {type(self).__name__} must be float32 or float64; got {self._dtype}")
        shape = (*self.lead, self.out_channels, self.in_channels // self.groups, *self.kernel_size, *self.tail)
        self.weight = Parameter(np.empty(shape, self._dtype))
        biases = (*self.lead, self.out_channels, *self.tail)
        self.bias = Parameter(np.empty(biases, self._dtype)) if self._biased else None

    def reset_parameters(self, rng: init.Rng = None) -> None:
        """New weights and bias, uniform within 1/sqrt(fan in)."""
        rng = np.random.default_rng(rng)
        reach = (self.in_channels // self.groups * prod(self.kernel_size)) ** -0.5
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                init.uniform_(parameter, -reach, reach, rng)

    @property
    def _geometry(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.groups


# ---- to the image ----------------------------------------------------------------------------------------------------


class _Dynamic(Adaptive):
    text: ClassVar[dict[str, str]] = {
        "first": "",
        "biased": "channel, mixed as the kernels are",
        "more": """
    kernels : int
        How many are mixed.
    hidden : int, optional
        Features between the two linear layers; by default a quarter of ``in_channels``, at least 1.
    temperature : float
        What the softmax divides by: high at first, so that all kernels learn, and brought down to 1 while training.""",
        "attributes": """weight : Parameter, (kernels, out_channels, in_channels/groups, *kernel_size)
    bias : Parameter, (kernels, out_channels), or None
    attention : Sequential
        The two linear layers.
    temperature : float
        May be set between calls.""",
    }

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
        kernels: SupportsIndex = 4,
        hidden: SupportsIndex | None = None,
        temperature: float = 30.0,
        dtype: npt.DTypeLike | None = None,
        *,
        rng: init.Rng = None,
    ) -> None:
        self.lead = (self.kernels,) = per_axis("kernels", kernels, 1, least=1)
        (self.hidden,) = (0,) if hidden is None else per_axis("hidden", hidden, 1, least=1)
        if not 0 < temperature < np.inf:
            raise ValueError(f"temperature must be a number above 0; got {temperature!r}")
        self.temperature = float(temperature)
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, "zeros", dtype, rng
        )

    def _make_parameters(self) -> None:
        super()._make_parameters()
        self.hidden = self.hidden or max(1, self.in_channels // 4)
        self.attention = Sequential(
            Linear(self.in_channels, self.hidden, dtype=self._dtype, rng=0),
            ReLU(),
            Linear(self.hidden, self.kernels, dtype=self._dtype, rng=0),
        )

    def reset_parameters(self, rng: init.Rng = None) -> None:
        """New kernels, biases and linear layers, each uniform within 1/sqrt(fan in)."""
        rng = np.random.default_rng(rng)
        super().reset_parameters(rng)
        for linear in self.attention.layers[::2]:
            for parameter in linear.parameters():
                reach = cast("Linear", linear).in_features ** -0.5
                init.uniform_(parameter, -reach, reach, rng)

    def forward(self, x: npt.ArrayLike) -> Array:
        """The convolution of ``x``, (N, C, ...) or (C, ...), by kernels of its own for each image."""
        given = as_array("x", x)
        data = given[None] if given.ndim == self.rank + 1 else given
        if data.ndim != self.rank + 2 or data.shape[1] != self.in_channels:
            raise ValueError(f"x must have {self.rank + 2} dimensions, or {self.rank + 1} without N, and "
                             f"{self.in_channels} channels; got shape {given.shape}")  # fmt: skip
        own = self.weight.dtype
        dtype = np.result_type(data, own) if data.dtype.kind == "f" else own
        scaled = self.attention(data.mean(axis=tuple(range(2, data.ndim)), dtype=dtype)) / dtype.type(self.temperature)
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)  # (N, kernels)
        weight = np.tensordot(shares, self.weight.data, 1)
        bias = None if self.bias is None else shares @ self.bias.data
        y: Array = getattr(api, f"conv{self.rank}d")(data, weight, bias, *self._geometry)
        self.keep((data, shares, weight, given.ndim))
        return y.reshape(y.shape[data.ndim - given.ndim :])

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        """The gradient for the input; that of every parameter, those of ``attention`` too, is set."""
        data, shares, weight, dimensions = self.kept()
        dy = as_array("grad_output", grad_output)
        dy = dy[None] if dimensions < data.ndim else dy
        wanted = (True, True, self.bias is not None)
        of_image = conv_backward(
            dy, data, weight, self.stride, self.padding, self.dilation, False, 0, self.groups, wanted, per_sample=True
        )
        kernels, dw = self.weight.data, cast("Array", of_image.weight)
        axes = tuple(range(1, kernels.ndim))
        d_shares = np.tensordot(dw, kernels, (axes, axes))
        self.weight.keep(np.tensordot(shares, dw, (0, 0)))
        if self.bias is not None and of_image.bias is not None:
            d_shares += of_image.bias @ self.bias.data.T
            self.bias.keep(shares.T @ of_image.bias)
        d_scaled = shares * (d_shares - (shares * d_shares).sum(axis=1, keepdims=True))
        d_mean = self.attention.backward(d_scaled / d_scaled.dtype.type(self.temperature))
        dx = cast("Array", of_image.x)
        dx += (d_mean / prod(data.shape[2:])).reshape(*d_mean.shape, *(1,) * self.rank)
        return dx.reshape(dx.shape[data.ndim - dimensions :])

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, kernels={self.kernels}, temperature={self.temperature:g}"


# ---- to the pixel ----------------------------------------------------------------------------------------------------


class _Local(Adaptive):
    text: ClassVar[dict[str, str]] = {
        "first": """
    input_size : int, or one for each axis
        Of the images.""",
        "biased": "output",
        "more": "",
        "attributes": """weight : Parameter, (out_channels, in_channels/groups, *kernel_size, *output_size)
    bias : Parameter, (out_channels, *output_size), or None""",
    }

    def __init__(
        self,
        in_channels: SupportsIndex,
        out_channels: SupportsIndex,
        input_size: Ints,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: SupportsIndex = 1,
        bias: bool = True,
        dtype: npt.DTypeLike | None = None,
        *,
        rng: init.Rng = None,
    ) -> None:
        self.input_size = per_axis("input_size", input_size, self.rank, least=1)
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, "zeros", dtype, rng
        )

    def _make_parameters(self) -> None:
        shapes = (1, self.in_channels, *self.input_size), self.out_channels, self.kernel_size, self._dtype, self.groups
        geometry = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        self.tail = ConvProblem.of_kernel(self.rank, *shapes, **geometry).y_shape[2:]
        super()._make_parameters()

    def forward(self, x: npt.ArrayLike) -> Array:
        """The sums of ``x``, (N, C, *input_size)."""
        data = as_array("x", x)
        if data.shape[1:] != (self.in_channels, *self.input_size):
            raise ValueError(f"x must have shape (N, {self.in_channels}, {', '.join(map(str, self.input_size))}); "
                             f"got {data.shape}")  # fmt: skip
        convolve = getattr(local, f"local_conv{self.rank}d")
        y: Array = convolve(data, self.weight.data, self._bias, *self._geometry)
        self.keep(data)
        return y

    def backward(self, grad_output: npt.ArrayLike) -> Array:
        """The gradient for the input; ``weight.grad`` and ``bias.grad`` are set."""
        data, dy = self.kept(), as_array("grad_output", grad_output)
        for_input, for_weight = (getattr(local, f"local_conv{self.rank}d_{of}") for of in ("input", "weight"))
        self.weight.keep(for_weight(data, self.weight.shape, dy, *self._geometry))
        if self.bias is not None:
            self.bias.keep(dy.sum(axis=0))
        dx: Array = for_input(data.shape, self.weight.data, dy, *self._geometry)
        return dx

    def extra_repr(self) -> str:
        return super().extra_repr().replace(", kernel_size", f", input_size={self.input_size}, kernel_size", 1)


# ---- in where they read ----------------------------------------------------------------------------------------------


class Moved(NamedTuple):
    """What `DeformConv2d.backward` and its kin return; ``mask`` is None where `forward` had none."""

    x: Array
    offset: Array
    mask: Array | None


class _Deform(Adaptive):
    text: ClassVar[dict[str, str]] = {
        "first": "",
        "biased": "channel",
        "more": "",
        "attributes": "weight, bias : Parameter\n        ``bias`` is None if there is none.",
    }

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
        dtype: npt.DTypeLike | None = None,
        *,
        rng: init.Rng = None,
    ) -> None:
        self._set(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias, "zeros", dtype, rng
        )

    def forward(  # type: ignore[override]  # it has several inputs
        self, x: npt.ArrayLike, offset: npt.ArrayLike, mask: npt.ArrayLike | None = None
    ) -> Array:
        """As the function of the layer; the number of offset groups is that of the offsets' channels."""
        data, moves = as_array("x", x), as_array("offset", offset)
        each = self.rank * prod(self.kernel_size)
        if moves.ndim != self.rank + 2 or moves.shape[1] % each or not moves.shape[1]:
            raise ValueError(f"offset must have {self.rank + 2} dimensions and a multiple of {each} channels, "
                             f"{self.rank} for each tap; got shape {moves.shape}")  # fmt: skip
        stride, padding, dilation, groups = self._geometry
        how = (
            stride,
            padding,
            dilation,
            None if mask is None else as_array("mask", mask),
            groups,
            moves.shape[1] // each,
        )
        convolve = getattr(deformable, f"deform_conv{self.rank}d")
        y: Array = convolve(data, moves, self.weight.data, self._bias, *how)
        self.keep((data, moves, how))
        return y

    def backward(self, grad_output: npt.ArrayLike) -> Moved:  # type: ignore[override]
        """The gradients for the inputs, ``(x, offset, mask)``; ``weight.grad`` and ``bias.grad`` are set."""
        data, moves, how = self.kept()
        backward = getattr(deformable, f"deform_conv{self.rank}d_backward")
        gradients = backward(grad_output, data, moves, self.weight.data, *how)
        self.weight.keep(gradients.weight)
        if self.bias is not None:
            self.bias.keep(gradients.bias)
        return Moved(gradients.x, gradients.offset, gradients.mask)


class DynamicConv1d(_Dynamic):
    """1-D convolution with kernels mixed for each image, by attention over its means; by `numbaconv.conv1d`.

    shares = softmax(attention(mean of x) / temperature),  weight = sum over k of  shares[k] * weight[k],  bias likewise

    Examples
    --------
    >>> import numpy as np
    >>> layer = DynamicConv1d(8, 4, 3, kernels=2, rng=0)
    >>> layer
    DynamicConv1d(
      8, 4, kernel_size=(3,), stride=(1,), kernels=2, temperature=30
      (attention): Sequential(
        (0): Linear(in_features=8, out_features=2, bias=True)
        (1): ReLU()
        (2): Linear(in_features=2, out_features=2, bias=True)
      )
    )
    >>> layer(np.ones((2, 8, 9))).shape
    (2, 4, 7)
    """

    rank = 1


class DynamicConv2d(_Dynamic):
    """2-D convolution with kernels mixed for each image, by attention over its means; by `numbaconv.conv2d`.

    shares = softmax(attention(mean of x) / temperature),  weight = sum over k of  shares[k] * weight[k],  bias likewise

    Examples
    --------
    >>> import numpy as np
    >>> layer = DynamicConv2d(8, 4, 3, kernels=2, rng=0)
    >>> layer
    DynamicConv2d(
      8, 4, kernel_size=(3, 3), stride=(1, 1), kernels=2, temperature=30
      (attention): Sequential(
        (0): Linear(in_features=8, out_features=2, bias=True)
        (1): ReLU()
        (2): Linear(in_features=2, out_features=2, bias=True)
      )
    )
    >>> layer(np.ones((2, 8, 9, 9))).shape
    (2, 4, 7, 7)
    """

    rank = 2


class DynamicConv3d(_Dynamic):
    """3-D convolution with kernels mixed for each image, by attention over its means; by `numbaconv.conv3d`.

    shares = softmax(attention(mean of x) / temperature),  weight = sum over k of  shares[k] * weight[k],  bias likewise

    Examples
    --------
    >>> import numpy as np
    >>> layer = DynamicConv3d(8, 4, 3, kernels=2, rng=0)
    >>> layer
    DynamicConv3d(
      8, 4, kernel_size=(3, 3, 3), stride=(1, 1, 1), kernels=2, temperature=30
      (attention): Sequential(
        (0): Linear(in_features=8, out_features=2, bias=True)
        (1): ReLU()
        (2): Linear(in_features=2, out_features=2, bias=True)
      )
    )
    >>> layer(np.ones((2, 8, 5, 5, 5))).shape
    (2, 4, 3, 3, 3)
    """

    rank = 3


class LocallyConnected1d(_Local):
    """1-D convolution with weights of its own for each output pixel; by `numbaconv.local_conv1d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LocallyConnected1d(2, 4, 9, 3, rng=0)
    >>> layer
    LocallyConnected1d(2, 4, input_size=(9,), kernel_size=(3,), stride=(1,))
    >>> layer(np.ones((2, 2, 9))).shape
    (2, 4, 7)
    """

    rank = 1


class LocallyConnected2d(_Local):
    """2-D convolution with weights of its own for each output pixel; by `numbaconv.local_conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LocallyConnected2d(2, 4, 9, 3, rng=0)
    >>> layer
    LocallyConnected2d(2, 4, input_size=(9, 9), kernel_size=(3, 3), stride=(1, 1))
    >>> layer(np.ones((2, 2, 9, 9))).shape
    (2, 4, 7, 7)
    """

    rank = 2


class LocallyConnected3d(_Local):
    """3-D convolution with weights of its own for each output pixel; by `numbaconv.local_conv3d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LocallyConnected3d(2, 4, 5, 3, rng=0)
    >>> layer
    LocallyConnected3d(2, 4, input_size=(5, 5, 5), kernel_size=(3, 3, 3), stride=(1, 1, 1))
    >>> layer(np.ones((2, 2, 5, 5, 5))).shape
    (2, 4, 3, 3, 3)
    """

    rank = 3


class DeformConv1d(_Deform):
    """1-D convolution that reads where offsets say, given to each call; by `numbaconv.deform_conv1d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = DeformConv1d(2, 4, 3, rng=0)
    >>> layer
    DeformConv1d(2, 4, kernel_size=(3,), stride=(1,))
    >>> layer(np.ones((2, 2, 9)), np.zeros((2, 3, 7))).shape
    (2, 4, 7)
    """

    rank = 1


class DeformConv2d(_Deform):
    """2-D convolution that reads where offsets say, given to each call; by `numbaconv.deform_conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = DeformConv2d(2, 4, 3, rng=0)
    >>> layer
    DeformConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1))
    >>> layer(np.ones((2, 2, 9, 9)), np.zeros((2, 18, 7, 7))).shape
    (2, 4, 7, 7)
    """

    rank = 2


class DeformConv3d(_Deform):
    """3-D convolution that reads where offsets say, given to each call; by `numbaconv.deform_conv3d`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = DeformConv3d(2, 4, 3, rng=0)
    >>> layer
    DeformConv3d(2, 4, kernel_size=(3, 3, 3), stride=(1, 1, 1))
    >>> layer(np.ones((2, 2, 5, 5, 5)), np.zeros((2, 81, 3, 3, 3))).shape
    (2, 4, 3, 3, 3)
    """

    rank = 3

"""`ConvProblem`: one convolution, whatever its rank or spelling, as the sum that every strategy computes.

    y[n, o, p] = b[o] + sum over c, t of  w[o, c, t] * x[n, g(o) + c, (p*stride + t*dilation - lo) / input_dilation]

``p`` runs over output pixels and ``t`` over kernel taps, axis by axis (depth, height, width); ``c`` runs over the
channels of the group that output channel ``o`` belongs to. A term whose position is outside the input, or between two
of its pixels (``input_dilation`` > 1), is left out; it is never a multiplication by zero. ``lo`` < 0 crops the input.

A transposed convolution is the same sum: its stride is an input dilation, its kernel is flipped and swapped, and its
padding is ``dilation*(kernel-1) - padding``.

So are both gradients of such a sum: that for ``x`` is its `adjoint`, that for ``w`` its `weight_gradient`.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, NamedTuple, SupportsIndex, TypeVar

import numpy as np

from numbaconv.reading import SHORT, Centred, Prologue, Reading
from numbaconv.tail import Tail, dtype_of

Value = TypeVar("Value")
Triple = tuple[int, int, int]
Pair = tuple[int, int]
Ints = SupportsIndex | Sequence[SupportsIndex]  # as users give them: one for all axes, or one for each
Padding = str | SupportsIndex | Sequence[SupportsIndex | Sequence[SupportsIndex]]

AXES = ("depth", "height", "width")
LAYOUT = {1: "(N, C, width)", 2: "(N, C, height, width)", 3: "(N, C, depth, height, width)"}
PADDING_WORDS = ("valid", "same", "same_lower", "full", "causal")
SPATIAL = "DHW"
DEFAULT_ORDER = "NC" + SPATIAL  # of the axes of x and of the result as they lie in memory
PRODUCTS = {1: "", 2: " pairs", 4: " quads"}
LARGEST = 2**62  # so that the sum of two sizes is still an int64


@dataclass(frozen=True)
class ConvProblem:
    """One convolution; 1-D and 2-D have leading axes of size 1, kernel 1, stride 1, dilation 1 and padding (0, 0)."""

    rank: int  # the user's: 1, 2 or 3
    batch: int
    groups: int
    in_channels: int  # of all groups
    out_channels: int
    in_size: Triple
    kernel: Triple
    stride: Triple
    dilation: Triple
    input_dilation: Triple
    padding: tuple[Pair, Pair, Pair]  # (lo, hi) of the dilated input; negative = crop
    dtype: str  # of the sums, and of the result where `tail` names no other
    transposed: bool  # the user's weights are (in, out/groups, *kernel), to be flipped and swapped
    swapped: bool = False  # the arrays lie as those of `weight_gradient`, whose batch is their second axis
    tail: Tail | None = None  # what follows the sum
    padding_mode: str = "zeros"  # of `reading.MODES`; always 'zeros' where there is no padding
    padding_value: complex = 0.0  # of mode 'constant'
    x_dtype: str = ""  # of x, where it is read as another dtype than that of the sums
    prologue: Prologue | Centred | None = None  # applied to each element of x that is read
    # Each int32 of x and w is so many channels, and w * x the sum of so many products: two of int16, or four, which are
    # of uint8 in x and of int8 in w; padding_value is such an int32, unsigned.
    products: int = 1
    x_order: str = DEFAULT_ORDER  # of the axes of x, depth, height and width always among them
    y_order: str = DEFAULT_ORDER  # of those of the result

    def __hash__(self) -> int:  # asked for by every call, of the same problem as a rule
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self._fields())

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def __reduce__(self) -> tuple[Any, ...]:  # what is remembered beside the fields holds in this process only
        return ConvProblem, self._fields()

    # ---- sizes -----------------------------------------------------------------------------------------------------

    @property
    def dilated_in_size(self) -> Triple:
        """Input size with the gaps that the input dilation opens between pixels."""
        return _triple(
            (n - 1) * step + 1 if n else 0 for n, step in zip(self.in_size, self.input_dilation, strict=True)
        )

    @cached_property
    def out_size(self) -> Triple:
        """floor((dilated input + lo + hi - dilation*(kernel-1) - 1) / stride) + 1."""
        return _triple(
            (n + lo + hi - d * (k - 1) - 1) // s + 1
            for n, (lo, hi), d, k, s in zip(
                self.dilated_in_size, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )

    @property
    def result_dtype(self) -> np.dtype[Any]:
        """The dtype of the result."""
        return dtype_of(self.tail.dtype if self.tail and self.tail.dtype else self.dtype)

    def overflow(self, of_sums: bool) -> OverflowError:
        """The error of an integer sum that the dtype of the sums, or else that of the result, does not hold."""
        result = str(self.result_dtype)
        if of_sums and result != self.dtype:
            wider = "a wider accumulate_dtype holds it" if self.dtype not in ("int64", "uint64") else "float64 x may do"
            return OverflowError(f"a sum does not fit the accumulate_dtype {self.dtype}; {wider}")
        wider = "float64 operands may do" if result in ("int64", "uint64") else (
            "a wider out_dtype, or operands of a wider dtype (int64 or float64), hold it")  # fmt: skip
        return OverflowError(f"a sum does not fit the result dtype {result}; {wider}")

    @property
    def itemsize(self) -> int:
        """Bytes of an element as tiles read it: of float64, float32, or int32, which may be several narrower ones."""
        return 8 if self.dtype == "float64" else 4

    @property
    def taps(self) -> int:
        """Weights of one kernel plane."""
        return prod(self.kernel)

    @cached_property
    def terms(self) -> int:
        """Products in the sum of one output, those in the padding included."""
        return self.in_channels // self.groups * self.taps

    @cached_property
    def pixels(self) -> int:
        """Output pixels of one image and channel."""
        return prod(self.out_size)

    @property
    def in_pixels(self) -> int:
        """Input pixels of one image and channel."""
        return prod(self.in_size)

    @property
    def macs(self) -> int:
        """Multiply-adds, those in the padding included."""
        return self.batch * self.out_channels * self.pixels * self.terms

    @property
    def flops(self) -> int:
        """Two for each multiply-add, as every published figure counts."""
        return 2 * self.macs

    @cached_property
    def is_empty(self) -> bool:
        """True where there is nothing to multiply, so that the result is empty or only the bias."""
        return not (self.batch and self.out_channels and self.terms and self.in_pixels)

    @cached_property
    def is_padded(self) -> bool:
        """True where a term may lie outside the input, so that it is left out."""
        return self.padding_mode == "zeros" and any(lo > 0 or hi > 0 for lo, hi in self.padding)

    @property
    def is_extended(self) -> bool:
        """True where terms outside the input are terms like others."""
        return self.padding_mode != "zeros"

    @property
    def is_loaded(self) -> bool:
        """True where elements of x are not read as they are."""
        return bool(self.x_dtype) or self.prologue is not None

    @cached_property
    def one_of_each(self) -> tuple[int | slice, ...]:
        """Index of one output of each channel and phase of the input dilation, in ``y_shape``."""
        one, every = slice(0, 1), slice(None)
        lead = (every, one) if self.swapped else (one, every)
        steps = tuple(slice(0, step) for step in self.input_dilation)
        return self._in_order(self.y_order, (*lead, *steps))

    @property
    def is_ordered(self) -> bool:
        """True where x or the result does not lie as ``(N, C, ...)``."""
        return self.x_order != DEFAULT_ORDER or self.y_order != DEFAULT_ORDER

    @property
    def reorders(self) -> bool:
        """True where the pixels of a channel of the result do not lie as strategies sum them up."""
        return self.y_order != DEFAULT_ORDER

    @property
    def x_shape(self) -> tuple[int, ...]:
        """``(batch, in_channels, *in_size)`` in the user's rank and order.

        If swapped, ``(in/groups, groups*batch, *in_size)``.
        """
        if self.swapped:
            return (self.in_channels // self.groups, self.groups * self.batch, *self.in_size[3 - self.rank :])
        return self._in_order(self.x_order, (self.batch, self.in_channels, *self.in_size))

    @property
    def w_shape(self) -> tuple[int, ...]:
        """The user's weights: ``(out, in/groups, *kernel)``, or ``(in, out/groups, *kernel)`` if transposed.

        If swapped, ``(in/groups, out, *kernel)``.
        """
        if self.swapped:
            return (self.in_channels // self.groups, self.out_channels, *self.kernel[3 - self.rank :])
        if self.transposed:
            return (self.in_channels, self.out_channels // self.groups, *self.kernel[3 - self.rank :])
        return (self.out_channels, self.in_channels // self.groups, *self.kernel[3 - self.rank :])

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """``(batch, out_channels, *out_size)`` in the user's rank and order.

        If swapped, ``(out_channels, batch, *out_size)``.
        """
        lead = (self.batch, self.out_channels)
        return self._in_order(self.y_order, (*(lead[::-1] if self.swapped else lead), *self.out_size))

    def y_axis(self, letter: str) -> int:
        """Which axis of ``y_shape`` has the images, N, or the channels, C."""
        return self._in_order(self.y_order, tuple(DEFAULT_ORDER)).index(letter)

    @property
    def x_strides(self) -> dict[str, int]:
        """Elements from one position to the next along each axis of x, by its letter."""
        return _strides(self.x_order, (self.batch, self.in_channels, *self.in_size))

    @property
    def y_strides(self) -> dict[str, int]:
        """The same of the result."""
        return _strides(self.y_order, (self.batch, self.out_channels, *self.out_size))

    def _in_order(self, order: str, axes: tuple[Value, ...]) -> tuple[Value, ...]:
        """What the axes N, C, D, H, W have, in an order, without those that the rank does not have."""
        if order == DEFAULT_ORDER:
            return (*axes[:2], *axes[5 - self.rank :])
        absent = SPATIAL[: 3 - self.rank]
        return tuple(axes[DEFAULT_ORDER.index(letter)] for letter in order if letter not in absent)

    # ---- views of the same problem ---------------------------------------------------------------------------------

    def forward_weights(self, weight: np.ndarray) -> np.ndarray:
        """The user's weights as a view ``(groups, out/groups, in/groups, kd, kh, kw)`` of any strides."""
        inner = self.in_channels // self.groups
        outer = self.out_channels // self.groups
        if self.transposed:
            swapped = weight.reshape(self.groups, inner, outer, *self.kernel).swapaxes(1, 2)
            return swapped[..., ::-1, ::-1, ::-1]
        if self.swapped:
            return weight.reshape(inner, self.groups, outer, *self.kernel).transpose(1, 2, 0, 3, 4, 5)
        return weight.reshape(self.groups, outer, inner, *self.kernel)

    def of_images(self) -> ConvProblem:
        """The same with weights of its own for each image: images are groups of one image, and nothing moves in memory.

        x ``(N, C, ...)`` lies as ``(1, N*C, ...)``, the weights of all images as those of N times as many groups.
        """
        self._check_channels_first("weights for each image")
        return replace(
            self,
            batch=1,
            groups=self.batch * self.groups,
            in_channels=self.batch * self.in_channels,
            out_channels=self.batch * self.out_channels,
        )

    def adjoint(self) -> ConvProblem:
        """The gradient for ``x``: every product goes back from the output that it went into to the input it came from.

            dx[n, c, i] = sum over o, t, p of  w[o, c, t] * dy[n, o, p]      where  p*stride + t*dilation - lo = i*gap

        Stride and input dilation (gap) change places, kernels are flipped and swapped. Its size is exactly that of
        ``x``; inputs that no output reads are zero.
        """
        self._check_differentiable()
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
        return replace(
            self,
            in_channels=self.out_channels,
            out_channels=self.in_channels,
            in_size=self.out_size,
            stride=self.input_dilation,
            input_dilation=self.stride,
            padding=_triple(
                (r - lo, (n - 1) * gap + lo - (m - 1) * s)
                for r, (lo, _), n, m, gap, s in zip(
                    reach, self.padding, self.in_size, self.out_size, self.input_dilation, self.stride, strict=True
                )
            ),
            transposed=not self.transposed,
            x_order=self.y_order,
            y_order=self.x_order,
        )

    def weight_gradient(self) -> ConvProblem:
        """The gradient of a problem without input dilation for its weights, a convolution of ``x`` with ``dy``.

            dw[o, c, t] = sum over n, p of  dy[n, o, p] * x[n, g(o) + c, p*stride + t*dilation - lo]

        The sum runs over images and output pixels: they take the place of input channels and taps, so that the input
        channels of a group become the batch, and stride and dilation change places. Nothing moves in memory: x stays
        ``(N, C, ...)``, dy, the weight of this problem, ``(N, O, ...)``, and dw is ``(O, C/groups, *kernel)``.
        """
        self._check_differentiable()
        self._check_channels_first("gradients for weights")
        return replace(
            self,
            batch=self.in_channels // self.groups,
            in_channels=self.groups * self.batch,
            kernel=self.out_size,
            stride=self.dilation,
            dilation=self.stride,
            padding=_triple(
                (lo, (k - 1) * d + (m - 1) * s + 1 - n - lo)
                for (lo, _), n, m, k, d, s in zip(
                    self.padding, self.in_size, self.out_size, self.kernel, self.dilation, self.stride, strict=True
                )
            ),
            transposed=False,
            swapped=True,
        )

    def folded(self, kernels: bool = False) -> ConvProblem:
        """The same sum over the same memory with as few axes as it truly has.

        An axis that the kernel does not extend along, next to one of stride 1, is only a longer row: a 1x1
        convolution of H x W is 1-D over H*W pixels. ``kernels``: so it is next to one that the kernel extends along,
        and a 7x1 kernel is a 1-D kernel of dilation W; its taps then share no rows, which most loops pay for. Weights
        follow by ``reshape``, as only axes of size 1 move. The rank stays the user's. Rows beyond the first and the
        last are as many pixels further only where they are all one constant, or where the rows go round. A dilation of
        a single tap or pixel says nothing, and may be large. Two axes are one only where they lie next to each other,
        in x and in the result; and an order in which only axes of size 1 are not in their places is no order at all.
        """
        goes_on = self.padding_mode in {"zeros", "constant", "circular"}
        axes = [
            _Axis(n, k, s, d if k > 1 else 1, step if n > 1 else 1, pad)
            for n, k, s, d, step, pad in zip(
                self.in_size, self.kernel, self.stride, self.dilation, self.input_dilation, self.padding, strict=True
            )
        ]
        orders = self.x_order, self.y_order
        later = 2
        while later > 0:
            outer = axes[later - 1]
            if (
                (kernels or outer.kernel == 1)
                and (goes_on or max(outer.padding) <= 0)
                and outer.absorbs(axes[later])
                and (not self.is_ordered or all(SPATIAL[later - 1 : later + 1] in order for order in orders))
            ):
                axes[: later + 1] = [_Axis(), *axes[: later - 1], axes[later - 1].folded_with(axes[later])]
                orders = _moved(orders[0], later), _moved(orders[1], later)
                later = 2
            else:
                later -= 1
        size, kernel, stride, dilation, input_dilation, padding = zip(*axes, strict=True)
        folded = replace(
            self,
            in_size=size,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            input_dilation=input_dilation,
            padding=padding,
            x_order=orders[0],
            y_order=orders[1],
        )
        if not self.is_ordered:
            return folded
        lead = self.batch, self.in_channels, self.out_channels
        return replace(
            folded,
            x_order=_settled(orders[0], (*lead[:2], *folded.in_size)),
            y_order=_settled(orders[1], (lead[0], lead[2], *folded.out_size)),
        )

    def __str__(self) -> str:
        first = 3 - self.rank
        name = f"conv_transpose{self.rank}d" if self.transposed else f"conv{self.rank}d{'_weight' * self.swapped}"
        stride, between, padding = self.stride, self.input_dilation, list(self.padding)
        if self.transposed:  # in the words of the user's call; output padding shows as less padding at the high side
            reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel, strict=True)]
            stride, between = between, stride
            padding = [(r - lo, r - hi) for r, (lo, hi) in zip(reach, padding, strict=True)]
        pads = [str(lo) if lo == hi else f"{lo}:{hi}" for lo, hi in padding[first:]]
        spacing = "" if between == (1, 1, 1) else f" input_dilation{_short(between[first:])}"
        return (
            f"{name} {_SHORT_DTYPE.get(self.dtype, self.dtype)} {times(self.x_shape)} * {times(self.w_shape)}"
            f" s{_short(stride[first:])} p{_short(pads)} d{_short(self.dilation[first:])} g{self.groups}{spacing}"
            f"{PRODUCTS[self.products]}{f' {self.tail}' if self.tail else ''}{self._reading()}"
        )

    def _reading(self) -> str:
        """How x is read, and in which order arrays lie, in `__str__`."""
        words = []
        if self.is_ordered:
            words.append(f" {self.x_order}->{self.y_order}")
        if self.padding_mode == "constant":
            words.append(f" constant({self.padding_value:g})")
        elif self.padding_mode != "zeros":
            words.append(f" {self.padding_mode}")
        if self.x_dtype:
            words.append(f" from {SHORT.get(self.x_dtype, self.x_dtype)}")
        if self.prologue is not None:
            words.append(f" prologue {self.prologue}")
        return "".join(words)

    def read_as(self, reading: Reading) -> ConvProblem:
        """The same problem, its input read so; where no padding is read there is only the mode 'zeros'."""
        mode, value = reading.padding_mode, reading.padding_value
        if not any(lo > 0 or hi > 0 for lo, hi in self.padding):
            mode, value = "zeros", 0.0
        if mode != "zeros" and 0 in self.in_size:
            raise ValueError(
                f"padding_mode={mode!r} has nothing to go on from: x has spatial size {self.in_size[3 - self.rank :]}; "
                "at least 1 along every axis is accepted"
            )
        return replace(self, padding_mode=mode, padding_value=value, x_dtype=reading.x_dtype, prologue=reading.prologue)

    # ---- constructors: every argument error is raised here -----------------------------------------------------------

    @classmethod
    def of(
        cls,
        rank: int,
        x_shape: Iterable[int],
        w_shape: Iterable[int],
        dtype: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: Any = 1,
    ) -> ConvProblem:
        """The forward problem: ``x_shape`` is ``(N, C, *size)``, ``w_shape`` is ``(out, in/groups, *kernel)``."""
        batch, in_channels, size = _input_shape(rank, x_shape)
        out_channels, inner, kernel = _weight_shape(rank, w_shape, "(out_channels, in_channels/groups, *kernel)")
        steps = per_axis("stride", stride, rank, least=1)
        spread = per_axis("dilation", dilation, rank, least=1)
        groups = _groups(groups, "out_channels", out_channels)
        if in_channels != inner * groups:
            raise ValueError(
                f"x has {in_channels} channels, but weight of shape {(out_channels, inner, *kernel)} with "
                f"groups={groups} takes {inner}*{groups} = {inner * groups}"
            )
        pads = _forward_padding(padding, rank, size, kernel, steps, spread)
        ones = (1,) * rank
        return cls._checked(
            rank, batch, groups, in_channels, out_channels, size, kernel, steps, spread, ones, pads, dtype, False
        )

    @classmethod
    def of_transposed(
        cls,
        rank: int,
        x_shape: Iterable[int],
        w_shape: Iterable[int],
        dtype: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: Any = 1,
        dilation: Any = 1,
        output_size: Any = None,
    ) -> ConvProblem:
        """The transposed problem: ``w_shape`` is ``(in, out/groups, *kernel)``; ``padding`` is cut off the result.

        Its size is ``(in-1)*stride - lo - hi + dilation*(kernel-1) + output_padding + 1`` (torch's formula).
        """
        batch, in_channels, size = _input_shape(rank, x_shape)
        w_in, outer, kernel = _weight_shape(rank, w_shape, "(in_channels, out_channels/groups, *kernel)")
        steps = per_axis("stride", stride, rank, least=1)
        spread = per_axis("dilation", dilation, rank, least=1)
        groups = _groups(groups, "in_channels", w_in)
        if in_channels != w_in:
            raise ValueError(f"x has {in_channels} channels, but transposed weight of shape {(w_in, outer, *kernel)} "
                             f"takes {w_in} (its first axis)")  # fmt: skip
        if 0 in size:
            raise ValueError(f"x has spatial size {size}; a transposed convolution needs at least 1 along every axis")
        out_channels = outer * groups
        extra = per_axis("output_padding", output_padding, rank, least=0)
        for axis, op, s, d in zip(AXES[3 - rank :], extra, steps, spread, strict=True):
            if op >= max(s, d):
                raise ValueError(f"output_padding must be smaller than stride or dilation; got output_padding={op}, "
                                 f"stride={s}, dilation={d} along {axis}")  # fmt: skip
        cuts, extra = _transposed_padding(padding, extra, output_size is not None, rank, kernel, steps, spread)
        if output_size is not None:
            if any(extra):
                raise ValueError(f"give output_size={output_size!r} or output_padding={output_padding!r}, not both: "
                                 "output_size chooses the output padding")  # fmt: skip
            least = [
                (n - 1) * s - lo - hi + d * (k - 1) + 1
                for n, s, (lo, hi), d, k in zip(size, steps, cuts, spread, kernel, strict=True)
            ]
            wanted = _output_size(output_size, rank, batch, out_channels)
            most = [m + max(s, d) - 1 for m, s, d in zip(least, steps, spread, strict=True)]
            if not all(a <= b <= c for a, b, c in zip(least, wanted, most, strict=True)):
                raise ValueError(f"output_size must be between {tuple(least)} and {tuple(most)} for an input of size "
                                 f"{size}; got {wanted}")  # fmt: skip
            extra = tuple(b - a for a, b in zip(least, wanted, strict=True))
        pads = tuple(
            (d * (k - 1) - lo, d * (k - 1) - hi + op)
            for d, k, (lo, hi), op in zip(spread, kernel, cuts, extra, strict=True)
        )
        ones = (1,) * rank
        return cls._checked(
            rank, batch, groups, in_channels, out_channels, size, kernel, ones, spread, steps, pads, dtype, True
        )

    @classmethod
    def of_kernel(
        cls,
        rank: int,
        x_shape: Iterable[int],
        out_channels: Any,
        kernel_size: Any,
        dtype: Any = "float32",
        groups: Any = 1,
        transposed: bool = False,
        **geometry: Any,
    ) -> ConvProblem:
        """The problem of a kernel that is known by its size, not by its weights; ``geometry`` as in the other two."""
        _, channels, _ = _input_shape(rank, x_shape)
        kernel = per_axis("kernel_size", kernel_size, rank, least=1)
        outer = _int("out_channels", out_channels, least=0)
        groups = _int("groups", groups, least=1)
        if channels % groups or outer % groups:
            raise ValueError(f"groups must divide the channels of the input and of the result; got groups={groups}, "
                             f"{channels} and {outer} channels")  # fmt: skip
        if transposed:
            w_shape = (channels, outer // groups, *kernel)
            return cls.of_transposed(rank, x_shape, w_shape, dtype, groups=groups, **geometry)
        return cls.of(rank, x_shape, (outer, channels // groups, *kernel), dtype, groups=groups, **geometry)

    @classmethod
    def _checked(
        cls,
        rank: int,
        batch: int,
        groups: int,
        in_channels: int,
        out_channels: int,
        size: tuple[int, ...],
        kernel: tuple[int, ...],
        stride: tuple[int, ...],
        dilation: tuple[int, ...],
        input_dilation: tuple[int, ...],
        padding: tuple[Pair, ...],
        dtype: Any,
        transposed: bool,
    ) -> ConvProblem:
        """Fill up to three axes, and refuse what has no output or does not fit in memory addresses."""
        lead = (1,) * (3 - rank)
        low, middle, high = ((0, 0),) * (3 - rank) + padding
        problem = cls(
            rank=rank,
            batch=batch,
            groups=groups,
            in_channels=in_channels,
            out_channels=out_channels,
            in_size=_triple(lead + size),
            kernel=_triple(lead + kernel),
            stride=_triple(lead + stride),
            dilation=_triple(lead + dilation),
            input_dilation=_triple(lead + input_dilation),
            padding=(low, middle, high),
            dtype=str(np.dtype(dtype)),
            transposed=transposed,
        )
        problem._check_output()
        itemsize = np.dtype(dtype).itemsize
        for name, shape in (("x", problem.x_shape), ("weight", problem.w_shape), ("the result", problem.y_shape)):
            if max(shape) > LARGEST or prod(n for n in shape if n) * itemsize > 2 * LARGEST:
                raise ValueError(f"{name} of shape {shape} and dtype {problem.dtype} does not fit in 2**63 bytes")
        return problem

    def _check_differentiable(self) -> None:
        """The gradient of what is read otherwise than as an array with zeros around it is another sum."""
        if self.is_extended or self.is_loaded:
            raise ValueError(f"gradients are for padding_mode='zeros' and x of the dtype of the sums; got {self}")

    def _check_channels_first(self, what: str) -> None:
        """Some views of a problem are other readings of the same memory, which holds in one order only."""
        if self.is_ordered:
            raise ValueError(f"{what} are for arrays that lie as (N, C, ...); got {self}")

    def _check_output(self) -> None:
        for i in range(3 - self.rank, 3):
            if self.out_size[i] > 0:
                continue
            (lo, hi), reach = self.padding[i], self.dilation[i] * (self.kernel[i] - 1)
            if self.transposed:
                grown = self.dilated_in_size[i] + reach
                raise ValueError(
                    f"padding ({reach - lo}, {reach - hi}) along {AXES[i]} leaves nothing of the transposed result of "
                    f"{grown} pixels; less than {grown} in all is accepted"
                )
            padded = self.in_size[i] + lo + hi
            raise ValueError(
                f"no output along {AXES[i]}: the padded input has {padded} pixels ({self.in_size[i]} + padding "
                f"({lo}, {hi})), the dilated kernel {reach + 1} (size {self.kernel[i]}, dilation {self.dilation[i]}), "
                "which must not be larger"
            )


def _strides(order: str, sizes: tuple[int, ...]) -> dict[str, int]:
    """By letter; ``sizes`` are those of N, C, D, H, W."""
    strides, step = {}, 1
    for letter in reversed(order):
        strides[letter] = step
        step *= sizes[DEFAULT_ORDER.index(letter)]
    return strides


def _moved(order: str, later: int) -> str:
    """The order after spatial axes ``later - 1`` and ``later`` became ``later``, and those before them moved one on."""
    if order == DEFAULT_ORDER:
        return order
    kept = order.replace(SPATIAL[later - 1], "")
    if later == 2:  # depth takes the place, and the letter, of height
        kept = kept.replace("D", "H")
    first = min(kept.index(letter) for letter in kept if letter in SPATIAL)
    return kept[:first] + "D" + kept[first:]


def _settled(order: str, sizes: tuple[int, ...]) -> str:
    """The order with axes of size 1, which may be anywhere, where they are by default, as far as that goes."""
    moving = [letter for letter in order if sizes[DEFAULT_ORDER.index(letter)] != 1]
    for letter in DEFAULT_ORDER:  # each that has size 1 goes before the next one of the default order
        if letter not in moving:
            later = DEFAULT_ORDER[DEFAULT_ORDER.index(letter) + 1 :]
            at = min((moving.index(other) for other in later if other in moving), default=len(moving))
            moving.insert(at, letter)
    return "".join(moving)


class _Axis(NamedTuple):
    """One axis of a problem, in the order of the fields of ConvProblem."""

    size: int = 1
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    input_dilation: int = 1
    padding: Pair = (0, 0)

    def absorbs(self, inner: _Axis) -> bool:
        """Whether this axis and the next are one; never for an axis of size 1, which holds nothing to absorb with."""
        return self != _Axis() and self.stride == self.input_dilation == 1 and inner == _Axis(size=inner.size)

    def folded_with(self, inner: _Axis) -> _Axis:
        n = inner.size
        lo, hi = self.padding
        spread = self.dilation * n if self.kernel > 1 else 1
        return _Axis(self.size * n, self.kernel, 1, spread, 1, (lo * n, hi * n))


# ---- arguments -------------------------------------------------------------------------------------------------------


def _int(name: str, value: Any, least: int | None = None) -> int:
    """An int, or a NumPy integer, or anything with ``__index__``; bool and float are more likely a mistake."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer; got the bool {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer; got {value!r} of type {type(value).__name__}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}; got {number}")
    if abs(number) > LARGEST:
        raise ValueError(f"{name} must be at most 2**62 in size; got {number}")
    return number


def _is_int(value: Any) -> bool:
    """Whether a value stands for all axes; decided here so that ``_int`` can name what is wrong with it."""
    return isinstance(value, (bool, float)) or (hasattr(value, "__index__") and not getattr(value, "shape", ()))


def _items(name: str, value: Any, accepted: str) -> tuple[Any, ...]:
    try:
        if not isinstance(value, (str, bytes, dict, set, frozenset)):
            return tuple(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be {accepted}; got {value!r} of type {type(value).__name__}")


def per_axis(name: str, value: Any, rank: int, least: int) -> tuple[int, ...]:
    """One int for all axes, or one for each, as one for each."""
    if _is_int(value):
        return (_int(name, value, least),) * rank
    accepted = f"an int or {rank} int{'s' if rank > 1 else ''}"
    items = _items(name, value, accepted)
    if len(items) != rank:
        raise ValueError(f"{name} must be {accepted}, one for each spatial axis; got {len(items)}: {value!r}")
    return tuple(_int(f"{name}[{i}]", item, least) for i, item in enumerate(items))


def rank_of(name: str, value: Any, otherwise: int | None) -> int:
    """The rank that an argument with one int for each axis has by its length; one int for all has ``otherwise``."""
    rank = otherwise if _is_int(value) else len(_items(name, value, "an int or 1 to 3 ints"))
    if rank not in LAYOUT:
        raise ValueError(f"{name} must be an int or 1 to 3 ints, one for each spatial axis; got {value!r}")
    return rank


def rank_of_input(ndim: int, kernel_size: Any) -> int:
    """The rank that ``kernel_size`` has, or, where it is one int for all axes, torch's for so many dimensions."""
    if not 2 <= ndim <= 5:
        raise ValueError(f"x must have 2 to 5 dimensions, (C, width) to {LAYOUT[3]}; got {ndim}")
    return rank_of("kernel_size", kernel_size, {2: 1, 3: 2, 4: 2, 5: 3}[ndim])


def shape_of(name: str, value: Any) -> tuple[int, ...]:
    """A shape given as an argument, as a tuple of ints."""
    if type(value) is tuple and {*map(type, value)} <= {int} and min(value, default=0) >= 0:
        return value  # as nearly always
    if getattr(value, "ndim", 1) > 1:  # the array itself, for its shape
        raise TypeError(f"{name} must be a tuple of ints; got an array, whose shape is {value.shape}")
    return tuple(_int(f"{name}[{i}]", n, least=0) for i, n in enumerate(_items(name, value, "a tuple of ints")))


def _input_shape(rank: int, x_shape: Iterable[int]) -> tuple[int, int, tuple[int, ...]]:
    shape = shape_of("x.shape", x_shape)
    if len(shape) != rank + 2:
        raise ValueError(
            f"x must have {rank + 2} dimensions, {LAYOUT[rank]}, or {rank + 1} without N; "
            f"got {len(shape)}, shape {shape}"
        )
    return shape[0], shape[1], shape[2:]


def _weight_shape(rank: int, w_shape: Iterable[int], order: str) -> tuple[int, int, tuple[int, ...]]:
    shape = shape_of("weight.shape", w_shape)
    if len(shape) != rank + 2:
        raise ValueError(f"weight must have {rank + 2} dimensions, {order}; got {len(shape)}, shape {shape}")
    if 0 in shape[2:]:
        raise ValueError(f"weight must have a kernel of at least 1 along every axis; got shape {shape}")
    return shape[0], shape[1], shape[2:]


def _groups(value: Any, axis: str, channels: int) -> int:
    groups = _int("groups", value, least=1)
    if channels % groups:
        raise ValueError(f"groups must divide {axis} of the weight; got groups={groups}, {axis}={channels}")
    return groups


def _pairs(padding: Any, rank: int) -> tuple[Pair, ...]:
    """Padding as (lo, hi) for each axis, from an int, ints for each axis, or pairs for each axis."""
    if _is_int(padding):
        return ((_int("padding", padding),) * 2,) * rank
    pairs = str((("lo", "hi"),) * rank).replace("'", "")
    accepted = f"an int, {rank} int{'s' if rank > 1 else ''}, pairs {pairs}, or one of {PADDING_WORDS}"
    items = _items("padding", padding, accepted)
    if len(items) != rank:
        raise ValueError(f"padding must be {accepted}; got {len(items)} items: {padding!r}")
    return tuple(_pair(f"padding[{i}]", item) for i, item in enumerate(items))


def _pair(name: str, item: Any) -> Pair:
    if _is_int(item):
        return (_int(name, item),) * 2
    ends = _items(name, item, "an int or a pair (lo, hi)")
    if len(ends) != 2:
        raise ValueError(f"{name} must be an int or a pair (lo, hi); got {len(ends)} items: {item!r}")
    return _int(f"{name}[0]", ends[0]), _int(f"{name}[1]", ends[1])


def _forward_padding(
    padding: Any,
    rank: int,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Pair, ...]:
    """Padding words in numbers.

    'same' at stride 1 is torch's split, d*(k-1) with the odd one at the high side; at larger strides the total is
    what ceil(size/stride) outputs need (TensorFlow's SAME, ONNX's SAME_UPPER). Both are one formula.
    """
    if not isinstance(padding, str):
        return _pairs(padding, rank)
    if padding not in PADDING_WORDS:
        raise ValueError(f"padding must be numbers or one of {PADDING_WORDS}; got {padding!r}")
    if padding == "valid":
        return ((0, 0),) * rank
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if padding == "full":
        return tuple((r, r) for r in reach)
    if padding == "causal":
        if rank != 1:
            raise ValueError(f"padding='causal' is for 1-D convolutions; got rank {rank}: give pairs (lo, hi)")
        return ((reach[0], 0),)
    totals = [max((-(-n // s) - 1) * s + r + 1 - n, 0) for n, s, r in zip(size, stride, reach, strict=True)]
    if padding == "same":
        return tuple((t // 2, t - t // 2) for t in totals)
    return tuple((t - t // 2, t // 2) for t in totals)


def _transposed_padding(
    padding: Any,
    extra: tuple[int, ...],
    has_output_size: bool,
    rank: int,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[Pair, ...], tuple[int, ...]]:
    """(padding pairs, output padding): 'same' gives in*stride pixels, as the gradient of a forward 'same' has."""
    if not isinstance(padding, str):
        return _pairs(padding, rank), extra
    if padding == "valid":
        return ((0, 0),) * rank, extra
    if padding != "same":
        raise ValueError(f"padding of a transposed convolution must be numbers, 'valid' or 'same'; got {padding!r}")
    if any(extra) or has_output_size:
        raise ValueError("padding='same' fixes the size of the result; output_padding must be 0 and output_size None")
    totals = [d * (k - 1) + 1 - s for d, k, s in zip(dilation, kernel, stride, strict=True)]
    cuts = tuple((max(t, 0) // 2, max(t, 0) - max(t, 0) // 2) for t in totals)
    return cuts, tuple(max(-t, 0) for t in totals)


def _output_size(value: Any, rank: int, batch: int, out_channels: int) -> tuple[int, ...]:
    """Spatial sizes from ``output_size``, which may be the whole shape of the result, batched or not."""
    if _is_int(value):
        return (_int("output_size", value, least=1),) * rank
    items = shape_of("output_size", value)
    if not rank <= len(items) <= rank + 2:
        raise ValueError(
            f"output_size must have {rank} spatial sizes, or be the whole shape; got {len(items)}: {value!r}"
        )
    lead = items[: len(items) - rank]
    if lead != (batch, out_channels)[2 - len(lead) :]:
        raise ValueError(f"output_size is {value!r}, but the result has batch {batch} and {out_channels} channels")
    return items[len(items) - rank :]


# ---- printing --------------------------------------------------------------------------------------------------------

_SHORT_DTYPE = {"float16": "f16", "float32": "f32", "float64": "f64", "complex64": "c64", "complex128": "c128"}


def _triple(values: Iterable[Value]) -> tuple[Value, Value, Value]:
    a, b, c = values
    return a, b, c


def times(shape: Iterable[Any]) -> str:
    """A shape as it is printed."""
    return "x".join(map(str, shape))


def _short(values: Iterable[Any]) -> str:
    """One number where all axes agree."""
    values = tuple(values)
    return str(values[0]) if len(set(values)) == 1 else times(values)

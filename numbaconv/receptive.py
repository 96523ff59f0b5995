"""What a designer of networks asks: the shape of a result, and which input pixels an output sees.

Every size is that of a `ConvProblem`; `paths` counts along each axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from numbaconv.arrays import Array
from numbaconv.paths import PIXEL, Paths, Step, View, share_seen
from numbaconv.problem import ConvProblem, Ints, Padding, per_axis, rank_of, rank_of_input, shape_of, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Where no size is given, any that is large enough will do: it leaves room for kernels of 2**15 pixels and for strides
# of 2**5, within the 2**63 elements that a problem may have.
ENOUGH = {1: 2**48, 2: 2**24, 3: 2**16}


def output_shape(
    input_shape: Sequence[SupportsIndex],
    out_channels: SupportsIndex,
    kernel_size: Ints,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    transposed: bool = False,
    output_padding: Ints = 0,
    output_size: Ints | None = None,
) -> tuple[int, ...]:
    """The shape of the result of a convolution, computed as `conv2d` or `conv_transpose2d` and their kin do.

    Parameters
    ----------
    input_shape : ints, (N, C, ...) or (C, ...)
        Shape of the input; without ``N`` the result has none either.
    out_channels : int
        Number of filters.
    kernel_size : int or ints
        Its length is the number of spatial axes. One int stands for 2 axes where ``input_shape`` has 3 or 4 numbers,
        for 1 where it has 2, and for 3 where it has 5.
    stride, padding, dilation, groups
        As in `conv2d`.
    transposed : bool
        Whether the convolution is a transposed one; only then ``output_padding`` and ``output_size`` may be given.
    output_padding, output_size
        As in `conv_transpose2d`.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError, TypeError
        As the convolution itself would.

    Examples
    --------
    >>> output_shape((1, 3, 224, 224), 64, 7, stride=2, padding=3)
    (1, 64, 112, 112)
    >>> output_shape((64, 28, 28), 32, 4, stride=2, padding=1, transposed=True)
    (32, 56, 56)
    """
    shape = shape_of("input_shape", input_shape)
    rank = rank_of_input(len(shape), kernel_size)
    batched = (1, *shape) if len(shape) == rank + 1 else shape
    options = _options(transposed, output_padding=output_padding, output_size=output_size)
    problem = ConvProblem.of_kernel(
        rank, batched, out_channels, kernel_size, "float32", groups, bool(transposed),
        stride=stride, padding=padding, dilation=dilation, **options,
    )  # fmt: skip
    return problem.y_shape if len(shape) == rank + 2 else problem.y_shape[1:]


def _options(transposed: bool, **options: Any) -> dict[str, Any]:
    """The options that only a transposed convolution has; elsewhere they must not be given."""
    if transposed:
        return options
    for name, value in options.items():
        if np.any(value):
            raise ValueError(f"{name} is for transposed convolutions; got {name}={value!r} and transposed=False")
    return {}


# ---- receptive fields ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a stack, for `receptive_field`: a convolution, or a pooling, which sees the same pixels.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, output_padding : as in `conv2d` and `conv_transpose2d`
        One int for all axes, or one for each.
    transposed : bool
        Whether the layer is a transposed convolution.

    Examples
    --------
    >>> Layer(3, stride=2)
    Layer(kernel_size=3, stride=2, padding=0, dilation=1, transposed=False, output_padding=0)
    >>> print(Layer((3, 5), stride=2))
    k3x5 s2
    """

    kernel_size: Ints
    stride: Ints = 1
    padding: Padding = 0
    dilation: Ints = 1
    transposed: bool = False
    output_padding: Ints = 0

    def __str__(self) -> str:
        words = ["transposed"] if self.transposed else []
        for letter, value, plain in (
            ("k", self.kernel_size, None),
            ("s", self.stride, 1),
            ("p", self.padding, 0),
            ("d", self.dilation, 1),
            ("op", self.output_padding, 0),
        ):
            if (said := _short(value)) != str(plain):
                words.append(letter + said)
        return " ".join(words)


def _short(value: Any) -> str:
    """One number, 3x5 for one on each axis, 1:2 for a pair (lo, hi), =same for a word."""
    if isinstance(value, str):
        return f"={value}"
    if not isinstance(value, Sequence):
        return str(value)
    return times(":".join(map(str, item)) if isinstance(item, Sequence) else item for item in value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReceptiveField:
    """What one unit of the last layer sees of the input; made by `receptive_field`, printed as a table.

    Pixel 0 is the input's first; those before it are padding. Where transposed layers make units differ, ``size`` is
    that of the unit that sees the most, and ``start`` that of unit 0.
    """

    layers: tuple[Layer, ...]
    output_sizes: tuple[tuple[int, ...], ...] | None  # of the input and of each layer, where the input's is known
    _steps: tuple[tuple[Step, ...], ...]  # of each layer, along each axis
    _views: tuple[tuple[View, ...], ...]  # of the input and of each layer, along each axis

    @property
    def size(self) -> tuple[int, ...]:
        """Pixels along each axis, from the first to the last that is seen."""
        return tuple(view.size for view in self._views[-1])

    @property
    def jump(self) -> tuple[Fraction, ...]:
        """Pixels from one unit's field to the next one's: the stride of the whole stack."""
        return tuple(view.jump for view in self._views[-1])

    @property
    def start(self) -> tuple[int, ...]:
        """The first pixel that unit 0 sees; negative where it is padding."""
        return tuple(view.paths(0).start for view in self._views[-1])

    @property
    def center(self) -> tuple[Fraction, ...]:
        """The middle of the field of unit 0; unit p has its own at ``center + p*jump``."""
        return tuple(view.center for view in self._views[-1])

    def counts(self, unit: Ints = 0) -> tuple[Array, ...]:
        """Along each axis, by how many paths each pixel of the field reaches ``unit``; exact."""
        return tuple(_narrowed(paths.counts) for paths in self._paths(unit))

    def coverage(self, unit: Ints = 0) -> Array:
        """By how many paths each pixel of the field reaches ``unit``: the outer product of the counts; exact.

        Returns
        -------
        ndarray
            Of dtype int64, or of Python's integers where that is too narrow.
        """
        return _narrowed(reduce(np.multiply.outer, [paths.counts for paths in self._paths(unit)]))

    def seen(self, unit: Ints = 0) -> Fraction:
        """The share of pixels in the field that ``unit`` truly sees; less than 1 where dilations leave gaps."""
        return share_seen(self._paths(unit))

    def _paths(self, unit: Ints) -> list[Paths]:
        views = self._views[-1]
        at = per_axis("unit", unit, len(views), least=0)
        return [view.paths(place) for view, place in zip(views, at, strict=True)]

    def __str__(self) -> str:
        head = ["", "output", "field", "jump", "start", "center", "seen"]
        names = ["input", *map(str, self.layers)]
        sizes = self.output_sizes or [()] * len(names)
        rows = [head, *(_row(*row) for row in zip(names, sizes, self._views, strict=True))]
        columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
        widths = [max(map(len, column)) for column in columns]
        first, *others = widths
        lines = [
            "  ".join([f"{name:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, others, strict=True))])
            for name, *cells in zip(*columns, strict=True)
        ]
        return "\n".join(line.rstrip() for line in lines)

    def __repr__(self) -> str:
        return f"<receptive field of {len(self.layers)} layers: {_one(self.size)} pixels, jump {_one(self.jump)}>"

    def plot(self, ax: Axes | None = None, unit: Ints = 0) -> Axes:
        """Draw the coverage of the last two axes, or of the only one: the more paths the darker; the unseen pale red.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw, by default in a new figure.
        unit : int or ints
            The unit to draw the field of.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ImportError
            Without matplotlib, which ``pip install "numbaconv[plot]"`` brings.
        """
        from numbaconv import pictures

        paths = self._paths(unit)[-2:]
        return pictures.draw_coverage([path.start for path in paths], [path.counts for path in paths], ax)

    def plot_paths(self, ax: Axes | None = None, axis: int = -1, unit: int = 0) -> Axes:
        """Draw the units of every layer that ``unit`` sees along one axis, and the paths from it to the pixels.

        Parameters, result and errors as of `plot`; ``axis`` counts spatial axes.
        """
        from numbaconv import pictures

        if not -len(self.size) <= axis < len(self.size):
            raise ValueError(f"axis must be one of the {len(self.size)} spatial axes; got {axis}")
        levels, links = [list(per_axis("unit", unit, 1, least=0))], []
        for steps in reversed(self._steps):
            links.append([(at, below) for at in levels[-1] for below in steps[axis].before(at)])
            levels.append(sorted({below for _, below in links[-1]}))
        places = [(float(views[axis].center), float(views[axis].jump)) for views in self._views]
        names = ["input", *map(str, self.layers)]
        return pictures.draw_paths(levels[::-1], links[::-1], places, names, ax)


def receptive_field(layers: Iterable[Layer | Mapping[str, Any]], input_size: Ints | None = None) -> ReceptiveField:
    """What of the input one output of a stack of layers sees: how far, how often, and with which gaps.

    Parameters
    ----------
    layers : iterable of Layer, or of dicts of its arguments
        From the input to the output. Convolutions and poolings; whatever works on single pixels changes nothing.
    input_size : int or ints, optional
        Spatial size of the input. Then the sizes of all layers are computed too, and ``padding='same'`` may have a
        stride.

    Returns
    -------
    ReceptiveField
        With ``size``, ``jump``, ``start`` and ``center`` along each axis, ``counts`` and ``coverage`` by paths; prints
        as a table, and draws itself. The number of axes is that of any argument with one value for each; 2 if there
        is none.

    Raises
    ------
    ValueError, TypeError
        A layer that is none; the message names it.

    References
    ----------
    A. Araujo, W. Norris, J. Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019,
    doi:10.23915/distill.00021

    Examples
    --------
    >>> print(receptive_field([Layer(7, stride=2, padding=3), Layer(3, stride=2, padding=1)], input_size=224))
              output  field  jump  start  center   seen
    input        224      1     1      0       0  100 %
    k7 s2 p3     112      7     2     -3       0  100 %
    k3 s2 p1      56     11     4     -5       0  100 %

    Dilations with a common factor leave gaps, however many layers follow:

    >>> field = receptive_field([Layer(3, dilation=2)] * 3)
    >>> field.counts()[0]
    array([1, 0, 3, 0, 6, 0, 7, 0, 6, 0, 3, 0, 1])
    >>> field.size, str(field.seen())
    ((13, 13), '49/169')
    """
    stack = tuple(_layer(i, layer) for i, layer in enumerate(layers))
    rank = _rank(stack, input_size)
    size = (ENOUGH[rank],) * rank if input_size is None else per_axis("input_size", input_size, rank, least=1)
    sizes = [size]
    steps: list[tuple[Step, ...]] = []
    views: list[tuple[View, ...]] = [(PIXEL,) * rank]
    for i, layer in enumerate(stack):
        try:
            problem = _described(layer, sizes[0] if input_size is None else sizes[-1], input_size is not None)
        except (TypeError, ValueError) as error:
            raise type(error)(f"layers[{i}], {layer}: {error}") from None
        sizes.append(problem.out_size[3 - rank :])
        along = zip(
            problem.kernel, problem.stride, problem.dilation, problem.padding, problem.input_dilation, strict=True
        )
        steps.append(tuple(Step(k, s, d, lo, gap) for k, s, d, (lo, _), gap in along)[3 - rank :])
        views.append(tuple(view.through(step) for view, step in zip(views[-1], steps[-1], strict=True)))
    return ReceptiveField(stack, None if input_size is None else tuple(sizes), tuple(steps), tuple(views))


def _layer(i: int, value: Any) -> Layer:
    if isinstance(value, Layer):
        return value
    accepted = {field.name: field.default is MISSING for field in fields(Layer)}
    if not isinstance(value, Mapping):
        raise TypeError(f"layers[{i}] must be a Layer or a dict of its arguments; got {value!r}")
    if wrong := [name for name in value if name not in accepted]:
        raise TypeError(f"layers[{i}] has the unknown key {wrong[0]!r}; accepted are {', '.join(accepted)}")
    if missing := [name for name, needed in accepted.items() if needed and name not in value]:
        raise TypeError(f"layers[{i}] lacks the key {missing[0]!r}; got {dict(value)}")
    return Layer(**value)


def _rank(stack: tuple[Layer, ...], input_size: Ints | None) -> int:
    """That of the first argument that has one value for each axis; of images where all have one for all."""
    arguments = [("input_size", input_size)]
    for layer in stack:
        arguments += [(field.name, getattr(layer, field.name)) for field in fields(layer)]
    several = [(name, value) for name, value in arguments if isinstance(value, (tuple, list, np.ndarray))]
    return rank_of(*several[0], None) if several else 2


def _described(layer: Layer, size: tuple[int, ...], size_matters: bool) -> ConvProblem:
    """The problem of one layer, of one channel."""
    rank = len(size)
    strides = per_axis("stride", layer.stride, rank, least=1)
    words = isinstance(layer.padding, str) and layer.padding.startswith("same")
    if words and not layer.transposed and max(strides) > 1 and not size_matters:
        raise ValueError(f"padding={layer.padding!r} with stride {layer.stride} depends on the size of the input: "
                         "give input_size")  # fmt: skip
    return ConvProblem.of_kernel(
        rank, (1, 1, *size), 1, layer.kernel_size, "int8", transposed=bool(layer.transposed),
        stride=strides, padding=layer.padding, dilation=layer.dilation,
        **_options(layer.transposed, output_padding=layer.output_padding),
    )  # fmt: skip


def _narrowed(counts: Array) -> Array:
    """Counts as int64 where all fit."""
    return counts if counts.max(initial=0) >= 2**63 else counts.astype(np.int64)


# ---- printing --------------------------------------------------------------------------------------------------------


def _row(name: str, size: tuple[int, ...], views: tuple[View, ...]) -> list[str]:
    first = [view.paths(0) for view in views]
    return [
        name,
        _one(size),
        _one(view.size for view in views),
        _one(view.jump for view in views),
        _one(path.start for path in first),
        _one(view.center for view in views),
        f"{float(100 * share_seen(first)):.3g} %",
    ]


def _one(values: Iterable[int | Fraction]) -> str:
    """One number where all axes agree."""
    said = [str(value) for value in values]
    return said[0] if len(set(said)) == 1 else f"({', '.join(said)})" if said else ""

"""The path of a call: describe the problem, ask the planner, run the plan, in that order.

Everything that a caller can get wrong is refused before any work: shapes and geometry by `ConvProblem`, arrays and
dtypes by `arrays`, keywords here. Nothing imports the compiler before the first convolution.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, SupportsIndex, TypedDict

import numpy as np
import numpy.typing as npt

from numbaconv.arrays import (
    KINDS,
    Array,
    as_array,
    bias_of,
    check_out,
    computed,
    is_bfloat16,
    promoted,
    ready,
    residual_of,
)
from numbaconv.layout import Layout, layout_of
from numbaconv.problem import ConvProblem, shape_of
from numbaconv.reading import Centred, Reading, reading_of, stored
from numbaconv.tail import Tail, dtype_of, tail_of

if TYPE_CHECKING:
    from types import ModuleType

    from numbaconv.strategy import Plan


class LayoutOptions(TypedDict, total=False):
    """Keywords of the order of axes."""

    dimension_numbers: str | tuple[str, str, str] | None


class Options(TypedDict, total=False):
    """Keywords of every convolution, planned or not; `documentation.OPTIONS` says what they mean."""

    strategy: str | None
    accuracy: str
    num_threads: int | None


ACCURACIES = ("bounded", "strict")


class GradientOptions(Options, total=False):
    """Keywords of `conv2d_input` and its kin."""

    out: Array | None


class TailOptions(TypedDict, total=False):
    """Keywords of what follows the sum, but for the residual."""

    activation: str | tuple[Any, ...] | None
    epilogue: Callable[..., Any] | None
    out_dtype: npt.DTypeLike | None
    accumulate_dtype: npt.DTypeLike | None


class ReadingOptions(TypedDict, total=False):
    """Keywords of how the input is read."""

    padding_mode: str
    padding_value: complex
    prologue: Callable[..., Any] | None


class CallOptions(Options, LayoutOptions, TailOptions, ReadingOptions, total=False):
    """Keywords of `conv2d` and its kin."""

    out: Array | None
    residual: npt.ArrayLike | None


class ExplainOptions(LayoutOptions, TailOptions, ReadingOptions, total=False):
    """Keywords of `explain`."""

    accuracy: str
    residual: bool
    per_sample: bool


class PlanOptions(Options, LayoutOptions, TailOptions, ReadingOptions, total=False):
    """Keywords of `plan_conv2d` and its kin."""

    dtype: npt.DTypeLike | None
    residual: bool


def check_options(options: Mapping[str, Any], accepted: type) -> None:
    """Refuse keywords that ``accepted`` does not have, and what cannot name a strategy."""
    for name in options:
        if name not in accepted.__annotations__:
            raise TypeError(f"unexpected keyword argument {name!r}; accepted are {', '.join(accepted.__annotations__)}")
    strategy = options.get("strategy")
    if strategy is not None and not isinstance(strategy, str):
        raise TypeError(f"strategy must be None or a name; got {strategy!r}")


def tail_and_sums(
    options: CallOptions | PlanOptions | ExplainOptions, dtype: np.dtype[Any], residual: bool
) -> tuple[Tail | None, np.dtype[Any]]:
    """(what follows the sums, their dtype) for x and weight that together have ``dtype``."""
    if not residual and dtype.itemsize > 2 and TailOptions.__annotations__.keys().isdisjoint(options):
        return None, dtype  # as nearly always
    epilogue = options.get("epilogue")
    tail, sums = tail_of(
        dtype, residual, options.get("activation"), epilogue, options.get("out_dtype"), options.get("accumulate_dtype")
    )
    if epilogue is not None:  # refused now, not when a plan first runs
        from numbaconv.codegen import scalars

        scalars.compiled("epilogue", epilogue, sums.name)
    return tail, sums


def reading(
    options: CallOptions | PlanOptions | ExplainOptions, x: np.dtype[Any], sums: np.dtype[Any]
) -> Reading | None:
    """How x is read for sums of a dtype, where it is more than an array of that dtype with zeros around it."""
    if x is sums and ReadingOptions.__annotations__.keys().isdisjoint(options):
        return None  # as nearly always
    prologue = options.get("prologue")
    found = reading_of(options.get("padding_mode", "zeros"), options.get("padding_value", 0.0), prologue, x, sums)
    if prologue is not None and not isinstance(prologue, Centred):  # refused now, not when a plan first runs
        from numbaconv.codegen import scalars

        scalars.compiled("prologue", prologue, sums.name)
    return found


def reading_of_images(
    options: CallOptions | PlanOptions | ExplainOptions, x: np.dtype[Any], sums: np.dtype[Any]
) -> Reading | None:
    """The same where each image has weights of its own, and channels are those of groups."""
    if options.get("prologue") is not None:
        raise ValueError(f"prologue is not taken with weights for each image; got {options['prologue']!r}")
    return reading(options, x, sums)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PreparedConv:
    """A convolution with its plan and its packed weights: made by `plan_conv2d` and its kin, called with inputs.

    It may be shared by threads. It keeps its own copy of the weights, from which it is rebuilt when unpickled, as the
    packed ones suit only the machine that packed them.
    """

    problem: ConvProblem
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    num_threads: int | None
    _plan: Plan | None
    _asked: str | None
    _strict: bool
    _dtype: np.dtype[Any]  # of x
    _sums: np.dtype[Any]
    _read: np.dtype[Any]  # of x as the plan reads it
    _weight: Array
    _packed: Any
    _bias: Array | None

    def __call__(self, x: npt.ArrayLike, out: Array | None = None, residual: npt.ArrayLike | None = None) -> Array:
        """The convolution of ``x``, which has ``input_shape`` and a dtype that casts safely to the plan's.

        ``residual`` is given where it was planned with ``residual=True``, and only there. Returns ``out`` if it is
        given, else a new array.
        """
        given = x = as_array("x", x)
        if x.shape != self.input_shape:
            raise ValueError(f"x must have the planned shape {self.input_shape}; got {x.shape}")
        if (
            x.dtype is not self._dtype
            and x.dtype != self._dtype
            and (
                not (computed(x.dtype) or is_bfloat16(x.dtype))
                or KINDS.get(x.dtype.kind, "float") != KINDS.get(self._dtype.kind, "float")
                or not np.can_cast(x.dtype, self._dtype, "safe")
            )
        ):
            raise TypeError(f"x must have the planned dtype {self._dtype} or one that casts safely; got {x.dtype}")
        threads = self.num_threads or thread_count(None)  # checked when it was planned
        tail, dtype = self.problem.tail, self._sums
        if tail is not None:
            dtype = self.problem.result_dtype
        if (tail is not None and tail.residual) != (residual is not None):
            asked = "with" if residual is None else "without"
            raise ValueError(f"residual: this was planned {asked} residual=True, so that a call must "
                             f"{'give' if residual is None else 'not give'} one")  # fmt: skip
        if residual is not None:
            residual = residual_of(residual, self.output_shape, dtype)
        if out is not None:
            check_out(out, self.output_shape, dtype, x=given, residual=residual)
        x, shape = ready(x, self._read), self.output_shape
        if len(shape) == self.problem.rank + 2 and shape[0] != self.problem.batch and not self.problem.is_ordered:
            # images are groups
            x, own = x.reshape(self.problem.x_shape), self.problem.y_shape
            added = None if residual is None else residual.reshape(own)
            return reshaped(shape, own, out, lambda y: _fill(
                self._plan, self._packed, x, self._bias, y, own, self.problem, threads, added
            ))  # fmt: skip
        return _fill(self._plan, self._packed, x, self._bias, out, shape, self.problem, threads, residual)

    @property
    def strategy(self) -> str:
        """The name of the planned strategy; 'none' where there is nothing to multiply."""
        return "none" if self._plan is None else self._plan.strategy

    def __repr__(self) -> str:
        return f"<{self.problem}: {self._plan or 'nothing to multiply'}>"

    def __reduce__(self) -> tuple[Any, ...]:
        state = (
            self.problem, self._weight, self._bias, self._asked, self._strict, self.num_threads, self.input_shape,
            self._dtype.name,
        )  # fmt: skip
        return _prepared, state


def convolve(
    rank: int, transposed: bool, x: Any, weight: Any, bias: Any, geometry: tuple[Any, ...], options: CallOptions
) -> Array:
    """Describe, plan, run. The common case, a contiguous float array of the weight's dtype, skips every conversion."""
    check_options(options, CallOptions)
    out, strict = options.get("out"), is_strict(options)
    given, kernel = as_array("x", x), as_array("weight", weight)
    dtype = promoted(given.dtype, kernel.dtype, loads=True)
    residual = options.get("residual")
    tail, dtype = tail_and_sums(options, dtype, residual is not None)
    layout = layout_of(options.get("dimension_numbers"), rank, transposed)
    if kernel.ndim == rank + 3:
        _check_images_first(layout)
        return _convolve_images(rank, transposed, given, kernel, bias, geometry, options, tail, dtype)
    read = reading(options, given.dtype, dtype)
    x = ready(given, dtype if read is None else stored(read, dtype))
    unbatched = x.ndim == rank + 1
    if unbatched:
        x = x[None] if layout is None else x.reshape(layout.batched(x.shape))
    weights = kernel if layout is None else layout.weights(kernel)
    problem, shape, _ = described(rank, transposed, x.shape, weights.shape, dtype, geometry, tail, read, layout)
    if unbatched:
        shape = shape[1:] if layout is None else layout.unbatched(shape)
    if bias is not None:
        bias = bias_of(bias, problem, dtype)
    threads = thread_count(options.get("num_threads"))
    result = dtype if tail is None else problem.result_dtype
    if residual is not None:
        residual = residual_of(residual, shape, result)
    if out is not None:
        check_out(out, shape, result, x=given, weight=kernel, bias=bias, residual=residual)
    return compute(problem, x, weights, bias, out, shape, options.get("strategy"), threads, strict, residual)


def _check_images_first(layout: Layout | None) -> None:
    """Weights for each image are those of more groups, and groups of channels lie side by side only behind N."""
    if layout is not None:
        raise ValueError(f"{layout} is not taken with weights for each image, whose order is (N, O, C/groups, *kernel)")


def _convolve_images(
    rank: int,
    transposed: bool,
    given: Array,
    kernel: Array,
    bias: Any,
    geometry: tuple[Any, ...],
    options: CallOptions,
    tail: Tail | None,
    dtype: np.dtype[Any],
) -> Array:
    """The rest of `convolve` where each image has weights of its own."""
    read = reading_of_images(options, given.dtype, dtype)
    x = ready(given, stored(read, dtype))
    problem, shape = images_described(rank, transposed, x.shape, kernel.shape, dtype, geometry, tail, read)
    if bias is not None:
        bias = bias_of(bias, problem, dtype, len(x))
    out, residual, strict = options.get("out"), options.get("residual"), is_strict(options)
    threads = thread_count(options.get("num_threads"))
    result = dtype if tail is None else problem.result_dtype
    if residual is not None:
        residual = residual_of(residual, shape, result).reshape(problem.y_shape)
    if out is not None:
        operands = {"bias": bias, "residual": residual}
        check_out(out, shape, result, x=given, weight=kernel, **operands)
    x, kernel, own = x.reshape(problem.x_shape), kernel.reshape(problem.w_shape), problem.y_shape
    return reshaped(shape, own, out, lambda y: compute(
        problem, x, kernel, bias, y, own, options.get("strategy"), threads, strict, residual
    ))  # fmt: skip


def reshaped(
    shape: tuple[int, ...], own: tuple[int, ...], out: Array | None, computed_into: Callable[[Array | None], Array]
) -> Array:
    """What ``computed_into`` an array of shape ``own`` returns, as ``shape``, which are the same elements."""
    lies = out.view(np.ndarray).reshape(own) if out is not None and out.flags.carray else None
    y = computed_into(lies).reshape(shape)
    if out is None:
        return y
    if lies is None:
        out[...] = y
    return out


def compute(
    problem: ConvProblem,
    x: Array,
    kernel: Array,
    bias: Array | None,
    out: Array | None,
    shape: tuple[int, ...],
    strategy: str | None,
    threads: int,
    strict: bool,
    residual: Array | None = None,
) -> Array:
    """The result of one call, of ``shape``, batched or not; ``x`` and ``bias`` are ready, ``kernel`` is as given."""
    empty, padded = _empty_and_padded(problem)
    if empty or 0 in shape:
        return _fill(None, None, x, bias, out, shape, problem, threads, residual)
    sums = x.dtype if not problem.x_dtype else np.dtype(problem.dtype)
    if kernel.dtype is not sums or not kernel.flags.aligned:
        kernel = np.require(kernel, kept(kernel.dtype, sums), ["A"])
    plan = engine()[0].plan(problem, strategy, threads, False, None, None, strict)
    # What follows the sum may hide that it is not finite, and its residual may have been overwritten by then.
    if problem.tail is not None and padded and not np.isfinite(kernel).all():
        plan = _exact(problem)
    # The plan's problem may be the folded one, whose kernel has the same weights on other axes.
    y = _fill(plan, plan.borrow(plan.problem.forward_weights(kernel)), x, bias, out, shape, problem, threads, residual)
    if problem.tail is None and padded and _meets_padding(kernel, _batched(y, problem), problem):
        plan = _exact(problem)
        y = _fill(plan, plan.borrow(plan.problem.forward_weights(kernel)), x, bias, out, shape, problem, threads)
    return y


@lru_cache(4096)
def _empty_and_padded(problem: ConvProblem) -> tuple[bool, bool]:
    return problem.is_empty, problem.is_padded


def kept(weight: np.dtype[Any], sums: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of weights as plans take them: that of the sums, but integers are left as narrow as they are."""
    return weight.newbyteorder("=") if sums.kind in "iu" else sums


def prepare(
    rank: int,
    transposed: bool,
    input_shape: Any,
    weight: Any,
    bias: Any,
    geometry: tuple[Any, ...],
    options: PlanOptions,
) -> PreparedConv:
    """The same for `plan_conv2d` and its kin, up to the plan."""
    check_options(options, PlanOptions)
    dtype, num_threads = options.get("dtype"), options.get("num_threads")
    weight = as_array("weight", weight)
    residual = options.get("residual", False)
    if not isinstance(residual, bool):
        raise TypeError(f"residual of a plan must be True or False, whether its calls will give one; got {residual!r}")
    planned = weight.dtype if dtype is None else np.dtype(dtype) if dtype != "bfloat16" else dtype_of("bfloat16")
    together = promoted(planned, weight.dtype, loads=True)
    tail, result = tail_and_sums(options, together, residual)
    shape = shape_of("input_shape", input_shape)
    images = shape[0] if weight.ndim == rank + 3 and shape else 0
    layout = layout_of(options.get("dimension_numbers"), rank, transposed)
    if layout is not None:
        weight = layout.weights(weight)
    if weight.ndim == rank + 3:
        _check_images_first(layout)
        read = reading_of_images(options, planned, result)
        problem, _ = images_described(rank, transposed, shape, weight.shape, result, geometry, tail, read)
    else:
        read = reading(options, planned, result)
        batched = (1, *shape) if len(shape) == rank + 1 else shape
        if layout is not None:
            batched = layout.batched(shape)
        problem, _, _ = described(rank, transposed, batched, weight.shape, result, geometry, tail, read, layout)
    if read is not None and read.x_dtype:
        together = stored(read, result)
    if bias is not None:
        bias = bias_of(bias, problem, result, images).copy()
    if num_threads is not None:
        num_threads = thread_count(num_threads)
    strict = is_strict(options)
    copied = np.array(weight, kept(weight.dtype, result), order="C").reshape(problem.w_shape)
    return _prepared(problem, copied, bias, options.get("strategy"), strict, num_threads, shape, together.name)


def explain(
    transposed: bool, x: Any, weight: Any, bias: Any, geometry: tuple[Any, ...], options: ExplainOptions
) -> str:
    """The planner's table for what `convolve` would compute, of the rank that `_of_each_image` tells."""
    check_options(options, ExplainOptions)
    strict = is_strict(options)
    x, weight = as_array("x", x), as_array("weight", weight)
    images = options.get("per_sample")
    if images is None:
        images = options.get("dimension_numbers") is None and _of_each_image(
            x.shape, weight.shape, transposed, 1 if transposed else geometry[3]
        )
    rank = weight.ndim - (3 if images else 2)
    if rank not in (1, 2, 3):
        more = ", for weights of each image" if images else "; one more than x for weights of each image"
        raise ValueError(f"weight must have {'4, 5 or 6' if images else '3, 4 or 5'} dimensions, for 1-D, 2-D or 3-D "
                         f"convolution{more}; got {weight.ndim}")  # fmt: skip
    layout = layout_of(options.get("dimension_numbers"), rank, transposed)
    dtype = promoted(x.dtype, weight.dtype, loads=True)
    tail, dtype = tail_and_sums(options, dtype, options.get("residual", False))
    if images:
        _check_images_first(layout)
        read = reading_of_images(options, x.dtype, dtype)
        problem, _ = images_described(rank, transposed, x.shape, weight.shape, dtype, geometry, tail, read)
    else:
        batched = (1, *x.shape) if x.ndim == rank + 1 else x.shape
        if layout is not None:
            batched, weight = layout.batched(x.shape), layout.weights(weight)
        read = reading(options, x.dtype, dtype)
        problem, _, _ = described(rank, transposed, batched, weight.shape, dtype, geometry, tail, read, layout)
    if bias is not None:
        bias_of(bias, problem, dtype, len(x) if images else 0)
    return str(engine()[0].explain(problem, None, thread_count(None), strict))


def _of_each_image(x_shape: tuple[int, ...], w_shape: tuple[int, ...], transposed: bool, groups: Any) -> bool:
    """Whether a weight with a dimension more than x is one for each image, rather than shared by an x without ``N``.

    Both are told by the channels that they must have; where both fit, it is shared.
    """
    if len(w_shape) != len(x_shape) + 1 or len(w_shape) < 4 or not isinstance(groups, SupportsIndex):
        return False
    inner, each = 0 if transposed else 1, operator.index(groups)
    own = w_shape[0] == x_shape[0] and w_shape[inner + 1] * each == x_shape[1]
    return len(w_shape) == 6 or (own and w_shape[inner] * each != x_shape[0])


def cost(
    rank: int,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
    read: Reading | None = None,
) -> float:
    """Seconds that the planner predicts, on one core, for what `convolve` would compute."""
    problem, _, empty = described(rank, False, x_shape, w_shape, dtype, geometry, None, read)
    return 0.0 if empty else float(engine()[0].cost(problem))


def _prepared(
    problem: ConvProblem,
    weight: Array,
    bias: Array | None,
    strategy: str | None,
    strict: bool,
    num_threads: int | None,
    input_shape: tuple[int, ...],
    dtype: str,
) -> PreparedConv:
    """``weight`` and ``bias`` belong to the result from here on."""
    shape = problem.y_shape
    if len(input_shape) != problem.rank + 2:
        at = problem.y_axis("N")
        shape = (*shape[:at], *shape[at + 1 :])
    elif not problem.is_ordered and input_shape[0] != problem.batch:  # images are groups
        shape = (input_shape[0], problem.out_channels // input_shape[0], *shape[2:])
    plan = None
    if not problem.is_empty:
        plan = engine()[0].plan(problem, strategy, thread_count(num_threads), True, None, None, strict)
    if plan is not None and problem.is_padded and not np.isfinite(weight).all():
        plan = _exact(problem)
    packed = None if plan is None else plan.pack(plan.problem.forward_weights(weight))
    sums = np.dtype(problem.dtype)
    read = dtype_of(problem.x_dtype) if problem.x_dtype else sums
    return PreparedConv(
        problem, input_shape, shape, num_threads, plan, strategy, strict, dtype_of(dtype), sums, read, weight, packed,
        bias,
    )  # fmt: skip


def _meets_padding(weight: Array, y: Array, problem: ConvProblem) -> bool:
    """Whether a weight is inf or NaN, so that a fast strategy multiplied it by the zeros that it keeps as padding.

    Such a weight shows in every output of its channel (and phase); only if one of each does, are the weights searched.
    """
    return not np.isfinite(y[problem.one_of_each]).all() and not np.isfinite(weight).all()


def _batched(y: Array, problem: ConvProblem) -> Array:
    """The result with its axis of images."""
    return y if y.ndim == problem.rank + 2 else y.reshape(problem.y_shape) if problem.is_ordered else y[None]


def _exact(problem: ConvProblem) -> Plan:
    """The plan that leaves out terms in the padding instead of multiplying them by zero."""
    plan: Plan = engine()[0].plan(problem, "generic")
    return plan


def _fill(
    plan: Plan | None,
    weight: Any,
    x: Array,
    bias: Array | None,
    out: Array | None,
    shape: tuple[int, ...],
    problem: ConvProblem,
    threads: int,
    residual: Array | None = None,
) -> Array:
    """Run the plan into ``out``, through a new array where ``out`` is not contiguous; no plan means only the bias."""
    dtype = x.dtype if problem.tail is None and not problem.x_dtype else problem.result_dtype
    y = np.empty(shape, dtype) if out is None or not out.flags.carray else out.view(np.ndarray)
    batched = _batched(y, problem)
    if plan is None and problem.tail is not None and y.size:  # what follows the sum follows an empty one too
        plan = _exact(problem)
        weight = np.zeros(problem.w_shape, problem.dtype)
    if plan is not None:
        plan.run(x if x.ndim == batched.ndim else x.reshape(problem.x_shape), weight, bias, batched, threads, residual)
    elif bias is None:
        y[...] = 0
    else:
        np.moveaxis(batched, problem.y_axis("C"), -1)[...] = bias
    if out is None:
        return y
    if not out.flags.carray:
        out[...] = y
    return out


def described(
    rank: int,
    transposed: bool,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
    tail: Tail | None = None,
    read: Reading | None = None,
    layout: Layout | None = None,
) -> tuple[ConvProblem, tuple[int, ...], bool]:
    """(problem, batched shape of the result, whether there is nothing to multiply), remembered for equal arguments.

    ``x_shape`` is in the order of ``layout``, ``w_shape`` in that which goes without saying.
    """
    describe = _describe
    try:
        hash(geometry)
    except TypeError:  # lists: not remembered
        describe = _describe.__wrapped__  # type: ignore[assignment]
    # The spelling keeps 1, 1.0 and True apart, which are equal, but not all accepted.
    return describe(rank, transposed, x_shape, w_shape, dtype, geometry, repr(geometry), tail, read, layout)


@lru_cache(4096)
def _describe(
    rank: int,
    transposed: bool,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
    spelling: str,
    tail: Tail | None,
    read: Reading | None,
    layout: Layout | None,
) -> tuple[ConvProblem, tuple[int, ...], bool]:
    of = ConvProblem.of_transposed if transposed else ConvProblem.of
    if layout is None:
        problem = of(rank, x_shape, w_shape, dtype, *geometry)
    else:
        problem = _described_in(layout, of, x_shape, w_shape, dtype, geometry)
    if tail is not None:
        problem = replace(problem, tail=tail)
    if read is not None:
        problem = problem.read_as(read)
    return problem, problem.y_shape, problem.is_empty


def _described_in(
    layout: Layout,
    of: Callable[..., ConvProblem],
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
) -> ConvProblem:
    """The problem of arrays in an order of their own, which its errors say that they were taken out of."""
    if len(x_shape) != layout.rank + 2:
        raise ValueError(f"x must have {layout.rank + 2} dimensions, {layout.x}, or {layout.rank + 1} without N, by "
                         f"{layout}; got {len(x_shape)}, shape {x_shape}")  # fmt: skip
    if layout.transposed:
        geometry = (*geometry[:-1], layout.result_size(geometry[-1])) if len(geometry) == 6 else geometry
    try:
        problem = of(layout.rank, layout.input_shape(x_shape), w_shape, dtype, *geometry)
    except ValueError as error:
        raise ValueError(f"{error} (shapes are put in the order of the documentation, out of {layout})") from None
    x_order, y_order = layout.orders()
    return replace(problem, x_order=x_order, y_order=y_order)


def images_described(
    rank: int,
    transposed: bool,
    x_shape: tuple[int, ...],
    w_shape: tuple[int, ...],
    dtype: np.dtype[Any],
    geometry: tuple[Any, ...],
    tail: Tail | None = None,
    read: Reading | None = None,
) -> tuple[ConvProblem, tuple[int, ...]]:
    """(problem in which images are groups, shape of the result) of weights ``(N, ...)``, N images long."""
    if len(x_shape) != rank + 2:
        raise ValueError(f"x must have {rank + 2} dimensions, the first for N images, as weight of shape {w_shape} has "
                         f"weights for each image; got shape {x_shape}")  # fmt: skip
    if w_shape[0] != x_shape[0] or not x_shape[0]:
        raise ValueError(f"weight of {rank + 3} dimensions must have the images of x on its first axis, {x_shape[0]} "
                         f"and at least 1; got shape {w_shape}")  # fmt: skip
    problem, shape, _ = described(rank, transposed, x_shape, w_shape[1:], dtype, geometry, tail, read)
    return _of_images(problem), shape


@lru_cache(4096)
def _of_images(problem: ConvProblem) -> ConvProblem:
    return problem.of_images()


@cache
def engine() -> tuple[ModuleType, ModuleType]:
    """(planner, launch), imported with the first convolution because the compiler comes with them."""
    from numbaconv import planner
    from numbaconv.codegen import launch

    return planner, launch


def is_strict(options: Options | ExplainOptions) -> bool:
    """Whether only direct summation will do."""
    accuracy = options.get("accuracy", ACCURACIES[0])
    if accuracy not in ACCURACIES:
        raise ValueError(f"accuracy must be one of {', '.join(map(repr, ACCURACIES))}; got {accuracy!r}")
    return accuracy == "strict"


def thread_count(num_threads: Any) -> int:
    """The threads of one call: as many as it asks for, else as `set_num_threads` said."""
    launch = engine()[1]
    return int(launch.get_num_threads() if num_threads is None else launch.checked_threads(num_threads))

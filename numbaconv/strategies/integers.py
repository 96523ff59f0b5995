"""Integers: a convolution of integers, four or two products at a time, or of floats that hold every sum exactly.

    sum over pairs of channels of  w[c] * x[c] + w[c + 1] * x[c + 1]        -2**15 <= w, x < 2**15
    sum over quads of channels of  the same four products                   -2**7 <= w < 2**7, 0 <= x < 2**8
    sum |w| * max |x| + |b|  <  2**31 (quads, pairs)  or  2**24 (float32)  or  2**53 (float64)

A pair is two int16 in an int32, a quad four numbers of 8 bits, and one instruction adds all their products to an int32:
tiles do twice as much as with float32, with quads, where the processor knows them (VNNI), four times as much. Numbers
of x have no sign then, so that x is shifted, its padding with it, and what that adds to the sums is taken away with the
bias, modulo 2**32, which the sums do not leave:

    sum w * (x - zero)  =  sum w * (x + shift)  -  (zero + shift) * sum w        shift = 128 for int8, 0 for uint8

With the floats no sum, in whatever order, leaves the whole numbers that the float has, and none is rounded. What
float32 does not hold at once it holds for a few input channels at a time, whose sums are added as int32. Which way
will do is known of the weights and the range of x's dtype, else of x's own range, looked up in one pass: int32 data
are often small. What none of them holds, the strategies for integers compute.

Wins wherever there is something to multiply: the tiles of other strategies do the work, among them those alone that
add the equation's own products. They finish their sums as integers where all of these are known to fit; else sums lie
in an array until each was looked at.

Extra memory: copies of the weights, as floats or pairs, and of x and of sums that are not finished, of as many images
as make 4 MiB, or of one larger image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise, product
from math import ceil, prod
from typing import Any

import numpy as np

from numbaconv.blocking import images
from numbaconv.codegen import host, launch
from numbaconv.machine import Machine
from numbaconv.microkernels import joining, loading, requantising, rowwise, settling
from numbaconv.problem import DEFAULT_ORDER, ConvProblem
from numbaconv.reading import Centred, Reading
from numbaconv.strategy import Plan, PlanChild, Strategy
from numbaconv.tail import INTEGERS, Tail

EXACT = {"float32": 0.999 * 2**24, "float64": 0.999 * 2**53}  # a little less, for the rounding of the bound itself
ADDED = 0.999 * 2**31  # what sums of parts stay below, and all that is done to sums in float32
WAYS = 16  # that are remembered
BLOCK = 1 << 16  # weights that are looked at, at a time: as float32, half a second cache
SHIFTS = {"bool": 0, "uint8": 0, "int8": 128}  # what dtypes of x need added, to be numbers of uint8
NOTHING = np.zeros(1, np.int32)
TAPS = 1024  # so that a panel of them is never too large
PART = 64  # terms of a part at least; fewer, and adding them takes the time that float64 does


class Integers(Strategy):
    name = "integers"
    any_order = True
    exact = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.products > 1:
            return "it puts numbers together, and takes none that are"
        if np.dtype(problem.dtype).kind not in "iu":
            return f"it is for integers, not {problem.dtype}"
        if problem.batch > 1 and (problem.x_order[0], problem.y_order[0]) != ("N", "N"):
            return f"it converts some images at a time, which do not come first in {problem.x_order}, {problem.y_order}"
        return "there is nothing to multiply" if problem.is_empty else None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        """Two thirds of the peak, and copies."""
        x = np.dtype(problem.x_dtype or problem.dtype)
        lanes = machine.lanes("float32" if x.itemsize < 4 else "float64")
        moved = problem.batch * (problem.in_channels * problem.in_pixels + problem.out_channels * problem.pixels)
        return 25e-6 + (problem.macs * 0.75 / lanes + moved) / (machine.clock * 1e9)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        # Rows of large images are converted as they are packed, 1.1 times as fast as before that; short rows are not:
        # 0.95 for 3x3 on 56x56, 0.75 for 1x1, 0.3 for 3x3 on 7x7. A gradient for weights reads x as it lies.
        converts = problem.swapped or 4 * problem.in_channels * problem.in_pixels <= images.COPIED
        products = 1
        if (
            host.is_x86() and machine.vector_bytes >= 32 and problem.in_channels > problem.groups
            and not problem.swapped and problem.input_dilation == (1, 1, 1) and problem.taps <= TAPS
            and problem.x_order == DEFAULT_ORDER
        ):  # fmt: skip
            products = 4 if host.has_quads() else 2
        return IntegersPlan(problem, self.name, images.at_once(problem, 8), converts, products, plan_child)


@dataclass(frozen=True)
class Weights:
    """Weights as they were given, and as the plans of floats that had use for them read them."""

    given: np.ndarray
    packed: bool
    of_floats: dict[Any, Any] = field(default_factory=dict)
    of_parts: dict[int, float] = field(default_factory=dict)
    ways: dict[int, Way] = field(default_factory=dict)  # of any x, by the largest |bias|

    def read_by(self, plan: Plan, key: Any, number: str, part: slice = slice(None)) -> Any:
        """Those of some channels as ``plan`` reads them, as ``number``; ``key`` tells them apart."""
        found = self.of_floats.get(key)
        if found is None:
            weight = self.part(number, part)
            found = self.of_floats[key] = plan.pack(weight) if self.packed else plan.borrow(weight)
        return found

    def part(self, number: str, part: slice = slice(None)) -> np.ndarray:
        """Some input channels, as ``number``."""
        return self.given[:, :, part].astype(number, order="K", copy=False)

    @cached_property
    def totals(self) -> np.ndarray:
        """The sum of the weights of each output, which are of int8."""
        return joining.totals_of(self.part("int8"))

    @cached_property
    def small(self) -> bool:
        """Whether all are numbers of int8."""
        if self.given.dtype.itemsize > 2 or self.given.dtype == np.int8:
            return bool(self.given.dtype == np.int8)
        return holds("int8", int(self.given.min()), int(self.given.max()))

    def heaviest(self, count: int = 1) -> float:
        """The largest sum of |w| of an output, over any of ``count`` parts of the input channels."""
        found = self.of_parts.get(count)
        if found is None:
            groups, outer, inner, *kernel = self.given.shape
            taps, found = prod(kernel), 0.0
            rows, starts = max(1, BLOCK // (inner * taps)), [taps * first for first in parts(inner, count)[:-1]]
            for group, first in product(range(groups), range(0, outer, rows)):
                block = self.given[group, first : first + rows].astype(np.float32)
                np.abs(block, out=block)  # of floats, as the least integer has no opposite
                sums = np.add.reduceat(block.reshape(len(block), -1), starts, axis=1)
                found = max(found, float(sums.max()))
            self.of_parts[count] = found
        return found


@dataclass(frozen=True, slots=True)
class Way:
    """How sums are computed: their dtype; which channels of a group at a time; what none is beyond; products at a time.

    Those of int32 are two or four at a time.
    """

    number: str
    parts: tuple[slice, ...]
    bound: float
    products: int = 1


@dataclass(frozen=True, eq=False, repr=False)
class IntegersPlan(Plan):
    images: int  # at once, where there are copies of them
    converts: bool  # x in an array of floats, before the tiles read it
    products: int  # the most at a time that tiles may be asked for
    plan_child: PlanChild
    children: dict[Any, Plan] = field(default_factory=dict)
    copies: dict[Any, launch.Work] = field(default_factory=dict)  # which are made of x

    def pack(self, weight: np.ndarray) -> Weights:
        return Weights(weight.copy(order="K"), packed=True)

    def borrow(self, weight: np.ndarray) -> Weights:
        return Weights(weight, packed=False)

    def run(
        self, x: np.ndarray, weight: Weights, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        start = 0 if bias is None else largest(bias)
        way = weight.ways.get(start)
        if way is None:
            way = self._way(weight, range_of(x.dtype), start)
            if way is None or way.number == "float64" or len(way.parts) > 1:
                way = self._way(weight, (int(x.min()), int(x.max())), start)
            elif weight.packed and len(weight.ways) < WAYS:  # a way for any x there is
                weight.ways[start] = way
        if way is None:
            rest = self.plan_child(self.problem, self.strategy)
            rest.run(x, weight.read_by(rest, "rest", self.problem.dtype), bias, y, threads, residual)
            return
        finishes = self._fits(way, weight, bias, y, residual)
        p, last = self.problem, len(way.parts) - 1
        copies = last or self.converts or way.products > 1
        following = p.tail or Tail()
        count = p.batch if finishes and not copies else self.images
        if finishes and following.quantised:
            tails = [following]
        elif finishes:
            dtype, tail = "" if y.dtype.name == way.number else y.dtype.name, p.tail or Tail()
            same = dtype in INTEGERS and y.itemsize == np.dtype(way.number).itemsize
            tails = [Tail(residual is not None, None, None, dtype, same), *[Tail(True, None, None, dtype, same)] * last]
            tails[-1] = replace(tails[-1], activation=tail.activation)
        else:
            sums = np.empty((count, *y.shape[1:]) if count < p.batch else y.shape, "int32" if last else way.number)
            tails = [Tail(part > 0, dtype="int32", in_place=True) for part in range(last + 1)] if last else [Tail()]
        for first in range(0, p.batch, count):
            here = slice(first, first + count) if count < p.batch else slice(None)
            added = residual if residual is None or following.quantised else residual[here]
            if finishes:
                self._sum(way, tails, count, x[here], weight, bias, y[here], threads, added)
            else:
                self._sum(way, tails, count, x[here], weight, bias, sums, threads, None)
                if following.quantised and added is not None:
                    requantising.requantise(sums, added, y[here], threads)
                else:
                    settling.settle(p, sums, y[here], added, threads)

    # ---- which way -------------------------------------------------------------------------------------------------

    def _way(self, weight: Weights, ends: tuple[int, int], start: int) -> Way | None:
        """The fastest way for elements of x between these ends; None where no float will do."""
        p = self.problem
        zero = p.prologue.zero if isinstance(p.prologue, Centred) else 0
        most = float(max(abs(ends[0] - zero), abs(ends[1] - zero), abs(p.padding_value)))
        heaviest = float(max(map(abs, range_of(weight.given.dtype))))
        whole = slice(0, p.in_channels // p.groups)
        products = self._products(weight, (ends[0] - zero, ends[1] - zero))
        if products > 1 and heaviest * most * p.terms + start < ADDED:
            return Way("int32", (whole,), heaviest * most * p.terms + start, products)
        if heaviest * most * p.terms + start < EXACT["float32"]:  # whatever the weights
            return Way("float32", (whole,), heaviest * most * p.terms + start)
        bound = weight.heaviest() * most + start
        if products > 1 and bound < ADDED:
            return Way("int32", (whole,), bound, products)
        if bound < EXACT["float32"]:
            return Way("float32", (whole,), bound)
        if bound < ADDED and not p.swapped and p.x_order == DEFAULT_ORDER:
            # The fewest parts that float32 sums exactly, of which the first has the bias in it.
            least = ceil(bound / EXACT["float32"])
            for count in range(least, min(whole.stop, p.terms // PART) + 1):
                if weight.heaviest(count) * most + start < EXACT["float32"]:
                    return Way("float32", tuple(slice(*ends) for ends in pairwise(parts(whole.stop, count))), bound)
        return Way("float64", (whole,), bound) if bound < EXACT["float64"] else None

    def _products(self, weight: Weights, ends: tuple[int, int]) -> int:
        """How many at a time the tiles may add for elements of x, less their zero, between these ends."""
        p = self.problem
        if self.products == 4 and weight.small and (p.x_dtype or p.dtype) in SHIFTS and 0 <= self._beyond() < 256:
            return 4
        pairs = self.products > 1 and p.padding_mode != "constant"
        return 2 if pairs and all(holds("int16", *limits) for limits in (ends, range_of(weight.given.dtype))) else 1

    def _shift(self) -> int:
        """What is added to elements of x, less their zero, for numbers of 8 bits without sign."""
        p = self.problem
        return SHIFTS[p.x_dtype or p.dtype] + (p.prologue.zero if isinstance(p.prologue, Centred) else 0)

    def _beyond(self) -> int:
        """What the padding is then."""
        return int(self.problem.padding_value.real) + self._shift()

    def _fits(
        self, way: Way, weight: Weights, bias: np.ndarray | None, y: np.ndarray, residual: np.ndarray | None
    ) -> bool:
        """Whether it is known that the dtypes of sums and results hold them, so that the tiles may finish them."""
        p = self.problem
        if p.tail and p.tail.quantised:  # any sum, but where its parts are added in the place of the result
            return len(way.parts) == 1
        unsigned = (p.x_dtype or p.dtype).startswith(("u", "bool")) and weight.given.dtype.kind in "ub"
        positive = unsigned and p.prologue is None and p.padding_value.real >= 0 and (bias is None or bias.min() >= 0)
        low, high = 0.0 if positive else -way.bound, way.bound
        if p.swapped or not holds(p.dtype, low, high):  # gradients for weights are not finished by those who sum them
            return False
        if y.dtype.name not in INTEGERS:
            return len(way.parts) == 1 and way.number != "int32"
        if residual is not None:
            low, high = low + int(residual.min()), high + int(residual.max())
        if way.number != "float64" and max(-low, high) >= ADDED:
            return False
        activation = p.tail.activation if p.tail else None
        if activation is not None:
            least, most = {"relu": (0, high), "relu6": (0, 6)}.get(activation[0]) or activation[1:]
            low, high = min(max(low, least), most), min(max(high, least), most)
        return holds(y.dtype.name, low, high)

    # ---- the work --------------------------------------------------------------------------------------------------

    def _sum(
        self, way: Way, tails: list[Tail], count: int, x: np.ndarray, weight: Weights, bias: np.ndarray | None,
        y: np.ndarray, threads: int, residual: np.ndarray | None,
    ) -> None:  # fmt: skip
        """The sums of ``count`` images: the first part with the residual, the others with those before them."""
        p = self.problem
        for part, tail in zip(way.parts, tails, strict=True):
            key = (way.number, count, part.stop - part.start, tail, way.products)
            child = self._child(*key)
            number = {1: way.number, 2: "int16", 4: "int8"}[way.products]
            w = weight.read_by(child, (*key, part.start), number, part)
            b = None if bias is None or part.start > 0 else bias.astype(way.number)
            some = x
            if len(way.parts) > 1:
                some = np.ascontiguousarray(x.reshape(count, p.groups, -1, p.in_pixels)[:, :, part])
            if way.products == 4 and self._shift():
                b = ((0 if bias is None else bias) - self._shift() * weight.totals).astype(np.int32)  # modulo 2**32
            if way.products > 1:
                some = self._joined(some, count, way.products, threads)
            elif self.converts:
                some = self._converted(some, way.number, threads)
            child.run(some, w, b, y, threads, y if part.start > 0 else residual)

    def _child(self, *key: Any) -> Plan:
        """The plan of `_floats`, remembered."""
        child = self.children.get(key)
        if child is None:
            child = self.children[key] = self.plan_child(self._floats(*key), self.strategy)
        return child

    def _floats(self, number: str, count: int, channels: int, tail: Tail, products: int = 1) -> ConvProblem:
        """The problem of ``count`` images and so many channels of each group, in floats or products at a time."""
        p = self.problem
        if products > 1:
            child = replace(
                p, batch=count, in_channels=p.groups * -(-channels // products), dtype=number, x_dtype="",
                prologue=None, tail=None if tail == Tail() else tail, products=products,
            )  # fmt: skip
            if products == 4 and p.padding_mode in ("zeros", "constant"):
                beyond = self._beyond() * 0x01010101
                child = child.read_as(Reading("constant" if beyond else "zeros", beyond))
            return child
        return replace(
            p, batch=count, in_channels=p.groups * channels, dtype=number, tail=None if tail == Tail() else tail,
            x_dtype="" if self.converts else p.x_dtype or p.dtype, prologue=None if self.converts else p.prologue,
        )  # fmt: skip

    def _converted(self, x: np.ndarray, number: str, threads: int) -> np.ndarray:
        p = self.problem
        floats = np.empty(x.shape, number)
        work = self.copies.get((number, x.size))
        if work is None:
            row, zero = loading.row_of(p.x_dtype or p.dtype, number, p.prologue), loading.told(p)["zero"]
            work = rowwise.work_of(row, x.size, (floats.itemsize, x.itemsize), (zero, 0), (1, 0), (1, 1))
            self.copies[number, x.size] = work
        work.run(x, NOTHING, NOTHING, floats, threads)
        return floats

    def _joined(self, x: np.ndarray, count: int, products: int, threads: int) -> np.ndarray:
        p = self.problem
        inner = p.in_channels // p.groups
        words = np.empty((count, p.groups * -(-inner // products), p.in_pixels), np.int32)
        work = self.copies.get((products, count))
        if work is None:
            zero = loading.told(p)["zero"]
            work = joining.work_of(x.dtype.name, (count, p.groups, inner), p.in_pixels, products, zero)
            self.copies[products, count] = work
        work.run(x, NOTHING, NOTHING, words, threads)
        return words

    def __str__(self) -> str:
        whole = self.problem.in_channels // self.problem.groups
        most = self.products if (self.problem.x_dtype or self.problem.dtype) in SHIFTS else min(self.products, 2)
        ways = [("int32", most)] * (most > 1) + [(number, 1) for number in EXACT]
        children = [str(self._child(number, self.problem.batch, whole, Tail(), n)) for number, n in ways]
        return f"({self.strategy} {', '.join(children)})"


def parts(channels: int, count: int) -> list[int]:
    """Where ``count`` parts, as even as can be, begin, and where the last one ends."""
    return [channels * part // count for part in range(count + 1)]


@cache
def range_of(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the largest number of a dtype of integers."""
    return (0, 1) if dtype.kind == "b" else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))


def largest(values: np.ndarray) -> int:
    """The largest |value| there is, as a Python int, which -128 of int8 does not overflow."""
    return max(int(values.max()), -int(values.min()))


def holds(dtype: str, low: float, high: float) -> bool:
    """Whether the whole numbers up to these ends, or somewhat beyond, are all of a dtype of integers."""
    least, most = range_of(np.dtype(dtype))
    return least <= low and high <= most


STRATEGY = Integers()

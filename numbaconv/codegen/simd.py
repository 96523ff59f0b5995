"""Vectors of one element type in LLVM: load, store, broadcast, fma, masks; one line of IR each."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from numbaconv.codegen import host

WORD = ir.IntType(64)
LANE = ir.IntType(32)
SUFFIXES = {LANE: "i32", ir.FloatType(): "f32", ir.IntType(8): "i8"}
# lanes of int32: the feature that has the instruction, and its name
PAIR_PRODUCTS = {16: ("avx512bw", "avx512.pmaddw.d.512"), 8: ("avx2", "avx2.pmadd.wd"), 4: ("sse2", "sse2.pmadd.wd")}
QUAD_PRODUCTS = {16: "avx512.vpdpbusd.512", 8: "avx512.vpdpbusd.256", 4: "avx512.vpdpbusd.128"}  # sums that wrap around


def word(value: int) -> ir.Constant:
    """An int64 constant."""
    return ir.Constant(WORD, value)


def _pair(unit: int, lanes: int) -> list[int]:
    """``unit`` lanes of one vector, then those of the other."""
    return [*range(unit), *range(lanes, lanes + unit)]


class Simd:
    """Emits operations on vectors of ``lanes`` elements into ``builder``'s current block.

    Elements are float32 or float64; or int32, each of which, where two are multiplied, is a pair of int16 or, of
    ``quads``, four int8 in the first and four uint8 in the second.
    """

    def __init__(self, builder: Any, element: Any, lanes: int, quads: bool = False) -> None:
        self.builder, self.element, self.lanes, self.quads = builder, element, lanes, quads
        self.kind = ir.VectorType(element, lanes)
        self.zero = ir.Constant(self.kind, None)
        self.suffix = f"v{lanes}{SUFFIXES.get(element, 'f64')}"
        self.align = int(self.suffix[-2:].lstrip("i")) // 8  # arrays promise an element's alignment, not a vector's

    def _function(self, name: str, result: Any, *arguments: Any) -> Any:
        # `declare_intrinsic` refuses vector types.
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), name)

    def load(self, place: Any) -> Any:
        return self.builder.load(self.builder.bitcast(place, self.kind.as_pointer()), align=self.align)

    def store(self, vector: Any, place: Any) -> None:
        self.builder.store(vector, self.builder.bitcast(place, self.kind.as_pointer()), align=self.align)

    def broadcast(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(LANE, 0))
        return self.shuffle(first, undefined, [0] * self.lanes)

    def shuffle(self, low: Any, high: Any, lanes: list[int]) -> Any:
        """Lane ``i`` is lane ``lanes[i]`` of ``low`` followed by ``high``."""
        return self.builder.shuffle_vector(low, high, ir.Constant(ir.VectorType(LANE, len(lanes)), lanes))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        if self.quads:
            products = self._function(f"llvm.x86.{QUAD_PRODUCTS[self.lanes]}", self.kind, *[self.kind] * 3)
            return self.builder.call(products, [c, b, a])
        if self.element == LANE:
            return self.builder.add(self.pair_products(a, b), c)
        if not host.has_fma():
            return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))
        return self.builder.call(self._function(f"llvm.fma.{self.suffix}", self.kind, *[self.kind] * 3), [a, b, c])

    def pair_products(self, a: Any, b: Any) -> Any:
        """``low(a)*low(b) + high(a)*high(b)`` of each lane, its halves being int16.

        One instruction of x86, and with the sum that follows one of AVX-512 VNNI, as LLVM sees.
        """
        builder = self.builder
        feature, name = PAIR_PRODUCTS[self.lanes]
        if feature in host.features():
            halves = ir.VectorType(ir.IntType(16), 2 * self.lanes)
            product = self._function(f"llvm.x86.{name}", self.kind, halves, halves)
            return builder.call(product, [builder.bitcast(v, halves) for v in (a, b)])
        bits = ir.Constant(self.kind, [16] * self.lanes)
        low = [builder.ashr(builder.shl(v, bits), bits) for v in (a, b)]
        high = [builder.ashr(v, bits) for v in (a, b)]
        return builder.add(builder.mul(*low), builder.mul(*high))

    def prefetch(self, place: Any) -> None:
        """Ask for the cache line at ``place``, which need not be memory of ours."""
        byte = ir.IntType(8).as_pointer()
        ask = self._function("llvm.prefetch.p0", ir.VoidType(), byte, LANE, LANE, LANE)
        read, keep, data = (ir.Constant(LANE, n) for n in (0, 3, 1))
        self.builder.call(ask, [self.builder.bitcast(place, byte), read, keep, data])

    def add(self, a: Any, b: Any) -> Any:
        return (self.builder.add if self.element == LANE else self.builder.fadd)(a, b)

    def subtract(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b)

    def absolute(self, vector: Any) -> Any:
        return self.builder.call(self._function(f"llvm.fabs.{self.suffix}", self.kind, self.kind), [vector])

    def any_lane(self, mask: Any) -> Any:
        bit = ir.IntType(1)
        reduce = self._function(f"llvm.vector.reduce.or.v{self.lanes}i1", bit, ir.VectorType(bit, self.lanes))
        return self.builder.call(reduce, [mask])

    def constant(self, value: float) -> Any:
        return ir.Constant(self.kind, [value] * self.lanes)

    def split(self, vectors: list[Any]) -> list[Any]:
        """The phases of ``vectors``, 2 or 4 in a row: phase n holds elements n, n + 2 (4), ... of them all."""
        if len(vectors) == 1:
            return vectors
        pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
        even, odd = (
            self.split([self.shuffle(low, high, list(range(first, 2 * self.lanes, 2))) for low, high in pairs])
            for first in (0, 1)
        )
        return [vector for pair in zip(even, odd, strict=True) for vector in pair]

    def join(self, phases: list[Any]) -> list[Any]:
        """The inverse of `split`."""
        if len(phases) == 1:
            return phases
        even, odd = self.join(phases[::2]), self.join(phases[1::2])
        mixed = [lane // 2 + lane % 2 * self.lanes for lane in range(2 * self.lanes)]
        halves = (mixed[: self.lanes], mixed[self.lanes :])
        return [self.shuffle(a, b, half) for a, b in zip(even, odd, strict=True) for half in halves]

    def transpose(self, vectors: list[Any]) -> list[Any]:
        """Lane ``i`` of result ``j`` is lane ``j`` of ``vectors[i]``; as many vectors as lanes.

        By shuffles that are one instruction each: interleaving within 128 bits, then gathering such quarters.
        """
        n, unit = self.lanes, 1
        quarter = min(n, 2 if self.element == ir.DoubleType() else 4)
        stages = []
        while unit < quarter:
            low = [
                q + t + s for q in range(0, n, quarter) for t in range(0, quarter // 2, unit) for s in _pair(unit, n)
            ]
            stages.append((low, [lane + quarter // 2 for lane in low]))
            unit *= 2
        while unit < n:
            low = [lane for lane in range(2 * n) if lane // quarter % 2 == 0]
            stages.append((low, [lane + quarter for lane in low]))
            unit *= 2
        # What is where is followed alongside, as (vector, lane), and tells which result ends up in which register.
        found = [[(i, lane) for lane in range(n)] for i in range(n)]
        for stage, masks in enumerate(stages):
            for i in (i for i in range(n) if not i >> stage & 1):
                k = i | 1 << stage
                both = found[i] + found[k]
                vectors[i], vectors[k] = (self.shuffle(vectors[i], vectors[k], mask) for mask in masks)
                found[i], found[k] = ([both[lane] for lane in mask] for mask in masks)
        return [vectors[found.index([(i, j) for i in range(n)])] for j in range(n)]

    def sum_lanes(self, vector: Any, start: Any) -> Any:
        """``start`` plus all lanes, floats added in pairs."""
        if self.element == LANE:
            reduce = self._function(f"llvm.vector.reduce.add.{self.suffix}", LANE, self.kind)
            return self.builder.add(start, self.builder.call(reduce, [vector]))
        name = f"llvm.vector.reduce.fadd.{self.suffix}"
        reduce = self._function(name, self.element, self.element, self.kind)
        return self.builder.call(reduce, [start, vector], fastmath=("reassoc",))

    def first_lanes(self, count: Any) -> Any:
        """The mask that is true in lanes ``0..count``."""
        kind = ir.VectorType(LANE, self.lanes)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, self.builder.trunc(count, LANE), ir.Constant(LANE, 0))
        every = self.builder.shuffle_vector(first, undefined, ir.Constant(kind, [0] * self.lanes))
        return self.builder.icmp_signed("<", ir.Constant(kind, list(range(self.lanes))), every)

    def lanes_between(self, lo: Any, hi: Any) -> Any:
        """The mask that is true in lanes ``lo..hi``."""
        return self.builder.and_(self.first_lanes(hi), self.builder.not_(self.first_lanes(lo)))

    def masked_load(self, place: Any, mask: Any) -> Any:
        """Lanes outside the mask are zero and their memory is not touched."""
        bits = ir.VectorType(ir.IntType(1), self.lanes)
        pointer = self.kind.as_pointer()
        load = self._function(f"llvm.masked.load.{self.suffix}.p0", self.kind, pointer, LANE, bits, self.kind)
        place = self.builder.bitcast(place, pointer)
        return self.builder.call(load, [place, ir.Constant(LANE, self.align), mask, self.zero])

    def store_first(self, vector: Any, place: Any, count: Any) -> None:
        """Store lanes ``0..count``, all of them if there are as many or more; other memory is not touched.

        AVX-512 and others have a mask for it. AVX's masked store takes some 12 cycles on AMD's cores, 42 operations of
        them, so there it is halves, quarters and single lanes, as the bits of ``count`` say: 7x7 maps gained a fifth.
        """
        builder = self.builder
        with builder.if_else(builder.icmp_signed(">=", count, word(self.lanes))) as (whole, part):
            with whole:
                self.store(vector, place)
            with part:
                if host.has_masks():
                    self.masked_store(vector, place, self.first_lanes(count))
                    return
                none = builder.icmp_signed("<", count, word(0))
                count = builder.select(none, word(0), count)
                width = self.lanes // 2
                while width:
                    some = builder.icmp_signed("!=", builder.and_(count, word(width)), word(0))
                    with builder.if_then(some):
                        low = self.shuffle(vector, vector, list(range(width)))
                        Simd(builder, self.element, width).store(low, place)
                    rest = [*range(width, self.lanes), *[0] * width]
                    vector = builder.select(some, self.shuffle(vector, vector, rest), vector)
                    place = builder.select(some, builder.gep(place, [word(width)]), place)
                    width //= 2

    def masked_store(self, vector: Any, place: Any, mask: Any) -> None:
        """Memory of lanes outside the mask is not touched."""
        bits = ir.VectorType(ir.IntType(1), self.lanes)
        pointer = self.kind.as_pointer()
        store = self._function(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), self.kind, pointer, LANE, bits)
        place = self.builder.bitcast(place, pointer)
        self.builder.call(store, [vector, place, ir.Constant(LANE, self.align), mask])

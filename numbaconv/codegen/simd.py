"""Vectors of one element type in LLVM: load, store, broadcast, fma, masks; one line of IR each."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from numbaconv.codegen import host

WORD = ir.IntType(64)
LANE = ir.IntType(32)


def word(value: int) -> ir.Constant:
    """An int64 constant."""
    return ir.Constant(WORD, value)


class Simd:
    """Emits operations on vectors of ``lanes`` elements into ``builder``'s current block."""

    def __init__(self, builder: Any, element: Any, lanes: int) -> None:
        self.builder, self.element, self.lanes = builder, element, lanes
        self.kind = ir.VectorType(element, lanes)
        self.zero = ir.Constant(self.kind, None)
        self.suffix = f"v{lanes}{'f32' if element == ir.FloatType() else 'f64'}"
        self.align = 4 if element == ir.FloatType() else 8  # arrays promise an element's alignment, not a vector's

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
        if not host.has_fma():
            return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))
        return self.builder.call(self._function(f"llvm.fma.{self.suffix}", self.kind, *[self.kind] * 3), [a, b, c])

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b)

    def subtract(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b)

    def multiply(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b)

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

    def sum_lanes(self, vector: Any, start: Any) -> Any:
        """``start`` plus all lanes, added in pairs."""
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

    def masked_load(self, place: Any, mask: Any) -> Any:
        """Lanes outside the mask are zero and their memory is not touched."""
        bits = ir.VectorType(ir.IntType(1), self.lanes)
        pointer = self.kind.as_pointer()
        load = self._function(f"llvm.masked.load.{self.suffix}.p0", self.kind, pointer, LANE, bits, self.kind)
        place = self.builder.bitcast(place, pointer)
        return self.builder.call(load, [place, ir.Constant(LANE, self.align), mask, self.zero])

    def masked_store(self, vector: Any, place: Any, mask: Any) -> None:
        """Memory of lanes outside the mask is not touched."""
        bits = ir.VectorType(ir.IntType(1), self.lanes)
        pointer = self.kind.as_pointer()
        store = self._function(f"llvm.masked.store.{self.suffix}.p0", ir.VoidType(), self.kind, pointer, LANE, bits)
        place = self.builder.bitcast(place, pointer)
        self.builder.call(store, [vector, place, ir.Constant(LANE, self.align), mask])

"""The emitter of requantising: sums to numbers of 8 bits, in float32, and in float64 where that is not sure."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from numbaconv.codegen.emit import counted
from numbaconv.codegen.simd import LANE, WORD, Simd, word

WIDTHS = (64, 16)  # sums that are looked at together; a row of fewer is done one by one
# Added to a number and taken away again, it rounds that to a whole one, whose last bits are its own last bits.
MAGIC = {ir.FloatType(): 1.5 * 2.0**23, ir.DoubleType(): 1.5 * 2.0**52}
BITS = {ir.FloatType(): LANE, ir.DoubleType(): WORD}


def quantise_row(builder, y, sums, told, ends, count):  # type: ignore[no-untyped-def]
    """Whole blocks; then one that ends where the row does, as nothing is amiss where results are written twice."""
    row = _Row(builder, y, sums, told, ends)
    done = word(0)
    for width in WIDTHS:
        blocks = builder.sdiv(builder.sub(count, done), word(width))
        with counted(builder, blocks) as (k, _, _):
            row.emit(width, builder.add(done, builder.mul(k, word(width))))
        done = builder.add(done, builder.mul(blocks, word(width)))
    rest = builder.sub(count, done)
    least = WIDTHS[-1]
    with builder.if_else(builder.icmp_signed(">=", count, word(least))) as (long, short):
        with long, builder.if_then(builder.icmp_signed(">", rest, word(0))):
            row.emit(least, builder.sub(count, word(least)))
        with short, counted(builder, count) as (k, _, _):
            row.emit(1, k)


class _Row:
    """The scales of a row, as float32 and float64."""

    def __init__(self, builder: Any, y: Any, sums: Any, told: Any, ends: Any) -> None:
        self.builder, self.y, self.sums = builder, y, sums
        self.scale, self.unit, self.zero, self.factor, self.far = (told.get(word(n)) for n in range(5))
        self.least, self.most = (builder.fsub(builder.sitofp(end, ir.DoubleType()), self.zero) for end in ends)
        self.byte = builder.trunc(builder.fptosi(self.zero, LANE), y.element)

    def emit(self, width: int, at: Any) -> None:
        """The results ``at`` and on, ``width`` of them."""
        builder = self.builder
        v, rounded = self._rounded(ir.FloatType(), width, at, lambda v, every: builder.fmul(v, every(self.factor)))
        self._store(width, at, rounded)
        simd = Simd(builder, ir.FloatType(), width)
        whole = builder.fsub(rounded, simd.constant(MAGIC[ir.FloatType()]))
        apart = simd.absolute(builder.fsub(v, whole))
        far = simd.broadcast(builder.fptrunc(self.far, ir.FloatType()))
        with builder.if_then(simd.any_lane(builder.fcmp_ordered(">", apart, far)), likely=False):
            # It divides last, so that what is a tie is rounded as one: at a tie the product is that tie, of few bits,
            # times ``unit``, of 24: a float64 number, which it is exactly.
            _, rounded = self._rounded(ir.DoubleType(), width, at, lambda v, every: builder.fdiv(
                builder.fmul(v, every(self.scale)), every(self.unit)
            ))  # fmt: skip
            self._store(width, at, rounded)

    def _rounded(self, element: Any, width: int, at: Any, scaled: Any) -> tuple[Any, Any]:
        """(numbers within the ends, the same with `MAGIC`)."""
        builder, simd = self.builder, Simd(self.builder, element, width)

        def every(number: Any) -> Any:
            return simd.broadcast(number if element == ir.DoubleType() else builder.fptrunc(number, element))

        v = scaled(self._load(simd, at), every)
        for sign, end in (("<", self.least), (">", self.most)):
            v = builder.select(builder.fcmp_ordered(sign, v, every(end)), every(end), v)
        return v, builder.fadd(v, simd.constant(MAGIC[element]))

    def _load(self, simd: Simd, at: Any) -> Any:
        """Sums as floats."""
        builder, element = self.builder, self.sums.element
        v = Simd(builder, element, simd.lanes).load(self.sums.at(at))
        if isinstance(element, ir.IntType):
            return builder.sitofp(v, simd.kind)
        if element == simd.element:
            return v
        return builder.fptrunc(v, simd.kind) if element == ir.DoubleType() else builder.fpext(v, simd.kind)

    def _store(self, width: int, at: Any, rounded: Any) -> None:
        """The last bits of numbers with `MAGIC`, and what is zero."""
        builder, simd = self.builder, Simd(self.builder, self.y.element, width)
        bits = builder.bitcast(rounded, ir.VectorType(BITS[rounded.type.element], width))
        bytes_ = builder.add(builder.trunc(bits, simd.kind), simd.broadcast(self.byte))
        place = builder.bitcast(self.y.at(at), simd.kind.as_pointer())
        builder.store(bytes_, place, align=1)

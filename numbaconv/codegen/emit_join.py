"""The emitter of joining: four rows of weights of 8 bits, a vector of taps at a time, side by side in words."""

from __future__ import annotations

from llvmlite import ir

from numbaconv.codegen.emit import ceil_div, counted
from numbaconv.codegen.simd import LANE, Simd, word


def join_row(builder, y, x, total, inner, taps, lanes):  # type: ignore[no-untyped-def]
    """Under masks, so that nothing beyond a row is read or written."""
    (y, y_base), (x, x_base), (total, t_base) = y, x, total
    simd, bytes_ = Simd(builder, LANE, lanes, quads=True), Simd(builder, x.element, lanes)
    ones = simd.constant(0x01010101)
    last = builder.sub(inner, word(1))
    with counted(builder, ceil_div(builder, inner, 4), simd.zero) as (c, (outer,), assign_outer):
        first = builder.mul(c, word(4))
        channels = [builder.add(first, word(n)) for n in range(4)]
        bits, starts = ir.Constant(LANE, 0), []  # those of the channels that there are
        for n, channel in enumerate(channels):
            inside = builder.icmp_signed("<=", channel, last)
            starts.append(builder.mul(builder.select(inside, channel, last), taps))
            bits = builder.or_(bits, builder.select(inside, ir.Constant(LANE, 255 << 8 * n), ir.Constant(LANE, 0)))
        there = simd.broadcast(bits)
        to = builder.add(y_base, builder.mul(c, taps))
        with counted(builder, ceil_div(builder, taps, lanes), outer) as (v, (acc,), assign):
            at = builder.mul(v, word(lanes))
            count = builder.sub(taps, at)
            mask, words = simd.first_lanes(count), simd.zero
            for n, start in enumerate(starts):
                part = builder.zext(bytes_.masked_load(x.at(x_base, start, at), mask), simd.kind)
                words = builder.or_(words, builder.shl(part, simd.constant(8 * n)))
            words = builder.and_(words, there)
            simd.store_first(words, y.at(to, at), count)
            assign([simd.fma(words, ones, acc)])
        assign_outer([acc])
    builder.store(simd.sum_lanes(outer, ir.Constant(LANE, 0)), total.at(t_base))

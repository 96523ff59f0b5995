"""The emitter of joining: four rows of weights of 8 bits, a vector of taps at a time, side by side in words."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from numbaconv.codegen.emit import ceil_div, counted
from numbaconv.codegen.simd import LANE, Simd, word

HALF = ir.IntType(16)


def join_row(builder, y, x, inner, taps, lanes):  # type: ignore[no-untyped-def]
    """Whole vectors; what one writes too much, the next one overwrites."""
    (y, y_base), (x, x_base, end) = y, x
    simd, bytes_ = Simd(builder, LANE, lanes), Simd(builder, x.element, lanes)
    both = [lane // 2 + lane % 2 * lanes for lane in range(2 * lanes)]
    last = builder.sub(inner, word(1))
    with counted(builder, ceil_div(builder, inner, 4)) as (c, _, _):
        first = builder.mul(c, word(4))
        bits, starts = ir.Constant(LANE, 0), []  # those of the channels that there are
        for n in range(4):
            channel = builder.add(first, word(n))
            inside = builder.icmp_signed("<=", channel, last)
            channel = builder.select(inside, channel, last)
            starts.append(builder.add(x_base, builder.mul(channel, taps)))
            bits = builder.or_(bits, builder.select(inside, ir.Constant(LANE, 255 << 8 * n), ir.Constant(LANE, 0)))
        there = simd.broadcast(bits)
        to = builder.add(y_base, builder.mul(c, taps))
        with counted(builder, ceil_div(builder, taps, lanes)) as (v, _, _):
            at = builder.mul(v, word(lanes))
            places = [builder.add(start, at) for start in starts]

            def join(parts: list[Any]) -> None:
                """Bytes of two channels side by side, then pairs of them."""
                low, high = (
                    builder.bitcast(bytes_.shuffle(parts[n], parts[n + 1], both), ir.VectorType(HALF, lanes))
                    for n in (0, 2)
                )
                words = builder.bitcast(simd.shuffle(low, high, both), simd.kind)
                simd.store(builder.and_(words, there), y.at(to, at))

            whole = builder.icmp_signed("<=", builder.add(places[3], word(lanes)), end)
            with builder.if_else(whole, likely=True) as (inside, across):
                with inside:
                    join([bytes_.load(x.at(place)) for place in places])
                with across:
                    join([
                        bytes_.masked_load(x.at(place), bytes_.first_lanes(builder.sub(end, place)))
                        for place in places
                    ])  # fmt: skip


def sum_row(builder, total, x, count, lanes):  # type: ignore[no-untyped-def]
    """Four bytes a lane, times ones; the last vector under a mask."""
    (total, t_base), (x, x_base) = total, x
    simd, bytes_ = Simd(builder, LANE, lanes, quads=True), Simd(builder, x.element, 4 * lanes)
    ones = simd.constant(0x01010101)
    with counted(builder, ceil_div(builder, count, 4 * lanes), simd.zero) as (v, (acc,), assign):
        at = builder.mul(v, word(4 * lanes))
        some = bytes_.masked_load(x.at(x_base, at), bytes_.first_lanes(builder.sub(count, at)))
        assign([simd.fma(builder.bitcast(some, simd.kind), ones, acc)])
    builder.store(simd.sum_lanes(acc, ir.Constant(LANE, 0)), total.at(t_base))

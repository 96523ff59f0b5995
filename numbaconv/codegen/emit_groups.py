"""The emitters of convolutions whose vectors hold groups: pixels put into such vectors, and the sums over taps."""

from __future__ import annotations

from numbaconv.codegen import host
from numbaconv.codegen.emit import ceil_div, counted
from numbaconv.codegen.simd import Simd, word


def scatter_lanes(builder, target, source, table, count, channels, lanes):  # type: ignore[no-untyped-def]
    """As many vectors of neighbouring pixels as lanes, one a channel, transposed; each pixel is stored by itself."""
    (target, t_base, nowhere), (source, s_base, s_channel), (table, places) = target, source, table
    simd = Simd(builder, target.element, lanes)
    last = builder.sub(channels, word(1))
    rows = []
    for c in range(lanes):
        there = builder.icmp_signed("<", word(c), channels)
        rows.append(source.at(s_base, builder.mul(builder.select(there, word(c), last), s_channel)))
    with counted(builder, ceil_div(builder, count, lanes)) as (v, _, _):
        start = builder.mul(v, word(lanes))
        mask = simd.first_lanes(builder.sub(count, start))
        vectors = [simd.masked_load(builder.gep(row, [start]), mask) for row in rows]
        for n, vector in enumerate(simd.transpose(vectors)):
            i = builder.add(start, word(n))
            there = builder.icmp_signed("<", i, count)
            place = table.get(places, builder.select(there, i, word(0)))
            there = builder.and_(there, builder.icmp_signed(">=", place, word(0)))
            simd.store(vector, target.at(t_base, builder.select(there, place, nowhere)))


def group_tile(builder, y, x, w, b, table, terms, count, mr, nv, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr*nv accumulators, mr vectors of w, and one of x where it meets more than one of them.

    Pixels that are missing in the last tile are the last one again: its sums are the same, and stored as often.
    """
    (y, y_base, y_row), (x, x_base), (w, w_base, w_row), (b, b_base) = y, x, w, b
    table, pixels, taps = table
    simd = Simd(builder, y.element, lanes)
    w_at = [w.at(w_base, builder.mul(word(i), w_row)) for i in range(mr)]
    last = builder.sub(count, word(1))
    with counted(builder, ceil_div(builder, count, nv)) as (chunk, _, _):
        first = builder.mul(chunk, word(nv))
        q = [builder.add(first, word(j)) for j in range(nv)]
        q = [builder.select(builder.icmp_signed("<", n, last), n, last) for n in q]
        x_at = [x.at(x_base, table.get(pixels, n)) for n in q]
        with counted(builder, terms, *[simd.zero] * (mr * nv)) as (k, acc, assign):
            off, step = table.get(taps, k), builder.mul(k, word(lanes))
            a = [simd.load(builder.gep(place, [step])) for place in w_at]
            places, new = iter([builder.gep(place, [off]) for place in x_at]), []
            # All loads first where there are registers for all: 32 groups of 4 channels on 56x56 377 us, else 505
            # (AVX-512); one by one where there are not: 382 us, else 770 (AVX2).
            v = [simd.load(place) for place in places] if mr * nv + nv + mr <= host.vectors()[1] else []
            for j in range(nv):
                one = v[j] if v else simd.load(next(places))
                new += [simd.fma(a[i], one, acc[j * mr + i]) for i in range(mr)]
            assign(new)
        for i in range(mr):
            bias = simd.load(b.at(b_base, word(i * lanes)))
            for j, n in enumerate(q):
                place = y.at(y_base, builder.mul(word(i), y_row), builder.mul(n, word(lanes)))
                simd.store(simd.add(acc[j * mr + i], bias), place)

"""The emitter of the products of locally connected layers, whose factors are both vectors of pixels."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen.emit import counted
from numbaconv.codegen.simd import Simd, word


def lane_tile(builder, y, a, b, terms, count, first, mr, nv, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr*nv sums, nv vectors of b, one of a; the last vector of pixels under a mask."""
    (y, y_base, y_row, y_col), (a, a_base, a_row, a_term), (b, b_base, b_col, b_term) = y, a, b
    simd = Simd(builder, y.element, lanes)
    y_at = [
        y.at(y_base, builder.mul(word(i), y_row), builder.mul(word(j), y_col)) for i in range(mr) for j in range(nv)
    ]
    a_at = [a.at(a_base, builder.mul(word(i), a_row)) for i in range(mr)]
    b_at = [b.at(b_base, builder.mul(word(j), b_col)) for j in range(nv)]
    starts = builder.icmp_signed("!=", first, word(0))

    def sums(pixel: Any, load: Any) -> list[Any]:
        with counted(builder, terms, *[simd.zero] * (mr * nv)) as (k, acc, assign):
            a_off = builder.add(pixel, builder.mul(k, a_term))
            b_off = builder.add(pixel, builder.mul(k, b_term))
            v = [load(builder.gep(place, [b_off])) for place in b_at]
            new = []
            for i, place in enumerate(a_at):
                w = load(builder.gep(place, [a_off]))
                new += [simd.fma(w, v[j], acc[i * nv + j]) for j in range(nv)]
            assign(new)
        return list(acc)

    whole = builder.sdiv(count, word(lanes))
    with counted(builder, whole) as (v, _, _):
        pixel = builder.mul(v, word(lanes))
        totals = sums(pixel, simd.load)
        with builder.if_else(starts) as (fresh, added):
            with fresh:
                for place, total in zip(y_at, totals, strict=True):
                    simd.store(total, builder.gep(place, [pixel]))
            with added:
                for place, total in zip(y_at, totals, strict=True):
                    to = builder.gep(place, [pixel])
                    simd.store(simd.add(simd.load(to), total), to)
    pixel = builder.mul(whole, word(lanes))
    rest = builder.sub(count, pixel)
    with builder.if_then(builder.icmp_signed(">", rest, word(0))):
        inside = simd.first_lanes(rest)
        totals = sums(pixel, lambda place: simd.masked_load(place, inside))
        for place, total in zip(y_at, totals, strict=True):
            to = builder.gep(place, [pixel])
            old = builder.select(starts, simd.zero, simd.masked_load(to, inside))
            simd.store_first(simd.add(old, total), to, rest)

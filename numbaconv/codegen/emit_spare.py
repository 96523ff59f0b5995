"""The emitter of the tile of spare pixels: a vector holds the rows of packed weights, not the pixels of a map."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from numbaconv.codegen.emit import counted
from numbaconv.codegen.simd import LANE, Simd, word

CHAINS = 8  # accumulators, so that none waits for its own last fma: 4 cycles, two in each


def spare_column(builder, y, w, x, b, terms, rows, first, mr, nv, lanes):  # type: ignore[no-untyped-def]
    """Registers: CHAINS accumulators at least, as many vectors of w as a step of terms, one of x.

    A vector of weights is ``lanes / mr`` terms of ``mr`` rows, or a part of the rows of one term.
    """
    (y, y_base, y_row), (w, w_base, w_step), (x, x_base, x_row), (b, b_base) = y, w, x, b
    simd = Simd(builder, y.element, lanes, y.quads)
    step, parts = max(1, lanes // mr), max(1, mr // lanes)
    unroll = max(1, CHAINS // (nv * parts))
    one = Simd(builder, y.element, min(mr, lanes), y.quads)  # the rows of one term, or a part of them
    x_at = [x.at(x_base, word(p)) for p in range(nv)]
    add = builder.add if simd.element == LANE else builder.fadd
    starts = builder.icmp_signed("!=", first, word(0))
    each = step * unroll
    whole = builder.sdiv(terms, word(each))
    tiles = builder.sdiv(builder.add(rows, word(mr - 1)), word(mr))

    def weights(kind: Simd, w_at: Any, k: Any) -> list[Any]:
        place = builder.gep(w_at, [builder.mul(k, word(mr))])
        return [kind.load(builder.gep(place, [word(part * kind.lanes)])) for part in range(parts)]

    def inputs(place: Any, k: Any) -> Any:
        """``step`` terms of one pixel, each in as many lanes as it has rows."""
        at = builder.gep(place, [builder.mul(k, x_row)])
        vector = simd.broadcast(builder.load(at))
        for n in range(1, step):
            at = builder.gep(at, [x_row])
            lane = [i + lanes * (i // mr >= n) for i in range(lanes)]
            vector = simd.shuffle(vector, simd.broadcast(builder.load(at)), lane)
        return vector

    with counted(builder, tiles) as (t, _, _):
        m = builder.mul(t, word(mr))
        w_at = w.at(w_base, builder.mul(m, w_step))
        with counted(builder, whole, *[simd.zero] * (unroll * nv * parts)) as (k, acc, assign):
            new, sums = [], iter(acc)
            for u in range(unroll):
                at = builder.add(builder.mul(k, word(each)), word(u * step))
                v = weights(simd, w_at, at)
                for place in x_at:
                    a = inputs(place, at)
                    new += [simd.fma(part, a, next(sums)) for part in v]
            assign(new)
        totals = []
        for p in range(nv * parts):
            total = acc[p]
            for u in range(1, unroll):
                total = simd.add(total, acc[p + u * nv * parts])
            totals.append(_fold(simd, total, step))
        done = builder.mul(whole, word(each))
        with counted(builder, builder.sub(terms, done), *totals) as (k, acc, assign):
            at = builder.add(done, k)
            v = weights(one, w_at, at)
            a = [one.broadcast(builder.load(builder.gep(place, [builder.mul(at, x_row)]))) for place in x_at]
            assign([one.fma(v[i % parts], a[i // parts], total) for i, total in enumerate(acc)])
        for i in range(mr):
            row = builder.add(m, word(i))
            with builder.if_then(builder.icmp_signed("<", row, rows)):
                bias = b.get(b_base, row)
                y_at = y.at(y_base, builder.mul(row, y_row))
                part, lane = divmod(i, one.lanes)
                for p in range(nv):
                    total = builder.extract_element(acc[p * parts + part], ir.Constant(LANE, lane))
                    place = builder.gep(y_at, [word(p)])
                    old = builder.select(starts, bias, builder.load(place))
                    builder.store(add(total, old), place)


def _fold(simd: Simd, vector: Any, step: int) -> Any:
    """The sum of the ``step`` parts of a vector."""
    width = simd.lanes
    while step > 1:
        width, step = width // 2, step // 2
        kind = Simd(simd.builder, simd.element, width)
        low, high = (kind.shuffle(vector, vector, list(range(at, at + width))) for at in (0, width))
        vector = kind.add(low, high)
    return vector

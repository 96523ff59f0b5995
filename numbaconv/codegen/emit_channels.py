"""The emitter of the tile whose lanes are channels: pixels of a depthwise convolution, vector by vector of channels."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen.emit import ceil_div, counted
from numbaconv.codegen.simd import Simd, word


def channel_tile(builder, y, w, x, b, taps, channels, first, kernel, stride, mr, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr sums, a row of w; each vector of x meets every tap that it is at. The last vector is under a mask.

    Without a ``kernel``, of which nothing is known, one vector of w, and fma reads x from memory.
    """
    (y, y_base, y_step), (w, w_base, w_row, w_col), (x, x_base, x_row, x_col, x_step), (b, b_base) = y, w, x, b
    rows, cols = taps
    simd = Simd(builder, y.element, lanes)
    starts = builder.icmp_signed("!=", first, word(0))

    def sums(start: Any, load: Any) -> list[Any]:
        if not kernel:
            return sums_of_any(start, load)
        x_at, w_at = x.at(x_base, start), w.at(w_base, start)
        with counted(builder, rows, *[simd.zero] * mr) as (r, acc, assign):
            x_line, w_line = (builder.gep(at, [builder.mul(r, row)]) for at, row in ((x_at, x_row), (w_at, w_row)))
            row = [load(builder.gep(w_line, [builder.mul(word(t), w_col)])) for t in range(kernel)]
            new = list(acc)
            for j in range((mr - 1) * stride + kernel):
                vector = load(builder.gep(x_line, [builder.mul(word(j), x_col)]))
                for t in range(kernel):
                    i, between = divmod(j - t, stride)
                    if not between and 0 <= i < mr:
                        new[i] = simd.fma(row[t], vector, new[i])
            assign(new)
        return list(acc)

    def sums_of_any(start: Any, load: Any) -> list[Any]:
        x_at = [x.at(x_base, builder.mul(word(i), x_step), start) for i in range(mr)]
        w_at = w.at(w_base, start)
        with counted(builder, rows, *[simd.zero] * mr) as (r, whole, assign_whole):
            x_line, w_line = builder.mul(r, x_row), builder.mul(r, w_row)
            with counted(builder, cols, *whole) as (t, acc, assign):
                x_off = builder.add(x_line, builder.mul(t, x_col))
                a = load(builder.gep(w_at, [builder.add(w_line, builder.mul(t, w_col))]))
                assign([simd.fma(a, load(builder.gep(x_at[i], [x_off])), acc[i]) for i in range(mr)])
            assign_whole(acc)
        return list(whole)

    def places(start: Any) -> list[Any]:
        return [y.at(y_base, builder.mul(word(i), y_step), start) for i in range(mr)]

    with counted(builder, ceil_div(builder, channels, lanes)) as (v, _, _):
        start = builder.mul(v, word(lanes))
        left = builder.sub(channels, start)
        with builder.if_else(builder.icmp_signed(">=", left, word(lanes))) as (full, part):
            with full:
                totals, bias = sums(start, simd.load), simd.load(b.at(b_base, start))
                with builder.if_else(starts) as (fresh, added):
                    with fresh:
                        for place, total in zip(places(start), totals, strict=True):
                            simd.store(simd.add(total, bias), place)
                    with added:
                        for place, total in zip(places(start), totals, strict=True):
                            simd.store(simd.add(total, simd.load(place)), place)
            with part:
                mask = simd.first_lanes(left)

                def inside(place: Any) -> Any:
                    return simd.masked_load(place, mask)

                totals, bias = sums(start, inside), inside(b.at(b_base, start))
                for place, total in zip(places(start), totals, strict=True):
                    old = builder.select(starts, bias, inside(place))
                    simd.store_first(simd.add(total, old), place, left)

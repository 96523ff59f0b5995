"""The emitters of the weight gradient's microkernels; as those of `emit`, each is attached to its plain meaning."""

from __future__ import annotations

from typing import Any

from numbaconv.codegen.emit import ceil_div, counted, opaque
from numbaconv.codegen.simd import Simd, word


def transpose_rows(builder, target, source, rows, cols, lanes):  # type: ignore[no-untyped-def]
    """Squares of ``lanes`` rows and columns; those at the edges under masks."""
    (target, t_base, t_row), (source, s_base, s_row) = target, source
    simd = Simd(builder, target.element, lanes)
    down, along = ceil_div(builder, rows, lanes), ceil_div(builder, cols, lanes)
    with counted(builder, down) as (bi, _, _), counted(builder, along) as (bj, _, _):
        i, j = builder.mul(bi, word(lanes)), builder.mul(bj, word(lanes))
        high, wide = builder.sub(rows, i), builder.sub(cols, j)
        s_at = source.at(s_base, builder.mul(i, s_row), j)
        t_at = target.at(t_base, builder.mul(j, t_row), i)
        whole = builder.and_(builder.icmp_signed(">=", high, word(lanes)), builder.icmp_signed(">=", wide, word(lanes)))
        with builder.if_else(whole) as (then, otherwise):
            with then:
                vectors = [simd.load(builder.gep(s_at, [builder.mul(word(n), s_row)])) for n in range(lanes)]
                for n, column in enumerate(simd.transpose(vectors)):
                    simd.store(column, builder.gep(t_at, [builder.mul(word(n), t_row)]))
            with otherwise:
                inside, last = simd.first_lanes(wide), builder.sub(high, word(1))
                vectors = []
                for n in range(lanes):  # a missing row repeats the last, so that none is read outside the source
                    row = builder.select(builder.icmp_signed("<", word(n), high), word(n), last)
                    vectors.append(simd.masked_load(builder.gep(s_at, [builder.mul(row, s_row)]), inside))
                for n, column in enumerate(simd.transpose(vectors)):
                    with builder.if_then(builder.icmp_signed("<", word(n), wide)):
                        simd.store_first(column, builder.gep(t_at, [builder.mul(word(n), t_row)]), high)


def tap_tile(builder, y, w, x, rows, count, mr, kernel, stride, nv, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr*kernel sums, nv rows of w, one vector of x, which meets every row of w that it is a tap of."""
    (y, y_base, y_row), (w, w_base, w_row), (x, x_base, x_row, x_phase) = y, w, x
    simd = Simd(builder, y.element, lanes)
    whole = builder.sdiv(count, word(lanes))
    done = builder.mul(whole, word(lanes))
    inside = simd.first_lanes(builder.sub(count, done))

    def step(first: Any, high: int, column: Any, sums: list[Any], load: Any) -> list[Any]:
        """``high`` rows from ``first`` on, one vector of each."""
        sums = list(sums)
        w_at = w.at(w_base, builder.mul(first, w_row), column)
        x_at = x.at(x_base, builder.mul(first, builder.mul(x_row, word(stride))), column)
        gradients = [load(builder.gep(w_at, [builder.mul(word(i), w_row)])) for i in range(high)]
        for line in range((high - 1) * stride + mr):
            row = builder.gep(x_at, [builder.mul(word(line), x_row)])
            taps = [(line - i * stride, i) for i in range(high) if 0 <= line - i * stride < mr]
            for t in range(kernel if taps else 0):
                phase = builder.mul(x_phase, word(t % stride))
                vector = load(builder.gep(row, [builder.add(phase, word(t // stride))]))
                for r, i in taps:
                    sums[r * kernel + t] = simd.fma(gradients[i], vector, sums[r * kernel + t])
        return sums

    def band(first: Any, high: int, sums: list[Any]) -> list[Any]:
        """``high`` whole rows; of the last vector only what is inside counts, on both sides, as NaN times 0 is NaN."""
        with counted(builder, whole, *sums) as (v, carried, assign):
            assign(step(first, high, builder.mul(v, word(lanes)), carried, simd.load))
        before = builder.block
        with builder.if_then(builder.icmp_signed("<", done, count)):
            ragged = step(first, high, done, carried, lambda place: simd.masked_load(place, inside))
            after = builder.block
        result = []
        for plain, more in zip(carried, ragged, strict=True):
            merged = builder.phi(simd.kind)
            merged.add_incoming(plain, before)
            merged.add_incoming(more, after)
            result.append(merged)
        return result

    bands = builder.sdiv(rows, word(nv))
    with counted(builder, bands, *[simd.zero] * (mr * kernel)) as (q, sums, assign):
        assign(band(builder.mul(q, word(nv)), nv, sums))
    banded = builder.mul(bands, word(nv))
    with counted(builder, builder.sub(rows, banded), *sums) as (q, sums, assign):
        assign(band(builder.add(banded, q), 1, sums))
    for r in range(mr):
        for t in range(kernel):
            place = y.at(y_base, builder.mul(word(r), y_row), word(t))
            builder.store(simd.sum_lanes(sums[r * kernel + t], builder.load(place)), place)


def pixel_taps(builder, y, w, x, table, rows, count, mr, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr sums, one vector of w; fma reads x from memory."""
    (y, y_base), (w, w_base, w_row), (x, x_base, x_row, x_col), (table, taps) = y, w, x, table
    simd = Simd(builder, y.element, lanes)
    x_at = [x.at(x_base, table.get(taps, word(t))) for t in range(mr)]
    y_at = [y.at(y_base, word(t * lanes)) for t in range(mr)]
    with counted(builder, rows, *[simd.load(place) for place in y_at]) as (i, whole, assign_whole):
        w_line, x_line = w.at(w_base, builder.mul(i, w_row)), builder.mul(i, x_row)
        with counted(builder, count, *whole) as (p, sums, assign):
            gradient = simd.load(builder.gep(w_line, [builder.mul(p, word(lanes))]))
            # Else the optimiser keeps a place for each tap of several pixels, of which most are not in registers.
            step = opaque(builder, builder.add(x_line, builder.mul(p, x_col)))
            vectors = [simd.load(builder.gep(place, [step])) for place in x_at]
            assign([simd.fma(gradient, vector, total) for vector, total in zip(vectors, sums, strict=True)])
        assign_whole(list(sums))
    for total, place in zip(whole, y_at, strict=True):
        simd.store(total, place)


def spread_tile(builder, y, w, x, b, at, inside, rows, count, kernel, lanes):  # type: ignore[no-untyped-def]
    """Four sums for each vector of x and its neighbours, of even and odd rows and columns; columns are joined."""
    (y, y_base, y_row), (w, w_base), (x, x_base, x_row), (b, b_base) = y, w, x, b
    (row, col), (top, bottom, width) = at, inside
    simd = Simd(builder, y.element, lanes)
    reach = (kernel + 1) // 2
    taps = [[simd.broadcast(w.get(w_base, word(r * kernel + t))) for t in range(kernel)] for r in range(kernel)]
    bias = simd.broadcast(b.get(b_base))
    blocks = ceil_div(builder, count, lanes)
    with counted(builder, rows) as (q, _, _):
        x_at = x.at(x_base, builder.mul(q, x_row))
        o_row = builder.add(row, builder.shl(q, word(1)))
        with counted(builder, blocks) as (v, _, _):
            step = builder.mul(v, word(lanes))
            sums = [[bias, bias], [bias, bias]]
            for r in range(reach):
                line = builder.gep(x_at, [builder.add(builder.mul(word(reach - 1 - r), x_row), step)])
                for t in range(reach):
                    vector = simd.load(builder.gep(line, [word(reach - 1 - t)]))
                    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                        if 2 * r + i < kernel and 2 * t + j < kernel:
                            sums[i][j] = simd.fma(taps[2 * r + i][2 * t + j], vector, sums[i][j])
            start = builder.add(col, builder.shl(step, word(1)))
            whole = builder.and_(
                builder.icmp_signed(">=", start, word(0)),
                builder.icmp_signed("<=", builder.add(start, word(2 * lanes)), width),
            )
            for i in (0, 1):
                line = builder.add(o_row, word(i))
                present = builder.and_(builder.icmp_signed(">=", line, top), builder.icmp_signed("<", line, bottom))
                with builder.if_then(present):
                    place = y.at(y_base, builder.mul(line, y_row), start)
                    halves = list(enumerate(simd.join(sums[i])))
                    with builder.if_else(whole) as (then, otherwise):
                        with then:
                            for n, half in halves:
                                simd.store(half, builder.gep(place, [word(n * lanes)]))
                        with otherwise:
                            for n, half in halves:
                                first = builder.add(start, word(n * lanes))
                                before = simd.first_lanes(builder.neg(first))
                                mask = simd.first_lanes(builder.sub(width, first))
                                mask = builder.and_(mask, builder.not_(before))
                                simd.masked_store(half, builder.gep(place, [word(n * lanes)]), mask)

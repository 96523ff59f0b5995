"""The emitters of Winograd's microkernels: transforms of tiles whose lanes are channels, and the way there and back."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from numbaconv.codegen.emit import AHEAD, ceil_div, counted
from numbaconv.codegen.simd import Simd, word
from numbaconv.codegen.transforms import Matrix, products, transform


def channels_to_lanes(builder, target, source, inside, width, channels, lanes):  # type: ignore[no-untyped-def]
    """As many vectors of neighbouring columns as lanes, one a channel, transposed; zeros before and after."""
    (target, t_base), (source, s_base, s_channel), (lo, hi) = target, source, inside
    simd = Simd(builder, target.element, lanes)
    lo = _between(builder, lo, word(0), width)
    hi = _between(builder, hi, lo, width)
    last = builder.sub(channels, word(1))
    rows = [builder.mul(_between(builder, word(c), word(0), last), s_channel) for c in range(lanes)]
    t_at = target.at(t_base)
    blocks = ceil_div(builder, builder.sub(hi, lo), lanes)
    done = builder.add(lo, builder.mul(blocks, word(lanes)))
    _zero(simd, t_at, lo)
    with counted(builder, blocks) as (v, _, _):
        start = builder.add(lo, builder.mul(v, word(lanes)))
        mask = simd.first_lanes(builder.sub(hi, start))
        vectors = [simd.masked_load(source.at(s_base, row, start), mask) for row in rows]
        for n, vector in enumerate(simd.transpose(vectors)):
            simd.store(vector, builder.gep(t_at, [builder.mul(builder.add(start, word(n)), word(lanes))]))
    _zero(simd, builder.gep(t_at, [builder.mul(done, word(lanes))]), builder.sub(width, done))


def lanes_to_channels(builder, target, source, count, channels, lanes):  # type: ignore[no-untyped-def]
    """As many vectors of channels as lanes, one a column, transposed and stored under a mask."""
    (target, t_base, t_channel), (source, s_base) = target, source
    simd = Simd(builder, target.element, lanes)
    s_at = source.at(s_base)
    blocks = ceil_div(builder, count, lanes)
    with counted(builder, blocks) as (v, _, _):
        start = builder.mul(v, word(lanes))
        columns = [builder.mul(builder.add(start, word(n)), word(lanes)) for n in range(lanes)]
        rows = simd.transpose([simd.load(builder.gep(s_at, [column])) for column in columns])
        left = builder.sub(count, start)
        for c, row in enumerate(rows):
            with builder.if_then(builder.icmp_signed("<", word(c), channels)):
                simd.store_first(row, target.at(t_base, builder.mul(word(c), t_channel), start), left)


def winograd_input(builder, target, source, mh, kh, mw, kw, stride, lanes):  # type: ignore[no-untyped-def]
    """B d B' of one tile: columns, then rows."""
    (target, t_base, t_point), (source, s_base, s_row, s_col) = target, source
    simd = Simd(builder, target.element, lanes)
    high, wide = transform(mh, kh, stride).B, transform(mw, kw, stride).B
    d = _load(simd, source.at(s_base), s_row, s_col, len(high), len(wide))
    _store_points(simd, _both(simd, high, wide, d), target.at(t_base), t_point)


def winograd_weights(builder, target, source, mh, kh, mw, kw, stride, lanes):  # type: ignore[no-untyped-def]
    """G w G' of one input channel; lanes are output channels."""
    (target, t_base, t_point), (source, s_base, s_tap) = target, source
    simd = Simd(builder, target.element, lanes)
    w = _load(simd, source.at(s_base), builder.mul(word(kw), s_tap), s_tap, kh, kw)
    points = _both(simd, transform(mh, kh, stride).G, transform(mw, kw, stride).G, w)
    _store_points(simd, points, target.at(t_base), t_point)


def winograd_products(builder, target, left, right, terms, blocks, first, mr, nv, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr*nv accumulators, nv vectors of right, one broadcast of left. No edges: nothing is masked.

    Right is asked for ahead: 256 -> 384 on 13x13, 843 us without, 581 us with; 512 -> 512 on 7x7, 875 and 683 (Zen 5).
    """
    (target, t_base, t_row), (left, l_base, l_row), (right, r_base) = target, left, right
    simd = Simd(builder, target.element, lanes)
    starts = builder.icmp_signed("!=", first, word(0))
    r_at = right.at(r_base)
    with counted(builder, blocks) as (block, _, _):
        row = builder.mul(block, word(mr))
        l_at = [left.at(l_base, builder.mul(builder.add(row, word(i)), l_row)) for i in range(mr)]
        with counted(builder, terms, *[simd.zero] * (mr * nv)) as (k, acc, assign):
            place = builder.gep(r_at, [builder.mul(k, word(nv * lanes))])
            for j in range(nv):
                simd.prefetch(builder.gep(place, [word(j * lanes + AHEAD // simd.align)]))
            v = [simd.load(builder.gep(place, [word(j * lanes)])) for j in range(nv)]
            new = []
            for i in range(mr):
                a = simd.broadcast(builder.load(builder.gep(l_at[i], [k])))
                new += [simd.fma(a, v[j], acc[i * nv + j]) for j in range(nv)]
            assign(new)
        t_at = [
            target.at(t_base, builder.mul(builder.add(row, word(i)), t_row), word(j * lanes))
            for i in range(mr)
            for j in range(nv)
        ]
        with builder.if_else(starts) as (fresh, added):
            with fresh:
                for vector, place in zip(acc, t_at, strict=True):
                    simd.store(vector, place)
            with added:
                for vector, place in zip(acc, t_at, strict=True):
                    simd.store(simd.add(vector, simd.load(place)), place)


def winograd_output(builder, target, source, b, check, mh, kh, mw, kw, stride, lanes):  # type: ignore[no-untyped-def]
    """b + A m A' of one tile; a sum of its outputs is NaN or inf where any of them is, and times 0 NaN."""
    (target, t_base, t_row, t_col), (source, s_base, s_point), (b, b_base), (check, c_base) = target, source, b, check
    simd = Simd(builder, target.element, lanes)
    high, wide = transform(mh, kh, stride).A, transform(mw, kw, stride).A
    n = products(mw, kw, stride)
    m = _load(simd, source.at(s_base), builder.mul(word(n), s_point), s_point, products(mh, kh, stride), n)
    bias = simd.load(b.at(b_base))
    t_at = target.at(t_base)
    y = [[simd.add(vector, bias) for vector in row] for row in _both(simd, high, wide, m)]
    for i, row in enumerate(y):
        for j, vector in enumerate(row):
            simd.store(vector, builder.gep(t_at, [_step(builder, i, t_row, j, t_col)]))
    sums = [vector for row in y for vector in row]
    while len(sums) > 1:
        sums = [simd.add(*sums[i : i + 2]) for i in range(0, len(sums) - 1, 2)] + sums[len(sums) // 2 * 2 :]
    place = check.at(c_base)
    simd.store(simd.fma(sums[0], simd.zero, simd.load(place)), place)


def _between(builder: Any, value: Any, least: Any, most: Any) -> Any:
    value = builder.select(builder.icmp_signed("<", value, least), least, value)
    return builder.select(builder.icmp_signed(">", value, most), most, value)


def _zero(simd: Simd, place: Any, count: Any) -> None:
    with counted(simd.builder, count) as (n, _, _):
        simd.store(simd.zero, simd.builder.gep(place, [simd.builder.mul(n, word(simd.lanes))]))


def _step(builder: Any, i: int, row: Any, j: int, col: Any) -> Any:
    return builder.add(builder.mul(word(i), row), builder.mul(word(j), col))


def _load(simd: Simd, place: Any, row: Any, col: Any, rows: int, cols: int) -> list[list[Any]]:
    gep = simd.builder.gep
    return [
        [simd.load(gep(place, [_step(simd.builder, i, row, j, col)])) for j in range(cols)] for i in range(rows)
    ]  # fmt: skip


def _store_points(simd: Simd, points: list[list[Any]], place: Any, step: Any) -> None:
    for n, vector in enumerate(vector for row in points for vector in row):
        simd.store(vector, simd.builder.gep(place, [simd.builder.mul(word(n), step)]))


def _both(simd: Simd, high: Matrix, wide: Matrix, d: list[list[Any]]) -> list[list[Any]]:
    """``high @ d @ wide.T``."""
    columns = [_linear(simd, high, list(column)) for column in zip(*d, strict=True)]
    return [_linear(simd, wide, list(row)) for row in zip(*columns, strict=True)]


def _linear(simd: Simd, matrix: Matrix, vectors: list[Any]) -> list[Any]:
    """``matrix @ vectors``, with what opposite points share computed once.

    Two inputs whose coefficients are equal or opposite in every row (as in A) enter by their sum and difference; two
    rows that are the sum and the difference of shorter ones (as in B) are made from those.
    """
    rows, inputs = [list(row) for row in matrix], list(vectors)
    for j, k in combinations(range(len(vectors)), 2):
        same = [row[j] == row[k] for row in rows]
        if all(s or row[j] == -row[k] for s, row in zip(same, rows, strict=True)) and 0 < sum(same) < len(rows):
            if all(row[j] == 0 for row in rows):
                continue
            inputs[j], inputs[k] = simd.add(inputs[j], inputs[k]), simd.subtract(inputs[j], inputs[k])
            for s, row in zip(same, rows, strict=True):
                row[j], row[k] = (row[j], 0.0) if s else (0.0, row[j])
    results: dict[int, Any] = {}
    for i, k in combinations(range(len(rows)), 2):
        even = [(a + b) / 2 for a, b in zip(rows[i], rows[k], strict=True)]
        odd = [(a - b) / 2 for a, b in zip(rows[i], rows[k], strict=True)]
        disjoint = all(a == 0 or b == 0 for a, b in zip(even, odd, strict=True))
        if disjoint and min(_nonzero(even), _nonzero(odd)) > 0 and not {i, k} & set(results):
            e, o = _combination(simd, even, inputs), _combination(simd, odd, inputs)
            results[i], results[k] = simd.add(e, o), simd.subtract(e, o)
    return [results[i] if i in results else _combination(simd, row, inputs) for i, row in enumerate(rows)]


def _nonzero(row: list[float]) -> int:
    return sum(a != 0 for a in row)


def _combination(simd: Simd, row: list[float], vectors: list[Any]) -> Any:
    """The sum of ``row[i] * vectors[i]``, beginning with one that needs no multiplication."""
    terms = sorted(((a, v) for a, v in zip(row, vectors, strict=True) if a), key=lambda term: abs(term[0] - 1))
    (first, total), *rest = terms
    if first != 1:
        total = simd.multiply(total, simd.constant(first))
    for a, vector in rest:
        if a == 1:
            total = simd.add(total, vector)
        elif a == -1:
            total = simd.subtract(total, vector)
        else:
            total = simd.fma(vector, simd.constant(a), total)
    return total

"""The emitters: each turns one microkernel of `microkernels/` into vector IR, its loops over rows and vectors unrolled.

An emitter receives the builder and the arguments by name, arrays as `Array` (data pointer), tuples as Python tuples,
literals as Python ints; the meaning of each is the plain function that it is attached to by `emitted_by`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from numba import types
from numba.extending import intrinsic, overload

from numbaconv.codegen.jit import DISABLED
from numbaconv.codegen.simd import WORD, Simd, word

CONSTANTS = {"mr", "nv", "lanes", "kernel", "stride"}  # parameters of these names are compile-time ints


def emitted_by(emitter: Callable[..., None]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Attach to a plain function, which is the meaning, the emitter that replaces it in compiled code."""

    def attach(meaning: Callable[..., None]) -> Callable[..., None]:
        if DISABLED:
            return meaning
        names = meaning.__code__.co_varnames[: meaning.__code__.co_argcount]

        def declare(*kinds: Any) -> Any:
            def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
                plain = {
                    name: kind.literal_value if name in CONSTANTS else _plain(context, builder, kind, value)
                    for name, kind, value in zip(names, signature.args, values, strict=True)
                }
                emitter(builder, **plain)
                return context.get_dummy_value()

            return types.void(*kinds), codegen

        # Numba matches parameters by name, so the two functions that it sees are written with the meaning's names.
        listed = ", ".join(names)
        scope: dict[str, Any] = {"declare": declare}
        exec(f"def emitted(typing_context, {listed}):\n    return declare({listed})\n", scope)  # noqa: S102
        scope["emitted"] = intrinsic(prefer_literal=True)(scope["emitted"])
        exec(  # noqa: S102
            f"def choose({listed}):\n    def call({listed}):\n        emitted({listed})\n    return call\n", scope
        )
        overload(meaning, prefer_literal=True, jit_options={"forceinline": True})(scope["choose"])
        return meaning

    return attach


class Array:
    """A flat array argument: its data pointer and its element type."""

    def __init__(self, builder: Any, data: Any) -> None:
        self.builder, self.data = builder, data
        self.element = data.type.pointee

    def at(self, *index: Any) -> Any:
        """A pointer to element ``sum(index)``."""
        place = self.data
        for term in index:
            place = self.builder.gep(place, [term])
        return place

    def get(self, *index: Any) -> Any:
        return self.builder.load(self.at(*index))


def _plain(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.IntegerLiteral):
        return word(kind.literal_value)
    if isinstance(kind, types.Array):
        return Array(builder, context.make_array(kind)(context, builder, value).data)
    if isinstance(kind, types.BaseTuple):
        return tuple(_plain(context, builder, k, builder.extract_value(value, i)) for i, k in enumerate(kind))
    if isinstance(kind, types.Boolean):
        return builder.zext(value, WORD)
    return value


@contextmanager
def counted(builder: Any, count: Any, *carried: Any) -> Any:
    """``for k in range(count)``: yields ``(k, values, assign)``; after the loop ``values`` are the final ones.

    ``carried`` are the initial values; the body calls ``assign(new_values)`` once, at its end.
    """
    before = builder.block
    head, body, after = (builder.append_basic_block(name) for name in ("loop", "body", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(WORD)
    k.add_incoming(word(0), before)
    values = []
    for start in carried:
        value = builder.phi(start.type)
        value.add_incoming(start, before)
        values.append(value)
    builder.cbranch(builder.icmp_signed("<", k, count), body, after)
    builder.position_at_end(body)
    ends: list[Any] = []
    yield k, values, ends.extend
    k.add_incoming(builder.add(k, word(1)), builder.block)
    for value, end in zip(values, ends, strict=True):
        value.add_incoming(end, builder.block)
    builder.branch(head)
    builder.position_at_end(after)


def gemm_tile(builder, y, w, x, b, table, terms, rows, first, mr, nv, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr*nv accumulators, nv vectors of x, one broadcast of w (or none, where fma reads it from memory)."""
    (y, y_base, y_row), (w, w_base, w_row), (x, x_base), (b, b_base) = y, w, x, b
    table, vectors, taps = table
    simd = Simd(builder, y.element, lanes)
    row = _present_rows(builder, rows, mr)
    w_at = [w.at(w_base, builder.mul(r, w_row)) for r in row]
    where = [[table.get(vectors, word(3 * j + field)) for field in range(3)] for j in range(nv)]
    x_at = [x.at(x_base, where[j][0]) for j in range(nv)]

    with counted(builder, terms, *[simd.zero] * (mr * nv)) as (k, acc, assign):
        tap = builder.add(taps, builder.shl(k, word(1)))
        x_off, w_off = table.get(tap), table.get(tap, word(1))
        v = [simd.load(builder.gep(place, [x_off])) for place in x_at]
        new = []
        for i in range(mr):
            a = simd.broadcast(builder.load(builder.gep(w_at[i], [w_off])))
            new += [simd.fma(a, v[j], acc[i * nv + j]) for j in range(nv)]
        assign(new)

    y_at = [[y.at(y_base, builder.mul(word(i), y_row), where[j][1]) for j in range(nv)] for i in range(mr)]
    whole = builder.icmp_signed("==", rows, word(mr))
    for j in range(nv):
        whole = builder.and_(whole, builder.icmp_signed("==", where[j][2], word(lanes)))
    starts = builder.icmp_signed("!=", first, word(0))
    bias = [b.at(b_base, r) for r in row]
    with builder.if_else(whole) as (then, otherwise):
        with then, builder.if_else(starts) as (fresh, added):
            with fresh:
                for i in range(mr):
                    a = simd.broadcast(builder.load(bias[i]))
                    for j in range(nv):
                        simd.store(simd.add(acc[i * nv + j], a), y_at[i][j])
            with added:
                for i in range(mr):
                    for j in range(nv):
                        simd.store(simd.add(acc[i * nv + j], simd.load(y_at[i][j])), y_at[i][j])
        with otherwise:
            masks = [simd.first_lanes(where[j][2]) for j in range(nv)]
            for i in range(mr):
                with builder.if_then(builder.icmp_signed("<", word(i), rows)):
                    a = simd.broadcast(builder.load(bias[i]))
                    for j in range(nv):
                        old = simd.masked_load(y_at[i][j], masks[j])
                        old = builder.select(starts, a, old)
                        simd.masked_store(simd.add(acc[i * nv + j], old), y_at[i][j], masks[j])


def _present_rows(builder: Any, rows: Any, mr: int) -> list[Any]:
    """The rows of a tile: a missing one repeats the last, so that none reads beyond the weights; it is not stored."""
    last = builder.sub(rows, word(1))
    return [builder.select(builder.icmp_signed("<", word(i), rows), word(i), last) for i in range(mr)]


def copy_rows(builder, target, source, rows, inside, width, lanes):  # type: ignore[no-untyped-def]
    """Whole vectors; where one reaches over an end of the source row, only its inner lanes are loaded."""
    (target, t_base, t_row), (source, s_base, s_row) = target, source
    simd = Simd(builder, target.element, lanes)
    vectors = builder.sdiv(builder.add(width, word(lanes - 1)), word(lanes))
    with counted(builder, rows) as (i, _, _):
        t_at, s_at = target.at(t_base, builder.mul(i, t_row)), source.at(s_base, builder.mul(i, s_row))
        with counted(builder, vectors) as (v, _, _):
            start = builder.mul(v, word(lanes))
            vector = _inner_lanes(simd, builder.gep(s_at, [start]), start, inside)
            simd.store(vector, builder.gep(t_at, [start]))


def split_rows(builder, target, source, rows, inside, width, stride, lanes):  # type: ignore[no-untyped-def]
    """``stride`` vectors in, 2 or 4, and by one or two rounds of even and odd lanes as many phases out."""
    (target, t_base, t_row, t_phase), (source, s_base, s_row) = target, source
    simd = Simd(builder, target.element, lanes)
    vectors = builder.sdiv(builder.add(width, word(lanes - 1)), word(lanes))
    with counted(builder, rows) as (i, _, _):
        t_at, s_at = target.at(t_base, builder.mul(i, t_row)), source.at(s_base, builder.mul(i, s_row))
        with counted(builder, vectors) as (v, _, _):
            to = builder.mul(v, word(lanes))
            starts = [builder.add(builder.mul(to, word(stride)), word(n * lanes)) for n in range(stride)]
            row = [_inner_lanes(simd, builder.gep(s_at, [start]), start, inside) for start in starts]
            phases = simd.split(row)
            simd.store(phases[0], builder.gep(t_at, [to]))
            with builder.if_then(builder.icmp_signed("!=", t_phase, word(0))):
                for n in range(1, stride):
                    simd.store(phases[n], builder.gep(t_at, [builder.add(builder.mul(t_phase, word(n)), to)]))


def _inner_lanes(simd: Simd, place: Any, start: Any, inside: Any) -> Any:
    """The vector at ``place``, whose first lane is element ``start`` of its row; zeros outside ``inside``."""
    builder = simd.builder
    lo, hi = inside
    whole = builder.and_(
        builder.icmp_signed(">=", start, lo), builder.icmp_signed("<=", builder.add(start, word(simd.lanes)), hi)
    )
    with builder.if_else(whole) as (then, otherwise):
        with then:
            plain, plain_end = simd.load(place), builder.block
        with otherwise:
            before = simd.first_lanes(builder.sub(lo, start))
            mask = builder.and_(simd.first_lanes(builder.sub(hi, start)), builder.not_(before))
            partial, partial_end = simd.masked_load(place, mask), builder.block
    vector = builder.phi(simd.kind)
    vector.add_incoming(plain, plain_end)
    vector.add_incoming(partial, partial_end)
    return vector


def row_tile(builder, y, w, x, b, rows, count, kernel, stride, nv, lanes):  # type: ignore[no-untyped-def]
    """nv accumulators, one a row; each vector of x goes to every row that it is a tap of. The kernel is loaded once."""
    (y, y_base, y_row), (w, w_base), (x, x_base, x_row, x_phase), (b, b_base) = y, w, x, b
    simd = Simd(builder, y.element, lanes)
    taps = [[simd.broadcast(w.get(w_base, word(r * kernel + t))) for t in range(kernel)] for r in range(kernel)]
    bias = simd.broadcast(b.get(b_base))
    groups = builder.sdiv(builder.add(rows, word(nv - 1)), word(nv))
    blocks = builder.sdiv(builder.add(count, word(lanes - 1)), word(lanes))
    with counted(builder, groups) as (q, _, _):
        first = builder.mul(q, word(nv))
        here = builder.sub(rows, first)
        y_at = y.at(y_base, builder.mul(first, y_row))
        x_at = x.at(x_base, builder.mul(builder.mul(first, word(stride)), x_row))
        with counted(builder, blocks) as (v, _, _):
            step = builder.mul(v, word(lanes))
            acc = [bias] * nv
            for line in range((nv - 1) * stride + kernel):
                row = builder.gep(x_at, [builder.add(builder.mul(word(line), x_row), step)])
                for t in range(kernel):
                    phase = x_phase if t % stride else word(0)
                    vector = simd.load(builder.gep(row, [builder.add(phase, word(t // stride))]))
                    for i in range(nv):
                        r = line - i * stride
                        if 0 <= r < kernel:
                            acc[i] = simd.fma(taps[r][t], vector, acc[i])
            left = builder.sub(count, step)
            whole = builder.icmp_signed(">=", left, word(lanes))
            mask = simd.first_lanes(left)
            for i in range(nv):
                place = builder.gep(y_at, [builder.add(builder.mul(word(i), y_row), step)])
                with (
                    builder.if_then(builder.icmp_signed("<", word(i), here)),
                    builder.if_else(whole) as (then, otherwise),
                ):
                    with then:
                        simd.store(acc[i], place)
                    with otherwise:
                        simd.masked_store(acc[i], place, mask)


def gather_rows(builder, target, source, table, terms, lanes):  # type: ignore[no-untyped-def]
    """For each tap, one vector for each piece of a row; what a piece writes too much, the next piece overwrites."""
    (target, t_base, t_row), (source, s_base) = target, source
    table, taps, pieces, count = table
    simd = Simd(builder, target.element, lanes)
    with counted(builder, terms) as (k, _, _):
        from_tap = source.at(s_base, table.get(taps, builder.shl(k, word(1))))
        to_tap = target.at(t_base, builder.mul(k, t_row))
        with counted(builder, count) as (p, _, _):
            piece = builder.add(pieces, builder.shl(p, word(1)))
            vector = simd.load(builder.gep(from_tap, [table.get(piece)]))
            simd.store(vector, builder.gep(to_tap, [table.get(piece, word(1))]))


def join_rows(builder, target, source, count, phases, lanes):  # type: ignore[no-untyped-def]
    """One phase is a copy and two are a shuffle, in whole vectors, the last under a mask; more go one by one."""
    (target, t_base), (source, s_base, s_phase) = target, source
    simd = Simd(builder, target.element, lanes)
    t_at, s_at = target.at(t_base), source.at(s_base)

    def store(vector: Any, start: Any) -> None:
        left = builder.sub(count, start)
        with builder.if_else(builder.icmp_signed(">=", left, word(lanes))) as (then, otherwise):
            with then:
                simd.store(vector, builder.gep(t_at, [start]))
            with otherwise:
                simd.masked_store(vector, builder.gep(t_at, [start]), simd.first_lanes(left))

    def blocks(size: int) -> Any:
        return builder.sdiv(builder.add(count, word(size - 1)), word(size))

    with builder.if_else(builder.icmp_signed("<=", phases, word(2))) as (few, many):
        with few, builder.if_else(builder.icmp_signed("==", phases, word(1))) as (one, two):
            with one, counted(builder, blocks(lanes)) as (v, _, _):
                start = builder.mul(v, word(lanes))
                store(simd.load(builder.gep(s_at, [start])), start)
            with two, counted(builder, blocks(2 * lanes)) as (v, _, _):
                q = builder.mul(v, word(lanes))
                phase = [simd.load(builder.gep(s_at, [q])), simd.load(builder.gep(s_at, [builder.add(q, s_phase)]))]
                low, high = simd.join(phase)
                start = builder.mul(q, word(2))
                store(low, start)
                start = builder.add(start, word(lanes))
                with builder.if_then(builder.icmp_signed(">", count, start)):
                    store(high, start)
        with many, counted(builder, phases) as (r, _, _):
            from_phase = builder.gep(s_at, [builder.mul(r, s_phase)])
            left = builder.sub(builder.add(count, builder.sub(phases, word(1))), r)
            with counted(builder, builder.sdiv(left, phases)) as (q, _, _):
                to = builder.add(builder.mul(q, phases), r)
                builder.store(builder.load(builder.gep(from_phase, [q])), builder.gep(t_at, [to]))


def dot_tile(builder, y, w, x, b, terms, rows, mr, nv, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr*nv accumulators, whose lanes are terms; nv vectors of x, one of w. Lanes are summed at the end."""
    (y, y_base, y_row), (w, w_base, w_row), (x, x_base, x_row), (b, b_base) = y, w, x, b
    simd = Simd(builder, y.element, lanes)
    row = _present_rows(builder, rows, mr)
    w_at = [w.at(w_base, builder.mul(r, w_row)) for r in row]
    x_at = [x.at(x_base, builder.mul(word(j), x_row)) for j in range(nv)]
    whole = builder.sdiv(terms, word(lanes))
    done = builder.mul(whole, word(lanes))
    with counted(builder, whole, *[simd.zero] * (mr * nv)) as (k, acc, assign):
        step = builder.mul(k, word(lanes))
        v = [simd.load(builder.gep(place, [step])) for place in x_at]
        new = []
        for i in range(mr):
            a = simd.load(builder.gep(w_at[i], [step]))
            new += [simd.fma(a, v[j], acc[i * nv + j]) for j in range(nv)]
        assign(new)
    mask = simd.first_lanes(builder.sub(terms, done))
    v = [simd.masked_load(builder.gep(place, [done]), mask) for place in x_at]
    for i in range(mr):
        a = simd.masked_load(builder.gep(w_at[i], [done]), mask)
        sums = [simd.sum_lanes(simd.fma(a, v[j], acc[i * nv + j]), b.get(b_base, row[i])) for j in range(nv)]
        with builder.if_then(builder.icmp_signed("<", word(i), rows)):
            for j in range(nv):
                builder.store(sums[j], y.at(y_base, builder.mul(word(i), y_row), word(j)))


def winograd_input(builder, target, source, table, lanes):  # type: ignore[no-untyped-def]
    """B' d B of one vector of tiles: six columns, then six rows."""
    (target, t_base, t_point), (source, s_base), (table, taps) = target, source, table
    simd = Simd(builder, target.element, lanes)
    place = source.at(s_base)
    d = [[simd.load(builder.gep(place, [table.get(taps, word(6 * i + j))])) for j in range(6)] for i in range(6)]
    columns = [_winograd_points(simd, [d[i][j] for i in range(6)]) for j in range(6)]
    for i in range(6):
        for j, point in enumerate(_winograd_points(simd, [columns[j][i] for j in range(6)])):
            simd.store(point, target.at(t_base, builder.mul(word(6 * i + j), t_point)))


def _winograd_points(simd: Simd, d: list[Any]) -> list[Any]:
    """B' d for F(4, 3): the polynomials through 0, 1, -1, 2, -2 and infinity; pairs share their even and odd part."""
    a, b = simd.fma(d[2], simd.constant(-4), d[4]), simd.fma(d[1], simd.constant(-4), d[3])
    c, e = simd.subtract(d[4], d[2]), simd.multiply(simd.subtract(d[3], d[1]), simd.constant(2))
    return [
        simd.fma(d[0], simd.constant(4), simd.fma(d[2], simd.constant(-5), d[4])),
        simd.add(a, b),
        simd.subtract(a, b),
        simd.add(c, e),
        simd.subtract(c, e),
        simd.fma(d[1], simd.constant(4), simd.fma(d[3], simd.constant(-5), d[5])),
    ]


def winograd_output(builder, target, source, b, rows, count, lanes):  # type: ignore[no-untyped-def]
    """A' m A of one vector of tiles, by rows and columns, its four columns joined lane by lane into rows of y."""
    (target, t_base, t_row), (source, s_base, s_point), (b, b_base) = target, source, b
    simd = Simd(builder, target.element, lanes)
    m = [[simd.load(source.at(s_base, builder.mul(word(6 * i + j), s_point))) for j in range(6)] for i in range(6)]
    columns = [_winograd_outputs(simd, [m[i][j] for i in range(6)]) for j in range(6)]
    bias = simd.broadcast(b.get(b_base))
    whole = builder.icmp_signed(">=", count, word(4 * lanes))
    masks = [simd.first_lanes(builder.sub(count, word(n * lanes))) for n in range(4)]
    for i in range(4):
        row = simd.join([simd.add(v, bias) for v in _winograd_outputs(simd, [columns[j][i] for j in range(6)])])
        places = [target.at(t_base, builder.mul(word(i), t_row), word(n * lanes)) for n in range(4)]
        with (
            builder.if_then(builder.icmp_signed("<", word(i), rows)),
            builder.if_else(whole) as (then, otherwise),
        ):
            with then:
                for vector, place in zip(row, places, strict=True):
                    simd.store(vector, place)
            with otherwise:
                for vector, place, mask in zip(row, places, masks, strict=True):
                    simd.masked_store(vector, place, mask)


def _winograd_outputs(simd: Simd, m: list[Any]) -> list[Any]:
    """A' m for F(4, 3)."""
    s, d = simd.add(m[1], m[2]), simd.subtract(m[1], m[2])
    t, e = simd.add(m[3], m[4]), simd.subtract(m[3], m[4])
    return [
        simd.add(m[0], simd.add(s, t)),
        simd.fma(e, simd.constant(2), d),
        simd.fma(t, simd.constant(4), s),
        simd.add(m[5], simd.fma(e, simd.constant(8), d)),
    ]

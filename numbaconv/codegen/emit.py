"""The emitters: each turns one microkernel of `microkernels/` into vector IR, its loops over rows and vectors unrolled.

An emitter receives the builder and the arguments by name, arrays as `Array` (data pointer), tuples as Python tuples,
literals as Python ints; the meaning of each is the plain function that it is attached to by `emitted_by`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from numbaconv.codegen.jit import DISABLED
from numbaconv.codegen.simd import WORD, Simd, word

# How far ahead of the terms packed weights are asked for: of a stream from the third cache the hardware fetches too
# little. 512 -> 512, 3x3 on 7x7: 2.97 ms without, 2.29, 1.96, 1.74, 1.56 at 1/4, 1, 2, 8 KiB (Zen 5).
AHEAD = 8192  # bytes

# Parameters of these names are compile-time ints.
CONSTANTS = {
    "mr",
    "nv",
    "lanes",
    "kernel",
    "stride",
    "pairs",
    "mh",
    "kh",
    "mw",
    "kw",
    "radix",
    "inverse",
    "turned",
    "wide",
}


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


def gemm_column(builder, y, w, x, b, table, terms, rows, first, mr, nv, lanes):  # type: ignore[no-untyped-def]
    """Whole tiles in a loop of their own, since a call of a tile, arrays and all, costs as much as ten of its terms."""
    (y, y_base, y_row), (w, w_base, w_row, w_step), (b, b_base) = y, w, b
    tile = _Tile(builder, y, w, x, b, table, terms, first, nv, lanes)
    whole = builder.sdiv(rows, word(mr))
    with counted(builder, whole) as (t, _, _):
        m = builder.mul(t, word(mr))
        tile.emit(builder.add(y_base, builder.mul(m, y_row)), y_row, builder.add(w_base, builder.mul(m, w_step)), w_row,
                  builder.add(b_base, m), mr)  # fmt: skip
    m = builder.mul(whole, word(mr))
    rest = builder.sub(rows, m)
    at = (builder.add(y_base, builder.mul(m, y_row)), y_row, builder.add(w_base, builder.mul(m, w_step)), w_row,
          builder.add(b_base, m))  # fmt: skip
    half = (mr + 1) // 2
    with builder.if_then(builder.icmp_signed(">", rest, word(0))):
        if half == mr:
            tile.emit(*at, mr, rest)
            return
        with builder.if_else(builder.icmp_signed(">", rest, word(half))) as (many, few):
            with many:
                tile.emit(*at, mr, rest)
            with few:
                tile.emit(*at, half, rest)


class _Tile:
    """Registers: mr*nv accumulators, nv vectors of x, one broadcast of w (or none, where fma reads it from memory)."""

    def __init__(  # type: ignore[no-untyped-def]
        self, builder, y, w, x, b, table, terms, first, nv, lanes
    ) -> None:
        (x, x_base), (table, vectors, taps) = x, table
        self.builder, self.simd = builder, Simd(builder, y.element, lanes)
        self.y, self.w, self.b, self.table, self.taps, self.terms = y, w, b, table, taps, terms
        where = [[table.get(vectors, word(3 * j + field)) for field in range(3)] for j in range(nv)]
        self.x_at = [x.at(x_base, place) for place, _, _ in where]
        self.y_off = [place for _, place, _ in where]
        self.counts = [count for _, _, count in where]
        self.full = builder.icmp_signed("==", self.counts[0], word(lanes))
        for count in self.counts[1:]:
            self.full = builder.and_(self.full, builder.icmp_signed("==", count, word(lanes)))
        self.starts = builder.icmp_signed("!=", first, word(0))

    def emit(self, y_base: Any, y_row: Any, w_base: Any, w_row: Any, b_base: Any, mr: int, rows: Any = None) -> None:
        """One tile; ``rows``: how many of its rows there are, if not all."""
        builder = self.builder
        row = [word(i) for i in range(mr)] if rows is None else _present_rows(builder, rows, mr)
        sums = self._sums([self.w.at(w_base, builder.mul(r, w_row)) for r in row])
        y_at = [[self.y.at(y_base, builder.mul(word(i), y_row), off) for off in self.y_off] for i in range(mr)]
        bias = [self.b.at(b_base, r) for r in row]
        if rows is not None:
            for i in range(mr):
                with builder.if_then(builder.icmp_signed("<", word(i), rows)):
                    self._store_some(y_at[i], sums[i], bias[i])
            return
        with builder.if_else(self.full) as (then, otherwise):
            with then, builder.if_else(self.starts) as (fresh, added):
                with fresh:
                    self._store_all(y_at, sums, bias)
                with added:
                    self._store_all(y_at, sums, None)
            with otherwise:
                for places, acc, place in zip(y_at, sums, bias, strict=True):
                    self._store_some(places, acc, place)

    def _sums(self, w_at: list[Any]) -> list[list[Any]]:
        builder, simd, nv = self.builder, self.simd, len(self.x_at)
        with counted(builder, self.terms, *[simd.zero] * (len(w_at) * nv)) as (k, acc, assign):
            tap = builder.add(self.taps, builder.shl(k, word(1)))
            x_off, w_off = self.table.get(tap), self.table.get(tap, word(1))
            simd.prefetch(builder.gep(w_at[0], [builder.add(w_off, word(AHEAD // simd.align))]))
            v = [simd.load(builder.gep(place, [x_off])) for place in self.x_at]
            new = []
            for i, place in enumerate(w_at):
                a = simd.broadcast(builder.load(builder.gep(place, [w_off])))
                new += [simd.fma(a, v[j], acc[i * nv + j]) for j in range(nv)]
            assign(new)
        return [acc[i : i + nv] for i in range(0, len(acc), nv)]

    def _store_all(self, y_at: list[list[Any]], sums: list[list[Any]], bias: list[Any] | None) -> None:
        simd = self.simd
        for i, (places, acc) in enumerate(zip(y_at, sums, strict=True)):
            a = simd.broadcast(self.builder.load(bias[i])) if bias else None
            for place, total in zip(places, acc, strict=True):
                simd.store(simd.add(total, simd.load(place) if a is None else a), place)

    def _store_some(self, places: list[Any], acc: list[Any], bias: Any) -> None:
        simd = self.simd
        a = simd.broadcast(self.builder.load(bias))
        for place, total, count in zip(places, acc, self.counts, strict=True):
            old = self.builder.select(self.starts, a, simd.masked_load(place, simd.first_lanes(count)))
            simd.store_first(simd.add(total, old), place, count)


def _present_rows(builder: Any, rows: Any, mr: int) -> list[Any]:
    """The rows of a tile: a missing one repeats the last, so that none reads beyond the weights; it is not stored."""
    last = builder.sub(rows, word(1))
    return [builder.select(builder.icmp_signed("<", word(i), rows), word(i), last) for i in range(mr)]


def copy_rows(builder, target, source, rows, inside, width, lanes):  # type: ignore[no-untyped-def]
    """Whole vectors; where one reaches over an end of the source row, only its inner lanes are loaded."""
    (target, t_base, t_row), (source, s_base, s_row) = target, source
    simd = Simd(builder, target.element, lanes)
    with counted(builder, rows) as (i, _, _):
        t_at, s_at = target.at(t_base, builder.mul(i, t_row)), source.at(s_base, builder.mul(i, s_row))
        with counted(builder, ceil_div(builder, width, lanes)) as (v, _, _):
            start = builder.mul(v, word(lanes))
            vector = _inner_lanes(simd, builder.gep(s_at, [start]), start, inside)
            simd.store(vector, builder.gep(t_at, [start]))


def split_rows(builder, target, source, rows, inside, width, stride, lanes):  # type: ignore[no-untyped-def]
    """``stride`` vectors in, 2 or 4, and by one or two rounds of even and odd lanes as many phases out."""
    (target, t_base, t_row, t_phase), (source, s_base, s_row) = target, source
    simd = Simd(builder, target.element, lanes)
    with counted(builder, rows) as (i, _, _):
        t_at, s_at = target.at(t_base, builder.mul(i, t_row)), source.at(s_base, builder.mul(i, s_row))
        with counted(builder, ceil_div(builder, width, lanes)) as (v, _, _):
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
            mask = simd.lanes_between(builder.sub(lo, start), builder.sub(hi, start))
            partial, partial_end = simd.masked_load(place, mask), builder.block
    vector = builder.phi(simd.kind)
    vector.add_incoming(plain, plain_end)
    vector.add_incoming(partial, partial_end)
    return vector


def opaque(builder: Any, value: Any) -> Any:
    """``value``, which the optimiser takes for a new one each time."""
    return builder.asm(ir.FunctionType(WORD, [WORD]), "", "=r,0", [value], True)


def ceil_div(builder: Any, count: Any, size: int) -> Any:
    """How many blocks of ``size`` hold ``count``."""
    return builder.sdiv(builder.add(count, word(size - 1)), word(size))


PIECES = 8  # of a panel's row: three vectors of rows of 5 pixels and more; with more, their places are read again


def gather_rows(builder, target, source, table, terms, lanes):  # type: ignore[no-untyped-def]
    """For each tap, one vector for each piece of a row; what a piece writes too much, the next piece overwrites.

    The places of few pieces stay in registers: 4 cycles a term for three of them, else 12 (Zen 3).
    """
    (target, t_base, t_row), (source, s_base, end) = target, source
    table, taps, pieces, count = table
    simd = Simd(builder, target.element, lanes)

    def tap(k: Any) -> Any:
        return table.get(taps, builder.shl(k, word(1)))

    def piece(p: Any) -> tuple[Any, Any]:
        at = builder.add(pieces, builder.shl(p, word(1)))
        return table.get(at), table.get(at, word(1))

    # Offsets rise, so that only vectors of the last terms, fewer than lanes, reach beyond the end.
    last = builder.add(tap(builder.sub(terms, word(1))), piece(builder.sub(count, word(1)))[0])
    last = builder.add(builder.add(s_base, last), word(lanes))
    fewer = builder.sub(terms, word(lanes))
    fewer = builder.select(builder.icmp_signed(">", fewer, word(0)), fewer, word(0))
    safe = builder.select(builder.icmp_signed("<=", last, end), terms, fewer)
    for few in range(1, PIECES + 1):
        with builder.if_then(builder.icmp_signed("==", count, word(few))):
            places = [piece(word(p)) for p in range(few)]
            places = [(source.at(s_base, start), target.at(t_base, to)) for start, to in places]
            with counted(builder, safe) as (k, _, _):
                off, row = tap(k), builder.mul(k, t_row)
                for start, to in places:
                    simd.store(simd.load(builder.gep(start, [off])), builder.gep(to, [row]))
    with builder.if_then(builder.icmp_signed(">", count, word(PIECES))), counted(builder, safe) as (k, _, _):
        from_tap, to_tap = source.at(s_base, tap(k)), target.at(t_base, builder.mul(k, t_row))
        with counted(builder, count) as (p, _, _):
            start, to = piece(p)
            simd.store(simd.load(builder.gep(from_tap, [start])), builder.gep(to_tap, [to]))
    with counted(builder, builder.sub(terms, safe)) as (n, _, _):
        k = builder.add(safe, n)
        from_tap, to_tap = builder.add(s_base, tap(k)), target.at(t_base, builder.mul(k, t_row))
        with counted(builder, count) as (p, _, _):
            start, to = piece(p)
            start = builder.add(from_tap, start)
            vector = _inner_lanes(simd, source.at(start), start, (word(0), end))
            simd.store(vector, builder.gep(to_tap, [to]))


def join_rows(builder, target, source, rows, count, phases, lanes):  # type: ignore[no-untyped-def]
    """1, 2, 4 and 8 phases are interleaved in whole vectors; any other number goes element by element."""
    (target, t_base, t_row), (source, s_base, s_row, s_phase, skip) = target, source
    simd = Simd(builder, target.element, lanes)
    starts, others = [], builder.icmp_signed("!=", phases, word(0))
    for r in range(8):  # where what is written first of each ``phases`` elements, second, ... begins
        number = builder.add(word(r), skip)
        over = builder.icmp_signed(">=", number, phases)
        first = builder.mul(builder.select(over, builder.sub(number, phases), number), s_phase)
        starts.append(source.at(s_base, builder.add(first, builder.zext(over, WORD))))
    for n in (1, 2, 4, 8):
        is_n = builder.icmp_signed("==", phases, word(n))
        others = builder.and_(others, builder.not_(is_n))
        with builder.if_then(is_n), counted(builder, rows) as (row, _, _):
            t_at, from_row = target.at(t_base, builder.mul(row, t_row)), builder.mul(row, s_row)
            with counted(builder, ceil_div(builder, count, n * lanes)) as (v, _, _):
                q = builder.mul(v, word(lanes))
                start, place = builder.mul(q, word(n)), builder.add(from_row, q)
                for j, vector in enumerate(simd.join([simd.load(builder.gep(at, [place])) for at in starts[:n]])):
                    at = builder.add(start, word(j * lanes))
                    with builder.if_then(builder.icmp_signed(">", count, at)):
                        simd.store_first(vector, builder.gep(t_at, [at]), builder.sub(count, at))
    with builder.if_then(others), counted(builder, rows) as (row, _, _):
        t_at = target.at(t_base, builder.mul(row, t_row))
        with counted(builder, count) as (i, _, _):
            number = builder.add(i, skip)
            q, phase = builder.sdiv(number, phases), builder.srem(number, phases)
            place = builder.add(builder.mul(row, s_row), builder.add(builder.mul(phase, s_phase), q))
            builder.store(builder.load(source.at(s_base, place)), builder.gep(t_at, [i]))


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

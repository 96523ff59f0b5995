"""The emitters of Fourier transforms of many signals side by side: every lane of a vector is a signal of its own.

A complex vector is two vectors that follow each other, the real parts and the imaginary parts of ``lanes`` signals.
"""

from __future__ import annotations

from math import cos, pi, sin
from typing import Any

from llvmlite import ir

from numbaconv.codegen.emit import ceil_div, counted
from numbaconv.codegen.simd import WORD, Simd, word

Complex = tuple[Any, Any]
PLAIN, SHARED, OWN = 0, 1, 2  # a butterfly's outputs are not turned, by the same roots as its neighbours', by its own
TERMS = 4  # of doubtful outputs that are looked at before the next question; their number is a multiple


def butterflies(builder, signals, roots, count, radix, inverse, turned, lanes):  # type: ignore[no-untyped-def]
    """The inverse swaps real and imaginary parts, which conjugates all that lies between, and turns first.

    Roots that all butterflies share stay in registers.
    """
    (signals, base, step, ahead), (roots, first) = signals, roots
    simd = Simd(builder, signals.element, lanes)

    def turns_at(place: Any) -> list[Complex]:
        pairs = [[builder.gep(place, [word(2 * k + part)]) for part in range(2)] for k in range(radix - 1)]
        return [(simd.broadcast(builder.load(re)), simd.broadcast(builder.load(im))) for re, im in pairs]

    shared = turns_at(roots.at(first)) if turned == SHARED else []
    parts = (word(lanes), word(0)) if inverse else (word(0), word(lanes))
    rows = [signals.at(base, builder.mul(word(q), step)) for q in range(radix)]
    with counted(builder, count) as (i, _, _):
        at = builder.mul(i, ahead)
        places = [[builder.gep(row, [builder.add(at, part)]) for part in parts] for row in rows]
        z = [(simd.load(re), simd.load(im)) for re, im in places]
        turns = turns_at(roots.at(first, builder.mul(i, word(2 * radix - 2)))) if turned == OWN else shared
        if inverse and turned:
            z[1:] = [_times(simd, a, t) for a, t in zip(z[1:], turns, strict=True)]
        z = SHORT[radix](simd, z)
        if turned and not inverse:
            z[1:] = [_times(simd, a, t) for a, t in zip(z[1:], turns, strict=True)]
        for (re, im), (to_re, to_im) in zip(z, places, strict=True):
            simd.store(re, to_re)
            simd.store(im, to_im)


def _add(simd: Simd, a: Complex, b: Complex) -> Complex:
    return simd.add(a[0], b[0]), simd.add(a[1], b[1])


def _subtract(simd: Simd, a: Complex, b: Complex) -> Complex:
    return simd.subtract(a[0], b[0]), simd.subtract(a[1], b[1])


def _times(simd: Simd, a: Complex, t: Complex) -> Complex:
    fused = {"flags": ("contract",)}
    multiply, subtract = simd.builder.fmul, simd.builder.fsub
    re = subtract(multiply(a[0], t[0], **fused), multiply(a[1], t[1], **fused), **fused)
    return re, simd.fma(a[0], t[1], simd.multiply(a[1], t[0]))


def _plus_scaled(simd: Simd, a: Complex, b: Complex, scale: float) -> Complex:
    by = simd.constant(scale)
    return simd.fma(b[0], by, a[0]), simd.fma(b[1], by, a[1])


def _scaled(simd: Simd, a: Complex, scale: float) -> Complex:
    by = simd.constant(scale)
    return simd.multiply(a[0], by), simd.multiply(a[1], by)


def _pair(simd: Simd, even: Complex, odd: Complex) -> tuple[Complex, Complex]:
    """``even - i*odd`` and ``even + i*odd``."""
    (a, b), (c, d) = even, odd
    low = simd.add(a, d), simd.subtract(b, c)
    return low, (simd.subtract(a, d), simd.add(b, c))


def _dft2(simd: Simd, z: list[Complex]) -> list[Complex]:
    return [_add(simd, z[0], z[1]), _subtract(simd, z[0], z[1])]


def _dft3(simd: Simd, z: list[Complex]) -> list[Complex]:
    total = _add(simd, z[1], z[2])
    odd = _scaled(simd, _subtract(simd, z[1], z[2]), sin(pi / 3))
    return [_add(simd, z[0], total), *_pair(simd, _plus_scaled(simd, z[0], total, -0.5), odd)]


def _dft4(simd: Simd, z: list[Complex]) -> list[Complex]:
    even, odd = _dft2(simd, z[0::2]), _dft2(simd, z[1::2])
    low, high = _pair(simd, even[1], odd[1])
    return [_add(simd, even[0], odd[0]), low, _subtract(simd, even[0], odd[0]), high]


def _dft5(simd: Simd, z: list[Complex]) -> list[Complex]:
    outer, inner = _add(simd, z[1], z[4]), _add(simd, z[2], z[3])
    d1, d2 = _subtract(simd, z[1], z[4]), _subtract(simd, z[2], z[3])
    c1, c2, s1, s2 = cos(2 * pi / 5), cos(4 * pi / 5), sin(2 * pi / 5), sin(4 * pi / 5)
    near = _plus_scaled(simd, _plus_scaled(simd, z[0], outer, c1), inner, c2)
    far = _plus_scaled(simd, _plus_scaled(simd, z[0], outer, c2), inner, c1)
    y1, y4 = _pair(simd, near, _plus_scaled(simd, _scaled(simd, d1, s1), d2, s2))
    y2, y3 = _pair(simd, far, _plus_scaled(simd, _scaled(simd, d1, s2), d2, -s1))
    return [_add(simd, z[0], _add(simd, outer, inner)), y1, y2, y3, y4]


SHORT = {2: _dft2, 3: _dft3, 4: _dft4, 5: _dft5}


def multiply_spectra(builder, y, w, x, points, terms, first, mr, wide, lanes):  # type: ignore[no-untyped-def]
    """Registers: mr complex sums, one complex vector of x, one of w, which is a broadcast unless each lane has its own.

    All terms of a point are added before the next point, so that a sum is loaded and stored once.
    """
    (y, y_base, y_row), (w, w_base, w_term), (x, x_base, x_term) = y, w, x
    simd = Simd(builder, y.element, lanes)
    starts = builder.icmp_signed("!=", first, word(0))
    width = lanes if wide else 1
    rows = [y.at(y_base, builder.mul(word(i), y_row)) for i in range(mr)]
    w_at, x_at = w.at(w_base), x.at(x_base)
    with counted(builder, points) as (f, _, _):
        at = builder.mul(f, word(2 * lanes))
        w_here = builder.gep(w_at, [builder.mul(f, word(2 * mr * width))])
        x_here = builder.gep(x_at, [at])
        places = [builder.gep(row, [builder.add(at, word(part * lanes))]) for row in rows for part in range(2)]
        with builder.if_else(starts) as (fresh, added):
            with fresh:
                fresh_end = builder.block
            with added:
                old = [simd.load(place) for place in places]
                added_end = builder.block
        sums = []
        for value in old:
            total = builder.phi(simd.kind)
            total.add_incoming(simd.zero, fresh_end)
            total.add_incoming(value, added_end)
            sums.append(total)
        with counted(builder, terms, *sums) as (t, acc, assign):
            from_x = builder.gep(x_here, [builder.mul(t, x_term)])
            from_w = builder.gep(w_here, [builder.mul(t, w_term)])
            re, im = simd.load(from_x), simd.load(builder.gep(from_x, [word(lanes)]))
            new = []
            for i in range(mr):
                place = [builder.gep(from_w, [word((2 * i + part) * width)]) for part in range(2)]
                a, b = ([simd.load(p) for p in place] if wide
                        else [simd.broadcast(builder.load(p)) for p in place])  # fmt: skip
                s = simd.fma(a, re, acc[2 * i])
                c = simd.fma(a, im, acc[2 * i + 1])
                new += [simd.fma(builder.fneg(b), im, s), simd.fma(b, re, c)]
            assign(new)
        for total, place in zip(acc, places, strict=True):
            simd.store(total, place)


def transpose(builder, target, source, blocks, lanes):  # type: ignore[no-untyped-def]
    """A block at a time, wholly in registers."""
    (target, t_base, t_row, t_next), (source, s_base, s_row, s_next) = target, source
    simd = Simd(builder, target.element, lanes)
    with counted(builder, blocks) as (k, _, _):
        to, place = target.at(t_base, builder.mul(k, t_next)), source.at(s_base, builder.mul(k, s_next))
        v = [simd.load(builder.gep(place, [builder.mul(word(i), s_row)])) for i in range(lanes)]
        for j, column in enumerate(simd.transpose(v)):
            simd.store(column, builder.gep(to, [builder.mul(word(j), t_row)]))


def norms(builder, target, source, count, lanes):  # type: ignore[no-untyped-def]
    """The sums carry a NaN, so the largest need not."""
    (target, t_base), (source, s_base, s_step) = target, source
    simd = Simd(builder, target.element, lanes)
    places = [target.at(t_base, word(n * lanes)) for n in range(3)]
    place = source.at(s_base)
    with counted(builder, count, *[simd.zero] * 3) as (k, (total, largest, squares), assign):
        size = simd.absolute(simd.load(builder.gep(place, [builder.mul(k, s_step)])))
        larger = builder.fcmp_ordered(">", size, largest)
        assign([simd.add(total, size), builder.select(larger, size, largest), simd.fma(size, size, squares)])
    for vector, to in zip((total, largest, squares), places, strict=True):
        simd.store(vector, to)


def settle(builder, y, marks, values, limits, b, count, lanes):  # type: ignore[no-untyped-def]
    """One pass: a comparison, an addition and a store a vector, the last under a mask."""
    (y, y_base), (marks, m_base), (values, v_base), (b, b_base) = y, marks, values, b
    simd = Simd(builder, y.element, lanes)
    bias, one = simd.broadcast(b.get(b_base)), simd.constant(1)
    stands = _standing(simd, limits)
    blocks = ceil_div(builder, count, lanes)
    with counted(builder, blocks, simd.zero) as (k, (total,), assign):
        start = builder.mul(k, word(lanes))
        left = builder.sub(count, start)
        mask = simd.first_lanes(left)
        value = simd.load(values.at(v_base, start))
        finite, large = stands(value)
        simd.store_first(simd.add(value, bias), y.at(y_base, start), left)
        doubtful = builder.and_(mask, builder.not_(builder.and_(finite, large)))
        assign([simd.add(total, builder.select(doubtful, one, simd.zero))])
    builder.store(simd.sum_lanes(total, ir.Constant(y.element, 0)), marks.at(m_base))


def _standing(simd: Simd, limits: Any) -> Any:
    """A function of a vector: (no larger than the largest, no smaller than the least)."""
    (least, l_at), (most, m_at) = limits
    low, high = simd.broadcast(least.get(l_at)), simd.broadcast(most.get(m_at))

    def stands(value: Any) -> tuple[Any, Any]:
        size = simd.absolute(value)
        return simd.builder.fcmp_ordered("<=", size, high), simd.builder.fcmp_ordered(">=", size, low)

    return stands


def doubt(builder, target, values, limits, w, x, count, taps, lanes):  # type: ignore[no-untyped-def]
    """A vector whose values all stand costs two comparisons; only of the others terms are looked at."""
    (target, t_base), (values, v_base), (w, w_base), (x, x_base, x_step) = target, values, w, x
    simd = Simd(builder, target.element, lanes)
    stands = _standing(simd, limits)
    one = simd.constant(1)
    blocks = ceil_div(builder, count, lanes)
    with counted(builder, blocks, simd.zero) as (k, (total,), assign):
        start = builder.mul(k, word(lanes))
        mask = simd.first_lanes(builder.sub(count, start))
        finite, large = stands(simd.load(values.at(v_base, start)))
        small = builder.and_(mask, builder.not_(builder.and_(finite, large)))
        before = builder.block
        head, body, after = (builder.append_basic_block(name) for name in ("terms", "more", "looked"))
        builder.branch(head)
        builder.position_at_end(head)
        t, terms, doubtful = builder.phi(WORD), builder.phi(simd.kind), builder.phi(small.type)
        for value, first in ((t, word(0)), (terms, simd.zero), (doubtful, small)):
            value.add_incoming(first, before)
        more = builder.and_(builder.icmp_signed("<", t, taps), simd.any_lane(doubtful))
        builder.cbranch(more, body, after)
        builder.position_at_end(body)
        sizes = terms
        for n in range(TERMS):
            tap = builder.add(t, word(n))
            term = simd.multiply(
                simd.broadcast(w.get(w_base, tap)), simd.load(x.at(x_base, start, builder.mul(tap, x_step)))
            )
            sizes = simd.add(sizes, simd.absolute(term))
        shown = builder.and_(finite, stands(sizes)[1])
        for value, later in (
            (t, builder.add(t, word(TERMS))), (terms, sizes), (doubtful, builder.and_(small, builder.not_(shown)))
        ):  # fmt: skip
            value.add_incoming(later, body)
        builder.branch(head)
        builder.position_at_end(after)
        marks = builder.select(doubtful, one, simd.zero)
        simd.store(marks, target.at(t_base, start))
        assign([simd.add(total, marks)])
    number = target.at(t_base, builder.mul(blocks, word(lanes)))
    builder.store(simd.sum_lanes(total, ir.Constant(target.element, 0)), number)

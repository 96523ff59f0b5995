"""The emitter of the row tile: output rows of one channel, each loaded vector serving every row that it is a tap of."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from numbaconv.codegen.emit import ceil_div, counted, opaque
from numbaconv.codegen.simd import WORD, Simd, word

ROW_TILE_HEIGHTS = (1, 2, 3, 5, 7)  # rows of the kernel in one tile


def row_tile(  # type: ignore[no-untyped-def]
    builder, y, w, x, b, pitch, inside, beyond, rows, count, height, taps, dilation, first, pairs, stride, extends, nv,
    lanes,
):  # fmt: skip
    """A body for each height: to choose among functions would copy all arguments again for each that is passed by."""
    (y, y_base, y_row), (w, w_base, w_row), (x, x_base, x_row), (b, b_base) = y, w, x, b
    x_pitch, w_pitch, y_pitch = pitch
    simd = Simd(builder, y.element, lanes)
    width = lanes // pairs
    for kernel in ROW_TILE_HEIGHTS:
        with builder.if_then(builder.icmp_signed("==", height, word(kernel))):
            w_at = [w.at(w_base, builder.mul(word(r), w_row)) for r in range(kernel)]
            kind = _ExtendedTile if extends else _Tile
            tile = kind(simd, w_at, w_pitch, taps, dilation, x_row, x_pitch, inside, pairs, stride, nv)
            with (
                counted(builder, ceil_div(builder, rows, nv)) as (q, _, _),
                counted(builder, ceil_div(builder, count, width)) as (v, _, _),
            ):
                row, step = builder.mul(q, word(nv)), builder.mul(v, word(width))
                line, column = builder.mul(row, word(stride)), builder.mul(step, word(stride))
                output = _Output(simd, y.at(y_base, builder.mul(row, y_row), step), y_row, y_pitch, pairs, nv,
                                 builder.sub(rows, row), builder.sub(count, step))  # fmt: skip
                start = output.start([b.get(b_base, word(channel)) for channel in range(pairs)], first)
                tile.begin(x, beyond, column, builder.sub(count, step))
                output.store(tile.sums(x.at(x_base, builder.mul(line, x_row), column), line, column, start))


class _Channels:
    """A vector's lanes, of one channel or, where rows are short, in halves of two channels."""

    def __init__(self, simd: Simd, pairs: int) -> None:
        self.narrow = Simd(simd.builder, simd.element, simd.lanes // pairs)
        self.lanes = simd.lanes

    def joined(self, parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else self.narrow.shuffle(parts[0], parts[1], list(range(self.lanes)))

    def parts(self, vector: Any) -> list[Any]:
        width = self.narrow.lanes
        if width == self.lanes:
            return [vector]
        return [self.narrow.shuffle(vector, vector, list(range(n, n + width))) for n in range(0, self.lanes, width)]


class _Output(_Channels):
    """Up to nv rows of a vector of y, of which ``rows`` and ``count`` lanes are there."""

    def __init__(self, simd: Simd, at: Any, y_row: Any, pitch: Any, pairs: int, nv: int, rows: Any, count: Any) -> None:
        super().__init__(simd, pairs)
        builder = simd.builder
        # Else LLVM keeps a pointer for every row, and for every line of x, through all tiles, most on the stack.
        y_row = opaque(builder, y_row)
        self.simd, self.at = simd, at
        self.offsets = [builder.mul(word(channel), pitch) for channel in range(pairs)]
        self.places = [builder.gep(at, [builder.mul(word(i), y_row)]) for i in range(nv)]
        self.present = [builder.icmp_signed("<", word(i), rows) for i in range(nv)]
        self.count, self.mask = count, self.narrow.first_lanes(count)

    def start(self, bias: list[Any], first: Any) -> list[Any]:
        """The bias, or what is there already; a missing row repeats the first."""
        builder = self.simd.builder
        fresh = self.joined([self.narrow.broadcast(value) for value in bias])
        before = builder.block
        with builder.if_then(builder.icmp_signed("==", first, word(0))):
            there = zip(self.present, self.places, strict=True)
            rows = [builder.select(is_row, place, self.at) for is_row, place in there]
            old = [
                self.joined([self.narrow.masked_load(builder.gep(place, [n]), self.mask) for n in self.offsets])
                for place in rows
            ]
            then = builder.block
        return [_phi(builder, (fresh, before), (value, then)) for value in old]

    def store(self, sums: list[Any]) -> None:
        builder = self.simd.builder
        for total, place, is_row in zip(sums, self.places, self.present, strict=True):
            with builder.if_then(is_row):
                for part, offset in zip(self.parts(total), self.offsets, strict=True):
                    self.narrow.store_first(part, builder.gep(place, [offset]), self.count)


class _Tile(_Channels):
    """nv accumulators, one a row, under the taps of ``len(w_at)`` rows of the kernel.

    For each tap column, the vectors of all lines are loaded, then each goes to the rows that it is a tap of. Registers:
    height + (nv-1)*stride vectors, of each phase of the stride, nv accumulators, 1 weight.
    """

    def __init__(
        self, simd: Simd, w_at: list[Any], w_pitch: Any, taps: Any, dilation: Any, x_row: Any, x_pitch: Any,
        inside: Any, pairs: int, stride: int, nv: int,
    ) -> None:  # fmt: skip
        super().__init__(simd, pairs)
        self.simd, self.builder = simd, simd.builder
        self.w_at, self.taps, self.dilation, self.x_row, self.inside = w_at, taps, dilation, x_row, inside
        self.w_offsets = [self.builder.mul(word(channel), w_pitch) for channel in range(pairs)]
        self.stride, self.nv, self.lines = stride, nv, (nv - 1) * stride + len(w_at)
        self.zeros = cgutils.global_constant(self.builder, "zeros", ir.Constant(simd.kind, None))
        # The loads that make up the vectors of one tap, or two of stride 2: how wide, at which columns, where from.
        self.load = self.narrow if stride == 1 else simd
        self.columns = [0] * pairs if pairs > 1 else [half * simd.lanes for half in range(stride)]
        self.sources = [word(0), x_pitch] if pairs > 1 else [word(column) for column in self.columns]

    def begin(self, x: Any, beyond: Any, column: Any, count: Any) -> None:
        """What lies beyond; the first column of the tile, and how many outputs there are from there on."""

    def sums(self, x_at: Any, line: Any, column: Any, start: list[Any]) -> list[Any]:
        """``start`` plus the terms of all taps; neither masks nor choices of address where all inputs are inside."""
        builder, (top, bottom, left, right) = self.builder, self.inside
        # Columns that a vector of outputs reads.
        reach = builder.mul(builder.sub(self.taps, word(1)), self.dilation)
        reach = builder.add(reach, word(self.stride * self.narrow.lanes + self.stride - 1))
        inner = [
            builder.icmp_signed(">=", line, top),
            builder.icmp_signed("<=", builder.add(line, word(self.lines)), bottom),
            builder.icmp_signed(">=", column, left),
            builder.icmp_signed("<=", builder.add(column, reach), right),
        ]
        for condition in inner[1:]:
            inner[0] = builder.and_(inner[0], condition)
        x_step = opaque(builder, self.x_row)
        with builder.if_else(inner[0]) as (then, otherwise):
            with then:
                plain = self._over_taps(x_at, x_step, line, column, start, masked=False)
                plain_end = builder.block
            with otherwise:
                careful = self._over_taps(x_at, x_step, line, column, start, masked=True)
                careful_end = builder.block
        pairs = zip(plain, careful, strict=True)
        return [_phi(builder, (a, plain_end), (b, careful_end)) for a, b in pairs]

    def _over_taps(self, x_at: Any, x_step: Any, line: Any, column: Any, start: list[Any], masked: bool) -> list[Any]:
        """Of stride 2, neighbouring taps are the even and the odd lanes of the same two vectors."""
        builder, stride = self.builder, self.stride
        steps = ceil_div(builder, self.taps, stride)
        if masked:
            steps = self._careful_steps(line, steps)
        final: list[Any]
        with counted(builder, steps, *start) as (u, final, assign):
            t = builder.mul(u, word(stride))
            tap_column = builder.mul(t, self.dilation)
            if masked:
                lines = self._careful_lines(line, column, tap_column, x_at, x_step)
            else:
                lines = []
                for n in range(self.lines):
                    from_line = builder.gep(x_at, [builder.mul(word(n), x_step)])
                    places = [builder.gep(from_line, [builder.add(tap_column, source)]) for source in self.sources]
                    lines.append([self.load.load(place) for place in places])
            phases = [[self.joined(vectors)] if stride == 1 else self.simd.split(vectors) for vectors in lines]
            acc = self._added(final, [phase[0] for phase in phases], t)
            for n in range(1, stride):
                tap = builder.add(t, word(n))
                there = builder.zext(builder.icmp_signed("<", tap, self.taps), WORD)
                with counted(builder, there, *acc) as (_, acc, assign_one):
                    assign_one(self._added(acc, [phase[n] for phase in phases], tap))
            assign(acc)
        return final

    def _added(self, acc: list[Any], vectors: list[Any], t: Any) -> list[Any]:
        acc = list(acc)
        for r, w_row in enumerate(self.w_at):
            places = [self.builder.gep(w_row, [self.builder.add(t, offset)]) for offset in self.w_offsets]
            a = self.joined([self.narrow.broadcast(self.builder.load(place)) for place in places])
            for i in range(self.nv):
                acc[i] = self.simd.fma(a, vectors[i * self.stride + r], acc[i])
        return acc

    def _careful_lines(self, line: Any, column: Any, tap_column: Any, x_at: Any, x_step: Any) -> list[list[Any]]:
        """The vectors of one tap. Lanes outside are zero, and so are lines: read from zeros, for want of more masks."""
        builder, (top, bottom, _, _) = self.builder, self.inside
        masks = [self._inner_lanes(at) for at in self._columns(column, tap_column)]
        lines = []
        for n in range(self.lines):
            number = builder.sub(builder.add(line, word(n)), top)
            is_line = builder.icmp_unsigned("<", number, builder.sub(bottom, top))
            from_line = builder.gep(x_at, [builder.mul(word(n), x_step)])
            places = [builder.gep(from_line, [builder.add(tap_column, source)]) for source in self.sources]
            zeros = builder.bitcast(self.zeros, from_line.type)
            lines.append([
                self.load.masked_load(builder.select(is_line, place, zeros), mask)
                for place, mask in zip(places, masks, strict=True)
            ])  # fmt: skip
        return lines

    def _columns(self, column: Any, tap_column: Any) -> list[Any]:
        """Where the vectors of a tap begin."""
        return [self.builder.add(self.builder.add(column, tap_column), word(c)) for c in self.columns]

    def _inner_lanes(self, at: Any) -> Any:
        _, _, left, right = self.inside
        return self.load.lanes_between(self.builder.sub(left, at), self.builder.sub(right, at))

    def _careful_steps(self, line: Any, steps: Any) -> Any:
        """No taps where no line is inside."""
        builder, (top, bottom, _, _) = self.builder, self.inside
        after = builder.add(line, word(self.lines))
        some = builder.and_(builder.icmp_signed("<", line, bottom), builder.icmp_signed(">", after, top))
        return builder.select(some, steps, word(0))


class _ExtendedTile(_Tile):
    """The same where terms beyond the input are terms like others.

    Lines are found by their map. Where the vectors of a tap reach over an end of the lines, only the lanes inside are
    loaded from there, and the others from ``ends``.
    """

    def begin(self, x: Any, beyond: Any, column: Any, count: Any) -> None:
        self.map, self.ends, (constant, c_base) = beyond
        self.x_at, self.constant = x.at(self.map[3], column), constant.at(c_base, column)
        self.needed = self.builder.mul(count, word(self.stride))

    def _careful_steps(self, line: Any, steps: Any) -> Any:
        """All taps; where the lines lie is found for all of them, and kept as it is, not as what it is made of."""
        builder, (words, base, step, _) = self.builder, self.map
        self.places = []
        for n in range(self.lines):
            place = words.get(builder.add(base, builder.mul(builder.add(line, word(n)), step)))
            is_constant, from_line = builder.icmp_signed("<", place, word(0)), builder.gep(self.x_at, [place])
            for source, own in zip(self.sources, self.columns, strict=True):
                either = builder.gep(self.constant, [word(own)]), builder.gep(from_line, [source])
                chosen = opaque(builder, builder.ptrtoint(builder.select(is_constant, *either), WORD))
                self.places.append(builder.inttoptr(chosen, self.x_at.type))
        return steps

    def _careful_lines(self, line: Any, column: Any, tap_column: Any, x_at: Any, x_step: Any) -> list[list[Any]]:
        builder, (_, _, left, right) = self.builder, self.inside
        columns = self._columns(column, tap_column)
        masks, each = [self._inner_lanes(at) for at in columns], len(columns)
        vectors = [
            self.load.masked_load(builder.gep(place, [tap_column]), masks[n % each])
            for n, place in enumerate(self.places)
        ]
        vectors = self._ended(vectors, line, columns, builder.icmp_signed("<", columns[0], left), before=True)
        # Columns that some output of the vectors needs.
        stop = builder.add(builder.add(column, tap_column), self.needed)
        last = builder.add(columns[-1], word(self.load.lanes))
        stop = builder.select(builder.icmp_signed("<", stop, last), stop, last)
        vectors = self._ended(vectors, line, columns, builder.icmp_signed(">", stop, right), before=False)
        return [vectors[n : n + each] for n in range(0, len(vectors), each)]

    def _ended(self, vectors: list[Any], line: Any, columns: list[Any], reached: Any, before: bool) -> list[Any]:
        """The vectors with lanes from the ends of lines, if these are reached: those ``before`` the first, or after."""
        builder, (flat, base, row, pitch, distance), (_, _, left, right) = self.builder, self.ends, self.inside
        start, new, each = builder.block, [], len(columns)
        with builder.if_then(reached):
            masks = [self.load.first_lanes(builder.sub(left if before else right, at)) for at in columns]
            first = flat.at(base, builder.mul(line, row), builder.sub(word(0), word(0) if before else distance))
            step = opaque(builder, row)
            for n, vector in enumerate(vectors):
                i, half = divmod(n, each)
                place = builder.gep(builder.gep(first, [builder.mul(word(i), step)]), [columns[half]])
                if half and self.columns[half] == 0:  # of the second channel
                    place = builder.gep(place, [pitch])
                end = self.load.load(place)
                new.append(builder.select(masks[half], *((end, vector) if before else (vector, end))))
            then = builder.block
        return [_phi(builder, (a, start), (b, then)) for a, b in zip(vectors, new, strict=True)]


def _phi(builder: Any, *incoming: tuple[Any, Any]) -> Any:
    phi = builder.phi(incoming[0][0].type)
    for value, block in incoming:
        phi.add_incoming(value, block)
    return phi

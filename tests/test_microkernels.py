"""Every microkernel, compiled, does what its plain Python meaning says, and its inner loop is what was designed."""

from __future__ import annotations

import platform
import re
import sys
from itertools import product

import numba
import numpy as np
import pytest
import reference
from called import compiled as callable_of
from processes import ZEN3, python

import numbaconv
from numbaconv import machine
from numbaconv.blocking.weights import pack_panels
from numbaconv.codegen import host
from numbaconv.codegen.jit import DISABLED
from numbaconv.microkernels import joining
from numbaconv.microkernels.pack import copy_rows, gather_rows, split_rows
from numbaconv.microkernels.sweep import make_sweep
from numbaconv.microkernels.tile import ROW_TILE_HEIGHTS, TILES, Tile, gemm_column, row_tile, spare_column

pytestmark = pytest.mark.skipif(DISABLED, reason="NUMBA_DISABLE_JIT: the plain meaning is all there is")

DTYPES = ("float32", "float64")
SIZE = {"float32": 4, "float64": 8}
HOST = host.vectors()[0]
# A wider machine runs the narrower tiles too: (mr, nv, lanes).
RUNNABLE = {
    dtype: sorted({
        (mr, nv, wide // SIZE[dtype]) for (wide, _), pair in TILES.items() if wide <= HOST for mr, nv in pair
    })
    for dtype in DTYPES
}  # fmt: skip
OWN = {
    dtype: [(t.mr, t.nv, t.lanes) for t in (Tile.of(machine.host(), dtype), Tile.narrow(machine.host(), dtype))]
    for dtype in DTYPES
}


def each(tiles):
    """Test ids like ``f32-8x3x16``."""
    return [
        pytest.param(dtype, *tile, id=f"f{SIZE[dtype] * 8}-{'x'.join(map(str, tile))}")
        for dtype in DTYPES
        for tile in tiles[dtype]
    ]


def integers(rng, size, dtype):
    return rng.integers(-9, 10, size).astype(dtype)


# ---- the register tile -----------------------------------------------------------------------------------------------


def make_tile(mr, nv, lanes):
    def tile(y, w, x, b, table, places, steps, terms, rows, first):
        vectors, taps, y_base, w_base, x_base, b_base = places
        y_row, w_row = steps
        gemm_column(
            (y, y_base, y_row), (w, w_base, w_row, w_row), (x, x_base), (b, b_base), (table, vectors, taps),
            terms, rows, first, mr, nv, lanes,
        )  # fmt: skip

    return tile


class Operands:
    """Arrays of a tile of ``rows`` x ``counts``: what must not be read is NaN, what must not be written is checked."""

    def __init__(self, dtype, lanes, rows, counts, terms, seed):
        rng = np.random.default_rng(seed)
        vectors = len(counts)
        pitch = vectors * lanes + 3
        self.x = np.full(7 + terms * pitch + lanes, np.nan, dtype)
        words = []
        for j, count in enumerate(counts):
            # each vector has a place of its own in y, vectors do not follow each other there
            words += [j * lanes, (vectors - 1 - j) * (lanes + 1), count]
            for k in range(terms):
                start = 7 + k * pitch + j * lanes
                self.x[start : start + count] = integers(rng, count, dtype)
        self.w_row = terms + 2
        self.w = np.full(5 + rows * self.w_row, np.nan, dtype)
        taps = []
        for k in range(terms):
            taps += [k * pitch, terms - 1 - k]
        for i in range(rows):
            self.w[5 + i * self.w_row : 5 + i * self.w_row + terms] = integers(rng, terms, dtype)
        self.b = np.concatenate([[np.nan], integers(rng, rows, dtype)]).astype(dtype)
        self.y_row = vectors * (lanes + 1) + 2
        self.y = integers(rng, 4 + rows * self.y_row + lanes, dtype)
        self.table = np.array([-1, *words, *taps], np.int64)
        self.places = (1, 1 + len(words), 4, 5, 7, 1)
        self.steps = (self.y_row, self.w_row)

    def result(self, tile, terms, rows, first):
        y = self.y.copy()
        tile(y, self.w, self.x, self.b, self.table, self.places, self.steps, terms, rows, first)
        return y


@pytest.mark.parametrize(("dtype", "mr", "nv", "lanes"), each(RUNNABLE))
def test_tile(dtype, mr, nv, lanes):
    """All rows 1..mr; the last vector, or one in the middle, of any count 0..lanes."""
    tile = make_tile(mr, nv, lanes)
    compiled = callable_of(tile, "test", dtype, mr, nv, lanes)
    ragged = [[lanes] * (nv - 1) + [count] for count in range(lanes + 1)]
    ragged += [[count] + [lanes] * (nv - 1) for count in (1, lanes - 1)] + [[1] * nv]
    for rows, counts in product(range(1, mr + 1), ragged):
        full = counts == [lanes] * nv
        for terms, first in product((0, 1, 5) if full else (2,), (0, 1)):
            operands = Operands(dtype, lanes, rows, counts, terms, rows)
            np.testing.assert_array_equal(
                operands.result(compiled, terms, rows, first),
                operands.result(tile, terms, rows, first),
                f"{rows} rows, counts {counts}, {terms} terms, first={first}",
            )


@pytest.mark.parametrize(("dtype", "mr", "nv", "lanes"), each(OWN))
def test_sweep(dtype, mr, nv, lanes):
    """Any number of rows and vectors, under tiles of every size, is one large tile."""
    sweep = make_sweep(mr, nv, lanes)

    def all_rows(y, w, x, b, table, places, steps, terms, rows, first):
        vectors, taps, y_base, w_base, x_base, b_base = places
        y_row, w_row = steps
        count = (taps - vectors) // 3
        sweep((y, y_base, y_row), (w, w_base, w_row, w_row), (x, x_base), (b, b_base), (table, vectors, taps),
              terms, rows, count, first)  # fmt: skip

    compiled = callable_of(all_rows, "test", dtype, mr, nv, lanes)
    for rows, count in product(range(1, 2 * mr + 2), (*range(1, nv + 3), 2 * nv + 1)):
        first = (rows + count) % 2
        operands = Operands(dtype, lanes, rows, [lanes] * (count - 1) + [1 + (rows * count) % lanes], 3, rows)
        np.testing.assert_array_equal(
            operands.result(compiled, 3, rows, first),
            operands.result(make_tile(rows, count, lanes), 3, rows, first),
            f"{rows} rows, {count} vectors",
        )


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize(("dtype", "mr", "nv", "lanes"), each(RUNNABLE))
def test_spare_column(dtype, mr, nv, lanes, count):
    def column(y, w, x, b, terms, rows, first):
        spare_column((y, 3, 9), (w, 1, terms), (x, 5, 7), (b, 2), terms, rows, first, mr, count, lanes)

    compiled = callable_of(column, "test", dtype, mr, count, lanes)
    rng = np.random.default_rng(0)
    for rows, terms, first in product((1, mr, 2 * mr + 1), (0, 1, 2, 3, 16, 37), (0, 1)):
        panels = -(-rows // mr) * mr
        w, x = integers(rng, 1 + panels * terms, dtype), integers(rng, 5 + 7 * terms + count, dtype)
        y, b = integers(rng, 3 + 9 * rows, dtype), integers(rng, 2 + rows, dtype)
        expected = y.copy()
        column(expected, w, x, b, terms, rows, first)
        compiled(y, w, x, b, terms, rows, first)
        np.testing.assert_array_equal(y, expected, f"{rows} rows, {terms} terms")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("stride", "nv", "pairs"), [(1, 8, 1), (1, 4, 2), (2, 4, 1), (2, 4, 2)])
@pytest.mark.parametrize("height", ROW_TILE_HEIGHTS)
def test_row_tile(dtype, stride, nv, pairs, height):
    lanes = HOST // SIZE[dtype]

    def tile(y, w, x, b, pitch, inside, rows, count, taps, dilation, first, y_row, x_row):
        beyond = (np.zeros(1, np.int64), 0, 0, 0), (x, 0, 0, 0, 0), (x, 0)
        row_tile((y, 2, y_row), (w, 1, taps), (x, 3, x_row), (b, 1), pitch, inside, beyond, rows, count, height, taps,
                 dilation, first, pairs, stride, 0, nv, lanes)  # fmt: skip

    compiled = callable_of(tile, "test", dtype, stride, nv, pairs, height)
    rng = np.random.default_rng(0)
    for rows, count in product((1, nv - 1, nv, nv + 2), (1, lanes - 1, lanes, 2 * lanes + 3)):
        for taps, dilation, first, (top, low, left, right) in (
            (3, 1, 1, (0, 0, 0, 0)),
            (4, 1, 0, (1, 2, 3, 1)),
            (1, 1, 1, (2, 100, 0, 0)),
            (2, 1 if stride > 1 else 3, 0, (0, 1, 2 * lanes, 0)),
        ):
            lines, columns = (rows - 1) * stride + height, (count - 1) * stride + (taps - 1) * dilation + 1
            x_row, y_row = columns + 1, count + 2
            pitch = lines * x_row, height * taps, rows * y_row
            x = integers(rng, 3 + pairs * pitch[0], dtype)  # the last line ends where the memory does
            w, b, y = (integers(rng, n, dtype) for n in (1 + pairs * pitch[1], 3, 2 + pairs * pitch[2]))
            inside = top, max(top, lines - low), left, columns - right
            expected = y.copy()
            tile(expected, w, x, b, pitch, inside, rows, count, taps, dilation, first, y_row, x_row)
            compiled(y, w, x, b, pitch, inside, rows, count, taps, dilation, first, y_row, x_row)
            np.testing.assert_array_equal(y, expected, f"{rows} rows of {count}, {taps} taps, {inside}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("stride", "nv", "pairs"), [(1, 8, 1), (1, 4, 2), (2, 4, 1), (2, 4, 2)])
def test_row_tile_of_lines_that_go_on(dtype, stride, nv, pairs):
    lanes, height = HOST // SIZE[dtype], 3

    def tile(y, w, x, b, words, more, pitch, inside, beyond, rows, count, taps, dilation, first, x_row):
        start, constant, e_row, e_pitch, distance = beyond
        row_tile((y, 0, count), (w, 0, taps), (x, start + words[0], x_row), (b, 0), pitch, inside,
                 ((words, 1, 1, start), (more, 64, e_row, e_pitch, distance), (more, constant)), rows, count, height,
                 taps, dilation, first, pairs, stride, 1, nv, lanes)  # fmt: skip

    compiled = callable_of(tile, "test", dtype, stride, nv, pairs)
    rng = np.random.default_rng(0)
    for rows, count in product((1, nv, nv + 2), (1, lanes - 1, 2 * lanes + 3)):
        for taps, dilation, first, (top, low, left, right) in (
            (3, 1, 1, (1, 1, 1, 1)),
            (4, 1, 0, (0, 2, 3, 0)),
            (2, 1 if stride > 1 else 3, 1, (2, 0, 0, 2)),
        ):
            # As many lines as whole tiles have, of outputs that are not there too.
            lines = (-(-rows // nv) * nv - 1) * stride + height
            columns = (count - 1) * stride + (taps - 1) * dilation + 1
            width, bottom = columns - left - right, (rows - 1) * stride + height - low
            if width < 1 or bottom <= top:
                continue
            x_row, held = width + 3, bottom - top
            pitch = held * x_row, height * taps, rows * count
            x, w = integers(rng, pairs * pitch[0], dtype), integers(rng, pairs * pitch[1], dtype)
            y, b = integers(rng, pairs * pitch[2], dtype), integers(rng, pairs, dtype)
            # A word for tiles without a map, whose lines count from line 0; then where each line lies, if it does.
            words = np.append(-top * x_row, (np.arange(lines) - top) * x_row)
            outside = (np.arange(lines) < top) | (np.arange(lines) >= bottom)
            words[1:][outside] = rng.integers(-1, held, outside.sum()) * x_row
            words[1:][words[1:] < 0] = -1
            ends = pairs * lines * (left + right)
            more = integers(rng, 64 + ends + 64 + columns, dtype)
            beyond = -left, 128 + ends - left, left + right, lines * (left + right), width
            inside = top, bottom, left, columns - right
            expected = y.copy()
            arguments = words, more, pitch, inside, beyond, rows, count, taps, dilation, first, x_row
            tile(expected, w, x, b, *arguments)
            compiled(y, w, x, b, *arguments)
            np.testing.assert_array_equal(y, expected, f"{rows} rows of {count}, {taps} taps, {inside}")


# ---- packing ---------------------------------------------------------------------------------------------------------


def compare(call, dtype, arrays, *arguments):
    """Compiled and plain, on the same memory, all of which must come out the same."""
    compiled = callable_of(call, "test", dtype)
    for at in arguments:
        plain, fast = arrays[0].copy(), arrays[0].copy()
        call(plain, *arrays[1:], *at)
        compiled(fast, *arrays[1:], *at)
        np.testing.assert_array_equal(fast, plain, str(at))


@pytest.mark.parametrize("dtype", DTYPES)
def test_copy_rows(dtype):
    lanes = HOST // SIZE[dtype]
    rng = np.random.default_rng(0)
    target, source = integers(rng, 30 * lanes, dtype), integers(rng, 20 * lanes, dtype)

    def call(target, source, t_row, s_row, rows, lo, hi, width):
        copy_rows((target, 3, t_row), (source, 5 * lanes + 1, s_row), rows, (lo, hi), width, lanes)

    ends = (-3, 0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes)
    compare(call, dtype, (target, source), *(
        (2 * lanes + 1, lanes + 2, rows, lo, hi, width)
        for rows in (0, 1, 3) for lo in ends for hi in ends for width in (0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes)
    ))  # fmt: skip


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_split_rows(dtype, stride):
    lanes = HOST // SIZE[dtype]
    rng = np.random.default_rng(0)
    target, source = integers(rng, 80 * lanes, dtype), integers(rng, 50 * lanes, dtype)

    def call(target, source, t_phase, rows, lo, hi, width):
        at = (source, 5 * lanes + 1, 3 * lanes)
        split_rows((target, 3, 11 * lanes, t_phase), at, rows, (lo, hi), width, stride, lanes)

    ends = (-3, 0, 1, 2 * lanes - 1, 2 * lanes, 2 * lanes + 1, 4 * lanes)
    compare(call, dtype, (target, source), *(
        (phase, rows, lo, hi, width)
        for phase in (0, 2 * lanes + 1) for rows in (0, 1, 3) for lo in ends for hi in ends
        for width in (0, 1, lanes - 1, lanes, lanes + 1, 2 * lanes)
    ))  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_rows(dtype):
    lanes = HOST // SIZE[dtype]
    rng = np.random.default_rng(0)
    target, source = integers(rng, 40 * lanes, dtype), integers(rng, 20 * lanes, dtype)
    taps = [word for k in range(5) for word in (int(rng.integers(0, 9 * lanes)), -1)]
    pieces = [word for p in range(4) for word in (int(rng.integers(0, 9 * lanes)), p * (lanes - 1))]
    table = np.array([-1, *taps, *pieces], np.int64)

    def call(target, source, table, terms, count):
        gather_rows((target, 3, 5 * lanes), (source, 5, source.size), (table, 1, 11, count), terms, lanes)

    compare(call, dtype, (target, source, table), *product(range(6), range(5)))


# ---- the assembly ----------------------------------------------------------------------------------------------------

VECTOR = {64: "zmm", 32: "ymm", 16: "xmm"}


def innermost_loops(assembly):
    """The instructions between a label and a jump back to it, where no other such loop lies between."""
    lines, labels, loops = assembly.splitlines(), {}, []
    back = re.compile(r"\s+(?:j\w+|b[. ]\w*|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.?L\w+)\s*$")
    for number, line in enumerate(lines):
        if label := re.match(r"(\.?L\w+):", line):
            labels[label[1]] = number
        elif (jump := back.match(line)) and jump[1] in labels:
            loops.append((labels[jump[1]], number))
    inner = [(a, b) for a, b in loops if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in loops)]
    return [[line for line in lines[a : b + 1] if re.match(r"\s+[a-z]", line)] for a, b in inner]


@pytest.mark.skipif(not host.has_fma(), reason="the processor has no fma instruction")
@pytest.mark.parametrize(("dtype", "mr", "nv", "lanes"), each(OWN))
def test_inner_loop_is_nothing_but_fma(dtype, mr, nv, lanes):
    """mr*nv fma's on whole vectors for each term, and neither an accumulator nor a pointer that lives on the stack."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    element, words = numba.from_dtype(np.dtype(dtype))[::1], numba.int64[::1]
    compiled = callable_of(make_tile(mr, nv, lanes), "assembly", dtype, mr, nv, lanes)
    integer = numba.int64
    compiled.compile((element,) * 4 + (words, numba.types.UniTuple(integer, 6), numba.types.UniTuple(integer, 2))
                     + (integer,) * 3)  # fmt: skip
    (assembly,) = compiled.inspect_asm().values()
    fma, register, stack = ("fmla", r"\bv\d", r"\[sp") if arm else ("vfm", f"%{VECTOR[HOST]}", r"\(%rsp")
    suffix = "" if arm else "ps" if dtype == "float32" else "pd"
    found = []
    for loop in innermost_loops(assembly):
        fused = [line for line in loop if re.search(rf"\b{fma}\w*{suffix}\b", line) and re.search(register, line)]
        if fused:
            found.append(len(fused))
            assert not re.search(stack, "".join(loop)), "\n".join(loop)
            assert len(loop) < 2.5 * len(fused) + 8, "\n".join(loop)
    half = (mr + 1) // 2 * nv  # of the tile for what is left
    assert found and max(found) % (mr * nv) == 0 and all(count % half == 0 for count in found), (
        f"{found} fma's in the inner loops, not {mr * nv} or {half}"
    )


# ---- other processors ------------------------------------------------------------------------------------------------


# ---- integers --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not host.has_quads(), reason="for hosts that add four products at a time")
@pytest.mark.parametrize("shape", [(1, 5, 3, 1, 7, 7), (2, 3, 5, 1, 1, 1), (1, 2, 8, 3, 3, 3), (1, 2, 9, 1, 1, 16),
                                   (1, 2, 4, 1, 1, 17), (2, 7, 72, 1, 1, 1)])  # fmt: skip
def test_join_weights(shape):
    weight = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    groups, outer, inner, *kernel = shape
    taps = int(np.prod(kernel))
    words = np.empty((groups, outer, -(-inner // 4), taps), np.int32)
    for row, source in zip(words.reshape(groups * outer, -1), weight.reshape(groups * outer, -1), strict=True):
        joining.join_row((row, 0), (source, 0, source.size), inner, taps, 16)
    expected = pack_panels(words, 4).flat.reshape(groups, -1, words[0, 0].size, 4)
    panels = joining.quads_in_panels(weight, 4).reshape(expected.shape)
    for o in range(outer):
        np.testing.assert_array_equal(panels[:, o // 4, :, o % 4], expected[:, o // 4, :, o % 4])
    np.testing.assert_array_equal(joining.totals_of(weight), weight.sum(axis=(2, 3, 4, 5)).ravel())


@pytest.mark.skipif(not host.is_x86(), reason="instructions of x86")
@pytest.mark.parametrize("size", [(8, 16), (7, 7), (3, 21)])
def test_products_of_8_bits(size):
    """By quads where there are such instructions, else by pairs, also in the columns that have lanes to spare."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 10, *size)).astype(np.uint8)
    w = rng.integers(-128, 128, (21, 10, 3, 1)).astype(np.int8)
    plan = numbaconv.plan_conv2d(x.shape, w, dtype="uint8", out_dtype="int32", padding=(1, 0), strategy="integers")
    np.testing.assert_array_equal(plan(x), reference.conv(x, w, None, padding=(1, 0)))
    assert {key[4] for key in plan._plan.children} == {4 if host.has_quads() else 2}


@pytest.mark.skipif(HOST != 64 or sys.platform != "linux", reason="for hosts with AVX-512")
def test_avx2_on_a_wider_host():
    """The same file in a process that compiles for Zen 3."""
    run = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", __file__, check=False, **ZEN3)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]

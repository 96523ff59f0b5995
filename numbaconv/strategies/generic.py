"""generic: the defining sum as plain loops, for any dtype and any problem; the last resort, and the most exact.

    y[n, o, p] = b[o] + sum over c, t of  w[o, c, t] * x[n, g(o) + c, (p*stride + t*dilation - lo) / input_dilation]

Sums are kept in a wider type: float64 for floats, complex128 for complex, int64 or uint64 for integers. Integers are
exact: an output that the result dtype cannot hold is an OverflowError, never a wrapped number; sums of them that a tail
follows lie in an array of their own. bool is "any product
true". float16, which the compiler cannot compute with, is converted as a whole to float32 and rounded once at the end:
four more bytes for each element of x and y.

One task is a piece of one output row: up to 256 pixels whose sums stay in scratch while all terms pass over them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from numbaconv.blocking.border import Border
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.microkernels import border as ends
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels import loading, settling
from numbaconv.strategy import Plan, PlanChild, Strategy

if TYPE_CHECKING:
    from numbaconv.machine import Machine
    from numbaconv.problem import ConvProblem

PIECE = 256  # pixels of a row; 2 to 4 KiB of sums, so that they stay in L1 beside the input row

WIDE = {"f": "float64", "c": "complex128", "i": "int64", "u": "uint64", "b": "int64"}
STORED = {"float16": "float32", "bool": "uint8"}  # what the loops read and write, where it is not the dtype itself


class Generic(Strategy):
    """Accepts everything but what `integers` alone asks for: products two or four at a time, and quantised results."""

    name = "generic"
    any_order = True

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.products > 1:
            return f"its loops multiply numbers, not {problem.products} at a time"
        if problem.tail and problem.tail.quantised:
            return "its results are not quantised"
        return None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return 10e-6 + problem.macs * 0.4e-9  # 1.6 to 3.3 GMAC/s at stride 1 (Zen 5), 1 at others

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> GenericPlan:
        return GenericPlan(
            problem, self.name, STORED.get(problem.dtype, problem.dtype), WIDE[np.dtype(problem.dtype).kind]
        )


@dataclass(frozen=True)
class GenericPlan(Plan):
    """``stored`` is the dtype of the arrays that the loops see, ``wide`` that of the sums."""

    stored: str
    wide: str

    def pack(self, weight: np.ndarray) -> np.ndarray:
        if self.problem.dtype == "bool":
            weight = weight != 0
        return np.ascontiguousarray(weight, self.stored)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        p = self.problem
        x = loading.loaded(p, x).astype(self.stored, copy=False) if p.is_loaded else x
        if p.swapped:  # the loops read and write whole copies in the order of the equation
            x = x.reshape(-1, p.groups, p.batch, *p.in_size).transpose(2, 1, 0, 3, 4, 5).copy()
            whole = np.empty((p.batch, p.out_channels, *y.shape[2:]), y.dtype)
            self._run(x, weight, bias, whole, threads, None)
            y[...] = whole.swapaxes(0, 1)
        else:
            self._run(x, weight, bias, y, threads, residual)

    def _run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None,
    ) -> None:  # fmt: skip
        dtype = self.problem.dtype
        if dtype == "float16":
            whole = np.empty(y.shape, np.float32)
            self._sum("float32", "float64", x.astype(np.float32), weight, bias, whole, threads)
            with np.errstate(over="ignore"):  # beyond the largest float16 lies inf, as in every other float dtype
                y[...] = whole
        elif dtype == "bool":
            self._sum("uint8", "any", x.view(np.uint8), weight, bias, y.view(np.uint8), threads)
        else:
            settles = self.problem.tail is not None and np.dtype(dtype).kind in "iu"
            sums = np.empty(y.shape, dtype) if settles else y
            lost = self._sum(self.stored, self.wide, x, weight, bias, sums, threads, residual)
            if lost or self._wrapped(x, weight, bias, sums, threads):
                raise self.problem.overflow(of_sums=True)
            if settles:
                settling.settle(self.problem, sums, y, residual, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {self.problem.dtype}, sums in {self.wide})"

    def _sum(
        self,
        stored: str,
        wide: str,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray | None,
        y: np.ndarray,
        threads: int,
        residual: np.ndarray | None = None,
    ) -> bool:
        """Run the loops; True where a stored output differs from its sum."""
        p = self.problem
        reach = zip(p.out_size, p.stride, p.kernel, p.dilation, p.padding, p.input_dilation, strict=True)
        d, h, w = (((n - 1) * s + (k - 1) * step - lo) // gap + 1 for n, s, k, step, (lo, _), gap in reach)
        read = replace(p, dtype=wide if wide != "any" else "int64", x_dtype="", prologue=None)
        border = Border(read, (d, h, w))
        lost = np.concatenate([np.zeros(1, np.int64), border.table()])
        b = np.zeros(p.out_channels, stored) if bias is None else bias.astype(stored)
        pieces = -(-p.out_size[2] // PIECE)
        width = 16 if wide == "complex128" else 8
        tasks = p.batch * p.out_channels * p.out_size[0] * p.out_size[1] * pieces
        scratch = PIECE * width // np.dtype(stored).itemsize
        grain = max(1, min(64, launch.SERIAL_MACS // max(1, p.terms * min(PIECE, p.out_size[2]))))
        tail = replace(p.tail, dtype=str(y.dtype), in_place=False) if p.tail and np.dtype(p.dtype).kind == "f" else None
        g = LOOPS.geometry(
            **_geometry(p), pieces=pieces, **border.words(1), **ending.order_words(p), **ending.words(tail, wide),
        )  # fmt: skip
        work = launch.Work(LOOPS, stored, (wide,), tasks, p.macs, scratch, lost, g, grain)
        work.run(x, weight, b, y, threads, residual)
        return bool(lost[0])

    def _wrapped(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int) -> bool:
        """Whether a 64-bit sum may have wrapped; asked of integers whose outputs all seemed to fit.

        Sums modulo 2**64 are exact if the true sum fits, so only the true sum's size is in doubt, and float64 knows
        that to within ``slack``: a wrapped sum is 2**64 away. That pass runs only for inputs large enough to wrap.
        """
        p = self.problem
        if np.dtype(p.dtype).kind not in "iu":
            return False
        largest = max(_largest(x), abs(int(p.padding_value.real))) * _largest(weight) * p.terms + (
            0 if bias is None else _largest(bias)
        )
        if largest <= np.iinfo(self.wide).max:
            return False
        slack = largest * (p.terms + 2) * 2.0**-52
        if slack > 2.0**62:
            return True
        near = np.empty(y.shape, np.float64)
        self._sum("float64", "float64", x.astype(np.float64), weight.astype(np.float64), bias, near, threads)
        near -= y
        return bool(np.abs(near, out=near).max() > 2.0**63)


def _largest(values: np.ndarray) -> int:
    """max |value| as a Python int, which -128 of int8 does not overflow."""
    return max(int(values.max(initial=0)), -int(values.min(initial=0)))


def _geometry(p: ConvProblem) -> dict[str, int]:
    fields = {"groups": p.groups, "inner": p.in_channels // p.groups, "outer": p.out_channels // p.groups}
    per_axis = {
        "size": p.in_size,
        "out": p.out_size,
        "kernel": p.kernel,
        "stride": p.stride,
        "dilation": p.dilation,
        "gap": p.input_dilation,
        "lo": tuple(lo for lo, _ in p.padding),
    }
    for name, values in per_axis.items():
        fields |= {f"{name}_{axis}": value for axis, value in zip("dhw", values, strict=True)}
    return fields


def loops(wide: str) -> Callable[..., None]:
    """The range kernel with sums of type ``wide``; 'any' is int64 of which only zero or not is stored.

    x: (N, groups*inner, D, H, W) and y: (N, groups*outer, out_d, out_h, out_w), of any strides;
    w: (groups*outer, inner, kd, kh, kw); b: (groups*outer,); table[0] becomes 1 where a sum does not fit y.
    """
    truth = wide == "any"
    exact = wide in ("int64", "uint64")
    number: Any = np.dtype("int64" if truth else wide).type

    if wide == "complex128":

        def constant(table: Any, g: Any) -> Any:
            value = table.view(np.float64)
            return complex(value[g.value], value[g.value + 1])
    elif wide == "float64":

        def constant(table: Any, g: Any) -> Any:
            return table.view(np.float64)[g.value]
    else:

        def constant(table: Any, g: Any) -> Any:
            return table.view(number)[g.value]

    constant_of: Any = inline(constant, wide)

    def beyond(total: Any, x: Any, line: Any, a: Any, at: Any, within: Any, table: Any, g: Any) -> None:
        """Add the terms of pixels ``start <= j < stop`` whose places lie beyond the input; line < 0: whose rows do."""
        first, start, stop = within
        for j in range(start, stop):
            if (first + j * g.stride_w) % g.gap_w == 0:
                place = -1
                if line >= 0:
                    place = ends.source((first + j * g.stride_w) // g.gap_w, g.size_w, g.map_w, table)
                total[j] += a * (at if place < 0 else number(x[line + place * g.x_w]))

    add_beyond: Any = inline(beyond, wide)

    def tasks(lo, hi, scratch, x, w, b, y, r, table, g):  # type: ignore[no-untyped-def]
        total = scratch.view(number)
        for task in range(lo, hi):
            row, piece = task // g.pieces, task % g.pieces
            plane, h = row // g.out_h, row % g.out_h
            image, d = plane // g.out_d, plane % g.out_d
            n, o = image // (g.groups * g.outer), image % (g.groups * g.outer)
            first = piece * PIECE
            count = min(PIECE, g.out_w - first)
            value = number(0)
            if g.extends != 0:
                value = number(constant_of(table, g))
            for j in range(count):
                total[j] = number(b[o])
            for c in range(g.inner):
                channel = n * g.x_n + (o // g.outer * g.inner + c) * g.x_c
                for i in range(g.kernel_d):
                    at_d = d * g.stride_d + i * g.dilation_d - g.lo_d
                    if at_d % g.gap_d != 0:
                        continue
                    at_d = at_d // g.gap_d
                    if at_d < 0 or at_d >= g.size_d:
                        if g.extends == 0:
                            continue
                        at_d = ends.source(at_d, g.size_d, g.map_d, table)
                    for u in range(g.kernel_h):
                        at_h = h * g.stride_h + u * g.dilation_h - g.lo_h
                        if at_h % g.gap_h != 0:
                            continue
                        at_h = at_h // g.gap_h
                        if at_h < 0 or at_h >= g.size_h:
                            if g.extends == 0:
                                continue
                            at_h = ends.source(at_h, g.size_h, g.map_h, table)
                        line = channel + at_d * g.x_d + at_h * g.x_h
                        if at_d < 0 or at_h < 0:
                            line = -1
                        tap = (((o * g.inner + c) * g.kernel_d + i) * g.kernel_h + u) * g.kernel_w
                        for s in range(g.kernel_w):
                            a = number(w[tap + s])
                            # pixels start <= j < stop of the piece lie at positions 0 <= at + j*step < span
                            step, gap = g.stride_w, g.gap_w
                            at = first * step + s * g.dilation_w - g.lo_w
                            span = (g.size_w - 1) * gap + 1
                            start = max(0, -(at // step))
                            stop = min(count, -((at - span) // step))
                            if g.extends != 0:
                                left = min(start, count) if line >= 0 else count
                                add_beyond(total, x, line, a, value, (at, 0, left), table, g)
                                add_beyond(total, x, line, a, value, (at, max(left, stop), count), table, g)
                                if line < 0:
                                    continue
                            if step == 1 and gap == 1 and g.x_w == 1:  # slices, as the compiler makes vectors of them
                                sums = total[start : max(start, stop)]
                                pixels = x[line + at + start : line + at + max(start, stop)]
                                for j in range(len(sums)):
                                    sums[j] += a * number(pixels[j])
                            elif gap == 1:
                                for j in range(start, stop):
                                    total[j] += a * number(x[line + (at + j * step) * g.x_w])
                            else:
                                for j in range(start, stop):
                                    if (at + j * step) % gap == 0:
                                        total[j] += a * number(x[line + (at + j * step) // gap * g.x_w])
            place = n * g.y_n + o * g.y_c + d * g.y_d + h * g.y_h + first * g.y_w
            if g.finish:  # a line of one pixel each, which are one row where they lie side by side
                ending.finish((y, place, 0, g.y_w), (total, 0, 0, 1), r, (1, count, 1), o, g)
            elif truth:
                for j in range(count):
                    y[place + j * g.y_w] = total[j] != 0
            else:  # a slice casts in plain Python as it does compiled
                y[place : place + (count - 1) * g.y_w + 1 : g.y_w] = total[:count]
            if exact and not g.finish:
                for j in range(count):
                    if number(y[place + j * g.y_w]) != total[j]:
                        table[0] = 1

    return tasks


LOOPS = RangeKernel(
    "generic",
    loops,
    "groups inner outer pieces size_d size_h size_w out_d out_h out_w kernel_d kernel_h kernel_w "
    "stride_d stride_h stride_w dilation_d dilation_h dilation_w gap_d gap_h gap_w lo_d lo_h lo_w "
    f"{ends.GEOMETRY} {ending.GEOMETRY} {ending.ORDER}",
)

STRATEGY = Generic()

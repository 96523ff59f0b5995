"""FFT: overlap-save; on a window of the input a long kernel is one product for each frequency.

    y = F^-1( sum_t F(w[o, t]) * F(x[t]) )          t = (channel, segment of the kernel), on windows of n pixels

Wins where kernels have hundreds of taps and, with channels to share the transforms, from some dozens on: an output
costs log n. Each lane of a vector is a window of its own, so that no transform shuffles lanes: 0.15 to 0.22 ns a sample
and direction (Zen 5, float32, one core), where `numpy.fft` takes 1.4 to 4.6. A complex number holds two windows, one in
its real and one in its imaginary part, which real kernels keep apart. Lanes are tiles of one channel or, where that
would leave most of them empty (depthwise on small maps), groups. Where one window holds an axis, its padding wraps
around. A kernel too long for a window is cut into segments, which are further terms of the sum, as channels are.

Accuracy: rounding errors of a transform spread over its window, whatever the output (Gentleman & Sande, 1966): some

    E = eps * (sqrt(log2 n) + sqrt(terms)) * sum_t |x[t]| |w[o, t]| / sqrt(2 n)         (2-norms; x of both windows)

while direct summation has the a-priori bound (K + 2)/2 * eps * (|x| conv |w|) output by output. So every output is
looked at. It stands if its size shows that E is within that bound, as |y| <= |x| conv |w|. Else its terms are summed
directly, until those so far show the same or the sum is complete and takes its place. Few outputs of noise, images and
music need that; silence beside sound is summed whole, as are NaN, inf and what overflowed. So direct summation's bound
holds for any data.

Tasks: (vector of windows, chunk of output channels). Within a task: blocks of terms, each its windows, their transform,
their products; then output channels, each its inverse transform, its outputs looked at and stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from math import ceil, log2, prod, sqrt
from typing import Any

import numpy as np

from numbaconv.blocking import spectra, tiled
from numbaconv.blocking.fourier import Fourier
from numbaconv.blocking.windows import SCRATCH, Windows, best_windows
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels import look as looking
from numbaconv.microkernels.fft import make_multiply, make_transform, norms, transpose
from numbaconv.microkernels.look import COLUMNS, make_look
from numbaconv.microkernels.pack import copy_rows
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

FEWEST_TAPS = 9
SPREAD = 4.0  # times the root of the mean of squared errors, beyond which no error is expected
BORROWED = 384 * 1024  # bytes of spectra that a call makes at a time where weights are not prepared
DIRECT = 0.8  # share of the fma peak that direct summation is taken to reach, where weights are not prepared
LINE = 16  # elements of a cache line of 64 bytes, or of two
HEAD = 6  # elements of flat weights before the roots; see `_transformed`
# Words of a window: its place in x, or -1; in y; its first output along each axis; its group; and where the weights of
# the output channel at hand are largest: channel, tap along each axis.
PLACE_WORDS = 10


class Fft(Strategy):
    name = "fft"
    sums_directly = False

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        refusal = tiled.why_not(problem)
        if refusal is None and problem.taps < FEWEST_TAPS:
            return f"its transforms never pay for kernels of less than {FEWEST_TAPS} taps, and this has {problem.taps}"
        if refusal is None and best_windows(problem, machine) is None:
            return f"no window that its {SCRATCH // 1024} KiB hold reaches over the kernel"
        return refusal

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return self._windows(problem, machine).seconds(problem, machine)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        windows = self._windows(problem, machine)
        part = _part(problem, windows)
        parts = ceil(problem.groups / part[0]) * ceil(problem.out_channels // problem.groups / part[1])
        peak = 2 * machine.lanes(problem.dtype) * machine.clock * 1e9
        pays = windows.borrowed_seconds(problem, machine, part, parts) < problem.macs / (DIRECT * peak)
        direct = None if pays else plan_child(problem, self.name)
        return FftPlan(problem, self.name, windows, 8 if machine.registers >= 32 else 4, direct)

    def _windows(self, problem: ConvProblem, machine: Machine) -> Windows:
        best = best_windows(problem, machine)
        if best is None:
            raise ValueError(self.why_not(problem, machine))
        return best


def _part(problem: ConvProblem, windows: Windows) -> tuple[int, int]:
    """(groups, output channels) whose spectra are made at a time where weights are not prepared."""
    outs = problem.out_channels // problem.groups
    some = max(1, BORROWED // (windows.terms * 2 * windows.points * np.dtype(problem.dtype).itemsize))
    groups = min(problem.groups, max(1, some // outs))
    return max(windows.lanes, groups // windows.lanes * windows.lanes) if windows.wide else groups, min(outs, some)


@dataclass(frozen=True)
class Spectra:
    """Some groups' and output channels' weights, as the loops read them: ``flat`` is all that they need."""

    flat: np.ndarray
    first_group: int
    groups: int
    first_out: int
    outs: int


@dataclass(frozen=True, eq=False, repr=False)
class FftPlan(Plan):
    windows: Windows
    panel: (
        int  # output channels whose products are summed together: 16 acc + 2 x + 2 w = 20 of 32 registers, or 12 of 16
    )
    direct: Plan | None  # for calls whose weights are not prepared, where transforming them costs more than it saves
    table: np.ndarray = field(init=False)  # of the transform
    roots: np.ndarray = field(init=False)
    levels: int = field(init=False)
    zeros: np.ndarray = field(init=False)
    works: dict[tuple[int, ...], launch.Work] = field(init=False)

    def __post_init__(self) -> None:
        fourier = Fourier(tuple(cut.points for cut in self.windows.cuts))
        for name, value in zip(("table", "roots", "levels"), fourier.tables(0, HEAD), strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "zeros", np.zeros(self.problem.out_channels, self.problem.dtype))
        object.__setattr__(self, "works", {})

    def _words(self, groups: int, outs: int) -> dict[str, int]:
        """How the weights of so many groups and output channels a group lie, and what both kernels know."""
        p, n, cuts = self.problem, self.windows.points, self.windows.cuts
        width = 2 * n * (self.windows.lanes if self.windows.wide else 1)
        norms = HEAD + self.roots.size
        starts = norms + groups * self.windows.terms * outs
        raw = starts + groups * outs
        after = ceil((raw + groups * outs * p.terms) / LINE) * LINE
        names = spectra.AXES
        return {
            "norms": norms, "starts": starts, "raw": raw, "spectra": after,
            "w_row": width, "w_term": outs * width, "w_group": self.windows.terms * outs * width,
            "groups": groups, "group_in": p.in_channels // p.groups, "group_out": outs, "terms": self.windows.terms,
            "panel": 1 << min(self.panel, self.windows.chunk, outs).bit_length() - 1, "points": n,
            "segments": self.windows.segments, "pieces": ceil(p.kernel[2] / looking.PIECE), "levels": self.levels,
            **{f"points_{name}": cut.points for name, cut in zip(names, cuts, strict=True)},
            **{f"segments_{name}": cut.segments for name, cut in zip(names, cuts, strict=True)},
            **{f"taps_{name}": cut.taps for name, cut in zip(names, cuts, strict=True)},
            **{f"kernel_{name}": k for name, k in zip(names, p.kernel, strict=True)},
            **{f"dilation_{name}": d for name, d in zip(names, p.dilation, strict=True)},
        }  # fmt: skip

    def _filters(self, groups: int, outs: int) -> int:
        """Vectors of spectra to transform: of one filter in ``lanes`` groups, or of any ``lanes`` filters."""
        if self.windows.wide:
            return ceil(groups / self.windows.lanes) * self.windows.terms * outs
        return ceil(groups * self.windows.terms * outs / self.windows.lanes)

    def _transformed(self, weight: np.ndarray, first_group: int, first_out: int, threads: int) -> Spectra:
        """The spectra of a part of the weights, after all that goes with them."""
        p, n = self.problem, self.windows.points
        groups, outs = weight.shape[:2]
        words = self._words(groups, outs)
        size = (
            words["spectra"] + (ceil(groups / self.windows.lanes) if self.windows.wide else groups) * words["w_group"]
        )
        room = np.empty(size + LINE, p.dtype)
        start = -(room.ctypes.data // room.itemsize) % LINE
        flat = room[start : start + size]
        info = np.finfo(p.dtype)
        # E / eps for x's norm times w's, and for y's; |x| conv |w| where it is within the bound, and so |y| or more.
        inputs = 0.6 * SPREAD * sqrt(log2(n + 1)) / sqrt(2 * n)
        outputs = SPREAD * sqrt(1 + self.windows.terms / 40) / sqrt(2 * n)
        enough = 2 / (p.terms + 2) + info.eps
        flat[:HEAD] = 0, info.max, 1 / n, enough * inputs, enough * outputs, info.tiny * 1e8
        flat[HEAD : words["norms"]] = self.roots
        flat[words["norms"] : words["starts"]] = self._norms(weight).ravel()
        flat[words["raw"] : words["raw"] + weight.size].reshape(weight.shape)[...] = weight
        filters = flat[words["raw"] : words["raw"] + weight.size].reshape(groups * outs, -1)
        flat[words["starts"] : words["raw"]] = np.abs(filters).argmax(1)
        tasks = self._filters(groups, outs)
        g = spectra.WEIGHTS.geometry(**words)
        constants = (self.windows.lanes, int(self.windows.wide))
        work = launch.Work(
            spectra.WEIGHTS,
            p.dtype,
            constants,
            tasks,
            tasks * n * self.windows.lanes,
            2 * n * self.windows.lanes,
            self.table,
            g,
        )
        work.run(flat, flat, flat, flat, threads)
        return Spectra(flat, first_group, groups, first_out, outs)

    def _norms(self, weight: np.ndarray) -> np.ndarray:
        """2-norms ``(group, channel, segment, out)``, scaled so that no square is too large or too small."""
        found = []
        steps = [range(0, k, cut.taps) for k, cut in zip(self.problem.kernel, self.windows.cuts, strict=True)]
        for first in product(*steps):
            ends = [slice(at, at + cut.taps) for at, cut in zip(first, self.windows.cuts, strict=True)]
            part = np.abs(weight[:, :, :, ends[0], ends[1], ends[2]])
            most = part.max(axis=(3, 4, 5), keepdims=True)
            with np.errstate(invalid="ignore", under="ignore"):
                part = part / np.where(most > 0, most, 1)
                found.append(most[..., 0, 0, 0] * np.sqrt(np.einsum("gocdhw,gocdhw->goc", part, part)))
        return np.stack(found, axis=-1).transpose(0, 2, 3, 1)

    def _work(self, part: Spectra) -> launch.Work:
        """The launch of a part of the output channels."""
        key = part.first_group, part.groups, part.first_out, part.outs
        work = self.works.get(key)
        if work is None:
            work = self.works[key] = self._made(part)
        return work

    def _made(self, part: Spectra) -> launch.Work:
        p, windows, lanes, n = self.problem, self.windows, self.windows.lanes, self.windows.points
        chunk = min(windows.chunk, part.outs)
        window = 2 * n * lanes
        sums = 0 if windows.in_place else chunk * window
        room = {
            "signals": windows.block * window + 2 * lanes * lanes,  # a transposed square may reach over the end
            "stage": lanes * (COLUMNS + lanes), **looking.scratch_words(lanes),
            "norm": 3 * lanes, "bounds": chunk * lanes, "places": 2 * lanes * PLACE_WORDS * 2,
            "pending": COLUMNS + 2 * lanes if p.tail and p.tail.moves else 0,
        }  # fmt: skip
        ends = np.cumsum([sums] + [ceil(size / LINE) * LINE for size in room.values()]).tolist()
        words = {
            f"{word}_{axis}": values[i]
            for i, axis in enumerate(spectra.AXES)
            for word, values in (
                ("in", p.in_size), ("out", p.out_size), ("stride", p.stride), ("pad", [lo for lo, _ in p.padding]),
                ("tiles", [cut.tiles for cut in windows.cuts]), ("outputs", [cut.outputs for cut in windows.cuts]),
            )
        }  # fmt: skip
        vectors, taps = looking.tables(lanes, p.dilation[2])
        chunks = ceil(part.outs / chunk)
        g = KERNEL.geometry(
            **self._words(part.groups, part.outs), **words,
            **(ending.words(p.tail, p.dtype) | dict(zip(room, ends, strict=False))),
            first_group=part.first_group, all_groups=p.groups, first_out=part.first_out,
            all_out=p.out_channels // p.groups, windows=p.batch * prod(cut.tiles for cut in windows.cuts),
            chunk=chunk, chunks=chunks, block=windows.block,
            by_rows=int(p.stride[2] == 1 and p.dilation[2] <= looking.FAR), vector_table=self.table.size,
            tap_table=self.table.size + len(vectors), word=8 // np.dtype(p.dtype).itemsize,
        )  # fmt: skip
        table = np.concatenate([self.table, vectors, taps])
        size = ends[-1]
        tasks = windows.vectors(p, part.groups) * chunks
        return launch.Work(KERNEL, p.dtype, (lanes, int(windows.wide)), tasks, p.macs, size, table, g)

    def pack(self, weight: np.ndarray) -> Spectra:
        return self._transformed(weight, 0, 0, launch.get_num_threads())

    def borrow(self, weight: np.ndarray) -> np.ndarray:
        return weight

    def run(
        self, x: np.ndarray, weight: Spectra | np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        if isinstance(weight, Spectra):
            self._work(weight).run(x, weight.flat, self.zeros if bias is None else bias, y, threads, residual)
        elif self.direct is not None:
            self.direct.run(x, self.direct.borrow(weight), bias, y, threads, residual)
        else:
            for part in self.parts(weight, threads):
                self.run(x, part, bias, y, threads, residual)

    def parts(self, weight: np.ndarray, threads: int) -> Iterator[Spectra]:
        """The spectra of a few groups or output channels at a time, as many as memory allows."""
        groups, outs = _part(self.problem, self.windows)
        for group in range(0, weight.shape[0], groups):
            for out in range(0, weight.shape[1], outs):
                yield self._transformed(weight[group : group + groups, out : out + outs], group, out, threads)

    def __str__(self) -> str:
        return f"({self.strategy} {self.windows}{'' if self.direct is None else f' {self.direct}'})"


def make_tasks(lanes: int, wide: int) -> Callable[..., None]:
    transform = make_transform(lanes)
    multiply = make_multiply(wide, lanes)
    look = make_look(lanes)
    number = 2 * lanes

    def norm_of(scratch: Any, at: int, w: Any) -> Any:
        """The 2-norm, or where squares are too large or too small, no less: the root of 1-norm times largest."""
        squares = scratch[at + 2 * lanes]
        if w[5] <= squares <= w[1]:
            return np.sqrt(squares)
        return np.sqrt(scratch[at]) * np.sqrt(scratch[at + lanes])

    norm_of = inline(norm_of, lanes, wide)

    def locate(places: Any, vector: int, g: Any) -> None:
        """The windows of a vector; in one that is left over nothing is read or written."""
        in_pixels, out_pixels = g.in_d * g.in_h * g.in_w, g.out_d * g.out_h * g.out_w
        tiles = g.tiles_d * g.tiles_h * g.tiles_w
        for slot in range(number):
            part, lane = divmod(slot, lanes)
            if wide:
                pair, block = divmod(vector, (g.groups + lanes - 1) // lanes)
                group, window = block * lanes + lane, 2 * pair + part
            else:
                block, group = divmod(vector, g.groups)
                window = block * number + slot
            at = slot * PLACE_WORDS
            if group < g.groups and window < g.windows:
                image, tile = divmod(window, tiles)
                rest, w = divmod(tile, g.tiles_w)
                d, h = divmod(rest, g.tiles_h)
                channel = image * g.all_groups + g.first_group + group
                places[at] = channel * g.group_in * in_pixels
                places[at + 1] = (channel * g.all_out + g.first_out) * out_pixels
                places[at + 2], places[at + 3], places[at + 4] = d * g.outputs_d, h * g.outputs_h, w * g.outputs_w
                places[at + 5] = group
            else:
                places[at] = -1
                for word in range(1, PLACE_WORDS):
                    places[at + word] = 0

    locate = inline(locate, lanes, wide)

    def gather(scratch: Any, to: int, places: Any, x: Any, term: int, g: Any) -> None:
        """The windows of a term, row by row, with zeros outside of the input."""
        channel, segment = divmod(term, g.segments)
        rest, first_w = divmod(segment, g.segments_w)
        first_d, first_h = divmod(rest, g.segments_h)
        shift_d = first_d * g.taps_d * g.dilation_d - g.pad_d
        shift_h = first_h * g.taps_h * g.dilation_h - g.pad_h
        shift_w = first_w * g.taps_w * g.dilation_w - g.pad_w
        pitch = COLUMNS + lanes
        for part in range(2):
            for row in range(g.points_d * g.points_h):
                row_d, row_h = divmod(row, g.points_h)
                for first in range(0, g.points_w, COLUMNS):
                    columns = min(COLUMNS, g.points_w - first)
                    for lane in range(lanes):
                        at = (part * lanes + lane) * PLACE_WORDS
                        d = places[at + 2] * g.stride_d + shift_d + row_d
                        h = places[at + 3] * g.stride_h + shift_h + row_h
                        v = places[at + 4] * g.stride_w + shift_w + first
                        inside = places[at] >= 0 and 0 <= d < g.in_d and 0 <= h < g.in_h
                        source = places[at] + ((channel * g.in_d + d) * g.in_h + h) * g.in_w + v
                        lo, hi = (-v, g.in_w - v) if inside else (0, 0)
                        copy_rows((scratch, g.stage + lane * pitch, 0), (x, source, 0), 1, (lo, hi), columns, lanes)
                    transpose(
                        (scratch, to + (row * g.points_w + first) * number + part * lanes, number, lanes * number),
                        (scratch, g.stage, pitch, lanes),
                        (columns + lanes - 1) // lanes,
                        lanes,
                    )

    gather = inline(gather, lanes, wide)

    def scatter(scratch: Any, source: int, places: Any, x: Any, w: Any, b: Any, y: Any, r: Any, o: int, bound: int,
                table: Any, g: Any) -> None:  # fmt: skip
        """The outputs of channel ``o``, row by row, looked at and stored."""
        pitch = COLUMNS + lanes
        outs = max(1, COLUMNS // g.stride_w)
        taps = g.group_in * g.kernel_d * g.kernel_h * g.kernel_w
        for slot in range(number):
            at = slot * PLACE_WORDS
            if places[at] >= 0:
                # A float keeps this place only nearly if it is beyond 2**24, which is near enough.
                heaviest = min(int(w[g.starts + places[at + 5] * g.group_out + o]), taps - 1)
                rest, places[at + 9] = divmod(heaviest, g.kernel_w)
                rest, places[at + 8] = divmod(rest, g.kernel_h)
                places[at + 6], places[at + 7] = divmod(rest, g.kernel_d)
        for part in range(2):
            for row in range(g.outputs_d * g.outputs_h):
                row_d, row_h = divmod(row, g.outputs_h)
                line = (row_d * g.stride_d * g.points_h + row_h * g.stride_h) * g.points_w
                for first in range(0, g.outputs_w, outs):
                    columns = (min(outs, g.outputs_w - first) - 1) * g.stride_w + 1
                    transpose(
                        (scratch, g.stage, pitch, lanes),
                        (scratch, source + (line + first * g.stride_w) * number + part * lanes, number, lanes * number),
                        (columns + lanes - 1) // lanes,
                        lanes,
                    )
                    for lane in range(lanes):
                        at = (part * lanes + lane) * PLACE_WORDS
                        d, h, v = places[at + 2] + row_d, places[at + 3] + row_h, places[at + 4] + first
                        count = min(outs, g.outputs_w - first, g.out_w - v)
                        if places[at] < 0 or d >= g.out_d or h >= g.out_h or count <= 0:
                            continue
                        group = places[at + 5]
                        filter_at = group * g.group_out + o
                        start = places[at + 6], places[at + 7], places[at + 8], places[at + 9]
                        here = g.stage + lane * pitch
                        if g.stride_w > 1:
                            for j in range(1, count):
                                scratch[here + j] = scratch[here + j * g.stride_w]
                        to = places[at + 1] + ((o * g.out_d + d) * g.out_h + h) * g.out_w + v
                        bias = (g.first_group + group) * g.all_out + g.first_out + o
                        sums, sums_at = (scratch, g.pending) if g.staged else (y, to)
                        look(scratch, here, bound + lane, x, places[at], w, g.raw + filter_at * taps, (d, h, v), start,
                             (b, bias), (sums, sums_at), count, table, g)  # fmt: skip
                        if g.finish:
                            ending.finish((y, to, 0, 0), (sums, sums_at, 0, 0), r, (1, 1, count), bias, g)

    scatter = inline(scatter, lanes, wide)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        places = scratch[g.places : g.places + number * PLACE_WORDS * g.word].view(np.int64)
        window = g.points * number
        for task in range(lo, hi):
            vector, chunk = divmod(task, g.chunks)
            locate(places, vector, g)
            o = chunk * g.chunk
            rows = min(g.chunk, g.group_out - o)
            w_block = vector % ((g.groups + lanes - 1) // lanes if wide else g.groups)
            for i in range(rows * lanes):
                scratch[g.bounds + i] = 0
            for t in range(0, g.terms, g.block):
                terms = min(g.block, g.terms - t)
                for n in range(terms):
                    signals = g.signals + n * window
                    gather(scratch, signals, places, x, t + n, g)
                    norms((scratch, g.norm), (scratch, signals, lanes), 2 * g.points, lanes)
                    for lane in range(lanes):
                        size = norm_of(scratch, g.norm + lane, w)
                        group = w_block * lanes + lane if wide else w_block
                        if group < g.groups:
                            norm = g.norms + (group * g.terms + t + n) * g.group_out + o
                            for i in range(rows):
                                scratch[g.bounds + i * lanes + lane] += size * w[norm + i]
                    transform(scratch, signals, w, table, 0, g.levels, 0)
                i = 0
                while i < rows:
                    start, panel = spectra.panel_of(o + i, g.panel, g.group_out)
                    multiply(
                        (scratch, i * window, window),
                        (w, g.spectra + w_block * g.w_group + t * g.w_term + start * g.w_row, g.w_term),
                        (scratch, g.signals, window),
                        g.points,
                        terms,
                        1 if t == 0 else 0,
                        panel,
                    )
                    i += panel
            for i in range(rows):
                transform(scratch, i * window, w, table, 0, g.levels, 1)
                norms((scratch, g.norm), (scratch, i * window, lanes), 2 * g.points, lanes)
                for lane in range(lanes):
                    limit = g.bounds + i * lanes + lane
                    scratch[limit] = w[3] * scratch[limit] + w[4] * norm_of(scratch, g.norm + lane, w)
                scatter(scratch, i * window, places, x, w, b, y, r, o + i, g.bounds + i * lanes, table, g)

    return tasks


KERNEL = RangeKernel(
    "fft",
    make_tasks,
    f"{spectra.GEOMETRY} {looking.GEOMETRY} first_group all_groups first_out all_out windows chunk chunks block "
    f"signals stage word norm bounds places {ending.GEOMETRY} "
    + " ".join(f"{word}_{a}" for word in ("in", "out", "stride", "pad", "tiles", "outputs") for a in spectra.AXES),
)
STRATEGY = Fft()

"""Windows of overlap-save: how an input is cut into them, a kernel into segments, and what that will cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil, gcd, log2, prod, sqrt

from numbaconv.blocking.fourier import radices, sizes
from numbaconv.machine import Machine
from numbaconv.problem import ConvProblem

SCRATCH = 1536 * 1024  # bytes of a thread for windows and sums; a call may take 2 MiB in all
# Cycles of one core, fitted to 72 layers on Zen 5 (AVX-512, float32), predictions mostly within 25 %: one point of a
# pass, by radix; a column of a transposed square; starting a row of a window; a product and a sum of complex vectors;
# an output looked at, starting its row, and the terms of one that is doubtful; a task; placing a weight. Factors of
# passes over more than the second cache holds, and of passes down columns whose lines fall on few sets of a cache:
# 96x128 windows, 16 KiB from row to row, took 2.5 times as long as predicted without.
BUTTERFLY = {2: 2.0, 3: 3.2, 4: 3.1, 5: 4.6}
TRANSPOSE, ROW = 6.5, 9.0
MULTIPLY, SUM = 3.0, 2.0
LOOK, LOOK_ROW, DOUBT = 2.3, 190.0, 2.5
TASK = 1200.0
PLACE = 1.2
FAR = 1.5
COLLIDE = {1: 1.5, 2: 4.0}


@dataclass(frozen=True)
class Cut:
    """An axis: windows of ``points``, ``tiles`` of them, each of ``outputs``; kernel segments of ``taps``."""

    points: int
    tiles: int
    outputs: int
    segments: int
    taps: int


@lru_cache(1024)
def cuts_of(kernel: int, stride: int, dilation: int, size: int, out: int, low: int, most: int) -> tuple[Cut, ...]:
    """Cuts of an axis: those that no shorter window beats in points altogether."""
    found = []
    for segments in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32):
        taps = ceil(kernel / segments)
        if segments > 1 and taps < 8:
            break
        parts = ceil(kernel / taps)
        extent = (taps - 1) * dilation + 1
        whole = (out - 1) * stride + extent
        if parts == 1:
            # What lies beyond the window wraps around: zeros of both paddings may be the same ones.
            whole = min(whole, max(size + low, whole - low))
        least = None
        for n in sizes():
            if n > most:
                break
            outputs = out if n >= whole else (n - extent) // stride + 1
            if outputs < 1:
                continue
            tiles = ceil(out / outputs)
            if least is None or n * tiles < 0.97 * least:
                least = n * tiles
                found.append(Cut(n, tiles, ceil(out / tiles), parts, taps))
            if tiles == 1:
                break
    return tuple(found)


@lru_cache(256)
def best_windows(problem: ConvProblem, machine: Machine) -> Windows | None:
    lanes = machine.lanes(problem.dtype)
    most = SCRATCH // (2 * machine.vector_bytes)
    axes = [
        cuts_of(*words, most)
        for words in zip(
            problem.kernel, problem.stride, problem.dilation, problem.in_size, problem.out_size,
            [lo for lo, _ in problem.padding], strict=True,
        )
    ]  # fmt: skip
    group_out = problem.out_channels // problem.groups
    best, least = None, float("inf")
    for cuts in product(axes[0], axes[1], axes[2]):
        points = prod(cut.points for cut in cuts)
        rooms = most // points
        if not rooms:
            continue
        terms = problem.in_channels // problem.groups * prod(cut.segments for cut in cuts)
        for chunk, block in _chunks(rooms, terms, group_out):
            for wide in (False, True) if problem.groups >= lanes // 2 else (False,):
                windows = Windows(cuts, wide, chunk, block, terms, lanes)
                seconds = windows.seconds(problem, machine)
                if seconds < least:
                    best, least = windows, seconds
    return best


def _chunks(rooms: int, terms: int, group_out: int) -> list[tuple[int, int]]:
    """(output channels, terms at a time) of a task with room for so many windows; one of each is done in place."""
    found = [(1, 1)] if terms == 1 else []
    sizes = {group_out, *(n for n in (1, 2, 4, 8, 16, 32, 64, 128) if n < group_out)}
    return found + [(chunk, min(terms, rooms - chunk, 8)) for chunk in sorted(sizes) if chunk < rooms]


@dataclass(frozen=True)
class Windows:
    """A task: vectors of windows, ``chunk`` output channels, ``block`` terms at a time; ``wide``: lanes are groups."""

    cuts: tuple[Cut, Cut, Cut]
    wide: bool
    chunk: int
    block: int
    terms: int
    lanes: int

    @property
    def points(self) -> int:
        return prod(cut.points for cut in self.cuts)

    @property
    def segments(self) -> int:
        return prod(cut.segments for cut in self.cuts)

    @property
    def in_place(self) -> bool:
        """Whether the products of the only term take the place of its spectrum."""
        return self.chunk == self.terms == 1

    def vectors(self, problem: ConvProblem, groups: int) -> int:
        """Vectors of pairs of windows."""
        windows = problem.batch * prod(cut.tiles for cut in self.cuts)
        if self.wide:
            return ceil(windows / 2) * ceil(groups / self.lanes)
        return groups * ceil(windows / (2 * self.lanes))

    def seconds(self, problem: ConvProblem, machine: Machine) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        return self._seconds(problem, machine, problem.groups, problem.out_channels // problem.groups)

    def borrowed_seconds(self, problem: ConvProblem, machine: Machine, part: tuple[int, int], parts: int) -> float:
        """The same where the weights are transformed for one call, so many parts one by one."""
        filters = problem.groups * self.terms * problem.out_channels // problem.groups / self.lanes
        each = self.points * (self._turn(machine) + 2 * self.lanes * PLACE)
        return parts * self._seconds(problem, machine, *part) + filters * each / (machine.clock * 1e9)

    def _turn(self, machine: Machine) -> float:
        """Cycles of a transform for each of its points."""
        total, apart = 0.0, 2 * machine.vector_bytes
        for cut in reversed(self.cuts):
            total += sum(BUTTERFLY[radix] for radix in radices(cut.points)) * _collisions(cut.points, apart, machine)
            apart *= cut.points
        return total

    def _seconds(self, problem: ConvProblem, machine: Machine, groups: int, outs: int) -> float:
        lanes, points, cuts, terms = self.lanes, self.points, self.cuts, self.terms
        chunk = min(self.chunk, outs)
        chunks = ceil(outs / chunk)
        window = 2 * points * machine.vector_bytes
        far = FAR if window > 0.9 * machine.l2 else 1.0
        spill = 2.0 if window * (1 if self.in_place else chunk + self.block) > 0.9 * machine.l2 else 1.0
        turn = points * self._turn(machine) * far
        rows = 2 * cuts[0].points * cuts[1].points
        squares = ceil(cuts[2].points / lanes) * lanes
        gather = rows * (lanes * ROW + squares * TRANSPOSE) + 3 * points
        out_rows = 2 * cuts[0].outputs * cuts[1].outputs
        squares = ceil(((cuts[2].outputs - 1) * problem.stride[2] + 1) / lanes) * lanes
        doubtful = 2 * (2.4 * sqrt(log2(points + 1) * terms) + 4) / (problem.terms + 2)  # share, if all is noise
        look = LOOK + DOUBT * min(1.0, doubtful)
        scatter = out_rows * (lanes * (LOOK_ROW + look * cuts[2].outputs) + squares * TRANSPOSE) + 3 * points
        multiply = points * (MULTIPLY * terms + SUM * ceil(terms / self.block)) * spill
        each = chunks * (TASK + terms * (gather + turn)) + outs * (multiply + turn + scatter)
        vectors = self.vectors(problem, groups)
        tasks = vectors * chunks
        uneven = ceil(tasks / machine.cores) * machine.cores / tasks
        return vectors * each * uneven / (machine.clock * 1e9)

    def __str__(self) -> str:
        size = "x".join(str(cut.points) for cut in self.cuts if cut.points > 1)
        cut = f" {self.segments} segments" if self.segments > 1 else ""
        return f"{size or 1}{cut}{' groups' if self.wide else ''} c{self.block} o{self.chunk}"


def _collisions(points: int, apart: int, machine: Machine) -> float:
    """The factor of passes over points that lie so many bytes apart, for caches of 8 and 16 lines a set."""
    if points > 16 * (machine.l2 // 16 // gcd(machine.l2 // 16, apart)):
        return COLLIDE[2]
    return COLLIDE[1] if points > 8 * (4096 // gcd(4096, apart)) else 1.0

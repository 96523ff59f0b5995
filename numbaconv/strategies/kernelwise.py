"""Kernelwise: the weight gradient of few channels, one pair of channels at a time, its whole kernel in registers.

    y[c, o, r, t] = sum_n sum_i sum_p dy[n, o, i, p] * x[n, c, i*s + r, p*s + t]

Wins for depthwise layers, whose groups have no channels to fill vectors with: the lanes are pixels. Four rows of
gradients meet (3*s + k) rows of inputs, each in k shifts; every vector of inputs goes to the sums of all taps that it
is part of, where one tap at a time would load 4*k*k vectors. Lanes are added up once a block.

Tasks: (part of the pixels, block of input channels). Within a task: images, depths, blocks of rows, each the halos of
its channels, then output channels, pieces of the kernel. Parts as in `reduction`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np

from numbaconv.blocking import halo, parts, tiled
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.machine import Machine
from numbaconv.microkernels.halo import make_pack_halo
from numbaconv.microkernels.taps import BAND, PIECES, Piece, piece_of, tap_tile
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

STRIDES = (1, 2)
OUTPUTS = 16  # output channels of a group: with more, `reduction` fills its vectors with them
# Cycles, from timing on Zen 5 (AVX-512): a vector of inputs, a sum of lanes, a row and a vector of a halo, a call.
LOAD, SUM, ROW, VECTOR, CALL = 0.9, 6.0, 6.0, 2.0, 60.0


class Kernelwise(Strategy):
    name = "kernelwise"

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        if problem.stride[1:] != (1, 1):
            return f"a dilation of {problem.stride[1:]} leaves few rows that its tiles could share"
        stride, group_out = problem.dilation[2], problem.out_channels // problem.groups
        if problem.dilation[1] != stride or stride not in STRIDES:
            return f"its tiles are for strides 1 and 2 along both axes, not {problem.dilation[1:]}"
        piece = PIECES[machine.registers][piece_of(problem.out_size[2])]
        if stride == 2 and (min(problem.out_size[1:]) < 2 or problem.out_size[2] > piece.cols):
            return f"at stride 2 its kernels are 2 to {piece.cols} wide, not {problem.out_size[2]}"
        if group_out > OUTPUTS:
            return f"it is for up to {OUTPUTS} output channels a group, not {group_out}"
        return tiled.why_not_gradient(problem)

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        return self._plan(problem, machine).seconds(machine)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        return self._plan(problem, machine)

    def _plan(self, problem: ConvProblem, machine: Machine) -> KernelwisePlan:
        p, lanes = problem, machine.lanes(problem.dtype)
        size = p.itemsize
        # The halo of a block takes half of the first cache, as do those of the channels of a task together.
        line = (ceil(p.kernel[2] / lanes) + 1) * lanes * p.dilation[2] ** 2 * size
        most = max(2 * BAND, machine.l1 // 2 // line // BAND * BAND)
        rows = ceil(ceil(p.kernel[1] / ceil(p.kernel[1] / most)) / BAND) * BAND
        channels = p.batch * p.groups
        fit = machine.l1 // (line * (rows + p.out_size[1]))
        block = max(1, min(channels // (4 * machine.cores), fit))
        blocks = p.in_channels // p.groups * p.kernel[0] * ceil(p.kernel[1] / rows)
        # Parts only where there are fewer channels than would keep the cores busy.
        split = 1 if channels >= 4 * machine.cores else min(blocks, ceil(4 * machine.cores / channels))
        which = piece_of(p.out_size[2])
        return KernelwisePlan(p, self.name, lanes, PIECES[machine.registers], which, rows, block, split)


@dataclass(frozen=True, eq=False, repr=False)
class KernelwisePlan(Plan):
    lanes: int
    pieces: tuple[Piece, ...]
    which: int  # of the pieces
    rows: int  # of gradients in a block
    channels: int  # input channels of a task
    parts: int
    zeros: np.ndarray = field(init=False)
    work: launch.Work = field(init=False)

    def __post_init__(self) -> None:
        p, piece = self.problem, self.pieces[self.which]
        forward = replace(p, kernel=p.out_size, stride=p.dilation, dilation=p.stride)
        layout = halo.Halo(forward, self.rows, p.kernel[2], self.lanes)
        high, wide = (ceil(n / side) for n, side in zip(p.out_size[1:], piece, strict=True))
        group_out = p.out_channels // p.groups
        sums_row = wide * piece.cols
        sums = p.out_size[0] * high * piece.rows * sums_row
        # Pieces beyond the kernel read inputs beyond the halo, for sums that nobody stores.
        size = layout.size(self.channels) + piece.rows * layout.row_pitch + piece.cols
        g = KERNEL.geometry(
            **layout.words(), phase_table=0, parts=self.parts, groups=p.groups, group_in=p.batch, group_out=group_out,
            images=p.in_channels // p.groups, channels=p.batch * p.groups, block_channels=self.channels,
            channel_blocks=self._channel_blocks, blocks=self._blocks, out_d=p.kernel[0], out_h=p.kernel[1],
            out_w=p.kernel[2], block_rows=self.rows, row_blocks=ceil(p.kernel[1] / self.rows),
            kernel_d=p.out_size[0], kernel_h=p.out_size[1], kernel_w=p.out_size[2], which=self.which,
            piece_rows=piece.rows, piece_cols=piece.cols, high=high, wide=wide, halo_channel=layout.channel,
            halo_plane=layout.plane, sums=size, sums_row=sums_row, sums_size=sums,
        )  # fmt: skip
        scratch = size + self.channels * group_out * sums
        tasks = self.parts * self._channel_blocks
        constants = (self.lanes, self.pieces)
        table = np.array(layout.phases)
        object.__setattr__(self, "zeros", np.zeros(1, p.dtype))
        # Of small maps nearly all of the work is what each channel costs, some 2000 multiply-adds.
        macs = p.macs + 2000 * p.out_channels * p.batch * self._blocks
        object.__setattr__(self, "work", launch.Work(KERNEL, p.dtype, constants, tasks, macs, scratch, table, g))

    @property
    def _channel_blocks(self) -> int:
        return ceil(self.problem.batch * self.problem.groups / self.channels)

    @property
    def _blocks(self) -> int:
        """Blocks of rows of all images."""
        p = self.problem
        return p.in_channels // p.groups * p.kernel[0] * ceil(p.kernel[1] / self.rows)

    def seconds(self, machine: Machine) -> float:
        """Predicted time on one core, the unevenness of the tasks on all cores included."""
        p, piece = self.problem, self.pieces[self.which]
        stride, (height, width) = p.dilation[2], p.kernel[1:]
        vectors = ceil(width / self.lanes)
        taps = piece.rows * piece.cols
        loads = ((BAND - 1) * stride + piece.rows) * piece.cols * LOAD
        pieces = ceil(p.out_size[1] / piece.rows) * ceil(p.out_size[2] / piece.cols)
        blocks = ceil(height / self.rows)
        tile = max(BAND * taps * 0.5, loads) + BAND
        each = pieces * (height / BAND * vectors * tile + blocks * (taps * SUM + CALL)) * p.out_size[0]
        rows = height * stride + blocks * p.out_size[1]
        copied = p.out_size[0] * rows * (ROW + (vectors * stride + 1) * VECTOR)
        planes = p.in_channels // p.groups * p.kernel[0]
        cycles = planes * p.batch * (p.out_channels * each + p.groups * copied)
        tasks = self.parts * self._channel_blocks
        cycles *= ceil(tasks / machine.cores) * machine.cores / tasks
        return (cycles + 10000 * (self.parts > 1)) / (machine.clock * 1e9)

    def pack(self, weight: np.ndarray) -> np.ndarray:
        return parts.gradients(weight)

    def run(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        parts.run(self.work, self.parts, x, weight, self.zeros, y, threads)

    def __str__(self) -> str:
        piece = self.pieces[self.which]
        tile = f"{piece.rows}x{piece.cols}x{self.lanes}"
        return f"({self.strategy} {tile} {self.rows} rows c{self.channels} {self.parts} parts)"


def make_tasks(lanes: int, pieces: tuple[Piece, ...]) -> Callable[..., None]:
    pack_halo = make_pack_halo(lanes)
    (h0, w0), (h1, w1), (h2, w2) = pieces

    def tile(y: Any, w: Any, x: Any, rows: int, g: Any) -> None:
        """The piece and the stride of this plan, out of those that are compiled."""
        if g.stride_w == 1:
            if g.which == 0:
                tap_tile(y, w, x, rows, g.out_w, h0, w0, 1, BAND, lanes)
            elif g.which == 1:
                tap_tile(y, w, x, rows, g.out_w, h1, w1, 1, BAND, lanes)
            else:
                tap_tile(y, w, x, rows, g.out_w, h2, w2, 1, BAND, lanes)
        elif g.which == 0:
            tap_tile(y, w, x, rows, g.out_w, h0, w0, 2, BAND, lanes)
        elif g.which == 1:
            tap_tile(y, w, x, rows, g.out_w, h1, w1, 2, BAND, lanes)
        else:
            tap_tile(y, w, x, rows, g.out_w, h2, w2, 2, BAND, lanes)

    tile = inline(tile, lanes, pieces)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        pitch = g.halo_phases * g.halo_width
        taps = g.kernel_d * g.kernel_h * g.kernel_w
        for task in range(lo, hi):
            part, channel_block = divmod(task, g.channel_blocks)
            first = channel_block * g.block_channels
            channels = min(g.block_channels, g.channels - first)
            for i in range(channels * g.group_out * g.sums_size):
                scratch[g.sums + i] = 0
            for block in range(part * g.blocks // g.parts, (part + 1) * g.blocks // g.parts):
                rest, row_block = divmod(block, g.row_blocks)
                image, depth = divmod(rest, g.out_d)
                row = row_block * g.block_rows
                lines = min(g.block_rows, g.out_h - row)
                # All halos first: a load that straddles stores still under way would wait for them.
                pack_halo(scratch, x, (image * g.channels + first) * g.in_d * g.in_h * g.in_w,
                          (depth, row, 0), channels, table, g)  # fmt: skip
                for c in range(channels):
                    group = (first + c) // g.group_in
                    for o in range(g.group_out):
                        plane = ((image * g.groups + group) * g.group_out + o) * g.out_d + depth
                        gradients = (w, (plane * g.out_h + row) * g.out_w, g.out_w)
                        for z in range(g.kernel_d):
                            for i in range(g.high):
                                line = c * g.halo_channel + z * g.halo_plane + i * g.piece_rows * pitch
                                to = (c * g.group_out + o) * g.sums_size
                                to += (z * g.high + i) * g.piece_rows * g.sums_row
                                for j in range(g.wide):
                                    at = j * g.piece_cols
                                    tile(
                                        (scratch, g.sums + to + at, g.sums_row),
                                        gradients,
                                        (scratch, line + at, pitch, g.halo_width),
                                        lines,
                                        g,
                                    )
            for c in range(channels):
                group, inner = divmod(first + c, g.group_in)
                for o in range(g.group_out):
                    source = g.sums + (c * g.group_out + o) * g.sums_size
                    to = (((part * g.groups + group) * g.group_out + o) * g.group_in + inner) * taps
                    for z in range(g.kernel_d):
                        for u in range(g.kernel_h):
                            line = source + (z * g.high * g.piece_rows + u) * g.sums_row
                            for t in range(g.kernel_w):
                                y[to] = scratch[line + t]
                                to += 1

    return tasks


KERNEL = RangeKernel(
    "kernelwise",
    make_tasks,
    f"{halo.GEOMETRY} phase_table parts groups group_in group_out images channels block_channels channel_blocks blocks "
    "out_d out_h out_w block_rows row_blocks kernel_d kernel_h kernel_w which piece_rows piece_cols high wide "
    "halo_channel halo_plane sums sums_row sums_size",
)
STRATEGY = Kernelwise()

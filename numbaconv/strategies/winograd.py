"""Winograd F(mh x mw, kh x kw): n products for mh*mw outputs where the sum has mh*mw*kh*kw, as n products of matrices.

    U = G w G'      V = B d B'      M[n, tile, o] = sum_c V[n, tile, c] * U[n, c, o]      y = b + A M A'

Tiles of inputs overlap and give mh x mw outputs each; `blocking.tiles` says which there
are. The lanes of a vector are channels, so a tile may lie anywhere: with a dilation, its inputs and outputs are that
far apart. A kernel of depth adds its planes to the channels. Weights are transformed in the plan; in a plain call, each
task transforms those it needs, a panel at a time. Of a transposed problem, the phases are output channels.

Accuracy: `docs/accuracy.md`, by variant and channels. Direct summation's own a-priori bound is (K + 2) / 2 times
eps * (|x| conv |w| + |b|) for K terms; a variant is taken only where every output, also at the border, has as many
terms as that bound needs to be the larger. A transform spreads inf and NaN over its tile: a task that meets an output
that is not finite says so, and the whole call is done again by direct summation.

Tasks: (image, group, chunk of output channels, output depth, block of tile rows, block of tile columns). Within a task:
blocks of channels, each its vectors of channels put into lanes and transformed, then its products; then the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, prod
from typing import Any

import numpy as np

from numbaconv.blocking import subpixels, tiled, weights
from numbaconv.blocking.border import Border
from numbaconv.blocking.tiles import (
    CHANNELS,
    Layout,
    TileBlocks,
    Variant,
    accurate,
    axes,
    fastest,
    fewest_terms,
    of_kernel,
)
from numbaconv.codegen import launch
from numbaconv.codegen.jit import RangeKernel, inline
from numbaconv.codegen.transforms import products
from numbaconv.machine import Machine
from numbaconv.microkernels import border as ends
from numbaconv.microkernels import finish as ending
from numbaconv.microkernels.border import extended_row
from numbaconv.microkernels.pack import copy_rows
from numbaconv.microkernels.panels import make_multiply, make_panel_width, make_transform_weights
from numbaconv.microkernels.tile import Tile
from numbaconv.microkernels.weave import GEOMETRY as WEAVE_GEOMETRY
from numbaconv.microkernels.weave import make_weave
from numbaconv.microkernels.winograd import channels_to_lanes, lanes_to_channels, winograd_input, winograd_output
from numbaconv.problem import ConvProblem
from numbaconv.strategy import Plan, PlanChild, Strategy

# Pixels for which phases are put in order for one call: some 4 ns a weight, and half the products are saved (Zen 4).
ENOUGH = 400


class Winograd(Strategy):
    name = "winograd"
    any_order = True
    sums_directly = False

    def why_not(self, problem: ConvProblem, machine: Machine) -> str | None:
        inner = _over_tiles(problem)
        refusal = _why_not_phases(problem, machine) or tiled.why_not(inner, packs=True)
        if refusal is not None:
            return refusal
        known = of_kernel(inner)
        if not known:
            kernel, stride = ("x".join(map(str, sizes[1:])) for sizes in (inner.kernel, inner.stride))
            return f"it has no transform of {kernel} kernels of stride {stride}"
        if max(inner.stride[1:]) > 1 and inner.dilation[1:] != (1, 1):
            return f"its tiles of a stride have no dilation, not {inner.dilation}"
        terms, fewest = _fewest_terms(problem, inner), min(variant.fewest for variant in known)
        if terms < fewest:
            return f"its error is that of a sum of {fewest} terms or more, and an output at the border has {terms}"
        if fastest(inner, machine, accurate(inner, terms), raw=False) is None:
            return f"a row of its tiles, {inner.dilation[2]} apart, is too long for the scratch of a thread"
        return None

    def cost(self, problem: ConvProblem, machine: Machine) -> float:
        inner = _over_tiles(problem)
        blocks = fastest(inner, machine, accurate(inner, _fewest_terms(problem, inner)), raw=False)
        if blocks is None:
            return inf
        seconds = blocks.seconds(inner, machine, Tile.of(machine, problem.dtype))
        if problem.input_dilation == (1, 1, 1):
            return seconds
        return seconds + subpixels.join_seconds(problem, machine, prod(problem.out_size[:2]) * blocks.col_blocks)

    def make_plan(self, problem: ConvProblem, machine: Machine, plan_child: PlanChild) -> Plan:
        inner = _over_tiles(problem)
        variants = accurate(inner, _fewest_terms(problem, inner))
        return WinogradPlan.of(problem, machine, variants, plan_child(problem, self.name))


def _over_tiles(problem: ConvProblem) -> ConvProblem:
    """The ordinary problem that the tiles compute; those of a 3x1 kernel may lie anywhere in long rows."""
    if problem.input_dilation == (1, 1, 1):
        return problem.folded(kernels=True)
    return subpixels.ordinary(problem)


def _why_not_phases(problem: ConvProblem, machine: Machine) -> str | None:
    """What a transposed problem is refused for; the phases of a row of outputs must be lanes of one vector."""
    if problem.input_dilation == (1, 1, 1):
        return None
    phases, channels = problem.input_dilation, problem.out_channels // problem.groups
    lanes = Tile.of(machine, problem.dtype).lanes
    if lanes % phases[2] and channels * prod(phases) > lanes:
        return f"{channels} channels of {phases} phases each do not fall into whole vectors of {lanes}"
    return subpixels.why_not(problem)


def _fewest_terms(problem: ConvProblem, inner: ConvProblem) -> int:
    """Those of the phase that has fewest."""
    if problem.input_dilation == (1, 1, 1):
        return fewest_terms(inner)
    whole = [k // s for k, s in zip(problem.kernel, problem.input_dilation, strict=True)]
    return fewest_terms(inner) * prod(whole) // inner.taps


@dataclass(frozen=True)
class Weights:
    """Transformed, by a plan, or as they are; and in the order of the problem, to do a call again."""

    flat: np.ndarray | None  # None: all is left to direct summation
    packed: bool
    raw: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class WinogradPlan(Plan):
    inner: ConvProblem  # over tiles
    tile: Tile
    blocks: TileBlocks
    raw_blocks: TileBlocks | None  # of a call whose weights are not prepared
    direct: Plan  # the best strategy that sums directly
    works: launch.Works = field(init=False)  # by whether the weights are packed

    def __post_init__(self) -> None:
        object.__setattr__(self, "works", launch.Works(self._work))

    @classmethod
    def of(cls, problem: ConvProblem, machine: Machine, variants: Sequence[Variant], direct: Plan) -> WinogradPlan:
        """With the fastest of ``variants``, accurate enough or not."""
        inner = _over_tiles(problem)
        packed, raw = (fastest(inner, machine, variants, raw) for raw in (False, True))
        if packed is None:
            raise ValueError(f"no block of {problem} fits the scratch of a thread")
        return cls(problem, Winograd.name, inner, Tile.of(machine, problem.dtype), packed, raw, direct)

    @property
    def weaves(self) -> bool:
        """Whether its channels are phases, to be put side by side."""
        return self.problem.input_dilation != (1, 1, 1)

    def _work(self, packed: bool) -> launch.Work:
        blocks = self.raw_blocks if self.raw_blocks and not packed else self.blocks
        p, tile, variant = self.inner, self.tile, blocks.variant
        layout, (high, wide) = Layout.of(p, blocks, tile), axes(p, variant)
        points, products, out, panel, bias, size = layout.places(variant.points)
        stops = (  # the last tiles reach beyond the last outputs
            (p.out_size[0] - 1) * p.stride[0] + (p.kernel[0] - 1) * p.dilation[0] + 1,
            high.start(high.total - 1) * variant.strides[0] + (variant.inputs[0] - 1) * high.d + 1,
            (blocks.col_blocks - 1) * blocks.cols * variant.mw * variant.stride + layout.width,
        )  # fmt: skip
        depth, down, along = (stop - lo for stop, (lo, _) in zip(stops, p.padding, strict=True))
        border = Border(p, (depth, down, along))
        moves = p.reorders or bool(p.tail and p.tail.moves)
        pending, woven = size, size + tile.lanes * layout.out_width * (moves or self.weaves)
        staged = woven + (layout.out_width * self.problem.input_dilation[2] + tile.lanes) * (moves and self.weaves)
        size, pitch = staged, layout.width + tile.lanes
        lies = weights.steps(p.out_channels // p.groups, p.terms, p.taps, 1, packed=False, transposed=self._as_given)
        steps = {name: lies[name] for name in ("w_group", "w_row", "w_channel")} | {"backwards": int(self._as_given)}
        g = KERNEL.geometry(
            **self._weights(blocks), groups=p.groups, raw=int(blocks.raw),
            in_d=p.in_size[0], in_h=p.in_size[1], in_w=p.in_size[2],
            out_d=p.out_size[0], out_h=p.out_size[1], out_w=p.out_size[2],
            stride_d=p.stride[0], dilation_d=p.dilation[0], dilation_h=high.d, dilation_w=wide.d,
            pad_d=p.padding[0][0], pad_h=p.padding[1][0], pad_w=p.padding[2][0],
            tile_rows=high.total, tile_cols=wide.total, block_rows=blocks.rows, block_cols=blocks.cols,
            row_blocks=blocks.row_blocks, col_blocks=blocks.col_blocks, chunks=blocks.chunks,
            slots=layout.slots, slot_step=layout.slot_step, width=layout.width, out_width=layout.out_width,
            term_row=layout.term_row, point=layout.point, product=layout.product,
            points=points, products=products, out=out, panel=panel, panel_point=layout.panel, bias=bias,
            told=p.out_channels, staged_rows=staged, staged_pitch=pitch, woven=woven, **border.words(0), **steps,
            **subpixels.words(self.problem),
            **ending.words(p.tail, p.dtype, pending, p.reorders), **ending.order_words(self.problem),
        )  # fmt: skip
        if border.is_needed:
            size += tile.lanes * pitch
        macs = p.macs * variant.points // (variant.mh * variant.mw * variant.kh * variant.kw)
        constants = (*variant.sizes, self.weaves, tile.mr, tile.nv, tile.lanes)
        return launch.Work(KERNEL, p.dtype, constants, blocks.tasks(p), macs, size, border.table(), g)

    def _weights(self, blocks: TileBlocks) -> dict[str, int]:
        """The geometry words that both kernels read."""
        p = self.inner
        return {
            "group_in": p.in_channels // p.groups, "group_out": p.out_channels // p.groups, "planes": p.kernel[0],
            "block_channels": blocks.channels, "chunk": blocks.chunk,
        }  # fmt: skip

    def pack(self, weight: np.ndarray) -> Weights:
        """``U[group, chunk, block of channels, point, panel, plane, c, vector of the panel, lane]``.

        A task reads its part from end to end. Channels are padded to whole vectors.
        """
        p, lanes, variant = self.inner, self.tile.lanes, self.blocks.variant
        taps = np.ascontiguousarray(self._ordinary(weight))
        vectors, padded = (ceil(n / p.groups / lanes) for n in (p.out_channels, p.in_channels))
        flat = np.empty(variant.points * p.groups * vectors * padded * lanes * lanes * p.kernel[0], p.dtype)
        none = np.zeros(1, p.dtype)
        constants = (*variant.sizes, self.tile.nv, lanes)
        scratch = (CHANNELS * p.taps + lanes) * lanes
        g = WEIGHTS.geometry(**self._weights(self.blocks), vectors=vectors)
        work = launch.Work(
            WEIGHTS, p.dtype, constants, p.groups * vectors, flat.size, scratch, np.zeros(1, np.int64), g
        )
        work.run(taps, none, none, flat, launch.get_num_threads())
        return Weights(flat, True, weight.copy() if self.weaves else taps)

    def borrow(self, weight: np.ndarray) -> Weights:
        if self.raw_blocks is None or (self.weaves and self.inner.batch * self.inner.pixels < ENOUGH):
            return Weights(None, False, weight)
        if self._as_given:
            return Weights(weights.borrow(weight, transposed=True).flat, False, weight)
        taps = np.ascontiguousarray(self._ordinary(weight))
        return Weights(taps, False, weight if self.weaves else taps)

    @property
    def _as_given(self) -> bool:
        """Whether the weights of a call are read as a transposed problem has them, input channel first."""
        return self.problem.transposed and not self.weaves

    def _ordinary(self, weight: np.ndarray) -> np.ndarray:
        return subpixels.phase_weights(self.problem, weight) if self.weaves else weight

    def run(
        self, x: np.ndarray, weight: Weights, bias: np.ndarray | None, y: np.ndarray, threads: int,
        residual: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        if weight.flat is not None:
            # One element more than the bias: a task whose outputs are not all finite writes 1 there.
            told = np.zeros(self.inner.out_channels + 1, self.problem.dtype)
            if bias is not None:
                told[:-1] = np.repeat(bias, self.inner.out_channels // self.problem.out_channels)
            if residual is not None and np.may_share_memory(residual, y):  # it is read once more if all is done again
                residual = residual.copy()
            work: launch.Work = self.works[weight.packed]
            work.run(x, weight.flat, told, y, threads, residual)
            if not told[-1]:
                return
        self.direct.run(x, self.direct.borrow(weight.raw), bias, y, threads, residual)

    def __str__(self) -> str:
        return f"({self.strategy} {self.tile} {self.blocks} {self.direct})"


def make_place(points: int, nv: int, lanes: int) -> Callable[..., Any]:
    """``place(group, vector, c, g)`` in the order of `pack`, for a vector of outputs and a block of channels."""
    panel_width = make_panel_width(nv)

    def place(group: int, vector: int, c: int, g: Any) -> Any:
        """(first element, step from point to point, vectors of its panel)."""
        first = vector * lanes // g.chunk * g.chunk // lanes
        total = (g.group_out + lanes - 1) // lanes
        vectors = min(g.chunk // lanes, total - first)
        all_terms = g.planes * ((g.group_in + lanes - 1) // lanes) * lanes
        terms = g.planes * ((min(g.block_channels, g.group_in - c) + lanes - 1) // lanes) * lanes
        start = ((group * total + first) * all_terms + vectors * g.planes * c) * points
        panel, width = 0, panel_width(vectors)
        while panel + width <= vector - first:
            panel += width
            width = panel_width(vectors - panel)
        return (start + panel * terms + vector - first - panel) * lanes, vectors * terms * lanes, width

    return inline(place, points, nv, lanes)


def make_weights(mh: int, kh: int, mw: int, kw: int, stride: int, nv: int, lanes: int) -> Callable[..., None]:
    """A task is one vector of output channels of a group; x are the weights, y the transformed ones."""
    place = make_place(products(mh, kh, stride) * products(mw, kw, stride), nv, lanes)
    transform_weights = make_transform_weights(mh, kh, mw, kw, stride, lanes, CHANNELS)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        terms = g.group_in * g.planes * kh * kw
        for task in range(lo, hi):
            group, vector = divmod(task, g.vectors)
            o = vector * lanes
            for c in range(0, g.group_in, g.block_channels):
                start, point, width = place(group, vector, c, g)
                first = (group * g.group_out + o) * terms + c * g.planes * kh * kw
                source = (x, first, terms, g.group_out - o, 0)
                transform_weights((y, start, point, width), source, scratch, min(g.block_channels, g.group_in - c),
                                  g.planes)  # fmt: skip

    return tasks


def make_fill(mh: int, kh: int, stride: int, lanes: int) -> Callable[..., None]:
    ah, down = products(mh, kh, stride), stride if kh > 1 else 1

    def stage(scratch: Any, x: Any, at: int, place: Any, channels: int, table: Any, g: Any) -> None:
        """A row of a vector of channels, its border and conversion done."""
        first = at // g.x_c % g.in_channels
        for c in range(min(channels, lanes)):
            to = g.staged_rows + c * g.staged_pitch
            extended_row(scratch, to, x, at + c * g.x_c, place, g.width, 1, first + c, table, g)

    stage = inline(stage, lanes)

    def pixels(halo: Any, to: int, x: Any, source: int, inside: Any, channels: int, g: Any) -> None:
        """A row of vectors where the channels of a pixel lie side by side."""
        first, last = min(max(inside[0], 0), g.width), min(max(inside[1], 0), g.width)
        for start, stop, count in ((0, first, 0), (first, last, min(channels, lanes)), (last, g.width, 0)):
            copy_rows((halo, to + start * lanes, lanes), (x, source + start * g.x_w, g.x_w), stop - start, (0, count),
                      lanes, lanes)  # fmt: skip

    pixels = inline(pixels, lanes)

    def columns(
        halo: Any, to: int, x: Any, source: int, start: int, stop: int, left: int, channels: int, table: Any, g: Any
    ) -> None:
        """Columns ``start..stop`` of a row, all beyond its ends, from those that it has; ``source``: of column 0."""
        for j in range(start, stop):
            column = ends.source(left + j, g.in_w, g.map_w, table)
            near = to + (column - left) * lanes
            if column < 0:
                ends.fill(halo, to + j * lanes, lanes, table, g)
            elif left <= column < left + g.width:
                copy_rows((halo, to + j * lanes, 0), (halo, near, 0), 1, (0, lanes), lanes, lanes)
            else:
                for c in range(min(channels, lanes)):
                    halo[to + j * lanes + c] = x[source + (column - left) * g.x_w + c * g.x_c]

    columns = inline(columns, lanes)

    def fill(halo: Any, x: Any, at: int, block: Any, lines: int, channels: int, table: Any, g: Any) -> None:
        """The inputs of ``lines`` rows of tiles from ``block = (depth, row, column)`` on; ``at``: first channel in x.

        Rows rise, so that what one writes too much, the next overwrites.
        """
        depth, row, left = block
        for z in range(g.planes):
            d = depth + z * g.dilation_d
            for i in range(lines):
                line = row + i
                top = (line + line // g.dilation_h * (mh - 1) * g.dilation_h) * down - g.pad_h
                shared = kh - down if i > 0 and g.slot_step < ah else 0
                for a in range(shared, ah):
                    h = top + a * g.dilation_h
                    inside, plane = (-left, g.in_w - left), d
                    if g.extends != 0:  # a row beyond the first or the last is one of the input again, or a constant
                        plane, h = ends.source(d, g.in_d, g.map_d, table), ends.source(h, g.in_h, g.map_h, table)
                    to = (z * g.slots + i * g.slot_step + a) * g.width * lanes
                    source = at + plane * g.x_d + h * g.x_h + left * g.x_w
                    if g.loader != 0 or (g.x_w != 1 and g.x_c != 1):
                        stage(halo, x, at, (d, top + a * g.dilation_h, left), channels, table, g)
                        channels_to_lanes((halo, to), (halo, g.staged_rows, g.staged_pitch), (0, g.width), g.width,
                                          channels, lanes)  # fmt: skip
                        continue
                    lies = 0 <= plane < g.in_d and 0 <= h < g.in_h
                    if g.extends != 0 and not lies:
                        ends.fill(halo, to, g.width * lanes, table, g)
                        continue
                    if not lies:
                        inside = (0, 0)
                    if g.x_w != 1:
                        pixels(halo, to, x, source, inside, channels, g)
                    else:
                        channels_to_lanes((halo, to), (x, source, g.x_c), inside, g.width, channels, lanes)
                    if g.extends != 0:
                        columns(halo, to, x, source, 0, min(inside[0], g.width), left, channels, table, g)
                        columns(halo, to, x, source, max(inside[1], 0), g.width, left, channels, table, g)

    return inline(fill, mh, kh, stride, lanes)


def make_transform(mh: int, kh: int, mw: int, kw: int, stride: int, lanes: int) -> Callable[..., None]:
    def transform(scratch: Any, c: int, padded: int, lines: int, cols: int, g: Any) -> None:
        """The points of all tiles of a block, for the vector of channels from ``c`` on; planes lie ``padded`` apart."""
        for z in range(g.planes):
            for i in range(lines):
                slot = (z * g.slots + i * g.slot_step) * g.width
                term = g.points + i * cols * g.term_row + z * padded + c
                for j in range(cols):
                    left = (j + j // g.dilation_w * (mw - 1) * g.dilation_w) * stride
                    source = (scratch, (slot + left) * lanes, g.width * lanes, g.dilation_w * lanes)
                    winograd_input((scratch, term + j * g.term_row, g.point), source, mh, kh, mw, kw, stride, lanes)

    return inline(transform, mh, kh, mw, kw, stride, lanes)


def make_ends(lanes: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """(begin, tell), before and after the outputs of a task."""

    def begin(scratch: Any, b: Any, first: int, rows: int, g: Any) -> None:
        """The bias, padded to whole vectors; and zeros, which stay if all outputs are finite."""
        for i in range(g.chunk):
            scratch[g.bias + i] = b[first + i] if i < rows else 0
        for i in range(lanes):
            scratch[g.bias + g.chunk + i] = 0

    def tell(scratch: Any, b: Any, g: Any) -> None:
        for i in range(lanes):
            if scratch[g.bias + g.chunk + i] != 0:
                b[g.told] = 1

    return inline(begin, lanes), inline(tell, lanes)


def make_put(lanes: int) -> Callable[..., None]:
    place = ending.make_place(lanes)

    def put(
        y: Any, row: Any, scratch: Any, r: Any, block: Any, channels: int, image: int, channel: int, g: Any
    ) -> None:
        """A row of outputs, channels in lanes, of ``block`` = (depth, row, column, columns), to its place."""
        (_, source), (depth, h, left, count) = row, block
        y_at = image * g.y_n + channel * g.y_c + depth * g.y_d + h * g.y_h + left * g.y_w
        if not g.reorders:
            to = (scratch, g.pending, g.out_width) if g.staged else (y, y_at, g.y_c)
            lanes_to_channels(to, row, count, channels, lanes)
            if g.finish:
                ending.finish((y, y_at, g.y_c, 0), (to[0], to[1], to[2], 0), r, (channels, 1, count), channel, g)
        elif g.y_c == 1 and g.finish and g.turned >= 0:
            ending.finish((y, y_at, 0, g.y_w), (scratch, source, 0, lanes), r, (1, count, channels), channel, g)
        elif g.y_c == 1 and not g.finish and channels == lanes:
            copy_rows((y, y_at, g.y_w), (scratch, source, lanes), count, (0, lanes), lanes, lanes)
        else:
            lanes_to_channels((scratch, g.pending, g.out_width), row, count, channels, lanes)
            place(y, y_at, (scratch, g.pending, g.out_width, 0), r, (channels, 1, count), channel, g)

    return inline(put, lanes)


def make_put_phases(lanes: int) -> Callable[..., None]:
    weave = make_weave(lanes)

    def put(
        y: Any, row: Any, scratch: Any, r: Any, block: Any, channels: int, image: int, channel: int, g: Any
    ) -> None:
        """As that of `make_put`, where the channels are phases."""
        depth, h, left, count = block
        lanes_to_channels((scratch, g.pending, g.out_width), row, count, channels, lanes)
        sums = (scratch, g.pending, g.out_width, g.woven)
        weave(y, sums, r, image, (channel, channels), ((depth * g.out_h + h) * g.out_w + left, count), g)

    return inline(put, lanes)


def make_finish(mh: int, kh: int, mw: int, kw: int, stride: int, weaves: bool, lanes: int) -> Callable[..., None]:
    put = make_put_phases(lanes) if weaves else make_put(lanes)

    def finish(y: Any, scratch: Any, r: Any, block: Any, o: int, rows: int, image: int, channel: int, g: Any) -> None:
        """The outputs of a block = (depth, row, lines, left, cols) for the vector of channels from ``o`` on."""
        depth, row, lines, left, cols = block
        pitch = (rows + lanes - 1) // lanes * lanes
        count = min(g.out_w - left, (cols + g.dilation_w - 1) // g.dilation_w * g.dilation_w * mw)
        for i in range(lines):
            for j in range(cols):
                column = j + j // g.dilation_w * (mw - 1) * g.dilation_w
                winograd_output(
                    (scratch, g.out + column * lanes, g.out_width * lanes, g.dilation_w * lanes),
                    (scratch, g.products + (i * cols + j) * pitch + o, g.product),
                    (scratch, g.bias + o),
                    (scratch, g.bias + g.chunk),
                    mh, kh, mw, kw, stride, lanes,
                )  # fmt: skip
            line = row + i
            for n in range(mh):
                h = line + line // g.dilation_h * (mh - 1) * g.dilation_h + n * g.dilation_h
                if h < g.out_h:
                    source = (scratch, g.out + n * g.out_width * lanes)
                    put(y, source, scratch, r, (depth, h, left, count), min(lanes, rows - o), image, channel, g)

    return inline(finish, mh, kh, mw, kw, stride, weaves, lanes)


def make_tasks(
    mh: int, kh: int, mw: int, kw: int, stride: int, weaves: bool, mr: int, nv: int, lanes: int
) -> Callable[..., None]:
    points = products(mh, kh, stride) * products(mw, kw, stride)
    place, panel_width, multiply = make_place(points, nv, lanes), make_panel_width(nv), make_multiply(mr, nv, lanes)
    transform_weights = make_transform_weights(mh, kh, mw, kw, stride, lanes, CHANNELS)
    fill, transform = make_fill(mh, kh, stride, lanes), make_transform(mh, kh, mw, kw, stride, lanes)
    finish, (begin, tell) = make_finish(mh, kh, mw, kw, stride, weaves, lanes), make_ends(lanes)

    def prepare(
        scratch: Any, w: Any, w_at: int, left: int, width: int, c: int, channels: int, point: int, g: Any
    ) -> None:
        """A panel of transformed weights for ``width`` vectors of outputs from that at ``w_at`` on, ``left`` in w."""
        for v in range(width):
            first = w_at + v * lanes * g.w_row + c * g.w_channel
            source = (w, first, g.w_row, left - v * lanes, g.w_channel * g.backwards)
            transform_weights((scratch, g.panel + v * lanes, point, width), source, scratch, channels, g.planes)

    prepare = inline(prepare, mh, kh, mw, kw, stride, lanes)

    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for task in range(lo, hi):
            rest, col_block = divmod(task, g.col_blocks)
            rest, row_block = divmod(rest, g.row_blocks)
            rest, depth = divmod(rest, g.out_d)
            rest, chunk = divmod(rest, g.chunks)
            image, group = divmod(rest, g.groups)
            m = chunk * g.chunk
            row, col = row_block * g.block_rows, col_block * g.block_cols
            lines, cols = min(g.block_rows, g.tile_rows - row), min(g.block_cols, g.tile_cols - col)
            rows = min(g.chunk, g.group_out - m)
            vectors = (rows + lanes - 1) // lanes
            for c in range(0, g.group_in, g.block_channels):
                channels = min(g.block_channels, g.group_in - c)
                padded = (channels + lanes - 1) // lanes * lanes
                for lane in range(0, channels, lanes):
                    at = image * g.x_n + (group * g.group_in + c + lane) * g.x_c
                    fill(
                        scratch,
                        x,
                        at,
                        (depth * g.stride_d - g.pad_d, row, col * mw * stride - g.pad_w),
                        lines,
                        channels - lane,
                        table,
                        g,
                    )
                    transform(scratch, lane, padded, lines, cols, g)
                weights, w_at, w_point = w, 0, 0
                if not g.raw:
                    w_at, w_point, _ = place(group, m // lanes, c, g)
                start = 0
                while start < vectors:  # all panels under each point; or, of raw weights, all points of each panel
                    stop = vectors
                    if g.raw:
                        stop = start + panel_width(vectors - start)
                        o = m + start * lanes
                        weights, w_at, w_point = scratch, g.panel, g.panel_point
                        prepare(scratch, w, group * g.w_group + o * g.w_row, g.group_out - o, stop - start, c,
                                channels, w_point, g)  # fmt: skip
                    for n in range(points):
                        v = start
                        while v < stop:
                            width = panel_width(vectors - v)
                            multiply(
                                (scratch, g.products + n * g.product + v * lanes, vectors * lanes),
                                (scratch, g.points + n * g.point, g.term_row),
                                (weights, w_at + n * w_point + (v - start) * g.planes * padded * lanes),
                                (g.planes - 1) * padded + channels,
                                lines * cols,
                                1 if c == 0 else 0,
                                width,
                            )
                            v += width
                    start = stop
            begin(scratch, b, group * g.group_out + m, rows, g)
            for o in range(0, rows, lanes):
                channel = group * g.group_out + m + o
                finish(y, scratch, r, (depth, row, lines, col * mw, cols), o, rows, image, channel, g)
            tell(scratch, b, g)

    return tasks


KERNEL = RangeKernel(
    "winograd",
    make_tasks,
    "groups raw group_in group_out planes block_channels chunk in_d in_h in_w out_d out_h out_w stride_d dilation_d "
    "dilation_h dilation_w pad_d pad_h pad_w tile_rows tile_cols block_rows block_cols row_blocks col_blocks chunks "
    "slots slot_step width out_width term_row point product points products out panel panel_point w_group w_row "
    "w_channel backwards bias told staged_rows staged_pitch woven "
    f"{WEAVE_GEOMETRY} {ends.GEOMETRY} {ending.GEOMETRY} {ending.ORDER}",
)
WEIGHTS = RangeKernel("winograd-weights", make_weights, "group_in group_out planes block_channels chunk vectors")
STRATEGY = Winograd()

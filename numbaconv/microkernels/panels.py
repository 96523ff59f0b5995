"""Panels of transformed weights, a few vectors of output channels wide: their order, and products under them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbaconv.codegen.jit import inline
from numbaconv.codegen.transforms import products
from numbaconv.microkernels.winograd import channels_to_lanes, winograd_products, winograd_weights


def make_panel_width(nv: int) -> Callable[[int], int]:
    """Vectors of the next panel: nv; of 4 that are left, 2 + 2 keep both fma units busier than 3 + 1."""

    def panel_width(left: int) -> int:
        return 2 if nv == 3 and left == 4 else min(nv, left)

    return inline(panel_width, nv)


def make_transform_weights(
    mh: int, kh: int, mw: int, kw: int, stride: int, lanes: int, channels: int
) -> Callable[..., None]:
    """``transform_weights(target, w, scratch, count, planes)`` of ``count`` input channels, for a vector of outputs.

    target: (flat, base, step from point to point, vectors of the panel) of ``U[point, plane, c, vector, lane]``, c
    padded with zeros to whole vectors; w: (flat, first weight, step between outputs, outputs left, step between
    channels, or 0 where they lie one after the other). Those that do not are of a transposed problem: its taps run
    backwards. ``channels`` at a time pass through ``scratch``.
    """
    points = products(mh, kh, stride) * products(mw, kw, stride)

    def transform_weights(target: Any, w: Any, scratch: Any, count: int, planes: int) -> None:
        t_flat, t_base, t_point, width = target
        w_flat, w_base, w_output, outputs, w_channel = w
        padded = (count + lanes - 1) // lanes * lanes
        taps = planes * kh * kw
        for c in range(0, count, channels):
            here = min(channels, count - c)
            first, step = 0, lanes
            if w_channel == 0:
                source = (w_flat, w_base + c * taps, w_output)
                channels_to_lanes((scratch, 0), source, (0, here * taps), here * taps, outputs, lanes)
            else:
                first, step = (taps - 1) * lanes, -lanes
                for i in range(here):
                    source = (w_flat, w_base + (c + i) * w_channel, w_output)
                    channels_to_lanes((scratch, i * taps * lanes), source, (0, taps), taps, outputs, lanes)
            for i in range(here):
                for z in range(planes):
                    to = (t_flat, t_base + (z * padded + c + i) * width * lanes, t_point)
                    at = i * taps * lanes + first + z * kh * kw * step
                    winograd_weights(to, (scratch, at, step), mh, kh, mw, kw, stride, lanes)
        for n in range(points):
            for z in range(planes - 1):  # after the last plane nothing is read
                for c in range(count, padded):
                    to = t_base + n * t_point + (z * padded + c) * width * lanes
                    for lane in range(lanes):
                        t_flat[to + lane] = 0

    return inline(transform_weights, mh, kh, mw, kw, stride, lanes, channels)


def make_multiply(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    """``multiply(target, left, right, terms, tiles, first, width)``: `winograd_products` of any height and width.

    A last block of rows has mr or half as many, whether there are tiles for all of them or not.
    """
    half = mr // 2

    def widest(target: Any, left: Any, right: Any, terms: int, tiles: int, first: int, width: int) -> None:
        whole = (tiles + half - 1) // mr
        winograd_products(target, left, right, terms, whole, first, mr, nv, lanes)
        done = whole * mr
        if tiles > done:
            (t, t_base, t_row), (f, f_base, f_row) = target, left
            lower = (t, t_base + done * t_row, t_row), (f, f_base + done * f_row, f_row)
            winograd_products(lower[0], lower[1], right, terms, 1, first, half, nv, lanes)

    widest = inline(widest, mr, nv, lanes)
    if nv == 1:
        return widest
    fewer = make_multiply(mr, nv - 1, lanes)

    def multiply(target: Any, left: Any, right: Any, terms: int, tiles: int, first: int, width: int) -> None:
        if width == nv:
            widest(target, left, right, terms, tiles, first, width)
        else:
            fewer(target, left, right, terms, tiles, first, width)

    return inline(multiply, mr, nv, lanes)

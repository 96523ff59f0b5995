"""Weights as the tile reads them: packed in panels of ``mr`` rows, or the user's own array where it lies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GEOMETRY = "w_group w_step w_row w_channel"


class Weights(NamedTuple):
    """A flat array, and whether it is packed."""

    flat: np.ndarray
    packed: bool


def pack_panels(weight: np.ndarray, mr: int) -> Weights:
    """``(groups, tiles, terms, mr)``: for each term, ``mr`` neighbouring output channels; missing rows are zero."""
    groups, rows = weight.shape[:2]
    terms = int(np.prod(weight.shape[2:]))
    tiles = -(-rows // mr)
    panels = np.zeros((groups, tiles * mr, terms), weight.dtype)
    panels[:, :rows] = weight.reshape(groups, rows, terms)
    panels = panels.reshape(groups, tiles, mr, terms).swapaxes(2, 3)
    return Weights(np.ascontiguousarray(panels).reshape(-1), True)


def borrow(weight: np.ndarray, transposed: bool = False) -> Weights:
    """The user's array as it is, if it is contiguous, else a copy of it.

    That of a transposed problem, whose flipped and swapped view ``weight`` is, is ``(in, out/groups, *kernel)``.
    """
    if transposed:
        weight = weight[..., ::-1, ::-1, ::-1].swapaxes(1, 2)
    return Weights(np.ascontiguousarray(weight).reshape(-1), False)


def steps(groups_rows: int, terms: int, taps: int, mr: int, packed: bool, transposed: bool = False) -> dict[str, int]:
    """The geometry words of the weights: what to add for a group, a row of tiles (per row), a row, a channel."""
    if packed:
        return {"w_group": -(-groups_rows // mr) * mr * terms, "w_step": terms, "w_row": 1, "w_channel": taps * mr}
    if transposed:
        return {"w_group": groups_rows * terms, "w_step": taps, "w_row": taps, "w_channel": groups_rows * taps}
    return {"w_group": groups_rows * terms, "w_step": terms, "w_row": terms, "w_channel": taps}


def offsets(channels: int, taps: int, mr: int, packed: bool, rows_of_transposed: int = 0) -> np.ndarray:
    """Offset of each term of a block of channels; the user's own kernels of a transposed problem run backwards."""
    if packed or not rows_of_transposed:
        return np.arange(channels * taps) * (mr if packed else 1)
    return (np.arange(channels)[:, None] * (rows_of_transposed * taps) + np.arange(taps)[::-1]).ravel()

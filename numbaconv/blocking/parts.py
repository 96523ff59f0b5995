"""Sums in parts: of images and pixels, where channels alone give too few tasks; which parts, no thread decides."""

from __future__ import annotations

import numpy as np

from numbaconv.codegen import launch


def gradients(weight: np.ndarray) -> np.ndarray:
    """The gradients of a result as they lie, (images, groups, out/groups, *pixels), from the view as a kernel."""
    return np.ascontiguousarray(weight.transpose(2, 0, 1, 3, 4, 5))


def run(
    work: launch.Work, parts: int, x: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray, threads: int
) -> None:
    """Run ``work``, which writes ``parts`` results one after the other, and add them up in this order."""
    if parts == 1:
        work.run(x, w, b, y, threads)
        return
    sums = np.empty((parts, *y.shape), y.dtype)
    work.run(x, w, b, sums, threads)
    with np.errstate(over="ignore", invalid="ignore"):  # inf and NaN come and go as they do within a part
        np.add.reduce(sums, axis=0, out=y)

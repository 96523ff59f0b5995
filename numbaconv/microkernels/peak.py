"""The speed that nothing can exceed: the main tile over and over on operands that stay in the first cache.

y[i, p] += sum_k w[i, k] * x[p, k]        mr rows, nv vectors, K terms; 2 * mr * nv * lanes * K operations
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from numbaconv.codegen import host, launch
from numbaconv.codegen.jit import RangeKernel
from numbaconv.microkernels.tile import TILES, gemm_column

TERMS = 128  # w and x of a 8x3 tile of 16 lanes: 4 + 24 KiB; fewer terms would show the tile's loads and stores of y
REPEATS = 200  # tiles a task: some tens of microseconds, so that taking tasks costs nothing
SECONDS = 0.3  # without a better run before the best counts


def measure(dtype: str = "float32", threads: int = 1, tile: str = "main") -> float:
    """GFLOP/s of a tile in the first cache: the best of many short runs, on ``threads`` threads together.

    ``tile``: 'main', 'half' (the main one with half the rows) or 'narrow'.
    """
    main, narrow = TILES[host.vectors()]
    mr, nv = {"main": main, "half": ((main[0] + 1) // 2, main[1]), "narrow": narrow}[tile]
    lanes = host.vectors()[0] // np.dtype(dtype).itemsize
    terms = np.arange(TERMS)
    vectors = np.arange(nv) * lanes
    words = np.stack([vectors, vectors, np.full(nv, lanes)], axis=1)
    table = np.concatenate([words.ravel(), np.stack([terms * nv * lanes, terms * mr], axis=1).ravel()])
    x, w, b = (np.zeros(TERMS * n, dtype) for n in (nv * lanes, mr, 1))
    g = KERNEL.geometry(terms=TERMS, repeats=REPEATS, taps=3 * nv)
    tasks = 10 * threads
    macs = tasks * REPEATS * mr * nv * lanes * TERMS
    work = launch.Work(KERNEL, dtype, (mr, nv, lanes), tasks, macs, mr * nv * lanes, table, g)
    run = partial(work.run, x, w, b, b, threads)  # y is scratch, one for each thread
    run()  # compiles
    best = float("inf")
    patience = perf_counter() + SECONDS
    while perf_counter() < patience:
        start = perf_counter()
        run()
        stop = perf_counter()
        if stop - start < 0.99 * best:  # still finding quieter moments
            patience = stop + SECONDS
        best = min(best, stop - start)
    return 2e-9 * macs / best


def make_tasks(mr: int, nv: int, lanes: int) -> Callable[..., None]:
    def tasks(lo: int, hi: int, scratch: Any, x: Any, w: Any, b: Any, y: Any, r: Any, table: Any, g: Any) -> None:
        for _ in range(lo, hi):
            for _ in range(g.repeats):
                gemm_column((scratch, 0, nv * lanes), (w, 0, 1, 1), (x, 0), (b, 0), (table, 0, g.taps), g.terms, mr, 1,
                          mr, nv, lanes)  # fmt: skip

    return tasks


KERNEL = RangeKernel("peak", make_tasks, "terms repeats taps")

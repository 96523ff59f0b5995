"""The command `filters`: what `signal` and `ndimage` take beside SciPy and OpenCV, by turns, results compared first.

Each row is one call as users write it, from arrays to an array, nothing prepared. SciPy has one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from numbaconv import ndimage, signal
from numbaconv.arrays import Array
from numbaconv.bench.clock import Times, interleaved
from numbaconv.bench.tables import geometric_mean, markdown

Call = Callable[[], Array]

OURS = "numbaconv"
SIDES = (3, 15, 63)
TAPS = (31, 255, 4096)
PIXELS = 1024
SAMPLES = 1 << 20


@dataclass(frozen=True)
class Row:
    """One filter by all who have it, and how far their results may be from ours."""

    name: str
    calls: dict[str, Call]
    apart: float


def rows() -> Iterator[Row]:
    """Blurs, kernels that are no product, lines of samples, and a bank of filters."""
    import cv2
    from scipy import ndimage as scipy_ndimage
    from scipy import signal as scipy_signal

    rng = np.random.default_rng(0)
    size = PIXELS
    images: dict[str, Array] = {
        "uint8": rng.integers(0, 256, (size, size), dtype=np.uint8),
        "float32": rng.standard_normal((size, size), dtype=np.float32),
    }
    for dtype, image in images.items():
        for side in SIDES:
            line = np.exp(-(np.linspace(-2, 2, side) ** 2))
            line /= line.sum()
            other = rng.random((side, side))
            other /= other.sum()
            # The sums of SciPy are cut off and those of OpenCV rounded: one grey level apart.
            near = 1 if dtype == "uint8" else 1e-5
            for kind, kernel in (("Gaussian", np.outer(line, line)), ("random", other)):
                calls: dict[str, Call] = {
                    OURS: partial(ndimage.correlate, image, kernel, mode="mirror"),
                    "ndimage": partial(scipy_ndimage.correlate, image, kernel, mode="mirror"),
                    "filter2D": partial(cv2.filter2D, image, -1, kernel),
                }
                if kind == "Gaussian":
                    calls["sepFilter2D"] = partial(cv2.sepFilter2D, image, -1, line, line)
                yield Row(f"{kind} {side}x{side}, {dtype} {size}x{size}", calls, near)
    noise = rng.standard_normal(SAMPLES, dtype=np.float32)
    for count in TAPS:
        taps = rng.standard_normal(count).astype(np.float32)
        yield Row(
            f"FIR of {count} taps, float32 {SAMPLES}",
            {
                OURS: partial(signal.convolve, noise, taps, "same"),
                "convolve": partial(scipy_signal.convolve, noise, taps, "same"),
                "oaconvolve": partial(scipy_signal.oaconvolve, noise, taps, "same"),
            },
            1e-3,
        )
    image, bank = images["float32"], rng.standard_normal((16, 9, 9)).astype(np.float32)
    yield Row(
        f"16 filters 9x9, float32 {size}x{size}",
        {
            OURS: partial(signal.correlate_many, image, bank, "same", "symm"),
            "ndimage": lambda: np.stack([scipy_ndimage.correlate(image, kernel) for kernel in bank]),
            "filter2D": lambda: np.stack(
                [cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT) for kernel in bank]
            ),
        },
        1e-4,
    )


def run(seconds: float, say: Callable[[str], Any]) -> str:
    """The table in Markdown; ``say`` hears each row's name as its turn comes."""
    peers = ("ndimage", "convolve", "oaconvolve", "filter2D", "sepFilter2D")
    head = ("filter", OURS, *peers)
    cells, ratios = [], dict[str, list[float]]()
    for row in rows():
        say(row.name)
        check(row)
        times = interleaved(row.calls, seconds)
        cells.append([row.name, *(_cell(times, name) for name in head[1:])])
        for name in row.calls:
            ratios.setdefault(name, []).append(times[name].best / times[OURS].best)
    means = [f"{geometric_mean(ratios[name]):.1f} x" if name in ratios else "" for name in peers]
    return markdown(head, [*cells, ["geometric mean of ratios", "", *means]])


def check(row: Row) -> None:
    """Raise where results differ by more than the row allows."""
    results = {name: call() for name, call in row.calls.items()}
    ours = results[OURS].astype(np.float64)
    for name, y in results.items():
        off = float(np.abs(y - ours).max())
        if off > row.apart:
            raise ValueError(
                f"{row.name}: {name} is {off:.2g} of the largest result from ours; allowed is {row.apart:.2g}"
            )


def _cell(times: dict[str, Times], name: str) -> str:
    if name not in times:
        return ""
    ratio = "" if name == OURS else f" ({times[name].best / times[OURS].best:.1f} x)"
    return f"{times[name].best * 1e3:.2f} ms{ratio}"

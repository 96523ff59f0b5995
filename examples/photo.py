"""A photograph through the convolutions: blur, edges at several scales, a smaller and a larger picture, all checked.

    python examples/photo.py photo.png

Each result is compared with SciPy's in float64; the largest difference must stay within the rounding of its sum. Where
zero padding would darken the border, the result is divided by that of a white picture, after the check.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy import ndimage, signal
from skimage import data

from numbaconv import conv2d, conv_transpose2d

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

DILATIONS = (1, 2, 4, 8)
SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32) / 8  # across; its transpose goes down


def gaussian(sigma: float) -> np.ndarray:
    """A kernel that sums to 1, cut off at three sigmas."""
    radius = int(3 * sigma + 0.5)
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = np.outer(line, line)
    return (kernel / kernel.sum()).astype(np.float32)


def bilinear(factor: int) -> np.ndarray:
    """The kernel that makes a transposed convolution of stride ``factor`` a linear interpolation."""
    line = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
    return np.outer(line, line).astype(np.float32)


def check(name: str, y: np.ndarray, exact: np.ndarray, size: np.ndarray, terms: int) -> None:
    """``size`` is the same sum over absolute values: every rounding is at most eps/2 of it."""
    allowed = (terms + 2) * (np.finfo(np.float32).eps / 2 * size + np.finfo(np.float32).tiny)
    error = np.abs(y - exact)
    assert y.shape == exact.shape, f"{name}: shape {y.shape}, SciPy has {exact.shape}"
    assert (error <= allowed).all(), f"{name}: {(error / allowed).max():.3g} times the error that rounding allows"
    print(f"{name:<38} {y.shape!s:<18} error {error.max():.1e}, {(error / allowed).max():.3f} of what rounding allows")


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Each colour by itself: a depthwise convolution of three groups."""
    kernel = gaussian(sigma)
    weight = np.stack([kernel[None]] * 3)
    y = conv2d(image, weight, padding="same", groups=3)
    exact = np.stack([ndimage.correlate(c.astype(float), kernel.astype(float), mode="constant") for c in image])
    check(f"Gaussian blur, {kernel.shape[0]}x{kernel.shape[1]}, 3 groups", y, exact, exact, kernel.size)
    return y / conv2d(np.ones_like(image), weight, padding="same", groups=3)


def edges(grey: np.ndarray, dilation: int) -> np.ndarray:
    """How steep the picture is: Sobel's two filters, their taps ``dilation`` pixels apart."""
    y = conv2d(grey[None], np.stack([SOBEL, SOBEL.T])[:, None], dilation=dilation)
    inside = slice(dilation, -dilation)  # no padding, so no edge around the picture
    exact, size = [], []
    for kernel in (SOBEL, SOBEL.T):
        spread = np.zeros((2 * dilation + 1, 2 * dilation + 1))
        spread[::dilation, ::dilation] = kernel
        exact.append(ndimage.correlate(grey.astype(float), spread)[inside, inside])
        size.append(ndimage.correlate(grey.astype(float), np.abs(spread))[inside, inside])
    check(f"Sobel, dilation {dilation}", y, np.stack(exact), np.stack(size), 9)
    return np.hypot(*y)


def smaller(image: np.ndarray, factor: int) -> np.ndarray:
    """Blurred against aliasing and sampled in one convolution of stride ``factor``."""
    kernel = gaussian(factor / 2)
    pad = kernel.shape[0] // 2
    weight = np.stack([kernel[None]] * 3)
    y = conv2d(image, weight, stride=factor, padding=pad, groups=3)
    full = [signal.correlate2d(np.pad(c.astype(float), pad), kernel.astype(float), "valid") for c in image]
    exact = np.stack(full)[:, ::factor, ::factor]
    check(f"downsample, stride {factor}", y, exact, exact, kernel.size)
    return y / conv2d(np.ones_like(image), weight, stride=factor, padding=pad, groups=3)


def larger(image: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear interpolation as a transposed convolution of stride ``factor``."""
    kernel = bilinear(factor)
    cut = factor // 2
    weight = np.stack([kernel[None]] * 3)
    y = conv_transpose2d(image, weight, stride=factor, padding=cut, groups=3)
    exact = []
    for colour in image:
        spread = np.zeros([(n - 1) * factor + 1 for n in colour.shape])
        spread[::factor, ::factor] = colour
        exact.append(signal.convolve2d(spread, kernel.astype(float))[cut:-cut, cut:-cut])
    check(f"bilinear upsample, stride {factor}", y, np.stack(exact), np.stack(exact), 4)
    return y / conv_transpose2d(np.ones_like(image), weight, stride=factor, padding=cut, groups=3)


def main(path: Path) -> None:
    """Compute, check, and draw eight panels."""
    photo = data.astronaut()
    image = np.ascontiguousarray(photo.transpose(2, 0, 1), np.float32) / 255
    grey = np.ascontiguousarray(image.mean(axis=0))
    small = smaller(image, 8)
    panels = {
        f"original, {photo.shape[0]}x{photo.shape[1]}": image,
        "depthwise Gaussian blur, sigma 5": blur(image, 5.0),
        f"Gaussian at stride 8: {small.shape[1]}x{small.shape[2]}": small,
        f"back to {small.shape[1] * 8}x{small.shape[2] * 8}: transposed, bilinear": larger(small, 8),
        **{f"Sobel edges, dilation {d}": edges(grey, d) for d in DILATIONS},
    }
    figure, places = plt.subplots(2, 4, figsize=(14, 7.6), layout="constrained")
    for place in places.flat:
        place.set_axis_off()
    for place, (title, picture) in zip(places.flat, panels.items(), strict=False):
        place.set_title(title)
        if picture.ndim == 3:
            place.imshow(np.clip(picture.transpose(1, 2, 0), 0, 1), interpolation="nearest")
        else:
            place.imshow(picture, cmap="gray", vmin=0, vmax=np.percentile(picture, 99.5))
    figure.savefig(path, dpi=100)
    print(f"saved {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/photo.py PICTURE.png")
    main(Path(sys.argv[1]))

"""Learned enlarging by four: the checkerboard of transposed convolutions, where it comes from, and two cures.

    python examples/upsample.py upsample.png

Three small networks double the size twice. They learn from pieces of one photograph to undo its shrinking, and are
tested on another, beside the usual interpolations. A transposed convolution of stride 2 and kernel 3 adds up one
product along an axis at even pixels and two at odd ones, a pattern that its weights can only learn to balance. A kernel
that the stride divides has as many products everywhere; a convolution after nearest-neighbour enlarging has one set of
weights for all pixels. (A. Odena et al., "Deconvolution and Checkerboard Artifacts", Distill, 2016.)

What is left of the pattern shows in an even grey: the lower row is the response to it, and how far its pixels differ.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scipy import ndimage
from skimage import data

from numbaconv import nn

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

FACTOR, STEPS, BATCH, PIECE = 4, 600, 8, 16


class Nearest(nn.Module):
    """Every pixel becomes four; backward, four become their sum."""

    def forward(self, x: Any) -> np.ndarray:
        """Twice as many rows and columns."""
        return x.repeat(2, axis=-1).repeat(2, axis=-2)

    def backward(self, grad_output: Any) -> np.ndarray:
        """Half as many."""
        *lead, height, width = grad_output.shape
        return grad_output.reshape(*lead, height // 2, 2, width // 2, 2).sum(axis=(-3, -1))


def network(kind: str) -> nn.Sequential:
    """Two doublings between convolutions; only how they double differs."""
    rng = np.random.default_rng(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 16, 3, padding=1, rng=rng), nn.ReLU()]
    for channels in (16, 1):
        if kind == "transposed, kernel 3":
            layers.append(nn.ConvTranspose2d(16, channels, 3, stride=2, padding=1, output_padding=1, rng=rng))
        elif kind == "transposed, kernel 4":
            layers.append(nn.ConvTranspose2d(16, channels, 4, stride=2, padding=1, rng=rng))
        else:
            layers += [Nearest(), nn.Conv2d(16, channels, 3, padding=1, rng=rng)]
        layers.append(nn.ReLU())
    return nn.Sequential(*layers[:-1])


LEARNT = ("transposed, kernel 3", "transposed, kernel 4", "resize, then convolve")


def shrunk(image: np.ndarray) -> np.ndarray:
    """Means of squares of pixels."""
    *lead, height, width = image.shape
    return image.reshape(*lead, height // FACTOR, FACTOR, width // FACTOR, FACTOR).mean(axis=(-3, -1))


def learn(model: nn.Sequential, image: np.ndarray) -> None:
    """Every step, BATCH pieces from anywhere in the photograph, values around 0."""
    rng = np.random.default_rng(1)
    adam = nn.Adam(model.parameters(), lr=3e-3)
    size = PIECE * FACTOR
    for step in range(STEPS):
        adam.lr = 3e-3 * (1 - step / STEPS)
        corners = rng.integers(0, image.shape[0] - size, (BATCH, 2))
        pieces = np.stack([image[i : i + size, j : j + size] for i, j in corners])[:, None]
        _, gradient = nn.mse_loss(model(shrunk(pieces)), pieces)
        model.backward(gradient)
        adam.step()


def enlarged(model: nn.Sequential, x: np.ndarray) -> np.ndarray:
    """One picture through the network."""
    return model(x[None, None])[0, 0]


def grey(photograph: np.ndarray) -> np.ndarray:
    """One channel, from -0.5 to 0.5."""
    return (photograph.reshape(*photograph.shape[:2], -1).mean(axis=2) / 255 - 0.5).astype(np.float32)


def main(path: Path) -> None:
    """Learn, enlarge, measure, draw."""
    seen, unseen = grey(data.astronaut()), grey(data.camera())
    small, flat = shrunk(unseen), np.full((32, 32), 0.2, np.float32)
    methods = {
        "nearest": lambda x: ndimage.zoom(x, FACTOR, order=0, grid_mode=True, mode="nearest"),
        "bilinear": lambda x: ndimage.zoom(x, FACTOR, order=1, grid_mode=True, mode="nearest"),
        "bicubic": lambda x: ndimage.zoom(x, FACTOR, order=3, grid_mode=True, mode="nearest"),
    }
    for kind in LEARNT:
        model = network(kind)
        learn(model, seen)
        methods[kind] = partial(enlarged, model.eval())
    figure, places = plt.subplots(2, 1 + len(methods), figsize=(17.5, 5.8), layout="constrained")
    shown, inside = np.s_[60:188, 180:308], np.s_[32:-32, 32:-32]
    ripple = {}
    for (name, enlarge), (above, below) in zip(methods.items(), places.T[1:], strict=True):
        picture, even = enlarge(small), enlarge(flat)[inside]
        error = np.sqrt(np.mean((picture - unseen)[8:-8, 8:-8] ** 2))
        ripple[name] = float(even.std()) * 255
        print(f"{name:<22} PSNR {-20 * np.log10(error):.2f} dB, ripple on even grey {ripple[name]:.2f} of 255")
        above.imshow(picture[shown], cmap="gray", vmin=-0.5, vmax=0.5, interpolation="nearest")
        above.set_title(f"{name}\nPSNR {-20 * np.log10(error):.2f} dB")
        middle = even.mean()
        below.imshow(even[:24, :24], cmap="gray", vmin=middle - 0.05, vmax=middle + 0.05, interpolation="nearest")
        below.set_title(f"ripple {ripple[name]:.2f} of 255")
    places[0, 0].imshow(unseen[shown], cmap="gray", vmin=-0.5, vmax=0.5, interpolation="nearest")
    places[0, 0].set_title("original, a part")
    places[1, 0].text(0.5, 0.5, "an even grey\nenlarged,\ncontrast x10", ha="center", va="center", fontsize=13)
    for place in places.flat:
        place.set_axis_off()
    figure.suptitle(f"Enlarged by {FACTOR}: three interpolations, three networks after {STEPS} steps of learning")
    figure.savefig(path, dpi=90)
    uneven, even, resized = (ripple[kind] for kind in LEARNT)
    assert uneven > 2 * max(even, resized), "the uneven kernel should ripple far more than the cures"
    print(f"saved {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/upsample.py PICTURE.png")
    main(Path(sys.argv[1]))

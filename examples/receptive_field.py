"""Why dilations must not share a factor: what one output of three 3x3 layers sees, and by which paths.

    python examples/receptive_field.py field.png

Three times dilation 2 sees only every other pixel, neighbouring outputs see none in common ("gridding"); dilations 1, 2
and 5 see every pixel of a larger square (hybrid dilated convolution: P. Wang et al., "Understanding Convolution for
Semantic Segmentation", WACV 2018, arXiv:1702.08502). The counts are checked against a convolution of ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

from numbaconv import Layer, ReceptiveField, conv_transpose2d, receptive_field

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

STACKS = {
    "dilations 1, 1, 1: dense, but near": (1, 1, 1),
    "dilations 2, 2, 2: wide, but gridded": (2, 2, 2),
    "dilations 1, 2, 5: wider, without a gap": (1, 2, 5),
}


def check(field: ReceptiveField, dilations: tuple[int, ...]) -> None:
    """A one, sent back through the layers, must arrive at each pixel as often as was counted."""
    y = np.ones((1, 1, 1, 1))
    for dilation in reversed(dilations):
        y = conv_transpose2d(y, np.ones((1, 1, 3, 3)), dilation=dilation)
    assert np.array_equal(y[0, 0], field.coverage())


def main(path: Path) -> None:
    """Count, check, print, draw."""
    figure, places = plt.subplots(2, 3, figsize=(13.5, 8.6), layout="constrained", height_ratios=(1, 2.2))
    fields = [receptive_field([Layer(3, padding=d, dilation=d) for d in dilations]) for dilations in STACKS.values()]
    reach = max(field.size[0] for field in fields) / 2 + 0.5
    for (title, dilations), field, (above, below) in zip(STACKS.items(), fields, places.T, strict=True):
        check(field, dilations)
        print(f"{title}\n{field}\n")
        field.plot_paths(above)
        above.set_yticks(range(4), ["input", *(f"dilation {d}" for d in dilations)])
        above.set(xlim=(-reach, reach))
        above.set_title(title, fontweight="bold")
        field.plot(below)
        seen = np.count_nonzero(field.coverage())
        height, width = field.size
        below.set(xlim=(-reach, reach), ylim=(reach, -reach))
        below.set_title(f"{seen} of {height} x {width} pixels seen, {float(field.seen()):.0%}")
    figure.suptitle(
        "What one output of three 3x3 layers sees of its input, along one axis and in the plane\n"
        "numbers count the paths from a pixel to the output; from the pale red ones there is none\n",
        fontsize=12,
    )
    figure.savefig(path, dpi=100)
    print(f"saved {path}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/receptive_field.py PICTURE.png")
    main(Path(sys.argv[1]))

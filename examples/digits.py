"""A small network learns to read scikit-learn's handwritten digits: over 97 % of those it has not seen, in seconds.

    python examples/digits.py digits.png

Three convolutions, the last at stride 2 instead of pooling, and one linear layer, with `numbaconv.nn`. The picture
has the loss of every step, the accuracy after every epoch, the first filters, and the digits that were misread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from numbaconv import nn

mpl.use("Agg")
from matplotlib import pyplot as plt  # after the backend is chosen

EPOCHS, BATCH = 15, 32


def accuracy(network: nn.Module, x: np.ndarray, target: np.ndarray) -> float:
    """The share of images whose highest score is that of their class."""
    network.eval()
    return float((network(x).argmax(axis=1) == target).mean())


def learn(network: nn.Module, x: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> Iterator[list[float]]:
    """Train on the images in chance order; yield the losses of each epoch."""
    adam = nn.Adam(network.parameters(), lr=3e-3)
    for epoch in range(EPOCHS):
        adam.lr = 3e-3 * (1 - epoch / EPOCHS)
        network.train()
        losses = []
        for chosen in np.array_split(rng.permutation(len(x)), len(x) // BATCH):
            loss, gradient = nn.cross_entropy(network(x[chosen]), target[chosen])
            network.backward(gradient)
            adam.step()
            losses.append(loss)
        yield losses


def main(path: Path) -> None:
    """Train, test, draw."""
    images, classes = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    x, x_test, target, target_test = train_test_split(images, classes, test_size=0.25, random_state=0, stratify=classes)
    rng = np.random.default_rng(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, rng=rng),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, rng=rng),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 10, rng=rng),
    )
    print(network)
    losses, seen, unseen = [], [], []
    start = time.perf_counter()
    for epoch in learn(network, x, target, rng):
        losses += epoch
        seen.append(accuracy(network, x, target))
        unseen.append(accuracy(network, x_test, target_test))
        print(
            f"epoch {len(seen):2}: loss {np.mean(epoch):.4f}, accuracy {seen[-1]:.2%}, on the test set {unseen[-1]:.2%}"
        )
    print(f"{len(losses)} steps in {time.perf_counter() - start:.1f} s, compiling or loading machine code included")
    assert unseen[-1] >= 0.97, f"only {unseen[-1]:.2%} of the test set are read right"
    draw(path, network, (losses, seen, unseen), x_test, target_test)
    print(f"saved {path}")


def draw(
    path: Path, network: nn.Sequential, curves: tuple[list[float], ...], x: np.ndarray, target: np.ndarray
) -> None:
    """Curves above; below, on the left the first filters, on the right what was misread."""
    losses, seen, unseen = curves
    figure = plt.figure(figsize=(12, 7.5), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    left, right = above.subplots(1, 2)
    steps = np.arange(1, len(losses) + 1)
    per_epoch = len(losses) // len(seen)
    left.semilogy(steps, losses, color="0.75", linewidth=0.8, label="each step")
    smooth = np.convolve(losses, np.ones(per_epoch) / per_epoch, "valid")
    left.semilogy(steps[per_epoch - 1 :], smooth, color="C0", label=f"mean of the last {per_epoch}")
    left.set(xlabel="step", ylabel="cross entropy", title="Loss on the training set")
    epochs = np.arange(1, len(seen) + 1)
    right.plot(epochs, 100 * np.array(seen), "o-", label=f"training set, {seen[-1]:.1%} at the end")
    right.plot(epochs, 100 * np.array(unseen), "s-", label=f"test set, {unseen[-1]:.1%} at the end")
    right.axhline(97, color="0.5", linestyle=":", label="97 %")
    right.set(xlabel="epoch", ylabel="read right, %", title="Accuracy")
    for place in (left, right):
        place.grid(alpha=0.3)
        place.legend()
    filters, misread = below.subfigures(1, 2)
    weight = network[0].weight.data
    filters.suptitle(f"The {len(weight)} filters of the first layer: red adds, blue subtracts")
    for place, kernel in zip(filters.subplots(2, 8).flat, weight[:, 0], strict=True):
        place.imshow(kernel, cmap="coolwarm", vmin=-abs(weight).max(), vmax=abs(weight).max())
        place.set_axis_off()
    read = network.eval()(x).argmax(axis=1)
    wrong = np.flatnonzero(read != target)
    misread.suptitle(f"{len(wrong)} of {len(x)} in the test set are misread")
    for place in misread.subplots(2, 6).flat:
        place.set_axis_off()
    for place, i in zip(misread.axes, wrong, strict=False):
        place.imshow(x[i, 0], cmap="gray_r")
        place.set_title(f"{target[i]}, read {read[i]}", fontsize=9)
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python examples/digits.py PICTURE.png")
    main(Path(sys.argv[1]))

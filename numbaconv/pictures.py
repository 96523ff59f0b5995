"""Pictures of receptive fields, with matplotlib: what one output sees, and by which paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DARK, PALE = "#0b4a6f", "#b9c0c7"
COLORS = ("#d6eaf5", "#6bb1d6", "#1f78b4", DARK)  # from the least seen to the most
UNSEEN = "#fbe3d6"
NUMBERED, LINED = 21, 64  # pixels across, up to which a cell has room for its number, or for lines around it


def draw_coverage(starts: Sequence[int], counts: Sequence[np.ndarray], ax: Axes | None) -> Axes:
    """One cell for each pixel of the field, the darker the more paths lead to it; bars where there is one axis."""
    ax = _axes(ax)
    from matplotlib.colors import LinearSegmentedColormap

    shares = [np.array([count / max(line) for count in line], float) for line in counts]  # of counts beyond any float
    edges = [(start - 0.5, start + len(line) - 0.5) for start, line in zip(starts, counts, strict=True)]
    if len(counts) == 1:
        ax.bar(np.arange(len(shares[0])) + starts[0], shares[0], width=1, color=DARK, edgecolor="white")
        ax.set(xlim=edges[0], ylim=(0, 1.05), xlabel="pixel", ylabel="paths, share of the most")
        return ax
    share = np.multiply.outer(*shares)
    across = max(share.shape)
    # The square root, because counts fall off like a Gaussian: on a linear scale its flanks would look unseen.
    picture = np.ma.masked_equal(np.sqrt(share), 0)
    colors = LinearSegmentedColormap.from_list("paths", COLORS).with_extremes(bad=UNSEEN)
    lines: dict[str, Any] = {"edgecolors": "white", "linewidth": 0.8} if across <= LINED else {}
    rows, columns = (np.linspace(*ends, len(line) + 1) for ends, line in zip(edges, counts, strict=True))
    ax.pcolormesh(columns, rows, picture, cmap=colors, vmin=0, vmax=1, **lines)
    ax.set(aspect="equal", xlim=edges[1], ylim=edges[0][::-1], xlabel="pixel", ylabel="pixel")
    if across <= NUMBERED:
        for (row, column), value in np.ndenumerate(share):
            number = str(counts[0][row] * counts[1][column]) if value else ""
            ax.text(column + starts[1], row + starts[0], number, ha="center", va="center", fontsize=6,
                    color="white" if value > 0.2 else DARK)  # fmt: skip
    ax.locator_params(integer=True)
    ax.spines[:].set_visible(False)
    return ax


def draw_paths(
    levels: Sequence[Sequence[int]],
    links: Sequence[Sequence[tuple[int, int]]],
    places: Sequence[tuple[float, float]],
    names: Sequence[str],
    ax: Axes | None,
) -> Axes:
    """Levels from the input below to the output above, each unit where the middle of its field is.

    ``levels`` has the units that are seen, ``links`` the pairs (unit, unit of the level below) between two levels,
    ``places`` for each level where unit 0 is and the step to the next one.
    """
    ax = _axes(ax)
    for level, pairs in enumerate(links):
        (first_below, step_below), (first, step) = places[level : level + 2]
        for unit, below in pairs:
            ends = [first_below + below * step_below, first + unit * step]
            ax.plot(ends, [level, level + 1], color=COLORS[2], linewidth=0.8, zorder=1)
    for level, (units, (first, step)) in enumerate(zip(levels, places, strict=True)):
        within = np.arange(min(units, default=0), max(units, default=-1) + 1)
        is_seen = np.isin(within, units)
        for seen, fill, edge in ((True, DARK, DARK), (False, "white", PALE)):
            dots = within[is_seen == seen]
            ax.scatter(first + dots * step, np.full(len(dots), level), s=22, zorder=2, facecolor=fill, edgecolor=edge)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("pixel")
    ax.locator_params(axis="x", integer=True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _axes(ax: Axes | None) -> Any:
    """``ax``, or the axes of a new figure."""
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "numbaconv[plot]"') from error
    return plt.subplots(layout="constrained")[1] if ax is None else ax

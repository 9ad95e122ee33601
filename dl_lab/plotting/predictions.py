"""Figures about predictions: confusion, precision and recall, reliability, and numbers against numbers."""

from collections.abc import Mapping, Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from dl_lab.plotting.figures import Numbers, array, panel
from dl_lab.plotting.names import plain, ticks, wrapped

if TYPE_CHECKING:
    from matplotlib.axis import Axis

MOST_COUNTS = 20  # classes of a confusion matrix with a number in each cell
MOST_NAMES = 100  # classes with their names
MOST_PANELS = 9


def confusion(counts: Numbers, names: Sequence[str], title: str) -> Figure:
    """Counts (actual, predicted), colored by their share of the actual class, so that rare classes are visible."""
    cells, few = array(counts), len(names) <= MOST_COUNTS
    shares = cells / np.maximum(cells.sum(1, keepdims=True), np.finfo(float).tiny)
    side = max(4.8, 0.5 * len(cells) + 2 if few else 0.2 * min(len(cells), MOST_NAMES) + 3)
    figure, axes = panel(title, "predicted", "actual", (side + 0.8, side))
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    figure.colorbar(image, label="share of the actual class")
    _name_places(axes.xaxis, names, rotation=45 if few else 90, ha="right" if few else "center")
    _name_places(axes.yaxis, names)
    for (row, column), count in np.ndenumerate(cells) if few else ():
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count:.4g}", ha="center", va="center", color=color, fontsize=8)
    return figure


def bars(groups: Mapping[str, Numbers], names: Sequence[str], title: str, x: str) -> Figure:
    """For each name one bar per group, side by side, with values from 0 to 1."""
    figure, axes = panel(title, x, "", (max(6.4, 0.2 * min(len(names), MOST_NAMES) + 1.5), 4.4))
    for number, (name, values) in enumerate(groups.items()):
        heights, width = array(values), 0.8 / len(groups)
        axes.bar(np.arange(len(heights)) + (number + 0.5) * width - 0.4, heights, width, label=plain(name))
    few = len(names) <= MOST_COUNTS
    _name_places(axes.xaxis, names, rotation=45 if few else 90, ha="right" if few else "center")
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 1.02)
    figure.legend(loc="outside lower right", ncols=len(groups), fontsize=9, frameon=False)
    return figure


def _name_places(axis: "Axis", names: Sequence[str], **look: Any) -> None:
    """Name the places 0, 1, ... of an axis; if there are too many, their numbers stay."""
    if len(names) <= MOST_NAMES:
        axis.set_ticks(range(len(names)), ticks(names), fontsize=9 if len(names) <= MOST_COUNTS else 7, **look)


def reliability(share: Numbers, confidence: Numbers, accuracy: Numbers, title: str) -> Figure:
    """Accuracy by confidence, a point for each bin with examples, whose area is its share of the examples."""
    figure, axes = panel(title, "probability of the predicted class", "accuracy")
    sizes, across, up = (array(values)[array(share) > 0] for values in (share, confidence, accuracy))
    axes.plot([0, 1], [0, 1], "--", color="gray", label="calibrated")
    axes.plot(across, up, color="tab:blue", linewidth=0.8)
    axes.scatter(across, up, s=8 + 400 * sizes, color="tab:blue", alpha=0.7)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05))
    axes.grid(alpha=0.3)
    axes.scatter([], [], s=40, color="tab:blue", alpha=0.7, label="model; area: share of examples")
    figure.legend(loc="outside lower right", ncols=2, fontsize=9, frameon=False)
    return figure


def scatters(
    groups: Mapping[str, tuple[Numbers, Numbers]], title: str, x: str, y: str, diagonal: bool = False
) -> Figure:
    """Points (x, y), a panel with its own scales for each of the first groups, and the line y = x or y = 0."""
    shown = list(groups.items())[:MOST_PANELS]
    columns = ceil(sqrt(len(shown)))
    size = (6.4, 4.4) if columns == 1 else (3.6 * columns, 3.2 * ceil(len(shown) / columns) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(wrapped(title, size[0]))
    figure.supxlabel(x, fontsize=10)
    figure.supylabel(y, fontsize=10)
    panels = np.ravel(figure.subplots(ceil(len(shown) / columns), columns, squeeze=False))
    for axes, (name, (across, up)) in zip(panels, shown, strict=False):
        axes.scatter(array(across), array(up), s=14, alpha=0.6)
        if diagonal:
            axes.axline((float(array(across).mean()),) * 2, slope=1, color="black", linewidth=0.8)
        else:
            axes.axhline(color="black", linewidth=0.8)
        axes.set_title(plain(name, 40), fontsize=10)
        axes.grid(alpha=0.3)
    for axes in panels[len(shown) :]:
        axes.axis("off")
    return figure

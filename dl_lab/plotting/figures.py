"""Figures of tensors and arrays. They do not use pyplot, which would keep every figure in memory."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from dl_lab.plotting.names import plain, ticks, wrapped

if TYPE_CHECKING:
    from torch import Tensor

Numbers: TypeAlias = "ArrayLike | Tensor"


def array(numbers: Numbers) -> NDArray[Any]:
    """Convert a tensor on any device, or numbers, to a NumPy array."""
    tensor: Any = numbers
    return tensor.detach().cpu().numpy() if hasattr(tensor, "detach") else np.asarray(numbers)


def panel(title: str, x: str, y: str, size: tuple[float, float] = (6.4, 4.4)) -> tuple[Figure, Any]:
    """A figure of `size` inches with one pair of axes."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(wrapped(title, size[0]))
    axes.set_xlabel(plain(x))
    axes.set_ylabel(plain(y))
    return figure, axes


def curves(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    title: str,
    x: str,
    y: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    points: tuple[Numbers, Numbers] | None = None,
    bands: Mapping[str, tuple[Numbers, Numbers]] | None = None,
) -> Figure:
    """Lines (x, y) by name, with gray `points` behind them and a band (low, high) around those in `bands`."""
    figure, axes = panel(title, x, y)
    if points is not None:
        axes.scatter(array(points[0]), array(points[1]), s=14, color="gray", alpha=0.6)
    styles = cycle(["-", "--", "-.", ":"] if len(lines) <= 4 else ["-"])  # so that overlapping lines stay visible
    for (name, (across, up)), style in zip(lines.items(), styles, strict=False):
        (line,) = axes.plot(array(across), array(up), style, label=plain(name), linewidth=1.6)
        if bands is not None and name in bands:
            low, high = bands[name]
            axes.fill_between(array(across), array(low), array(high), color=line.get_color(), alpha=0.2)
    axes.set_xscale("log" if log_x else "linear")
    axes.set_yscale("log" if log_y else "linear")
    if not log_x and all(np.array_equal(array(across), np.round(array(across))) for across, _ in lines.values()):
        axes.xaxis.get_major_locator().set_params(integer=True)  # such as layers
    axes.grid(alpha=0.3)
    if len(lines) > 8:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    elif len(lines) > 1:
        axes.legend(fontsize=9)
    return figure


def scatter(
    groups: Mapping[str, tuple[Numbers, Numbers]], title: str, x: str, y: str, diagonal: bool = False
) -> Figure:
    """Points (x, y) by group, and the line y = x if `diagonal`."""
    figure, axes = panel(title, x, y)
    for name, (across, up) in groups.items():
        axes.scatter(array(across), array(up), s=14, alpha=0.7, label=plain(name))
    if diagonal:
        every = np.concatenate([array(values).ravel() for pair in groups.values() for values in pair])
        axes.plot([every.min(), every.max()], [every.min(), every.max()], color="black", linewidth=0.8)
    axes.grid(alpha=0.3)
    if len(groups) > 1:
        axes.legend(fontsize=9)
    return figure


def decision_boundary(
    grid_x: Numbers,
    grid_y: Numbers,
    classes: Numbers,
    points: Numbers,
    labels: Numbers,
    names: Sequence[str],
    title: str,
    axes_names: Sequence[str],
) -> Figure:
    """Predicted `classes` (row, column) on a grid, with points (example, 2) and their `labels` (example,). `names` are
    those of the classes.
    """
    figure, axes = panel(title, axes_names[0], axes_names[1], (5.4, 5.2))
    number = int(max(array(classes).max(), array(labels).max())) + 1
    colors = {"cmap": "tab10", "vmin": 0, "vmax": 9} if number > 2 else {"cmap": "coolwarm", "vmin": 0, "vmax": 1}
    axes.pcolormesh(array(grid_x), array(grid_y), array(classes), alpha=0.35, shading="auto", **colors)
    where = array(points)
    shown = axes.scatter(where[:, 0], where[:, 1], c=array(labels), s=10, edgecolors="black", linewidths=0.3, **colors)
    (handles, _), present = shown.legend_elements(num=None), np.unique(array(labels))
    words = {"title": "class", "fontsize": 8, "title_fontsize": 8}
    figure.legend(handles, ticks([names[number] for number in present]), loc="outside lower center", ncols=5, **words)
    return figure


def surface_paths(
    grid_x: Numbers,
    grid_y: Numbers,
    heights: Numbers,
    paths: Mapping[str, Numbers],
    title: str,
    axes_names: Sequence[str],
    minimum: Sequence[float] | None = None,
) -> Figure:
    """Contours of `heights` (row, column), log-spaced above the minimum, with paths (step, 2) by name."""
    figure, axes = panel(title, axes_names[0], axes_names[1], (6.8, 5.0))
    surface = array(heights) - array(heights).min()
    top = float(surface.max()) or 1.0
    axes.contour(
        array(grid_x),
        array(grid_y),
        surface,
        levels=np.geomspace(top * 1e-4, top, 16),
        colors="gray",
        linewidths=0.7,
        alpha=0.6,
    )
    for name, path in paths.items():
        across, up = array(path)[:, 0], array(path)[:, 1]
        axes.plot(across, up, marker=".", markersize=4, linewidth=1.2, label=name)
    if minimum is not None:
        axes.scatter(*minimum, marker="*", s=120, color="black", label="minimum", zorder=3)
    axes.set_xlim(array(grid_x).min(), array(grid_x).max())
    axes.set_ylim(array(grid_y).min(), array(grid_y).max())
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


def matrix(
    values: Numbers,
    title: str,
    x: str,
    y: str,
    form: str | None = None,
    colors: str = "Blues",
) -> Figure:
    """A matrix (row, column) as colors, row 0 at the top. `form`, such as "{:d}", writes the number into each cell."""
    cells = array(values)
    side = min(9.0, max(4.8, 0.5 * len(cells) + 2))
    figure, axes = panel(title, x, y, (side + 0.8, side))
    image = axes.imshow(cells, cmap=colors, aspect="auto")
    figure.colorbar(image)
    axes.locator_params(integer=True)  # rows and columns
    if form is not None:
        middle = (cells.max() + cells.min()) / 2
        for (row, column), value in np.ndenumerate(cells):
            color = "white" if value > middle else "black"
            axes.text(column, row, form.format(value.item()), ha="center", va="center", color=color, fontsize=8)
    return figure


def image_grid(
    images: Numbers,
    title: str,
    names: Sequence[str] = (),
    columns: int = 8,
    colors: str = "gray",
    shared: bool = False,
) -> Figure:
    """Images (image, height, width), or (image, height, width, 3) in [0, 1], in rows with their names. `shared` gives
    all of them one scale of brightness, symmetric around 0.
    """
    pixels = array(images)
    columns = min(columns, len(pixels))
    rows = ceil(len(pixels) / columns)
    width = max(1.25 * columns + 0.4, 2.6)
    figure = Figure(figsize=(width, (1.25 + 0.4 * bool(names)) * rows + 0.6), layout="constrained")
    figure.suptitle(wrapped(title, width))
    bound = float(np.abs(pixels).max()) or 1.0
    limits = {"vmin": -bound, "vmax": bound} if shared else {}
    for number, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
        axes.axis("off")
        if number < len(pixels):
            axes.imshow(pixels[number], cmap=colors, **limits)
            if names:
                axes.set_title("\n".join(ticks(names[number].split("\n"))), fontsize=7)
    return figure


def histograms(values: Mapping[str, Numbers], title: str, x: str, bins: int = 60) -> Figure:
    """Histograms by name, stacked over a common axis."""
    figure = Figure(figsize=(6.4, 0.9 * len(values) + 1.2), layout="constrained")
    figure.suptitle(title)
    panels = np.ravel(figure.subplots(len(values), 1, sharex=True, squeeze=False))
    for axes, (name, numbers) in zip(panels, values.items(), strict=True):
        axes.hist(array(numbers).ravel(), bins=bins, color="tab:blue")
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        axes.set_yticks([])
    panels[-1].set_xlabel(x)
    return figure


def graph(places: Mapping[str, tuple[float, float]], edges: Sequence[tuple[str, str]], title: str) -> Figure:
    """A directed graph: names in boxes at (x, y), at least 1 apart, with an arrow for each edge."""
    across, up = np.array(list(places.values())).T
    figure = Figure(figsize=(1.5 * np.ptp(across) + 2.5, 0.62 * np.ptp(up) + 1.6), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.axis("off")
    axes.set_xlim(across.min() - 0.7, across.max() + 0.7)
    axes.set_ylim(up.min() - 0.5, up.max() + 0.5)
    for start, end in edges:
        arrow = {"arrowstyle": "->", "shrinkA": 11, "shrinkB": 11, "color": "gray"}
        axes.annotate("", places[end], places[start], arrowprops=arrow)
    box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "tab:blue"}
    for name, (x, y) in places.items():
        axes.text(x, y, name, ha="center", va="center", fontsize=8, bbox=box)
    return figure

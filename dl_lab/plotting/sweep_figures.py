"""Figures of the results of a sweep. Does not import torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dl_lab.plotting.figures import panel
from dl_lab.plotting.names import plain, ticks

SPREAD = 10.0  # the least ratio of largest to smallest number on a logarithmic axis
MOST_CELLS = 100  # of a heat map with a number in each cell
MOST_VALUES = 20  # on an axis with a mean per value; more need at least four runs per value

Values = Sequence[float | str | bool | None]


def is_logarithmic(values: Values) -> bool:
    """True if values belong on a logarithmic axis: positive numbers, spread by SPREAD or more, whose median is closer
    to the middle there than on a linear axis.
    """
    if len(values) < 2 or not _numeric(values):
        return False
    numbers = np.array(values, dtype=np.float64)
    if numbers.min() <= 0 or numbers.max() < SPREAD * numbers.min():
        return False
    linear, logarithmic = (
        abs((np.median(each) - each.min()) / np.ptp(each) - 0.5) for each in (numbers, np.log(numbers))
    )
    return bool(logarithmic <= linear)


def ordered(values: Values) -> list[Any]:
    """The distinct values, sorted by size if all are numbers, otherwise alphabetically."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct, key=None if _numeric(distinct) else str)


def _numeric(values: Values) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _names(values: Values) -> list[str]:
    short = [f"{value:.3g}" if isinstance(value, float) else value for value in values]
    return ticks(short if len(set(short)) == len(set(values)) else values)


def _scale(axes: Any, places: Mapping[Any, float], numeric: bool, logarithmic: bool) -> None:
    """Put ticks on the x axis at the swept values only."""
    if logarithmic:
        axes.set_xscale("log")
    axes.minorticks_off()
    names = _names(list(places))
    if not numeric or len(places) <= 10:
        long = sum(map(len, names)) > 60
        axes.set_xticks(list(places.values()), names, rotation=30 if long else 0, ha="right" if long else "center")


def by_value(values: Values, scores: Sequence[float], best: str, title: str, x: str, y: str) -> Figure:
    """The score of every run over one swept key: a point per run, a line through the mean at each value, and one
    through the best, which is the "lowest" or "highest". Values drawn at random have points only.
    """
    figure, axes = panel(title, x, y)
    distinct = ordered(values)
    numeric = _numeric(distinct)
    places = {value: float(value) if numeric else float(place) for place, value in enumerate(distinct)}
    across, up = np.array([places[value] for value in values]), np.asarray(scores)
    columns = [up[across == place] for place in places.values()]
    axes.scatter(across, up, s=14, color="gray", alpha=0.5, label="one run")
    if len(distinct) <= max(MOST_VALUES, len(values) / 4):
        line = "-" if numeric else ""
        axes.plot(places.values(), [column.mean() for column in columns], f"o{line}", label="mean at this value")
        extreme = [column.min() if best == "lowest" else column.max() for column in columns]
        axes.plot(places.values(), extreme, f"s{line}", markersize=4, label=f"{best} at this value")
    _scale(axes, places, numeric, is_logarithmic(distinct))
    if is_logarithmic(scores):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def bands(curves: Mapping[str, tuple[Any, Any, Any, Any]], title: str, x: str, y: str) -> Figure:
    """Lines by name with a band around each, from (steps, mean, lower, upper), each (step,)."""
    figure, axes = panel(title, x, y, (6.4, 5.0))
    for name, (steps, mean, lower, upper) in curves.items():
        (line,) = axes.plot(steps, mean, label=plain(name), linewidth=1.6, marker="o" if len(steps) == 1 else None)
        axes.fill_between(steps, lower, upper, color=line.get_color(), alpha=0.15, linewidth=0)
    if is_logarithmic(np.concatenate([np.asarray(mean) for _, mean, _, _ in curves.values()]).tolist()):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    columns = 2 if sum(map(len, curves)) < 40 * len(curves) else 1
    figure.legend(loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    return figure


def heat_map(
    across: Values, up: Values, scores: Sequence[float], best: str, title: str, names: tuple[str, str, str]
) -> Figure:
    """The mean score for each pair of two swept values, dark for good scores; `names` are those of x, y and the score.
    If fewer than half of the pairs were tried, a point per run.
    """
    columns, rows = ordered(across), ordered(up)
    if 2 * len(set(zip(across, up, strict=True))) < len(columns) * len(rows):
        return _points(across, up, scores, best, names)
    sums, counts = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)))
    for x, y, score in zip(across, up, scores, strict=True):
        sums[rows.index(y), columns.index(x)] += score
        counts[rows.index(y), columns.index(x)] += 1
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    size = (max(5.0, 0.75 * len(columns) + 2.4), max(3.6, 0.5 * len(rows) + 1.6))
    figure, axes = panel(title, names[0], names[1], (min(size[0], 12.0), min(size[1], 9.0)))
    logarithmic = is_logarithmic(means[counts > 0].tolist())
    colors = "viridis_r" if best == "highest" else "viridis"
    image = axes.imshow(means, cmap=colors, norm="log" if logarithmic else None, origin="lower", aspect="auto")
    figure.colorbar(image, ax=axes, label=plain(names[2]))
    for axis, labels in ((axes.xaxis, columns), (axes.yaxis, rows)):
        axis.set_ticks(range(len(labels)), _names(labels))
    axes.tick_params("x", rotation=90 if len(columns) > 12 else 0)
    if means.size <= MOST_CELLS:
        for (row, column), mean in np.ndenumerate(means):
            if counts[row, column]:
                red, green, blue, _ = image.cmap(image.norm(mean))
                dark = 0.3 * red + 0.6 * green + 0.1 * blue < 0.5
                ink = "white" if dark else "black"
                axes.text(column, row, f"{mean:.3g}", ha="center", va="center", color=ink, fontsize=8)
    return figure


def _points(across: Values, up: Values, scores: Sequence[float], best: str, names: tuple[str, str, str]) -> Figure:
    figure, axes = panel(f"{names[2]} of every run", names[0], names[1])
    colors = "viridis_r" if best == "highest" else "viridis"
    norm = "log" if is_logarithmic(scores) else None
    places = [each if _numeric(each) else [ordered(each).index(value) for value in each] for each in (across, up)]
    points = axes.scatter(*places, c=scores, cmap=colors, norm=norm, s=28)
    for axis, each in ((axes.xaxis, across), (axes.yaxis, up)):
        if not _numeric(each):
            axis.set_ticks(range(len(ordered(each))), _names(ordered(each)))
    axes.set_xscale("log" if is_logarithmic(across) else axes.get_xscale())
    axes.set_yscale("log" if is_logarithmic(up) else axes.get_yscale())
    axes.grid(alpha=0.3)
    figure.colorbar(points, ax=axes, label=plain(names[2]))
    return figure


def importances(keys: Sequence[str], means: Sequence[float], deviations: Sequence[float], title: str) -> Figure:
    """Horizontal bars of importance by key. The seed is gray: what is not longer than its bar is chance."""
    figure, axes = panel(title, "decrease of R² when shuffled", "", (6.4, 0.42 * len(keys) + 1.6))
    colors = ["silver" if key == "seed" else "tab:blue" for key in keys]
    axes.barh(range(len(keys)), means, xerr=deviations, color=colors, capsize=3)
    axes.set_yticks(range(len(keys)), [plain(key, 40) for key in keys])
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    return figure

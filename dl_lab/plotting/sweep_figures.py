"""Results of a sweep to matplotlib Figures; pure, never pyplot, and free of torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

SPREAD = 10.0  # largest over smallest, from which on numbers are told apart on a logarithmic axis alone
MOST_CELLS = 100  # of a heat map, up to which each has its number
MOST_VALUES = 20  # on an axis, up to which each is a place of its own; beyond, if it has runs enough

Values = Sequence[float | str | bool | None]


def _panel(title: str, x: str, y: str, size: tuple[float, float] = (6.4, 4.4)) -> tuple[Figure, Any]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def is_logarithmic(values: Values) -> bool:
    """Whether numbers belong on a logarithmic axis: all positive, spread by SPREAD, and more even there, by where their
    median lies, than on a linear one.
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
    """Distinct values in order: of size where all are numbers, else of the alphabet."""
    distinct = list(dict.fromkeys(values))
    return sorted(distinct, key=None if _numeric(distinct) else str)


def _numeric(values: Values) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _scale(axes: Any, places: Mapping[Any, float], numeric: bool, logarithmic: bool) -> None:
    """Name the swept values on the x axis, and only them."""
    if logarithmic:
        axes.set_xscale("log")
    axes.minorticks_off()
    names = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in places]
    if not numeric or len(places) <= 10:
        long = sum(map(len, names)) > 60
        axes.set_xticks(list(places.values()), names, rotation=30 if long else 0, ha="right" if long else "center")


def by_value(values: Values, scores: Sequence[float], best: str, title: str, x: str, y: str) -> Figure:
    """The score of every run over one swept value: a point a run, a line through the mean at each value, whatever else
    was swept, and one through the best, which is the "lowest" or "highest". Of values drawn at random, points alone.
    """
    figure, axes = _panel(title, x, y)
    distinct = ordered(values)
    numeric = _numeric(distinct)
    places = {value: float(value) if numeric else float(place) for place, value in enumerate(distinct)}
    across, up = np.array([places[value] for value in values]), np.asarray(scores)
    columns = [up[across == place] for place in places.values()]
    axes.scatter(across, up, s=14, color="grey", alpha=0.5, label="a run")
    if len(distinct) <= max(MOST_VALUES, len(values) / 4):
        line = "-" if numeric else ""
        axes.plot(places.values(), [column.mean() for column in columns], f"o{line}", label="mean of all runs there")
        extreme = [column.min() if best == "lowest" else column.max() for column in columns]
        axes.plot(places.values(), extreme, f"s{line}", markersize=4, label=f"{best} there")
    _scale(axes, places, numeric, is_logarithmic(distinct))
    if is_logarithmic(scores):
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def bands(curves: Mapping[str, tuple[Any, Any, Any, Any]], title: str, x: str, y: str) -> Figure:
    """Lines by name with a band around each: steps, mean, lower, upper, each (step,)."""
    figure, axes = _panel(title, x, y, (6.4, 5.0))
    for name, (steps, mean, lower, upper) in curves.items():
        (line,) = axes.plot(steps, mean, label=name, linewidth=1.6, marker="o" if len(steps) == 1 else None)
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
    """Mean score for every pair of two swept values, dark where it is good; `names` are of x, y and the score. Where
    fewer than half of the pairs were tried, a point a run.
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
    figure, axes = _panel(title, names[0], names[1], (min(size[0], 12.0), min(size[1], 9.0)))
    logarithmic = is_logarithmic(means[counts > 0].tolist())
    colours = "viridis_r" if best == "highest" else "viridis"
    image = axes.imshow(means, cmap=colours, norm="log" if logarithmic else None, origin="lower", aspect="auto")
    figure.colorbar(image, ax=axes, label=names[2])
    for axis, labels in ((axes.xaxis, columns), (axes.yaxis, rows)):
        axis.set_ticks(range(len(labels)), [f"{each:.3g}" if isinstance(each, float) else str(each) for each in labels])
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
    figure, axes = _panel(f"{names[2]} of every run", names[0], names[1])
    colours = "viridis_r" if best == "highest" else "viridis"
    norm = "log" if is_logarithmic(scores) else None
    places = [each if _numeric(each) else list(map(str, each)) for each in (across, up)]
    points = axes.scatter(*places, c=scores, cmap=colours, norm=norm, s=28)
    axes.set_xscale("log" if is_logarithmic(across) else axes.get_xscale())
    axes.set_yscale("log" if is_logarithmic(up) else axes.get_yscale())
    axes.grid(alpha=0.3)
    figure.colorbar(points, ax=axes, label=names[2])
    return figure


def importances(keys: Sequence[str], means: Sequence[float], deviations: Sequence[float], title: str) -> Figure:
    """Horizontal bars of importance, the greatest on top, the seed's in grey: what is no longer is chance."""
    figure, axes = _panel(title, "fall of R² when shuffled", "", (6.4, 0.42 * len(keys) + 1.6))
    colours = ["silver" if key == "seed" else "tab:blue" for key in keys]
    axes.barh(keys, means, xerr=deviations, color=colours, capsize=3)
    axes.invert_yaxis()
    axes.grid(alpha=0.3, axis="x")
    return figure

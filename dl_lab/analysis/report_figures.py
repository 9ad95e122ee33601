"""The figures of a comparison, as PNG and in TensorBoard, with the table and curves with bands (CUSTOM SCALARS)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dl_lab.analysis.comparison import Comparison, Configuration
from dl_lab.analysis.importance import Importance, importance
from dl_lab.plotting import sweep_figures
from dl_lab.runs.reader import PARTS
from dl_lab.runs.tensorboard import EventWriter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CURVES = 6  # of the best configurations; TensorBoard has seven colors
MOST_KEYS = 12  # figures of one swept key
UNITS = {
    "accuracy": "fraction of examples",
    "nats": "nats a token",
    "bits_per_character": "bits",
    "bits_per_byte": "bits",
    "seconds": "s",
}
Curve = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def with_unit(metric: str) -> str:
    """The label of an axis: the metric with its unit."""
    unit = UNITS.get(metric.rpartition("/")[2])
    return f"{metric} ({unit})" if unit else metric


def curve_names(metric: str) -> list[str]:
    """The curves to draw for a metric, the validation curve first; test metrics have no curve."""
    part, _, name = metric.partition("/")
    names = [f"val/{name}" if part in PARTS else metric, "val/loss", "train/loss"]
    return list(dict.fromkeys(each for each in names if "/" in each))


def mean_curve(configuration: Configuration, name: str) -> Curve | None:
    """The common steps of all seeds, and the mean, minimum and maximum over seeds there; None without common steps."""
    curves = [curve for run in configuration.completed.values() if (curve := run.curve(name))]
    if not curves:
        return None
    steps = sorted(set.intersection(*map(set, curves)))
    if not steps:
        return None
    values = np.array([[curve[step] for step in steps] for curve in curves])
    return np.array(steps, dtype=np.float64), values.mean(0), values.min(0), values.max(0)


def curves_of(comparison: Comparison, name: str) -> dict[str, Curve]:
    """The curves of the best configurations, by label."""
    found = {comparison.label(each): mean_curve(each, name) for each in comparison.ranked[:MOST_CURVES]}
    return {label: curve for label, curve in found.items() if curve is not None}


def draw(comparison: Comparison) -> "dict[str, Figure]":
    """All figures of the comparison, by name."""
    best, metric = "highest" if comparison.higher else "lowest", with_unit(comparison.metric)
    rows = [(each, score) for each in comparison.ranked for score in each.scores.values()]
    scores = [score for _, score in rows]
    values = {key: [each.values.get(key) for each, _ in rows] for key in comparison.keys}
    swept = [key for key in comparison.keys if len(set(values[key])) > 1]
    figures = {
        f"by {key}": sweep_figures.by_value(values[key], scores, best, f"{comparison.metric} by {key}", key, metric)
        for key in swept[:MOST_KEYS]
    }
    found = importance(comparison)
    if found is not None:
        figures["importance"] = _importance(comparison, found)
    pair = [key for key in (found.keys if found else swept) if key in swept][:2]
    if len(pair) == 2:
        title = f"{comparison.metric}: mean over all other keys and seeds"
        names = (pair[0], pair[1], metric)
        figures["heat map"] = sweep_figures.heat_map(values[pair[0]], values[pair[1]], scores, best, title, names)
    for name in curve_names(comparison.metric)[:1]:
        if curves := curves_of(comparison, name):
            number = f"the best {len(curves)} of {len(comparison.ranked)}" if len(comparison.ranked) > 1 else "all"
            title = f"{name}: mean and range over seeds, {number}"
            figures["curves"] = sweep_figures.bands(curves, title, "step", with_unit(name))
    return figures


def _importance(comparison: Comparison, found: Importance) -> "Figure":
    explained = f"a random forest explains {max(found.fit, 0):.0%} of the out-of-bag variance"
    title = f"Importance of each key for {comparison.metric}\n({explained})"
    return sweep_figures.importances(found.keys, found.means, found.deviations, title)


def file_name(text: str) -> str:
    """Turn a text into a file name that is valid on any system, which limits its bytes."""
    return re.sub(r"[^\w.,=+ -]+", "_", text).encode()[:120].decode(errors="ignore").strip()


def write(comparisons: Sequence[Comparison], text: str, folder: Path, title: str) -> list[list[Path]]:
    """Write all figures as PNG, and to TensorBoard with the text and the curves. Returns the PNGs of each table."""
    writer, charts = EventWriter(folder), []
    paths: list[list[Path]] = []
    (folder / "figures").mkdir()
    for number, comparison in enumerate(comparisons, 1):
        table = f"{number} " if len(comparisons) > 1 else ""
        paths.append([])
        for name, figure in draw(comparison).items():
            paths[-1].append(folder / "figures" / f"{file_name(table + name)}.png".replace(" ", "_"))
            figure.savefig(paths[-1][-1], dpi=100)
            writer.figure(f"view/{table}{name}", figure, 0)  # sorts after train and val of the runs
        names = curve_names(comparison.metric)
        charts += [name for name in names if _write_curves(comparison, name, folder / "curves", table)]
    writer.text("compare", text, 0)
    writer.margin_charts(f"{title}: mean over seeds, between minimum and maximum", list(dict.fromkeys(charts)))
    writer.close()
    return paths


def _write_curves(comparison: Comparison, name: str, folder: Path, table: str) -> bool:
    curves = curves_of(comparison, name)
    ranks = {comparison.label(each): rank for rank, each in enumerate(comparison.ranked, 1)}
    for label, (steps, *sides) in curves.items():
        writer = EventWriter(folder / file_name(f"{table}{ranks[label]} {label}"))
        for step, *values in zip(steps, *sides, strict=True):
            tagged: Mapping[str, float] = dict(
                zip((f"{name}/mean", f"{name}/lower", f"{name}/upper"), map(float, values), strict=True)
            )
            writer.scalars(tagged, int(step))
        writer.close()
    return bool(curves)

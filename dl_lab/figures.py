"""Tensors and numbers to matplotlib Figures; pure, and never pyplot, which keeps every figure alive."""

from collections.abc import Sequence

from matplotlib.figure import Figure


def ratio_bars(names: Sequence[str], ratios: Sequence[Sequence[float]], bounds: Sequence[float]) -> Figure:
    """Horizontal bars of the median of each row of ratios, a whisker from least to most, and a mark at its bound."""
    figure = Figure(figsize=(9, 0.5 * len(names) + 1.4), layout="constrained")
    axes = figure.subplots()
    places = range(len(names))
    medians = [sorted(row)[len(row) // 2] for row in ratios]
    whiskers = [
        [median - min(row) for median, row in zip(medians, ratios, strict=True)],
        [max(row) - median for median, row in zip(medians, ratios, strict=True)],
    ]
    colors = ["tab:green" if median <= bound else "tab:red" for median, bound in zip(medians, bounds, strict=True)]
    axes.barh(places, medians, color=colors, xerr=whiskers, capsize=3)
    axes.scatter(bounds, places, marker="|", s=300, color="black", label="bound", zorder=3)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("time (or memory) of dl_lab over that of the yardstick: less is better")
    figure.suptitle("dl_lab against the yardsticks: median, least and most of the pairs")
    figure.legend(loc="outside lower right")
    return figure

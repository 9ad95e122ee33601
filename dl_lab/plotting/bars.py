"""Bar charts."""

from collections.abc import Sequence

from matplotlib.figure import Figure


def ratio_bars(names: Sequence[str], ratios: Sequence[Sequence[float]], bounds: Sequence[float]) -> Figure:
    """Horizontal bars at the median of each row of ratios, whiskers to minimum and maximum and a mark at its bound."""
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
    axes.axvline(1, color="gray", linewidth=0.8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel("dl_lab / peer (lower is better)")
    figure.suptitle("Time or memory relative to the peers: median, minimum and maximum over pairs")
    figure.legend(loc="outside lower right")
    return figure

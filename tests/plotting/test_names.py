"""Names from data and configurations in figures: whatever their characters, they are drawn as they stand."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from dl_lab.plotting import figures, predictions, sweep_figures
from dl_lab.plotting.names import LONGEST_TICK, plain, ticks

POINTS = ([0, 1], [0, 1])
SQUARE = np.array([[0.0, 1.0], [1.0, 0.0]])
FIGURES = {
    "curves": lambda name: figures.curves({name: POINTS, "other": POINTS}, name, name, name),
    "scatter": lambda name: figures.scatter({name: POINTS, "other": POINTS}, name, name, name),
    "decision_boundary": lambda name: figures.decision_boundary(
        *np.meshgrid(*POINTS), SQUARE, SQUARE, [0, 1], [name, "other"], name, [name, name]
    ),
    "matrix": lambda name: figures.matrix(SQUARE, name, name, name),
    "confusion": lambda name: predictions.confusion(SQUARE, [name, "other"], name),
    "bars": lambda name: predictions.bars({name: [0, 1]}, [name, "other"], name, name),
    "scatters": lambda name: predictions.scatters({name: POINTS}, name, "x", "y"),
    "image_grid": lambda name: figures.image_grid(np.ones((2, 3, 3)), "title", [f"{name}\nas {name}"] * 2),
    "by_value": lambda name: sweep_figures.by_value([name, "other"], [1.0, 2.0], "lowest", name, name, name),
    "bands": lambda name: sweep_figures.bands({name: POINTS * 2, "other": POINTS * 2}, name, name, name),
    "heat_map": lambda name: sweep_figures.heat_map([name, "other"], [1, 1], [1.0, 2.0], "lowest", name, (name,) * 3),
    "points": lambda name: sweep_figures.heat_map(
        [name, *"abc"], [*"ab", name, "c"], [1.0] * 4, "lowest", name, (name,) * 3
    ),
    "importances": lambda name: sweep_figures.importances([name, "other"], [1.0, 2.0], [0.1, 0.1], name),
}


def pixels(figure: Figure) -> bytes:
    figure.savefig(file := io.BytesIO(), format="raw", dpi=50)
    return file.getvalue()


@pytest.mark.parametrize("name", ["_$\\frac{1$ 東京\t", "$ " * 999, "東京" * 999], ids=["signs", "long", "escapes"])
@pytest.mark.parametrize("draw", FIGURES.values(), ids=list(FIGURES))
def test_every_figure_can_be_drawn_with_any_name(draw, name):
    assert pixels(draw(name)) != pixels(draw("plain"))  # warnings, such as those of a missing glyph, are errors


@pytest.mark.parametrize("name", ["$$ cheap $$", "$x$", "$5 or $6", r"\frac{1", r"a\$b$", "a_b^c", "a\nb"])
def test_a_name_is_drawn_as_matplotlib_draws_text_without_formulas(name):
    drawn, expected = Figure(), Figure()
    drawn.text(0.1, 0.5, plain(name))
    expected.text(0.1, 0.5, name, parse_math=False)
    assert pixels(drawn) == pixels(expected)


def test_different_names_are_drawn_differently():
    assert [plain(name) for name in ("東京", "大阪", "_x")] == [r"\u6771\u4eac", r"\u5927\u962a", " _x"]
    (short,) = ticks(["begin" + "x" * 99 + "end"])
    assert len(short) == LONGEST_TICK
    assert (short[:5], short[-3:]) == ("begin", "end")
    legend = figures.scatter({"_x": POINTS, "y": POINTS}, "title", "x", "y").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [" _x", "y"]

"""Figures of sweeps: what they draw for values of any kind."""

import io

import numpy as np
import pytest

from dl_lab.plotting.sweep_figures import bands, by_value, heat_map, importances, is_logarithmic

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.001, 0.01, 0.1], True),
        ([0.003, 0.01, 0.03, 0.1, 0.3, 1], True),
        ((10 ** RANDOM.uniform(-4, 0, 100)).tolist(), True),
        ([0.1, 0.2, 0.4], False),  # too close
        ([0.0, 0.01, 1.0], False),  # 0 has no logarithm
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], False),  # evenly spread
        (RANDOM.uniform(0.001, 1, 100).tolist(), False),
        (["a", "b"], False),
        ([None, 1.0], False),
        ([True, False], False),
        ([5.0], False),
        ([], False),
    ],
)
def test_values_spread_over_decades_are_logarithmic(values, expected):
    assert is_logarithmic(values) is expected


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png")
    return figure.axes[0]


def test_by_value_draws_every_run_and_the_mean_and_best_at_each_value():
    axes = drawn(by_value([0.1, 0.1, 0.001, 0.001, 0.01], [1.0, 3.0, 5.0, 9.0, 2.0], "lowest", "title", "lr", "loss"))
    assert axes.get_xscale() == "log"
    mean, best = axes.lines
    assert mean.get_xydata().tolist() == [[0.001, 7.0], [0.01, 2.0], [0.1, 2.0]]
    assert best.get_xydata().tolist() == [[0.001, 5.0], [0.01, 2.0], [0.1, 1.0]]
    assert len(axes.collections[0].get_offsets()) == 5
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("title", "lr", "loss")


@pytest.mark.parametrize(
    "values", [["b", "a", "b"], [True, False, True], ["auto", 3, 4], [None, 0.1, 0.2], ["[8]"] * 3]
)
def test_values_of_any_kind_have_a_tick_each(values):
    axes = drawn(by_value(values, [1.0, 2.0, 4.0], "highest", "title", "x", "y"))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == sorted({str(value) for value in values})
    drawn(heat_map(values, values[::-1], [1.0, 2.0, 4.0], "highest", "title", ("x", "y", "score")))


def test_a_heat_map_shows_the_mean_of_each_pair_and_leaves_others_empty():
    axes = drawn(heat_map([1, 1, 2, 2], [5, 5, 5, 6], [1.0, 3.0, 7.0, 9.0], "lowest", "title", ("x", "y", "score")))
    image = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(image, [[2.0, 7.0], [np.nan, 9.0]])
    assert [text.get_text() for text in axes.texts] == ["2", "7", "9"]


def test_random_values_are_drawn_as_points():
    lrs, momenta, scores = (RANDOM.uniform(0.1, 1, 40).tolist() for _ in range(3))
    axes = drawn(heat_map(lrs, momenta, scores, "lowest", "title", ("lr", "momentum", "loss")))
    np.testing.assert_allclose(axes.collections[0].get_offsets(), np.column_stack([lrs, momenta]))
    assert drawn(by_value(lrs, scores, "lowest", "title", "lr", "loss")).lines[:] == []


def test_bands_surround_their_lines_and_one_point_has_a_marker():
    steps = np.array([1.0, 2.0])
    curves = {"a": (steps, steps, steps - 1, steps + 1), "b": (steps[:1], steps[:1], steps[:1], steps[:1])}
    axes = drawn(bands(curves, "title", "step", "loss"))
    assert [line.get_label() for line in axes.lines] == ["a", "b"]
    assert axes.lines[1].get_marker() == "o"
    area = axes.collections[0].get_paths()[0].vertices
    assert (area[:, 1].min(), area[:, 1].max()) == (0.0, 3.0)


def test_the_most_important_key_is_on_top_and_the_seed_is_gray():
    axes = drawn(importances(["lr", "seed"], [2.0, 0.1], [0.1, 0.05], "title"))
    assert axes.yaxis_inverted()
    assert [patch.get_width() for patch in axes.patches] == [2.0, 0.1]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor()

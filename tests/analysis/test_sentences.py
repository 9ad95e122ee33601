"""What a comparison says in sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dl_lab.analysis.comparison import Comparison, compare
from dl_lab.analysis.sentences import sentences, summary
from dl_lab.analysis.table import fitting, markdown, rows
from dl_lab.runs.reader import Run


def comparison(scores: Mapping[str, Sequence[float | str]], metric: str = "best/accuracy") -> Comparison:
    """A comparison of MODEL or MODEL/OPTIMIZER/LR by the score with each seed, or the status of a run without one."""
    runs = []
    for model, by_seed in scores.items():
        for seed, score in enumerate(by_seed):
            status = score if isinstance(score, str) else "completed"
            part, _, name = metric.partition("/")
            summary = {} if isinstance(score, str) else {part: {name: score}, "seconds": 1.0, "test": {name: score}}
            choices = dict(zip(("model", "optimizer", "optimizer.lr"), model.split("/"), strict=False))
            values = {**choices, "seed": seed, "train.best": "loss"}
            runs.append(Run(folder=Path(f"{model}{seed}"), status=status, values=values, summary=summary))
    return compare(runs, metric)[0]


def test_a_significant_difference_is_said_with_the_interval_that_decides_it():
    cnn, mlp = [0.95, 0.94, 0.96, 0.955, 0.945], [0.92, 0.93, 0.915, 0.91, 0.92]
    (line,) = sentences(comparison({"mlp": mlp, "cnn": cnn}))
    low, high = stats.ttest_rel(cnn, mlp).confidence_interval()
    assert line == f"cnn is better than mlp by 0.031 (95 % {low:.3f} to {high:.3f}, 5 paired seeds)"


def test_a_difference_that_is_not_significant_has_the_seeds_that_would_resolve_it():
    cnn, mlp = [0.95, 0.90, 0.97], [0.93, 0.91, 0.88]
    (line,) = sentences(comparison({"mlp": mlp, "cnn": cnn}))
    low, high = stats.ttest_rel(cnn, mlp).confidence_interval()
    effect = np.mean(np.subtract(cnn, mlp)) / np.std(np.subtract(cnn, mlp), ddof=1)
    power = [stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, effect * n**0.5) for n in range(4, 40)]
    more = 1 + next(number for number, found in enumerate(power) if found >= 0.8)
    assert low < 0 < high
    assert line == (
        f"cnn and mlp do not differ significantly; about {more} more seeds would resolve 0.033 "
        f"(95 % {low:.2f} to {high:.2f}, 3 paired seeds)"
    )


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (
            {"a": [0.5], "b": [0.4]},
            "a and b have 1 seed in common, which says nothing about chance; hint: the same seeds",
        ),
        ({"a": [0.5, 0.5], "b": [0.5, 0.5]}, "a and b have equal scores with each of 2 paired seeds"),
        (
            {"a": [0.5] * 3, "b": [0.4] * 3},
            "a and b do not differ significantly; about 3 more seeds would resolve 0.10 (the same with",
        ),
        ({"a": [0.5] * 9, "b": [0.4] * 9}, "a is better than b by 0.10 (the same with each of 9 paired seeds)"),
        (
            {"a": [0.5, 0.4], "b": [0.4, 0.5]},
            "a and b do not differ significantly; more than 1,000 more seeds would resolve 0 (95 % -1.0 to 1.0",
        ),
        (
            {"a": [0.9, 0.5], "b": [0.5, 0.6]},
            "a and b do not differ significantly; about 44 more seeds would resolve 0.15 (95 % -1.0 to 1.0, 2 paired",
        ),
    ],
)
def test_every_sentence_about_two_models(scores, sentence):
    (line,) = sentences(comparison(scores))
    assert line.startswith(sentence), line


def test_a_configuration_is_named_by_its_choices_and_values():
    scores = {"cnn/adam/0.1": [0.9, 0.91], "mlp/sgd/1": [0.5, 0.51], "mlp/adam/1": [0.4, 0.41]}
    assert [line.partition(" do not")[0] for line in sentences(comparison(scores))] == [
        "cnn with adam, lr 0.1 and mlp with sgd, lr 1",
        "cnn with adam, lr 0.1 and mlp with adam, lr 1",
    ]


def test_a_long_name_is_shown_without_its_middle():
    (line,) = sentences(comparison({"a" * 60 + "b" * 60: [0.5, 0.5], "c": [0.5, 0.5]}))
    assert line == f"{'a' * 40}…{'b' * 40} and c have equal scores with each of 2 paired seeds"


def test_intervals_of_several_pairs_are_adjusted_and_within_the_range_of_the_metric():
    found = comparison({"a": [0.99, 0.9, 0.98], "b": [0.5, 0.7, 0.6], "c": [0.97, 0.2, 0.9]})
    for verdict, line in zip(found.verdicts[1:], sentences(found), strict=True):
        assert "adjusted 95 %" in line
        assert -1 <= verdict.interval[0] <= verdict.interval[1] <= 1
    assert found.configurations[0].interval[1] == 1
    losses = comparison({"a": [-1.0, 2.0], "b": [3.0, 1.0]}, "best/loss")  # of a user's own loss
    assert losses.configurations[0].interval[0] < -1


def test_choosing_by_a_test_metric_prints_a_warning():
    scores = {"cnn": [0.95, 0.94], "mlp": [0.92, 0.93]}
    (line,) = (line for line in summary(comparison(scores, "test/accuracy")) if line.startswith("warning: "))
    assert "test split" in line
    assert "; hint: choose by metric=accuracy" in line
    assert not any("warning" in line for line in summary(comparison(scores)))
    assert "test/accuracy of the leader: 0.945, a mean over 2 seeds" in summary(comparison(scores))


def test_configurations_that_share_one_seed_with_the_leader_have_one_sentence():
    lines = sentences(comparison({"a": [0.9, 0.8], "b": [0.7, 0.6], "c": [0.5], "d": [0.4]}))
    assert lines[0].startswith("a and b do not differ significantly")
    assert lines[1:] == [
        "a and 2 others have at most 1 seed in common, which says nothing about chance; "
        "hint: the same seeds for all, such as seed=range(5)"
    ]


def test_null_and_truth_values_are_written_as_in_yaml():
    found = comparison({"cnn/None": [0.9], "cnn/True": [0.5]})
    assert [found.label(each) for each in found.configurations] == ["null", "true"]


def test_a_table_leaves_out_what_matters_least_until_it_fits_a_terminal():
    found = rows(comparison({"a": [0.9, 0.8], "b": [0.7, 0.6]}))
    width = len(markdown(found)[0])
    assert fitting(found, None) == fitting(found, width) == found
    assert fitting(found, width - 1)[0] == [name for name in found[0] if name != "seconds"]
    assert fitting(found, 0)[0] == ["", "model", "best/accuracy", "seeds", "verdict"]

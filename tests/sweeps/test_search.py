"""Searches: the grammar of a search space, random draws, Optuna's TPE, and the recorded study."""

import json
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from scipy import stats
from support.commands import TINY, Ended, train
from support.sweeps import run_until, table

from dl_lab.sweeps import search
from dl_lab.sweeps.search import Axis, at_random, axis_of, distribution, proposed
from dl_lab.training import loop

SPACES = (
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "optimizer=sgd,adam",
    "model.hidden_sizes=choice([8],[16,16])",
    "train.batch_size=int(interval(5,20))",
    "optimizer.weight_decay=interval(0,0.1)",
    "train.accumulate=range(1,5)",
)


def asked(text: str) -> Axis:
    (override,) = OverridesParser.create().parse_overrides([text])
    return axis_of(override)


def test_axes_are_parsed_from_hydras_grammar():
    assert asked(SPACES[0]) == Axis("optimizer.lr", low=1e-4, high=1e-1, log=True)
    assert asked(SPACES[1]) == Axis("optimizer", ("sgd", "adam"))
    assert asked(SPACES[2]) == Axis("model.hidden_sizes", ("[8]", "[16,16]"))
    assert asked(SPACES[3]) == Axis("train.batch_size", low=5, high=20)
    assert asked(SPACES[3]).whole
    assert not asked(SPACES[4]).whole
    assert asked(SPACES[5]) == Axis("train.accumulate", ("1", "2", "3", "4"), ordered=True)


def drawn(text: str, count: int = 2000) -> np.ndarray:
    space = asked(text)
    return np.array([at_random([space], 0, number)[space.key] for number in range(count)])


# Kolmogorov's statistic of 2,000 draws is below 1.63 / sqrt(2000) = 0.036 in 99 of 100; the seed is fixed
def test_random_values_are_uniform_or_log_uniform():
    assert stats.kstest(drawn("a=interval(2,5)"), stats.uniform(2, 3).cdf).statistic < 0.036
    assert stats.kstest(drawn("a=tag(log,interval(1e-4,1e-1))"), stats.loguniform(1e-4, 1e-1).cdf).statistic < 0.036


def test_random_whole_numbers_and_choices_are_uniform_and_include_both_ends():
    for values, allowed in (
        (drawn("a=int(interval(3,6))"), [3, 4, 5, 6]),
        (drawn("a=x,y,z"), ["x", "y", "z"]),
        (drawn("a=range(0,10,3)"), ["0", "3", "6", "9"]),
    ):
        found, counts = np.unique(values, return_counts=True)
        assert list(found) == allowed
        assert stats.chisquare(counts).pvalue > 0.01
    found = np.unique(drawn("a=int(tag(log,interval(1,8)))"))
    assert list(found) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_random_trial_depends_only_on_seed_and_number():
    axes = [asked(space) for space in SPACES]
    assert at_random(axes, 1, 5) == at_random(axes, 1, 5)
    assert len({str(at_random(axes, seed, number)) for seed in range(3) for number in range(5)}) == 15


def trials(parameters: list[dict[str, object]], values: list[float]) -> list[dict[str, object]]:
    return [
        {"parameters": given, "value": value, "status": "completed"}
        for given, value in zip(parameters, values, strict=True)
    ]


@pytest.mark.parametrize("maximize", [False, True])
def test_proposals_equal_those_of_an_optuna_study(maximize):
    """The reference is a study of Optuna with the same sampler and trials."""
    axes = [asked(SPACES[0]), asked(SPACES[1]), asked(SPACES[3])]
    told = [at_random(axes, 0, number) for number in range(20)]
    values = [float(np.log(given["optimizer.lr"]) ** 2) for given in told]
    mine = proposed(axes, trials(told, values), 3, 7, maximize)
    spaces = {space.key: distribution(space) for space in axes}
    with warnings.catch_warnings(action="ignore"):  # constant_liar is experimental in Optuna 4
        sampler = optuna.samplers.TPESampler(seed=27, constant_liar=True)
    study = optuna.create_study(sampler=sampler, direction="maximize" if maximize else "minimize")
    for given, value in zip(told, values, strict=True):
        study.add_trial(optuna.create_trial(value=value, params=given, distributions=spaces))
    assert mine == [study.ask(spaces).params for _ in range(3)]
    assert mine == proposed(axes, trials(told, values), 3, 7, maximize)


def test_tpe_minimizes_a_quadratic_faster_than_random_search():
    axes = [asked("x=interval(-5,5)"), asked("y=interval(-5,5)")]

    def loss(given: dict[str, float]) -> float:
        return (given["x"] - 2) ** 2 + (given["y"] + 1) ** 2

    def best(name: str, seed: int) -> float:
        done: list[dict[str, object]] = []
        for number in range(0, 40, 4):
            more = (
                proposed(axes, done, 4, seed, False)
                if name == "tpe"
                else [at_random(axes, seed, number + k) for k in range(4)]
            )
            done += trials(more, [loss(given) for given in more])
        return min(trial["value"] for trial in done)

    assert np.median([best("tpe", seed) for seed in range(5)]) < np.median([best("random", seed) for seed in range(5)])


def test_failed_trials_are_ignored_and_diverged_ones_avoided():
    axes = [asked("x=interval(0,1)")]
    good = trials([{"x": 0.8 + number / 100} for number in range(12)], [1.0] * 12)
    bad = [{"parameters": {"x": number / 100}, "value": None, "status": "diverged"} for number in range(30)]
    failed = [{**trial, "status": "failed"} for trial in bad]
    more = proposed(axes, good + bad, 10, 0, False)
    assert sum(given["x"] > 0.5 for given in more) >= 9
    states = [
        search.frozen(axes, {"x": distribution(axes[0])}, trial).state.name for trial in (good[0], bad[0], failed[0])
    ]
    assert states == ["COMPLETE", "PRUNED", "FAIL"]


def study_of(folder: Path) -> dict[str, object]:
    return json.loads((folder / "sweep.json").read_text())["search"]


OPTUNA = ("sweep=optuna", "sweep.trials=6", "sweep.batch=3", *SPACES[:2], *TINY, "train.best=accuracy")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return train(tmp_path_factory.mktemp("searched"), "-m", *OPTUNA, "hydra.sweep.dir=here")


def test_the_study_names_the_best_trial_its_folder_and_checkpoint(searched):
    assert searched.status == 0
    here = searched.runs[0].parent
    study = study_of(here)
    summaries = [json.loads((here / str(number) / "summary.json").read_text()) for number in range(6)]
    assert [trial["value"] for trial in study["trials"]] == [summary["best"]["accuracy"] for summary in summaries]
    assert [(trial["number"], trial["job"], trial["status"]) for trial in study["trials"]] == [
        (number, number, "completed") for number in range(6)
    ]
    best = study["best"]
    assert best["value"] == max(summary["best"]["accuracy"] for summary in summaries)  # higher is better
    assert best["parameters"] == study["trials"][best["number"]]["parameters"]
    assert (here / best["checkpoint"]).is_file()
    assert f"best   val/accuracy {best['value']:.4g}  trial {best['number']}  optimizer.lr=" in searched.out
    assert f"{here}/{best['folder']}/checkpoints/best.pt" in searched.out
    for job, trial in zip(table(here), study["trials"], strict=True):
        assert {f"{key}={value}" for key, value in trial["parameters"].items()} <= set(job["overrides"])


def test_trials_are_named_in_tensorboard_after_what_the_search_varies(tmp_path):
    train(tmp_path, "-m", "sweep=random", "sweep.trials=1", "optimizer.lr=interval(0.1,0.2)", *TINY)
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    assert re.fullmatch(r"lr=0\.1\d{1,3}", events.parent.name)


def test_a_killed_search_continues_to_the_same_result(searched, tmp_path):
    killed = run_until(tmp_path, "-m", *OPTUNA, "hydra.sweep.dir=here", call=4 * 6 + 2, of=loop.train_step)
    assert killed == -9
    assert len(study_of(tmp_path / "here")["trials"]) == 6
    assert train(tmp_path, "-m", *OPTUNA, "sweep.resume=here").status == 0
    assert study_of(tmp_path / "here") == study_of(searched.runs[0].parent)
    assert table(tmp_path / "here") == table(searched.runs[0].parent)


def test_a_search_continues_with_more_trials_but_not_with_another_space(tmp_path):
    short = ("-m", "sweep=random", *SPACES[:2], *TINY)
    train(tmp_path, *short, "sweep.trials=2", "hydra.sweep.dir=here")
    before = study_of(tmp_path / "here")["trials"]
    ended = train(tmp_path, *short, "sweep.trials=4", "sweep.resume=here")
    assert [line.split()[0] for line in ended.out.splitlines() if line.startswith("#")] == ["#2", "#3"]
    assert study_of(tmp_path / "here")["trials"][:2] == before
    other = train(tmp_path, *short, "optimizer.weight_decay=interval(0,1)", "sweep.resume=here")
    assert other.status == 2
    assert other.err.startswith("error: sweep.resume=here searched with space {'optimizer.lr': ")


def test_the_error_for_missing_optuna_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    ended = train(tmp_path, "-m", *OPTUNA)
    assert ended.status == 2
    assert ended.err == ("error: sweep=optuna is not installed; hint: pip install 'dl_lab[search]', or sweep=random\n")

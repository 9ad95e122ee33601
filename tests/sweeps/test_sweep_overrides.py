"""Which jobs a sweep has: none is lost, none runs twice, and every choice is composed with its own keys."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support.commands import TINY, Ended, on_terminal, train

SHORT = ("dataset=iris", "train.steps=1", "train.validate_every=1", "train.batch_size=10")


def chosen(ended: Ended, *keys: str) -> list[tuple[object, ...]]:
    """The values of keys in the configuration of every run."""
    configs = [OmegaConf.load(run / ".hydra" / "config.yaml") for run in ended.runs]
    return [tuple(OmegaConf.select(config, key) for key in keys) for config in configs]


@pytest.mark.parametrize(
    ("arguments", "keys", "jobs"),
    [
        (("optimizer=sgd,rmsprop", "optimizer.momentum=0.5"), ("optimizer.momentum",), "0.5, 0.5"),
        (
            ("schedule=step,exponential", "optimizer=sgd,rmsprop", "optimizer.momentum=0.5", "schedule.gamma=0.5"),
            ("schedule.name", "optimizer.name", "schedule.gamma"),
            "step sgd 0.5, step rmsprop 0.5, exponential sgd 0.5, exponential rmsprop 0.5",
        ),
        (
            ("sweep=random", "sweep.trials=1", "optimizer=choice(sgd,rmsprop)", "optimizer.momentum=0.5"),
            ("optimizer.momentum",),
            "0.5",
        ),
        (("train={steps:1},{steps:2}", "train={log_every:3}"), ("train.steps", "train.log_every"), "1 3, 2 3"),
        (
            ("model=mlp,deep_nn", "model={activation:tanh}"),
            ("model.name", "model.activation"),
            "mlp tanh, deep_nn tanh",
        ),
        (("optimizer.lr=0.5", "optimizer={lr:0.25},{lr:0.125}"), ("optimizer.lr",), "0.25, 0.125"),
        (("seed=1,2,1", "optimizer.lr=.5,5e-1"), ("seed",), "1, 2"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) and "=" in value[0] else "",
)
def test_a_sweep_has_every_job_once(tmp_path, arguments, keys, jobs):
    ended = train(tmp_path, "-m", *SHORT, *arguments)
    assert ended.err == ""
    assert [" ".join(map(str, job)) for job in chosen(ended, *keys)] == jobs.split(", ")


def test_a_key_that_only_some_choices_have_refuses_the_other_jobs(tmp_path):
    ended = train(tmp_path, "-m", *SHORT, "optimizer=adam,sgd", "optimizer.momentum=0.5")
    assert (ended.status, [run.name for run in ended.runs]) == (1, ["0", "1"])
    assert "#0  " in ended.err.splitlines()[-1]
    assert "optimizer.momentum is not a key; allowed: " in ended.err
    ended = train(tmp_path / "none", "-m", *SHORT, "optimizer=adam,adamw", "optimizer.momentum=0.5")
    assert (ended.status, ended.err.count("\n"), ended.runs) == (2, 1, [])


@pytest.mark.parametrize("given", ["seed=", "seed=null,-1", "tags=a,b", "~tags", "~train.steps", "+foo=1,2"])
def test_a_mistake_in_every_job_is_refused_before_anything_is_made(tmp_path, given):
    ended = train(tmp_path, "-m", *SHORT, "optimizer=sgd,adam", given)
    assert (ended.status, ended.err.count("\n"), list(tmp_path.iterdir())) == (2, 1, [])
    assert ended.err.startswith(f"error: {given.split('=')[0].strip('+~')}")


def test_the_bar_counts_a_repeated_job(tmp_path):
    written = on_terminal(lambda terminal: train(tmp_path, "-m", *SHORT, "seed=0,0,1", terminal=terminal))
    assert "3/3 [" in written


def experiment(folder: Path, name: str, launcher: str, lr: str) -> None:
    text = f"# @package _global_\ndefaults:\n  - override /hydra/launcher: {launcher}\n  - override /optimizer: sgd\n"
    path = folder / "own" / "experiment" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}hydra:\n  sweeper:\n    params:\n      optimizer.lr: {lr}\n")


def test_every_swept_experiment_has_its_own_values_and_its_launcher(tmp_path):
    experiment(tmp_path, "one", "vectorized", "0.5,0.25")
    experiment(tmp_path, "two", "vectorized", "0.125")
    own = ("--config-dir", "own", "experiment=one,two", *SHORT)
    ended = train(tmp_path, "-m", *own)
    assert chosen(ended, "optimizer.lr") == [(0.5,), (0.25,), (0.125,)]
    assert "alone: " in ended.out or "together: " in ended.out  # only the vectorized launcher says so
    experiment(tmp_path, "two", "in_turn", "0.125")
    ended = train(tmp_path, "-m", *own)
    assert ended.status == 2
    assert ended.err.startswith("error: experiment=one,two differ in hydra/launcher")
    assert train(tmp_path, "-m", *own, "hydra/launcher=in_turn").status == 0


@pytest.mark.parametrize("launcher", ["in_turn", pytest.param("processes", marks=pytest.mark.faults), "vectorized"])
def test_a_sweep_runs_in_a_folder_with_any_name(tmp_path, launcher):
    ended = train(tmp_path / 'it\'s 100% [x], "y"=$z é.', "-m", "seed=0,1", *TINY, f"hydra/launcher={launcher}")
    assert (ended.status, len(ended.runs)) == (0, 2)


def test_two_jobs_never_share_a_folder(tmp_path):
    ended = train(tmp_path, "-m", "seed=0,1", *SHORT, "hydra.sweep.subdir=${optimizer.name}")
    assert ended.status == 2
    assert ended.err.startswith("error: hydra.sweep.subdir=adam is the folder of #0 and #1; allowed: ")
    ended = train(tmp_path, "-m", "seed=0,1", *SHORT, "hydra.sweep.subdir=${hydra.job.num}_${seed}")
    assert [run.name for run in ended.runs] == ["0_0", "1_1"]
    assert json.loads((ended.runs[0].parent / "sweep.json").read_text())["jobs"][1]["folder"] == "1_1"


def test_a_job_is_placed_below_the_folder_of_its_sweep(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ended = train(tmp_path, "-m", "seed=0,1", *SHORT, "hydra.sweep.subdir=~/${seed}")
    assert (ended.status, ended.runs) == (2, [])
    assert "hydra.sweep.subdir=~/0 is not allowed; allowed: a folder inside " in ended.err
    ended = train(tmp_path, "-m", "seed=0,1", *SHORT, "hydra.sweep.subdir=${optimizer.name} é/seed=${seed}")
    assert [str(run.relative_to(run.parents[1])) for run in ended.runs] == ["adam é/seed=0", "adam é/seed=1"]

"""rerun=FOLDER: the same again, and whether every metric came out the same."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from support.commands import spawn, train
from support.interrupted import RUN, interrupted

from dl_lab.runs import provenance
from dl_lab.runs.diff import first_difference, largest_difference

POINT = {"step": 4, "epoch": 1.0, "split": "val", "loss": 0.5}


def change(folder: Path, line: int, name: str, value: object) -> None:
    path = folder / "metrics.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    lines[line][name] = value
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))


def test_the_same_run_again_is_the_same(tmp_path):
    first = train(tmp_path, *RUN, "dropout=dropout")
    again = train(tmp_path, "rerun=run", "hydra.run.dir=again")
    assert again.status == 0, again.err
    assert again.out.splitlines()[-1] == "same  every metric at all 13 points is that of run, to the last bit"
    for name in ("metrics.jsonl", ".hydra/config.yaml", ".hydra/overrides.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (first.run / name).read_bytes()
    assert len(train(tmp_path, "rerun=run").runs) == 3  # without a word of where, in outputs/


@pytest.mark.faults
def test_the_exit_status_of_a_process_tells_whether_the_runs_are_the_same(tmp_path):
    train(tmp_path, *RUN)
    assert spawn(tmp_path, "-m", "dl_lab.train", "rerun=run", "hydra.run.dir=again").returncode == 0
    change(tmp_path / "run", 3, "loss", 0.25)
    assert spawn(tmp_path, "-m", "dl_lab.train", "rerun=run", "hydra.run.dir=third").returncode == 1


def test_the_first_difference_is_named_and_what_else_differs(tmp_path):
    train(tmp_path, *RUN)
    change(tmp_path / "run", 3, "loss", 0.25)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    summary["versions"]["torch"], summary["threads"] = "2.0.0", 7
    (tmp_path / "run" / "summary.json").write_text(json.dumps(summary))
    ended = train(tmp_path, "rerun=run", "hydra.run.dir=again")
    assert ended.status == 1
    told = ended.out[ended.out.index("differs") :]
    assert told.startswith("differs  step 8, train, loss: ")
    assert ", was 0.25\n" in told
    assert f"torch is {torch.__version__.split('+')[0]}, was 2.0.0" in told
    assert "threads is 1, was 7" in told


def test_a_run_that_was_interrupted_is_compared_as_far_as_it_came(tmp_path):
    interrupted(tmp_path, 9, *RUN)
    assert train(tmp_path, "rerun=run", "hydra.run.dir=again").status == 0
    change(tmp_path / "run", 1, "loss", 0.25)
    assert train(tmp_path, "rerun=run", "hydra.run.dir=more").status == 1


def test_a_run_that_diverged_diverges_again(tmp_path):
    diverging = ("dataset=diabetes", "model=linear", "optimizer=sgd", "optimizer.lr=100", "train.validate_every=2")
    assert train(tmp_path, *diverging, "hydra.run.dir=run").status == 1
    again = train(tmp_path, "rerun=run", "hydra.run.dir=again")
    assert again.status == 0, again.err
    assert "same  every metric" in again.out


def test_a_run_that_was_lengthened_is_that_of_its_whole_length(tmp_path):
    train(tmp_path, *RUN)
    assert train(tmp_path, "resume=run", "train.steps=30").status == 0
    ended = train(tmp_path, "rerun=run", "hydra.run.dir=again")
    assert "differs" in ended.out  # it was tested at step 20 as well
    assert "the first run was resumed" in ended.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rerun=nowhere",), "nowhere holds no run"),
        (("rerun=run", "optimizer.lr=1"), "optimizer.lr would change the run"),
        (("rerun=run", "train.steps=3"), "train.steps would change the run"),
        (("rerun=run", "hydra.run.dir=run"), "already holds a run"),
        (("rerun=run", "resume=run"), "one of them"),
    ],
)
def test_what_cannot_be_run_again_is_refused_in_one_line(tmp_path, arguments, told):
    train(tmp_path, *RUN)
    ended = train(tmp_path, *arguments)
    assert ended.status == 2
    assert told in ended.err
    assert ended.err.count("\n") == 1
    assert len(ended.runs) == 1


def test_points_that_only_one_run_has_are_differences():
    assert first_difference([POINT], [POINT], ended=True) is None
    assert first_difference([POINT], [], ended=True) == "step 4, val: only the first run has this point"
    assert first_difference([], [POINT], ended=True) == "step 4, val: only the second run has this point"
    assert first_difference([], [POINT], ended=False) is None
    more = {**POINT, "accuracy": 1.0}
    assert first_difference([more], [POINT], ended=True) == "step 4, val, accuracy: None, was 1.0"
    assert first_difference([POINT], [more, {**POINT, "split": "best"}], ended=True) is None  # of a newer version
    assert first_difference([POINT], [{**POINT, "step": 5}], ended=True) == "step 4, val, step: 5, was 4"


def test_the_largest_difference_is_in_parts_of_the_metric():
    others = [{**POINT, "loss": 0.25}, {**POINT, "loss": 0.4}]
    assert largest_difference([POINT, POINT], others) == "the largest relative difference is 0.5 (step 4, val, loss)"
    assert "0 (in no metric that both runs have)" in largest_difference([POINT], [POINT])


def test_a_summary_holds_what_a_rerun_needs(tmp_path, monkeypatch):
    ended = train(tmp_path, *RUN)
    command = "python -m dl_lab.train 'model.hidden_sizes=[8]' dataset.examples=100"
    assert str(ended.summary["command"]).startswith(command)
    assert ended.summary["git_clean"] in (True, False, None)
    asked = []
    monkeypatch.setattr(provenance.subprocess, "run", lambda *given, **named: asked.append(given))
    train(tmp_path, *RUN[:-2], "hydra.run.dir=more")
    assert asked == []  # git is asked once a process


def test_each_resumption_is_recorded(tmp_path):
    interrupted(tmp_path, 9, *RUN)
    train(tmp_path, "resume=run", "train.steps=24")
    train(tmp_path, "resume=run", "train.steps=30")
    told = yaml.safe_load((tmp_path / "run" / ".hydra" / "resumed.yaml").read_text())
    assert told == [{"step": 6, "overrides": ["train.steps=24"]}, {"step": 24, "overrides": ["train.steps=30"]}]

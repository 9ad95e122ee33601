"""Checkpoints that are whole and hold something else, and damaged lines of metrics.jsonl: refused in one line."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from support.commands import train
from support.interrupted import RUN, interrupted

from dl_lab.runs import checkpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    interrupted(folder, 15, *RUN)
    return folder / "run"


def refused(folder: Path) -> str:
    ended = train(folder, "resume=run")
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
    assert "; hint: " in ended.err
    return ended.err


WRONG = [
    *(("best", value) for value in ("good", [1.0], {"loss": "low"}, {"loss": None}, {}, {"step": 12, "epoch": 2.0})),
    *(("window", value) for value in (None, [1], [[{"loss": "low"}]], {"loss": 1.0})),
    *(("since_validation", value) for value in (None, [[1.0]], [{"loss": 1.0}], [{"loss": ["low"]}])),
    *(("together", value) for value in (-1, 1.5, "many", [1])),
    *(("data", value) for value in (3, ["a"], b"a")),
    *(("step", value) for value in (-1, 1.0, "12", None)),
    *(("config", value) for value in (None, [], {"model": torch.zeros(2)})),
    *(("model", value) for value in ([], {}, {"layers.0.weight": 1})),
    *(("optimizer", value) for value in ({}, {"state": {}}, {"state": [], "param_groups": {}}, [])),
]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{field}={value}" for field, value in WRONG])
def test_a_checkpoint_with_a_wrong_field_is_refused(tmp_path, made, field, value):
    run = shutil.copytree(made, tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        checkpoint.save(path, torch.load(path, weights_only=True) | {field: value})
    assert re.search(r"checkpoints/last\.pt is not|run has a checkpoint whose contents do not fit", refused(tmp_path))


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 8), (2, 3, 4)])
def test_an_optimizer_of_another_shape_is_refused(tmp_path, made, shape):
    run = shutil.copytree(made, tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        contents = torch.load(path, weights_only=True)
        for state in contents["optimizer"]["state"].values():
            state |= {name: torch.zeros(shape) for name, value in state.items() if value.ndim}
        checkpoint.save(path, contents)
    assert "run has a checkpoint whose contents do not fit its run" in refused(tmp_path)


LINES = {
    "a flipped bit": lambda line: line.replace('"step"', '"step\x02'),
    "no step": lambda line: line.replace('"step"', '"stop"'),
    "a step that is text": lambda line: line.replace('"step": 4', '"step": "4"'),
    "a metric that is text": lambda line: line.replace('"loss": ', '"loss": "low", "other": '),
    "400 digits": lambda line: line.replace('"loss": ', f'"loss": {"9" * 400}, "other": '),
    "NaN": lambda line: line.replace('"loss": ', '"loss": NaN, "other": '),
    "deep": lambda line: "[" * 10**5,
    "a list": lambda line: f"[{line}]",
    "empty": lambda line: "",
    "two lines in one": lambda line: line + line,
}


@pytest.mark.parametrize("damage", LINES.values(), ids=LINES)
def test_a_damaged_line_is_refused(tmp_path, made, damage):
    path = shutil.copytree(made, tmp_path / "run") / "metrics.jsonl"
    first, *others = path.read_text().splitlines()
    assert damage(first) != first
    path.write_text("\n".join([damage(first), *others]) + "\n")
    assert "run/metrics.jsonl, line 1 is not as a run writes it" in refused(tmp_path)


def test_a_last_line_that_was_cut_off_is_left_out_with_a_message(tmp_path, made):
    path = shutil.copytree(made, tmp_path / "run") / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 15, "spl')
    ended = train(tmp_path, "resume=run")
    assert ended.status == 0
    assert "ends in a line that was cut off" in ended.err

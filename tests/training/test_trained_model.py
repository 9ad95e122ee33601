"""A checkpoint is enough to use a model: its data may be gone. Checkpoints of older versions still resume."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import TINY, train
from support.tables import TABLE

from dl_lab import evaluate
from dl_lab.config.parse import parse
from dl_lab.core.errors import ConfigError
from dl_lab.runs import checkpoint
from dl_lab.training.setup import trained_model

CPU = torch.device("cpu")


def saved_in(run: Path, name: str = "best") -> dict[str, object]:
    return checkpoint.load(run / "checkpoints" / f"{name}.pt", CPU)


def rewrite(run: Path, **changes: object) -> None:
    """Change entries of every checkpoint of a run; None removes one."""
    for path in (run / "checkpoints").glob("*.pt"):
        contents = {**checkpoint.load(path, CPU), **changes}
        checkpoint.save(path, {key: value for key, value in contents.items() if value is not None})


def test_without_its_table_a_model_predicts_what_evaluate_measured(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    of_table = ("dataset=csv", "dataset.path=table.csv", "dataset.targets=[price]", "dataset.features=[area,rooms]")
    ended = train(tmp_path, *TINY, *of_table, "dataset.shuffle=false", "dataset.test=4", "model=linear")
    measured = evaluate.evaluate([f"run={ended.run}"])
    (tmp_path / "table.csv").unlink()
    saved = saved_in(ended.run)
    model, preprocessing = trained_model(parse(saved["config"]), saved, ended.run)
    rows = np.array([[float(cell) for cell in line.split(",")[:3]] for line in TABLE.splitlines()[1:]])
    test = rows[-4:]
    with torch.inference_mode():
        outputs = model(preprocessing.prepare(preprocessing.stored(test[:, :2]), CPU, torch.float32)).double().numpy()
    (head,) = preprocessing.spec.heads
    prices = outputs * head.scale + head.offset
    # outputs are float32
    assert np.mean((prices[:, 0] - test[:, 2]) ** 2) == pytest.approx(measured["mse"], rel=1e-6)


def test_members_of_a_stack_have_the_preprocessing_of_a_single_run(tmp_path):
    alone = train(tmp_path / "alone", *TINY, "seed=1")
    stack = train(
        tmp_path / "stack", *TINY, "-m", "hydra/launcher=vectorized", "hydra.launcher.processes=1", "seed=1,2"
    )
    for name in ("best", "last"):
        expected = saved_in(alone.run, name)["preprocessing"]
        first, second = (saved_in(run, name)["preprocessing"] for run in stack.runs)
        assert first == expected
        assert first != second  # of another training split


def test_checkpoints_without_preprocessing_are_resumed_and_evaluated_but_not_used_alone(tmp_path):
    whole = train(tmp_path / "whole", *TINY, "train.steps=12")
    half = train(tmp_path / "half", *TINY)
    rewrite(half.run, preprocessing=None)
    assert evaluate.evaluate([f"run={half.run}"]) == half.summary["test"]
    saved = saved_in(half.run)
    with pytest.raises(ConfigError, match=r"has a checkpoint of an older version; hint: train it again with rerun="):
        trained_model(parse(saved["config"]), saved, half.run)
    assert train(tmp_path / "again", f"rerun={half.run}").status == 0
    resumed = train(tmp_path / "half", f"resume={half.run}", "train.steps=12")
    assert resumed.lines("val") == whole.lines("val")
    assert saved_in(resumed.run, "last")["preprocessing"] == saved_in(whole.run, "last")["preprocessing"]


@pytest.mark.parametrize("preprocessing", [3, {"spec": None}, {"spec": {"kind": "features"}}, "wider", "huge"])
def test_a_preprocessing_that_does_not_fit_is_refused_in_one_line(tmp_path, preprocessing):
    ended = train(tmp_path, *TINY)
    saved = saved_in(ended.run)
    if isinstance(preprocessing, str):
        spec = saved["preprocessing"]["spec"] | {"input_shape": [5 if preprocessing == "wider" else 10**400]}
        preprocessing = saved["preprocessing"] | {"spec": spec}
    rewrite(ended.run, preprocessing=preprocessing)
    with pytest.raises(ConfigError, match=r"(checkpoint|preprocessing).*; hint:") as refused:
        trained_model(parse(saved["config"]), saved_in(ended.run), ended.run)
    assert len(str(refused.value).replace(str(ended.run), "")) < 400
    assert "\n" not in str(refused.value)

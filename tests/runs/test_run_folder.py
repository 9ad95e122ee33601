"""What a run leaves: exactly the files of the contract, each readable by others, whole, and true."""

import json
import math
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from support.commands import TINY, Ended, train
from support.configs import compose
from support.tables import TABLE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from dl_lab.cli import app
from dl_lab.runs import folders
from dl_lab.runs.logger import write_summary
from dl_lab.runs.tensorboard_names import tag_of
from dl_lab.training import loop

CHOICES = ("model=mlp", "model.hidden_sizes=[8]", "optimizer=adam", "name=first", "tags=[a,b]", "seed=3")


def strict(text: str) -> dict[str, object]:
    """JSON as the standard has it, without NaN."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return train(tmp_path_factory.mktemp("run"), *TINY, *CHOICES)


@pytest.fixture(scope="module")
def events(ended: Ended) -> EventAccumulator:
    return EventAccumulator(str(ended.run)).Reload()


def test_a_run_folder_is_called_by_date_and_time_and_holds_the_files_of_the_contract_alone(ended):
    assert ended.status == 0
    outputs, date, time = ended.run.parts[-3:]
    assert outputs == "outputs"
    assert datetime.strptime(f"{date} {time}", "%Y-%m-%d %H-%M-%S") <= datetime.now()
    names = {str(path.relative_to(ended.run)) for path in ended.run.rglob("*") if path.is_file()}
    (of_events,) = [name for name in names if name.startswith("events.out.tfevents.")]
    assert names - {of_events} == {
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        "checkpoints/best.pt",
        "checkpoints/last.pt",
        "checkpoints/previous.pt",
        "metrics.jsonl",
        "summary.json",
    }


def test_the_configuration_and_the_overrides_are_kept(ended):
    kept = yaml.safe_load((ended.run / ".hydra" / "config.yaml").read_text())
    composed = OmegaConf.to_container(compose(*TINY, *CHOICES), resolve=True)
    del composed["sweep"]  # says how a sweep goes, which this is not
    assert {**kept, "data_dir": None} == {**composed, "data_dir": None}
    assert yaml.safe_load((ended.run / ".hydra" / "overrides.yaml").read_text()) == [*TINY, *CHOICES]


def test_metrics_are_lines_of_finite_numbers_at_the_steps_asked_for(ended):
    lines = [strict(line) for line in (ended.run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert list(line)[:4] == ["step", "epoch", "split", "log_loss" if line["split"] == "best" else "loss"]
        assert all(math.isfinite(value) for name, value in line.items() if name != "split")
        assert line["epoch"] == line["step"] / 11  # 105 training examples in batches of 10
    best = ended.summary["best"]["step"]
    assert [(line["split"], line["step"]) for line in lines] == [
        ("train", 2),
        ("train", 3),
        ("val", 3),
        ("train", 4),
        ("train", 6),
        ("val", 6),
        ("test", best),
        ("best", best),  # metrics that no validation computes
    ]


def test_tensorboard_reads_the_same_scalars(ended, events):
    lines = [json.loads(line) for line in (ended.run / "metrics.jsonl").read_text().splitlines()]
    expected: dict[str, list[tuple[int, float]]] = {}
    for line in lines[:-1]:  # the last one is a part of the best metrics
        step, epoch, split = line.pop("step"), line.pop("epoch"), line.pop("split")
        curve = {} if split == "test" else {"epoch": epoch}  # which would go back to the best step
        for name, value in {**{f"{split}/{name}": value for name, value in line.items()}, **curve}.items():
            expected.setdefault(name, []).append((step, value))
    best = ended.summary["best"]
    expected |= {f"best/{name}": [(best["step"], best[name])] for name in best if name not in ("step", "epoch")}
    assert set(events.Tags()["scalars"]) == {*map(tag_of, expected), "while training/examples_per_second"}
    assert {"train/loss", "train/lr", "train/gradient_norm", "val/loss", "val/accuracy", "test/loss"} <= set(expected)
    for name, points in expected.items():
        read = [(point.step, point.value) for point in events.Scalars(tag_of(name))]
        assert [step for step, _ in read] == [step for step, _ in points]
        # TensorBoard keeps 32 bits: 2^-24 of the value
        assert [value for _, value in read] == pytest.approx([value for _, value in points], rel=2**-23)
    assert all(point.value > 0 for point in events.Scalars("while training/examples_per_second"))


def test_tensorboard_opens_on_train_and_val_and_ends_with_best_epoch_and_test(events):
    def order(tag: str) -> list[tuple[bool, str]]:
        """How TensorBoard sorts tags without digits (compareTagNames in its vz_sorting)."""
        return [(character not in "/_", character) for character in tag]

    tags = [*events.Tags()["scalars"], "view/confusion", "view weights/layers.0.weight"]
    groups = list(dict.fromkeys(tag.partition("/")[0] for tag in sorted(tags, key=order)))
    assert groups == ["train", "val", "view", "view weights", "while training", "~best", "~epoch", "~test"]
    assert [tag for tag in events.Tags()["scalars"] if tag.startswith("train/")] == ["train/loss", "train/accuracy"]


def test_custom_scalars_of_a_single_run_show_the_loss_and_the_main_metric(events):
    (layout,) = events.Tensors("custom_scalars__config__")
    categories = layout_pb2.Layout.FromString(layout.tensor_proto.string_val[0]).category
    shown = [(category.title, list(chart.multiline.tag)) for category in categories for chart in category.chart]
    charts = [(name, [f"^train/{name}$", f"^val/{name}$"]) for name in ("loss", "accuracy")]
    assert shown == charts


def test_tensorboard_shows_the_configuration_as_text(ended, events):
    assert events.SummaryMetadata("config").plugin_data.plugin_name == "text"
    (text,) = events.Tensors("config")
    markdown = text.tensor_proto.string_val[0].decode()
    inside = markdown.removeprefix("```yaml\n").removesuffix("```")
    assert yaml.safe_load(inside) == yaml.safe_load((ended.run / ".hydra" / "config.yaml").read_text())


def session(events: EventAccumulator) -> tuple[dict[str, object], int]:
    """Hyper-parameters and status, as TensorBoard's HPARAMS tab finds them."""
    contents = {
        tag: plugin_data_pb2.HParamsPluginData.FromString(content)
        for tag, content in events.PluginTagToContent("hparams").items()
    }
    start = contents["_hparams_/session_start_info"].session_start_info
    assert start.start_time_secs > 0
    values = {name.strip(): getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    end = contents["_hparams_/session_end_info"].session_end_info
    assert end.end_time_secs >= start.start_time_secs
    return values, end.status


def test_tensorboard_shows_the_hyperparameters_and_how_the_run_ended(ended, events):
    values, status = session(events)
    assert status == api_pb2.STATUS_SUCCESS
    assert values["optimizer.lr"] == 0.001
    assert values["model.hidden_sizes"] == "[8]"
    assert values["deterministic"] is False
    assert values["train.batch_size"] == 10
    assert values["train.patience"] == "None"
    assert values["name"] == "first"
    assert values["folder"] == ended.run.name
    for group, choice in (("model", "mlp"), ("dataset", "iris"), ("schedule", "constant")):
        assert values[group] == choice
    assert "seed" not in values  # a row is a configuration, all its seeds together


def test_tensorboard_shows_the_end_of_a_path(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "t.csv").write_text(TABLE)
    chosen = ("dataset=table", f"dataset.path={tmp_path}/a/t.csv", "dataset.targets=[pet]", "train.steps=2")
    ended = train(tmp_path, *chosen)
    values, _ = session(EventAccumulator(str(ended.run)).Reload())
    assert (values["dataset.path"], values["dataset.test_path"]) == ("a/t.csv", "None")


def test_the_summary_says_how_the_run_ended_and_what_it_was(ended):
    summary = strict((ended.run / "summary.json").read_text())
    validations, (test,), (further,) = (ended.lines(split) for split in ("val", "test", "best"))
    best = min(validations, key=lambda line: line["loss"])
    assert summary["status"] == "completed"
    assert summary["reason"] is None
    assert (summary["steps"], summary["epochs"]) == (6, 6 / 11)
    assert summary["seconds"] > 0
    assert summary["parameters"] == (4 + 1) * 8 + (8 + 1) * 3
    assert summary["best"] | {"split": "best"} == best | further
    parts = (("last", validations[-1]), ("test", test))
    for name, line in parts:
        assert summary[name] == {name: value for name, value in line.items() if name not in ("step", "epoch", "split")}
    assert summary["weighted"] is False
    assert (summary["name"], summary["tags"], summary["seed"]) == ("first", ["a", "b"], 3)
    assert summary["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(summary["versions"]) == {"python", "dl_lab", "torch", "numpy", "hydra-core"}


def test_the_summary_names_the_commit_that_ran(ended):
    root = Path(app.__file__).parent.parent
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert ended.summary["git_commit"] == head.stdout.strip()


@pytest.mark.parametrize("name", ["last", "best"])
def test_a_checkpoint_is_plain_and_holds_the_run(ended, name):
    contents = torch.load(ended.run / "checkpoints" / f"{name}.pt", weights_only=True)
    assert {"model", "optimizer", "step", "best", "config"} <= set(contents)
    assert contents["step"] == (6 if name == "last" else ended.summary["best"]["step"])
    assert sum(tensor.numel() for tensor in contents["model"].values()) == ended.summary["parameters"]
    assert contents["config"] == yaml.safe_load((ended.run / ".hydra" / "config.yaml").read_text())


def test_the_same_seed_gives_the_same_metrics_to_the_last_bit_and_another_seed_others(ended, tmp_path):
    first = (ended.run / "metrics.jsonl").read_bytes()
    again = train(tmp_path / "again", *TINY, *CHOICES)
    other = train(tmp_path / "other", *TINY, *CHOICES, "seed=4")
    assert (again.run / "metrics.jsonl").read_bytes() == first
    assert (other.run / "metrics.jsonl").read_bytes() != first


def test_two_runs_of_the_same_second_get_folders_of_their_own(tmp_path, monkeypatch):
    moment = datetime(2026, 2, 3, 4, 5, 6)
    monkeypatch.setattr(folders, "datetime", SimpleNamespace(now=lambda: moment))
    reserved = [Path(folders.reserve_run_folder(str(tmp_path / "outputs"))) for _ in range(3)]
    day = tmp_path / "outputs" / "2026-02-03"
    assert reserved == [day / "04-05-06", day / "04-05-06-1", day / "04-05-06-2"]
    assert all(folder.is_dir() for folder in reserved)
    (reserved[1] / "summary.json").write_text("{}")
    folders.remove_empty_folders()
    assert list(day.iterdir()) == [reserved[1]]


def test_a_run_that_diverges_says_where_and_which_key_to_turn_down(tmp_path):
    arguments = ("dataset=diabetes", "model=linear", "optimizer=sgd", "optimizer.lr=1e9", "train.steps=200")
    ended = train(tmp_path / "seldom", *arguments)
    summary = strict((ended.run / "summary.json").read_text())
    assert ended.status == 1
    assert ended.err == f"error: diverged: {summary['reason']} (run {ended.run})\n"
    assert summary["status"] == "diverged"
    assert "optimizer.lr=1000000000.0" in summary["reason"]
    assert summary["test"] is None
    assert list(ended.run.rglob("*.partial")) == []
    assert session(EventAccumulator(str(ended.run)).Reload())[1] == api_pb2.STATUS_FAILURE

    watched = train(tmp_path / "often", *arguments, "train.log_every=1")
    (step,) = re.findall(r"at step (\d+);", summary["reason"])
    assert watched.summary["reason"] == summary["reason"]
    assert watched.lines("train")[-1]["step"] == int(step) - 1  # the last step whose loss was finite


def test_a_run_that_diverges_after_a_validation_leaves_the_test_split_alone(tmp_path):
    arguments = ("dataset=diabetes", "model=linear", "optimizer=sgd", "optimizer.lr=100", "train.validate_every=2")
    ended = train(tmp_path, *arguments)
    assert ended.summary["status"] == "diverged"
    assert ended.summary["best"]["step"] == 2
    assert ended.summary["test"] is None
    assert ended.lines("test") == []


def test_numbers_that_are_not_finite_become_null_in_the_summary(tmp_path):
    write_summary(tmp_path, {"status": "diverged", "best": {"loss": math.inf, "mse": -math.inf, "r2": math.nan}})
    assert strict((tmp_path / "summary.json").read_text())["best"] == {"loss": None, "mse": None, "r2": None}


@pytest.mark.faults
def test_ctrl_c_stops_a_run_that_keeps_its_record(tmp_path):
    arguments = (*TINY, "train.steps=10000000", "train.validate_every=50", "hydra.run.dir=run")
    line = [sys.executable, "-m", "dl_lab.train", *arguments]
    with subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        validations = (line for line in process.stdout if line.startswith("step "))
        assert next(validations) < next(validations)  # so the first validation is on the disk
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    summary = strict((tmp_path / "run" / "summary.json").read_text())
    assert errors.splitlines()[-1].startswith(
        f"stopped at step {summary['steps']}, as it was asked to; hint: continue with python -m dl_lab.train resume="
    )
    assert "Traceback" not in errors
    assert summary["status"] == "stopped"
    assert summary["reason"] == f"at step {summary['steps']}, as it was asked to"
    assert summary["best"]["step"] >= 50
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert last["step"] == summary["steps"] >= 50


def test_an_error_of_ours_shows_its_traceback_and_leaves_a_failed_run(tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(loop, "train_step", broken)
    with pytest.raises(RuntimeError, match="a bug"):  # what leaves `main` is what Python prints a traceback of
        train(tmp_path, *TINY, "hydra.run.dir=run")
    summary = strict((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["reason"].startswith("RuntimeError: a bug (test_run_folder.py, line ")
    assert summary["best"] is summary["test"] is None

"""The command line: its output and its exit status.

`command` runs it in this process, so that torch is imported once.
"""

import os
import subprocess
import sys

import pytest
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig
from support.commands import TINY, spawn, train
from support.configs import container
from support.tables import TABLE


def test_cfg_prints_the_configuration_of_the_run_as_yaml(tmp_path):
    ended = train(tmp_path, "--cfg", "job", "model=cnn", "optimizer.lr=0.25", "train.batch_size=full")
    assert ended.status == 0
    assert ended.runs == []
    asked = ("model=cnn", "optimizer.lr=0.25", "train.batch_size=full")
    assert yaml.safe_load(ended.out) == container(*asked, resolve=False)


ASK = """
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from dl_lab.train import main
sys.argv[1:] = {arguments}
out, err, status = StringIO(), StringIO(), 0
try:
    with redirect_stdout(out), redirect_stderr(err):
        main()
except SystemExit as end:
    status = end.code
print(status, "torch" in sys.modules or "pydantic" in sys.modules, bool(out.getvalue()), err.getvalue().strip())
"""


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--help"], "0 False True"),
        (["--cfg", "job"], "0 False True"),
        (["model=cnnn"], "2 False False error: model=cnnn"),
        (["colour=red"], "2 False False error: colour"),
        (["model.hidden_size=3"], "2 False False error: model.hidden_size"),
        (["model=mlp,cnn"], "2 False False error: model=mlp,cnn"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_command_that_trains_nothing_imports_neither_torch_nor_pydantic(tmp_path, arguments, answer):
    ended = spawn(tmp_path, "-c", ASK.format(arguments=arguments))
    assert ended.stdout.startswith(answer), ended.stdout + ended.stderr


def test_help_does_not_use_the_list_of_groups_by_hydra(tmp_path, monkeypatch):
    """Hydra copies its search path for each of a hundred groups, which doubles the time of --help."""
    listed: list[str] = []
    options = ConfigLoaderImpl.get_group_options

    def counted(self, group_name, *given, **named):
        listed.append(group_name)
        return options(self, group_name, *given, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "get_group_options", counted)
    assert train(tmp_path, "--help").status == 0
    assert listed == []
    ended = train(tmp_path, "--hydra-help")
    assert (ended.status, ended.err) == (0, "")
    assert "hydra/launcher: " in ended.out
    assert "hydra/launcher" in listed


def test_a_mistake_prints_one_line_and_exits_with_status_2(tmp_path):
    ended = spawn(tmp_path, "-m", "dl_lab.train", "optimizer=adamm")
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("error: optimizer=adamm ")


def test_a_closed_pipe_is_not_reported_as_a_folder_that_cannot_be_written(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        line = [sys.executable, "-u", "-m", "dl_lab.train", "--help"]
        ended = subprocess.run(line, cwd=tmp_path, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert "cannot be written" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_options_can_stand_between_keys(tmp_path):
    assert (
        train(tmp_path, "model=cnn", "--cfg", "job", "seed=5").out
        == train(tmp_path, "--cfg", "job", "model=cnn", "seed=5").out
    )
    ended = train(tmp_path, *TINY, "--multirun", "hydra/launcher=in_turn", "seed=0,1")
    assert (ended.status, len(ended.runs)) == (0, 2)


@pytest.mark.parametrize("mode", ["-m", None])
def test_a_value_may_begin_with_the_home_folder(tmp_path, monkeypatch, mode):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my.csv").write_text(TABLE)
    words = ["dataset=csv", "dataset.targets=[price]", "dataset.features=[area]", "model=linear", "train.steps=1"]
    given = [*words, *([mode, "dataset.path=~/my.csv,~/./my.csv"] if mode else ["dataset.path=~/my.csv"])]
    assert train(tmp_path, *given).status == 0
    ended = train(tmp_path, *(each.replace("~", "~nobody-here") for each in given))
    assert ended.status == 2
    assert ended.err == "error: dataset.path=~nobody-here/my.csv has no such home folder; allowed: a folder or file\n"


def test_config_dir_adds_a_choice(tmp_path):
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "wide.yaml").write_text("name: mlp\nhidden_sizes: [7, 5]\nactivation: tanh\n")
    assert "mlp, transformer, wide\n" in train(tmp_path, "--config-dir", "own", "--help").out
    ended = train(tmp_path, "--config-dir", "own", "model=wide", *TINY)
    assert ended.status == 0
    # iris has 4 features and 3 classes: (4 + 1) * 7 + (7 + 1) * 5 + (5 + 1) * 3 weights and biases
    assert ended.summary["parameters"] == 35 + 40 + 18


def test_a_run_prints_its_metrics_its_folder_and_the_tensorboard_command(tmp_path):
    ended = train(tmp_path, *TINY)
    assert ended.status == 0
    assert ended.err == ""
    lines = [line for line in ended.out.splitlines() if line not in ended.summary["warnings"]]
    *_, validation, test, run, look, evaluate, predict, longer = lines
    best, tested = ended.summary["best"], ended.summary["test"]
    assert validation.startswith(f"val      loss {best['loss']:.4g}  accuracy {best['accuracy']:.4g}  ")
    assert f"step {best['step']:.0f}" in validation
    assert test.startswith(f"test     loss {tested['loss']:.4g}  accuracy {tested['accuracy']:.2f} (")
    low, high = ended.summary["test_intervals"]["accuracy"]
    assert f"(95 % {low:.2f} to {high:.2f})  (the same checkpoint, 30 examples)" in test
    assert len(ended.out.splitlines()) > len(lines)  # six steps are too few to learn
    assert run == f"run      {ended.run}"
    assert look == f"look     tensorboard --logdir {ended.run}"
    assert evaluate == f"evaluate python -m dl_lab.evaluate run={ended.run}"
    assert predict == f"predict  python -m dl_lab.predict run={ended.run} path=NEW"
    assert longer == f"longer   python -m dl_lab.train resume={ended.run} train.steps=12"


def test_a_run_is_composed_once(tmp_path, monkeypatch):
    compose, times = ConfigLoaderImpl._load_configuration_impl, []

    def counted(self: ConfigLoaderImpl, *given: object, **named: object) -> DictConfig:
        times.append(given)
        return compose(self, *given, **named)

    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counted)
    assert train(tmp_path, *TINY).status == 0
    assert len(times) == 1


def test_a_choice_can_set_the_mode_of_hydra(tmp_path):
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "swept.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\n")
    ended = train(tmp_path, "--config-dir", "own", "experiment=swept", "seed=1,2", *TINY)
    assert ended.status == 0, ended.err
    assert [run.parent.parent.parent.name for run in ended.runs] == ["sweeps", "sweeps"]

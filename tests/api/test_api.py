"""The Python API: the files, errors and metrics of the commands, as objects."""

import json
import re
import subprocess
import sys
from doctest import DocTestParser
from pathlib import Path

import polars as pl
import pytest
import torch
from support.commands import TINY, command, train

import dl_lab
from dl_lab import evaluate as evaluate_command
from dl_lab.runs.reader import read_strict

MISTAKES = [
    ("modl=cnn",),
    ("model=cn",),
    ("optimizer.lr=1,2",),
    ("optimizer.lr=fast",),
    ("optimizer.lr=[1",),
    ("model",),
    ("=3",),
    ("+lr=1",),
    ("model=3",),
    ("name=${x}",),
    ("sweep.trials=3",),
    ("imports=[no_such_module]",),
    ("dataset=table", "dataset.path=no.csv", "dataset.targets=[y]"),
    ("dataset=table", "dataset.path=no.csv"),
    ("model=cnn", "dataset=iris"),
    ("train.batch_size=9999",),
    ("hydra.run.dir=",),
    ("resume=nowhere",),
    ("rerun=nowhere",),
    ("resume=a", "rerun=b"),
    ("experiment=nothing",),
    ("name=${oc.env:NO_SUCH_VARIABLE}",),
    ("device=tpu",),
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_importing_dl_lab_imports_neither_torch_nor_hydra():
    code = (
        "import sys, dl_lab; assert 'run' in dir(dl_lab);"
        "print([name for name in ('torch', 'hydra', 'numpy', 'dl_lab.core') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_names_are_those_of_the_package_and_no_others():
    for name in dl_lab.__all__:
        assert getattr(dl_lab, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = dl_lab.trian


@pytest.mark.parametrize(
    "overrides",
    [
        TINY,
        ("experiment=multiple_heads", "train.epochs=null", "train.steps=3", "train.validate_every=2"),
        ("model=cnn", "dropout=dropout", "train.steps=3", "train.validate_every=2"),
        ("dataset=text", "dataset.path=text.txt", "dataset.context_length=4", "model=transformer", "train.steps=3"),
    ],
    ids=["iris", "experiment", "images", "text"],
)
def test_a_run_writes_what_the_command_writes_to_the_last_bit(overrides, folder):
    for here in (folder, folder / "command"):
        here.mkdir(exist_ok=True)
        (here / "text.txt").write_text("to be or not to be, that is the question " * 20)
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            run = dl_lab.run(*overrides)
    finally:
        torch.set_default_dtype(torch.float32)
    ended = train(folder / "command", *overrides)
    assert ended.status == 0
    assert run.folder.parents[2] == folder
    assert (run.folder / "metrics.jsonl").read_bytes() == (ended.run / "metrics.jsonl").read_bytes()
    mine, theirs = (read_strict(each).config for each in (run.folder, ended.run))
    assert {**mine, "data_dir": 0, "dataset": {**mine["dataset"], "path": 0}} == {
        **theirs,
        "data_dir": 0,
        "dataset": {**theirs["dataset"], "path": 0},
    }
    assert read_strict(run.folder).overrides == read_strict(ended.run).overrides
    assert run.status == "completed"
    assert run.summary["best"] == ended.summary["best"]


def test_a_run_has_its_metrics_model_and_figures():
    run = dl_lab.run(*TINY)
    points = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    for point, row in zip(points, run.metrics.rows(named=True), strict=True):
        assert {name: value for name, value in row.items() if value is not None} == point
    assert run.metrics.schema["step"] == pl.Int64
    saved = torch.load(run.folder / "checkpoints" / "best.pt")
    assert not run.model.training
    assert all(torch.equal(value, saved["model"][name]) for name, value in run.model.state_dict().items())
    assert {"loss", "accuracy", "confusion", "reliability"} <= run.figures.keys()
    assert run.figures._repr_html_().count("<img") == len(run.figures)
    assert str(run.folder) in repr(run)
    assert dl_lab.load(run.folder).metrics.equals(run.metrics)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluate_returns_what_the_command_prints(split, folder):
    run = dl_lab.run(*TINY)
    metrics = run.evaluate(split)
    printed = command(evaluate_command.main, folder, f"run={run.folder}", f"split={split}").out
    for name, value in metrics.items():
        assert f"  {name} {value:{'.2g' if name == 'accuracy' else '.4g'}}" in printed
    with pytest.raises(
        dl_lab.ConfigError, match=r"^split=tests does not exist in this dataset; allowed: train, .*test$"
    ):
        run.evaluate("tests")


@pytest.mark.parametrize("overrides", MISTAKES, ids=" ".join)
def test_a_mistake_raises_the_line_of_the_command(overrides, folder):
    with pytest.raises(dl_lab.ConfigError) as caught:
        dl_lab.run(*overrides)
    ended = train(folder, *overrides)
    assert (ended.status, ended.err) == (2, f"error: {caught.value}\n")
    link = caught.value
    while link is not None:
        assert not type(link).__module__.startswith(("hydra", "omegaconf"))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    assert list(folder.rglob("metrics.jsonl")) == []


@pytest.mark.parametrize(
    ("arguments", "keywords", "line"),
    [
        (("-m",), {}, r"-m is an option; allowed: .*; hint: dl_lab.sweep .*"),
        ((3,), {}, "3 is not text; allowed: group=choice and key=value"),
        (("hydra.mode=MULTIRUN",), {}, "hydra.mode=MULTIRUN has no effect here; allowed: .*; hint: dl_lab.sweep"),
        ((), {"config_dir": "nowhere"}, "config_dir=nowhere is not a folder; allowed: an existing folder"),
        ((), {"resume": "a", "rerun": "b"}, "resume=a and rerun=b; allowed: one of them"),
    ],
)
def test_a_mistake_of_a_call_is_one_line(arguments, keywords, line):
    with pytest.raises(dl_lab.ConfigError, match=f"^{line}$"):
        dl_lab.run(*arguments, **keywords)


def test_a_diverged_run_raises_the_line_of_the_command(folder):
    overrides = ("dataset=line", "optimizer=sgd", "optimizer.lr=1e30", "train.steps=20")
    with pytest.raises(dl_lab.Diverged) as caught:
        dl_lab.run(*overrides)
    ended = train(folder / "command", *overrides)
    mine, theirs = (str(text).partition(" (run")[0] for text in (caught.value, ended.err.removeprefix("error: ")))
    assert mine == theirs


def test_code_of_a_user_that_exits_is_an_error(folder):
    (folder / "leaving.py").write_text("raise SystemExit(3)")
    with pytest.raises(dl_lab.ConfigError, match=r"^imports=leaving cannot be imported"):
        dl_lab.run("imports=[leaving]")


def test_modules_are_imported_only_if_the_caller_names_them(folder, monkeypatch):
    (folder / "own.py").write_text("")
    run = dl_lab.run(*TINY, "imports=[own]")
    assert run.imports == ("own",)
    monkeypatch.delitem(sys.modules, "own")
    loaded = dl_lab.load(run.folder)
    assert loaded.model is not None
    assert "own" not in sys.modules  # nothing that the run needs is in it
    assert dl_lab.load(run.folder, imports=["own"]).model is not None
    assert "own" in sys.modules


def test_own_choices_come_from_a_folder(folder):
    (folder / "conf" / "optimizer").mkdir(parents=True)
    (folder / "conf" / "optimizer" / "slow_sgd.yaml").write_text("# SGD.\ndefaults:\n  - sgd\n  - _self_\nlr: 1.0e-5\n")
    run = dl_lab.run(*TINY, "optimizer=slow_sgd", config_dir="conf")
    assert run.config["optimizer"]["lr"] == 1e-5


def test_a_run_is_repeated_and_lengthened(folder):
    run = dl_lab.run(*TINY)
    again = dl_lab.run(rerun=run.folder)
    assert again.folder != run.folder
    assert again.metrics.equals(run.metrics)
    longer = dl_lab.run("train.steps=9", resume=run.folder)
    assert longer.folder == run.folder
    assert longer.summary["steps"] == 9


@pytest.mark.parametrize("function", [dl_lab.run, dl_lab.load, pytest.param(dl_lab.sweep, marks=pytest.mark.faults)])
def test_examples_of_a_function_are_true(function):
    names = {"dl_lab": dl_lab}
    if function is dl_lab.load:
        names["folder"] = dl_lab.run(*TINY).folder
    examples = DocTestParser().get_examples(function.__doc__)
    assert any(example.want for example in examples)
    for example in examples:
        if example.want:
            assert repr(eval(example.source, names)) == example.want.strip()
        else:
            exec(example.source, names)


@pytest.mark.faults  # it has a sweep
def test_example_of_the_guide_runs(capsys):
    text = (Path(dl_lab.__file__).parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(
        r"```python\n(.*?)```", text.partition("## Python")[2].partition("## The run folder")[0], re.DOTALL
    )
    exec(code, {})
    assert "2 configurations, 2 runs, by best/accuracy" in capsys.readouterr().out

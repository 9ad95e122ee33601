"""The command: its mistakes, the folder that it writes to, and the parts of the graph against other libraries."""

import errno
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from support.commands import TINY, command, train
from support.exports import by_script, exported
from support.models import folder_model

from dl_lab import export
from dl_lab.core.errors import ConfigError
from dl_lab.inference.exporting.folder import RECORD, publishing
from dl_lab.inference.exporting.graph import features_of_date
from dl_lab.inference.predictions import predict


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("run"), *TINY, "model=linear").run


def error_line(folder: Path, *arguments: str) -> str:
    ended = command(export.main, folder, *arguments)
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "allowed: " in ended.err or "hint: " in ended.err
    return ended.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["to=onnx"], ("run", "missing")),
        (["RUN"], ("to", "missing")),
        (["RUN", "to=onx"], ("to=onx", "nearest: onnx)")),
        (["RUN", "to=torch", "checkpoint=first"], ("checkpoint=first", "best, last")),
        (["run=nowhere", "to=torch"], ("nowhere/checkpoints/best.pt",)),
        (["RUN", "to=torch", "out=mine"], ("mine/notes.txt", "not replaced", "out=FOLDER")),
        (["RUN", "to=torch", "out=mine/notes.txt"], ("notes.txt is a file",)),
        (["RUN", "to=torch", "out=link"], ("link is a link",)),
        (["RUN", "to=torch", "out=mine/notes.txt/new"], ("notes.txt/new cannot be written",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_a_one_line_error(run, tmp_path, arguments, parts):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    line = error_line(tmp_path, *(f"run={run}" if argument == "RUN" else argument for argument in arguments))
    assert all(part in line for part in parts)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(("to", "module"), [("onnx", "onnxruntime"), ("safetensors", "safetensors")])
def test_a_missing_library_is_named_with_its_extra(run, tmp_path, monkeypatch, to, module):
    monkeypatch.setitem(sys.modules, module, None)
    line = error_line(tmp_path, f"run={run}", f"to={to}")
    assert f"to={to} needs {module}" in line
    assert f"pip install 'dl_lab[{to}]'" in line


def test_help_names_every_key(tmp_path):
    ended = command(export.main, tmp_path, "--help")
    assert ended.status == 0
    assert all(f"  {key}" in ended.out for key in export.ExportConfig.__dataclass_fields__)


def test_an_export_replaces_only_files_that_exports_have_written(tmp_path):
    out = tmp_path / "out"

    def write(**files: str) -> None:
        with publishing(out) as folder:
            for name, content in files.items():
                (folder / name.replace("_", ".")).write_text(content)

    write(model_py="1", config_json="{}")
    write(model_py="2")
    assert {path.name for path in out.iterdir()} == {RECORD, "model.py"}
    with pytest.raises(ZeroDivisionError), publishing(out) as folder:
        (folder / "model.py").write_text(str(1 / 0))
    assert (out / "model.py").read_text() == "2"
    (out / "model.py").write_text("changed")
    with pytest.raises(ConfigError, match=r"model.py is not as an export has written it"):
        write(model_py="3")
    assert (out / "model.py").read_text() == "changed"
    with pytest.raises(ZeroDivisionError), publishing(tmp_path / "new") as folder:
        (folder / "model.py").write_text(str(1 / 0))
    assert not (tmp_path / "new").exists()


def test_the_calendar_of_the_graph_is_that_of_python():
    draw, first = np.random.default_rng(0), datetime(1000, 1, 1, tzinfo=UTC)
    days = [0, 59, 36524, 146096, *draw.integers(0, 3_287_000, 3000).tolist()]  # until the end of the year 9999
    dates = [first + timedelta(days=day, seconds=int(draw.integers(0, 86400))) for day in days]
    seconds = torch.tensor([date.timestamp() for date in dates], dtype=torch.float64)
    found = features_of_date(seconds, ["year", "month", "weekday", "hour"], first=-86400.0)
    expected = [[each.year, each.month, each.isoweekday(), each.hour] for each in dates]
    assert found[:, :4].tolist() == expected
    assert found[:, 4].tolist() == pytest.approx([second / 86400 + 1 for second in seconds.tolist()])


@pytest.mark.parametrize("precision", ["float64", pytest.param("bfloat16", marks=pytest.mark.faults)])
def test_pictures_of_a_model_in_another_precision(tmp_path, precision):
    cnn = ("model=cnn", "model.normalization=batch", "model.channels=[4]", "dropout=dropout", "dropout.input_p=0.1")
    trained, pictures = folder_model(tmp_path, *cnn, f"precision={precision}")
    chosen = sorted(pictures.rglob("*.png"))[:5]
    found = by_script(exported(trained.folder, "onnx", notes="float32"), *chosen)
    (head,) = trained.spec.heads
    expected = predict(trained, [str(path) for path in chosen]).select(f"{head.name}/{label}" for label in head.labels)
    values = [list(row[head.name].values()) for row in found]
    tolerance = 1e-5 if precision == "float64" else 3e-2  # bfloat16 has 8 bits
    assert np.abs(np.array(values) - expected.to_numpy()).max() < tolerance


def test_a_full_disk_is_one_line_and_leaves_nothing(run, tmp_path, monkeypatch):
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    ended = command(export.main, tmp_path, f"run={run}", "to=safetensors", "out=new")
    assert (ended.status, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "No space left on device: 'new'" in ended.err
    assert not (tmp_path / "new").exists()

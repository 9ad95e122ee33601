"""Every command notices data that have changed since training, and accepts moved data by their new place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.commands import Ended, command, train

from dl_lab import compare, evaluate

SHORT = ("model=linear", "train.steps=4", "train.batch_size=8")


def write_table(folder: Path) -> list[str]:
    numbers = np.random.default_rng(0).normal(size=(60, 3))
    rows = [f"{a:.6f},{b:.6f},{'high' if c > 0 else 'low'}" for a, b, c in numbers]
    (folder / "data.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    return [*SHORT, "dataset=csv", "dataset.path=data.csv", "dataset.targets=[y]", "dataset.task=classification"]


def write_text(folder: Path) -> list[str]:
    (folder / "data.txt").write_text("to be or not to be, that is the question\n" * 20)
    model = ["model=transformer", "model.num_layers=1", "model.embedding_size=8", "model.num_heads=1", "train.steps=4"]
    return [*model, "dataset=text", "dataset.path=data.txt", "dataset.context_length=8", "train.batch_size=8"]


def write_pictures(folder: Path) -> list[str]:
    for number in range(24):
        path = folder / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 10 * number).save(path)
    return [*SHORT, "model=cnn", "dataset=image_folder", "dataset.path=data", "dataset.size=8", "dataset.num_workers=0"]


def append_row(folder: Path) -> None:
    path = folder / "data.csv"
    path.write_text(path.read_text() + "0.5,0.5,low\n")


def swap_rows(folder: Path) -> None:
    head, first, second, *rest = (folder / "data.csv").read_text().splitlines()
    (folder / "data.csv").write_text("\n".join([head, second, first, *rest]))


def replace(old: str, new: str) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        path = next(folder.glob("data.*"))
        path.write_text(path.read_text().replace(old, new))

    return act


def add_picture(folder: Path) -> None:
    shutil.copy(folder / "data" / "a" / "0.png", folder / "data" / "b" / "new.png")


def rename_class(folder: Path) -> None:
    (folder / "data" / "b").rename(folder / "data" / "c")


def add_column(folder: Path) -> None:
    head, *rest = (folder / "data.csv").read_text().splitlines()
    (folder / "data.csv").write_text("\n".join([f"new,{head}", *(f"1,{row}" for row in rest)]))


CHANGES = {
    "row appended": (write_table, append_row),
    "rows in another order": (write_table, swap_rows),
    "columns swapped": (write_table, replace("a,b,y", "b,a,y")),
    "column added": (write_table, add_column),
    "class renamed": (write_table, replace("high", "top")),
    "character added": (write_text, replace("question", "question!")),
    "word replaced": (write_text, replace("question", "equation")),
    "picture added": (write_pictures, add_picture),
    "folder renamed": (write_pictures, rename_class),
}


def refused(ended: Ended, why: str = "has changed since") -> bool:
    return ended.status == 2 and ended.err.count("\n") == 1 and why in ended.err


@pytest.mark.parametrize("change", CHANGES)
def test_every_command_refuses_changed_data(tmp_path, change):
    write, act = CHANGES[change]
    overrides = write(tmp_path)
    assert train(tmp_path, *overrides, "hydra.run.dir=run").status == 0
    act(tmp_path)
    assert refused(command(evaluate.main, tmp_path, "run=run"))
    assert refused(train(tmp_path, "resume=run", "train.steps=8"))
    assert refused(train(tmp_path, "rerun=run", "hydra.run.dir=again"))


@pytest.mark.parametrize("write", [write_table, write_text, write_pictures])
def test_moved_data_are_named_by_their_new_place(tmp_path, write):
    overrides = write(tmp_path)
    assert train(tmp_path, *overrides, "hydra.run.dir=run").status == 0
    metrics = evaluated(tmp_path, "run=run")
    data = next(tmp_path.glob("data*"))
    (tmp_path / "elsewhere").mkdir()
    place = shutil.move(data, tmp_path / "elsewhere" / f"moved{data.suffix}")
    for ended in (command(evaluate.main, tmp_path, "run=run"), train(tmp_path, "resume=run", "train.steps=8")):
        assert ended.status == 2
        assert "does not exist; hint: if it was moved, dataset.path=PATH" in ended.err
    moved = f"dataset.path={place}"
    assert evaluated(tmp_path, "run=run", moved) == metrics
    assert train(tmp_path, "rerun=run", moved, "hydra.run.dir=again").status == 0
    ended = train(tmp_path, "resume=run", moved, "train.steps=8")
    assert ended.status == 0, ended.err


def evaluated(folder: Path, *arguments: str) -> str:
    ended = command(evaluate.main, folder, *arguments)
    assert ended.status == 0, ended.err
    return ended.out[ended.out.rindex("test  ") :]


def test_other_files_beside_the_pictures_change_nothing(tmp_path):
    overrides = write_pictures(tmp_path)
    assert train(tmp_path, *overrides, "hydra.run.dir=run").status == 0
    (tmp_path / "data" / "a" / ".DS_Store").write_text("x")
    (tmp_path / "data" / "README.txt").write_text("x")
    assert command(evaluate.main, tmp_path, "run=run").status == 0


def test_published_data_in_another_folder_are_compared(tmp_path):
    def publish(folder: Path, value: int) -> None:
        raw = folder / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for part in ("train", "t10k"):
            pixels = np.full((20, 28, 28), value, dtype=np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None]
            (raw / f"{part}-images-idx3-ubyte").write_bytes(bytes([0, 0, 8, 3, *sizes(20, 28, 28)]) + pixels.tobytes())
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, *sizes(20)]) + bytes(range(10)) * 2)

    for name, value in (("one", 1), ("copy", 1), ("other", 2)):
        publish(tmp_path / name, value)
    run = ("dataset=mnist", "dataset.validation=5", *SHORT, f"data_dir={tmp_path}/one", "hydra.run.dir=run")
    assert train(tmp_path, *run).status == 0
    assert refused(command(evaluate.main, tmp_path, "run=run", f"data_dir={tmp_path}/other"))
    assert refused(train(tmp_path, "resume=run", "train.steps=8", f"data_dir={tmp_path}/other"))
    assert command(evaluate.main, tmp_path, "run=run", f"data_dir={tmp_path}/copy").status == 0
    assert train(tmp_path, "resume=run", "train.steps=8", f"data_dir={tmp_path}/copy").status == 0
    for name in ("one", "copy"):  # nothing is downloaded into a place that a run folder names
        (tmp_path / name).rename(tmp_path / f"moved_{name}")
    for ended in (
        train(tmp_path, "resume=run", "train.steps=9"),
        train(tmp_path, "rerun=run"),
        command(evaluate.main, tmp_path, "run=run"),
    ):
        assert refused(ended, ", which the run folder names, does not hold MNIST")
    assert not (tmp_path / "one").exists()
    assert not (tmp_path / "copy").exists()


def sizes(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in numbers)


def test_a_continued_sweep_refuses_data_that_its_first_jobs_did_not_have(tmp_path):
    overrides = write_table(tmp_path)
    assert train(tmp_path, "-m", *overrides, "seed=0,1", "hydra.sweep.dir=sweep").status == 0
    append_row(tmp_path)
    assert refused(train(tmp_path, "-m", *overrides, "seed=0,1,2", "sweep.resume=sweep"))


def test_compare_separates_runs_on_different_data_and_joins_those_on_the_same(tmp_path):
    overrides = write_table(tmp_path)
    shutil.copy(tmp_path / "data.csv", tmp_path / "copy.csv")
    assert train(tmp_path, *overrides, "hydra.run.dir=runs/0").status == 0
    assert train(tmp_path, *overrides, "seed=1", "dataset.path=copy.csv", "hydra.run.dir=runs/1").status == 0
    append_row(tmp_path)
    assert train(tmp_path, *overrides, "seed=2", "hydra.run.dir=runs/2").status == 0
    fingerprints = [json.loads((tmp_path / f"runs/{n}/summary.json").read_text())["data"] for n in range(3)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    out = command(compare.main, tmp_path, "runs").out
    assert fingerprints[0][:8] in out
    assert fingerprints[2][:8] in out
    assert len(list(csv_rows(tmp_path))) == 2


def csv_rows(folder: Path) -> list[str]:
    return next(folder.rglob("compare.csv")).read_text().splitlines()[1:]


def test_a_moved_or_changed_test_file_is_found_by_its_own_key(tmp_path):
    keys = [*write_table(tmp_path), "dataset.test_path=test.csv"]
    lines = (tmp_path / "data.csv").read_text().splitlines()
    (tmp_path / "test.csv").write_text("\n".join([lines[0], *lines[40:]]))
    (tmp_path / "data.csv").write_text("\n".join(lines[:40]))
    assert train(tmp_path, *keys, "hydra.run.dir=run").status == 0
    (tmp_path / "test.csv").rename(tmp_path / "moved.csv")
    gone = "test.csv does not exist; hint: if it was moved, dataset.test_path=PATH"
    assert refused(command(evaluate.main, tmp_path, "run=run"), gone)
    moved = "dataset.test_path=moved.csv"
    assert command(evaluate.main, tmp_path, "run=run", moved).status == 0
    assert train(tmp_path, "resume=run", moved, "train.steps=8").status == 0
    (tmp_path / "moved.csv").write_text("\n".join(lines))
    assert refused(command(evaluate.main, tmp_path, "run=run", moved))

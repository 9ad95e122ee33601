"""Images in a table: rows of pixels as Kaggle ships them, and columns that name picture files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from support.configs import parsed

from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.training.setup import build_data

SHAPES = {1: (6, 5), 3: (6, 5, 3)}  # of pictures, by their channels


def built(path: Path, *overrides: str) -> Data:
    return build_data(parsed("dataset=table", f"dataset.path={path}", "dataset.targets=[label]", *overrides))


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        built(path, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write_digits(path: Path, count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A table as of Kaggle: the label, then one column for each pixel."""
    images, labels = load_digits(return_X_y=True)
    images, labels = images[:count].astype(int), labels[:count]
    header = ",".join(["label", *(f"pixel{place}" for place in range(64))])
    np.savetxt(path, np.column_stack([labels, images]), fmt="%d", delimiter=",", header=header, comments="")
    return images.reshape(-1, 1, 8, 8), labels


def write_pictures(folder: Path, channels: int, ends: str = ".png") -> list[np.ndarray]:
    pixels = [np.random.default_rng(n).integers(0, 256, SHAPES[channels], dtype=np.uint8) for n in range(12)]
    folder.mkdir(exist_ok=True)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"p{number}{ends}")
    return pixels


def write_table(path: Path, names: list[str]) -> Path:
    rows = [f"{name},{'cat' if number % 2 else 'dog'},{number}" for number, name in enumerate(names)]
    path.write_text("\n".join(["file,label,extra", *rows]), encoding="utf-8")
    return path


def test_rows_of_pixels_are_images(tmp_path: Path) -> None:
    images, labels = write_digits(tmp_path / "digits.csv")
    data = built(tmp_path / "digits.csv", "dataset.image_shape=[1,8,8]", "dataset.task=classification",
                 "dataset.shuffle=false", "dataset.test=10", "dataset.validation=10", "model=cnn")  # fmt: skip
    assert data.spec.kind == "image"
    assert data.spec.input_shape == (1, 8, 8)
    assert data.test is not None
    ((tested, wanted),) = data.test.everything(10)
    assert torch.equal(tested, torch.from_numpy(images[-10:].astype(np.uint8)))
    assert wanted.tolist() == labels[-10:].tolist()
    train = images[:40].astype(float)
    prepared = data.prepare(tested)
    np.testing.assert_allclose(prepared, (images[-10:] - train.mean()) / train.std(), rtol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("given", ["p{}.png", "p{}", "./p{}.png"])
def test_a_column_names_pictures(tmp_path: Path, channels: int, given: str) -> None:
    pixels = write_pictures(tmp_path / "train", channels)
    table = write_table(tmp_path / "labels.csv", [given.format(number) for number in range(12)])
    data = built(table, "dataset.images=file", f"dataset.image_folder={tmp_path / 'train'}", "dataset.test=4",
                 f"dataset.image_shape=[{channels},6,5]", "dataset.shuffle=false", "dataset.validation=4")  # fmt: skip
    stored = torch.cat([images for split in (data.train, data.validation, data.test) if split is not None
                        for images, _ in split.everything(100)])  # fmt: skip
    expected = np.stack([each.reshape(6, 5, channels).transpose(2, 0, 1) for each in pixels])
    assert np.array_equal(stored.numpy(), expected)
    assert data.spec.heads[0].labels == ("cat", "dog")


def test_pictures_lie_beside_their_table_and_are_part_of_its_fingerprint(tmp_path: Path) -> None:
    pixels = write_pictures(tmp_path, 1)
    table = write_table(tmp_path / "labels.csv", [f"p{number}.png" for number in range(12)])
    overrides = ("dataset.images=file", "dataset.image_shape=[1,3,3]", "dataset.targets=[extra]")
    before = built(table, *overrides)
    assert before.spec.heads[0].task == "regression"
    Image.fromarray(255 - pixels[0]).save(tmp_path / "p0.png")
    assert built(table, *overrides).fingerprint != before.fingerprint


def test_a_table_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    write_pictures(tmp_path / "private", 1)
    write_pictures(tmp_path / "mine", 1)
    (tmp_path / "mine" / "sub").mkdir()
    (tmp_path / "mine" / "link.png").symlink_to(tmp_path / "private" / "p0.png")
    for name in ("../private/p0.png", str(tmp_path / "private" / "p0.png"), "link.png", "p99.png", "sub"):
        table = write_table(tmp_path / "mine" / "labels.csv", ["p0.png", name, *(f"p{n}" for n in range(2, 12))])
        message = refusal(table, "dataset.images=file", "dataset.image_shape=[1,6,5]", "dataset.stratify=false")
        assert f"line 3, column file: {name} is no picture below" in message


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["dataset.image_shape=[1,8,7]"],
            "56 pixels, but the table has 64 columns of features",
        ),
        (["dataset.image_shape=[8,8]"], r"dataset.image_shape=\[8, 8\].*allowed: .*channels, height, width"),
        (["dataset.images=pixel0"], "needs the size of the images; hint: dataset.image_shape"),
        (["dataset.image_folder=x"], "has no effect without dataset.images"),
        (["dataset.image_shape=[2,8,8]", "dataset.images=pixel0"], "allowed: 1 channel"),
    ],
)
def test_mistakes_in_keys_are_named(tmp_path: Path, overrides: list[str], message: str) -> None:
    write_digits(tmp_path / "digits.csv")
    with pytest.raises(ConfigError, match=message):
        built(tmp_path / "digits.csv", *overrides)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("256", "256 is no pixel"),
        ("0.5", "0.5 is no pixel"),
        ("", "a missing value is no pixel"),
        ("x", "'x' is not a number"),
    ],
)
def test_cells_that_are_no_pixels_are_named(tmp_path: Path, cell: str, problem: str) -> None:
    write_digits(tmp_path / "digits.csv")
    lines = (tmp_path / "digits.csv").read_text().splitlines()
    lines[7] = ",".join([*lines[7].split(",")[:3], cell, *lines[7].split(",")[4:]])
    (tmp_path / "digits.csv").write_text("\n".join(lines))
    message = refusal(tmp_path / "digits.csv", "dataset.image_shape=[1,8,8]", "dataset.task=classification")
    assert f"line 8, column pixel2: {problem}" in message


def test_a_model_for_images_needs_images(tmp_path: Path) -> None:
    write_digits(tmp_path / "digits.csv")
    assert "model=cnn does not fit dataset=table (features" in refusal(tmp_path / "digits.csv", "model=cnn")

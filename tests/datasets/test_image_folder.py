"""Folders of pictures that PIL wrote: which are read, as what class, in what order, and what is refused."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.configs import parsed
from support.pictures import SIZE, write

from dl_lab.core import rng
from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.data.splits import Split
from dl_lab.training.setup import build_data

# From Python 3.12 on a fork beside other threads warns; a DataLoader forks its workers, and torch has threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def built(folder: Path, *overrides: str) -> Data:
    return build_data(
        parsed("dataset=image_folder", f"dataset.path={folder}", f"dataset.size={SIZE}", "dataset.num_workers=0",
               *overrides)
    )  # fmt: skip


def examples(data: Data, split: Split) -> list[tuple[bytes, str]]:
    """The pictures of a split, in the order of evaluation, and the names of their classes."""
    names = data.spec.heads[0].labels
    return [
        (image.numpy().tobytes(), names[label])
        for images, labels in split.batches(split.in_order().split(4))
        for image, label in zip(images, labels, strict=True)
    ]


def refusal(folder: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        built(folder, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_one_folder_a_class_is_split_by_the_seed(tmp_path: Path) -> None:
    classes = write(tmp_path, {"dog": 12, "cat": 8})
    seen = {}
    for seed in (0, 1):
        data = built(tmp_path, "dataset.validation=0.25", "dataset.test=4", f"seed={seed}")
        assert data.spec.heads[0].labels == ("cat", "dog")
        assert data.spec.input_shape == (3, SIZE, SIZE)
        splits = [examples(data, split) for split in (data.train, data.validation, data.test)]
        assert [len(split) for split in splits] == [11, 5, 4]
        assert dict(sum(splits, [])) == classes  # noqa: RUF017  # every picture once, as its class
        seen[seed] = splits
    assert seen[0] != seen[1]
    again = built(tmp_path, "dataset.validation=0.25", "dataset.test=4", "seed=1")
    assert examples(again, again.train) == seen[1][0]


def test_folders_of_splits_are_the_splits(tmp_path: Path) -> None:
    counts = {"train": {"a": 5, "b": 4}, "validation": {"a": 2, "b": 3}, "test": {"a": 1, "b": 2}}
    expected = {part: write(tmp_path / part, of_part, seed) for seed, (part, of_part) in enumerate(counts.items())}
    data = built(tmp_path)
    for part, classes in expected.items():
        assert dict(examples(data, getattr(data, part))) == classes
        assert len(getattr(data, part)) == sum(counts[part].values())


def test_without_a_test_folder_there_is_no_test_split(tmp_path: Path) -> None:
    write(tmp_path / "train", {"a": 3, "b": 3})
    write(tmp_path / "validation", {"a": 1, "b": 1})
    assert built(tmp_path).test is None


@pytest.mark.parametrize("part", ["Validation", "test"])
def test_held_out_splits_may_lack_classes_and_keep_the_numbers_of_training(tmp_path: Path, part: str) -> None:
    write(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    expected = write(tmp_path / part, {"a": 0, "b": 3, "c": 1}, 1)
    data = built(tmp_path, "dataset.validation=1")
    assert dict(examples(data, getattr(data, part.lower()))) == expected
    write(tmp_path / part, {"d": 1}, 2)
    assert f"{tmp_path / part} has the classes d; allowed: those of training, a, b, c" in refusal(tmp_path)


def layout(root: Path, *folders: str) -> Path:
    """Write two pictures into each folder, or an empty folder if its name ends with a slash."""
    for seed, folder in enumerate(folders):
        path = root / folder
        write(path.parent, {path.name: 0 if folder.endswith("/") else 2}, seed)
    return root


@pytest.mark.parametrize("train", ["train", "TRAINING"])
@pytest.mark.parametrize("validation", ["val", "Valid", "VALIDATION", "dev", ""])
@pytest.mark.parametrize("test", ["Test", "testing", ""])
def test_splits_have_several_spellings(
    tmp_path: Path, train: str, validation: str, test: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"train": train, "validation": validation, "test": test}
    written = {part: write(tmp_path / name, {"a": 2, "b": 2}) for part, name in parts.items() if name}
    data = built(tmp_path, "dataset.validation=1")
    out = capsys.readouterr().out
    for part, classes in written.items():
        if validation or part == "test":
            assert dict(examples(data, getattr(data, part))) == classes
            assert f"{part:<10}  {tmp_path / parts[part]}: 4 pictures of 2 classes (a, b)\n" in out
    if not validation:
        assert f"validation  from {tmp_path / train}: 1 picture of " in out
        assert dict(examples(data, data.train) + examples(data, data.validation)) == written["train"]
    assert (data.test is None) == (not test)


REFUSED = {  # folders of pictures, and what the message says
    "sibling": (["train/a", "train/b", "eval/a", "eval/b"], "contains the splits train, and beside them eval;"),
    "empty sibling": (["train/a", "train/b", "labels/"], "contains the splits train, and beside them labels;"),
    "twice": (["train/a", "train/b", "val/a", "valid/a"], "contains the splits train, val, valid; allowed: one folder"),
    "no training": (["val/a", "val/b", "test/a", "test/b"], "allowed: one folder for training"),
    "flat splits": (["train", "test"], "train contains no class folder, but 2 pictures;"),
    "flat splits beside a class": (["train", "test", "bus"], "contains the splits test, train, and beside them bus"),
    "one class": (["cat"], "contains only one class folder, cat; allowed: one folder for each class"),
    "too deep": (["data/cat", "data/dog"], "at least two classes; hint: dataset.path={}/data"),
    "splits too deep": (["x/data/train/cat", "x/data/test/cat"], "hint: dataset.path={}/x/data"),
    "split too deep": (["train/train/cat", "train/train/dog"], "hint: dataset.path={}/train/train"),
    "named otherwise": (
        ["train_set/a", "train_set/b", "Test-Set/c"],
        "{} contains Test-Set, train_set, which are named as splits, not as classes",
    ),
    "alike": (
        ["images/a", "images/b", "masks/a", "masks/b"],
        "images, masks contain folders that look like classes (a, b)",
    ),
    "classes in a class": (["images/a", "images/b", "a"], "images contain folders that look like classes (a, b)"),
    "camel case": (["trainA", "trainB", "testA", "testB"], "contains testA, testB, trainA, trainB, which are named"),
    "numbers": (["train", "test1"], "contains test1, train, which are named as splits"),
    "beside others": (["seg_train/x/a", "seg_test/x/a", "pred"], "contains seg_test, seg_train, which are named"),
    "one word": (["Trainset/a", "Trainset/b", "testset/a"], "contains Trainset, testset, which are named as splits"),
    "blanks": (["cat", "cat ", "dog"], "contains names that differ only in blanks"),
    "unlabelled": (["train/a", "train/b", "test"], "of a class in {}/test (2 pictures, 0 class folders);"),
    "empty split": (["train/a", "train/b", "test/"], "of a class in {}/test (nothing, 0 class folders);"),
    "empty class": (["train/a", "train/b", "train/c/"], "no readable image of a class in {}/train/c (nothing);"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_layouts_are_refused(tmp_path: Path, case: str) -> None:
    folders, said = REFUSED[case]
    assert said.format(tmp_path) in refusal(layout(tmp_path, *folders))


def test_a_class_may_be_called_train_and_contain_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = built(layout(tmp_path, "bus", "bus/red", "bus/bus", "train", "10", "9"))
    assert data.spec.heads[0].labels == ("10", "9", "bus", "train")
    assert len(data.train) + len(data.validation) + len(data.test) == 12
    assert "nested      4 pictures in folders inside class folders" in capsys.readouterr().out


def test_classes_may_be_named_like_one_split_or_contain_such_a_word(tmp_path: Path) -> None:
    names = ("bullet train", "test", "valley")
    assert built(layout(tmp_path, *names)).spec.heads[0].labels == names


def test_accents_are_equal_in_both_forms_of_unicode(tmp_path: Path) -> None:
    """macOS writes the accent of é as a character of its own; archives keep this."""
    data = built(layout(tmp_path, "train/caf\u00e9", "train/tea", "test/cafe\u0301"), "dataset.validation=1")
    assert data.spec.heads[0].labels == ("caf\u00e9", "tea")
    assert {name for _, name in examples(data, data.test)} == {"caf\u00e9"}


def test_classes_that_differ_only_in_case_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    built(layout(tmp_path, "Cat", "cat", "A", "a"))
    assert "classes that differ only in case: Cat, cat\n" in capsys.readouterr().out


def test_pictures_outside_class_folders_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout(tmp_path, "train/a", "train/b")
    for name in ("0.png", "train/1.png"):
        (tmp_path / name).write_bytes(b"")
    built(tmp_path, "dataset.validation=1")
    loose = ", ".join(str(tmp_path / name) for name in ("0.png", "train/1.png"))
    assert f"not used    2 pictures outside class folders: {loose}\n" in capsys.readouterr().out


def test_hidden_files_and_folders_are_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout(tmp_path, "train/a", "train/b", ".git", "__MACOSX/train/a", "train/.thumbnails", "train/a/@eaDir")
    for name in (".DS_Store", "train/a/._0.png", "train/b/Thumbs.db", "train/b/desktop.ini"):
        (tmp_path / name).write_bytes(b"\0")
    data = built(tmp_path, "dataset.validation=1")
    assert data.spec.heads[0].labels == ("a", "b")
    assert len(data.train) + len(data.validation) == 4
    assert "not used" not in capsys.readouterr().out


def test_the_order_is_the_same_with_and_without_workers(tmp_path: Path) -> None:
    write(tmp_path, {"a": 10, "b": 9})
    data = [built(tmp_path, f"dataset.num_workers={workers}") for workers in (0, 2)]
    order = data[0].train.shuffled(rng.generator(0, "order"))
    read = [list(each.train.batches(order.split(4))) for each in data]
    for (images, labels), (other_images, other_labels) in zip(*read, strict=True):
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)
    assert torch.equal(data[0].mean, data[1].mean)


def floats(images: list[tuple[bytes, str]]) -> NDArray[np.float64]:
    return np.stack([np.frombuffer(image, dtype=np.uint8).reshape(3, SIZE, SIZE) for image, _ in images]).astype(float)


def test_statistics_are_those_of_the_training_pictures_alone(tmp_path: Path) -> None:
    write(tmp_path / "train", {"a": 9, "b": 8})
    write(tmp_path / "validation", {"a": 3, "b": 3}, 1)
    before = built(tmp_path)
    pixels = floats(examples(before, before.train))
    # float64 sums of fewer than 1e4 terms
    np.testing.assert_allclose(before.mean.flatten(), pixels.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(before.std.flatten(), pixels.std((0, 2, 3)), rtol=1e-12)
    for path in (tmp_path / "validation").rglob("*.png"):
        Image.new("RGB", (SIZE, SIZE), (255, 0, 255)).save(path)
    after = built(tmp_path)
    assert torch.equal(after.mean, before.mean)
    assert torch.equal(after.std, before.std)
    assert after.preprocessing == before.preprocessing


def test_statistics_may_come_from_fewer_training_pictures_drawn_by_the_seed(tmp_path: Path) -> None:
    write(tmp_path, {"a": 10, "b": 10})
    data = built(tmp_path, "dataset.statistics_examples=1")
    means = floats(examples(data, data.train)).mean((2, 3))
    assert np.isclose(means, data.mean.flatten()).all(axis=1).sum() == 1  # of one training picture
    assert torch.equal(built(tmp_path, "dataset.statistics_examples=1").mean, data.mean)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
@pytest.mark.parametrize("grey", [True, False])
def test_every_kind_of_picture_becomes_bytes_of_one_size(tmp_path: Path, mode: str, grey: bool) -> None:
    for number, height in enumerate((3, 6, 20)):
        for name, colour in (("a", (255, 255, 255)), ("b", (0, 0, 0))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (9, height), colour).convert(mode).save(tmp_path / name / f"{number}.png")
    data = built(tmp_path, f"dataset.grey={grey}", "dataset.validation=1", "dataset.test=0")
    ((images, labels),) = data.train.batches([data.train.in_order()])
    assert images.dtype == torch.uint8
    assert images.shape[1:] == data.spec.input_shape == (1 if grey else 3, SIZE, SIZE)
    assert torch.equal(images, (255 * (1 - labels)).byte()[:, None, None, None].expand_as(images))


def test_grey_is_the_luminance_of_the_colours(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (SIZE, SIZE), (200, 100, 50)).save(tmp_path / name / f"{number}.png")
    data = built(tmp_path, "dataset.grey=true", "dataset.validation=1", "dataset.test=1")
    # ITU-R 601-2; PIL rounds to a whole number
    assert data.mean.item() == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=0.51)


def test_files_that_are_no_pictures_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = write(tmp_path, {"a": 10, "b": 10})
    for name in ("README", "a/notes.txt", "a/new\nline.heic", *(f"b/{number}.svg" for number in range(9))):
        (tmp_path / name).write_text("not a picture")
    data = built(tmp_path, "dataset.test=0")
    assert len(data.train) + len(data.validation) == len(classes)
    names = ", ".join(
        str(tmp_path / name) for name in ("README", "a/new?line.heic", "a/notes.txt", "b/0.svg", "b/1.svg")
    )
    assert f"not used    12 files of other types: {names} and 7 more\n" in capsys.readouterr().out


@pytest.mark.parametrize("skip", [False, True])
def test_broken_pictures_of_all_splits_are_listed_or_skipped(
    tmp_path: Path, skip: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {part: write(tmp_path / part, {"a": 3, "b": 3}, seed) for seed, part in enumerate(("train", "val", "test"))}
    broken = [tmp_path / name for name in ("train/a/0.png", "val/b/1.png", "test/a/2.png")]
    for path in broken:
        pixels = np.array(Image.open(path)).transpose(2, 0, 1).tobytes()
        del parts[path.parent.parent.name][pixels]
        path.write_bytes(path.read_bytes()[:-30])
    if not skip:
        message = refusal(tmp_path)
        assert f"dataset.path={tmp_path} contains 3 broken pictures: " in message
        assert "; allowed: " in message
        assert all(f"{path} is not a readable image (" in message for path in broken)
        return
    data = built(tmp_path, "dataset.skip_broken=true")
    for split, classes in zip((data.train, data.validation, data.test), parts.values(), strict=True):
        assert dict(examples(data, split)) == classes
        assert len(split) == 5
    assert f"skipped 3 broken pictures: {broken[0]} is not a readable image" in capsys.readouterr().out
    for path in (tmp_path / "train" / "b").iterdir():
        path.write_bytes(b"")
    said = f"no readable image of a class in {tmp_path / 'train' / 'b'} (3 pictures); "
    assert said in refusal(tmp_path, "dataset.skip_broken=true")


def test_files_of_several_pictures_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"a": 3, "b": 3})
    pages = [Image.new("L", (SIZE, SIZE), shade) for shade in (10, 20)]
    pages[0].save(tmp_path / "a" / "scan.tif", save_all=True, append_images=pages[1:])
    built(tmp_path)
    assert f"read from 1 file with several: {tmp_path / 'a' / 'scan.tif'}\n" in capsys.readouterr().out


def test_pictures_that_8_bits_would_make_black_are_refused(tmp_path: Path) -> None:
    """12 bits in a file of 16: as bytes they would have 16 levels."""
    write(tmp_path, {"a": 3, "b": 3})
    picture = Image.fromarray(np.full((SIZE, SIZE), 4095, dtype=np.uint16))
    picture.save(tmp_path / "a" / "16.png")
    assert "more than 8 bits use 6.25% of their range" in refusal(tmp_path)
    Image.fromarray(np.full((SIZE, SIZE), 20_000, dtype=np.uint16)).save(tmp_path / "b" / "16.png")
    built(tmp_path)  # one of them is bright, and so the other is a dark picture


def test_links_that_lead_nowhere_or_back_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a": 3, "b": 3})
    os.mkfifo(tmp_path / "a" / "pipe.png")  # reading it would wait
    for name, target, said in (
        ("up", "..", "a/up is a link out of dataset.path"),
        ("gone.png", "nothing", "a/gone.png is not a readable image (FileNotFoundError)"),
        ("loop.png", "loop.png", "a/loop.png is not a readable image (OSError)"),
    ):
        (tmp_path / "a" / name).symlink_to(target)
        assert said in refusal(tmp_path)
        (tmp_path / "a" / name).unlink()


def test_a_missing_folder_and_a_file_in_its_place_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for path in (tmp_path / "none", tmp_path / "file"):
        assert f"dataset.path={path} is not a folder" in refusal(path)


def empty(folder: Path) -> None:
    folder.mkdir(exist_ok=True)


def one_empty_class(folder: Path) -> None:
    write(folder, {"a": 3, "hollow": 0})


def pictures_without_classes(folder: Path) -> None:
    write(folder.parent, {folder.name: 3})


@pytest.mark.parametrize(
    ("make", "said"), [(empty, "class folder"), (one_empty_class, "hollow"), (pictures_without_classes, "class folder")]
)
def test_folders_without_pictures_are_refused(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / "pictures")
    message = refusal(tmp_path / "pictures")
    assert f"dataset.path={tmp_path / 'pictures'}" in message
    assert said in message
    assert "allowed: one folder for each class" in message


def test_too_few_pictures_to_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a": 1, "b": 1})
    assert "dataset.validation=0.1" in refusal(tmp_path)

"""Torchvision's sets, from files that we write in the form in which they are published, and from the real ones."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.commands import train
from support.configs import parsed
from support.interrupted import assert_equal, interrupted
from support.server import body, files, serving
from support.torchvision_sets import (
    CIFAR,
    IDX,
    LABELS,
    SETS,
    TEST,
    Published,
    accept,
    as_published,
    idx,
    made_up,
    md5,
    pairs,
    publish,
)
from torchvision import datasets
from torchvision.transforms import ToTensor

from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.datasets import images, mnist, text
from dl_lab.training.setup import build_data

every_set = pytest.mark.parametrize("name", SETS)


def archives(name: str, contents: dict[str, bytes], url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a mirror serves: a gzip file each, or one tar; torchvision is pointed at `url` for it."""
    if name in IDX:
        dataset_class = getattr(datasets, IDX[name])
        served = {f"{Path(path).name}.gz": gzip.compress(content) for path, content in contents.items()}
        monkeypatch.setattr(dataset_class, "mirrors", [f"{url}/"])
        monkeypatch.setattr(dataset_class, "resources", [(file, md5(content)) for file, content in served.items()])
        sums = tuple(hashlib.sha256(content).hexdigest() for content in served.values())
        monkeypatch.setitem(mnist.SHA256, IDX[name], sums)
        return served
    dataset_class = getattr(datasets, CIFAR[name])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in contents.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    accept(name, contents, monkeypatch)
    monkeypatch.setattr(dataset_class, "url", f"{url}/{dataset_class.filename}")
    monkeypatch.setattr(dataset_class, "tgz_md5", md5(buffer.getvalue()))
    monkeypatch.setitem(images.SHA256, CIFAR[name], hashlib.sha256(buffer.getvalue()).hexdigest())
    return {dataset_class.filename: buffer.getvalue()}


def built(name: str, folder: Path, *overrides: str) -> Data:
    return build_data(parsed(f"dataset={name}", f"data_dir={folder}", *overrides))


def refusal(name: str, folder: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        built(name, folder, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_set
def test_training_and_validation_share_the_published_training_split_and_test_is_the_published_one(
    name, tmp_path, monkeypatch
):
    published = made_up(name)
    publish(name, published, tmp_path, monkeypatch)
    data = built(name, tmp_path, "dataset.validation=0.3")
    assert (len(data.train), len(data.validation), len(data.test)) == (35, 15, TEST)
    together = pairs(data.train.inputs, data.train.targets) + pairs(data.validation.inputs, data.validation.targets)
    assert sorted(together) == pairs(published.images, published.labels)  # all 50 images differ
    np.testing.assert_array_equal(data.test.inputs, published.test_images)
    np.testing.assert_array_equal(data.test.targets, published.test_labels)
    assert data.spec.input_shape == published.images.shape[1:]
    assert data.spec.num_outputs == LABELS.get(name, 10)


@every_set
def test_statistics_are_those_of_the_training_images_alone(name, tmp_path, monkeypatch):
    published = made_up(name)
    publish(name, published, tmp_path, monkeypatch)
    before = built(name, tmp_path)
    held_out = {image.numpy().tobytes() for image in before.validation.inputs}
    kept = np.array([image.tobytes() not in held_out for image in published.images])
    reference = published.images[kept].astype(np.float64)
    # float64 sums of fewer than 1e5 terms
    np.testing.assert_allclose(before.mean.flatten(), reference.mean((0, 2, 3)), rtol=1e-10)
    np.testing.assert_allclose(before.std.flatten(), reference.std((0, 2, 3)), rtol=1e-10)
    published.images[~kept] = 255 - published.images[~kept]
    published.test_images[:] = 0
    publish(name, published, tmp_path, monkeypatch)
    after = built(name, tmp_path)
    assert not torch.equal(after.validation.inputs, before.validation.inputs)
    assert torch.equal(after.mean, before.mean)
    assert torch.equal(after.std, before.std)


@every_set
def test_pixels_that_are_not_standardised_go_from_0_to_1(name, tmp_path, monkeypatch):
    """As torchvision's ToTensor has them."""
    publish(name, made_up(name), tmp_path, monkeypatch)
    data = built(name, tmp_path, "dataset.standardize=false").to(torch.device("cpu"), torch.float32)
    as_published = [ToTensor()(image.permute(1, 2, 0).numpy()) for image in data.train.inputs]
    assert torch.equal(data.prepare(data.train.inputs), torch.stack(as_published))


def test_fewer_examples_are_the_first_of_the_same_training_split(tmp_path, monkeypatch):
    publish("mnist", made_up("mnist"), tmp_path, monkeypatch)
    whole, few = built("mnist", tmp_path), built("mnist", tmp_path, "dataset.examples=8")
    assert torch.equal(few.train.inputs, whole.train.inputs[:8])
    assert torch.equal(few.validation.inputs, whole.validation.inputs)
    # float64 against NumPy, 6,272 terms
    np.testing.assert_allclose(few.mean.item(), few.train.inputs.numpy().mean(dtype=np.float64), rtol=1e-10)
    assert "dataset.examples=46 is not allowed; allowed: at most 45" in refusal(
        "mnist", tmp_path, "dataset.examples=46"
    )


@every_set
def test_a_missing_set_is_downloaded_and_only_then(name, tmp_path, monkeypatch):
    published = made_up(name)
    answers: dict[str, Any] = {}
    with serving(answers) as url:
        served = archives(name, as_published(name, published), url, monkeypatch)
        answers |= {f"/{file}": body(content) for file, content in served.items()}
        data = built(name, tmp_path / "new")
    np.testing.assert_array_equal(data.test.inputs, published.test_images)
    np.testing.assert_array_equal(data.test.targets, published.test_labels)
    again = built(name, tmp_path / "new")  # the server is gone
    assert torch.equal(again.train.inputs, data.train.inputs)


@every_set
@pytest.mark.parametrize("reached", [True, False], ids=["not found", "refused"])
def test_a_set_that_cannot_be_downloaded_is_reported_in_one_line_and_leaves_no_file(
    name, reached, tmp_path, monkeypatch
):
    with serving({}) as url:
        archives(name, as_published(name, made_up(name)), url, monkeypatch)
        message = refusal(name, tmp_path) if reached else ""
    message = message or refusal(name, tmp_path)
    assert f"data_dir={tmp_path} " in message
    for path in as_published(name, made_up(name)):
        assert path in message or str(Path(path).parent) in message
    assert files(tmp_path) == []


@every_set
def test_a_download_that_is_not_what_was_published_is_refused_and_the_next_one_heals_it(name, tmp_path, monkeypatch):
    published = made_up(name)
    answers: dict[str, Any] = {}
    with serving(answers) as url:
        served = archives(name, as_published(name, published), url, monkeypatch)
        answers |= {
            f"/{file}": body(content[:-9], Content_Length=str(len(content))) for file, content in served.items()
        }
        assert f"data_dir={tmp_path} " in refusal(name, tmp_path)
        answers |= {f"/{file}": body(content) for file, content in served.items()}
        data = built(name, tmp_path)
    np.testing.assert_array_equal(data.test.inputs, published.test_images)


@every_set
@pytest.mark.parametrize("keep", [0, 10, -5], ids=["empty", "a broken header", "cut off"])
def test_a_file_that_is_not_whole_is_reported_in_one_line(name, keep, tmp_path, monkeypatch):
    publish(name, made_up(name), tmp_path, monkeypatch)
    broken = tmp_path / next(iter(as_published(name, made_up(name))))
    broken.write_bytes(broken.read_bytes()[:keep])
    with serving({}) as url:
        archives(name, as_published(name, made_up(name)), url, monkeypatch)
        message = refusal(name, tmp_path)
    assert str(tmp_path) in message
    assert broken.parent.name in message


def put(folder: Path, data: Published, code: int = 8) -> Path:
    """Write a set in place of MNIST, with labels and images as numbers of type `code`. Returns the folder."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    contents = (data.images[:, 0], data.labels, data.test_images[:, 0], data.test_labels)
    for file, array in zip(mnist.FILES, contents, strict=True):
        (raw / file).write_bytes(idx(array, code))
    return raw


@pytest.mark.parametrize(
    "present",
    [range(1, 27), range(47), [-1, 1], [3, 1000, 70_000], range(1, 11)],
    ids=["letters", "balanced", "signs", "gaps", "1 to 10"],
)
def test_files_of_another_set_have_the_classes_of_their_labels(tmp_path, present):
    data = made_up("mnist")
    data.labels, data.test_labels = (np.resize(present, len(labels)) for labels in (data.labels, data.test_labels))
    put(tmp_path, data, 12)
    found = built("mnist", tmp_path, "dataset.validation=1")
    names = found.spec.heads[0].labels
    assert names == tuple(map(str, present))
    assert [int(names[label]) for label in found.test.targets] == data.test_labels.tolist()
    numbers = [present.index(label) for label in data.labels]
    together = [pairs(split.inputs, split.targets) for split in (found.train, found.validation)]
    assert sorted(sum(together, [])) == pairs(data.images, numbers)  # noqa: RUF017
    data.test_labels[0] = 99
    put(tmp_path, data, 12)
    assert "t10k-labels-idx1-ubyte contains the labels [99]; allowed: those of training, " in refusal("mnist", tmp_path)


def test_labels_within_the_known_classes_keep_their_names(tmp_path):
    data = made_up("mnist")
    data.labels = np.minimum(data.labels, 3)
    put(tmp_path, data)
    assert built("mnist", tmp_path).spec.heads[0].labels == mnist.DIGITS


@pytest.mark.parametrize("code", [8, 11, 12, 13, 14])
@pytest.mark.parametrize("compressed", [False, True])
def test_files_may_have_other_types_and_be_compressed(tmp_path, code, compressed):
    data = made_up("mnist")
    raw = put(tmp_path, data, code)
    if compressed:
        for path in raw.iterdir():
            path.with_name(path.name.replace("-idx", ".idx") + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    found = built("mnist", tmp_path)
    np.testing.assert_array_equal(found.test.inputs, data.test_images)
    np.testing.assert_array_equal(found.test.targets, data.test_labels)
    assert found.test.inputs.dtype == torch.uint8


def test_files_that_do_not_fit_are_refused(tmp_path):
    data = made_up("mnist")
    raw = put(tmp_path, data, 13)
    images, labels = (raw / file for file in mnist.FILES[:2])
    for path, content, problem in (
        (images, idx(data.images[:, 0] / 255, 13), f"{images} contains values from 0.0 to 1.0; allowed: whole numbers"),
        (labels, idx(data.labels + 0.5, 13), f"{labels} contains values from 0.5 to 9.5; allowed: whole numbers"),
        (labels, idx(data.labels[1:]), f"{images}: images (50, 28, 28) and labels (49,) differ"),
        (images, b"\0\0\7" + images.read_bytes()[3:], f"{images} is not a complete idx file"),
    ):
        before = path.read_bytes()
        path.write_bytes(content)
        assert problem in refusal("mnist", tmp_path)
        path.write_bytes(before)
    images.with_name(f"{images.name}.gz").write_bytes(gzip.compress(images.read_bytes())[:-50])
    images.unlink()
    assert f"{images}.gz is not a complete idx file" in refusal("mnist", tmp_path)


def test_real_fashion_mnist_is_what_its_authors_published():
    folder = Path(os.environ.get("DL_LAB_DATA", ""))
    if not (folder / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip("DL_LAB_DATA names no folder with FashionMNIST")
    data = built("fashion_mnist", folder, "dataset.validation=1")
    assert (len(data.train), len(data.validation), len(data.test)) == (59_999, 1, 10_000)
    # the published four digits; the one image left out moves them by less than 1e-5
    assert data.mean.item() / 255 == pytest.approx(0.2860, abs=6e-5)
    assert data.std.item() / 255 == pytest.approx(0.3530, abs=6e-5)
    labels = torch.cat([data.train.targets, data.validation.targets])
    assert labels.bincount().tolist() == [6000] * 10
    assert data.test.targets.bincount().tolist() == [1000] * 10
    assert data.spec.heads[0].labels[9] == "Ankle boot"


@pytest.mark.parametrize("name", [*SETS, "tiny_shakespeare"])
def test_every_downloaded_set_resumes_to_the_last_bit(name, tmp_path, monkeypatch):
    short = ("train.steps=12", "train.validate_every=4", "train.log_every=3", "train.batch_size=8", "hydra.run.dir=run")
    model = ("dataset.validation=9", "model.hidden_sizes=[4]")
    if name == "tiny_shakespeare":
        model = ("model=transformer", "model.embedding_size=8", "model.num_heads=2", "model.num_layers=1")
        model = (*model, "dataset.context_length=8", "dataset.validation=0.2")
    for folder in (tmp_path / "whole", tmp_path / "broken"):
        if name in SETS:
            publish(name, made_up(name), folder / "data", monkeypatch)
        else:
            content = b"To be, or not to be, that is the question:\n" * 20
            monkeypatch.setattr(text, "SHAKESPEARE_SHA256", hashlib.sha256(content).hexdigest())
            (folder / "data" / name).mkdir(parents=True)
            (folder / "data" / name / "input.txt").write_bytes(content)
    overrides = (f"dataset={name}", "data_dir=data", *model, *short)
    whole = train(tmp_path / "whole", *overrides)
    assert whole.status == 0, whole.err
    interrupted(tmp_path / "broken", 7, *overrides)
    resumed = train(tmp_path / "broken", "resume=run")
    assert resumed.status == 0, resumed.err
    for run in (whole.run, resumed.run):  # whose configurations name their own data folders
        for path in (run / "checkpoints").glob("*.pt"):
            contents = torch.load(path, weights_only=True)
            torch.save(contents | {"config": {**contents["config"], "data_dir": "data"}}, path)
    assert_equal(resumed, whole)

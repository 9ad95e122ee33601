"""Small stand-ins for the datasets that torchvision downloads."""

import hashlib
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision import datasets


def pairs(images: Any, labels: Any) -> list[tuple[bytes, int]]:
    return sorted((np.asarray(image).tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


IDX = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}


CIFAR = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}


SETS = [*IDX, *CIFAR]


LABELS = {"cifar100": 100}  # 10 in the others


TRAIN, TEST = 50, 20


@dataclass
class Published:
    """Images (example, channel, height, width) and class numbers of both published splits."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def made_up(name: str) -> Published:
    random, shape = np.random.default_rng(0), (1, 28, 28) if name in IDX else (3, 32, 32)
    images = random.integers(0, 256, (TRAIN + TEST, *shape), dtype=np.uint8)
    images //= np.arange(1, shape[0] + 1, dtype=np.uint8)[:, None, None]  # channels that differ in mean and spread
    labels = np.arange(TRAIN + TEST) * 7 % LABELS.get(name, 10)
    return Published(images[:TRAIN], labels[:TRAIN], images[TRAIN:], labels[TRAIN:])


def publish(name: str, data: Published, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the set into the data folder, and let torchvision accept its checksums."""
    contents = as_published(name, data)
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    if name in CIFAR:
        accept(name, contents, monkeypatch)


def as_published(name: str, data: Published) -> dict[str, bytes]:
    """Return the files of the set by path. The rows of CIFAR hold all red, then all green, then all blue values."""
    if name in IDX:
        arrays = {
            "train-images-idx3-ubyte": data.images[:, 0],
            "train-labels-idx1-ubyte": data.labels,
            "t10k-images-idx3-ubyte": data.test_images[:, 0],
            "t10k-labels-idx1-ubyte": data.test_labels,
        }
        return {f"{IDX[name]}/raw/{file}": idx(array) for file, array in arrays.items()}
    dataset_class = getattr(datasets, CIFAR[name])
    key = "labels" if name == "cifar10" else "fine_labels"
    number = len(dataset_class.train_list)
    parts = [*zip(np.split(data.images, number), np.split(data.labels, number), strict=True)]
    parts.append((data.test_images, data.test_labels))
    batches = [{"data": images.reshape(len(images), -1), key: labels.tolist()} for images, labels in parts]
    names = [file for file, _ in [*dataset_class.train_list, *dataset_class.test_list]]
    meta = {dataset_class.meta["key"]: [f"class {number}" for number in range(LABELS.get(name, 10))]}
    contents = zip([*names, dataset_class.meta["filename"]], [*batches, meta], strict=True)
    return {f"{dataset_class.base_folder}/{file}": pickle.dumps(content, protocol=2) for file, content in contents}


def accept(name: str, contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset_class = getattr(datasets, CIFAR[name])
    sums = {Path(path).name: md5(content) for path, content in contents.items()}
    for files_of in ("train_list", "test_list"):
        with_sums = [[file, sums[file]] for file, _ in getattr(dataset_class, files_of)]
        monkeypatch.setattr(dataset_class, files_of, with_sums)
    monkeypatch.setattr(dataset_class, "meta", dataset_class.meta | {"md5": sums[dataset_class.meta["filename"]]})


def idx(array: NDArray[Any], code: int = 8) -> bytes:
    """Return the IDX format of MNIST: type (8, unsigned byte), dimensions, their big-endian sizes, numbers."""
    kind = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}[code]
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.astype(kind).tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()

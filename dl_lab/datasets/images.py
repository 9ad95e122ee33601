"""Image datasets held in memory as bytes, and CIFAR."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dl_lab.core import rng
from dl_lab.core.atomic_io import files_of
from dl_lab.core.download import download, missing_data
from dl_lab.core.errors import require
from dl_lab.core.schema import NonNegativeInt, PositiveInt, Schema
from dl_lab.data.augmentation import Augmentation
from dl_lab.data.dataset import Data, byte_statistics
from dl_lab.data.partition import FractionOrCount, divide
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory
from dl_lab.registry import DATASETS

SHA256 = {  # of the archives
    "CIFAR10": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "CIFAR100": "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
}


class ImageConfig(Schema):
    """`validation`: a fraction or a number of the training images; `examples`: the number of training images to keep.

    `standardize` gives each channel mean 0 and standard deviation 1 over the training split; otherwise pixels are
    divided by the largest value of the training split.
    """

    validation: FractionOrCount
    examples: PositiveInt | None
    standardize: bool
    flip: bool
    crop: NonNegativeInt

    @property
    def augmentation(self) -> Augmentation | None:
        return Augmentation(flip=self.flip, crop=self.crop) if self.flip or self.crop else None


def image_data(
    config: ImageConfig, seed: int, images: Tensor, labels: Tensor, names: Sequence[str], test: float = 0.0
) -> Data:
    """Build the data from images (example, channel, height, width) as bytes and class numbers (example,)."""
    order = torch.randperm(len(images), generator=rng.generator(seed, "split"))
    train, validation, held_out = divide(len(images), config.validation, test, order)
    if config.examples is not None:
        require(config.examples <= len(train), "dataset.examples", config.examples, f"at most {len(train)}")
        train = train[: config.examples]
    split = InMemory(images[train], labels[train])
    mean, std = byte_statistics(split.inputs) if config.standardize else scale(split.inputs)
    return Data(
        spec=DataSpec(
            kind="image",
            input_shape=tuple(images.shape[1:]),
            heads=(Head(name="class", task="classification", labels=tuple(names)),),
        ),
        train=split,
        validation=InMemory(images[validation], labels[validation]),
        test=InMemory(images[held_out], labels[held_out]) if len(held_out) else None,
        mean=mean,
        std=std,
        augmentation=config.augmentation,
    )


def scale(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return 0 and the largest value as mean and standard deviation (channel, 1, 1), so that pixels are from 0 to 1."""
    zeros = torch.zeros(images.shape[1], 1, 1, dtype=torch.float64)
    return zeros, zeros + images.max().clamp(min=1)


def _tensors(dataset: Any) -> tuple[Tensor, Tensor]:
    """Return the images (example, channel, height, width) as bytes and the class numbers (example,)."""
    images = torch.as_tensor(np.asarray(dataset.data)).permute(0, 3, 1, 2).contiguous()
    return images, torch.as_tensor(dataset.targets, dtype=torch.int64)


def _published(name: str, config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """Load a set with its published test split; the validation split is part of its training split."""
    from torchvision import datasets

    dataset_class = getattr(datasets, name)

    def load(train: bool) -> Any:
        try:
            return dataset_class(data_dir, train=train)
        except RuntimeError:  # raised by torchvision if files are missing or damaged
            files = f"the folder {dataset_class.base_folder} (of {dataset_class.filename})"
            with missing_data(files, data_dir):
                path = data_dir / dataset_class.filename
                download([dataset_class.url], SHA256[name], path, data_dir, files)
                return dataset_class(data_dir, train=train, download=True)  # only unpacks: the archive is in place

    train, test = load(True), load(False)
    data = image_data(config, seed, *_tensors(train), [str(label) for label in train.classes])
    folder = data_dir / dataset_class.base_folder
    return replace(data, test=InMemory(*_tensors(test)), files=files_of(folder))


@DATASETS.register("cifar10", ImageConfig, kinds={"image"}, tasks={"classification"})
def cifar10(config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """50,000 and 10,000 colour photographs of 32x32 pixels, 10 classes (Krizhevsky 2009)."""
    return _published("CIFAR10", config, data_dir, seed)


@DATASETS.register("cifar100", ImageConfig, kinds={"image"}, tasks={"classification"})
def cifar100(config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """50,000 and 10,000 colour photographs of 32x32 pixels, 100 classes (Krizhevsky 2009)."""
    return _published("CIFAR100", config, data_dir, seed)

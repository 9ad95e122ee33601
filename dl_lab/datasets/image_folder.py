"""Pictures in folders, one a class, streamed from disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dl_lab import streams
from dl_lab.data import Augmentation, Data, SplitConfig, Streamed, byte_statistics, divide
from dl_lab.errors import COUNT, NOT_NEGATIVE, ConfigError, check
from dl_lab.registry import DATASETS
from dl_lab.specs import DataSpec, Head


@dataclass(frozen=True, kw_only=True)
class ImageFolderConfig(SplitConfig):
    """`path` holds one folder a class; or train, validation and test, which then are the splits, and those within.

    Every picture is made `size` x `size` in RGB, or in grey. The mean and standard deviation that normalise it are
    those of `statistics_examples` training pictures, drawn by the seed.
    """

    path: str
    size: int
    grey: bool
    num_workers: int
    statistics_examples: int
    flip: bool
    crop: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"size": COUNT, "statistics_examples": COUNT})
        check("dataset", self, {"num_workers": NOT_NEGATIVE, "crop": NOT_NEGATIVE})


@dataclass(frozen=True)
class AsBytes:
    """From a PIL picture to bytes (channel, size, size); a class, so that workers can be spawned with it."""

    size: int
    grey: bool

    def __call__(self, picture: Any) -> Tensor:
        from torchvision.transforms.functional import pil_to_tensor

        resized = picture.convert("L" if self.grey else "RGB").resize((self.size, self.size))
        tensor: Tensor = pil_to_tensor(resized)
        return tensor


def _folder(config: ImageFolderConfig, path: Path) -> Any:
    from torchvision.datasets import ImageFolder

    if not path.is_dir():
        raise ConfigError(f"dataset.path={path} is not a folder; allowed: a folder that holds one folder a class")
    try:
        return ImageFolder(str(path), transform=AsBytes(config.size, config.grey))
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"dataset.path={path}: {reason} allowed: one folder a class, with pictures in each"
        ) from error


def _statistics(config: ImageFolderConfig, train: Streamed, seed: int) -> tuple[Tensor, Tensor]:
    chosen = train.shuffled(streams.generator(seed, "statistics"))[: config.statistics_examples]
    batches = [inputs for inputs, _ in train.batches(chosen.split(256))]
    return byte_statistics(torch.cat(batches))


@DATASETS.register("image_folder", ImageFolderConfig, kinds={"image"}, tasks={"classification"})
def image_folder(config: ImageFolderConfig, data_dir: Path, seed: int) -> Data:
    """Pictures under `path`, one folder a class, read by DataLoader workers (torchvision.datasets.ImageFolder)."""
    root = Path(config.path)

    def part(name: str) -> Streamed:
        folder = _folder(config, root / name)
        return Streamed(folder, torch.arange(len(folder)), config.num_workers, torch.device("cpu"))

    if (root / "train").is_dir() and (root / "validation").is_dir():
        train, validation = part("train"), part("validation")
        test = part("test") if (root / "test").is_dir() else None
    else:
        folder = _folder(config, root)
        order = torch.randperm(len(folder), generator=streams.generator(seed, "split"))
        train, validation, test = (
            Streamed(folder, indices, config.num_workers, torch.device("cpu"))
            for indices in divide(len(folder), config.validation, config.test, order)
        )
    mean, std = _statistics(config, train, seed)
    names = tuple(train.dataset.classes)  # type: ignore[attr-defined]
    return Data(
        spec=DataSpec(
            kind="image",
            input_shape=(1 if config.grey else 3, config.size, config.size),
            heads=(Head(name="class", task="classification", labels=names),),
        ),
        train=train,
        validation=validation,
        test=test if test is not None and len(test) else None,
        mean=mean,
        std=std,
        augmentation=Augmentation(flip=config.flip, crop=config.crop) if config.flip or config.crop else None,
    )

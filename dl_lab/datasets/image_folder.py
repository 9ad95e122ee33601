"""Pictures in folders, one a class, streamed from disk."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dl_lab.core import rng
from dl_lab.core.errors import COUNT, NOT_NEGATIVE, ConfigError, check, up_to
from dl_lab.data.augmentation import Augmentation
from dl_lab.data.dataset import Data, byte_statistics
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Streamed
from dl_lab.registry import DATASETS


@dataclass(frozen=True, kw_only=True)
class ImageFolderConfig(SplitConfig):
    """`path` holds one folder a class; or train and, if there are, validation and test, with the classes in each.

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
        check("dataset", self, {"num_workers": up_to(256, least=0), "crop": NOT_NEGATIVE})


@dataclass(frozen=True)
class ReadPicture:
    """From a path to bytes (channel, size, size); a class, so that workers can be spawned with it."""

    size: int
    grey: bool

    def __call__(self, path: str) -> Tensor:
        """Raises: ConfigError if the file is no picture, or not a whole one."""
        from PIL import Image

        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:  # PIL warns of tags it skips
                pixels = np.array(picture.convert("L" if self.grey else "RGB").resize((self.size, self.size)))
        except MemoryError:
            raise
        except Exception as error:  # PIL raises many kinds for a damaged file, or one that would be too large unpacked
            raise ConfigError(
                f"{path} is not a whole picture ({type(error).__name__}); allowed: mend it, or remove it"
            ) from error
        return torch.from_numpy(pixels[None] if self.grey else pixels.transpose(2, 0, 1).copy())


def refuse_links_out(root: Path, folder: Path) -> None:
    """Raises: ConfigError for a link below `folder` to what is not in `root`: whoever packed it may mean your files."""
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"{path} is a link that leaves dataset.path={root}; allowed: links to what lies in it")


def _folder(config: ImageFolderConfig, path: Path) -> Any:
    from torchvision.datasets import ImageFolder

    refuse_links_out(Path(config.path), path)
    if not path.is_dir():
        raise ConfigError(f"dataset.path={path} is not a folder; allowed: a folder that holds one folder a class")
    try:
        return ImageFolder(str(path), loader=ReadPicture(config.size, config.grey))
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"dataset.path={path}: {reason} allowed: one folder a class, with pictures in each"
        ) from error


def _statistics(config: ImageFolderConfig, train: Streamed, seed: int) -> tuple[Tensor, Tensor]:
    chosen = train.shuffled(rng.generator(seed, "statistics"))[: config.statistics_examples]
    batches = [inputs for inputs, _ in train.batches(chosen.split(256))]
    return byte_statistics(torch.cat(batches))


@DATASETS.register("image_folder", ImageFolderConfig, kinds={"image"}, tasks={"classification"})
def image_folder(config: ImageFolderConfig, data_dir: Path, seed: int) -> Data:
    """Pictures under `path`, one folder a class, read by DataLoader workers (torchvision.datasets.ImageFolder)."""
    root = Path(config.path)
    divided = (root / "train").is_dir()
    folder = _folder(config, root / "train" if divided else root)

    def streamed(pictures: Any, indices: Tensor) -> Streamed:
        return Streamed(pictures, indices, config.num_workers, torch.device("cpu"))

    def published(part: str) -> Streamed | None:
        if not divided or not (root / part).is_dir():
            return None
        pictures = _folder(config, root / part)
        if pictures.classes != folder.classes:
            raise ConfigError(
                f"dataset.path={root / part} holds the classes {', '.join(pictures.classes)}; "
                f"allowed: those of train, {', '.join(folder.classes)}"
            )
        return streamed(pictures, torch.arange(len(pictures)))

    validation, test = published("validation"), published("test")
    order = torch.randperm(len(folder), generator=rng.generator(seed, "split"))
    if validation is not None:
        train = streamed(folder, order)
    else:
        parts = divide(len(folder), config.validation, 0.0 if divided else config.test, order)
        train, validation = streamed(folder, parts[0]), streamed(folder, parts[1])
        test = test or streamed(folder, parts[2])
    mean, std = _statistics(config, train, seed)
    return Data(
        spec=DataSpec(
            kind="image",
            input_shape=(1 if config.grey else 3, config.size, config.size),
            heads=(Head(name="class", task="classification", labels=tuple(folder.classes)),),
        ),
        train=train,
        validation=validation,
        test=test if test is not None and len(test) else None,
        mean=mean,
        std=std,
        augmentation=Augmentation(flip=config.flip, crop=config.crop) if config.flip or config.crop else None,
    )

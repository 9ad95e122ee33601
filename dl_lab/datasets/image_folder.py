"""Image folders, one for each class, streamed from disk."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from dl_lab.core import rng
from dl_lab.core.errors import ConfigError
from dl_lab.core.schema import NonNegativeInt, PositiveInt
from dl_lab.data.augmentation import Augmentation
from dl_lab.data.dataset import Data, byte_statistics
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Streamed
from dl_lab.registry import DATASETS


class ImageFolderConfig(SplitConfig):
    """`path`: a folder with one folder for each class, or with train, validation and test folders that contain them.

    Images are resized to `size` x `size` pixels, in RGB or grey. They are standardized with the mean and standard
    deviation of `statistics_examples` random training images.
    """

    path: str
    size: PositiveInt
    grey: bool
    num_workers: Annotated[int, Interval(ge=0, le=256), "a whole number from 0 to 256"]
    statistics_examples: PositiveInt
    flip: bool
    crop: NonNegativeInt


@dataclass(frozen=True)
class ReadImage:
    """Reads an image file as bytes (channel, size, size); a class, because spawned workers need to pickle it."""

    size: int
    grey: bool

    def __call__(self, path: str) -> Tensor:
        """Raises: ConfigError if the file is not an image, or is damaged."""
        from PIL import Image

        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # PIL warns of tags it skips
                pixels = np.array(image.convert("L" if self.grey else "RGB").resize((self.size, self.size)))
        except MemoryError:
            raise
        except Exception as error:  # PIL raises many types for damaged or very large files
            raise ConfigError(
                f"{path} is not a readable image ({type(error).__name__}); hint: replace it or remove it"
            ) from error
        return torch.from_numpy(pixels[None] if self.grey else pixels.transpose(2, 0, 1).copy())


def refuse_links_out(root: Path, folder: Path) -> None:
    """Raises: ConfigError for a link from `folder` to outside `root`, which could expose private files."""
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"{path} is a link out of dataset.path={root}; allowed: links to files inside it")


def _folder(config: ImageFolderConfig, path: Path) -> Any:
    from torchvision.datasets import ImageFolder

    refuse_links_out(Path(config.path), path)
    if not path.is_dir():
        raise ConfigError(f"dataset.path={path} is not a folder; allowed: a folder with one folder for each class")
    try:
        return ImageFolder(str(path), loader=ReadImage(config.size, config.grey))
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"dataset.path={path}: {reason} allowed: one folder for each class, with images in it"
        ) from error


def _statistics(config: ImageFolderConfig, train: Streamed, seed: int) -> tuple[Tensor, Tensor]:
    chosen = train.shuffled(rng.generator(seed, "statistics"))[: config.statistics_examples]
    batches = [inputs for inputs, _ in train.batches(chosen.split(256))]
    return byte_statistics(torch.cat(batches))


@DATASETS.register("image_folder", ImageFolderConfig, kinds={"image"}, tasks={"classification"})
def image_folder(config: ImageFolderConfig, data_dir: Path, seed: int) -> Data:
    """Images below `path`, one folder for each class, read by DataLoader workers (torchvision.datasets.ImageFolder)."""
    root = Path(config.path)
    divided = (root / "train").is_dir()
    folder = _folder(config, root / "train" if divided else root)

    def streamed(images: Any, indices: Tensor) -> Streamed:
        return Streamed(images, indices, config.num_workers, torch.device("cpu"))

    def published(part: str) -> Streamed | None:
        if not divided or not (root / part).is_dir():
            return None
        images = _folder(config, root / part)
        if images.classes != folder.classes:
            raise ConfigError(
                f"dataset.path={root / part} has the classes {', '.join(images.classes)}; "
                f"allowed: those of train, {', '.join(folder.classes)}"
            )
        return streamed(images, torch.arange(len(images)))

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

"""Image folders, one for each class, streamed from disk."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Interval
from torch import Tensor
from torch.utils.data import Dataset

from dl_lab.core import rng
from dl_lab.core.errors import ConfigError, counted
from dl_lab.core.progress import announce
from dl_lab.core.schema import NonNegativeInt, PositiveInt
from dl_lab.data.augmentation import Augmentation
from dl_lab.data.dataset import Data, byte_statistics
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.pictures import ReadImage, inspect
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Streamed
from dl_lab.datasets.class_folders import (
    ALLOWED,
    Found,
    below,
    class_names,
    contents,
    entries,
    find,
    is_picture,
    named,
    split_folders,
)
from dl_lab.registry import DATASETS

DARK = 0.25  # of the range of 16 bits or floats: the brightest value that leaves 64 of 256 levels

Files = dict[str, list[tuple[str, int]]]  # of each split, the pictures and their class numbers


class ImageFolderConfig(SplitConfig):
    """`path`: a folder with one folder for each class, or with train, validation and test folders that contain them.
    `skip_broken`: leave out pictures that cannot be read; otherwise they are an error.

    Images are resized to `size` x `size` pixels, in RGB or grey. They are standardized with the mean and standard
    deviation of `statistics_examples` random training images.
    """

    path: str
    size: PositiveInt
    grey: bool
    skip_broken: bool
    num_workers: Annotated[int, Interval(ge=0, le=256), "a whole number from 0 to 256"]
    statistics_examples: PositiveInt
    flip: bool
    crop: NonNegativeInt


@dataclass(frozen=True)
class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures as bytes, and their class numbers; a class, because spawned workers need to pickle it."""

    files: list[tuple[str, int]]
    read: ReadImage

    def __len__(self) -> int:
        return len(self.files)

    @property
    def class_numbers(self) -> list[int]:
        return [label for _, label in self.files]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        return self.read(path), label


def readable(config: ImageFolderConfig, found: dict[str, Found]) -> Files:
    """The pictures of each split that can be read.

    Raises:
        ConfigError: for broken pictures, unless they are skipped; for a split or a class without pictures; and if those
            with more than 8 bits are so dark that 8 bits would preserve little of them.
    """
    where = f"dataset.path={config.path}"
    inspected = inspect([path for each in found.values() for path, _ in each.pictures])
    broken = [path for path, each in inspected.items() if each.problem]
    listed = f"{len(broken)} broken pictures: {named(f'{path} is {inspected[path].problem}' for path in broken)}"
    if broken and not config.skip_broken:
        raise ConfigError(
            f"{where} contains {listed}; allowed: readable pictures; hint: replace them, or dataset.skip_broken=true"
        )
    if broken:
        announce(f"skipped {listed}")
    if several := [path for path, each in inspected.items() if each.several]:
        files = counted(len(several), "file")
        announce(f"only the first picture is read from {files} with several: {named(several)}")
    deep = [each.light for each in inspected.values() if each.light <= 1]
    if deep and max(deep) < DARK:
        raise ConfigError(
            f"{where}: pictures of more than 8 bits use {max(deep):.2%} of their range, and are reduced to 8 bits; "
            f"allowed: {DARK:.0%} or more; hint: scale their values to the whole range"
        )
    kept = {part: [file for file in each.pictures if not inspected[file[0]].problem] for part, each in found.items()}
    filled = {label for _, label in kept["train"]}
    train, root = found["train"], Path(config.path)
    empty = [path for name, path in train.folders.items() if train.classes.index(name) not in filled]
    held = [f"{path} ({contents(below(path, root))})" for path in empty]
    held += [
        f"{each.folder} ({contents(each.unused)}, {counted(len(each.folders), 'class folder')})"
        for part, each in found.items()
        if not kept[part]
    ]
    if held:
        raise ConfigError(f"{where}: no readable image of a class in {named(held)}; allowed: {ALLOWED}")
    return kept


def splits(config: ImageFolderConfig, files: Files, divided: bool, seed: int) -> dict[str, tuple[Pictures, Tensor]]:
    """The pictures of each split and their indices. A split without a folder is cut from the training pictures, except
    the test split if there is a train folder.
    """
    read = ReadImage(config.size, config.size, config.grey)
    chosen = {part: (Pictures(of_part, read), torch.arange(len(of_part))) for part, of_part in files.items()}
    training, order = chosen["train"][0], torch.randperm(len(files["train"]), generator=rng.generator(seed, "split"))
    if "validation" in files:
        return chosen | {"train": (training, order)}
    parts = divide(len(order), config.validation, 0.0 if divided else config.test, order)
    cut = dict(zip(("train", "validation", "test"), parts, strict=True))
    return chosen | {part: (training, indices) for part, indices in cut.items() if len(indices)}


def describe(found: dict[str, Found], chosen: dict[str, tuple[Pictures, Tensor]], beside: list[Path]) -> None:
    """Print which folder is which split, and what else they contain, or lies `beside` them."""
    for part, (pictures, indices) in chosen.items():
        folder = found[part].folder if part in found else f"from {found['train'].folder}"
        labels = sorted({pictures.files[index][1] for index in indices.tolist()})
        classes = named(found["train"].classes[label] for label in labels)
        size = f"{counted(len(indices), 'picture')} of {counted(len(labels), 'class', 'classes')}"
        announce(f"{part:<10}  {folder}: {size} ({classes})")
    unused = beside + [file for each in found.values() for file in each.unused]
    if loose := [file for file in unused if is_picture(file)]:
        announce(f"not used    {counted(len(loose), 'picture')} outside class folders: {named(loose)}")
    if others := [file for file in unused if not is_picture(file)]:
        announce(f"not used    {counted(len(others), 'file')} of other types: {named(others)}")
    folded = Counter(map(str.casefold, found["train"].classes))
    if twins := [name for name in found["train"].classes if len(name) > 1 and folded[name.casefold()] > 1]:
        announce(f"warning     classes that differ only in case: {named(twins)}")
    if nested := sum(each.nested for each in found.values()):
        announce(f"nested      {counted(nested, 'picture')} in folders inside class folders")


def _statistics(config: ImageFolderConfig, train: Streamed, seed: int) -> tuple[Tensor, Tensor]:
    chosen = train.shuffled(rng.generator(seed, "statistics"))[: config.statistics_examples]
    batches = [inputs for inputs, _ in train.batches(chosen.split(256))]
    return byte_statistics(torch.cat(batches))


@DATASETS.register("image_folder", ImageFolderConfig, kinds={"image"}, tasks={"classification"})
def image_folder(config: ImageFolderConfig, data_dir: Path, seed: int) -> Data:
    """Images below `path`, one folder for each class, read by DataLoader workers."""
    root = Path(config.path)
    if not root.is_dir():
        raise ConfigError(f"dataset.path={root} is not a folder; allowed: {ALLOWED}")
    folders = split_folders(root)
    classes = class_names(folders.get("train", root), root)
    found = {part: find(folder, root, classes) for part, folder in (folders or {"train": root}).items()}
    chosen = splits(config, readable(config, found), bool(folders), seed)
    describe(found, chosen, entries(root, root)[1] if folders else [])
    used = [path for pictures, _ in chosen.values() for path, _ in pictures.files]
    streamed = {part: Streamed(*each, config.num_workers, torch.device("cpu")) for part, each in chosen.items()}
    mean, std = _statistics(config, streamed["train"], seed)
    return Data(
        spec=DataSpec(
            kind="image",
            input_shape=(1 if config.grey else 3, config.size, config.size),
            heads=(Head(name="class", task="classification", labels=tuple(classes)),),
        ),
        train=streamed["train"],
        validation=streamed["validation"],
        test=streamed.get("test"),
        files={path.removeprefix(f"{root}/"): Path(path) for path in used},
        mean=mean,
        std=std,
        augmentation=Augmentation(flip=config.flip, crop=config.crop) if config.flip or config.crop else None,
    )

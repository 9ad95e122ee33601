"""MNIST and the sets with the same file format.

torchvision knows where to download them. The files are read here, because importing torchvision takes as long as an
epoch of training.
"""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.download import download, missing_data
from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.data.splits import InMemory
from dl_lab.datasets.images import ImageConfig, image_data
from dl_lab.registry import DATASETS

DIGITS = tuple("0123456789")
CLOTHING = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
FILES = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]

SHA256 = {  # of the archives, in torchvision's order
    "MNIST": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    "FashionMNIST": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    "KMNIST": (
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
}


TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # of the numbers in an idx file


def find_idx(folder: Path, file: str) -> Path | None:
    """The file of this published name in `folder`. It may be compressed, and have a dot before "idx", as on Kaggle."""
    names = [f"{name}{end}" for end in ("", ".gz") for name in (file, file.replace("-idx", ".idx"))]
    return next((folder / name for name in names if (folder / name).exists()), None)


def read_idx(path: Path) -> Tensor:
    """Read a tensor from an idx file (yann.lecun.com/exdb/mnist), or from one compressed with gzip.

    The file holds 0, 0, the type (8 for bytes), the number of dimensions, each size in 4 bytes, and the data.

    Raises:
        ConfigError: if the file has another format or is incomplete.
    """
    try:
        stored, compressed = read_bytes(path), path.suffix == ".gz"
        content = np.array(bytearray(gzip.decompress(stored) if compressed else stored))
    except (OSError, EOFError, zlib.error):
        content = np.empty(0, np.uint8)
    start = 4 + 4 * int(content[3]) if len(content) > 4 else 0
    shape = tuple(int(size) for size in content[4:start].view(">u4")) if len(content) > start else ()
    kind = np.dtype(TYPES.get(int(content[2]), "V0") if shape else "V0")
    if not shape or content[:2].any() or not kind.itemsize or len(content) != start + kind.itemsize * prod(shape):
        raise ConfigError(f"{path} is not a complete idx file; hint: remove it, and it is downloaded again")
    values = content[start:].view(kind).reshape(shape)
    return torch.from_numpy(values.astype(kind.newbyteorder("="), copy=False))


def whole(path: Path, values: Tensor, dtype: torch.dtype) -> Tensor:
    """The values as integers of type `dtype`. Raises ConfigError if that would change them."""
    converted = values.to(dtype)
    if converted is not values and not torch.equal(converted.to(values.dtype), values):
        allowed = "whole numbers from 0 to 255" if dtype == torch.uint8 else "whole numbers"
        raise ConfigError(f"{path} contains values from {values.min()} to {values.max()}; allowed: {allowed}")
    return converted


def _files(name: str, folder: Path, data_dir: Path) -> list[Path]:
    """The paths of FILES, which are downloaded if one is missing."""
    if not all(find_idx(folder, file) for file in FILES):
        files = ", ".join(f"{name}/raw/{file}" for file in FILES)
        with missing_data(files, data_dir):
            from torchvision import datasets

            published = getattr(datasets, name)
            for (archive, _), sha256 in zip(published.resources, SHA256[name], strict=True):
                mirrors = [f"{mirror}{archive}" for mirror in published.mirrors]
                download(mirrors, sha256, folder / archive, data_dir, files)
            published(data_dir, download=True)  # only unpacks: the archives are in place
    return [find_idx(folder, file) or folder / file for file in FILES]


def _published(name: str, names: Sequence[str], config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """Load a set with its published test split; the validation split is part of its training split.

    Files of another set in the same format, such as EMNIST's, have the classes of their training labels.
    """
    folder = data_dir / name / "raw"
    paths = _files(name, folder, data_dir)
    types = (torch.uint8, torch.int64) * 2
    read = [whole(path, read_idx(path), dtype) for path, dtype in zip(paths, types, strict=True)]
    images, labels, test_images, test_labels = read
    for path, (pictures, classes) in ((paths[0], read[:2]), (paths[2], read[2:])):
        fits = pictures.ndim == 3 and pictures.numel() > 0 and classes.shape == pictures.shape[:1]
        if not fits or pictures.shape[1:] != images.shape[1:]:
            raise ConfigError(
                f"{path}: images {tuple(pictures.shape)} and labels {tuple(classes.shape)} differ in number, or in "
                f"size from the training images {tuple(images.shape)}; hint: remove them, and they are downloaded again"
            )
    present = torch.arange(len(names))
    if not torch.isin(labels, present).all():  # the files of another set
        present = labels.unique()
        names = [str(label) for label in present.tolist()]
    if unknown := test_labels[~torch.isin(test_labels, present)].unique().tolist():
        raise ConfigError(f"{paths[3]} contains the labels {unknown}; allowed: those of training, {', '.join(names)}")
    data = image_data(config, seed, images.unsqueeze(1), torch.searchsorted(present, labels), names)
    test = InMemory(test_images.unsqueeze(1), torch.searchsorted(present, test_labels))
    return replace(data, test=test, files=dict(zip(FILES, paths, strict=True)))


@DATASETS.register("mnist", ImageConfig, kinds={"image"}, tasks={"classification"})
def mnist(config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """60,000 and 10,000 handwritten digits of 28x28 pixels (LeCun et al. 1998)."""
    return _published("MNIST", DIGITS, config, data_dir, seed)


@DATASETS.register("fashion_mnist", ImageConfig, kinds={"image"}, tasks={"classification"})
def fashion_mnist(config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """60,000 and 10,000 articles of clothing of 28x28 pixels (Xiao et al. 2017, arXiv:1708.07747)."""
    return _published("FashionMNIST", CLOTHING, config, data_dir, seed)


@DATASETS.register("kmnist", ImageConfig, kinds={"image"}, tasks={"classification"})
def kmnist(config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """60,000 and 10,000 cursive Japanese characters of 28x28 pixels (Clanuwat et al. 2018, arXiv:1812.01718)."""
    return _published("KMNIST", HIRAGANA, config, data_dir, seed)

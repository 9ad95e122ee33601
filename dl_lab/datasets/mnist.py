"""MNIST and the sets with the same file format.

torchvision knows where to download them. The files are read here, because importing torchvision takes as long as an
epoch of training.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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


def read_idx(path: Path) -> Tensor:
    """Read a tensor of bytes from an idx file (yann.lecun.com/exdb/mnist).

    The file holds 0, 0, 8 (bytes), the number of dimensions, each size in 4 bytes, and the data.

    Raises:
        ConfigError: if the file has another format or is incomplete.
    """
    content = np.fromfile(path, dtype=np.uint8)
    start = 4 + 4 * int(content[3]) if len(content) > 4 else 0
    shape = tuple(int(size) for size in content[4:start].view(">u4")) if len(content) > start else ()
    if not shape or content[:3].tolist() != [0, 0, 8] or len(content) != start + prod(shape):
        raise ConfigError(f"{path} is not a complete idx file of bytes; hint: remove it, and it is downloaded again")
    return torch.from_numpy(content[start:].reshape(shape))


def _published(name: str, labels: Sequence[str], config: ImageConfig, data_dir: Path, seed: int) -> Data:
    """Load a set with its published test split; the validation split is part of its training split."""
    folder = data_dir / name / "raw"
    if not all((folder / file).exists() for file in FILES):
        files = ", ".join(f"{name}/raw/{file}" for file in FILES)
        with missing_data(files, data_dir):
            from torchvision import datasets

            published = getattr(datasets, name)
            for (archive, _), sha256 in zip(published.resources, SHA256[name], strict=True):
                mirrors = [f"{mirror}{archive}" for mirror in published.mirrors]
                download(mirrors, sha256, folder / archive, data_dir, files)
            published(data_dir, download=True)  # only unpacks: the archives are in place
    train_images, train_labels, test_images, test_labels = (read_idx(folder / file) for file in FILES)
    for file, images, classes in (("train", train_images, train_labels), ("t10k", test_images, test_labels)):
        fits = images.ndim == 3 and images.numel() > 0 and classes.shape == images.shape[:1]
        if not fits or images.shape[1:] != train_images.shape[1:] or classes.max() >= len(labels):
            raise ConfigError(
                f"{folder / file}-*: images {tuple(images.shape)} and labels {tuple(classes.shape)} are no set of "
                f"{len(labels)} classes; allowed: remove them, and they are downloaded again"
            )
    data = image_data(config, seed, train_images.unsqueeze(1), train_labels.long(), labels)
    return replace(data, test=InMemory(test_images.unsqueeze(1), test_labels.long()))


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

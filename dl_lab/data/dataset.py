"""A dataset: its DataSpec, three splits, and the preparation of stored inputs for the model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from dl_lab.core import atomic_io
from dl_lab.core.errors import ConfigError
from dl_lab.data.augmentation import Augmentation
from dl_lab.data.preprocessing import Preprocessing, nested, normalized
from dl_lab.data.spec import DataSpec
from dl_lab.data.splits import InMemory, Split, Windows
from dl_lab.data.tokenizers import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Data:
    """The splits of a dataset and the preparation of their inputs. `test` is None if the dataset has no test split.

    `mean` and `std` (channel, 1, 1) are those of the training split, in the unit of the stored pixels. They normalize
    inputs stored as integers; inputs stored as floats are ready. `tokenizer` made the tokens of a text.
    `preprocessing` adds what the fields above do not say, such as the encoding of the columns of a table; it is
    completed by setup.build_data. `files` are those that the splits were read from, by names that stay when the data
    are moved; `fingerprint`, which setup.build_data sets, identifies their contents.
    """

    PREPARED_ONCE: ClassVar[int] = 10_000_000  # values of a split; larger ones stay bytes, at a quarter of the memory

    spec: DataSpec
    train: Split
    validation: Split
    test: Split | None
    mean: Tensor | None = None
    std: Tensor | None = None
    augmentation: Augmentation | None = None
    tokenizer: Tokenizer | None = None
    preprocessing: Preprocessing | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    fingerprint: str | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Data":
        """The same data on `device`, with floating-point inputs as `dtype`."""
        splits = {name: split for name in ("train", "validation", "test") if (split := getattr(self, name)) is not None}
        moved = {name: split.to(device, dtype) for name, split in splits.items()}
        if self.mean is None or self.std is None:
            return replace(self, **moved)
        return replace(self, **moved, mean=self.mean.to(device, dtype), std=self.std.to(device, dtype))

    def prepared_once(self) -> "Data":
        """The same data with the inputs of small splits prepared in advance; the training split only without
        augmentation.
        """
        if self.mean is None:
            return self
        ready: dict[str, Any] = {}
        for name in ("validation", "test") if self.augmentation is not None else ("train", "validation", "test"):
            split = getattr(self, name)
            if isinstance(split, InMemory) and split.inputs.numel() <= self.PREPARED_ONCE:
                ready[name] = replace(split, inputs=self.prepare(split.inputs))
        return replace(self, **ready)

    def prepare(self, inputs: Tensor, augmentation_key: Tensor | None = None) -> Tensor:
        """Turn stored inputs into inputs of the model: augment them, if there is a key (2,), and normalize integers."""
        if self.augmentation is not None and augmentation_key is not None:
            inputs = self.augmentation(inputs, augmentation_key)
        return normalized(inputs, self.mean, self.std)


def preprocessing_of(data: Data) -> Preprocessing:
    """The preprocessing of a dataset, with what its other fields say; call it before the statistics are rounded to the
    precision of a device.
    """
    known = data.preprocessing or Preprocessing(spec=data.spec)
    tokenizer = data.tokenizer
    if data.spec.kind == "tokens" and data.spec.is_language and tokenizer is None:
        tokenizer = Tokenizer(kind="words", vocabulary=tuple(map(str, data.spec.heads[0].labels)))
    return replace(known, spec=data.spec, mean=nested(data.mean), std=nested(data.std), tokenizer=tokenizer)


def files_fingerprint(files: Mapping[str, Path]) -> str:
    """As core.atomic_io; raises ConfigError if a file cannot be read."""
    try:
        return atomic_io.fingerprint(files)
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read ({error.strerror}); allowed: a file") from error


def fingerprint(data: Data) -> str | None:
    """The fingerprint of the files of a dataset, the same for every seed. Without files, "examples" and the fingerprint
    of the examples in memory; None for a stream of unknown source.
    """
    if data.files:
        return files_fingerprint(data.files)
    digest = hashlib.sha256(repr(data.spec).encode())
    for split in filter(None, (data.train, data.validation, data.test)):
        if not isinstance(split, InMemory | Windows):
            return None
        tensors = (split.inputs, split.targets) if isinstance(split, InMemory) else (split.tokens,)
        for tensor in tensors:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"examples {digest.hexdigest()}"


def byte_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """The float64 mean and standard deviation (channel, 1, 1) of uint8 images (example, channel, height, width).

    They are computed from a histogram of the 256 values, without a copy as floats. A constant channel has std 1.
    """
    values = torch.arange(256, dtype=torch.float64)
    means, stds = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.reshape(-1), minlength=256).double() / channel.numel()
        mean = (share * values).sum()
        means.append(mean)
        stds.append(((share * (values - mean) ** 2).sum()).sqrt())
    std = torch.stack(stds)
    return torch.stack(means).view(-1, 1, 1), torch.where(std > 0, std, 1.0).view(-1, 1, 1)

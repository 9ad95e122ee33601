"""Text as characters, for language models."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.download import download
from dl_lab.core.errors import ConfigError, counted, require
from dl_lab.core.progress import announce
from dl_lab.core.schema import PositiveInt
from dl_lab.data.dataset import Data
from dl_lab.data.files import read_text
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.preprocessing import one_line_end, quoted
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Windows
from dl_lab.registry import DATASETS

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class TinyShakespeareConfig(SplitConfig):
    """The text is split in order into training, validation and test; windows have `context_length` characters."""

    context_length: PositiveInt


class TextConfig(TinyShakespeareConfig):
    path: str


def _numbers(codes: NDArray[np.uint32], vocabulary: NDArray[np.uint32], part: str) -> Tensor:
    """The numbers of characters in the vocabulary, without those that are not in it."""
    numbers = np.searchsorted(vocabulary, codes).clip(max=len(vocabulary) - 1)
    is_known = vocabulary[numbers] == codes
    if not is_known.all():
        unknown = quoted([chr(code) for code in np.unique(codes[~is_known]).tolist()])
        left_out = f"{(~is_known).sum()} of {counted(len(codes), 'character')} of the {part} part left out"
        announce(f"{left_out}, as the training part has none of them: {unknown}")
    return torch.from_numpy(numbers[is_known].astype(np.int32))


def _text_data(config: TinyShakespeareConfig, text: str) -> Data:
    """Build the data from a text; the vocabulary is the characters of its training part, in the order of their code
    points.
    """
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    cut = divide(len(codes), config.validation, config.test, torch.arange(len(codes)))
    vocabulary = np.unique(codes[cut[0].numpy()])
    allowed = "a training part of two or more distinct characters"
    require(len(vocabulary) > 1, "dataset.validation", config.validation, allowed)
    parts = []
    for name, part in zip(("training", "validation", "test"), cut, strict=True):
        parts.append(_numbers(codes[part.numpy()], vocabulary, name))
        least = config.context_length + 1 if name == "training" else 2
        if len(part) and len(parts[-1]) < least:
            raise ConfigError(
                f"dataset.context_length={config.context_length} does not fit the {name} part, {len(parts[-1])} "
                f"characters; allowed: {least} characters or more"
            )
    train, validation, test = (Windows(part, config.context_length) for part in parts)
    characters = tuple(chr(code) for code in vocabulary.tolist())
    spec = DataSpec(
        kind="tokens",
        input_shape=(config.context_length,),
        heads=(Head(name="character", task="language_modelling", labels=characters),),
        vocabulary=len(characters),
    )
    return Data(spec=spec, train=train, validation=validation, test=test if len(parts[2]) else None, is_text=True)


@DATASETS.register("tiny_shakespeare", TinyShakespeareConfig, kinds={"tokens"}, tasks={"language_modelling"})
def tiny_shakespeare(config: TinyShakespeareConfig, data_dir: Path, seed: int) -> Data:
    """1,115,394 characters of Shakespeare, 65 distinct (github.com/karpathy/char-rnn)."""
    path = data_dir / "tiny_shakespeare" / "input.txt"
    if not path.exists():
        download([SHAKESPEARE_URL], SHAKESPEARE_SHA256, path, data_dir, "tiny_shakespeare/input.txt")
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != SHAKESPEARE_SHA256:
        raise ConfigError(f"{path} is not the published text; hint: remove it, and it is downloaded again")
    return replace(_text_data(config, content.decode("utf-8")), files={"": path})


@DATASETS.register("text", TextConfig, kinds={"tokens"}, tasks={"language_modelling"})
def text(config: TextConfig, data_dir: Path, seed: int) -> Data:
    """A UTF-8 text file. As in Python's text mode, every line ends with one character, "\\n"; a byte-order mark is
    not part of the text.
    """
    content = one_line_end(read_text(config.path, "a text file"))
    if len(set(content)) < 2:
        what = f"has one distinct character, {content[0]!r}" if content else "is empty"
        raise ConfigError(f"dataset.path={config.path} {what}; allowed: a text file of two or more distinct characters")
    return _text_data(config, content)

"""Text as characters, for language models."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.download import download
from dl_lab.core.errors import ConfigError
from dl_lab.core.schema import PositiveInt
from dl_lab.data.dataset import Data
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.preprocessing import one_line_end
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Windows
from dl_lab.datasets.files import read_text
from dl_lab.registry import DATASETS

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


class TinyShakespeareConfig(SplitConfig):
    """The text is split in order into training, validation and test; windows have `context_length` characters."""

    context_length: PositiveInt


class TextConfig(TinyShakespeareConfig):
    path: str


def _text_data(config: TinyShakespeareConfig, text: str) -> Data:
    """Build the data from a text; the vocabulary is its characters, in the order of their code points."""
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    vocabulary, tokens = np.unique(code_points, return_inverse=True)
    everything = torch.from_numpy(tokens.astype(np.int32))
    parts = [
        everything[part]
        for part in divide(len(everything), config.validation, config.test, torch.arange(len(everything)))
    ]
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        least = config.context_length + 1 if name == "training" else 2
        if 0 < len(part) < least:
            raise ConfigError(
                f"dataset.context_length={config.context_length} does not fit the {name} part, {len(part)} "
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

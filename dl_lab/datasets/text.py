"""Text for language models, as characters, bytes or merged bytes."""

import hashlib
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import torch

from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.download import download
from dl_lab.core.errors import ConfigError, counted, quoted, require
from dl_lab.core.progress import announce
from dl_lab.core.schema import PositiveInt
from dl_lab.data.dataset import Data
from dl_lab.data.files import read_text
from dl_lab.data.partition import SplitConfig, divide
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import Windows
from dl_lab.data.tokenizers import Tokenizer, one_line_end
from dl_lab.datasets.tokenized import TokenizerConfig
from dl_lab.registry import DATASETS

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
UNITS = {"characters": "character", "bytes": "byte", "bpe": "token"}


class TinyShakespeareConfig(SplitConfig, TokenizerConfig):
    """The text is split in order into training, validation and test, and then into tokens, so that the parts
    are the same for every tokenizer; windows have `context_length` tokens.
    """

    context_length: PositiveInt


class TextConfig(TinyShakespeareConfig):
    path: str


def _text_data(config: TinyShakespeareConfig, text: str) -> Data:
    """Build the data from a text, which is split before it is turned into tokens."""
    cut = divide(len(text), config.validation, config.test, torch.arange(len(text)))
    ends = [0, *accumulate(map(len, cut))]
    texts = [text[start:end] for start, end in pairwise(ends)]
    allowed = "a training part of two or more distinct characters"
    require(len(set(texts[0])) > 1, "dataset.validation", config.validation, allowed)
    tokenizer = config.learned(texts[:1])
    unit, parts = UNITS[tokenizer.kind], []
    for name, part in zip(("training", "validation", "test"), texts, strict=True):
        tokens = tokenizer.encode(_known(tokenizer, part, name)).int()
        least = config.context_length + 1 if name == "training" else 2
        if part and len(tokens) < least:
            raise ConfigError(
                f"dataset.context_length={config.context_length} does not fit the {name} part, {len(tokens)} "
                f"{unit}s; allowed: {least} {unit}s or more"
            )
        parts.append(tokens)
    train, validation, test = (Windows(part, config.context_length) for part in parts)
    head = Head(name=unit, task="language_modelling", labels=tokenizer.labels, token_bytes=tokenizer.token_bytes)
    spec = DataSpec(kind="tokens", input_shape=(config.context_length,), heads=(head,), vocabulary=len(tokenizer))
    return Data(spec=spec, train=train, validation=validation, test=test if texts[2] else None, tokenizer=tokenizer)


def _known(tokenizer: Tokenizer, text: str, part: str) -> str:
    """A text without the characters that are not in the vocabulary."""
    known = tokenizer.without_unknown(text)
    if unknown := tokenizer.unknown(text):
        left_out = f"{len(text) - len(known)} of {counted(len(text), 'character')} of the {part} part left out"
        announce(f"{left_out}, as the training part has none of them: {quoted(unknown)}")
    return known


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

"""Text as numbers of tokens, and back: characters, bytes, merged bytes (BPE) or words."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError, quoted

if TYPE_CHECKING:
    import tokenizers

Kind = Literal["characters", "bytes", "bpe", "words"]
BYTES = 256
LONGEST = 2**24  # bytes of all tokens together; merges of a damaged file may double the length again and again
PIECE = 100_000  # characters of a long text that are merged at a time


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A plain value that turns text into numbers of tokens, and back. Every line of a text ends with one character.

    "characters" and "words" (separated by blanks) have a `vocabulary`, characters in the order of their code points.
    "bytes" are those of UTF-8. "bpe" joins pairs of tokens in the order of `merges`, within words as in GPT-2 (Radford
    et al. 2019): token n < 256 is byte n, and each merge with a new result is the next token. So no text is unknown.
    """

    kind: Kind
    vocabulary: tuple[str, ...] = ()
    merges: tuple[tuple[int, int], ...] = ()

    @cached_property
    def contents(self) -> list[bytes]:
        """Each token in UTF-8.

        Raises:
            ValueError: for merges of tokens that do not exist yet, or of an absurd length.
        """
        if self.kind in ("characters", "words"):
            return [each.encode(errors="replace") for each in self.vocabulary]
        found = dict.fromkeys(bytes([number]) for number in range(BYTES))
        tokens, total = [*found], BYTES
        for first, second in self.merges:
            if not (0 <= first < len(tokens) and 0 <= second < len(tokens)):
                raise ValueError("merges: a token is used before it is made")
            joined = tokens[first] + tokens[second]
            if joined not in found:
                found[joined] = None
                tokens.append(joined)
                total += len(joined)
            if total > LONGEST:
                raise ValueError("merges: the tokens are too long")
        return tokens

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.contents)

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.vocabulary)

    @property
    def labels(self) -> tuple[str, ...]:
        """A name of each token: its text, with escapes for bytes that are not a whole character."""
        return self.vocabulary or tuple(each.decode(errors="backslashreplace") for each in self.contents)

    @property
    def token_bytes(self) -> tuple[int, ...]:
        """The number of bytes of each token; none of words, whose blanks are not known."""
        return () if self.kind == "words" else tuple(map(len, self.contents))

    def unknown(self, text: str) -> list[str]:
        """The characters or words of a text that are not in the vocabulary, in order."""
        if self.kind not in ("characters", "words"):
            return []
        return sorted(set(text if self.kind == "characters" else text.split()) - self._known)

    def without_unknown(self, text: str) -> str:
        """A text without the characters that are not in the vocabulary."""
        unknown = self.unknown(text)
        return text.translate(dict.fromkeys(map(ord, unknown))) if unknown else text

    def encode(self, text: str) -> Tensor:
        """The numbers (token,) of a text, int64.

        Raises:
            ConfigError: for characters or words that are not in the vocabulary.
        """
        text = one_line_end(text)
        if unknown := self.unknown(text):
            what = "characters" if self.kind == "characters" else "tokens"
            raise ConfigError(
                f"the text has {what} that the model does not know: {quoted(unknown)}; allowed: "
                f"{what} of its training text"
            )
        try:
            return torch.from_numpy(self._numbers(text).astype(np.int64))
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"the text has {error.object[error.start]!r}, which is no character; allowed: UTF-8"
            ) from error

    def encode_known(self, text: str | None) -> Tensor:
        """The numbers (token,) of a text without its unknown characters; None is an empty text."""
        return self.encode(self.without_unknown(one_line_end(text or "")))

    def padded(self, texts: Iterable[Tensor], length: int) -> Tensor:
        """The first `length` tokens of each text (text, length), int32, padded with the number after the last token."""
        cut = [tokens[:length] for tokens in texts]
        rows = torch.full((len(cut), length), len(self), dtype=torch.int32)
        for row, tokens in zip(rows, cut, strict=True):
            row[: len(tokens)] = tokens
        return rows

    def _numbers(self, text: str) -> np.ndarray:
        match self.kind:
            case "characters":
                vocabulary, codes = (
                    np.frombuffer(each.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
                    for each in ("".join(self.vocabulary), text)
                )
                return np.searchsorted(vocabulary, codes)
            case "words":
                numbers = {word: number for number, word in enumerate(self.vocabulary)}
                return np.array([numbers[word] for word in text.split()])
            case "bytes":
                return np.frombuffer(text.encode(), dtype=np.uint8)
        text.encode()  # the library refuses half a surrogate pair in other words
        return np.concatenate([np.array(self._merging.encode(piece).ids, dtype=np.int32) for piece in pieces(text)])

    def decode(self, tokens: Iterable[int] | Tensor) -> str:
        """The text of tokens (token,); "\N{REPLACEMENT CHARACTER}" for bytes that are no character."""
        return "".join(self.stream(tokens.tolist() if isinstance(tokens, Tensor) else tokens))

    def stream(self, tokens: Iterable[int]) -> Iterator[str]:
        """The same text, a part of it as soon as a token completes a character."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        blank = b""
        for token in tokens:
            if part := decoder.decode(blank + self.contents[token]):
                yield part
            blank = b" " if self.kind == "words" else b""
        if part := decoder.decode(b"", final=True):
            yield part

    @cached_property
    def _merging(self) -> "tokenizers.Tokenizer":
        """The same merges in the library."""
        library = _library()
        names = ["".join(CHARACTERS[byte] for byte in token) for token in self.contents]
        vocabulary = {name: number for number, name in enumerate(names)}
        model = library.models.BPE(vocabulary, [(names[first], names[second]) for first, second in self.merges])
        merging = library.Tokenizer(model)
        merging.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return merging

    def as_json(self) -> str:
        """The merges of "bpe" as a tokenizer.json of the tokenizers library."""
        text: str = self._merging.to_str()
        return text

    def check(self) -> None:
        """Raises: ValueError if the tokenizer cannot be used, as one of a damaged file."""
        codes = [ord(each) if len(each) == 1 else -1 for each in self.vocabulary]
        if self.kind == "characters" and (min(codes, default=-1) < 0 or codes != sorted(set(codes))):
            raise ValueError("tokenizer: the vocabulary is not characters in order")
        if (not self.contents) or (self.vocabulary and self.kind in ("bytes", "bpe")):
            raise ValueError("tokenizer: the vocabulary does not fit")


def characters_of(text: str) -> Tokenizer:
    """A tokenizer whose vocabulary is the characters of a text."""
    return Tokenizer(kind="characters", vocabulary=tuple(sorted(set(text))))


def learned_bpe(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn merges from texts, up to `size` tokens in all (Sennrich et al. 2016, arXiv:1508.07909), or until no pair of
    tokens occurs twice.
    """
    library = _library()
    merging = library.Tokenizer(library.models.BPE())
    merging.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, initial_alphabet=sorted(CHARACTERS.values())
    )
    merging.train_from_iterator((piece for text in texts for piece in pieces(one_line_end(text))), trainer)
    numbers = {sign: byte for byte, sign in CHARACTERS.items()}
    merges = []
    for first, second in json.loads(merging.to_str())["model"]["merges"]:
        merges.append((numbers[first], numbers[second]))
        numbers.setdefault(first + second, len(numbers))
    return Tokenizer(kind="bpe", merges=tuple(merges))


def one_line_end(text: str) -> str:
    """A text whose lines end with "\\n" only, as in Python's text mode."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def pieces(text: str) -> Iterator[str]:
    """Parts of a long text, cut before line ends that no word of GPT-2 spans, so that the tokens are the same."""
    start = 0
    while found := LINE_END.search(text, start + PIECE):
        yield text[start : found.start()]
        start = found.start()
    yield text[start:]


LINE_END = re.compile(r"(?<=\S)\n")
# The library shows a byte as itself if Latin-1 has a visible sign for it, and as a sign from 256 on otherwise.
VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
HIDDEN = [byte for byte in range(BYTES) if byte not in VISIBLE]
CHARACTERS = {byte: chr(byte) for byte in VISIBLE} | {byte: chr(BYTES + place) for place, byte in enumerate(HIDDEN)}


def _library():  # type: ignore[no-untyped-def]  # a module
    try:
        import tokenizers
    except ImportError as error:
        raise ConfigError(
            "dataset.tokenizer=bpe needs the package tokenizers; hint: pip install 'dl_lab[bpe]', or "
            "dataset.tokenizer=bytes"
        ) from error
    return tokenizers

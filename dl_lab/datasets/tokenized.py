"""The choice of a tokenizer, and learning it from the training split."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Interval

from dl_lab.core.errors import counted, require
from dl_lab.core.progress import announce
from dl_lab.core.schema import Schema
from dl_lab.data.tokenizers import BYTES, Tokenizer, characters_of, learned_bpe

BPE_TOKENS = 1024


class TokenizerConfig(Schema):
    """`vocabulary_size` is the number of tokens of bpe; null: BPE_TOKENS."""

    tokenizer: Literal["characters", "bytes", "bpe"]
    vocabulary_size: Annotated[int, Interval(ge=BYTES + 1, le=2**20), "a whole number from 257 to 1,048,576"] | None

    def __post_init__(self) -> None:
        is_free = self.vocabulary_size is None or self.tokenizer == "bpe"
        allowed = f"null with dataset.tokenizer={self.tokenizer}; hint: dataset.tokenizer=bpe"
        require(is_free, "dataset.vocabulary_size", self.vocabulary_size, allowed)

    def learned(self, texts: Sequence[str]) -> Tokenizer:
        """The tokenizer of the training texts."""
        if self.tokenizer == "characters":
            return characters_of("".join(texts))
        if self.tokenizer == "bytes":
            return Tokenizer(kind="bytes")
        size = self.vocabulary_size or BPE_TOKENS
        found = learned_bpe(texts, size)
        if len(found) < size:
            announce(f"dataset.vocabulary_size={size}: {counted(len(found), 'token')}, as no pair is left that repeats")
        return found

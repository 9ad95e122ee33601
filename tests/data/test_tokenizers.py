"""Tokenizers: exact both ways, compared with Python's codecs and with the tokenizers library itself."""

import random

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from dl_lab.core.errors import ConfigError
from dl_lab.data import tokenizers as module
from dl_lab.data.tokenizers import Tokenizer, characters_of, learned_bpe, one_line_end

SIGNS = "ab \n\t\r'st,.9é東🐈\x85\x1c\u2028\u00a0\0"
TEXT = "the Straße, the 東京 the\n\n don't 🐈🐈 12 12\n" * 9
BPE = learned_bpe([TEXT], 300)
ANY = [Tokenizer(kind="bytes"), BPE]


def signs(seed: int, length: int = 80) -> str:
    return "".join(random.Random(seed).choices(SIGNS, k=length))


@given(text=st.text())
def test_bytes_and_bpe_know_every_text(text: str) -> None:
    for tokenizer in ANY:
        tokens = tokenizer.encode(text)
        assert tokenizer.decode(tokens) == one_line_end(text)
        assert b"".join(tokenizer.contents[token] for token in tokens.tolist()) == one_line_end(text).encode()


def test_bpe_is_that_of_the_library() -> None:
    theirs = tokenizers.ByteLevelBPETokenizer()
    theirs.train_from_iterator([TEXT], vocab_size=300, min_frequency=2, show_progress=False)
    assert len(BPE) == theirs.get_vocab_size()
    names = ["".join(module.CHARACTERS[byte] for byte in content) for content in BPE.contents]
    for text in (TEXT, *(signs(seed) for seed in range(50))):
        tokens = BPE.encode(text).tolist()
        assert [names[token] for token in tokens] == theirs.encode(one_line_end(text)).tokens


def test_long_texts_are_merged_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [signs(seed) for seed in range(200)]
    whole = [BPE.encode(text).tolist() for text in texts]
    monkeypatch.setattr(module, "PIECE", 5)
    assert [BPE.encode(text).tolist() for text in texts] == whole
    assert learned_bpe([TEXT], 300) == BPE


def test_a_stream_shows_whole_characters_only() -> None:
    tokens = Tokenizer(kind="bytes").encode("a東🐈").tolist()
    assert [*Tokenizer(kind="bytes").stream(tokens)] == ["a", "東", "🐈"]
    assert [*Tokenizer(kind="bytes").stream([*tokens[:3], 255, 65])] == ["a", "\ufffd\ufffd", "A"]
    assert [*Tokenizer(kind="bytes").stream(tokens[:-1])] == ["a", "東", "\ufffd"]
    assert [*Tokenizer(kind="words", vocabulary=("1", "+")).stream([0, 1, 0])] == ["1", " +", " 1"]


def test_labels_and_sizes_are_those_of_the_tokens() -> None:
    characters = characters_of("bé\n")
    assert (characters.labels, characters.token_bytes) == (("\n", "b", "é"), (1, 1, 2))
    assert characters.encode("é\r\nb").tolist() == [2, 0, 1]
    assert BPE.labels[10] == "\n"
    assert BPE.labels[0xE6] == r"\xe6"
    assert " the" in BPE.labels
    assert Tokenizer(kind="words", vocabulary=("a",)).token_bytes == ()


@pytest.mark.parametrize("tokenizer", [*ANY, characters_of("ab")])
def test_what_is_no_text_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"^the text has .*udcff.*; allowed: "):
        tokenizer.encode("a\udcff")
    assert tokenizer.encode("").tolist() == []

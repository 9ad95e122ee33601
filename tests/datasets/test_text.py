"""Text by characters, bytes and bpe: the vocabulary, the way back, the cut in order, and what cannot be read."""

import json
import math
import os
import random
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.commands import train
from support.configs import container, parsed
from torch import Tensor

from dl_lab.config.parse import parse
from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.splits import PADDING, Windows
from dl_lab.inference.trained import load_trained
from dl_lab.training.setup import build_data

# 1, 2, 3 and 4 bytes a character in UTF-8, and one that JSON and numpy would drop
SENTENCE = "Straße, 東京\n\t🐈 ÷ 0\0"


def built(*overrides: str) -> Data:
    return build_data(parsed("model=transformer", *overrides))


def of_text(folder: Path, content: str | bytes, *overrides: str) -> Data:
    path = folder / "input.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return built("dataset=text", f"dataset.path={path}", *overrides)


def decoded(data: Data, tokens: Tensor) -> str:
    return "".join(data.spec.heads[0].labels[token] for token in tokens.tolist())


def tokens_of(split: Windows) -> Tensor:
    """A split's tokens, from its batches in the order of evaluation: the first input and then every target."""
    ((inputs, targets),) = split.batches([split.in_order()])
    return torch.cat([inputs[0, :1], targets[targets != PADDING]])


def parts(data: Data) -> list[Tensor]:
    return [tokens_of(split) for split in (data.train, data.validation, data.test) if split is not None]


def test_the_vocabulary_is_every_character_in_the_order_of_its_code_point(tmp_path: Path) -> None:
    data = of_text(tmp_path, SENTENCE * 20, "dataset.context_length=8")
    assert data.spec.heads[0].labels == tuple(sorted(set(SENTENCE)))
    assert data.spec.vocabulary == data.spec.num_outputs == len(set(SENTENCE))
    assert data.spec.input_shape == (8,)
    assert data.spec.task == "language_modelling"
    assert data.tokenizer.kind == "characters"


def test_the_parts_read_in_turn_are_the_text(tmp_path: Path) -> None:
    data = of_text(tmp_path, SENTENCE * 20, "dataset.context_length=8", "dataset.validation=0.25", "dataset.test=31")
    length = len(SENTENCE) * 20
    sizes = [length - round(length / 4) - 31, round(length / 4), 31]
    assert [len(part) for part in parts(data)] == sizes
    assert decoded(data, torch.cat(parts(data))) == SENTENCE * 20


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "\r\n\n\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_byte_order_mark_and_line_ends_are_read_as_in_text_mode(tmp_path: Path, mark: str, ends: str) -> None:
    data = of_text(tmp_path, mark + f"ab{ends}c\ufeff" * 40, "dataset.context_length=8", "dataset.test=0")
    with (tmp_path / "input.txt").open(encoding="utf-8-sig") as file:
        assert decoded(data, torch.cat(parts(data))) == file.read()


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    of_text(tmp_path, SENTENCE * 20)
    run = parse(container("model=transformer", "dataset=text", "dataset.path='~/input.txt'"))
    assert run.dataset.config.path == run.as_dict["dataset"]["path"] == str(tmp_path / "input.txt")
    assert build_data(run).spec.vocabulary == len(set(SENTENCE))
    with pytest.raises(ConfigError, match=r"^dataset\.path=~nobody-here/x has no such home folder"):
        built("dataset=text", "dataset.path='~nobody-here/x'")


def test_an_input_is_the_text_and_its_target_the_next_character(tmp_path: Path) -> None:
    data = of_text(tmp_path, SENTENCE * 20, "dataset.context_length=8")
    ((inputs, targets),) = data.train.batches([torch.tensor([0, 5])])
    assert [decoded(data, row) for row in inputs] == [SENTENCE[:8], SENTENCE[5:13]]
    assert [decoded(data, row) for row in targets] == [SENTENCE[1:9], SENTENCE[6:14]]


def test_without_a_test_part_there_is_none(tmp_path: Path) -> None:
    data = of_text(tmp_path, SENTENCE * 20, "dataset.context_length=8", "dataset.test=0")
    assert data.test is None
    assert decoded(data, torch.cat(parts(data))) == SENTENCE * 20


def test_characters_that_the_training_part_lacks_are_left_out_and_named(tmp_path: Path, capsys) -> None:
    content = "abcdefgh" * 10 + "aébßéb\x1b" + "cab"
    data = of_text(tmp_path, content, "dataset.context_length=8", "dataset.validation=7", "dataset.test=3")
    assert [decoded(data, part) for part in parts(data)] == ["abcdefgh" * 10, "abb", "cab"]
    assert data.spec.heads[0].labels == tuple("abcdefgh")
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("4 of 7 characters of the validation part left out")
    assert data.preprocessing == of_text(tmp_path, "abcdefgh" * 10 + "c" * 10, "dataset.context_length=8").preprocessing
    assert line.endswith(r"'\x1b', 'ß', 'é'")


def test_the_context_is_as_long_as_the_models(tmp_path: Path) -> None:
    data = of_text(tmp_path, SENTENCE * 20, "model.context_length=12")
    assert data.spec.input_shape == (12,)


def test_the_shortest_training_part_holds_one_window(tmp_path: Path) -> None:
    data = of_text(tmp_path, "abcdefghi" + "fa", "dataset.context_length=8", "dataset.validation=2", "dataset.test=0")
    assert len(data.train) == 1
    assert decoded(data, tokens_of(data.validation)) == "fa"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("", ["dataset.path=", "input.txt is empty"], id="empty"),
        pytest.param(b"abc\xff", ["dataset.path=", "input.txt is not UTF-8 at byte 3"], id="not UTF-8"),
        pytest.param("abc".encode("utf-16"), ["input.txt is not UTF-8 at byte 0", "UTF-16"], id="UTF-16"),
        pytest.param("abc".encode("utf-16-be"), ["input.txt is not text", "UTF-16"], id="UTF-16 without a mark"),
        pytest.param("\ufeff", ["input.txt is empty"], id="a byte-order mark alone"),
        pytest.param("aaaaa" * 99, ["one distinct character, 'a'"], id="one character"),
        pytest.param("a" * 90 + "b" * 15, ["dataset.validation=0.1", "distinct"], id="one character to train"),
        pytest.param(b"\xed\xa0\x80" * 99, ["input.txt is not UTF-8 at byte 0"], id="half a surrogate pair"),
        pytest.param("abc", ["dataset.validation=0.1", "3 examples"], id="nothing to validate"),
        pytest.param("abcdefghijklaa", ["the validation part, 1 char"], id="one character to validate"),
        pytest.param("abcdefghij" * 2, ["dataset.context_length=16", "training part, 16 char"], id="no whole window"),
    ],
)
def test_what_cannot_be_used_is_reported_in_one_line(tmp_path: Path, content: str | bytes, said: list[str]) -> None:
    context = 16 if "dataset.context_length=16" in said else 8
    with pytest.raises(ConfigError) as caught:
        of_text(tmp_path, content, f"dataset.context_length={context}")
    assert "\n" not in str(caught.value)
    for part in [*said, "allowed:"]:
        assert part in str(caught.value)


def test_a_missing_file_and_a_folder_are_reported_in_one_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.txt", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigError) as caught:
            built("dataset=text", f"dataset.path={path}")
        assert f"dataset.path={path} cannot be read" in str(caught.value)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "bpe"])
def test_every_tokenizer_predicts_the_same_text_and_bits_per_byte_count_its_bytes(
    tmp_path: Path, tokenizer: str
) -> None:
    text = "".join(random.Random(0).choices(["die Straße ", "東京", "🐈 ", "ab\r\n"], k=400))
    (tmp_path / "input.txt").write_bytes(text.encode())
    small = ("model.num_layers=1", "model.embedding_size=8", "model.num_heads=1", "model.context_length=16")
    steps = ("train.steps=4", "train.validate_every=4", "train.batch_size=4", "train.accumulate=2", "train.pictures=1")
    chosen = ("dataset=text", "dataset.path=input.txt", f"dataset.tokenizer={tokenizer}", "train.best=bits_per_byte")
    ended = train(tmp_path, "model=transformer", *small, *steps, *chosen, "precision=float64")
    assert ended.status == 0, ended.err
    trained = load_trained(ended.run)
    known = trained.preprocessing.tokenizer
    text = text.replace("\r\n", "\n")
    sizes = [round(len(text) / 10)] * 2
    (line,), (test,) = ended.lines("val"), ended.lines("test")
    for found, part in ((line, text[-sum(sizes) : -sizes[0]]), (test, text[-sizes[0] :])):
        tokens = known.encode(part)
        assert known.decode(tokens) == part
        nats = 0.0
        for start in range(0, len(tokens) - 1, 16):
            window = tokens[start : start + 17]
            logits = trained.model(window[None, :-1])[0]
            nats += F.cross_entropy(logits, window[1:], reduction="sum").item()
        first = 1 if tokenizer == "bytes" else len(known.decode(tokens[:1]).encode())
        bits = nats / math.log(2) / (len(part.encode()) - first)
        assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-12)
        assert found["nats"] == pytest.approx(nats / (len(tokens) - 1), rel=1e-12)
        assert ("bits_per_character" in found) == (tokenizer == "characters")
    assert f"bits_per_byte {line['bits_per_byte']:.4g}" in ended.out


def test_bpe_is_learned_from_the_training_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bpe = ("dataset.tokenizer=bpe", "dataset.context_length=4", "dataset.vocabulary_size=257")
    data = of_text(tmp_path, "the " * 40 + "xyxyxyxyxyxy" * 4, *bpe, "dataset.validation=24", "dataset.test=24")
    assert data.tokenizer.labels[256:] in ((" t",), ("he",), ("th",))
    again = of_text(tmp_path, "the " * 40, *bpe[:2])
    assert "dataset.vocabulary_size=1024: 259 tokens" in capsys.readouterr().out
    assert Preprocessing.from_dict(json.loads(json.dumps(again.preprocessing.as_dict()))) == again.preprocessing


def test_a_size_of_the_vocabulary_and_the_library_are_needed_by_bpe_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^dataset.vocabulary_size=300 is not allowed; allowed: null with .*=bpe$"):
        of_text(tmp_path, SENTENCE * 20, "dataset.vocabulary_size=300")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    of_text(tmp_path, SENTENCE * 20, "dataset.tokenizer=bytes")
    with pytest.raises(
        ConfigError,
        match=r"^dataset.tokenizer=bpe needs the package tokenizers; hint: pip install '.*bpe\]', or .*=bytes$",
    ):
        of_text(tmp_path, SENTENCE * 20, "dataset.tokenizer=bpe")


def test_real_tiny_shakespeare_has_65_characters_and_its_published_parts() -> None:
    path = Path(os.environ.get("DL_LAB_DATA", "")) / "tiny_shakespeare" / "input.txt"
    if not path.is_file():
        pytest.skip("DL_LAB_DATA names no folder with tiny_shakespeare")
    data = built("dataset=tiny_shakespeare")
    assert data.spec.vocabulary == 65
    assert "".join(data.spec.heads[0].labels).startswith("\n !$&',-.3:;?ABC")
    assert [len(part) for part in parts(data)] == [1_003_854, 111_540]
    assert data.test is None
    published = path.read_text(encoding="utf-8")
    assert decoded(data, tokens_of(data.validation)) == published[-111_540:]
    assert decoded(data, tokens_of(data.train)) == published[:1_003_854]

"""`generate` as a user runs it: on text, words and bytes, with one's own model, in a pipe that ends anywhere."""

import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.commands import Ended, command, train
from support.sweeps import add_model
from torch import Tensor, nn

from dl_lab import generate as command_module
from dl_lab.core.errors import ConfigError
from dl_lab.data.tokenizers import Tokenizer
from dl_lab.inference.generation import generate
from dl_lab.inference.trained import Trained, load_trained

SMALL = ("model.num_layers=1", "model.embedding_size=8", "model.num_heads=2", "train.steps=20", "train.batch_size=4")
OF_TEXT = ("dataset=text", "dataset.path=text.txt", "dataset.context_length=8")
SIGNS = "the quick brown-fox 3'AE:ys#[\n"
BIGRAMS = """
from torch import nn

from dl_lab.core.schema import Schema
from dl_lab.registry import MODELS


class Config(Schema):
    pass


@MODELS.register("bigrams", Config, kinds={"tokens"})
class Bigrams(nn.Module):
    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.next = nn.Embedding(spec.vocabulary, spec.num_outputs)

    def forward(self, tokens):
        return self.next(tokens)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs without their data: `text`, `words`, `own` with a model of a user's, and `flowers`, no language model."""
    folder = tmp_path_factory.mktemp("generate")
    (folder / "text.txt").write_text("".join(random.Random(0).choices(SIGNS, k=3000)))
    add_model(folder, "bigrams", BIGRAMS, "")
    own = ("--config-dir", "own", "imports=[bigrams]", "model=bigrams", "train.steps=20")
    assert train(folder, "model=transformer", *SMALL, *OF_TEXT, "hydra.run.dir=text").status == 0
    assert train(folder, *own, *OF_TEXT, "hydra.run.dir=own").status == 0
    assert train(folder, "model=transformer", *SMALL, "dataset=sorting", "hydra.run.dir=words").status == 0
    assert train(folder, "dataset=iris", "train.steps=2", "hydra.run.dir=flowers").status == 0
    (folder / "text.txt").unlink()
    return folder


def written(folder: Path, *arguments: str) -> Ended:
    return command(command_module.main, folder, *arguments)


@pytest.mark.parametrize("prompt", ["", "the fox: 3'", "yes", " x", "[A", "#", "A: A", "3", "the\r\nbox", "brown" * 9])
def test_a_prompt_of_any_form_comes_first_and_the_seed_decides_what_follows(folder: Path, prompt: str) -> None:
    first, again, other = (written(folder, "run=text", f"prompt={prompt}", f"seed={seed}") for seed in (1, 1, 2))
    assert first.status == 0, first.err
    assert first.out == again.out != other.out
    shown = prompt.replace("\r\n", "\n")
    assert first.out.startswith(shown)
    assert len(first.out) == len(shown) + 200 + 1
    parts = list(generate(load_trained(folder / "text"), prompt, seed=1))
    assert len(parts) == 200
    assert shown + "".join(parts) + "\n" == first.out


def test_options_decide_what_is_drawn(folder: Path) -> None:
    greedy = written(
        folder, "run=text", "prompt=the", "temperature=0", "tokens=30", "checkpoint=last", "device=cpu"
    ).out
    assert len(greedy) == 34
    for chosen in ("top_k=1", "top_p=1e-9", "temperature=1e-9"):
        same = ("checkpoint=last", "tokens=30", "seed=7", chosen)
        assert written(folder, "run=text", "prompt=the", *same).out == greedy


def test_a_model_of_a_users_own_needs_no_cache(folder: Path) -> None:
    arguments = ("run=own", "prompt=the fox", "imports=[bigrams]", "tokens=50")
    first, again = (written(folder, *arguments) for _ in range(2))
    assert len(first.out) == 58
    assert first == again


def test_words_are_separated_by_blanks(folder: Path) -> None:
    for prompt in ("2 1", "2  1 ", ""):
        text = written(folder, "run=words", f"prompt={prompt}", "tokens=5").out
        assert text.startswith(prompt or "0 ")
        assert len(text.split()) == len(prompt.split() or [0]) + 5
        assert set(text.split()) <= set("012")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["prompt=café"], "prompt=café has characters that the model does not know: 'a', 'é' (nearest: 'A', 'e'); "),
        (["prompt=“the”\u2014\t4"], "'\\t', '4', '—', '“', '”' (nearest: ' ', '3', '-', \"'\", \"'\"); "),
        (["run=words", "prompt=1 12 x"], "has words that the model does not know: '12', 'x' (nearest: '1', "),
        (["run=flowers"], "run=flowers is a model of classification (features), which writes no text; allowed"),
        (["run=nothing"], "nothing/checkpoints/best.pt does not exist"),
        (["tokens=0"], "tokens=0 is not allowed; allowed: a whole number, 1 or more"),
        (["tokens=x"], "tokens=x is not allowed; allowed: a whole number, 1 or more"),
        (["temperature=-1"], "temperature=-1 is not allowed; allowed: 0 or a number above it"),
        (["temperature=nan"], "temperature=nan is not allowed; allowed: 0 or a number above it"),
        (["top_k=0"], "top_k=0 is not allowed; allowed: a whole number, 1 or more, or null"),
        (["top_p=0"], "top_p=0 is not allowed; allowed: a number above 0, at most 1"),
        (["top_p=1.1"], "top_p=1.1 is not allowed; allowed: a number above 0, at most 1"),
        (["seed=-1"], "seed=-1 is not allowed; allowed: a whole number from 0 to 2^63 - 1"),
        ([f"seed={2**63}"], f"seed={2**63} is not allowed; allowed: a whole number from 0 to 2^63 - 1"),
        (["checkpoint=first"], "checkpoint=first is not known; allowed: best, last"),
        (["device=tpu"], "device=tpu is not available; allowed: auto, "),
        (["promt=a"], "promt is not a key (nearest: prompt); allowed: "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(folder: Path, arguments: list[str], error: str) -> None:
    ended = written(folder, "run=text", *arguments)
    assert (ended.status, ended.out) == (2, "")
    assert error in ended.err
    assert ended.err.count("\n") == 1


class Spelling(nn.Module):
    """Writes these tokens, whatever it reads."""

    def __init__(self, tokens: bytes):
        super().__init__()
        self.tokens, self.none = tokens, nn.Parameter(torch.zeros(0))

    def with_cache(self, tokens: Tensor, done: int | None) -> tuple[Tensor, int]:
        logits = torch.eye(256)[self.tokens[done or 0]] * 99
        return logits[None, None], (done or 0) + 1


def of_bytes(folder: Path, tokens: bytes) -> Trained:
    trained = load_trained(folder / "text")
    preprocessing = replace(trained.preprocessing, tokenizer=Tokenizer(kind="bytes"))
    preprocessing = replace(preprocessing, spec=replace(trained.spec, input_shape=(64,)))
    return replace(trained, model=Spelling(tokens), preprocessing=preprocessing)


def test_bytes_are_written_as_whole_characters(folder: Path) -> None:
    text = "aé東🐈\n"
    assert list(generate(of_bytes(folder, text.encode()), "🐈", len(text.encode()), temperature=0)) == list(text)
    broken = "東".encode()[:2] + b"\xffa" + "é".encode()[:1]
    parts = list(generate(of_bytes(folder, broken), "", len(broken), temperature=0))
    assert "".join(parts) == broken.decode(errors="replace")
    with pytest.raises(ConfigError, match="no character; allowed: UTF-8"):
        generate(of_bytes(folder, b""), "\udcff")


@pytest.mark.faults
@pytest.mark.parametrize("end", ["Ctrl-C", "closed pipe"])
def test_text_is_written_at_once_and_may_end_anywhere(folder: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    line = [sys.executable, "-m", "dl_lab.generate", "run=text", "prompt=the", "tokens=1000000000"]
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        begun = process.stdout.read(100_000)  # what there is
        assert begun.startswith(b"the")
        assert len(begun) < 4000  # Python would keep back 8 kB
        if end == "Ctrl-C":
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() is not None
        process.stdout.close()
        assert process.stderr.read() == (b"\nstopped\n" if end == "Ctrl-C" else b"")
        assert process.wait() == (130 if end == "Ctrl-C" else 1)

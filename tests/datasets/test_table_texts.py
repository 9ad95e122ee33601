"""A text column of a table: its tokens, what is learned from them, and what does not fit."""

import csv
import random
from pathlib import Path

import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from support.commands import command, train
from support.configs import parsed

from dl_lab import evaluate
from dl_lab.config.compose import with_new_keys
from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.inference.trained import load_trained
from dl_lab.training.setup import build_data

WORDS = {"good": ["fine", "süß", "great"], "bad": ["poor", "awful", "🐈"], "": ["the", "a", "movie", "it\nis"]}
SMALL = ("model=transformer", "model.num_layers=1", "model.num_heads=2", "model.embedding_size=16")
TEXT = ("dataset=table", "dataset.path=t.csv", "dataset.text=review", "dataset.targets=[kind]")


def write(folder: Path, rows: int = 240) -> tuple[list[str], list[str]]:
    """Reviews whose class is that of their only word which has one."""
    chance = random.Random(0)
    kinds = chance.choices(["good", "bad"], k=rows)
    texts = [[chance.choice(WORDS[kind]), *chance.choices(WORDS[""], k=chance.randrange(5))] for kind in kinds]
    reviews = [" ".join(chance.sample(text, len(text))) for text in texts]
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["review", "kind", "stars", "size", "empty"])
        for number, (review, kind) in enumerate(zip(reviews, kinds, strict=True)):
            table.writerow([review, kind, len(review) / 2 + (kind == "good"), number, ""])
    return reviews, kinds


def built(*overrides: str) -> Data:
    return build_data(parsed(*SMALL, *TEXT, *overrides))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    announce.cache_clear()  # each test has another t.csv
    return tmp_path


@pytest.mark.parametrize("tokenizer", ["characters", "bytes", "bpe"])
def test_a_text_is_cut_or_padded_and_read_again_from_a_checkpoint(
    here: Path, capsys: pytest.CaptureFixture[str], tokenizer: str
) -> None:
    reviews, _ = write(here)
    (here / "t.csv").write_text((here / "t.csv").read_text("utf-8") + ",bad,1,1,\n", "utf-8")
    order = ("dataset.shuffle=false", "dataset.test=1", "dataset.validation=40")
    data = built(f"dataset.tokenizer={tokenizer}", *order, "dataset.context_length=8")
    printed = capsys.readouterr().out
    assert "are longer than dataset.context_length=8" in printed
    assert "left out beside dataset.text: stars, size, empty" in printed
    known = Preprocessing.from_dict(data.preprocessing.as_dict())
    assert data.spec == known.spec
    for split, texts in ((data.train, reviews[:200]), (data.validation, reviews[200:]), (data.test, [None])):
        assert torch.equal(known.stored(texts), split.inputs)
    for text, tokens in zip(reviews, data.train.inputs.tolist(), strict=False):
        cut = known.tokenizer.encode(text).tolist()[:8]
        assert tokens == cut + [data.spec.padding] * (8 - len(cut))
    assert known.stored(["x\u2603"]).shape == (1, 8)  # an unknown character
    assert data.test.inputs.unique().tolist() == [data.spec.padding]


def test_a_transformer_learns_what_a_bag_of_words_does(here: Path) -> None:
    reviews, kinds = write(here)
    steps = ("train.steps=120", "train.validate_every=60", "optimizer.lr=0.01", "train.accumulate=2", "threads=1")
    ended = train(here, *SMALL, *TEXT, *steps, "dataset.shuffle=false", "train.pictures=2", "train.best=accuracy")
    assert ended.status == 0, ended.err
    bag = CountVectorizer(token_pattern=r"\S+").fit(reviews[:168])
    wanted = LogisticRegression().fit(bag.transform(reviews[:168]), kinds[:168])
    assert wanted.score(bag.transform(reviews[192:]), kinds[192:]) == 1
    (test,) = ended.lines("test")
    assert test["accuracy"] >= 0.95
    (here / "t.csv").rename(here / "moved.csv")
    trained = load_trained(ended.run)
    outputs = torch.cat([*trained.outputs(trained.preprocessing.stored(reviews[192:]))])
    labels = trained.spec.heads[0].labels
    right = [labels[number] == kind for number, kind in zip(outputs.argmax(1).tolist(), kinds[192:], strict=True)]
    assert sum(right) / len(right) == test["accuracy"]
    (here / "moved.csv").rename(here / "t.csv")
    evaluated = command(evaluate.main, here, f"run={ended.run}")
    assert f"accuracy {test['accuracy']:.4g}" in evaluated.out


def test_a_text_may_predict_numbers_and_several_targets(here: Path) -> None:
    write(here)
    tiny = ("train.steps=4", "train.validate_every=2", "train.batch_size=8", "hydra/launcher=vectorized")
    sweep = ("hydra.launcher.processes=1", "seed=0,1", "dataset.targets=[kind,stars]", "dataset.sample_weight=size")
    ended = train(here, "-m", *SMALL, *TEXT, *tiny, *sweep)
    assert ended.status == 0, ended.err
    assert len(ended.runs) == 2
    assert built("dataset.targets=[stars]").spec.task == "regression"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=mlp"], r"^model=mlp does not fit dataset=table \(tokens, .*; allowed: transformer$"),
        (["dataset.text=reviews"], r"^dataset.text=reviews is not known \(nearest: review\)"),
        (["dataset.text=kind"], r"^dataset.text=kind is not allowed; allowed: a column that is no target"),
        (["dataset.features=[size]"], r"^dataset.features=\['size'\] is not allowed; .* with dataset.text=review"),
        (["dataset.text=null", "dataset.tokenizer=bytes"], r"^dataset.tokenizer=bytes .*hint: dataset.text=COLUMN"),
        (
            ["dataset.text=empty"],
            r"^dataset.text=empty is not allowed; allowed: a column with text in the training split",
        ),
        (
            ["dataset.tokenizer=bpe", f"dataset.vocabulary_size={10**12}"],
            r"^dataset.vocabulary_size=.* 257 to 1,048,576",
        ),
        (["dataset.context_length=65"], r"^model.context_length=64 is not allowed; allowed: 65 or more$"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(here: Path, overrides: list[str], said: str) -> None:
    write(here)
    ended = train(here, SMALL[0], *TEXT, *overrides)
    assert ended.status == 2
    with pytest.raises(ConfigError, match=said):
        raise ConfigError(ended.err.strip().removeprefix("error: "))


def test_a_table_of_an_older_version_has_no_text() -> None:
    run = parsed("dataset=table", "dataset.path=t.csv", "dataset.targets=[kind]", "model=mlp").as_dict
    new = {"text", "tokenizer", "vocabulary_size", "context_length"}
    old = {**run, "dataset": {key: value for key, value in run["dataset"].items() if key not in new}}
    assert with_new_keys(old) == run

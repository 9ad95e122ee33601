"""Preprocessing: an exact and plain value, and one line for a damaged one."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dl_lab.core.errors import ConfigError
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.tokenizers import Tokenizer

SMALLEST, THIRD = 5e-324, 1 / 3
NUMBERS = Head(name="y", task="regression", labels=("y", 'ß"\n'), offset=(-0.0, 1e308), scale=(SMALLEST, THIRD))
SPEC = DataSpec(kind="image", input_shape=(3, 2, 1), heads=(NUMBERS,))
COLUMNS = ({"kind": "number", "name": "a", "offset": 0.1, "scale": 3},)
EXAMPLE = Preprocessing(
    spec=SPEC, columns=COLUMNS, reading={"decimal": ","}, mean=(((0.1,),), ((-2.0,),), ((THIRD,),)), std=7.0
)


def test_a_preprocessing_is_read_as_it_was_written(tmp_path):
    values = EXAMPLE.as_dict()
    torch.save(values, tmp_path / "saved.pt")
    for read in (json.loads(json.dumps(values)), torch.load(tmp_path / "saved.pt", weights_only=True)):
        again = Preprocessing.from_dict(read)
        assert again == EXAMPLE
        assert str(again) == str(EXAMPLE)  # -0.0 too


def test_what_users_give_becomes_plain(tmp_path):
    head = Head(
        name=np.str_("c"), task="classification", labels=(np.int64(0), "a\udcff"), offset=np.zeros(2), scale=np.ones(2)
    )
    spec = DataSpec(kind="features", input_shape=torch.ones(3).shape, heads=(head,))
    torch.save(Preprocessing(spec=spec).as_dict(), tmp_path / "saved.pt")
    read = Preprocessing.from_dict(torch.load(tmp_path / "saved.pt", weights_only=True))
    assert read.spec.heads[0] == Head(
        name="c", task="classification", labels=("0", r"a\udcff"), offset=(0.0, 0.0), scale=(1.0, 1.0)
    )


LANGUAGE = DataSpec(
    kind="tokens",
    input_shape=(4,),
    heads=(Head(name="character", task="language_modelling", labels=("a", "é"), token_bytes=(1, 2)),),
    vocabulary=2,
)


@pytest.mark.parametrize("is_text", [True, False])
def test_a_language_model_of_an_older_version_gets_its_tokenizer(is_text: bool) -> None:
    known = Preprocessing(spec=LANGUAGE, tokenizer=Tokenizer(kind="characters", vocabulary=("a", "é")))
    old = known.as_dict() | {"is_text": is_text}
    del old["tokenizer"], old["spec"]["heads"][0]["token_bytes"]
    read = Preprocessing.from_dict(old)
    assert (read == known) == is_text
    assert read.stored("éa" if is_text else " é a").tolist() == [1, 0]
    assert read.spec.heads[0].token_bytes == ((1, 2) if is_text else ())


def endless() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


def deep() -> Any:
    value: Any = 1.0
    for _ in range(100_000):
        value = [value]
    return value


NUMBER = {"kind": "number", "name": "a", "offset": 0.0, "scale": 1.0}


@pytest.mark.parametrize(
    "damage",
    [
        lambda values: values.pop("spec"),
        lambda values: values.update(mean=None),
        lambda values: values.update(mean="7"),
        lambda values: values.update(mean=[[1.0, 2.0], [3.0]]),
        lambda values: values.update(mean=float("nan")),
        lambda values: values.update(mean=10**400),
        lambda values: values.update(mean=[1.0] * 5),
        lambda values: values.update(std=0.0),
        lambda values: values.update(std=endless()),
        lambda values: values.update(std=deep()),
        lambda values: values.update(reading=endless()),
        lambda values: values.update(reading=[1]),
        lambda values: values.update(columns=[{"name": "a"}]),
        lambda values: values.update(columns=[NUMBER | {"scale": 0.0}]),
        lambda values: values.update(columns=[NUMBER | {"scale": "1"}]),
        lambda values: values.update(columns=[NUMBER | {"offset": float("nan")}]),
        lambda values: values.update(columns=[NUMBER | {"offset": [0.0, 1.0]}]),
        lambda values: values.update(columns=[NUMBER | {"kind": "date", "scale": [1.0, 0.0]}]),
        lambda values: values.update(white=0),
        lambda values: values.update(tokenizer={"kind": "letters"}),
        lambda values: values.update(tokenizer={"kind": "bytes"}),
        lambda values: values.update(tokenizer={"kind": "characters", "vocabulary": ["b", "a"]}),
        lambda values: values.update(tokenizer={"kind": "bpe", "merges": [[0, 256]]}),
        lambda values: values.update(tokenizer={"kind": "bpe", "merges": [[-1, 0]]}),
        lambda values: values.update(tokenizer={"kind": "bpe", "merges": [[255 + i, 255 + i] for i in range(99)]}),
        lambda values: values["spec"].update(kind="sound"),
        lambda values: values["spec"].update(input_shape=[]),
        lambda values: values["spec"].update(input_shape=[True]),
        lambda values: values["spec"].update(heads=values["spec"]["heads"] * 2),
        lambda values: values["spec"]["heads"][0].update(task="dance"),
        lambda values: values["spec"]["heads"][0].update(labels=["a\x1b[0m", 3]),
        lambda values: values["spec"]["heads"][0].update(scale=[0.0, 1.0]),
        lambda values: values["spec"]["heads"][0].update(scale=[1.0] * 3),
    ],
)
def test_a_damaged_one_is_refused_in_one_line(damage: Callable[[dict[str, Any]], object]) -> None:
    values = EXAMPLE.as_dict()
    damage(values)
    with pytest.raises(ConfigError, match=r"^best.pt is not as dl_lab writes it \(.*\); hint: ") as refused:
        Preprocessing.from_dict(values, "best.pt")
    assert len(str(refused.value)) < 400

"""The parser of `key=value` arguments."""

import pytest

from dl_lab.cli import arguments
from dl_lab.core.errors import ConfigError

KEYS = ("run", "imports", "seed")


def test_take_separates_known_keys_from_the_rest_and_keeps_their_order():
    taken, rest = arguments.take(["a=1", "run=x=y", "folder", "--option", "run=z", "runs=3"], KEYS)
    assert taken == {"run": "z"}
    assert rest == ["a=1", "folder", "--option", "runs=3"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("seed=3", 3), ("seed=1e-3", 0.001), ("imports=[a,b]", ["a", "b"]), ("run=a/b=c", "a/b=c"), ("run='3'", "3")],
)
def test_values_are_parsed_as_in_a_configuration_file(text, value):
    assert arguments.values([text], KEYS) == {text.partition("=")[0]: value}


def test_a_dotted_key_nests():
    assert arguments.values(["train.steps=5"], ["train.steps"]) == {"train": {"steps": 5}}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("run=", "run= has no value; allowed: run=VALUE"),
        ("sed=3", r"sed is not a key \(nearest: seed\); allowed: imports, run, seed"),
        ("test", "test is not key=value; allowed: run=VALUE, imports=VALUE, seed=VALUE; hint: run=test"),
        ("run=[a", r"run=\[a cannot be read; allowed: key=value"),
    ],
)
def test_anything_else_is_an_error_of_one_line(argument, message):
    with pytest.raises(ConfigError, match=message):
        arguments.values([argument], KEYS)

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


@pytest.mark.parametrize("given", [["run=a/b"], ["a/b"], ["a/b", "seed=3"], ["seed=3", "."], ["lr=1"]])
def test_a_folder_alone_is_the_run(tmp_path, monkeypatch, given):
    (tmp_path / "lr=1").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = next(each for each in given if each != "seed=3").removeprefix("run=")
    assert arguments.values(given, KEYS, texts=["run"])["run"] == folder


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        (["my", "run"], "'run=my run'"),
        (["run=a", "prompt=It's", "late"], '"prompt=It\'s late"'),
        (["a", "prompt=Once", "upon", "a", "time", "seed=3"], "'prompt=Once upon a time'"),
        (["run", "=", "a"], "run=a"),
        (["--run", "my run"], "'run=my run'"),
        (["a", "b=c"], ""),
        (["a", "seed=3", "4"], ""),
    ],
)
def test_what_the_shell_has_divided_is_shown_whole(given, hint):
    with pytest.raises(ConfigError) as error:
        arguments.values(given, (*KEYS, "prompt"), texts=["run", "prompt"])
    assert str(error.value).partition("; hint: ")[2] == hint


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("run=", "run= has no value; allowed: run=VALUE"),
        ("sed=3", r"sed is not a key \(nearest: seed\); allowed: imports, run, seed"),
        ("--sed=3", "--sed=3 is not key=value; allowed: run=VALUE, imports=VALUE, seed=VALUE; hint: seed=3"),
        ("--batch", "--batch is not key=value; allowed: run=VALUE, imports=VALUE, seed=VALUE$"),
        ("-", "- is not key=value; allowed: "),
        ("run=[a", r"run=\[a cannot be read; allowed: key=value"),
    ],
)
def test_anything_else_is_an_error_of_one_line(argument, message):
    with pytest.raises(ConfigError, match=message):
        arguments.values([argument], KEYS)

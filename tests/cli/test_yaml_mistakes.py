"""A mistake in a user's YAML is one line with file, line and column."""

import os
from pathlib import Path

import pytest
import yaml
from support.commands import TINY, train

from dl_lab.core import yaml_files
from dl_lab.core.errors import ConfigError

MLP = "name: mlp\nhidden_sizes: [3]\nactivation: tanh\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
# The content of a file, and the place and the words that the message names.
MISTAKES: dict[str, tuple[str | bytes, str, str]] = {
    "syntax": ("name: mlp\nhidden_sizes: [3\nactivation: tanh\n", "line 3, column 11", "expected ',' or ']'"),
    "two values": ("name: mlp: x\n", "line 1, column 10", "mapping values are not allowed"),
    "tab": ("name: mlp\n\thidden_sizes: [3]\n", "line 2, column 1", "tab"),
    "the same key": ("name: mlp\nname: linear\n", "line 2, column 1", "duplicate key name"),
    "Latin-1": (b"name: mlp\nactivation: caf\xe9\n", "line 2, column 16", "not UTF-8"),
    "UTF-16": (MLP.encode("utf-16"), "line 1, column 1", "looks like UTF-16"),
    "UTF-16 without a mark": (MLP.encode("utf-16-le"), "line 1, column 2", "control characters"),
    "NUL": ("name: mlp\nactivation: a\0b\n", "line 2, column 14", "control characters"),
    "two documents": ("name: mlp\n---\nname: linear\n", "line 2, column 1", "another document"),
    "list": ("- 1\n- 2\n", "line 1", "a list; allowed: keys with values"),
    "text": ("just text\n", "line 1", "a single value; allowed: keys with values"),
    "code": ("name: !!python/object/apply:os.mkdir [sprung]\n", "line 1, column 7", "os.mkdir"),
    "unknown alias": ("name: *unknown\n", "line 1, column 7", "undefined alias"),
    "alias of itself": ("a: &a\n  b: *a\n", "line 1, column 4", "none of which refers to itself"),
    "alias bomb": (BOMB, "line 1, column 8", "allowed: up to 50 levels, and 100000 values"),
    "many levels": (
        f"name: mlp\nhidden_sizes: {'[' * 60}{']' * 60}\n",
        "line 2, column 64",
        "allowed: up to 50 levels",
    ),
    "too many levels": (f"a: {'[' * 10**5}{']' * 10**5}\n", "line 1", ""),
    "many digits": (f"name: mlp\nhidden_sizes: [{'9' * 5000}]\n", "", "digits"),
    "key that is null": ("name: mlp\nnull: 1\n", "", "key"),
    "set": ("name: mlp\nhidden_sizes: !!set {a, b}\n", "", "set"),
}


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "own" / "model" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(tmp_path, case):
    content, place, words = MISTAKES[case]
    path = write(tmp_path, content)
    ended = train(tmp_path, "--config-dir", "own", "model=mine", *TINY)
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
    assert ended.err.startswith(f"error: {path}{f', {place}' if place else ''}")
    assert words in ended.err
    assert "allowed: " in ended.err or "hint: " in ended.err
    assert {entry.name for entry in tmp_path.iterdir()} == {"own"}


@pytest.mark.parametrize("models", ["mlp,mine", "mine,mlp"])
@pytest.mark.parametrize("launcher", ["in_turn", "vectorized"])
def test_in_a_sweep_only_the_job_with_the_mistake_fails(tmp_path, models, launcher):
    path = write(tmp_path, "name: mlp\nname: linear\n")
    ended = train(tmp_path, "-m", "--config-dir", "own", f"model={models}", f"hydra/launcher={launcher}", *TINY)
    assert (ended.status, len(ended.runs)) == (1, 2)
    assert "1 of 2 jobs failed" in ended.err
    assert f"{path}, line 2, column 1: found duplicate key name" in ended.err


def test_what_is_no_file_is_no_choice(tmp_path):
    path = write(tmp_path, MLP)
    path.unlink()
    os.mkfifo(path)
    ended = train(tmp_path, "--config-dir", "own", "model=mine", *TINY)
    assert ended.status == 2
    assert ended.err.startswith("error: model=mine is not known")


@pytest.mark.parametrize("text", ["[" * 10**5, "- " * 5000, "? " * 5000])
@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml_files.Loader])
def test_many_levels_are_refused_with_and_without_libyaml(tmp_path, monkeypatch, text, loader):
    monkeypatch.setattr(yaml_files, "Loader", loader)
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=r"too much to read|nesting depth"):
        yaml_files.check(path)

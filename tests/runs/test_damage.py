"""Checkpoints that are not what was written: every damage is noticed, the one before is used, and that is said."""

import io
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from support.commands import Ended, train
from support.interrupted import RUN, Killed, assert_equal, interrupted, same

from dl_lab.core.errors import ConfigError
from dl_lab.runs import checkpoint

CPU = torch.device("cpu")
CONTENTS = {"model": {"weight": torch.arange(6.0)}, "step": 3, "config": {"seed": 0}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return train(tmp_path_factory.mktemp("whole"), *RUN)


def test_a_checkpoint_is_read_by_torch_and_by_us(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, CONTENTS)
    assert same(torch.load(path, weights_only=True), CONTENTS)
    assert same(torch.load(path, weights_only=True, mmap=True), CONTENTS)
    assert same(checkpoint.load(path, CPU), CONTENTS)


@pytest.mark.faults
def test_every_flipped_bit_is_noticed(tmp_path):
    """Each of the file's bits in turn: torch.load alone takes nearly all of those in a tensor for the truth."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, CONTENTS)
    content = bytearray(path.read_bytes())
    taken_by_torch = 0
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            checkpoint.load(path, CPU)
        assert str(path) in str(caught.value)
        if bit % 64 == 0:
            with suppress(Exception):  # of many kinds
                taken_by_torch += not same(torch.load(io.BytesIO(content), weights_only=True), CONTENTS)
        content[bit // 8] ^= 1 << bit % 8
    assert taken_by_torch > 0


def test_every_length_that_is_too_short_is_noticed(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, CONTENTS)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ConfigError, match=r"damaged|cut off|empty|not a checkpoint of dl_lab"):
            checkpoint.load(path, CPU)


def test_a_checkpoint_from_before_there_was_a_checksum_is_read(tmp_path):
    torch.save(CONTENTS, tmp_path / "old.pt")
    assert same(checkpoint.load(tmp_path / "old.pt", CPU), CONTENTS)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def foreign(path: Path) -> None:
    torch.save({"state_dict": {}, "epoch": 3}, path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "bit flipped": flip,
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": foreign,
    "text": lambda path: path.write_text("a checkpoint, believe me"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_the_checkpoint_before_a_damaged_one_is_used_and_that_is_said(tmp_path, whole, damage):
    interrupted(tmp_path, 15, *RUN)  # saved at 6 and at 12
    damage(tmp_path / "run" / "checkpoints" / "last.pt")
    (tmp_path / "run" / "checkpoints" / "best.pt").unlink()
    resumed = train(tmp_path, "resume=run")
    assert resumed.status == 0, resumed.err
    first, *others = resumed.err.splitlines()
    assert "run/checkpoints/last.pt " in first
    assert "continues from previous.pt, step 6" in first
    assert others == []
    assert_equal(resumed, whole)


def test_the_best_checkpoint_is_used_if_it_is_the_newest_that_is_whole(tmp_path, whole):
    interrupted(tmp_path, 15, *RUN)
    flip(tmp_path / "run" / "checkpoints" / "last.pt")
    resumed = train(tmp_path, "resume=run")
    assert "continues from best.pt, step 12" in resumed.err
    assert_equal(resumed, whole)


def test_with_nothing_whole_left_nothing_is_done(tmp_path):
    interrupted(tmp_path, 15, *RUN)
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        flip(path)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    ended = train(tmp_path, "resume=run")
    assert ended.status == 2
    assert "there is no other checkpoint; hint: start again with rerun=run" in ended.err
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_a_damaged_best_checkpoint_is_written_again_from_the_last_if_that_is_the_best(tmp_path, whole, damage):
    interrupted(tmp_path, 15, *RUN)
    damage(tmp_path / "run" / "checkpoints" / "best.pt")
    resumed = train(tmp_path, "resume=run")
    assert resumed.err == ""
    assert_equal(resumed, whole)


def test_a_damaged_best_checkpoint_that_is_older_is_given_up_and_that_is_said(tmp_path):
    worse = (*RUN, "optimizer=sgd", "optimizer.lr=30", "train.max_grad_norm=1")  # best at 6, worse from then on
    interrupted(tmp_path, 15, *worse)
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert (last["step"], last["best"]["step"]) == (12, 6)
    flip(tmp_path / "run" / "checkpoints" / "best.pt")
    resumed = train(tmp_path, "resume=run")
    assert resumed.status == 0, resumed.err
    assert "best.pt is damaged (wrong checksum); the best validation from now on" in resumed.err
    best = torch.load(resumed.run / "checkpoints" / "best.pt", weights_only=True)
    assert best["step"] == resumed.summary["best"]["step"] > 12


@pytest.mark.parametrize("save", range(1, 9))
def test_a_run_killed_in_any_of_its_saves_resumes_to_the_last_bit(tmp_path, whole, save):
    """A save is torch's work on the content, then a file beside, then up to two renamings: killed before each."""
    for act in ("dump", "fsync", "replace"):
        folder = tmp_path / act
        killed(folder, save, act)
        begun = (folder / "run" / ".hydra" / "config.yaml").exists()
        resumed = train(folder, "resume=run") if begun else train(folder, *RUN)
        assert resumed.status == 0, resumed.err
        assert_equal(resumed, whole)
        assert list(resumed.run.rglob("*.partial")) == []


def killed(folder: Path, call: int, act: str) -> None:
    """Train until the `call`-th time that a checkpoint is serialised, any file flushed, or renamed, and end there."""
    owner, name = {"dump": (torch, "save"), "fsync": (os, "fsync")}.get(act, (type(folder), "replace"))
    real, count = getattr(owner, name), 0

    def killing(*arguments: object, **named: object) -> object:
        nonlocal count
        count += 1
        if count == call:
            raise Killed
        return real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, killing)
        try:
            train(folder, *RUN)
        except Killed:
            return


def test_a_run_killed_between_its_last_checkpoint_and_its_end_is_not_trained_beyond_it(tmp_path):
    patient = [*RUN, "train.patience=1", "optimizer=sgd", "optimizer.lr=30", "train.max_grad_norm=1"]
    whole = train(tmp_path / "whole", *patient)
    assert whole.summary["reason"] == "no better val/loss in 1 validation"
    from dl_lab.training import loop

    with pytest.MonkeyPatch.context() as patch:

        def die(*_: object) -> None:
            raise Killed

        patch.setattr(loop, "evaluate_best", die)
        with pytest.raises(Killed):
            train(tmp_path / "broken", *patient)
    assert_equal(train(tmp_path / "broken", "resume=run"), whole)


def test_copies_of_a_run_folder_elsewhere_go_on_as_well(tmp_path, whole):
    interrupted(tmp_path / "there", 8, *RUN)
    shutil.copytree(tmp_path / "there" / "run", tmp_path / "here" / "run")
    assert_equal(train(tmp_path / "here", "resume=run"), whole)


BOMB = "a0: &a0 [1]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: " + "[" * 60 + "]" * 60, BOMB])
def test_a_configuration_without_end_is_refused(tmp_path, text):
    run = tmp_path / "run" / ".hydra"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(text)
    for arguments in ("resume=run", "rerun=run"):
        ended = train(tmp_path, arguments)
        assert (ended.status, ended.err.count("\n")) == (2, 1), ended.err
        assert "run/.hydra/config.yaml is not as a run writes it; hint: " in ended.err

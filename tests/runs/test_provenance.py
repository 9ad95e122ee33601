"""The state of a checkout is read without running the programs that its folder names."""

import subprocess
from pathlib import Path

import pytest

from dl_lab.runs.provenance import checkout


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def make_repository(folder: Path) -> Path:
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("one = 1\n")
    (folder / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


@pytest.mark.parametrize("included", [False, True])
def test_programs_of_a_checkout_do_not_run(tmp_path, included):
    folder = make_repository(tmp_path / "code")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    program.chmod(0o755)
    config = ["-f", str(tmp_path / "other")] if included else []
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "diff.external", "diff.evil.textconv"):
        git(folder, "config", *config, key, str(program))
    if included:
        git(folder, "config", "include.path", str(tmp_path / "other"))
    (folder / "code.py").write_text("one = 2\n")  # as long as before, so that git reads the content
    assert checkout(folder) == (git(folder, "rev-parse", "HEAD").strip(), False)
    assert not (tmp_path / "ran").exists()
    git(folder, "status")
    assert (tmp_path / "ran").exists()


def test_state_of_a_checkout(tmp_path):
    folder = make_repository(tmp_path / "code")
    git(folder, "worktree", "add", "-q", str(tmp_path / "tree"))
    (folder / ".git" / "info" / "exclude").write_text("ignored\n")
    (folder / "ignored").touch()
    commit = git(folder, "rev-parse", "HEAD").strip()
    assert checkout(folder) == checkout(tmp_path / "tree") == (commit, True)
    (folder / "new").touch()
    assert checkout(folder) == (commit, False)
    assert checkout(tmp_path / "tree") == (commit, True)
    assert checkout(tmp_path) == (None, None)

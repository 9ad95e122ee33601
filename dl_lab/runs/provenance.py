"""Describe the code of a run: versions, git commit and the state of the checkout."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PACKAGES = ("dl_lab", "torch", "numpy", "hydra-core")


@cache
def provenance() -> dict[str, Any]:
    """Versions, git commit and whether the checkout is clean; None where unknown. As of the first run of the process,
    because later changes to the code do not affect it.
    """
    here, commit, clean = Path(__file__).parents[2], installed_commit(), None
    if (here / ".git").exists():
        with suppress(OSError):  # git is not installed
            commit, clean = checkout(here)
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            versions[name] = None
    return {"versions": versions, "git_commit": commit, "git_clean": clean}


def installed_commit() -> str | None:
    """The commit of an installation from a repository, such as `pip install git+https://...`; None for others."""
    try:
        origin = importlib.metadata.distribution("dl_lab").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    commit: str | None = json.loads(origin or "{}").get("vcs_info", {}).get("commit_id")
    return commit


def checkout(folder: Path) -> tuple[str | None, bool | None]:
    """The commit of a checkout and whether it is clean. The configuration in its .git names programs that `git status`
    runs (filters, a file monitor), so it is asked of an empty .git that shares only the index and the objects.
    """
    paths = [part for name in ("objects", "index", "info/exclude") for part in ("--git-path", name)]
    lines, commit = _git(folder, "rev-parse", *paths), _git(folder, "rev-parse", "--verify", "HEAD")
    if lines is None or commit is None:
        return None, None
    objects, index, exclude = (folder / line for line in lines.splitlines())
    with TemporaryDirectory() as empty:
        for name in ("refs", "objects", "info"):
            (Path(empty) / name).mkdir()
        (Path(empty) / "HEAD").write_text(commit)
        with suppress(OSError):
            shutil.copyfile(exclude, Path(empty) / "info" / "exclude")
        shared = {"GIT_DIR": empty, "GIT_WORK_TREE": ".", "GIT_INDEX_FILE": str(index)}
        shared |= {"GIT_OBJECT_DIRECTORY": str(objects)}
        changes = _git(folder, "status", "--porcelain", "--ignore-submodules=dirty", **shared)
    return commit.strip(), None if changes is None else not changes


def _git(folder: Path, *arguments: str, **variables: str) -> str | None:
    """What a git command prints, or None after an error. It takes no lock and fetches nothing."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments]
    environment = own | {"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1"} | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout

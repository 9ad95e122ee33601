"""Versions, git commit and the state of the checkout."""

import importlib.metadata
import platform
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


PACKAGES = ("dl_lab", "torch", "numpy", "hydra-core")


@cache
def provenance() -> dict[str, Any]:
    """Versions, the git commit of the code that runs, and whether the checkout was clean; null where there is none to
    be had. As of the process's first run: what it has imported by then is what it goes on with.
    """
    here, commit, clean = Path(__file__).parents[2], None, None
    if (here / ".git").exists():
        with suppress(OSError):  # no git here
            asked = ["git", "-C", str(here), "status", "--porcelain=v2", "--branch"]
            told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
            commit = next((line.split()[2] for line in told if line.startswith("# branch.oid ")), None)
            clean = all(line.startswith("#") for line in told) if commit else None
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[name] = None
    return {"versions": versions, "git_commit": commit, "git_clean": clean}

"""Describe the code of a run: versions, git commit and the state of the checkout."""

import importlib.metadata
import platform
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = ("dl_lab", "torch", "numpy", "hydra-core")


@cache
def provenance() -> dict[str, Any]:
    """Versions, git commit and whether the checkout is clean; None where unknown. As of the first run of the process,
    because later changes to the code do not affect it.
    """
    here, commit, clean = Path(__file__).parents[2], None, None
    if (here / ".git").exists():
        with suppress(OSError):  # git is not installed
            command = ["git", "-C", str(here), "status", "--porcelain=v2", "--branch"]
            lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
            commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), None)
            clean = all(line.startswith("#") for line in lines) if commit else None
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a checkout that is not installed
            versions[name] = None
    return {"versions": versions, "git_commit": commit, "git_clean": clean}

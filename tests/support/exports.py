"""Use the files of an export as a program without dl_lab does."""

import json
import subprocess
import sys
from pathlib import Path

from support.commands import command

from dl_lab import export

BLOCKED = """
import runpy, sys
sys.modules["dl_lab"] = None  # as if it were not installed
sys.argv = sys.argv[1:]
sys.path[0] = __import__("os").path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""

Found = list[dict[str, dict[str, float]]]


def exported(run: Path, to: str, *arguments: str, notes: str = "") -> Path:
    """The folder that the command writes; `notes` are part of what it prints to standard error."""
    ended = command(export.main, run.parent, f"run={run}", f"to={to}", *arguments)
    assert ended.status == 0, ended.err
    assert notes in ended.err if notes else not ended.err
    return run / "export" / to


def by_script(folder: Path, *arguments: str | Path) -> Found:
    """What predict.py prints in a process that cannot import dl_lab."""
    ended = run_script(folder, *arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    return [json.loads(line) for line in ended.stdout.splitlines()]


def run_script(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-W", "error", "-c", BLOCKED, str(folder / "predict.py"), *map(str, arguments)]
    return subprocess.run(line, cwd=folder.parent, capture_output=True, text=True, check=False, timeout=120)

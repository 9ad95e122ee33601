"""Run the commands of dl_lab as a user does, in this process or in a separate one."""

import io
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from dl_lab import train as train_module

TINY = ("dataset=iris", "train.steps=6", "train.validate_every=3", "train.log_every=2", "train.batch_size=10")


@dataclass(frozen=True)
class Ended:
    """The exit status and output of a command, and the run folders below its working folder, by name."""

    status: int
    out: str
    err: str
    runs: list[Path]

    @property
    def run(self) -> Path:
        (run,) = self.runs
        return run

    @property
    def summary(self) -> dict[str, object]:
        return json.loads((self.run / "summary.json").read_text())

    def lines(self, split: str) -> list[dict[str, float]]:
        """Return the lines of metrics.jsonl for a split."""
        lines = [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]
        return [line for line in lines if line["split"] == split]


def command(main: Callable[[], None], folder: Path, *arguments: str, terminal: io.TextIOBase | None = None) -> Ended:
    """Call `main` with these arguments in `folder`, which is created, with `terminal` as standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    out, err, status = io.StringIO(), terminal or io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, chdir(folder), redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["dl-lab", *arguments])
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setenv("DL_LAB_DATA", str(folder / "data"))
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    runs = sorted({path.parent for path in folder.rglob("summary.json")})
    return Ended(status, out.getvalue(), "" if terminal else err.getvalue(), runs)


def train(folder: Path, *arguments: str, terminal: io.TextIOBase | None = None) -> Ended:
    """Run `python -m dl_lab.train ARGUMENTS` in this process, which has imported torch."""
    return command(train_module.main, folder, *arguments, terminal=terminal)


def spawn(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python ARGUMENTS` in a separate process."""
    line = [sys.executable, *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def on_terminal(act: Callable[[io.TextIOBase], object]) -> str:
    """Return what `act` writes to a pseudo-terminal."""
    master, slave = pty.openpty()
    os.set_blocking(master, False)  # if nothing was written, reading raises instead of waiting
    termios.tcsetwinsize(slave, (24, 200))
    with os.fdopen(slave, "w", encoding="utf-8") as terminal:
        act(terminal)
        terminal.flush()
        written = b""
        with suppress(BlockingIOError):  # everything has been read
            while part := os.read(master, 1 << 16):
                written += part
    os.close(master)
    return written.decode()

"""A sweep in its folder. The command trains it in a process of its own, because the processes that launchers start
would import the main module of the caller, and so train the sweep again.
"""

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from dl_lab.analysis import report
from dl_lab.api import process
from dl_lab.api.trained_run import Run
from dl_lab.config.compose import PACKAGE
from dl_lab.core.errors import FAILED, INTERRUPTED, MISTAKE, ConfigError, Failed, JobsFailed
from dl_lab.core.paths import user_path
from dl_lab.runs.reader import holds_run
from dl_lab.sweeps.manifest import NAME, Manifest

if TYPE_CHECKING:
    import polars as pl

IS_POSIX = os.name == "posix"
JOBS = re.compile(r"^(?:\d+ of \d+ jobs |a job failed, )", re.MULTILINE)  # where the text of JobsFailed begins


@dataclass(frozen=True)
class Compared:
    """A comparison: `table` has a row for each configuration, `text` is what the command prints, `folder` the files."""

    table: "pl.DataFrame"
    text: str
    folder: Path

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep, with the modules that it has imported."""

    folder: Path
    imports: tuple[str, ...] = ()

    @property
    def runs(self) -> list[Run]:
        """The runs that have begun, in the order of the jobs."""
        with process.call():
            folders = [self.folder / entry.folder for entry in Manifest(self.folder, "").jobs]
            return [Run(folder, imports=self.imports) for folder in folders if holds_run(folder)]

    def compare(self, metric: str | None = None, out: str | Path | None = None) -> Compared:
        """Compare the configurations, as `python -m dl_lab.compare` does, and write its files to `out`, by default a
        new folder in that of the sweep.
        """
        with process.call():
            import polars as pl

            folder = None if out is None else user_path(str(out), "out").absolute()
            text, folder = report.write_report([self.folder], metric, folder)
            return Compared(pl.read_csv(folder / "compare.csv", infer_schema_length=None), text, folder)


def trained(overrides: list[str], sweep: Sweep) -> Sweep:
    """Run the command to its end, with these overrides, which include the folder of the sweep.

    Raises:
        ConfigError, JobsFailed, Failed: by the exit status of the command.
    """
    status, errors = command(["-m", "dl_lab.train", "-m", *overrides])
    lines = [line.removeprefix("error: ") for line in errors.splitlines() if line.startswith("error: ")]
    if status == MISTAKE and lines:
        raise ConfigError(lines[-1])
    if status == FAILED and (found := JOBS.search(errors)):
        failed = JobsFailed(errors[found.start() :].rstrip())
        failed.sweep = sweep
        raise failed
    if status == INTERRUPTED and not (sweep.folder / NAME).exists():
        raise KeyboardInterrupt
    if status not in (0, INTERRUPTED):
        raise Failed(lines[-1] if lines else f"the sweep ended with status {status}: {errors.strip()[-2000:]}")
    return sweep


def command(arguments: list[str]) -> tuple[int, str]:
    """Run Python with these arguments, show its output as it comes, and return its exit status and standard error. It
    does not receive the Ctrl-C of a terminal, but the first one from here; the second one kills it.
    """
    is_installed = PACKAGE.parent.name in ("site-packages", "dist-packages")
    paths = [*([] if is_installed else [str(PACKAGE.parent)]), *filter(None, [os.environ.get("PYTHONPATH")])]
    with subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
        process_group=0 if IS_POSIX else None,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        written: list[str] = []
        relays = [
            threading.Thread(target=relay, args=(running.stdout, sys.stdout, []), daemon=True),
            threading.Thread(target=relay, args=(running.stderr, sys.stderr, written), daemon=True),
        ]
        for each in relays:
            each.start()
        wait(running)
        for each in relays:
            each.join()
    return running.returncode, "".join(written)


def wait(running: "subprocess.Popen[str]") -> None:
    """Wait until the process has ended. Raises KeyboardInterrupt after the second Ctrl-C."""
    try:
        _poll(running)
    except KeyboardInterrupt:
        if IS_POSIX:  # elsewhere it has received the Ctrl-C itself
            running.send_signal(signal.SIGINT)
        _poll(running)
    finally:
        running.kill()  # nothing, if it has ended


def _poll(running: "subprocess.Popen[str]") -> None:
    """Wait in short pieces: a signal that another thread receives does not end a longer one."""
    while running.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            running.wait(timeout=0.2)


def relay(source: IO[str], shown: IO[str], written: list[str]) -> None:
    """Show every line of a stream, and keep it."""
    for line in source:
        written.append(line)
        shown.write(line)
        shown.flush()

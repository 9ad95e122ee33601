"""sweep.json, the manifest of a sweep: its jobs, how each one ended, and where its run folder is."""

import json
import threading
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf, open_dict
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from dl_lab.config.compose import quoted
from dl_lab.config.schema import GridConfig
from dl_lab.core import atomic_io
from dl_lab.core.atomic_io import atomic_write
from dl_lab.core.errors import ConfigError
from dl_lab.core.paths import user_path
from dl_lab.core.shell import word
from dl_lab.runs.folders import inside, make_folder
from dl_lab.runs.identity import signature
from dl_lab.runs.reader import Run, read_summary, read_tolerant

NAME = "sweep.json"
VERSION = 2
FINAL = ("completed", "diverged", "pruned")  # a job with one of these statuses does not run again
FAILURES = ("failed", "diverged")
WRITE_DELAY = 0.3  # seconds


@dataclass(kw_only=True)
class Entry:
    """One job. `metrics` holds the metrics and the step of the best validation; `folder` is relative to the sweep's."""

    number: int
    overrides: list[str]
    signature: str
    status: str = "pending"
    folder: str
    metrics: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    seconds: float | None = None
    data: str | None = None  # the fingerprint of the files it was trained on
    warnings: int = 0

    @property
    def is_final(self) -> bool:
        """Whether the job has a result and does not run again."""
        return self.status in FINAL

    @property
    def is_failure(self) -> bool:
        return self.status in FAILURES

    @property
    def why(self) -> str:
        """The reason of a failure, in one line."""
        return self.reason or self.status if self.status == "failed" else f"{self.status}: {self.reason}"


@pydantic_dataclass(kw_only=True)
class Saved:
    """What sweep.json contains. It is data: jobs are found in it by their signatures, and nothing in it is composed."""

    version: Literal[1, 2] = 1
    command: str
    started: str
    objective: str | None
    jobs: list[Entry]
    search: dict[str, Any] | None

    def __post_init__(self) -> None:
        for what in ("number", "folder"):
            values = [getattr(entry, what) for entry in self.jobs]
            if len(set(values)) < len(values):
                raise ValueError(f"two jobs have the same {what}")


def reason_of(error: Exception) -> str:
    """Why a file cannot be read, with the place of the first wrong value in it."""
    first = error.errors()[0] if isinstance(error, ValidationError) else {"type": "json_invalid"}
    if first["type"] == "json_invalid":
        return "is damaged"
    return f"is not as a sweep writes it ({'.'.join(map(str, first['loc']))}: {first['msg']})"


def resolved(config: DictConfig) -> dict[str, Any]:
    """Return the configuration of a job as plain values, without Hydra's node. Raises OmegaConf's errors for an
    interpolation that cannot be resolved.
    """
    own = {str(key): config[key] for key in config if key != "hydra"}
    return {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in own.items()
    }


class Manifest:
    """The jobs of the sweep in `folder`. The sweep holds a lock, so that no other process writes there."""

    def __init__(self, folder: Path, command: str):
        """Read the manifest in `folder` and update it from the run folders, or start a new one.

        Raises:
            ConfigError: if the file cannot be read.
        """
        self.folder = folder
        self._path = folder / NAME
        self.jobs: list[Entry] = []
        self._by_number: dict[int, Entry] = {}
        self.search: dict[str, Any] | None = None
        self.objective: str | None = None
        self._head = {"command": command, "started": datetime.now().isoformat(timespec="seconds")}
        self._writing = threading.RLock()
        self._due: threading.Timer | None = None
        if self._path.exists():
            self._read()

    def _read(self) -> None:
        try:
            saved = TypeAdapter(Saved).validate_json(atomic_io.read_bytes(self._path), strict=True)
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{self._path} {reason_of(error)}; hint: restore it, or start a new sweep") from error
        self._head = {"command": saved.command, "started": saved.started}
        self.objective, self.search = saved.objective, saved.search
        for entry in saved.jobs:
            folder = inside(self.folder, entry.folder, f"{self._path}: folder of job {entry.number}")
            self.add(entry)
            self.look_up(entry)
            if saved.version == 1 and isinstance(run := read_tolerant(folder), Run):
                entry.signature = signature(run.config)  # version 1 also signed keys that compute nothing, such as name

    def look_up(self, entry: Entry) -> None:
        """Update a job from its run folder, which is right where the two differ."""
        try:
            summary = read_summary(self.folder / entry.folder)
        except ConfigError:  # damaged: the job is not known to have ended otherwise
            return
        if not summary:  # it has not ended, or its folder was removed
            entry.status = "pending" if entry.is_final else entry.status
            return
        entry.status, entry.reason = summary["status"], summary.get("reason")
        entry.seconds, entry.data = summary.get("seconds"), summary.get("data")
        entry.warnings = len(summary.get("warnings") or ())
        entry.metrics = {key: value for key, value in (summary.get("best") or {}).items() if key != "epoch"}

    def __getitem__(self, number: int) -> Entry:
        return self._by_number[number]

    def find(self, signature: str, overrides: Sequence[str], taken: Container[int]) -> Entry | None:
        """Return a job with this signature whose number is not in `taken`, preferably one with the same overrides."""
        same = [entry for entry in self.jobs if entry.signature == signature and entry.number not in taken]
        return min(same, key=lambda entry: entry.overrides != list(overrides), default=None)

    def add(self, entry: Entry) -> Entry:
        """Add a new job."""
        self.jobs.append(entry)
        self._by_number[entry.number] = entry
        return entry

    def next_number(self) -> int:
        return max(self._by_number, default=-1) + 1

    def start(self, number: int) -> None:
        """Record that a job runs."""
        self[number].status = "running"
        self.write_soon()

    def end(self, number: int, status: str, reason: str | None) -> Entry:
        """Record how a job ended, with the metrics that its run folder has."""
        entry = self[number]
        self.look_up(entry)
        entry.reason = entry.reason if status == entry.status == "diverged" else reason
        entry.status = status
        self.write_soon()
        return entry

    def write_soon(self) -> None:
        """Write the file after a short delay, so that hundreds of short jobs share one write."""
        with self._writing:
            if self._due is None:
                self._due = threading.Timer(WRITE_DELAY, self._write_if_possible)
                self._due.daemon = True
                self._due.start()

    def _write_if_possible(self) -> None:
        with suppress(OSError):  # of a full disk, which the last write reports
            self.write()

    def write(self) -> None:
        """Write the whole file now."""
        with self._writing:
            if self._due is not None:
                self._due.cancel()
                self._due = None
            head = {"version": VERSION, **self._head, "objective": self.objective}
            jobs = [asdict(entry) for entry in self.jobs]
            text = json.dumps({**head, "jobs": jobs, "search": self.search}, indent=1)
            with atomic_write(self._path) as file:
                file.write(text.encode())


def folder_of(config: DictConfig, settings: GridConfig) -> Path:
    """Return the folder of the sweep, which exists then, and write it into `config`.

    Raises:
        ConfigError: if the folder of a new sweep holds one already, or `settings.resume` holds none.
    """
    if settings.resume is None:
        folder = user_path(str(config.hydra.sweep.dir), "hydra.sweep.dir").absolute()
        if (folder / NAME).exists():
            resume = word(f"sweep.resume={folder}")
            raise ConfigError(f"hydra.sweep.dir={folder} already holds a sweep; hint: {resume}")
        make_folder(folder)
    else:
        folder = user_path(settings.resume, "sweep.resume").absolute()
        if not (folder / NAME).exists():
            raise ConfigError(f"sweep.resume={settings.resume} holds no {NAME}; allowed: the folder of a sweep")
    with open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(folder)}")  # third-party launchers compose it
    return folder

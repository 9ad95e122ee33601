"""sweep.json: what a sweep's jobs are, how each ended and where it lies. Written whole, a moment after it changes."""

import json
import threading
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dl_lab.core.atomic_io import atomic_write
from dl_lab.core.errors import ConfigError

NAME = "sweep.json"
ENDED = ("completed", "diverged", "pruned")  # results, not to be had again; the rest is run, or gone on with
BETWEEN_WRITES = 0.3  # seconds


@dataclass(kw_only=True)
class Entry:
    """One job. `metrics` are the best validation's, with its step; `folder` lies below the sweep's."""

    number: int
    overrides: list[str]
    signature: str
    status: str = "pending"
    folder: str
    metrics: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    seconds: float | None = None

    @property
    def why(self) -> str:
        """Why a job failed, in one line."""
        return self.reason or self.status if self.status == "failed" else f"{self.status}: {self.reason}"


def resolved(config: DictConfig) -> dict[str, Any]:
    """A job's configuration as plain values, without Hydra's node; raises OmegaConf's errors for what cannot be looked
    up.
    """
    own = {str(key): config[key] for key in config if key != "hydra"}
    return {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in own.items()
    }


class Manifest:
    """The jobs of the sweep in `folder`, which it alone may write."""

    def __init__(self, folder: Path, command: str):
        """Open the manifest that is in `folder`, brought up to date with the run folders, or begin one.

        Raises:
            ConfigError: if what is there cannot be read.
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
            saved = json.loads(self._path.read_text(encoding="utf-8"))
            for values in saved["jobs"]:
                self.add(Entry(**values))
            self._head = {key: saved[key] for key in self._head}
            self.objective, self.search = saved["objective"], saved["search"]
        except (ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"{self._path} cannot be read ({reason}); allowed: a sweep.json of ours") from error
        for entry in self.jobs:
            self.look_up(entry)

    def look_up(self, entry: Entry) -> None:
        """Take how a job ended, and its metrics, from its run folder, which is right where the two differ."""
        path = self.folder / entry.folder / "summary.json"
        if not path.exists():  # it has not ended, or its folder is gone
            entry.status = "pending" if entry.status in ENDED else entry.status
            return
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
            entry.status, entry.reason = summary["status"], summary.get("reason")
        except (ValueError, KeyError, TypeError):  # damaged: as if it had none, so that the job goes on
            return
        entry.seconds = summary.get("seconds")
        entry.metrics = {key: value for key, value in (summary.get("best") or {}).items() if key != "epoch"}

    def __getitem__(self, number: int) -> Entry:
        return self._by_number[number]

    def find(self, signature: str, overrides: Sequence[str], taken: Container[int]) -> Entry | None:
        """The job with this signature that is not `taken`, by preference one that was asked for by these overrides."""
        same = [entry for entry in self.jobs if entry.signature == signature and entry.number not in taken]
        return min(same, key=lambda entry: entry.overrides != list(overrides), default=None)

    def add(self, entry: Entry) -> Entry:
        """A new job."""
        self.jobs.append(entry)
        self._by_number[entry.number] = entry
        return entry

    def next_number(self) -> int:
        return max(self._by_number, default=-1) + 1

    def changed(self) -> None:
        """Have it written soon: hundreds of short jobs share a write."""
        with self._writing:
            if self._due is None:
                self._due = threading.Timer(BETWEEN_WRITES, self.write)
                self._due.daemon = True
                self._due.start()

    def write(self) -> None:
        """Write it now."""
        with self._writing:
            if self._due is not None:
                self._due.cancel()
                self._due = None
            head = {"version": 1, **self._head, "objective": self.objective}
            jobs = [asdict(entry) for entry in self.jobs]
            text = json.dumps({**head, "jobs": jobs, "search": self.search}, indent=1)
            with atomic_write(self._path) as file:
                file.write(text.encode())

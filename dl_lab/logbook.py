"""The only writer of a run folder: .hydra/, TensorBoard's events, metrics.jsonl, summary.json."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from filelock import FileLock, Timeout

from dl_lab import events
from dl_lab.errors import ConfigError
from dl_lab.events import EventWriter
from dl_lab.files import whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

PACKAGES = ("dl_lab", "torch", "numpy", "hydra-core")
NO_HYPERPARAMETERS = ("data_dir", "imports", "claim")
OURS = ("metrics.jsonl", "summary.json", "checkpoints", ".hydra")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as file:
        file.write(text.encode())


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write summary.json; numbers that are not finite become null, which JSON knows."""
    finite = json.loads(json.dumps(summary), parse_constant=lambda constant: None)
    write_text(folder / "summary.json", json.dumps(finite, indent=2) + "\n")


def hyperparameters(values: Mapping[str, Any], prefix: str = "") -> dict[str, float | str | bool]:
    """A nested configuration as dotted keys, a group's choice under the group's name; lists and null become text."""
    flat: dict[str, float | str | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= hyperparameters(value, f"{prefix}{key}.")
        elif key not in NO_HYPERPARAMETERS:
            name = prefix.removesuffix(".") if prefix and key == "name" else prefix + key
            flat[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def configuration(values: Mapping[str, float | str | bool]) -> dict[str, float | str | bool]:
    """Hyper-parameters without the seed: what runs have in common that differ by chance alone."""
    return {key: value for key, value in values.items() if key != "seed"}


def digest(values: Mapping[str, float | str | bool]) -> str:
    """Eight hexadecimal digits that name a configuration, however its keys are ordered and its numbers written."""
    plain = [[key, value if isinstance(value, bool | str) else float(value)] for key, value in sorted(values.items())]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:8]


def provenance() -> dict[str, Any]:
    """Versions, and the git commit of the code that runs; null where there is none to be had."""
    here, commit = Path(__file__).parents[1], None
    if (here / ".git").exists():
        with suppress(OSError):  # no git here
            git = subprocess.run(
                ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
            )
            commit = git.stdout.strip() or None
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[name] = None
    return {"versions": versions, "git_commit": commit}


def forget_after(folder: Path, step: int) -> None:
    """Take out of a run's record what lies behind `step`, and how it ended."""
    kept = []
    path = folder / "metrics.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):  # the last line of a run that was killed
            point = json.loads(line)
            if point["step"] <= step and point["split"] != "test":
                kept.append(line + "\n")
    write_text(path, "".join(kept))
    events.cut(folder, step or -1)  # from the start: nothing is left
    (folder / "summary.json").unlink(missing_ok=True)


class Logbook:
    """Keeps the record of one run. Nothing here waits for the device: it is given plain numbers."""

    def __init__(self, folder: Path, config: Mapping[str, Any], overrides: list[str], resumed_at: int | None = None):
        """Start the record in `folder`, or go on with the one that is there from step `resumed_at`.

        Raises:
            ConfigError: if the folder already holds a run, or another process writes it.
        """
        taken = [name for name in OURS if (folder / name).exists()]
        if taken and resumed_at is None:
            raise ConfigError(
                f"hydra.run.dir={folder} already holds a run ({taken[0]}); allowed: a new folder, or resume={folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ConfigError(f"{folder} is being written by another run; allowed: another folder") from None
        self.folder = folder
        self._provenance = provenance()  # of now: the code may have changed when the run ends
        self.checkpoints = folder / "checkpoints"
        self.checkpoints.mkdir(exist_ok=True)
        (folder / ".hydra").mkdir(exist_ok=True)
        if resumed_at is not None:
            forget_after(folder, resumed_at)
        write_text(folder / ".hydra" / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        write_text(folder / ".hydra" / "overrides.yaml", yaml.safe_dump(overrides))
        self._metrics = (folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._events = EventWriter(folder)
        if resumed_at:
            return
        self._events.text("config", f"```yaml\n{yaml.safe_dump(dict(config), sort_keys=False)}```", 0)
        values = configuration(hyperparameters(config))
        self._events.hparams_start(values, digest(values))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._metrics.close()
        self._events.close()
        (self.folder / ".lock").unlink(missing_ok=True)
        self._lock.release()

    def record(self, split: str, step: int, epoch: float, metrics: Mapping[str, float], **only_shown: float) -> None:
        """One line of metrics.jsonl, and the same scalars for TensorBoard under `split`/; `only_shown` (speeds, which
        differ from run to run) goes to TensorBoard alone.
        """
        finite = {name: value if isfinite(value) else None for name, value in metrics.items()}
        line = {"step": step, "epoch": epoch, "split": split, **finite}
        self._metrics.write(json.dumps(line, allow_nan=False) + "\n")
        self._metrics.flush()
        tagged = {f"{split}/{name}": value for name, value in {**metrics, **only_shown}.items()}
        self._events.scalars({**tagged, "epoch": epoch}, step)

    def text(self, tag: str, text: str, step: int) -> None:
        """A text for TensorBoard, shown with its line breaks."""
        self._events.text(tag, "\n".join("    " + line for line in text.splitlines()), step)

    def draw(self, figures: "Mapping[str, Figure]", histograms: "Mapping[str, Tensor]", step: int) -> None:
        """Figures for TensorBoard's IMAGES tab and distributions for HISTOGRAMS; what is not finite is left out."""
        for tag, figure in figures.items():
            self._events.figure(tag, figure, step)
        for tag, tensor in histograms.items():
            values = tensor.detach().cpu().double().flatten()
            if len(values := values[values.isfinite()]):
                self._events.histogram(tag, values.numpy(), step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json, and the best metrics and the status for the HPARAMS tab."""
        best = summary.get("best") or {}
        scalars = {f"best/{name}": value for name, value in best.items() if name not in ("step", "epoch")}
        if scalars:
            self._events.scalars(scalars, int(best["step"]))
        self._events.hparams_end(summary["status"] == "completed")
        write_summary(self.folder, {**summary, **self._provenance})

"""Read run folders. Files are data: nothing in them is executed or looked up elsewhere.

`read_strict` rejects everything that a run would not write; `read_tolerant` returns what can be read. Imports no torch.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from pathlib import Path
from typing import Any

import yaml

from dl_lab.core import atomic_io, yaml_files
from dl_lab.core.errors import ConfigError, refuse_interpolations, unknown_key
from dl_lab.core.yaml_files import beyond_limits
from dl_lab.runs.folders import contents
from dl_lab.runs.identity import Scalars, configuration_name, hyperparameters

PARTS = ("best", "last", "test")  # of summary.json: metrics of the best validation, of the last one, of the test
NUMBERS = ("seconds", "steps", "epochs", "parameters")  # of summary.json itself
MOST = sys.float_info.max
FOREIGN = "is not as a run writes it"

Repetition = tuple[int, int]  # seed and fold


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run. `status` is "unfinished" as long as there is no summary; `config` is nested, `values` is flat."""

    folder: Path
    status: str
    reason: str | None = None
    values: Scalars
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def configuration_name(self) -> str:
        """The name of the configuration that this run shares with other seeds and folds, as in HPARAMS."""
        return configuration_name(self.values)

    @property
    def seed(self) -> int:
        return int(self.values.get("seed", 0))

    @property
    def repetition(self) -> Repetition:
        """What tells this run from the others of its configuration; without folds, the fold is 0."""
        fold = self.values.get("dataset.fold")
        return self.seed, fold if isinstance(fold, int) else 0

    def matches(self, wanted: Mapping[str, Any]) -> bool:
        """Whether the configuration has all values in `wanted`, compared as text.

        Raises:
            ConfigError: for a key that it does not have.
        """
        for key in wanted:
            if key not in self.values:
                raise unknown_key("", key, self.values)
        return all(str(self.values[key]) == str(value) for key, value in wanted.items())

    @cached_property
    def overrides(self) -> list[str]:
        """The overrides of the command that started the run."""
        return read_overrides(self.folder)

    def metric(self, name: str) -> float:
        """A metric: best/NAME of the best validation, last/NAME of the last one, test/NAME, train/NAME of the last
        training point, or a number of the summary such as "seconds". Returns nan if the run has none.
        """
        part, _, rest = name.partition("/")
        if part == "train":
            return next(reversed(self.curve(name).values()), nan)
        metrics = self.summary.get(part) if rest and part in PARTS else {"": self.summary.get(name)}
        value = metrics.get(rest) if isinstance(metrics, Mapping) else None
        return float(value) if isinstance(value, int | float) and is_number(value) else nan

    def metric_names(self) -> list[str]:
        """The names of all metrics but those of training points."""
        measured = [(part, self.summary.get(part)) for part in PARTS]
        names = [f"{part}/{name}" for part, metrics in measured if isinstance(metrics, Mapping) for name in metrics]
        known = [*(name for name in names if name.partition("/")[2] not in ("step", "epoch")), *NUMBERS]
        return [name for name in known if isfinite(self.metric(name))]

    def points(self, split: str | None = None) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, of one split or of all.

        Raises:
            ConfigError: if there are none, or a line is damaged.
        """
        lines = read_lines(self.folder / "metrics.jsonl")
        return [point for _, point in lines if split is None or point["split"] == split]

    def curve(self, name: str) -> dict[int, float]:
        """A metric of training or validation by step, such as train/loss or val/loss; empty if it cannot be read."""
        return read_curve(self.folder, name)


def read_curve(folder: Path, name: str) -> dict[int, float]:
    """A metric of training or validation by step, such as val/loss, from the lines of metrics.jsonl that are whole."""
    split, _, metric = name.partition("/")
    try:
        lines = atomic_io.read_bytes(folder / "metrics.jsonl").decode(errors="replace").splitlines()
    except OSError:
        return {}
    points = [parse_point(line) for line in lines if f'"split": "{split}"' in line]
    return {point["step"]: float(point[metric]) for point in points if is_number(point.get(metric))}


def parse_point(line: str) -> dict[str, Any]:
    """A line of metrics.jsonl: step, epoch, split, and numbers or null. Empty if it is damaged."""
    try:
        point = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    is_point = isinstance(point, dict) and type(point.get("step")) is int and isinstance(point.get("split"), str)
    plain = is_point and all(is_number(value) or name == "split" for name, value in point.items() if value is not None)
    return point if plain else {}


def is_number(value: object) -> bool:
    """Whether a value is a finite number, within the range of a float."""
    return isinstance(value, int | float) and -MOST <= value <= MOST


def read_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The lines of metrics.jsonl, as text and as points. A last line that was cut off is left out with a message.

    Raises:
        ConfigError: if the file cannot be read, or any other line is damaged.
    """
    try:
        lines = atomic_io.read_bytes(path).decode().splitlines(keepends=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} {_reason(error)}; hint: restore it") from error
    if lines and not lines[-1].endswith("\n"):
        print(f"{path} ends in a line that was cut off, which is left out", file=sys.stderr)
        lines.pop()
    points = [(line.rstrip("\n"), parse_point(line)) for line in lines]
    for number, (_, point) in enumerate(points, 1):
        if not point:
            raise ConfigError(f"{path}, line {number} {FOREIGN}; hint: restore it")
    return points


def holds_run(folder: Path) -> bool:
    """Whether a folder holds anything of a run, other than the reason why a job failed before its run began."""
    found = contents(folder)
    return bool(found) and (found != ["summary.json"] or read_summary(folder).get("status") != "failed")


def read_strict(folder: Path) -> Run:
    """The run in a folder.

    Raises:
        ConfigError: if there is none, or its configuration or summary is damaged or not as a run writes it.
    """
    return _run(folder, read_configuration(folder), read_summary(folder))


def read_configuration(folder: Path) -> dict[str, Any]:
    """The configuration of the run in a folder. Raises ConfigError as `read_strict` does."""
    path = folder / ".hydra" / "config.yaml"
    if not path.exists():
        raise ConfigError(f"{folder} holds no run; hint: give a run folder, such as outputs/2026-11-22/10-00-00")
    return dict(_load_strict(path, dict))


def read_tolerant(folder: Path) -> Run | str:
    """The run in a folder, with the status "unreadable" if its summary is; or why it cannot be compared."""
    try:
        summary = read_summary(folder)
    except ConfigError as error:
        summary = {"status": "unreadable", "reason": str(error).partition("; hint")[0]}
    try:
        config = _load(folder / ".hydra" / "config.yaml", dict)
    except FileNotFoundError:
        known = f", {summary['status']}: {summary['reason']}" if summary.get("reason") else ""
        return f"it has no configuration{known}"
    except (OSError, ValueError) as error:
        return f"its configuration {_reason(error)}"
    if not isinstance(config.get("seed", 0), int):
        return f"its configuration {FOREIGN}"
    return _run(folder, config, summary)


def _run(folder: Path, config: Mapping[str, Any], summary: Mapping[str, Any]) -> Run:
    status, reason = summary.get("status", "unfinished"), summary.get("reason")
    values = hyperparameters(config)
    if isinstance(data := summary.get("data"), str):
        values["data"] = data[:8]
    return Run(folder=folder, status=status, reason=reason, values=values, config=config, summary=summary)


def read_summary(folder: Path) -> dict[str, Any]:
    """The contents of summary.json; empty if there is none, as for a run that is under way or was killed.

    Raises:
        ConfigError: if it is damaged or has no status.
    """
    path = folder / "summary.json"
    summary: dict[str, Any] = _load_strict(path, dict) if path.exists() else {}
    if summary and not isinstance(summary.get("status"), str):
        raise ConfigError(f"{path} {FOREIGN}; hint: restore it")
    return summary


def read_overrides(folder: Path) -> list[str]:
    """The overrides of the command that started a run. Raises ConfigError if they cannot be read."""
    return [str(override) for override in _load_strict(folder / ".hydra" / "overrides.yaml", list)]


def read_resumptions(folder: Path) -> list[Any]:
    """The steps from which a run continued, with new overrides. Raises ConfigError if they cannot be read."""
    path = folder / ".hydra" / "resumed.yaml"
    return list(_load_strict(path, list)) if path.exists() else []


def _load_strict(path: Path, kind: type) -> Any:
    try:
        content = _load(path, kind)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} {_reason(error)}; hint: restore it") from error
    refuse_interpolations(content, str(path))
    return content


def _load(path: Path, kind: type) -> Any:
    """The contents of a YAML or JSON file. Raises OSError, or ValueError with the reason."""
    try:
        text = atomic_io.read_bytes(path).decode()
        content = json.loads(text) if path.suffix == ".json" else yaml_files.load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError("is damaged") from error
    if not isinstance(content, kind) or beyond_limits(content) is not None:
        raise ValueError(FOREIGN)
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    return FOREIGN if str(error) == FOREIGN else "is damaged"

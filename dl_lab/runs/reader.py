"""Run folders and sweeps as they lie on the disk, whole, half-written or broken; free of torch."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, nan
from pathlib import Path
from typing import Any

import yaml

from dl_lab.runs.identity import configuration, configuration_name, hyperparameters

Values = dict[str, float | str | bool]

SWEEP = "sweep.json"
PARTS = {"val": "best", "best": "best", "test": "test", "last": "last"}  # of a metric's name -> of summary.json
NUMBERS = ("seconds", "steps", "epochs", "parameters")  # of summary.json itself
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: how it ended ("unfinished" without a word of its end), its hyper-parameters, what it has measured."""

    folder: Path
    status: str
    reason: str | None = None
    values: Values
    summary: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def configuration_name(self) -> str:
        """The name of the configuration that it shares with other seeds, as in HPARAMS."""
        return configuration_name(self.values)

    @property
    def seed(self) -> int:
        return int(self.values.get("seed", 0))

    def metric(self, name: str) -> float:
        """As "val/loss" or "test/loss" of the best checkpoint, "last/loss" of the last validation, "train/loss" of the
        last training point, or a number of summary.json, as "seconds". Not a number where there is none.
        """
        part, _, rest = name.partition("/")
        if part == "train":
            return next(reversed(self.curve(name).values()), nan)
        metrics = self.summary.get(PARTS.get(part, "")) if rest else {"": self.summary.get(name)}
        value = metrics.get(rest) if isinstance(metrics, Mapping) else None
        return float(value) if isinstance(value, int | float) and isfinite(value) else nan

    def metric_names(self) -> list[str]:
        """What `metric` knows of this run, but for its curves."""
        measured = {part: self.summary.get(key) for part, key in PARTS.items() if part != "best"}
        names = [f"{part}/{name}" for part, of in measured.items() if isinstance(of, Mapping) for name in of]
        known = [*(name for name in names if name.partition("/")[2] not in ("step", "epoch")), *NUMBERS]
        return [name for name in known if isfinite(self.metric(name))]

    def curve(self, name: str) -> dict[int, float]:
        """Value by step of a metric of training or validation, "train/loss" or "val/loss"."""
        return curve(self.folder, name)


def curve(folder: Path, name: str) -> dict[int, float]:
    """Value by step of a metric of training or validation, from the metrics.jsonl of a run; empty without one."""
    split, _, metric = name.partition("/")
    points = {}
    for line in _lines(folder / "metrics.jsonl"):
        if f'"split": "{split}"' in line:
            point = _parsed(line)
            value, step = point.get(metric), point.get("step")
            if isinstance(step, int) and isinstance(value, int | float):
                points[step] = float(value)
    return points


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no such file, or none that may be read: no curve
        return []


def _parsed(line: str) -> Mapping[str, Any]:
    try:
        point = json.loads(line)
    except json.JSONDecodeError:  # the last line of a run that was killed
        return {}
    return point if isinstance(point, Mapping) else {}


def find(folders: Iterable[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Every run in or below `folders`, and every job of their sweeps that has no folder; beside them what was left out,
    and why.
    """
    runs: dict[Path, Run] = {}
    left_out: dict[Path, str] = {}
    for folder in folders:
        found: dict[Path, Run | str] = {}
        jobs: dict[Path, Mapping[str, Any]] = {}
        for kind, path in _walk(folder):
            if kind == "run":
                found[path] = read(path)
            elif kind == "empty":
                left_out[path] = "it is empty"
            else:
                try:
                    jobs |= read_jobs(path)
                except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    left_out[path / SWEEP] = f"it cannot be read ({_in_a_line(error)}); its run folders are"
        told = _with_jobs(found, jobs)
        for path, run in told.items():
            if isinstance(run, Run):
                runs[path.resolve()] = run
                left_out.pop(path, None)
            else:
                left_out[path] = run
    return list(runs.values()), left_out


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """("run" | "sweep" | "empty", folder) for all that is there, runs in the order of their numbers."""
    for here, below, files in os.walk(folder):
        below.sort(key=lambda name: name.zfill(8) if name.isdigit() else name)
        if ".hydra" in below or {"metrics.jsonl", "summary.json"} & set(files):
            below.clear()
            yield "run", Path(here)
        elif SWEEP in files:
            yield "sweep", Path(here)
        elif not below and not files:
            yield "empty", Path(here)


def read(folder: Path) -> Run | str:
    """A run folder; or why it is none that can be compared."""
    summary: Any = {}
    status, reason = "unfinished", None
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        status, reason = str(summary["status"]), summary.get("reason")
    except FileNotFoundError:
        summary = {}  # it runs still, or was killed
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        summary, status, reason = {}, "unreadable", f"summary.json: {_in_a_line(error)}"
    try:
        values = yaml.load((folder / ".hydra" / "config.yaml").read_text(encoding="utf-8"), Loader)
    except FileNotFoundError:
        return f"it has no configuration{f', {status}: {reason}' if reason else ''}"
    except (OSError, ValueError, yaml.YAMLError) as error:
        return f"its configuration cannot be read ({_in_a_line(error)})"
    if not isinstance(values, Mapping) or not isinstance(values.get("seed", 0), int):
        return "its configuration is none of ours"
    return Run(folder=folder, status=status, reason=reason, values=hyperparameters(values), summary=summary)


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def read_jobs(folder: Path) -> dict[Path, Mapping[str, Any]]:
    """The jobs of a sweep by their folder, from its sweep.json.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: if it cannot be read, or is none of ours.
    """
    ledger = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
    jobs = {folder / str(job.get("folder") or job["number"]): job for job in ledger["jobs"]}
    for job in jobs.values():
        if not isinstance(job["status"], str) or not all(isinstance(given, str) for given in job["overrides"]):
            raise ValueError(f"job {job['number']} has no status or overrides")
    return jobs


def _with_jobs(found: Mapping[Path, Run | str], jobs: Mapping[Path, Mapping[str, Any]]) -> dict[Path, Run | str]:
    """What was found, with what a ledger knows beside it: a search's verdict, jobs that have no folder of their own."""
    told = dict(found)
    siblings = [(given(job), run) for path, job in jobs.items() if isinstance(run := found.get(path), Run)]
    common = dict(siblings[0][1].values) if siblings else {}
    for _, run in siblings:
        common = {key: value for key, value in common.items() if run.values.get(key) == value}
    for path, job in jobs.items():
        status, reason, run = job["status"], job.get("reason"), found.get(path)
        if isinstance(run, Run):
            if status == "pruned" and run.status == "stopped":
                told[path] = Run(folder=path, status=status, reason=reason, values=run.values, summary=run.summary)
            continue
        asked = given(job)
        same = [run.values for theirs, run in siblings if configuration(theirs) == configuration(asked)]
        values = {**same[0], "seed": asked.get("seed", same[0]["seed"])} if same else {**common, **asked}
        ended = {"pending": "unfinished", "running": "unfinished", "completed": "missing"}.get(status, status)
        told[path] = Run(folder=path, status=ended, reason=reason, values=values)
    return told


def given(job: Mapping[str, Any]) -> Values:
    """The overrides of a job as dotted keys and values."""
    values: Values = {}
    for override in job["overrides"]:
        key, _, text = override.lstrip("+~").partition("=")
        values |= hyperparameters({key: _value(text)})
    return values


def _value(text: str) -> Any:
    with suppress(ValueError):
        return float(text)  # "1e-3", which YAML takes for text
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError:
        return text

"""Find runs below folders, and the jobs of sweeps that have no run folder of their own. Imports no torch."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dl_lab.core import atomic_io, yaml_files
from dl_lab.runs.folders import inside
from dl_lab.runs.identity import REPEATS, Scalars, configuration, hyperparameters
from dl_lab.runs.reader import Run, read_tolerant

SWEEP = "sweep.json"


def find(folders: Iterable[Path]) -> tuple[list[Run], dict[Path, str]]:
    """Every run in or below `folders`, and every job of their sweeps that has no folder; and for each path that is left
    out the reason.
    """
    runs: dict[Path, Run] = {}
    left_out: dict[Path, str] = {}
    for folder in folders:
        found: dict[Path, Run | str] = {}
        jobs: dict[Path, Mapping[str, Any]] = {}
        for kind, path in _walk(folder):
            if kind == "run":
                found[path] = read_tolerant(path)
            elif kind == "empty":
                left_out[path] = "it is empty"
            else:
                try:
                    jobs |= read_jobs(path)
                except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                    reason = " ".join(f"{type(error).__name__}: {error}".split())
                    left_out[path / SWEEP] = f"it cannot be read ({reason}); its run folders are"
        for path, run in _with_jobs(found, jobs).items():
            if isinstance(run, Run):
                runs[path.resolve()] = run
                left_out.pop(path, None)
            else:
                left_out[path] = run
    return list(runs.values()), left_out


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield ("run" | "sweep" | "empty", folder) for everything below a folder, jobs in the order of their numbers."""
    for here, below, files in os.walk(folder):
        below.sort(key=lambda name: name.zfill(8) if name.isdigit() else name)
        if ".hydra" in below or {"metrics.jsonl", "summary.json"} & set(files):
            below.clear()
            yield "run", Path(here)
        elif SWEEP in files:
            yield "sweep", Path(here)
        elif not below and not files:
            yield "empty", Path(here)


def read_jobs(folder: Path) -> dict[Path, Mapping[str, Any]]:
    """The jobs of a sweep by their folder, from its sweep.json.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: if it cannot be read, or a sweep did not write it.
    """
    manifest = json.loads(atomic_io.read_bytes(folder / SWEEP))
    jobs = {inside(folder, str(job.get("folder") or job["number"]), "folder"): job for job in manifest["jobs"]}
    for job in jobs.values():
        if not isinstance(job["status"], str) or not all(isinstance(override, str) for override in job["overrides"]):
            raise ValueError(f"job {job['number']} has no status or overrides")
    return jobs


def _with_jobs(found: Mapping[Path, Run | str], jobs: Mapping[Path, Mapping[str, Any]]) -> dict[Path, Run | str]:
    """The runs found, extended by what a manifest knows: which runs a search pruned, and jobs without a folder."""
    extended = dict(found)
    siblings = [(overridden(job), run) for path, job in jobs.items() if isinstance(run := found.get(path), Run)]
    common = dict(siblings[0][1].values) if siblings else {}
    for _, run in siblings:
        common = {key: value for key, value in common.items() if run.values.get(key) == value}
    for path, job in jobs.items():
        status, reason, run = job["status"], job.get("reason"), found.get(path)
        if isinstance(run, Run):
            if status == "pruned" and run.status == "stopped":
                extended[path] = replace(run, status=status, reason=reason)
            continue
        own = overridden(job)
        same = [run.values for others, run in siblings if configuration(others) == configuration(own)]
        repeats = {key: value for key, value in own.items() if key in REPEATS}
        values = {**same[0], **repeats} if same else {**common, **own}
        ended = {"pending": "unfinished", "running": "unfinished", "completed": "missing"}.get(status, status)
        extended[path] = Run(folder=path, status=ended, reason=reason, values=values)
    return extended


def overridden(job: Mapping[str, Any]) -> Scalars:
    """The overrides of a job as dotted keys and values."""
    values: Scalars = {}
    for override in job["overrides"]:
        key, _, text = override.lstrip("+~").partition("=")
        values |= hyperparameters({key: _parse(text)})
    return values


def _parse(text: str) -> Any:
    with suppress(ValueError):
        return float(text)  # "1e-3" is text in YAML
    try:
        return yaml_files.load(text)
    except yaml.YAMLError:
        return text

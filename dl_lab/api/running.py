"""`run`, `load` and `sweep`: what the commands do, as functions."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from dl_lab.api import composing, process, trained_sweep
from dl_lab.api.trained_run import Run
from dl_lab.api.trained_sweep import Sweep
from dl_lab.cli.arguments import take
from dl_lab.config.compose import quoted
from dl_lab.core.errors import ConfigError, Failed, Stopped
from dl_lab.core.paths import user_path
from dl_lab.datasets.memory import Examples, held
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.identity import HARMLESS_KEYS
from dl_lab.runs.reader import read_configuration, read_strict
from dl_lab.runs.resume import newest_unfinished
from dl_lab.training.rerun import continue_run
from dl_lab.training.rerun import rerun as run_again
from dl_lab.training.result import Result
from dl_lab.training.run import NEW, train

Place = str | Path


class Work(NamedTuple):
    """What a call trains, and in which folder."""

    folder: Path
    train: Callable[[], object]


def run(
    *overrides: str,
    data: Any = None,
    resume: Place | None = None,
    rerun: Place | None = None,
    config_dir: Place | None = None,
) -> Run:
    """Train a run, as `python -m dl_lab.train OVERRIDES` does. Ctrl-C saves the run and returns it as "stopped".

    `data=(X, y)` trains on examples in memory, with the keys of dataset=memory in conf/README.md. X is an array of
    rows, a dataframe, or images as bytes (image, channel, height, width) or (image, height, width); y is an array, a
    series or a dataframe of targets, or names of columns of X. Text and the whole numbers 0, 1, 2 and so on are
    classes, and other numbers are regression, unless "dataset.task=regression" or "=classification" says otherwise.

    `resume` is the folder of a run to continue, or "auto" for the newest unfinished one of these overrides; `rerun` is
    the folder of a run to repeat and compare. `config_dir` is a folder with your own choices.

    >>> dl_lab.run("dataset=iris", "train.epochs=5", "optimizer.lr=0.01").status
    'completed'

    Raises:
        ConfigError: for a mistake, before training begins, in one line.
        Diverged: if the loss became infinite or NaN.
        Failed: if the disk or the data failed during training, or the metrics of a repeated run differ.
    """
    given = [str(override) for override in overrides]
    places = {name: str(place) for name, place in (("resume", resume), ("rerun", rerun)) if place is not None}
    special, others = take(given, ("resume", "rerun"))
    places |= special
    with process.call(*others, *(f"{name}={place}" for name, place in places.items())):
        examples, chosen = (None, []) if data is None else _in_memory(data)
        with held(examples):
            if places in ({}, {"resume": "auto"}):
                work = _new(others if places else overrides, config_dir, chosen, resumes=bool(places))
            else:
                work = _continued(places, others)
            number = _signal_of(work)
    if number not in (None, signal.SIGINT):
        signal.raise_signal(number)  # for the caller: by default, SIGTERM and SIGHUP end the process
    return Run(work.folder, imports=tuple(read_configuration(work.folder)["imports"]), data=data)


def _in_memory(data: Any) -> tuple[Examples, list[str]]:
    """The examples of data=(X, y), and the overrides that choose them."""
    from dl_lab.api.examples import examples_of, overrides_of  # imports polars, which changes the environment

    examples = examples_of(data)
    return examples, overrides_of(examples)


def _new(overrides: Sequence[object], config_dir: Place | None, chosen: Sequence[str], resumes: bool) -> Work:
    """A new run, or, if `resumes`, the newest unfinished run of this configuration."""
    lines = composing.checked(overrides, config_dir)
    if chosen:
        if other := [line for line in lines if line.startswith("dataset=")]:
            raise ConfigError(f"{other[0]} and data=(X, y) are both given; allowed: one of them")
        lines = [*chosen, *lines]
    new = composing.composed(lines)
    if resumes:
        is_given = any(line.startswith("hydra.run.dir=") for line in lines)
        roots = [new.folder] if is_given else sorted(Path("outputs").glob("*/*"), reverse=True)
        if (found := newest_unfinished(roots, new.run.as_dict)) is not None:
            harmless = [line for line in new.overrides if line.partition("=")[0] in HARMLESS_KEYS]
            return Work(found.absolute(), lambda: continue_run(found, harmless))
    return Work(new.folder, lambda: train(new.run, new.folder, new.overrides, NEW))


def _continued(places: dict[str, str], overrides: list[str]) -> Work:
    """Continue a run in its folder, or repeat it in a new one."""
    if len(places) > 1:
        raise ConfigError(f"resume={places['resume']} and rerun={places['rerun']}; allowed: one of them")
    ((name, place),) = places.items()
    folder = user_path(place, name)
    if name == "resume":
        return Work(folder.absolute(), lambda: continue_run(folder, overrides))
    where, lines = take(overrides, ("hydra.run.dir",))
    new = Path(where.get("hydra.run.dir") or reserve_run_folder("outputs")).absolute()

    def again() -> None:
        is_same, text = run_again(folder, [*lines, f"hydra.run.dir={new}"])
        if not is_same:
            raise Failed(text)
        print(text)

    return Work(new, again)


def _signal_of(work: Work) -> int | None:
    """Train to the end and print the result, or until a signal, which saves the run. Returns its number."""
    try:
        if isinstance(result := work.train(), Result):
            print(result)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.status - 128
    return None


def load(folder: Place, *, checkpoint: str = "best", device: str = "auto", imports: Sequence[str] = ()) -> Run:
    """The run in a folder, with its "best" or "last" checkpoint on a device. A run that was trained with `imports`
    needs them again, because importing runs code.

    >>> run = dl_lab.load(folder)
    >>> run.metrics.columns[:4]
    ['step', 'epoch', 'split', 'loss']

    Raises:
        ConfigError: if the folder has no run.
    """
    with process.call():
        if checkpoint not in ("best", "last"):
            raise ConfigError(f"checkpoint={checkpoint} is not known; allowed: best, last")
        place = user_path(str(folder), "folder")
        read_strict(place)
        place = place.absolute()
    return Run(place, checkpoint=checkpoint, device=device, imports=tuple(imports))


def sweep(
    *overrides: str, launcher: str | None = None, resume: Place | None = None, config_dir: Place | None = None
) -> Sweep:
    """Train a run for every combination of values, as `python -m dl_lab.train -m OVERRIDES` does, in processes of
    their own. `resume` is the folder of a sweep to continue, with the same overrides. Ctrl-C saves the runs under way.

    >>> sweep = dl_lab.sweep("dataset=iris", "train.epochs=2", "seed=range(2)", launcher="vectorized")
    >>> [run.status for run in sweep.runs]
    ['completed', 'completed']

    Raises:
        ConfigError: for a mistake in the overrides.
        JobsFailed: at the end, if jobs failed, with a line for each. Its `sweep` has the others.
    """
    with process.call():
        lines = composing.checked(overrides, config_dir)
        given, _ = take(list(map(str, overrides)), ("sweep.resume", "hydra.sweep.dir"))
        imports, _ = take(list(map(str, overrides)), ("imports",))
        place = (
            resume or given.get("sweep.resume") or given.get("hydra.sweep.dir") or reserve_run_folder("outputs/sweeps")
        )
        folder = user_path(str(place), "resume").absolute()
        lines += [] if launcher is None else [f"hydra/launcher={launcher}"]
        lines += [] if resume is None else [f"sweep.resume={quoted(folder)}"]
        lines += [] if resume or given else [f"hydra.sweep.dir={quoted(folder)}"]
        modules = OmegaConf.from_dotlist([f"{key}={text}" for key, text in imports.items()]).get("imports", [])
        return trained_sweep.trained(lines, Sweep(folder, tuple(modules)))

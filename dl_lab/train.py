"""The entrypoint: python -m dl_lab.train [group=choice ...] [key=value ...]"""

import argparse
import gc
import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from dl_lab.cli import app
from dl_lab.config import compose, messages
from dl_lab.core import errors
from dl_lab.core.errors import ConfigError, Diverged, Failed, Stopped
from dl_lab.core.signals import Signals
from dl_lab.runs import folders

WHERE = ("device=", "data_dir=", "imports=")  # what resume=auto passes on to the run that it finds

if TYPE_CHECKING:
    from dl_lab.config.schema import RunConfig
    from dl_lab.training.bookkeeping import Outcome
    from dl_lab.training.state import Plan


def main() -> None:
    """Train one run, or with -m one for every combination; with resume=FOLDER go on with one, with rerun=FOLDER do one
    again.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started this process
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  # for as long as the process lives
    gc.set_threshold(50_000)  # at 700, a tenth of the time that imports take is spent looking for garbage among them
    doors = {"resume": "", "rerun": ""}
    others = []
    for argument in sys.argv[1:]:
        key, equals, value = argument.partition("=")
        if equals and key in doors:
            doors[key] = value or "."
        else:
            others.append(argument)
    if not any(doors.values()):
        app.run(train)
        return
    with app.exits():
        if all(doors.values()):
            raise ConfigError(f"resume={doors['resume']} and rerun={doors['rerun']}; allowed: one of them")
        if doors["rerun"]:
            sys.exit(0 if rerun(Path(doors["rerun"]), others) else errors.FAILED)
        auto = doors["resume"] == "auto"
        folder = unfinished(others) if auto else Path(doors["resume"])
        if folder is not None:
            given = [argument for argument in others if argument.startswith(WHERE)] if auto else others
            resume(folder, given)
            return
    sys.argv[1:] = others
    app.run(train)


def train(config: DictConfig) -> float:
    """Train as `config` says, in the folder that Hydra has made. Returns the best validation metric, for sweepers.

    Raises:
        ConfigError: for what is wrong with the configuration or the data, before training.
        Diverged: if the loss stopped being finite.
    """
    from hydra.core.hydra_config import HydraConfig

    from dl_lab.config.parse import parse  # imports torch, which takes longer than --help should
    from dl_lab.runs import resume as resuming

    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    given = [override for override in job.overrides.task if not compose.is_of_sweep(override)]
    resumes = config.sweep.resume is not None
    return carry_out(parse(config), folder, given, resuming.left_off(folder) or {"step": 0} if resumes else None)


def resume(folder: Path, overrides: list[str]) -> float:
    """Go on with the run in `folder` from its last checkpoint, to the last bit as if it had never been interrupted.

    Raises:
        ConfigError: if there is none, if it has ended, or if an override would change it.
    """
    from dl_lab.config.parse import parse
    from dl_lab.runs import resume as resuming

    saved = resuming.last_checkpoint(folder)
    config, given = resuming.continued(folder, overrides, 0 if saved is None else int(saved["step"]))
    had = resuming.overrides_of(folder)
    new = [override for override in given if override not in had]
    return carry_out(parse(config), folder, [*had, *new], saved or {"step": 0})


def rerun(folder: Path, overrides: list[str]) -> bool:
    """Do the run in `folder` again, in outputs/ or where hydra.run.dir says. Returns whether every metric is the same,
    to the last bit; says which is the first that is not, and what else differs between the two.

    Raises:
        ConfigError: if there is no run, or an override would change it.
    """
    from dl_lab.config.parse import parse
    from dl_lab.runs import resume as resuming
    from dl_lab.runs.diff import circumstances, first_difference, largest_difference, points

    where = [override.partition("=")[2] for override in overrides if override.startswith("hydra.run.dir=")]
    given = [override for override in overrides if not override.startswith("hydra.run.dir=")]
    first, status = points(folder), resuming.status_of(folder)
    _, config = resuming.own(folder, given, (*resuming.WHERE, "threads"))
    run, overrides_of_both = parse(config), [*resuming.overrides_of(folder), *given]
    again = Path(where[-1]) if where else Path(folders.reserve_run_folder("outputs"))
    try:
        carry_out(run, again, overrides_of_both)
    except Diverged as diverged:  # as the first may have, too
        print(diverged)
    second = points(again)
    difference = first_difference(first, second, ended=status in ("completed", "diverged"))
    if difference is None:
        print(f"same  every metric at all {len(first)} points is that of {folder}, to the last bit")
    else:
        apart = largest_difference(first, second)
        print("\n  ".join([f"differs  {difference}", apart, *circumstances(folder, again)]))
    return difference is None


def unfinished(overrides: list[str]) -> Path | None:
    """The newest run of this very configuration that has not come to its end; None if there is none."""
    from dl_lab.config.parse import parse
    from dl_lab.runs import resume as resuming

    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--config-dir", "-cd", type=Path)
    own, overrides = options.parse_known_args(overrides)
    for option in (argument for argument in overrides if argument.startswith("-")):
        raise ConfigError(
            f"{option} does not go with resume=auto; allowed: group=choice, key=value and --config-dir, "
            "and for a sweep sweep.resume=FOLDER"
        )
    if own.config_dir is not None:
        overrides.append(f"hydra.searchpath=['file://{own.config_dir.absolute()}']")
    where = [argument for argument in overrides if argument.startswith("hydra.run.dir=")]
    composing = [argument for argument in overrides if not argument.startswith("hydra.run.dir=")]
    config = compose.compose(*composing)
    roots = [Path(where[-1].partition("=")[2])] if where else sorted(Path("outputs").glob("*/*"), reverse=True)
    return resuming.newest_unfinished(roots, parse(config).as_dict)


def carry_out(run: "RunConfig", folder: Path, overrides: list[str], saved: dict[str, Any] | None = None) -> float:
    """Train `run` in `folder`, from its start or from the checkpoint `saved`. Returns the best validation metric."""
    from dl_lab.core.progress import Progress
    from dl_lab.runs import resume as resuming
    from dl_lab.runs.logger import Logbook
    from dl_lab.training import bookkeeping, loop, setup

    started = time.perf_counter()
    plan, state = setup.prepare(run, setup.build_data(run))
    if saved is not None and "model" in saved:
        bookkeeping.take_up(state, plan, saved, folder)
    with (
        Logbook(folder, run.as_dict, overrides, None if saved is None else state.step) as logbook,
        Signals() as signals,
    ):
        if saved is not None and "model" in saved:
            state.best = resuming.kept_best(logbook.checkpoints, saved)
        if state.forward is not state.model:
            print("compiling the model, which takes up to a minute and makes its steps shorter (not: compile=false)")
        progress, test = Progress(plan.total_steps, state.step), None
        try:
            outcome = loop.fit(state, plan, logbook, progress, signals.received)
            if outcome.status == "completed":
                test = loop.evaluate_best(state, plan, logbook)
            logbook.finish(bookkeeping.summarize(plan, state, outcome, test, time.perf_counter() - started))
        except BaseException as error:
            outcome = broken_off(error, state.step)
            with suppress(OSError):  # the disk is full, or gone: what was saved before is there
                logbook.finish(bookkeeping.summarize(plan, state, outcome, None, time.perf_counter() - started))
            if isinstance(error, OSError | ConfigError) or "DataLoader worker" in str(error):
                mended = f"once that is mended, go on with resume={shlex.quote(str(folder))}"
                raise Failed(f"{outcome.reason}; {mended}") from error
            raise
        finally:
            progress.close()
    if outcome.status == "diverged":
        raise Diverged(f"diverged: {outcome.reason} (run {folder})")
    if outcome.status == "stopped":
        raise Stopped(f"stopped {outcome.reason}; go on with resume={shlex.quote(str(folder))}", signals.status)
    assert state.best is not None
    report(plan, state.best, outcome, test, folder)
    return state.best[run.train.best]


def broken_off(error: BaseException, step: int) -> "Outcome":
    """The outcome of a run that `error` ended at `step`."""
    from dl_lab.training.bookkeeping import Outcome

    if isinstance(error, KeyboardInterrupt | errors.JobsFailed):
        return Outcome("stopped", f"interrupted at step {step}")
    if isinstance(error, OSError) and error.filename:
        return Outcome("failed", f"{error.filename} cannot be written ({error.strerror})")
    return Outcome("failed", messages.explain(error) or f"{type(error).__name__}: {error}")


def report(
    plan: "Plan", best: dict[str, float], outcome: "Outcome", test: dict[str, float] | None, folder: Path
) -> None:
    """Print what came out, where it lies and how to look at it."""
    from dl_lab.core.progress import format_metrics

    metrics = {name: best[name] for name in plan.task.metric_names}
    if outcome.reason:
        print(f"ended early: {outcome.reason}")
    print(f"val   {format_metrics(metrics)}  (best val/{plan.run.train.best}, step {int(best['step'])})")
    print(f"test  {format_metrics(test)}  (the same checkpoint)" if test else "test  this dataset has no test split")
    print(f"run   {folder}\nlook  tensorboard --logdir {shlex.quote(str(folder))}")


if __name__ == "__main__":
    main()

"""The life of a run: build it, open its run folder, train it, test its best checkpoint, write its summary.

`recorded` and `finish` serve a single run and a member of a stack; `train` is the life of a single run.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from dl_lab.config import messages
from dl_lab.config.compose import is_of_sweep, varied_in_sweep
from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig
from dl_lab.core.errors import ConfigError, Diverged, Failed, JobsFailed, Stopped, UserCodeError
from dl_lab.core.progress import Progress, announce, write
from dl_lab.core.shell import word
from dl_lab.core.signals import Signals
from dl_lab.data.dataset import Data
from dl_lab.data.spec import first_metrics
from dl_lab.runs import resume
from dl_lab.runs.checkpoint import Checkpoint
from dl_lab.runs.folders import Snapshot, is_locked, snapshot
from dl_lab.runs.logger import RunLogger
from dl_lab.runs.reader import holds_run, read_configuration
from dl_lab.training import class_weights, description, diagnose, loop, setup
from dl_lab.training.bookkeeping import Outcome
from dl_lab.training.result import Result
from dl_lab.training.state import ActiveRun, Plan, TrainState, restore, unfit


@dataclass(frozen=True)
class Start:
    """Where a run starts: NEW, in a folder without a run; in its own folder, where it may have been interrupted before
    its first checkpoint; or from the last checkpoint of its folder. `same_data_as`: the fingerprint that its data must
    have, and the folder of the run that was trained on them. `same_as`: the configurations in its folder, which must
    compute what it does. `seen`: its files when they were read, which must not change until the folder is locked.
    `varied`: the overrides in which it differs from the other jobs of its sweep.
    """

    in_own_folder: bool = False
    checkpoint: Checkpoint | None = None
    same_data_as: tuple[str | None, Path] | None = None
    same_as: tuple[Mapping[str, Any], ...] = ()
    seen: Snapshot | None = None
    varied: tuple[str, ...] = ()


NEW = Start()


def start_in(folder: Path) -> Start:
    """The start of the run that `folder` holds; of a new run if it holds none.

    Raises:
        ConfigError: if another process writes it, its configuration is missing or all its checkpoints are damaged.
    """
    if is_locked(folder):
        raise ConfigError(f"{folder} is being written by another run; hint: wait until it has ended")
    seen = snapshot(folder)
    if not holds_run(folder):  # a job may have failed before it began
        return Start(in_own_folder=True, seen=seen)
    recorded = read_configuration(folder)
    saved = resume.last_checkpoint(folder)
    if saved is None:
        return Start(True, same_as=(recorded,), seen=seen)
    return Start(True, saved, (saved.get("data"), folder), (recorded, saved["config"]), seen)


def train_job(config: DictConfig) -> Result:
    """Train the run that Hydra composed, in the folder that Hydra reserved for it. Raises as `train` does, and Failed
    if the user's code asks to exit, which Hydra would do.
    """
    from hydra.core.hydra_config import HydraConfig

    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    overrides = [override for override in job.overrides.task if not is_of_sweep(override)]
    try:
        start = NEW if config.sweep.resume is None else start_in(folder)
        return train(parse(config), folder, overrides, replace(start, varied=varied_in_sweep(job)))
    except (SystemExit, GeneratorExit) as error:
        raise Failed(messages.explain(error) or messages.described(error)) from error


def train(config: RunConfig, folder: Path, overrides: list[str], start: Start) -> Result:
    """Train a single run from `start` to its end, and test its best checkpoint.

    Raises:
        ConfigError: before the first update, for errors in the configuration, the data or the outputs of the model.
        Diverged: if the loss became infinite or NaN.
        Stopped: if a signal arrived; the run has been saved.
        Failed: if the disk or the data failed during training.
    """
    started = time.perf_counter()
    plan, state = build_from(start, config, setup.build_data(config, again=start.same_data_as is not None), folder)
    with Signals() as signals, recorded(plan, state, folder, overrides, start) as run:
        run.started = started
        write("\n".join(description.lines(plan, state, folder, resumes=start.in_own_folder)))
        for line in class_weights.described(plan.task):
            announce(line)
        if state.forward is not state.model:
            write("compiling the model, which takes up to a minute and shortens its steps; disable with compile=false")
        try:
            outcome, test = loop.fit(run, signals.received), None
            if outcome.status == "completed":
                run.warnings = diagnose.of_training(run)
                test = loop.evaluate_best(run)
            finish(run, outcome, test)
        except Exception as error:
            again_later = isinstance(error, OSError | ConfigError) and not isinstance(error, UserCodeError)
            if again_later or messages.LOST_WORKER in str(error):
                reason = interrupted(error, state.step).reason
                raise Failed(f"{reason}; hint: correct this, then {resuming(folder)}") from error
            is_bug = messages.explain(error) is None and messages.user_place(error) is None
            if is_bug and start.checkpoint is not None and state.step <= start.checkpoint["step"] + plan.validate_every:
                raise unfit(folder, error) from error
            raise
    if outcome.status == "failed":
        raise UserCodeError(f"{outcome.reason} (run {folder})")
    if outcome.status == "diverged":
        raise Diverged(f"diverged: {outcome.reason} (run {folder})")
    if outcome.status == "stopped":
        raise Stopped(f"stopped {outcome.reason}; hint: {resuming(folder)}", signals.status)
    assert state.best is not None
    return Result(plan, outcome, state.best, test, folder, run.intervals, run.warnings)


def resuming(folder: Path) -> str:
    """How a run is continued."""
    return f"continue with python -m dl_lab.train resume={word(folder.absolute())}"


def build_from(start: Start, config: RunConfig, data: Data, folder: Path) -> tuple[Plan, TrainState]:
    """The plan and the state of a run on its device, restored from the checkpoint that it starts from.

    Raises:
        ConfigError: if the folder was written with another configuration, or the data have changed.
    """
    for written in start.same_as:
        setup.refuse_other_run(config.as_dict, written, folder)
    if start.same_data_as is not None:
        setup.refuse_other_data(config, data, *start.same_data_as)
    plan, state = setup.build_run(config, data)
    if start.checkpoint is not None:
        restore(state, plan, start.checkpoint, folder)
    return plan, state


@contextmanager
def recorded(
    plan: Plan, state: TrainState, folder: Path, overrides: list[str], start: Start, silent: bool = False
) -> Iterator[ActiveRun]:
    """Open the run folder for the duration of the context. If an exception ends the context before `finish` was
    called, summary.json says so.

    Raises:
        ConfigError: if the folder holds another run, or another process writes it.
    """
    resumed_at = state.step if start.in_own_folder else None
    metrics = first_metrics(plan.task.training_names)
    with (
        RunLogger(folder, plan.run.as_dict, overrides, resumed_at, start.seen, metrics, start.varied) as logger,
        closing(Progress(plan.total_steps, state.step, silent)) as progress,
    ):
        if start.checkpoint is not None:
            state.best = resume.restore_best(logger.checkpoints, start.checkpoint)
        run = ActiveRun(plan, state, logger, progress)
        try:
            yield run
        except BaseException as error:
            if not run.finished:
                with suppress(OSError):  # the disk is full or gone; what was saved earlier remains
                    logger.finish(summary(run, interrupted(error, state.step), None))
            raise


def interrupted(error: BaseException, step: int) -> Outcome:
    """The outcome of a run that `error` ended at `step`."""
    if isinstance(error, Failed) and error.__cause__ is not None:
        return interrupted(error.__cause__, step)
    if isinstance(error, KeyboardInterrupt | JobsFailed):
        return Outcome("stopped", f"interrupted at step {step}")
    if isinstance(error, OSError) and error.filename:
        return Outcome("failed", messages.about_file(error))
    return Outcome("failed", messages.explain(error) or messages.described(error))


def finish(run: ActiveRun, outcome: Outcome, test: dict[str, float] | None) -> None:
    """Write summary.json, which marks the run as finished."""
    run.logger.finish(summary(run, outcome, test))
    run.finished = True


def summary(run: ActiveRun, outcome: Outcome, test: dict[str, float] | None) -> dict[str, Any]:
    """The contents of summary.json, except versions and commit, which the logger adds."""
    plan, state, settings = run.plan, run.state, run.plan.run.settings
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "steps": state.step,
        "epochs": run.epoch,
        "seconds": round(run.seconds, 3),
        "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
        "best": state.best,
        "last": outcome.last,
        "test": test,
        "test_intervals": run.intervals,
        "warnings": run.warnings,
        "weighted": plan.data.spec.is_weighted,
        "name": settings.name,
        "tags": settings.tags,
        "seed": settings.seed,
        **({"class_weights": weights} if (weights := class_weights.by_label(plan.task)) else {}),
        "device": str(plan.device),
        "data": plan.data.fingerprint if plan.data.files else None,
        "threads": torch.get_num_threads(),
        "compiled": state.forward is not state.model,
        **({} if state.together is None else {"together": state.together}),
    }

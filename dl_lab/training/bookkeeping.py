"""What happens to a run at a point of its curves, at a validation and at its end, alone or in a stack."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import Progress
from dl_lab.data.spec import higher_is_better
from dl_lab.runs import checkpoint
from dl_lab.runs.logger import Logbook
from dl_lab.training import visualize
from dl_lab.training.generate import sample_text
from dl_lab.training.state import Plan, TrainState, contents_of, restore
from dl_lab.training.tasks import add_up


@dataclass(frozen=True)
class Outcome:
    """How a run ended: a status of summary.json, why, and the last validation's metrics."""

    status: str
    reason: str | None = None
    last: dict[str, float] | None = None


def take_up(state: TrainState, plan: Plan, saved: dict[str, Any], folder: Path) -> None:
    """Restore what a run in `folder` has saved.

    Raises:
        ConfigError: if its data have changed since, or the run would end before it.
    """
    if saved.get("data") not in (None, plan.data_fingerprint):
        raise ConfigError(
            f"dataset.path={getattr(plan.run.dataset.config, 'path', None)} has changed since step {saved['step']} of "
            f"{folder}; allowed: the data as they were, or a new run"
        )
    if saved["step"] > plan.total_steps:
        raise ConfigError(
            f"{folder} is at step {saved['step']}, behind the last of {plan.total_steps} steps; "
            "allowed: train.steps or train.epochs that go on from there"
        )
    restore(state, saved, plan.device)


def point(
    state: TrainState,
    plan: Plan,
    logbook: Logbook,
    progress: Progress,
    summed: dict[str, list[float]],
    shown: Mapping[str, float],
    examples_per_second: float,
) -> Outcome | None:
    """Record a point of the training curves: the totals since the last one, `shown` (lr, gradient norm) beside their
    metrics. Returns how the run ended, if it diverged.
    """
    if not all(isfinite(value) for values in summed.values() for value in values):
        return diverged(state, plan)
    norm = shown["gradient_norm"]
    if not isfinite(norm):
        return not_finite(plan, "gradient norm", norm, state.step)
    metrics = plan.task.metrics(summed)
    epoch = state.step / plan.steps_per_epoch
    logbook.record("train", state.step, epoch, {**metrics, **shown}, examples_per_second=examples_per_second)
    progress.training(metrics)
    state.since_validation.append(summed)
    state.window = []
    return None


def validated(
    state: TrainState, plan: Plan, logbook: Logbook, progress: Progress, metrics: dict[str, float]
) -> Outcome | None:
    """Record a validation and whether it is the best so far. Returns how the run ended, if it diverged."""
    if not isfinite(metrics["loss"]):
        return not_finite(plan, "validation loss", metrics["loss"], state.step)
    state.last = metrics
    epoch = state.step / plan.steps_per_epoch
    logbook.record("val", state.step, epoch, metrics)
    trained = plan.task.metrics(add_up(state.since_validation))
    state.since_validation = []
    if is_better(state, plan, metrics):
        state.best = {**metrics, "step": state.step, "epoch": epoch}
        state.validations_since_best = 0
    else:
        state.validations_since_best += 1
    progress.validation(state.step, epoch, trained, metrics)
    return None


def is_better(state: TrainState, plan: Plan, metrics: Mapping[str, float]) -> bool:
    """Whether a validation's metrics are better than all before."""
    name = plan.run.train.best
    sign = 1 if higher_is_better(name) else -1
    return state.best is None or sign * metrics[name] > sign * state.best[name]


def show(state: TrainState, plan: Plan, logbook: Logbook) -> None:
    """What TensorBoard shows of the model itself after a validation: pictures where they are asked for, and text."""
    every = plan.run.train.pictures
    if every and (state.step // plan.validate_every) % every == 0:
        figures = visualize.figures_of(state.model, plan.data)
        logbook.draw(figures, visualize.histograms_of(state.model, plan.data), state.step)
    if plan.data.is_text:
        logbook.text("sample", sample_text(state.model, plan.data.spec, plan.seed, state.step), state.step)


def keep(state: TrainState, plan: Plan, logbook: Logbook) -> None:
    """Save the last checkpoint, and as the best one too what the last validation found to be that. The best comes
    second: it is made again from the last one if the run is killed between the two (`resuming.kept_best`).
    """
    contents = keep_last(state, plan, logbook)
    if state.validations_since_best == 0:
        checkpoint.save(logbook.checkpoints / "best.pt", contents)


def keep_last(state: TrainState, plan: Plan, logbook: Logbook) -> dict[str, Any]:
    """Save the state as it is; what was recorded of it goes before. Returns what was saved."""
    contents = contents_of(state, plan)
    logbook.flush()
    checkpoint.save_last(logbook.checkpoints, contents)
    return contents


def out_of_patience(state: TrainState, plan: Plan) -> Outcome | None:
    """The outcome of a run that has waited long enough for a better validation."""
    train = plan.run.train
    if train.patience is None or state.validations_since_best < train.patience:
        return None
    return Outcome("completed", f"no better val/{train.best} in {train.patience} validations", state.last)


def not_finite(plan: Plan, what: str, value: float, step: int) -> Outcome:
    """The outcome of a run that diverged: what, where, and the key to turn down."""
    lr = getattr(plan.run.optimizer.config, "lr", None)
    advice = f"turn down optimizer.lr={lr} or set train.max_grad_norm"
    return Outcome("diverged", f"the {what} is {value} at step {step}; {advice}")


def diverged(state: TrainState, plan: Plan) -> Outcome:
    """The outcome of a run whose loss stopped being finite since the last point, with the step where it did."""
    first = state.step - len(state.window) + 1
    for step, totals in enumerate(state.window, first):
        loss = plan.task.metrics(add_up(totals))["loss"]
        if not isfinite(loss):
            return not_finite(plan, "loss", loss, step)
    return not_finite(plan, "sum of the metrics", float("nan"), state.step)


def stopped(state: TrainState) -> Outcome:
    """The outcome of a run that a signal ended, when it is saved."""
    return Outcome("stopped", f"at step {state.step}, as it was asked to", state.last)


def summarize(
    plan: Plan, state: TrainState, outcome: Outcome, test: dict[str, float] | None, seconds: float
) -> dict[str, Any]:
    """What summary.json holds, but for versions and commit."""
    settings = plan.run.settings
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "steps": state.step,
        "epochs": state.step / plan.steps_per_epoch,
        "seconds": round(seconds, 3),
        "parameters": sum(parameter.numel() for parameter in state.model.parameters()),
        "best": state.best,
        "last": outcome.last,
        "test": test,
        "name": settings.name,
        "tags": settings.tags,
        "seed": settings.seed,
        "device": str(plan.device),
        "threads": torch.get_num_threads(),
        "compiled": state.forward is not state.model,
        **({} if state.together is None else {"together": state.together}),
    }

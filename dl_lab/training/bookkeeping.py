"""What happens at a point of the training curves, at a validation and at the end; for a single run and for a member of
a stack.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isnan

import torch
from torch import Tensor

from dl_lab.core.errors import counted
from dl_lab.data.spec import PRINTED, higher_is_better
from dl_lab.runs import checkpoint
from dl_lab.runs.checkpoint import Checkpoint
from dl_lab.training import diagnose, visualize
from dl_lab.training.generate import sample_text
from dl_lab.training.state import ActiveRun, checkpoint_of
from dl_lab.training.tasks.totals import add_up


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its status in summary.json, the reason, and the metrics of the last validation."""

    status: str
    reason: str | None = None
    last: dict[str, float] | None = None


def record_point(
    run: ActiveRun, summed: dict[str, list[float]], shown: Mapping[str, float], examples_per_second: float
) -> Outcome | None:
    """Record a point of the training curves: metrics of the totals since the last point, with `shown` (lr and gradient
    norm) beside them. Returns an outcome if a number is not finite.
    """
    state, plan = run.state, run.plan
    if not all(isfinite(value) for values in summed.values() for value in values):
        return diverged(run)
    norm = shown["gradient_norm"]
    if not isfinite(norm):
        return not_finite(run, "gradient norm", norm, state.step)
    metrics = plan.task.metrics(summed)
    if state.step == len(state.window):
        state.first_loss = plan.task.metrics(add_up(state.window[0]))["loss"]
    run.logger.record("train", state.step, run.epoch, {**metrics, **shown}, examples_per_second=examples_per_second)
    run.progress.training(metrics)
    state.since_validation.append(summed)
    state.window = []
    return None


def record_validation(run: ActiveRun, metrics: dict[str, float]) -> Outcome | None:
    """Record a validation, and whether it is the best so far. Returns an outcome if the run diverged."""
    state, plan = run.state, run.plan
    if not isfinite(metrics["loss"]):
        return not_finite(run, "validation loss", metrics["loss"], state.step)
    state.last = metrics
    run.logger.record("val", state.step, run.epoch, metrics)
    trained = plan.task.metrics(add_up(state.since_validation))
    state.since_validation = []
    if is_better(run, metrics):
        state.best = {**metrics, "step": state.step, "epoch": run.epoch}
        state.validations_since_best = 0
    else:
        state.validations_since_best += 1
    shown = {name: metrics[name] for name in (*trained, *PRINTED, plan.run.train.best) if name in metrics}
    run.progress.validation(state.step, run.epoch, trained, shown)
    return None


def is_better(run: ActiveRun, metrics: Mapping[str, float]) -> bool:
    """Whether these validation metrics are better than all earlier ones, by train.best."""
    name, best = run.plan.run.train.best, run.state.best
    sign = 1 if higher_is_better(name) else -1
    return best is None or isnan(best[name]) or sign * metrics[name] > sign * best[name]


def record_test(run: ActiveRun, metrics: dict[str, float], rows: list[Tensor]) -> None:
    """Record the metrics of the best checkpoint on the test split, and keep their intervals for the summary."""
    best = run.state.best
    assert best is not None
    run.logger.record("test", int(best["step"]), best["epoch"], metrics)
    run.intervals = run.plan.task.intervals(torch.cat(rows))
    run.warnings += diagnose.of_test(run.plan, metrics, run.intervals)


def complete_best(run: ActiveRun, metrics: dict[str, float]) -> None:
    """Add to the best validation the metrics that were not computed then."""
    best = run.state.best
    assert best is not None
    further = {name: value for name, value in metrics.items() if name not in best}
    if further:
        run.logger.append("best", int(best["step"]), best["epoch"], further)
        run.state.best = best | further


def visualize_model(run: ActiveRun) -> None:
    """Write the figures and histograms that train.pictures asks for, and a text sample of a language model."""
    state, data, every = run.state, run.plan.data, run.plan.run.train.pictures
    if every and (state.step // run.plan.validate_every) % every == 0:
        figures = visualize.figures_of(state.model, data, run.plan.task)
        run.logger.draw(figures, visualize.histograms_of(state.model, data), state.step)
    if data.tokenizer is not None and data.spec.is_language:
        sample = sample_text(state.model, data.spec, data.tokenizer, run.plan.seed, state.step)
        run.logger.text("sample", sample, state.step)


def save_checkpoints(run: ActiveRun) -> None:
    """Save last.pt, and best.pt if the last validation is the best one. best.pt comes second: if the run is killed in
    between, `resume.restore_best` writes it from last.pt.
    """
    saved = save_last(run)
    if run.state.validations_since_best == 0:
        checkpoint.save(run.logger.checkpoints / "best.pt", saved)


def save_last(run: ActiveRun) -> Checkpoint:
    """Save the current state as last.pt, after all that was recorded of it. Returns what was saved."""
    contents = checkpoint_of(run.state, run.plan)
    run.logger.flush()
    checkpoint.save_last(run.logger.checkpoints, contents)
    return contents


def ended_early(run: ActiveRun) -> Outcome | None:
    """The outcome of a run that is out of patience or at the tolerance of its optimizer; otherwise None."""
    train, state = run.plan.run.train, run.state
    if train.patience is not None and state.validations_since_best >= train.patience:
        patience = counted(train.patience, "validation")
        return Outcome("completed", f"no better val/{train.best} in {patience}", state.last)
    if is_at_tolerance(run):
        name = run.plan.run.optimizer.entry.name
        return Outcome("completed", f"optimizer={name} is at its tolerance; more steps change nothing", state.last)
    return None


def is_at_tolerance(run: ActiveRun) -> bool:
    """Whether the last step ended at a tolerance of the optimizer, with its full lr and a loss that stays the same."""
    state, plan, group = run.state, run.plan, run.state.optimizer.param_groups[0]
    if not group.get("at_tolerance") or group["lr"] != group["initial_lr"]:
        return False
    return plan.steps_per_epoch == 1 and plan.data.augmentation is None and state.dropout_key is None


def not_finite(run: ActiveRun, what: str, value: float, step: int) -> Outcome:
    """The outcome of a run that diverged: what was not finite, at which step, and which key to lower."""
    lr = getattr(run.plan.run.optimizer.config, "lr", None)
    advice = f"hint: lower optimizer.lr={lr} or set train.max_grad_norm"
    return Outcome("diverged", f"the {what} is {value} at step {step}; {advice}")


def diverged(run: ActiveRun) -> Outcome:
    """The outcome of a run whose loss became infinite or NaN since the last point, with the first such step. The loss
    of step 1 is that of the initial weights: it has failed rather than diverged.
    """
    first = run.state.step - len(run.state.window) + 1
    for step, totals in enumerate(run.state.window, first):
        loss = run.plan.task.metrics(add_up(totals))["loss"]
        if not isfinite(loss) and step == 1:
            model, initializer = run.plan.run.model.entry.name, run.plan.run.initializer.entry.name
            what = f"model={model} has the loss {loss} before training, with its weights from initializer={initializer}"
            return Outcome("failed", f"{what}; allowed: finite outputs and a finite loss")
        if not isfinite(loss):
            return not_finite(run, "loss", loss, step)
    return not_finite(run, "sum of the metrics", float("nan"), run.state.step)


def stopped(run: ActiveRun) -> Outcome:
    """The outcome of a run that a signal ended after it was saved."""
    return Outcome("stopped", f"at step {run.state.step}, as it was asked to", run.state.last)

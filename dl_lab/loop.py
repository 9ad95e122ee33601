"""The loop: one for every model, task and dataset. Whatever happens during training is read in `fit`, top to bottom."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab import checkpoint, devices, eager, pictures, streams
from dl_lab.build import Plan, TrainState
from dl_lab.data import Batch, Split, training_batches
from dl_lab.logbook import Logbook
from dl_lab.progress import Progress
from dl_lab.sampling import sample_text
from dl_lab.tasks import Totals, add_up, detached, higher_is_better, moved


@dataclass(frozen=True)
class Outcome:
    """How a run ended: a status of summary.json, why, and the last validation's metrics."""

    status: str
    reason: str | None = None
    last: dict[str, float] | None = None


def train_step(state: TrainState, plan: Plan, inputs: Tensor, targets: Tensor) -> list[Totals]:
    """One optimizer step on one batch, computed in `accumulate` pieces. Returns each one's totals, on the device."""
    train, task, optimizer = plan.run.train, plan.task, state.optimizer
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * plan.schedule(state.step)
    pieces = split_batch(inputs, targets, train.accumulate)
    counts = task.counts(targets)
    first_evaluation: list[Totals] = []

    @torch.enable_grad()
    def closure() -> Tensor:
        """The loss of the whole batch, its gradient left in the parameters; some optimizers ask more than once."""
        eager.zero_grad(optimizer)
        losses, evaluation = [], []
        for number, (some_inputs, some_targets) in enumerate(pieces):
            totals = task.totals(forward(state, plan, some_inputs, number), some_targets)
            loss = task.objective(totals, counts)
            loss.backward()
            losses.append(loss.detach())
            evaluation.append(detached(totals))
        if train.max_grad_norm is not None:
            state.norm_before_clipping = nn.utils.clip_grad_norm_(state.model.parameters(), train.max_grad_norm)
        if not first_evaluation:
            first_evaluation.extend(evaluation)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    eager.step(optimizer, closure)
    return first_evaluation


def split_batch(inputs: Tensor, targets: Tensor, pieces: int) -> list[Batch]:
    """A batch in (nearly) equal pieces; fewer, if it has fewer examples."""
    if pieces == 1:
        return [(inputs, targets)]
    return list(zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True))


def forward(state: TrainState, plan: Plan, inputs: Tensor, piece: int) -> Tensor:
    """Outputs in training: augmented and dropped by (seed, step, piece)."""
    draw = state.step * plan.run.train.accumulate + piece
    if state.dropout_key is not None:
        state.dropout_key.copy_(streams.key(plan.seed, "dropout", draw))
    augmentation_key = None
    if plan.data.augmentation is not None:
        augmentation_key = streams.key(plan.seed, "augmentation", draw).to(plan.device)
    return apply(state.forward, plan, plan.data.prepare(inputs, augmentation_key))


def apply(model: Callable[[Tensor], Tensor], plan: Plan, inputs: Tensor) -> Tensor:
    """Outputs of the model in the run's precision, as float32 or float64."""
    precision = plan.run.settings.precision
    with devices.autocast(plan.device, precision):
        outputs = model(inputs)
    return outputs.to(devices.PRECISIONS[precision])


@torch.inference_mode()
def evaluate(model: nn.Module, plan: Plan, split: Split) -> dict[str, float]:
    """Metrics over every example of a split."""
    model.eval()
    totals = [
        plan.task.totals(apply(model, plan, plan.data.prepare(inputs)), targets)
        for inputs, targets in split.everything(plan.eval_batch_size)
    ]
    model.train()
    return plan.task.metrics(add_up(totals))


def fit(
    state: TrainState, plan: Plan, logbook: Logbook, progress: Progress, stop: Callable[[], bool] = lambda: False
) -> Outcome:
    """Train on from the state's step until the last one, until patience ends, until the loss is no longer a finite
    number, or until `stop` says so after a step.
    """
    train, split = plan.run.train, plan.data.train
    since, examples = time.perf_counter(), 0
    if out_of_patience(state, plan):  # killed between its last validation and its end
        return ended_early(state, plan)
    batches = training_batches(split, plan.seed, plan.batch_size, plan.device, state.step)
    state.model.train()
    for inputs, targets in islice(batches, plan.total_steps - state.step):
        state.window.append(train_step(state, plan, inputs, targets))
        state.step += 1
        examples += len(targets)
        progress.advance()
        epoch = state.step / plan.steps_per_epoch
        validating = state.step % plan.validate_every == 0 or state.step == plan.total_steps
        if not validating and state.step % train.log_every:
            if stop():
                return stopped(state, plan, logbook)
            continue

        summed = add_up(chain.from_iterable(state.window))
        if not all(isfinite(value) for values in summed.values() for value in values):
            return diverged(state, plan)
        metrics = plan.task.metrics(summed)
        norm = gradient_norm(state)
        if not isfinite(norm):
            return not_finite(plan, "gradient norm", norm, state.step)
        shown = {**metrics, "lr": state.optimizer.param_groups[0]["lr"], "gradient_norm": norm}
        speed = examples / (time.perf_counter() - since)
        logbook.record("train", state.step, epoch, shown, examples_per_second=speed)
        progress.training(metrics)
        state.since_validation.append(summed)
        state.window = []

        if validating:
            state.last = last = evaluate(state.model, plan, plan.data.validation)
            if not isfinite(last["loss"]):
                return not_finite(plan, "validation loss", last["loss"], state.step)
            logbook.record("val", state.step, epoch, last)
            trained = plan.task.metrics(add_up(state.since_validation))
            state.since_validation = []
            keep(state, plan, logbook, last)
            if train.pictures and (state.step // plan.validate_every) % train.pictures == 0:
                figures = pictures.figures_of(state.model, plan.data)
                logbook.draw(figures, pictures.histograms_of(state.model, plan.data), state.step)
            progress.validation(state.step, epoch, trained, last)
            if plan.data.is_text:
                logbook.text("sample", sample_text(state.model, plan.data.spec, plan.seed, state.step), state.step)
            if out_of_patience(state, plan):
                return ended_early(state, plan)
        if stop() and state.step < plan.total_steps:
            return stopped(state, plan, logbook)
        since, examples = time.perf_counter(), 0
    return Outcome("completed", None, state.last)


def out_of_patience(state: TrainState, plan: Plan) -> bool:
    patience = plan.run.train.patience
    return patience is not None and state.validations_since_best >= patience


def ended_early(state: TrainState, plan: Plan) -> Outcome:
    train = plan.run.train
    return Outcome("completed", f"no better val/{train.best} in {train.patience} validations", state.last)


def keep(state: TrainState, plan: Plan, logbook: Logbook, metrics: dict[str, float]) -> None:
    """Save the last checkpoint, and the best one if this validation is better than all before. The best comes second:
    it is made again from the last one if the run is killed between the two (`resuming.kept_best`).
    """
    name = plan.run.train.best
    sign = 1 if higher_is_better(name) else -1
    better = state.best is None or sign * metrics[name] > sign * state.best[name]
    if better:
        state.best = {**metrics, "step": state.step, "epoch": state.step / plan.steps_per_epoch}
    state.validations_since_best = 0 if better else state.validations_since_best + 1
    contents = contents_of(state, plan)
    logbook.flush()
    checkpoint.save_last(logbook.checkpoints, contents)
    if better:
        checkpoint.save(logbook.checkpoints / "best.pt", contents)


def contents_of(state: TrainState, plan: Plan) -> dict[str, Any]:
    """A checkpoint: plain dictionaries of tensors and numbers."""
    return {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best": state.best,
        "last": state.last,
        "validations_since_best": state.validations_since_best,
        "window": state.window,
        "since_validation": state.since_validation,
        "config": plan.run.as_dict,
    }


def restore(state: TrainState, saved: dict[str, Any], device: torch.device) -> None:
    """Put the state where a checkpoint left it."""
    state.model.load_state_dict(saved["model"])
    eager.restore(state.optimizer, saved["optimizer"])
    for name in ("step", "best", "validations_since_best", "since_validation"):
        setattr(state, name, saved[name])
    state.last = saved.get("last")  # a checkpoint from before it was kept has none
    state.window = [[moved(totals, device) for totals in pieces] for pieces in saved["window"]]


def gradient_norm(state: TrainState) -> float:
    """The Euclidean norm of the gradient of the last step, before it was clipped."""
    if state.norm_before_clipping is not None:
        return float(state.norm_before_clipping)
    gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def not_finite(plan: Plan, what: str, value: float, step: int) -> Outcome:
    """The outcome of a run that diverged: what, where, and the key to turn down."""
    lr = getattr(plan.run.optimizer.config, "lr", None)
    advice = f"turn down optimizer.lr={lr} or set train.max_grad_norm"
    return Outcome("diverged", f"the {what} is {value} at step {step}; {advice}")


def stopped(state: TrainState, plan: Plan, logbook: Logbook) -> Outcome:
    """Save the run as it is. Returns its outcome."""
    logbook.flush()
    checkpoint.save_last(logbook.checkpoints, contents_of(state, plan))
    return Outcome("stopped", f"at step {state.step}, as it was asked to", state.last)


def diverged(state: TrainState, plan: Plan) -> Outcome:
    """The outcome of a run whose loss stopped being finite since the last point, with the step where it did."""
    first = state.step - len(state.window) + 1
    for step, totals in enumerate(state.window, first):
        loss = plan.task.metrics(add_up(totals))["loss"]
        if not isfinite(loss):
            return not_finite(plan, "loss", loss, step)
    return not_finite(plan, "sum of the metrics", float("nan"), state.step)


def evaluate_best(state: TrainState, plan: Plan, logbook: Logbook) -> dict[str, float] | None:
    """Metrics of the best checkpoint on the test split, which nothing has seen before; None without such a split."""
    if plan.data.test is None or state.best is None:
        return None
    best = checkpoint.load(logbook.checkpoints / "best.pt", plan.device)
    state.model.load_state_dict(best["model"])
    metrics = evaluate(state.model, plan, plan.data.test)
    logbook.record("test", int(best["step"]), best["step"] / plan.steps_per_epoch, metrics)
    return metrics

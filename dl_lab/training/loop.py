"""The loop: one for every model, task and dataset. Whatever happens during training is read in `fit`, top to bottom."""

import time
from collections.abc import Callable
from itertools import chain, islice

import torch
from torch import Tensor, nn

from dl_lab.core import devices, eager_optim, rng
from dl_lab.core.progress import Progress
from dl_lab.data.batching import training_batches
from dl_lab.data.splits import Batch, Split
from dl_lab.runs import checkpoint
from dl_lab.runs.logger import Logbook
from dl_lab.training import bookkeeping
from dl_lab.training.bookkeeping import Outcome
from dl_lab.training.state import Plan, TrainState
from dl_lab.training.tasks import Totals, add_up, detached


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
        eager_optim.zero_grad(optimizer)
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

    eager_optim.step(optimizer, closure)
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
        state.dropout_key.copy_(rng.key(plan.seed, "dropout", draw))
    augmentation_key = None
    if plan.data.augmentation is not None:
        augmentation_key = rng.key(plan.seed, "augmentation", draw).to(plan.device)
    return apply(state.forward, plan, plan.data.prepare(inputs, augmentation_key))


def apply(model: Callable[[Tensor], Tensor], plan: Plan, inputs: Tensor) -> Tensor:
    """Outputs of the model in the run's precision, as float32 or float64."""
    return devices.apply(model, inputs, plan.device, plan.run.settings.precision)


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
    since, examples = time.perf_counter(), 0
    if (
        ended := bookkeeping.out_of_patience(state, plan)
    ) is not None:  # killed between its last validation and its end
        return ended
    batches = training_batches(plan.data.train, plan.seed, plan.batch_size, plan.device, state.step)
    state.model.train()
    for inputs, targets in islice(batches, plan.total_steps - state.step):
        state.window.append(train_step(state, plan, inputs, targets))
        state.step += 1
        examples += len(targets)
        progress.advance()
        validating = state.step % plan.validate_every == 0 or state.step == plan.total_steps
        ended = None
        if validating or state.step % plan.run.train.log_every == 0:
            summed = add_up(chain.from_iterable(state.window))
            shown = {"lr": state.optimizer.param_groups[0]["lr"], "gradient_norm": gradient_norm(state)}
            speed = examples / (time.perf_counter() - since)
            ended = bookkeeping.point(state, plan, logbook, progress, summed, shown, speed)
        if validating and ended is None:
            metrics = evaluate(state.model, plan, plan.data.validation)
            ended = bookkeeping.validated(state, plan, logbook, progress, metrics)
        if validating and ended is None:
            bookkeeping.keep(state, plan, logbook)
            bookkeeping.show(state, plan, logbook)
            ended = bookkeeping.out_of_patience(state, plan)
        if ended is not None:
            return ended
        if stop() and state.step < plan.total_steps:
            bookkeeping.keep_last(state, plan, logbook)
            return bookkeeping.stopped(state)
        if not state.window:
            since, examples = time.perf_counter(), 0
    return Outcome("completed", None, state.last)


def gradient_norm(state: TrainState) -> float:
    """The Euclidean norm of the gradient of the last step, before it was clipped."""
    if state.norm_before_clipping is not None:
        return float(state.norm_before_clipping)
    gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def evaluate_best(state: TrainState, plan: Plan, logbook: Logbook) -> dict[str, float] | None:
    """Metrics of the best checkpoint on the test split, which nothing has seen before; None without such a split."""
    if plan.data.test is None or state.best is None:
        return None
    best = checkpoint.load(logbook.checkpoints / "best.pt", plan.device)
    state.model.load_state_dict(best["model"])
    metrics = evaluate(state.model, plan, plan.data.test)
    logbook.record("test", int(best["step"]), best["step"] / plan.steps_per_epoch, metrics)
    return metrics

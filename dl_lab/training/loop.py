"""The training loop for every model, task and dataset. Read `fit` from top to bottom: it shows all that happens."""

import time
from collections.abc import Callable, Iterator
from itertools import chain, islice

import torch
from torch import Tensor, nn

from dl_lab.core import devices, eager_optim, rng
from dl_lab.core.devices import PRECISIONS
from dl_lab.data.splits import Batch, Split
from dl_lab.runs import checkpoint
from dl_lab.training import bookkeeping
from dl_lab.training.bookkeeping import Outcome
from dl_lab.training.checks import check_inputs, check_outputs
from dl_lab.training.state import ActiveRun, Plan, TrainState, load_model
from dl_lab.training.tasks.totals import Totals, add_up, detached


def train_step(state: TrainState, plan: Plan, inputs: Tensor, targets: Tensor) -> list[Totals]:
    """Take one optimizer step on a batch, computed in `accumulate` pieces. Returns the totals of each piece, on the
    device.
    """
    train, task, optimizer = plan.run.train, plan.task, state.optimizer
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * plan.schedule(state.step)
    pieces = split_batch(inputs, targets, train.accumulate)
    counts = task.counts(targets)
    first_evaluation: list[Totals] = []

    @torch.enable_grad()
    def closure() -> Tensor:
        """Compute the loss of the whole batch and its gradient. Some optimizers call this more than once per step."""
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
    """Split a batch into (nearly) equal pieces; into fewer if it has fewer examples."""
    if pieces == 1:
        return [(inputs, targets)]
    return list(zip(inputs.chunk(pieces), targets.chunk(pieces), strict=True))


def forward(state: TrainState, plan: Plan, inputs: Tensor, piece: int) -> Tensor:
    """Outputs in training mode, with all random numbers a function of (seed, step, piece): augmentation, dropout masks,
    and what the user's own code draws.
    """
    draw = state.step * plan.run.train.accumulate + piece
    if plan.has_user_code:
        devices.seed_global_generators(rng.seed_for(plan.seed, "global", draw), plan.device)
    if state.dropout_key is not None:
        state.dropout_key.copy_(rng.key(plan.seed, "dropout", draw))
    augmentation_key = None
    if plan.data.augmentation is not None:
        augmentation_key = rng.key(plan.seed, "augmentation", draw).to(plan.device)
    return apply(state.forward, plan, plan.data.prepare(inputs, augmentation_key))


def apply(model: Callable[[Tensor], Tensor], plan: Plan, inputs: Tensor) -> Tensor:
    """Outputs of the model, computed in the run's precision and returned as float32 or float64.

    Raises:
        UserCodeError: if the inputs do not fit the DataSpec, or the model returns something else.
    """
    precision, spec = plan.run.settings.precision, plan.data.spec
    check_inputs(inputs, inputs.shape[1:2] if spec.kind == "tokens" else spec.input_shape, spec.kind)
    with devices.autocast(plan.device, precision):
        outputs = model(inputs)
    check_outputs(outputs, inputs, spec, plan.run.model.entry.name)
    return outputs.to(PRECISIONS[precision])


def predictions(model: nn.Module, plan: Plan, split: Split) -> Iterator[Batch]:
    """Outputs and targets of every example of a split, in batches. Random numbers that the user's own code draws are
    the same each time. Called without gradients.
    """
    model.eval()
    if plan.has_user_code:
        devices.seed_global_generators(rng.seed_for(plan.seed, "evaluation"), plan.device)
    for number, (inputs, targets) in enumerate(split.everything(plan.eval_batch_size)):
        if plan.has_user_code:
            devices.seed_global_generators(rng.seed_for(plan.seed, "evaluation", number), plan.device)
        yield apply(model, plan, plan.data.prepare(inputs)), targets
    model.train()


@torch.no_grad()  # in inference mode, a buffer that a user's model assigns could not be loaded again
def evaluate(
    model: nn.Module, plan: Plan, split: Split, at_end: bool = False, rows: list[Tensor] | None = None
) -> dict[str, float]:
    """Metrics over every example of a split; those that need all outputs at once only at the end of a run, or if
    train.best is one of them. `rows` receives what the intervals of the metrics are computed from.
    """
    totals, gathered, gathers = [], [], plan.gathers(at_end)
    for outputs, targets in predictions(model, plan, split):
        totals.append(plan.task.totals(outputs, targets, evaluating=True))
        if gathers:
            gathered.append((outputs.cpu(), targets.cpu()))
        if rows is not None:
            rows.append(plan.task.interval_rows(outputs, targets))
    metrics = plan.task.metrics(add_up(totals), evaluating=True)
    if gathers:
        metrics |= plan.task.gathered_metrics(*map(torch.cat, zip(*gathered, strict=True)))
    return metrics


def fit(run: ActiveRun, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Train from the current step to the last one. Ends early when patience runs out, when the optimizer is
    at its tolerance, when the loss is no longer finite, or when `stop` returns True after a step.
    """
    state, plan = run.state, run.plan
    since, examples = time.perf_counter(), 0
    if (ended := bookkeeping.ended_early(run)) is not None:  # killed between its last validation and its end
        return ended
    state.model.train()
    for inputs, targets in islice(plan.batches(state.step), plan.total_steps - state.step):
        state.window.append(train_step(state, plan, inputs, targets))
        state.step += 1
        examples += len(targets)
        run.progress.advance()
        is_last = state.step == plan.total_steps or bookkeeping.is_at_tolerance(run)
        validating = is_last or state.step % plan.validate_every == 0
        ended = None
        if validating or state.step % plan.run.train.log_every == 0:
            summed = add_up(chain.from_iterable(state.window))
            shown = {"lr": learning_rate(state.optimizer), "gradient_norm": gradient_norm(state)}
            ended = bookkeeping.record_point(run, summed, shown, examples / (time.perf_counter() - since))
        if validating and ended is None:
            ended = bookkeeping.record_validation(run, evaluate(state.model, plan, plan.data.validation))
        if validating and ended is None:
            bookkeeping.save_checkpoints(run)
            bookkeeping.visualize_model(run)
            ended = bookkeeping.ended_early(run)
        if ended is not None:
            return ended
        if stop() and state.step < plan.total_steps:
            bookkeeping.save_last(run)
            return bookkeeping.stopped(run)
        if not state.window:
            since, examples = time.perf_counter(), 0
    return Outcome("completed", None, state.last)


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The rate of the last step: the scheduled lr, or what the optimizer made of it."""
    rate = getattr(optimizer, "rate", None)
    return float(optimizer.param_groups[0]["lr"] if rate is None else rate)


def gradient_norm(state: TrainState) -> float:
    """The Euclidean norm of the last step's gradient before clipping."""
    if state.norm_before_clipping is not None:
        return float(state.norm_before_clipping)
    gradients = [parameter.grad for parameter in state.model.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def evaluate_best(run: ActiveRun) -> dict[str, float] | None:
    """Record and return the metrics of the best checkpoint on the test split, which is used nowhere else. None if the
    dataset has no test split. Record also the metrics of its validation that are computed only once.
    """
    state, plan = run.state, run.plan
    if state.best is None or (plan.data.test is None and not plan.gathers(at_end=True)):
        return None
    load_model(state.model, checkpoint.load(run.logger.checkpoints / "best.pt", plan.device))
    test, rows = None, list[Tensor]()
    if plan.data.test is not None:
        test = evaluate(state.model, plan, plan.data.test, at_end=True, rows=rows)
        bookkeeping.record_test(run, test, rows)
    if plan.gathers(at_end=True):
        bookkeeping.complete_best(run, evaluate(state.model, plan, plan.data.validation, at_end=True))
    return test

"""The loop: one for every model, task and dataset. Whatever happens during training is read in `fit`, top to bottom."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from math import ceil, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from dl_lab import build, checkpoint, devices, streams
from dl_lab.config import RunConfig
from dl_lab.data import Batch, Data, InMemory, Split
from dl_lab.dropouts.masks import Dropout, number_layers
from dl_lab.errors import ConfigError, require, unknown
from dl_lab.logbook import Logbook
from dl_lab.progress import Progress
from dl_lab.sampling import sample_text
from dl_lab.schedules.factors import Schedule
from dl_lab.tasks import Task, Totals, add_up, higher_is_better


@dataclass(frozen=True)
class Plan:
    """What stays the same throughout a run."""

    run: RunConfig
    data: Data
    task: Task
    schedule: Schedule
    device: torch.device
    batch_size: int
    steps_per_epoch: int
    total_steps: int

    @property
    def seed(self) -> int:
        return self.run.settings.seed

    @property
    def validate_every(self) -> int:
        return self.run.train.validate_every or self.steps_per_epoch


@dataclass
class TrainState:
    """What changes: everything that a checkpoint holds. `dropout_key` is None for a model without dropout."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    dropout_key: Tensor | None
    step: int = 0
    best: dict[str, float] | None = None
    validations_since_best: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: a status of summary.json, why, and the last validation's metrics."""

    status: str
    reason: str | None = None
    last: dict[str, float] | None = None


def prepare(run: RunConfig, data: Data) -> tuple[Plan, TrainState]:
    """Everything that `fit` needs, on the run's device.

    Raises:
        ConfigError: if the batch is larger than the training split, or `train.best` is not a metric of the task.
    """
    device = devices.choose(run.settings.device, run.settings.precision)
    devices.make_deterministic(run.settings.deterministic)
    examples = len(data.train)
    batch_size = examples if run.train.batch_size == "full" else int(run.train.batch_size)
    require(batch_size <= examples, "train.batch_size", batch_size, f"at most {examples}, the training split, or full")
    require(run.train.accumulate <= batch_size, "train.accumulate", run.train.accumulate, f"at most {batch_size}, the batch")
    data = data.to(device, devices.PRECISIONS[run.settings.precision])
    if run.train.one_batch:
        data = on_one_batch(data, batch_size, run.settings.seed, device)
    steps_per_epoch = ceil(len(data.train) / batch_size)
    task = build.build_task(run, data.spec)
    if run.train.best not in task.metric_names:
        raise unknown("train.best", run.train.best, task.metric_names)
    total_steps = run.train.steps or (run.train.epochs or 0) * steps_per_epoch
    schedule = build.build_schedule(run, total_steps)
    model = build.build_model(run, data.spec).to(device)
    key = number_layers(model, device)
    has_dropout = any(isinstance(module, Dropout) for module in model.modules())
    state = TrainState(model, build.build_optimizer(run, model), key if has_dropout else None)
    return Plan(run, data, task, schedule, device, batch_size, steps_per_epoch, total_steps), state


def on_one_batch(data: Data, batch_size: int, seed: int, device: torch.device) -> Data:
    """The same data with the first training batch as training and validation split, and no test."""
    from dataclasses import replace

    batch = InMemory(*next(training_batches(data.train, seed, batch_size, device)))
    return replace(data, train=batch, validation=batch, test=None, augmentation=None)


def training_batches(split: Split, seed: int, batch_size: int, device: torch.device, start: int = 0) -> Iterator[Batch]:
    """Batches from step `start` on, for ever; each is a function of (seed, step). An epoch's last one may be smaller."""
    steps_per_epoch = ceil(len(split) / batch_size)
    for epoch in count(start // steps_per_epoch):
        order = split.shuffled(streams.generator(seed, "order", epoch)).to(device)
        first = max(0, start - epoch * steps_per_epoch)
        yield from split.batches(order.split(batch_size)[first:])


def train_step(state: TrainState, plan: Plan, inputs: Tensor, targets: Tensor) -> Totals:
    """One optimizer step on one batch, computed in `accumulate` pieces. Returns the batch's totals, on the device."""
    train, task, optimizer = plan.run.train, plan.task, state.optimizer
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * plan.schedule(state.step)
    pieces = list(zip(inputs.chunk(train.accumulate), targets.chunk(train.accumulate), strict=True))
    counts = task.counts(targets)
    gathered: list[Totals] = []

    def closure() -> Tensor:
        """The loss of the whole batch, its gradient left in the parameters; some optimizers ask more than once."""
        optimizer.zero_grad()
        evaluation: list[Totals] = []
        objective = torch.zeros((), device=plan.device)
        for number, (some_inputs, some_targets) in enumerate(pieces):
            totals = task.totals(forward(state, plan, some_inputs, number), some_targets)
            loss = task.objective(totals, counts)
            loss.backward()
            objective = objective + loss.detach()
            evaluation.append({name: value.detach() for name, value in totals.items()})
        if train.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), train.max_grad_norm)
        gathered.extend(evaluation if not gathered else [])
        return objective

    optimizer.step(closure)  # type: ignore[arg-type]  # typed for closures that return a float
    return gathered[0] if len(gathered) == 1 else {k: torch.stack([t[k] for t in gathered]).sum(0) for k in gathered[0]}


def forward(state: TrainState, plan: Plan, inputs: Tensor, piece: int) -> Tensor:
    """Outputs in training: augmented and dropped by (seed, step, piece)."""
    draw = state.step * plan.run.train.accumulate + piece
    if state.dropout_key is not None:
        state.dropout_key.copy_(streams.key(plan.seed, "dropout", draw))
    augmentation_key = None
    if plan.data.augmentation is not None:
        augmentation_key = streams.key(plan.seed, "augmentation", draw).to(plan.device)
    return apply(state.model, plan, plan.data.prepare(inputs, augmentation_key))


def apply(model: nn.Module, plan: Plan, inputs: Tensor) -> Tensor:
    """Outputs of the model in the run's precision, as float32 or float64."""
    precision = plan.run.settings.precision
    with devices.autocast(plan.device, precision):
        outputs: Tensor = model(inputs)
    return outputs.to(devices.PRECISIONS[precision])


@torch.inference_mode()
def evaluate(model: nn.Module, plan: Plan, split: Split) -> dict[str, float]:
    """Metrics over every example of a split."""
    model.eval()
    indices = split.in_order().to(plan.device).split(plan.run.train.eval_batch_size)
    totals = [
        plan.task.totals(apply(model, plan, plan.data.prepare(inputs)), targets)
        for inputs, targets in split.batches(indices)
    ]
    model.train()
    return plan.task.metrics(add_up(totals))


def fit(state: TrainState, plan: Plan, logbook: Logbook, progress: Progress) -> Outcome:
    """Train until the last step, until patience ends, or until the loss is no longer a finite number."""
    train, split = plan.run.train, plan.data.train
    window: list[Totals] = []  # since the last point of the training curves; stays on the device until then
    windows: list[Totals] = []  # since the last validation
    since, last = time.perf_counter(), None
    batches = training_batches(split, plan.seed, plan.batch_size, plan.device, state.step)
    state.model.train()
    for inputs, targets in islice(batches, plan.total_steps - state.step):
        window.append(train_step(state, plan, inputs, targets))
        state.step += 1
        epoch = state.step / plan.steps_per_epoch
        validating = state.step % plan.validate_every == 0 or state.step == plan.total_steps
        if not validating and state.step % train.log_every:
            continue

        summed = add_up(window)
        if not all(isfinite(value) for values in summed.values() for value in values):
            return diverged(state, plan, window)
        metrics = plan.task.metrics(summed)
        lr, norm = state.optimizer.param_groups[0]["lr"], gradient_norm(state.model)
        speed = len(window) * plan.batch_size / (time.perf_counter() - since)
        logbook.record("train", state.step, epoch, {**metrics, "lr": lr, "gradient_norm": norm}, examples_per_second=speed)
        progress.training(state.step, metrics)
        windows.append({name: torch.tensor(values) for name, values in summed.items()})
        window = []

        if validating:
            last = evaluate(state.model, plan, plan.data.validation)
            if not isfinite(last["loss"]):
                return Outcome("diverged", f"the validation loss is {last['loss']} at step {state.step}; {turn_down(plan)}")
            logbook.record("val", state.step, epoch, last)
            progress.validation(state.step, epoch, plan.task.metrics(add_up(windows)), last)
            windows = []
            if plan.data.is_text:
                logbook.text("sample", sample_text(state.model, plan.data.spec, plan.seed, state.step), state.step)
            keep(state, plan, logbook, last)
            if train.patience is not None and state.validations_since_best >= train.patience:
                return Outcome("completed", f"no better val/{train.best} in {train.patience} validations", last)
        since = time.perf_counter()
    return Outcome("completed", None, last)


def keep(state: TrainState, plan: Plan, logbook: Logbook, metrics: dict[str, float]) -> None:
    """Save the last checkpoint, and the best one if this validation is better than all before."""
    name = plan.run.train.best
    sign = 1 if higher_is_better(name) else -1
    better = state.best is None or sign * metrics[name] > sign * state.best[name]
    if better:
        state.best = {**metrics, "step": state.step, "epoch": state.step / plan.steps_per_epoch}
    state.validations_since_best = 0 if better else state.validations_since_best + 1
    contents = contents_of(state, plan)
    checkpoint.save(logbook.checkpoints / "last.pt", contents)
    if better:
        checkpoint.save(logbook.checkpoints / "best.pt", contents)


def contents_of(state: TrainState, plan: Plan) -> dict[str, Any]:
    """A checkpoint: plain dictionaries of tensors and numbers."""
    return {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "best": state.best,
        "validations_since_best": state.validations_since_best,
        "config": plan.run.as_dict,
    }


def gradient_norm(model: nn.Module) -> float:
    """The Euclidean norm of the gradient that the last step used."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def turn_down(plan: Plan) -> str:
    """What to do about a run that diverges."""
    lr = getattr(plan.run.optimizer.config, "lr", None)
    return f"turn down optimizer.lr={lr} or set train.max_grad_norm"


def diverged(state: TrainState, plan: Plan, window: list[Totals]) -> Outcome:
    """The outcome of a run whose loss stopped being finite in this window, with the step where it did."""
    first = state.step - len(window) + 1
    for step, totals in enumerate(window, first):
        loss = plan.task.metrics(add_up([totals]))["loss"]
        if not isfinite(loss):
            return Outcome("diverged", f"the loss is {loss} at step {step}; {turn_down(plan)}")
    return Outcome("diverged", f"the metrics are not finite at step {state.step}; {turn_down(plan)}")


def evaluate_best(state: TrainState, plan: Plan, logbook: Logbook) -> dict[str, float] | None:
    """Metrics of the best checkpoint on the test split, which nothing has seen before; None without such a split."""
    if plan.data.test is None or state.best is None:
        return None
    best = checkpoint.load(logbook.checkpoints / "best.pt", plan.device)
    state.model.load_state_dict(best["model"])
    metrics = evaluate(state.model, plan, plan.data.test)
    logbook.record("test", int(best["step"]), best["step"] / plan.steps_per_epoch, metrics)
    return metrics

"""Many runs trained as one: what `loop.fit` does for one run, for a stack of them. Read `fit_together` beside it."""

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields, replace
from itertools import islice
from math import isfinite
from typing import Any

from dl_lab.config.schema import RunConfig
from dl_lab.core.progress import Progress
from dl_lab.data.splits import Streamed
from dl_lab.runs import checkpoint
from dl_lab.runs.logger import Logbook
from dl_lab.training import bookkeeping
from dl_lab.training.bookkeeping import Outcome
from dl_lab.training.state import Plan, TrainState, contents_of
from dl_lab.vectorized.engine import StackedRuns
from dl_lab.vectorized.member_state import Row, row_of
from dl_lab.vectorized.optimizers import must_be_equal

SAVE_SECONDS = 10  # between checkpoints of a stack, which validates more often than it is worth to write all of them
EACH_ITS_OWN = ("seed", "name", "tags")  # of the settings


class DoesNotStack(Exception):
    """Why a run trains alone."""


@dataclass
class Member:
    """A run of a stack. `best` is its row when it was best, and `best_contents` what of its best checkpoint is in no
    row: none of both until a validation in this process was better than all before.
    """

    plan: Plan
    state: TrainState
    logbook: Logbook
    progress: Progress
    best: Row | None = None
    best_contents: dict[str, Any] | None = None  # None: it is saved


Hopeless = Callable[[list[Member]], list[bool]]  # of members that were just validated
Ended = tuple[Member, Outcome, dict[str, float] | None]  # with its test metrics


def key(run: RunConfig) -> Hashable:
    """What runs must have in common to train together: everything but numbers that a step multiplies by, what is drawn
    or decided for each by itself, and where they start from.

    Raises:
        DoesNotStack: if a run of this kind trains alone.
    """
    optimizer, train, settings = run.optimizer.entry.name, run.train, run.settings
    optimizer_key = must_be_equal(optimizer, run.optimizer.config)
    if optimizer_key is None:
        raise DoesNotStack(f"optimizer={optimizer} has no rule for a stack")
    if train.accumulate > 1:
        raise DoesNotStack(f"train.accumulate={train.accumulate} saves the memory that a stack takes")
    if settings.compile:
        raise DoesNotStack("compile=true compiles a single run")
    dropout_key = run.dropout.entry.name, getattr(run.dropout.config, "input_p", 0) > 0
    loss_key = run.loss.entry.name, [value for value in astuple(run.loss.config) if not isinstance(value, float)]
    clips = train.max_grad_norm is not None
    train_key = replace(train, patience=None, best="loss", max_grad_norm=1.0 if clips else None)
    settings_key = [getattr(settings, field.name) for field in fields(settings) if field.name not in EACH_ITS_OWN]
    same = [(choice.entry.name, choice.config) for choice in (run.model, run.dataset)]
    return repr((optimizer, optimizer_key, dropout_key, loss_key, train_key, settings_key, same))


def alike(plan: Plan, state: TrainState) -> Hashable:
    """The same of what is known when the data are there.

    Raises:
        DoesNotStack: if a run of this kind trains alone.
    """
    if isinstance(plan.data.train, Streamed):
        raise DoesNotStack(f"dataset={plan.run.dataset.entry.name} streams")
    shapes = [(name, tuple(parameter.shape)) for name, parameter in state.model.named_parameters()]
    sizes = [len(split) for split in (plan.data.train, plan.data.validation, plan.data.test or ())]
    return repr((shapes, sizes, plan.total_steps, plan.validate_every, state.step))


def fit_together(
    members: list[Member],
    stop: Callable[[], bool] = lambda: False,
    hopeless: Hopeless = lambda members: [False] * len(members),
    stepped: Callable[[int, int], None] = lambda step, total: None,
) -> Iterator[Ended]:
    """Train on from the members' step, and give each with its outcome and its test metrics when it ends: at the last
    step, out of patience, diverged, `hopeless` after a validation, or when `stop` says so after a step.
    """
    plan, alive = members[0].plan, list(members)
    stack = StackedRuns([member.plan for member in alive], [member.state for member in alive])
    since, examples, saved_at = time.perf_counter(), 0, time.perf_counter()
    alive = yield from without_ended(stack, alive, already_ended(alive))
    batches = stack.feed.training(plan.batch_size, stack.step_number)
    for inputs, targets in islice(batches, plan.total_steps - stack.step_number if alive else 0):
        stack.step(inputs, targets)
        for member in alive:
            member.state.step = stack.step_number
        stepped(stack.step_number, plan.total_steps)
        examples += targets.shape[stack.feed.axis is not None]
        validating = stack.step_number % plan.validate_every == 0 or stack.step_number == plan.total_steps
        ended: dict[int, Outcome] = {}
        if validating or stack.step_number % plan.run.train.log_every == 0:
            ended = points(stack, alive, examples / (time.perf_counter() - since))
            since, examples = time.perf_counter(), 0
        if validating:
            ended = validations(stack, alive, ended, hopeless)
        if stop() and stack.step_number < plan.total_steps:
            ended = {n: bookkeeping.stopped(member.state) for n, member in enumerate(alive)} | ended
        if stack.step_number == plan.total_steps:
            ended = {n: Outcome("completed", None, member.state.last) for n, member in enumerate(alive)} | ended
        alive = yield from without_ended(stack, alive, ended)
        if not alive:
            return
        if validating and time.perf_counter() - saved_at > SAVE_SECONDS:
            for number, member in enumerate(alive):
                save(stack, number, member)
            saved_at = time.perf_counter()


def already_ended(members: list[Member]) -> dict[int, Outcome]:
    """Those that were killed between their last validation and their end."""
    ended = {}
    for number, member in enumerate(members):
        outcome = bookkeeping.out_of_patience(member.state, member.plan)
        if outcome is None and member.state.step == member.plan.total_steps:
            outcome = Outcome("completed", None, member.state.last)
        if outcome is not None:
            ended[number] = outcome
    return ended


def points(stack: StackedRuns, alive: list[Member], examples_per_second: float) -> dict[int, Outcome]:
    """Record a point of each member's curves. Returns those that diverged, by their number in the stack."""
    ended: dict[int, Outcome] = {}
    sums, norms, lrs = stack.summed_window(), stack.gradient_norms(), stack.optimizer.lrs()
    for number, (member, summed) in enumerate(zip(alive, sums, strict=True)):
        if not isfinite(sum(value for values in summed.values() for value in values)):
            member.state.window = stack.window_of(number)  # says at which step it happened
        shown = {"lr": lrs[number], "gradient_norm": norms[number]}
        outcome = bookkeeping.point(
            member.state, member.plan, member.logbook, member.progress, summed, shown, examples_per_second
        )
        if outcome is not None:
            ended[number] = outcome
    stack.window = []
    return ended


def validations(
    stack: StackedRuns, alive: list[Member], ended: Mapping[int, Outcome], hopeless: Hopeless
) -> dict[int, Outcome]:
    """Validate every member but those that have ended, and say which have by now."""
    outcomes = dict(ended)
    for number, metrics in enumerate(stack.evaluate("validation")):
        if number not in ended and (outcome := validation(stack, number, alive[number], metrics)) is not None:
            outcomes[number] = outcome
    going_on = [number for number in range(len(alive)) if number not in outcomes]
    if going_on and stack.step_number < alive[0].plan.total_steps:
        pruned = hopeless([alive[number] for number in going_on])
        for number in (number for number, prune in zip(going_on, pruned, strict=True) if prune):
            state = alive[number].state
            outcomes[number] = Outcome("pruned", f"hopeless beside the others at step {state.step}", state.last)
    return outcomes


def validation(stack: StackedRuns, number: int, member: Member, metrics: dict[str, float]) -> Outcome | None:
    """Record a member's validation, and take its row if it is the best so far. Returns how it ended, if it did."""
    state, plan, logbook = member.state, member.plan, member.logbook
    outcome = bookkeeping.validated(state, plan, logbook, member.progress, metrics)
    if outcome is not None:
        return outcome
    if state.validations_since_best == 0:
        member.best = stack.row(number)
        here = {"step": state.step, "best": state.best, "last": state.last, "validations_since_best": 0}
        member.best_contents = {**here, "window": [], "since_validation": []}
    if plan.run.train.pictures or plan.data.is_text:
        stack.settle(number, state)
        bookkeeping.show(state, plan, logbook)
    return bookkeeping.out_of_patience(state, plan)


def save(stack: StackedRuns, number: int, member: Member) -> None:
    """Write a member's best checkpoint, if it is newer than what is written, and its last one."""
    state, plan = member.state, member.plan
    if member.best_contents is not None:
        assert member.best is not None
        member.best.put_into(state)
        checkpoint.save(member.logbook.checkpoints / "best.pt", contents_of(state, plan) | member.best_contents)
        member.best_contents = None
    stack.settle(number, state)
    bookkeeping.keep_last(state, plan, member.logbook)


def without_ended(
    stack: StackedRuns, alive: list[Member], ended: Mapping[int, Outcome]
) -> Generator[Ended, None, list[Member]]:
    """Save the members that have ended, but for diverged ones, test those that completed, give each, and go on with
    the others, which are returned.
    """
    for number, outcome in ended.items():
        if outcome.status != "diverged":
            save(stack, number, alive[number])
    completed = [number for number, outcome in ended.items() if outcome.status == "completed"]
    tests = tested(stack, alive, completed) if completed and stack.plans[0].data.test is not None else {}
    for number, outcome in ended.items():
        yield alive[number], outcome, tests.get(number)
    remaining = [number for number in range(len(alive)) if number not in ended]
    if ended and remaining:
        stack.keep(remaining)
    return [alive[number] for number in remaining]


def tested(stack: StackedRuns, alive: list[Member], completed: list[int]) -> dict[int, dict[str, float]]:
    """Metrics of each one's best checkpoint on its test split, by number; recorded."""
    rows = [member.best or best_from_disk(stack, number, member) for number, member in enumerate(alive)]
    metrics = stack.evaluate("test", rows)
    for number in completed:
        best = alive[number].state.best
        assert best is not None
        alive[number].logbook.record("test", int(best["step"]), best["epoch"], metrics[number])
    return {number: metrics[number] for number in completed}


def best_from_disk(stack: StackedRuns, number: int, member: Member) -> Row:
    """The best of a run that was resumed and has found no better one since; if it has none at all, what it is now."""
    path = member.logbook.checkpoints / "best.pt"
    if member.state.best is None or not path.exists():
        return stack.row(number)
    member.state.model.load_state_dict(checkpoint.load(path, member.plan.device)["model"])
    return row_of(member.state, stack.optimizer)

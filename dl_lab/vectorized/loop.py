"""The training loop of a stack. Read `fit_stack` together with `training.loop.fit`, which trains one run."""

import time
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from typing import TypeVar

from torch import Tensor

from dl_lab.config.schema import RunConfig
from dl_lab.data.splits import InMemory, Windows
from dl_lab.dropouts.layers import Dropout
from dl_lab.runs import checkpoint
from dl_lab.runs.checkpoint import Checkpoint
from dl_lab.runs.identity import shared_in_stack
from dl_lab.training import bookkeeping, diagnose
from dl_lab.training.bookkeeping import Outcome
from dl_lab.training.state import ActiveRun, Plan, TrainState, checkpoint_of, load_model
from dl_lab.vectorized.engine import StackedRuns
from dl_lab.vectorized.member_state import MemberState, member_state_of, sums_by_run
from dl_lab.vectorized.optimizers import must_be_equal
from dl_lab.vectorized.verification import DoesNotStack, layout, refuse_structure

SAVE_SECONDS = 10  # between checkpoints of a stack, which validates too often to write all of them at each validation


@dataclass
class Member:
    """A run of a stack. `best` is its state at its best validation, and `best_checkpoint` the rest of that checkpoint;
    both are None until a validation in this process is better than all earlier ones, and `best_checkpoint` is None
    again once it has been saved.
    """

    run: ActiveRun
    best: MemberState | None = None
    best_checkpoint: Checkpoint | None = None


M = TypeVar("M", bound=Member)
Ended = tuple[M, Outcome, dict[str, float] | None]  # with the metrics of its test split


def configuration_key(run: RunConfig) -> Hashable:
    """What runs must have in common to train as one stack, by `runs.identity`: members may differ in numbers of a step,
    in what is drawn or decided for each run by itself, and in their initial weights.

    Raises:
        DoesNotStack: if a run of this kind trains alone.
    """
    optimizer = run.optimizer.entry.name
    optimizer_key = must_be_equal(optimizer, run.optimizer.config)
    if optimizer_key is None:
        raise DoesNotStack(f"optimizer={optimizer} has no rule for a stack")
    if optimizer == "asgd" and not run.train.decay_biases:
        raise DoesNotStack("train.decay_biases=false gives the biases of asgd a rate of their own")
    if run.train.accumulate > 1:
        raise DoesNotStack(f"train.accumulate={run.train.accumulate} saves the memory that a stack takes")
    if run.settings.compile:
        raise DoesNotStack("compile=true compiles a single run")
    drops_inputs = getattr(run.dropout.config, "input_p", 0) > 0  # adds a layer
    return repr((optimizer_key, drops_inputs, sorted(shared_in_stack(run.as_dict).items())))


def prepared_key(plan: Plan, state: TrainState) -> Hashable:
    """What prepared runs must have in common besides their configuration: shapes, attributes, sizes of splits, steps.

    Raises:
        DoesNotStack: if a run of this kind trains alone.
    """
    for split in filter(None, (plan.data.train, plan.data.validation, plan.data.test)):
        if type(split) not in (InMemory, Windows):
            raise DoesNotStack(f"dataset={plan.run.dataset.entry.name} streams, or makes its batches itself")
    refuse_structure(state.model)
    sizes = [len(split) for split in (plan.data.train, plan.data.validation, plan.data.test or ())]
    numbers = repr((layout(state.model), sizes, plan.total_steps, plan.validate_every, state.step))
    of_members = {f"{name}.p" for name, module in state.model.named_modules() if isinstance(module, Dropout)}
    of_members |= {f"loss of {head.name}" for head in plan.task.heads}
    attributes = {name: digest for name, digest in state.python_state(plan).items() if name not in of_members}
    return numbers, repr(sorted(attributes.items()))


def fit_stack(
    members: list[M],
    stop: Callable[[], bool] = lambda: False,
    prune: Callable[[list[M]], list[bool]] = lambda members: [False] * len(members),
    show_step: Callable[[int, int], None] = lambda step, total: None,
) -> Iterator[Ended[M]]:
    """Train from the members' current step. Yield each member when it ends: at the last step, out of patience,
    diverged, failed at its first step, pruned after a validation, or when `stop` returns True after a step.
    """
    plan, alive = members[0].run.plan, list(members)
    stack = StackedRuns([member.run.plan for member in alive], [member.run.state for member in alive])
    since, examples, saved_at = time.perf_counter(), 0, time.perf_counter()
    stack.model.train()
    alive = yield from without_ended(stack, alive, already_ended(alive))
    batches = stack.batches.training(plan, stack.step_number)
    for inputs, targets in islice(batches, plan.total_steps - stack.step_number if alive else 0):
        stack.step(inputs, targets)
        for member in alive:
            member.run.state.step = stack.step_number
        show_step(stack.step_number, plan.total_steps)
        examples += targets.shape[stack.batches.axis is not None]
        validating = stack.step_number % plan.validate_every == 0 or stack.step_number == plan.total_steps
        ended: dict[int, Outcome] = {}
        if validating or stack.step_number % plan.run.train.log_every == 0:
            ended = record_points(stack, alive, examples / (time.perf_counter() - since))
            since, examples = time.perf_counter(), 0
        if validating:
            ended = validate(stack, alive, ended, prune)
        if stop() and stack.step_number < plan.total_steps:
            ended = {n: bookkeeping.stopped(member.run) for n, member in enumerate(alive)} | ended
        if stack.step_number == plan.total_steps:
            ended = {n: Outcome("completed", None, member.run.state.last) for n, member in enumerate(alive)} | ended
        alive = yield from without_ended(stack, alive, ended)
        if not alive:
            return
        if validating and time.perf_counter() - saved_at > SAVE_SECONDS:
            for number, member in enumerate(alive):
                save(stack, number, member)
            saved_at = time.perf_counter()


def already_ended(members: list[M]) -> dict[int, Outcome]:
    """The outcomes of members whose process was killed between their last validation and their end, by number."""
    ended = {}
    for number, member in enumerate(members):
        outcome = bookkeeping.ended_early(member.run)
        if outcome is None and member.run.state.step == member.run.plan.total_steps:
            outcome = Outcome("completed", None, member.run.state.last)
        if outcome is not None:
            ended[number] = outcome
    return ended


def record_points(stack: StackedRuns, alive: list[M], examples_per_second: float) -> dict[int, Outcome]:
    """Record a point of each member's curves. Returns those that diverged, by their number in the stack."""
    ended: dict[int, Outcome] = {}
    sums, norms, lrs = stack.summed_window(), stack.gradient_norms(), stack.optimizer.lrs()
    if stack.step_number == len(stack.window):
        for member, totals in zip(alive, sums_by_run(stack.window[:1], len(alive)), strict=True):
            member.run.state.first_loss = member.run.plan.task.metrics(totals)["loss"]
    for number, (member, summed) in enumerate(zip(alive, sums, strict=True)):
        if not isfinite(sum(value for values in summed.values() for value in values)):
            member.run.state.window = stack.window_of(number)  # to find the step where it happened
        shown = {"lr": lrs[number], "gradient_norm": norms[number]}
        outcome = bookkeeping.record_point(member.run, summed, shown, examples_per_second)
        if outcome is not None:
            ended[number] = outcome
    stack.window = []
    return ended


def validate(
    stack: StackedRuns, alive: list[M], ended: Mapping[int, Outcome], prune: Callable[[list[M]], list[bool]]
) -> dict[int, Outcome]:
    """Validate every member that has not ended, and return those that have ended now, with `ended`."""
    outcomes = dict(ended)
    for number, metrics in enumerate(stack.evaluate("validation")):
        if number not in ended and (outcome := record_validation(stack, number, alive[number], metrics)) is not None:
            outcomes[number] = outcome
    remaining = [number for number in range(len(alive)) if number not in outcomes]
    if remaining and stack.step_number < alive[0].run.plan.total_steps:
        pruned = prune([alive[number] for number in remaining])
        for number in (number for number, hopeless in zip(remaining, pruned, strict=True) if hopeless):
            state = alive[number].run.state
            outcomes[number] = Outcome("pruned", f"hopeless beside the others at step {state.step}", state.last)
    return outcomes


def record_validation(stack: StackedRuns, number: int, member: Member, metrics: dict[str, float]) -> Outcome | None:
    """Record a member's validation, and copy its state if it is the best so far. Returns an outcome if it ended."""
    run, state = member.run, member.run.state
    if (outcome := bookkeeping.record_validation(run, metrics)) is not None:
        return outcome
    if state.validations_since_best == 0:
        member.best = stack.member_state(number)
        here = {"step": state.step, "best": state.best, "last": state.last, "validations_since_best": 0}
        member.best_checkpoint = {**here, "window": [], "since_validation": []}
    if run.plan.run.train.pictures or run.plan.data.tokenizer:
        stack.write_to(number, state)
        bookkeeping.visualize_model(run)
    return bookkeeping.ended_early(run)


def save(stack: StackedRuns, number: int, member: Member) -> None:
    """Save a member's best checkpoint, unless it has been saved, and its last one."""
    run = member.run
    if member.best_checkpoint is not None:
        assert member.best is not None
        member.best.write_to(run.state)
        contents = checkpoint_of(run.state, run.plan) | member.best_checkpoint
        checkpoint.save(run.logger.checkpoints / "best.pt", contents)
        member.best_checkpoint = None
    stack.write_to(number, run.state)
    bookkeeping.save_last(run)


def without_ended(
    stack: StackedRuns, alive: list[M], ended: Mapping[int, Outcome]
) -> Generator[Ended[M], None, list[M]]:
    """Save the members that have ended (unless their numbers are not finite), test those that completed, and yield
    each. Returns the remaining members, which stay in the stack.
    """
    for number, outcome in ended.items():
        if outcome.status not in ("diverged", "failed"):
            save(stack, number, alive[number])
    completed = [number for number, outcome in ended.items() if outcome.status == "completed"]
    for number in completed:
        alive[number].run.warnings = diagnose.of_training(alive[number].run)
    tests = evaluate_best(stack, alive, completed) if completed else {}
    for number, outcome in ended.items():
        yield alive[number], outcome, tests.get(number)
    remaining = [number for number in range(len(alive)) if number not in ended]
    if ended and remaining:
        stack.select(remaining)
    return [alive[number] for number in remaining]


def evaluate_best(stack: StackedRuns, alive: list[M], completed: list[int]) -> dict[int, dict[str, float]]:
    """Record and return the metrics of each completed member's best checkpoint on its test split, by number; nothing
    without one. Record also the metrics of its validation that are computed only once.
    """
    states = [member.best or saved_best(stack, number, member) for number, member in enumerate(alive)]
    plan, tests = stack.plans[0], {}
    if plan.data.test is not None:
        rows: list[list[Tensor]] = [[] for _ in alive]
        tests = dict(enumerate(stack.evaluate("test", states, at_end=True, rows=rows)))
    validations = stack.evaluate("validation", states, at_end=True) if plan.gathers(at_end=True) else []
    for number in completed:
        if tests:
            bookkeeping.record_test(alive[number].run, tests[number], rows[number])
        if validations:
            bookkeeping.complete_best(alive[number].run, validations[number])
    return tests


def saved_best(stack: StackedRuns, number: int, member: Member) -> MemberState:
    """The best state of a member that was resumed and has not improved since; its current state if it has no best."""
    run = member.run
    path = run.logger.checkpoints / "best.pt"
    if run.state.best is None or not path.exists():
        return stack.member_state(number)
    load_model(run.state.model, checkpoint.load(path, run.plan.device))
    return member_state_of(run.state, stack.optimizer)

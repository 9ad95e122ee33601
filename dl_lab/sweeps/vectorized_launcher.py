"""hydra/launcher=vectorized: the jobs of a sweep that are alike train as one stack, what does not stack runs alone."""

import time
from collections.abc import Hashable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch

from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig
from dl_lab.core import devices
from dl_lab.core.errors import ConfigError, JobsFailed, Stopped, is_out_of_memory
from dl_lab.core.progress import Progress
from dl_lab.core.signals import Signals
from dl_lab.data.dataset import Data
from dl_lab.runs import resume
from dl_lab.runs.logger import Logbook
from dl_lab.sweeps.job import Job, Report, Runner, ended_by
from dl_lab.train import broken_off
from dl_lab.training import bookkeeping, setup
from dl_lab.training import state as training_state
from dl_lab.training.bookkeeping import Outcome
from dl_lab.vectorized import loop
from dl_lab.vectorized.autotune import bytes_of_parameters, fastest, has_room_for_one_more
from dl_lab.vectorized.loop import DoesNotStack, Member

NAMED = 16  # jobs in a line


@dataclass(frozen=True)
class Ready:
    """A job whose data, model and optimizer are there; `saved`: the checkpoint that it goes on from."""

    job: Job
    run: RunConfig
    plan: training_state.Plan
    state: training_state.TrainState
    saved: dict[str, Any] | None


def run(jobs: list[Job], report: Report, in_turn: Runner, sharing: int = 1) -> None:
    """Run every job: stacks first, then those that train alone, of which it says why. So many processes are `sharing`
    the memory.
    """
    alone: dict[str, list[Job]] = {}
    for group in sorted_out(jobs, report, alone).values():
        left = group
        while left:
            ready, left = made_ready(left, report, alone, sharing)
            while ready:  # what is done with lets go of its data
                train_alike(ready.pop(next(iter(ready))), report, alone, sharing)
    for why, some in alone.items():
        named = " ".join(f"#{job.number}" for job in some[:NAMED]) + (" ..." if len(some) > NAMED else "")
        report.note(f"alone: {len(some)} jobs, {named} ({why})")
    numbers = {job.number for some in alone.values() for job in some}
    if numbers:
        in_turn([job for job in jobs if job.number in numbers], report)


def train_alike(alike: list[Ready], report: Report, alone: dict[str, list[Job]], sharing: int) -> None:
    """Train runs that are alike as stacks, or put them with those that train alone."""
    try:
        at_once = fastest([each.plan for each in alike], [each.state for each in alike], sharing)
    except DoesNotStack as reason:
        alone.setdefault(str(reason), []).extend(each.job for each in alike)
        return
    for start in range(0, len(alike), at_once):
        train_stack(alike[start : start + at_once], report, sharing)


def sorted_out(
    jobs: list[Job], report: Report, alone: dict[str, list[Job]]
) -> dict[Hashable, list[tuple[Job, RunConfig]]]:
    """Jobs by what makes their configurations alike; those that do not stack go to `alone`, mistakes to the report."""
    groups: dict[Hashable, list[tuple[Job, RunConfig]]] = {}
    for job in jobs:
        assert job.values is not None
        try:
            configuration = parse(job.values)
            groups.setdefault(loop.key(configuration), []).append((job, configuration))
        except DoesNotStack as reason:
            alone.setdefault(str(reason), []).append(job)
        except Exception as error:
            failed(job, report, error)
    return groups


def made_ready(
    group: list[tuple[Job, RunConfig]], report: Report, alone: dict[str, list[Job]], sharing: int
) -> tuple[dict[Hashable, list[Ready]], list[tuple[Job, RunConfig]]]:
    """The first jobs of a group by what makes them alike in full, and those for which there is no memory yet. Their
    datasets differ in the seed alone: each is loaded once.
    """
    loaded: dict[int, Data] = {}
    groups: dict[Hashable, list[Ready]] = {}
    settings = group[0][1].settings
    device = devices.choose(settings.device, settings.precision)
    most = len(group)
    for number, (job, configuration) in enumerate(group):
        if sum(map(len, groups.values())) >= most:
            return groups, group[number:]
        seed = configuration.settings.seed
        try:
            if seed not in loaded:
                if loaded and not has_room_for_one_more(list(loaded.values()), device, sharing):
                    return groups, group[number:]
                loaded[seed] = setup.on_device(configuration, setup.build_data(configuration))
            plan, state = setup.prepare(configuration, loaded[seed])
            most = max(2, min(most, devices.memory_for(device, sharing) // bytes_of_parameters(state)))
            saved = resume.left_off(job.folder) if job.resumes else None
            if saved is not None:
                bookkeeping.take_up(state, plan, saved, job.folder)
            groups.setdefault(loop.alike(plan, state), []).append(Ready(job, configuration, plan, state, saved))
        except DoesNotStack as reason:
            alone.setdefault(str(reason), []).append(job)
        except Exception as error:
            failed(job, report, error)
    return groups, []


def failed(job: Job, report: Report, error: Exception) -> None:
    """Report a job that failed before it trained."""
    report.started(job)
    ended = ended_by(error)
    report.trace(ended.traceback)
    report.ended(job, ended.status, None, ended.reason)


def train_stack(alike: list[Ready], report: Report, sharing: int) -> None:
    """Train these jobs as one; in halves, if there is not memory enough for all.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, when every member is saved.
        JobsFailed: if one failed and the sweep was asked to fail fast.
    """
    for each in alike:
        report.started(each.job)
    threads = torch.get_num_threads()
    report.note(f"together: {len(alike)} runs as one stack, {threads} thread{'s' if threads > 1 else ''}")
    unfinished = {id(each.state): each for each in alike}
    if not ran_out_of_memory(alike, unfinished, report):
        return
    left = [(replace(each.job, resumes=True), each.run) for each in unfinished.values()]
    del alike, unfinished  # so that the halves find the memory that the whole had
    devices.free_memory()
    report.note(f"not enough memory for {len(left)} runs at once: in halves")
    alone: dict[str, list[Job]] = {}
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        while half:
            ready, half = made_ready(half, report, alone, sharing)
            while ready:
                train_stack(ready.pop(next(iter(ready))), report, sharing)
    assert not alone, f"what was in a stack does not stack: {alone}"


def ran_out_of_memory(alike: list[Ready], unfinished: dict[int, Ready], report: Report) -> bool:
    """Train, and report whatever else ends it; those that are left `unfinished` are more than one then."""
    try:
        fit_and_finish(alike, unfinished, report)
    except JobsFailed:
        for each in unfinished.values():
            report.ended(each.job, "stopped", None, "another job failed")
        raise
    except Exception as error:
        if is_out_of_memory(error) and len(unfinished) > 1:
            return True
        ended = ended_by(error)
        report.trace(ended.traceback)
        for each in unfinished.values():
            report.ended(each.job, ended.status, None, ended.reason)
    return False


def fit_and_finish(alike: list[Ready], unfinished: dict[int, Ready], report: Report) -> None:
    """Train, and close the record of each run as it ends; what has ended is no longer in `unfinished`."""
    started = time.perf_counter()
    jobs = {id(each.state): each.job for each in alike}

    def hopeless(members: list[Member]) -> list[bool]:
        told = [(jobs[id(member.state)], member.state.step, member.state.last or {}) for member in members]
        for each in told:
            report.validated(*each)
        return [report.hopeless(job, step) for job, step, _ in told]

    with ExitStack() as context, Signals() as signals:
        for each in alike:
            each.state.together = len(alike)
        members = recorded(alike, unfinished, context, report)
        if not members:
            return
        try:
            for member, outcome, test in loop.fit_together(members, signals.received, hopeless, report.stepped):
                share = (time.perf_counter() - started) / len(alike)
                finish(unfinished.pop(id(member.state)), member, outcome, test, share, report)
        except BaseException as error:
            for member in members:
                if id(member.state) in unfinished:
                    outcome = broken_off(error, member.state.step)
                    with suppress(OSError):  # the disk is full, or gone: what was saved before is there
                        member.logbook.finish(bookkeeping.summarize(member.plan, member.state, outcome, None, 0.0))
            raise
        if signals.received():
            raise Stopped("stopped; every run of the stack is saved", signals.status)


def recorded(alike: list[Ready], unfinished: dict[int, Ready], context: ExitStack, report: Report) -> list[Member]:
    """The members, their records open until the context ends; a job whose record cannot be opened fails alone."""
    members = []
    for each in alike:
        try:
            members.append(member_of(each, context))
        except (ConfigError, OSError) as error:
            del unfinished[id(each.state)]
            report.ended(each.job, "failed", None, ended_by(error).reason)
    return members


def member_of(ready: Ready, context: ExitStack) -> Member:
    """The member of a stack that a job is, its record open until the context ends."""
    job, plan, state = ready.job, ready.plan, ready.state
    logbook = context.enter_context(
        Logbook(job.folder, ready.run.as_dict, job.overrides, state.step if job.resumes else None)
    )
    if ready.saved is not None:
        state.best = resume.kept_best(logbook.checkpoints, ready.saved)
    return Member(plan, state, logbook, Progress(plan.total_steps, state.step, silent=True))


def finish(
    ready: Ready, member: Member, outcome: Outcome, test: dict[str, float] | None, seconds: float, report: Report
) -> None:
    """Write how a run ended and report it. `seconds` is its share of what the stack took."""
    member.logbook.finish(bookkeeping.summarize(member.plan, member.state, outcome, test, seconds))
    best = member.state.best
    value = best[ready.run.train.best] if best is not None and outcome.status == "completed" else None
    report.ended(ready.job, outcome.status, value, outcome.reason)

"""hydra/launcher=vectorized: jobs that are alike train as one stack, and the others run alone. Read `run` first."""

from collections import deque
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch

from dl_lab.config.parse import parse
from dl_lab.config.schema import RunConfig
from dl_lab.core import devices
from dl_lab.core.errors import FAILURES, ConfigError, JobsFailed, Stopped, counted, is_out_of_memory
from dl_lab.core.signals import Signals
from dl_lab.data.dataset import Data
from dl_lab.sweeps.job import Job, JobOutcome, outcome_of_error
from dl_lab.sweeps.report import Report, Runner
from dl_lab.training import setup
from dl_lab.training.run import NEW, Start, build_from, finish, recorded, start_in
from dl_lab.training.state import Plan, TrainState
from dl_lab.vectorized import loop
from dl_lab.vectorized.autotune import bytes_of_parameters, fastest, has_room_for_one_more
from dl_lab.vectorized.loop import Member
from dl_lab.vectorized.verification import DoesNotStack

MOST_NAMED = 16  # jobs in a line


@dataclass(frozen=True)
class Candidate:
    """A job and its parsed configuration."""

    job: Job
    config: RunConfig


@dataclass(frozen=True)
class Prepared:
    """A job whose data, model and optimizer are in memory."""

    job: Job
    plan: Plan
    state: TrainState
    start: Start


@dataclass(frozen=True)
class Alone:
    """A job that does not stack, and the reason."""

    job: Job
    reason: str


@dataclass(kw_only=True)
class JobMember(Member):
    """A member of a stack, with its job."""

    job: Job


@dataclass(frozen=True)
class PreparedGroup:
    """The result of preparing a group: jobs in memory, one list per stack; jobs that do not stack; jobs that wait for
    memory.
    """

    stacks: list[list[Prepared]]
    alone: list[Alone]
    waiting: list[Candidate]


def run(jobs: list[Job], report: Report, run_in_turn: Runner, processes: int = 1) -> None:
    """Run every job: stacks first, then the jobs that train alone, with the reason. `processes` share the memory."""
    groups, alone = grouped(jobs, report)
    for group in groups:
        alone += train_group(group, report, processes)
    by_reason: dict[str, list[int]] = {}
    for each in alone:
        by_reason.setdefault(each.reason, []).append(each.job.number)
    for reason, numbers in by_reason.items():
        named = " ".join(f"#{number}" for number in numbers[:MOST_NAMED])
        more = " ..." if len(numbers) > MOST_NAMED else ""
        report.note(f"alone: {counted(len(numbers), 'job')}, {named}{more} ({reason})")
    if alone:
        remaining = {each.job.number for each in alone}
        run_in_turn([job for job in jobs if job.number in remaining], report)


def grouped(jobs: list[Job], report: Report) -> tuple[list[list[Candidate]], list[Alone]]:
    """Jobs grouped by what a stack must share of their configurations, and those that do not stack. Reports errors."""
    groups: dict[Hashable, list[Candidate]] = {}
    alone = []
    for job in jobs:
        assert job.values is not None
        try:
            config = parse(job.values)
            groups.setdefault(loop.configuration_key(config), []).append(Candidate(job, config))
        except DoesNotStack as reason:
            alone.append(Alone(job, str(reason)))
        except FAILURES as error:
            report_failure(job, report, error)
    return list(groups.values()), alone


def train_group(group: list[Candidate], report: Report, processes: int) -> list[Alone]:
    """Train the jobs of a group as stacks, as many at a time as memory allows. Returns those that train alone."""
    alone: list[Alone] = []
    while group:
        prepared = prepare_group(group, report, processes)
        group = prepared.waiting
        alone += prepared.alone
        firsts = [stack[0].plan.data for stack in prepared.stacks]
        examples, shapes = {len(data.train) for data in firsts}, {data.spec.input_shape for data in firsts}
        for what, sizes in (("training splits", examples), ("inputs", shapes)):
            if len(sizes) > 1:  # of folds, for example
                report.note(f"apart: {what} of sizes {' and '.join(map(str, sorted(sizes)))} do not share a stack")
        while prepared.stacks:  # popped, so that what has been trained is freed
            alike = prepared.stacks.pop(0)
            try:
                size = fastest([each.plan for each in alike], [each.state for each in alike], processes)
            except DoesNotStack as reason:
                alone += [Alone(each.job, str(reason)) for each in alike]
                continue
            torch.set_num_threads(size.threads)
            parts = [alike[start : start + size.runs] for start in range(0, len(alike), size.runs)]
            del alike
            while parts:
                train_in_halves(parts.pop(0), report, processes)
    return alone


def prepare_group(group: list[Candidate], report: Report, processes: int) -> PreparedGroup:
    """Prepare the first jobs of a group, as many as memory allows. Their datasets differ at most in seed and fold, so
    each is loaded once.
    """
    loaded: dict[Hashable, Data] = {}
    stacks: dict[Hashable, list[Prepared]] = {}
    alone: list[Alone] = []
    settings = group[0].config.settings
    device = devices.choose(settings.device, settings.precision)
    most = len(group)
    for number, candidate in enumerate(group):
        job, config = candidate.job, candidate.config
        dataset = (config.settings.seed, repr(config.dataset.config))
        if sum(map(len, stacks.values())) >= most:
            return PreparedGroup(list(stacks.values()), alone, group[number:])
        try:
            if dataset not in loaded:
                if loaded and not has_room_for_one_more(list(loaded.values()), device, processes):
                    return PreparedGroup(list(stacks.values()), alone, group[number:])
                loaded[dataset] = setup.on_device(config, setup.build_data(config))
            start = replace(start_in(job.folder) if job.resumes else NEW, varied=job.varied)
            plan, state = build_from(start, config, loaded[dataset], job.folder)
            most = max(2, min(most, devices.memory_for(device, processes) // bytes_of_parameters(state)))
            key = loop.prepared_key(plan, state)
            stacks.setdefault(key, []).append(Prepared(job, plan, state, start))
        except DoesNotStack as reason:
            alone.append(Alone(job, str(reason)))
        except FAILURES as error:
            report_failure(job, report, error)
    return PreparedGroup(list(stacks.values()), alone, [])


def report_failure(job: Job, report: Report, error: BaseException) -> None:
    """Report a job that failed before it trained."""
    report.started(job)
    report.ended(job, outcome_of_error(error))


def train_in_halves(stack: list[Prepared], report: Report, processes: int) -> None:
    """Train these jobs as one stack. If memory runs out, prepare the unfinished ones again and train half of them at a
    time, and so on.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, when every member is saved.
        JobsFailed: if a job failed under sweep.fail_fast=true.
    """
    stacks, waiting = [stack], deque[list[Candidate]]()
    del stack  # so that the halves find the memory that the whole had
    while stacks or waiting:
        if not stacks:
            prepared = prepare_group(waiting.popleft(), report, processes)
            assert not prepared.alone, f"members of a stack do not stack: {prepared.alone}"
            stacks = prepared.stacks
            if prepared.waiting:
                waiting.appendleft(prepared.waiting)
        elif left := train_stack(stacks.pop(0), report):
            devices.free_memory()
            report.note(f"not enough memory for {len(left)} runs at once: in halves")
            middle = len(left) // 2
            waiting.extendleft([left[middle:], left[:middle]])


def train_stack(stack: Sequence[Prepared], report: Report) -> list[Candidate]:
    """Train these jobs as one stack, and report how each ends. Returns the unfinished ones if memory ran out and there
    is more than one. Raises as `train_in_halves` does.
    """
    for each in stack:
        report.started(each.job)
    threads = torch.get_num_threads()
    report.note(f"together: {counted(len(stack), 'run')} as one stack, {counted(threads, 'thread')}")
    members: list[JobMember] = []
    try:
        with Signals() as signals, ExitStack() as context:
            members += open_members(stack, context, report)
            ends = loop.fit_stack(members, signals.received, lambda alive: hopeless(alive, report), report.stepped)
            for member, outcome, test in ends if members else ():
                finish(member.run, outcome, test)
                report.ended(member.job, JobOutcome(outcome.status, outcome.reason))
            if signals.received():
                raise Stopped("stopped; every run of the stack is saved", signals.status)
    except JobsFailed:
        for member in unfinished(members):
            report.ended(member.job, JobOutcome("stopped", "another job failed"))
        raise
    except BrokenPipeError:  # of the output, which is no failure of a run
        raise
    except FAILURES as error:
        left = unfinished(members)
        if is_out_of_memory(error) and len(left) > 1:
            return [Candidate(replace(member.job, resumes=True), member.run.plan.run) for member in left]
        for member in left:
            report.ended(member.job, outcome_of_error(error))
    return []


def open_members(stack: Sequence[Prepared], context: ExitStack, report: Report) -> list[JobMember]:
    """Open the run folder of each job until the context ends. A job whose run folder cannot be opened fails alone."""
    members = []
    for each in stack:
        each.state.together = len(stack)
        opening = recorded(each.plan, each.state, each.job.folder, each.job.overrides, each.start, silent=True)
        try:
            run = context.enter_context(opening)
        except (ConfigError, OSError) as error:
            report.ended(each.job, outcome_of_error(error))
        else:
            run.shared_by = len(stack)
            members.append(JobMember(run, job=each.job))
    return members


def unfinished(members: Sequence[JobMember]) -> list[JobMember]:
    return [member for member in members if not member.run.finished]


def hopeless(members: list[JobMember], report: Report) -> list[bool]:
    """Which members the sweep's pruner ends. All validations are reported first, so that their order has no effect."""
    for member in members:
        report.validated(member.job, member.run.state.step, member.run.state.last or {})
    return [report.hopeless(member.job, member.run.state.step) for member in members]

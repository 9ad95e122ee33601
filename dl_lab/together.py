"""hydra/launcher=vectorized: the jobs of a sweep that are alike train as one stack, what does not stack runs alone."""

import time
from collections.abc import Hashable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import OmegaConf

from dl_lab import build, devices, many, milestones, resuming
from dl_lab.command_line import explain, is_out_of_memory
from dl_lab.config import RunConfig, parse
from dl_lab.data import Data
from dl_lab.errors import Stopped
from dl_lab.logbook import Logbook
from dl_lab.many import DoesNotStack, Member
from dl_lab.milestones import Outcome
from dl_lab.progress import Progress
from dl_lab.signals import Signals
from dl_lab.sweeps import Job, Report, in_turn


@dataclass
class Candidate:
    """A job whose configuration is sound; with its data, model and optimizer once it is `ready`."""

    job: Job
    run: RunConfig
    plan: build.Plan | None = None
    state: build.TrainState | None = None


def run(jobs: list[Job], report: Report) -> None:
    """Run every job: stacks first, then those that train alone, with the reason."""
    candidates, alone = sorted_out(jobs, report)
    for group in candidates.values():
        ready = prepared(group, report, alone)
        for stack in ready.values():
            size = devices.stack_size(*portion_of(stack[0]))
            if size < 2 or len(stack) < 2:
                reason = "no other run is like it" if len(stack) < 2 else "its layers are large enough by themselves"
                alone.setdefault(reason, []).extend(each.job for each in stack)
                continue
            for start in range(0, len(stack), size):
                train_stack(stack[start : start + size], report)
    for reason, some in alone.items():
        report.note(f"alone: {len(some)} of {len(jobs)} jobs, because {reason}")
    in_turn([job for job in jobs if any(job in some for some in alone.values())], report)


def sorted_out(jobs: list[Job], report: Report) -> tuple[dict[Hashable, list[Candidate]], dict[str, list[Job]]]:
    """Jobs by what makes them alike, and those that do not stack by the reason. Mistakes are reported."""
    groups: dict[Hashable, list[Candidate]] = {}
    alone: dict[str, list[Job]] = {}
    for job in jobs:
        assert job.config is not None
        own = OmegaConf.masked_copy(job.config, [str(key) for key in job.config if key != "hydra"])
        try:
            candidate = Candidate(job, parse(own))
            groups.setdefault(many.key(candidate.run), []).append(candidate)
        except DoesNotStack as reason:
            alone.setdefault(str(reason), []).append(job)
        except Exception as error:
            failed(job, report, error)
    return groups, alone


def prepared(group: list[Candidate], report: Report, alone: dict[str, list[Job]]) -> dict[Hashable, list[Candidate]]:
    """The jobs of a group made ready to train, by what makes them alike in full; equal data are loaded once."""
    loaded: dict[Hashable, Data] = {}
    groups: dict[Hashable, list[Candidate]] = {}
    for candidate in group:
        run, job = candidate.run, candidate.job
        try:
            seed = run.settings.seed
            if seed not in loaded:
                loaded[seed] = build.on_device(run, build.build_data(run))
            candidate.plan, candidate.state = build.prepare(run, loaded[seed])
            saved = resuming.last_checkpoint(job.folder) if job.resumes else None
            if saved is not None:
                milestones.restore(candidate.state, saved, candidate.plan.device)
            groups.setdefault(many.alike(candidate.plan, candidate.state), []).append(candidate)
        except DoesNotStack as reason:
            alone.setdefault(str(reason), []).append(job)
        except Exception as error:
            failed(job, report, error)
    return groups


def portion_of(candidate: Candidate) -> tuple[Any, ...]:
    """What the size of a stack depends on: device, parameters of a run, and its multiply-adds a step."""
    assert candidate.plan is not None
    assert candidate.state is not None
    parameters = sum(parameter.numel() for parameter in candidate.state.model.parameters())
    return candidate.plan.device, parameters, candidate.plan.multiply_adds


def failed(job: Job, report: Report, error: Exception) -> None:
    """Report a job that failed before it trained, or while it did."""
    report.started(job)
    report.ended(job, "failed", None, explain(error) or f"{type(error).__name__}: {error}")


def train_stack(stack: list[Candidate], report: Report) -> None:
    """Train these jobs as one, in halves if there is not memory enough for all.

    Raises:
        Stopped: after Ctrl-C or SIGTERM, when every member is saved.
    """
    for candidate in stack:
        report.started(candidate.job)
    report.note(f"together: {len(stack)} runs of {stack[0].run.model.entry.name} as one")
    unfinished = {id(candidate.state): candidate for candidate in stack}
    try:
        with ExitStack() as context, Signals() as signals:
            for candidate, member, outcome, test, seconds in ended(stack, context, signals, report):
                finish(candidate, member, outcome, test, seconds, len(stack), report)
                del unfinished[id(member.state)]
            if signals.received():
                raise Stopped("stopped: every run of the stack is saved", signals.status)
    except Exception as error:
        rest = list(unfinished.values())
        if is_out_of_memory(error) and len(rest) > 1:
            report.note(f"not memory enough for {len(rest)} at once; in halves")
            for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
                for candidate in half:
                    candidate.job.resumes = True
                for again in prepared(half, report, {}).values():
                    train_stack(again, report)
        else:
            for candidate in rest:
                report.ended(candidate.job, "failed", None, explain(error) or f"{type(error).__name__}: {error}")


def ended(
    stack: list[Candidate], context: ExitStack, signals: Signals, report: Report
) -> Iterator[tuple[Candidate, Member, Outcome, dict[str, float] | None, float]]:
    """Train, and give each job with what came of it when it ends."""
    started, candidates, members = time.perf_counter(), {}, []
    for candidate in stack:
        job, run, plan, state = candidate.job, candidate.run, candidate.plan, candidate.state
        assert plan is not None
        assert state is not None
        resumed_at = state.step if job.resumes else None
        logbook = context.enter_context(Logbook(job.folder, run.as_dict, job.overrides, resumed_at))
        progress = Progress(plan.total_steps, state.step, silent=True)
        members.append(Member(plan, state, logbook, progress))
        candidates[id(state)] = candidate
    bar = Progress(members[0].plan.total_steps, members[0].state.step)
    context.callback(bar.close)

    def hopeless(member: Member, metrics: dict[str, float]) -> bool:
        return report.hopeless(candidates[id(member.state)].job, member.state.step, metrics)

    for member, outcome, test in many.fit_together(members, signals.received, hopeless, bar.advance):
        yield candidates[id(member.state)], member, outcome, test, time.perf_counter() - started


def finish(
    candidate: Candidate,
    member: Member,
    outcome: Outcome,
    test: dict[str, float] | None,
    seconds: float,
    size: int,
    report: Report,
) -> None:
    """Close a member's record and report it. Its seconds are its share of the stack's."""
    summary = milestones.summarize(member.plan, member.state, outcome, test, seconds / size)
    member.logbook.finish({**summary, "together": size})
    best = member.state.best
    value = None if best is None or outcome.status != "completed" else best[candidate.run.train.best]
    report.ended(candidate.job, outcome.status, value, outcome.reason)


__all__ = ["partial", "run"]

"""Choosing the size of a stack: limited by memory, and used only if trial steps show that it is faster."""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dl_lab.core import devices
from dl_lab.core.errors import FAILURES, is_out_of_memory
from dl_lab.data.dataset import Data
from dl_lab.training import loop
from dl_lab.training.python_state import put_back
from dl_lab.training.state import Plan, TrainState
from dl_lab.vectorized.engine import StackedRuns
from dl_lab.vectorized.verification import DoesNotStack, refuse_difference

TRIAL_STEPS = 3  # the fastest one counts
CLEARLY = 1.3  # how many times faster more threads must be: on a busy machine they wait for each other
MOST_RUNS = 256  # of a stack; more are no faster
COPIES = 12  # of a run's parameters: weights, gradients, two moments, the same in its own model, and its best state


@dataclass(frozen=True)
class StackSize:
    """How many runs to train as one stack, and with how many threads of the CPU."""

    runs: int
    threads: int


def has_room_for_one_more(loaded: Sequence[Data], device: torch.device, processes: int) -> bool:
    """Whether memory suffices for the data of one more seed, and for a table of all of them in the stack."""
    splits = [split for split in (loaded[0].train, loaded[0].validation, loaded[0].test) if split is not None]
    size = sum(tensor.nbytes for split in splits for tensor in vars(split).values() if isinstance(tensor, Tensor))
    return (len(loaded) + 2) * size <= devices.memory_for(device, processes)


def fastest(plans: Sequence[Plan], states: Sequence[TrainState], processes: int) -> StackSize:
    """The size of stack that trains these runs fastest, found by trial steps on copies. `processes` share the memory.

    Raises:
        DoesNotStack: if they train as fast one after the other, or torch cannot map over their computation.
    """
    with put_back(states[0].model):
        return _fastest(plans, states, processes)


def _fastest(plans: Sequence[Plan], states: Sequence[TrainState], processes: int) -> StackSize:
    plan, threads, runs = plans[0], torch.get_num_threads(), len(plans)
    if len(plans) < 2:
        raise DoesNotStack("no other run is like it")
    try:
        step = alone_steps(plan, states[0])
        needed = bytes_of_run(states[0], step)
        runs = min(len(plans), devices.memory_for(plan.device, processes) // needed, MOST_RUNS, open_folders_at_once())
        if runs < 2:
            raise DoesNotStack("there is memory for one at a time")
        refuse_difference(plans[:runs], states[:runs])
        in_turn, as_one = seconds_of(step), {}
        for number in devices.thread_counts(plan.run.settings.threads):
            torch.set_num_threads(number)
            as_one[number] = seconds_of(stacked_steps(plans[:runs], states[:runs])) / runs
    except DoesNotStack:
        raise
    except FAILURES as error:  # torch.func.vmap refuses the computation, or the model itself fails
        if is_out_of_memory(error):
            return StackSize(max(1, runs // 2), threads)
        if "called random operation" in str(error):
            raise DoesNotStack(
                "its code draws random numbers of torch; make_dropout() gives dropout that stacks"
            ) from error
        reason = " ".join(str(error).split())[:200]
        raise DoesNotStack(f"its computation cannot be stacked: {type(error).__name__}: {reason}") from error
    finally:
        torch.set_num_threads(threads)
    chosen = min(as_one, key=lambda number: as_one[number] * (1 if number == min(as_one) else CLEARLY))
    if as_one[chosen] > in_turn:
        alone, stacked = in_turn * 1000, as_one[chosen] * 1000
        raise DoesNotStack(f"a step takes {alone:.3g} ms alone, and {stacked:.3g} ms in a stack")
    return StackSize(runs, chosen)


def bytes_of_parameters(state: TrainState) -> int:
    """The bytes that a run takes in a stack for its parameters and for everything of their size."""
    return COPIES * sum(parameter.nbytes for parameter in state.model.parameters())


def bytes_of_run(state: TrainState, step: Callable[[], object]) -> int:
    """The bytes that a run takes in a stack: its parameters, and what a step keeps for the backward pass."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        step()
    return bytes_of_parameters(state) + 2 * kept  # twice, for their gradients


def open_folders_at_once() -> int:
    """How many run folders this process can write at the same time: each holds a lock file open."""
    try:
        import resource
    except ImportError:  # Windows
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft // 2)


def alone_steps(plan: Plan, state: TrainState) -> Callable[[], object]:
    """A function that takes a step of a copy of one run."""
    state = deepcopy(state)
    state = replace(state, forward=state.model)
    batches = plan.batches(state.step)
    return lambda: loop.train_step(state, plan, *next(batches))


def stacked_steps(plans: Sequence[Plan], states: Sequence[TrainState]) -> Callable[[], object]:
    """A function that takes a step of a copy of several runs."""
    stack = StackedRuns(plans, states)
    batches = stack.batches.training(plans[0], stack.step_number)
    return lambda: stack.step(*next(batches))


def seconds_of(step: Callable[[], object]) -> float:
    """The seconds of the fastest of a few steps, after one to warm up."""
    step()
    devices.synchronize()
    seconds = []
    for _ in range(TRIAL_STEPS):
        started = time.perf_counter()
        step()
        devices.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)

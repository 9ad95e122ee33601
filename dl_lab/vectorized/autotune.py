"""How many runs to train as one stack, if any: by the memory there is, and by what is fastest when it is tried."""

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor

from dl_lab.core import devices
from dl_lab.core.errors import is_out_of_memory
from dl_lab.data.batching import training_batches
from dl_lab.data.dataset import Data
from dl_lab.training import loop
from dl_lab.training.state import Plan, TrainState
from dl_lab.vectorized.engine import StackedRuns
from dl_lab.vectorized.loop import DoesNotStack

TRIED_STEPS = 3  # of which the fastest counts
CLEARLY = 1.3  # times as fast that more threads must be: on a machine with other work they wait for each other
MOST_RUNS = 256  # of a stack; more are no faster
COPIES = 12  # of its parameters that a run has: weights, gradients, two moments, a model of its own with the same, best


def has_room_for_one_more(loaded: Sequence[Data], device: torch.device, sharing: int) -> bool:
    """Whether the data of one more seed fit beside those that are loaded, and a table of all of them for a stack."""
    splits = [split for split in (loaded[0].train, loaded[0].validation, loaded[0].test) if split is not None]
    size = sum(tensor.nbytes for split in splits for tensor in vars(split).values() if isinstance(tensor, Tensor))
    return (len(loaded) + 2) * size <= devices.memory_for(device, sharing)


def fastest(plans: Sequence[Plan], states: Sequence[TrainState], sharing: int) -> int:
    """How many of these runs, which are alike, to train at once, and with how many threads: the fastest of what was
    tried for a few steps, on copies. Sets the threads.

    Raises:
        DoesNotStack: if they are no slower one after the other, or torch cannot map over their computation.
    """
    plan, threads, at_once = plans[0], torch.get_num_threads(), len(plans)
    if len(plans) < 2:
        raise DoesNotStack("no other run is like it")
    try:
        step = alone_steps(plan, states[0])
        needs = bytes_of_run(states[0], step)
        at_once = min(len(plans), devices.memory_for(plan.device, sharing) // needs, MOST_RUNS, records_at_once())
        if at_once < 2:
            raise DoesNotStack("there is memory for one at a time")
        in_turn, as_one = seconds_of(step), {}
        for number in devices.thread_counts(plan.run.settings.threads):
            torch.set_num_threads(number)
            as_one[number] = seconds_of(stacked_steps(plans[:at_once], states[:at_once])) / at_once
    except DoesNotStack:
        raise
    except Exception as error:  # what torch.func.vmap refuses, and what the model itself does
        if is_out_of_memory(error):
            return max(1, at_once // 2)
        reason = " ".join(str(error).split())[:200]
        raise DoesNotStack(f"its computation cannot be stacked: {type(error).__name__}: {reason}") from error
    finally:
        torch.set_num_threads(threads)
    chosen = min(as_one, key=lambda number: as_one[number] * (1 if number == min(as_one) else CLEARLY))
    if as_one[chosen] > in_turn:
        alone, stacked = in_turn * 1000, as_one[chosen] * 1000
        raise DoesNotStack(f"a step of one takes {alone:.3g} ms, and {stacked:.3g} ms in a stack")
    torch.set_num_threads(chosen)
    return at_once


def bytes_of_parameters(state: TrainState) -> int:
    """Of memory, that the parameters of a run take in a stack, with all that there is of their size."""
    return COPIES * sum(parameter.nbytes for parameter in state.model.parameters())


def bytes_of_run(state: TrainState, step: Callable[[], object]) -> int:
    """Of memory, that a run takes in a stack: copies of its parameters, and what a step keeps for its backward pass."""
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        step()
    return bytes_of_parameters(state) + 2 * kept  # and their gradients


def records_at_once() -> int:
    """How many run folders this process may write side by side: each holds a lock."""
    try:
        import resource
    except ImportError:  # Windows
        return 256
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft // 2)


def alone_steps(plan: Plan, state: TrainState) -> Callable[[], object]:
    """Steps of a copy of one run."""
    state = deepcopy(state)
    state = replace(state, forward=state.model)
    batches = training_batches(plan.data.train, plan.seed, plan.batch_size, plan.device, state.step)
    return lambda: loop.train_step(state, plan, *next(batches))


def stacked_steps(plans: Sequence[Plan], states: Sequence[TrainState]) -> Callable[[], object]:
    """Steps of a copy of several runs."""
    stack = StackedRuns(plans, states)
    batches = stack.feed.training(plans[0].batch_size, stack.step_number)
    return lambda: stack.step(*next(batches))


def seconds_of(step: Callable[[], object]) -> float:
    """Of the fastest of a few steps, after one that does not count."""
    seconds = []
    for _ in range(TRIED_STEPS + 1):
        started = time.perf_counter()
        step()
        devices.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(islice(seconds, 1, None))

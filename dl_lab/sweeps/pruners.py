"""Which runs of a sweep are hopeless, from the validations of all so far."""

from collections.abc import Mapping
from statistics import median

from dl_lab.sweeps.config import GridConfig

Losses = Mapping[int, Mapping[int, float]]  # by run, by step; lower is better


def hopeless(asked: GridConfig, losses: Losses, run: int, step: int) -> bool:
    """Whether `run`, validated at `step`, should go no further, by the rule that was asked for."""
    if asked.prune == "median":
        others = {number: seen for number, seen in losses.items() if number != run}
        return step >= asked.prune_after and below_median(losses[run], others, step, asked.prune_least)
    return asked.prune == "asha" and outranked(losses, run, step, asked.prune_after, asked.prune_factor)


def below_median(own: Mapping[int, float], others: Losses, step: int, least: int) -> bool:
    """Whether the best loss so far is above the median of the others' mean losses up to `step` (Golovin et al. 2017,
    section 3.2.1); of those that have got as far, of which there must be `least`.
    """
    means = []
    for seen in others.values():
        until = [value for at, value in seen.items() if at <= step]
        if max(seen) >= step and until:
            means.append(sum(until) / len(until))
    return len(means) >= least and min(value for at, value in own.items() if at <= step) > median(means)


def outranked(losses: Losses, run: int, step: int, first: int, factor: int) -> bool:
    """Whether the run, come to a rung, is not among the best of those that have (ASHA, Li et al. 2018,
    arXiv:1810.05934, algorithm 2). Rungs are at `first` steps, `factor` times as many, and so on; at each, one in
    `factor` goes on, and a run is judged by its first validation there.
    """
    rung = first
    while rung * factor <= step:
        rung *= factor
    own = loss_at(losses[run], rung)
    earlier = [at for at in losses[run] if rung <= at < step]
    if step < rung or earlier or own is None:
        return False  # between rungs
    reached = sorted(loss for seen in losses.values() if (loss := loss_at(seen, rung)) is not None)
    return own > reached[max(1, len(reached) // factor) - 1]


def loss_at(seen: Mapping[int, float], rung: int) -> float | None:
    """The loss of the first validation at the rung or behind it; None for a run that has not come so far."""
    step = min((at for at in seen if at >= rung), default=None)
    return None if step is None else seen[step]

"""Pruners: which runs of a sweep to end early, judged by the validations of all its runs. Imports no torch."""

from collections.abc import Mapping
from statistics import median

from dl_lab.config.schema import GridConfig
from dl_lab.data.spec import higher_is_better
from dl_lab.sweeps.manifest import Manifest

Losses = Mapping[int, Mapping[int, float]]  # by run, then by step; lower is better


class PruningHistory:
    """The losses of all validations of a sweep. Those of an earlier command are read from the run folders."""

    def __init__(self, settings: GridConfig, manifest: Manifest):
        self._settings = settings
        self._manifest = manifest
        self._losses: dict[int, dict[int, float]] = {}
        if settings.prune != "none" and manifest.objective is not None:
            from dl_lab.runs.reader import read_curve

            for entry in manifest.jobs:
                if seen := read_curve(manifest.folder / entry.folder, manifest.objective):
                    self._losses[entry.number] = {step: self._loss(value) for step, value in seen.items()}

    def _loss(self, value: float) -> float:
        return -value if higher_is_better(str(self._manifest.objective)) else value

    def add(self, run: int, step: int, metrics: Mapping[str, float]) -> None:
        """Add a validation. A run that continues from an earlier step measures the same values again."""
        value = metrics[str(self._manifest.objective).removeprefix("val/")]
        self._losses.setdefault(run, {})[step] = self._loss(value)

    def is_hopeless(self, run: int, step: int) -> bool:
        """Return whether to end a run after its validation at `step`."""
        return hopeless(self._settings, self._losses, run, step)


def hopeless(settings: GridConfig, losses: Losses, run: int, step: int) -> bool:
    """Return whether the pruner of the settings ends `run` after its validation at `step`."""
    if settings.prune == "median":
        others = {number: seen for number, seen in losses.items() if number != run}
        return step >= settings.prune_after and below_median(losses[run], others, step, settings.prune_least)
    return settings.prune == "asha" and outranked(losses, run, step, settings.prune_after, settings.prune_factor)


def below_median(own: Mapping[int, float], others: Losses, step: int, least: int) -> bool:
    """Return whether the best loss until `step` is above the median of the mean losses of the other runs until `step`
    (Golovin et al. 2017, section 3.2.1). Only runs that reached `step` count; there must be at least `least` of them.
    """
    means = []
    for seen in others.values():
        until = [value for at, value in seen.items() if at <= step]
        if max(seen) >= step and until:
            means.append(sum(until) / len(until))
    return len(means) >= least and min(value for at, value in own.items() if at <= step) > median(means)


def outranked(losses: Losses, run: int, step: int, first: int, factor: int) -> bool:
    """Return whether a run that has just reached a rung is not among the best 1 / `factor` of the runs that reached it
    (ASHA, Li et al. 2018, arXiv:1810.05934, algorithm 2). The rungs are at `first`, `first` * `factor`,
    `first` * `factor`^2, ... steps. A run is judged once per rung, by its first validation at or after the rung.
    """
    rung = first
    while rung * factor <= step:
        rung *= factor
    own = loss_at(losses[run], rung)
    judged = any(rung <= at < step for at in losses[run])
    if step < rung or judged or own is None:
        return False
    reached = sorted(loss for seen in losses.values() if (loss := loss_at(seen, rung)) is not None)
    return own > reached[max(1, len(reached) // factor) - 1]


def loss_at(seen: Mapping[int, float], rung: int) -> float | None:
    """Return the loss of the first validation at or after the rung; None if there is none yet."""
    step = min((at for at in seen if at >= rung), default=None)
    return None if step is None else seen[step]

"""The claims in the YAML of experiments, checked from the run folders alone."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from dl_lab.core.errors import ConfigError, unknown, unknown_key
from dl_lab.runs.reader import NUMBERS, PARTS, Run
from experiments.support.findings import Finding, spread


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement about the runs of an experiment.

    `metric` (see Run.metric) is read from the runs whose configuration has the values of `of`. With `minus`, it is the
    difference from the runs with those values, paired by seed. The mean over seeds must be within `within` of
    `published`, at least `at_least` and at most `at_most`; with `in_seeds`, that many single seeds must be.
    """

    statement: str
    source: str
    metric: str
    of: Mapping[str, Any] = field(default_factory=dict)
    minus: Mapping[str, Any] | None = None
    published: float | None = None
    within: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    in_seeds: int | None = None

    def bounds(self) -> tuple[float, float]:
        low, high = self.at_least, self.at_most
        if self.published is not None and self.within is not None:
            low, high = self.published - self.within, self.published + self.within
        assert low is not None or high is not None, f"{self.statement}: neither published and within, nor a bound"
        return -float("inf") if low is None else low, float("inf") if high is None else high

    def expected(self) -> str:
        """The published value and the bounds in words."""
        words = {"{:g}": self.published, "± {:g}": self.within}
        words |= {"at least {:g}": self.at_least, "at most {:g}": self.at_most, "in at least {} seeds": self.in_seeds}
        return f"{self.metric}: " + " ".join(form.format(value) for form, value in words.items() if value is not None)

    def values(self, runs: Sequence[Run]) -> list[float]:
        """The metric of each matching run, or the difference for each seed."""
        chosen = {run.seed: run.metric(self.metric) for run in runs if run.matches(self.of)}
        if self.minus is None:
            return list(chosen.values())
        others = {run.seed: run.metric(self.metric) for run in runs if run.matches(self.minus)}
        assert chosen.keys() == others.keys(), f"{self.statement}: seeds {sorted(chosen)} and {sorted(others)}"
        return [chosen[seed] - others[seed] for seed in sorted(chosen)]

    def check(self, runs: Sequence[Run]) -> Finding:
        """Compare the runs with the bounds; without `in_seeds`, a run that did not end makes the claim fail."""
        values, (low, high) = self.values(runs), self.bounds()
        finite = [value for value in values if isfinite(value)]
        if self.in_seeds is not None:
            holding = sum(low <= value <= high for value in finite)
            holds = holding >= self.in_seeds
            measured = f"{holding} of {len(values)} seeds; {spread(finite) if finite else 'none ended'}"
        elif not values or len(finite) < len(values):
            holds, measured = False, f"{len(values) - len(finite)} of {len(values)} runs did not end"
        else:
            holds, measured = low <= statistics.fmean(finite) <= high, spread(finite)
        return Finding(self.statement, self.source, self.expected(), measured, holds)


@dataclass(frozen=True)
class Experiment:
    """The claims of conf/experiment/NAME.yaml; `takes` is the seconds of all its runs on two cores."""

    name: str
    takes: float
    seeds: int | None  # None: the sweep of the experiment sets them
    claims: list[Claim]


def read(path: Path) -> Experiment | None:
    """Read the claims of an experiment's YAML; None if there are none. Raises ConfigError for an unknown key or metric,
    and for seeds given twice.
    """
    content = yaml.safe_load(path.read_text())
    if not content.get("claim"):
        return None
    claim = content["claim"]
    known = [each.name for each in fields(Claim)]
    for shown in claim["shows"]:
        for key in shown:
            if key not in known:
                raise unknown_key(f"{path.stem}: claim", key, known)
        if shown["metric"].partition("/")[0] not in (*PARTS, "train", *NUMBERS):
            names = [*(f"{part}/NAME" for part in (*PARTS, "train")), *NUMBERS]
            raise unknown(f"{path.stem}: claim.metric", shown["metric"], names)
    swept = ((content.get("hydra") or {}).get("sweeper") or {}).get("params") or {}
    if "seed" in swept and "seeds" in claim:
        seeds = f"{path.stem}: claim.seeds={claim['seeds']}"
        raise ConfigError(f"{seeds} conflicts with hydra.sweeper.params.seed; hint: give one of them")
    seeds = None if "seed" in swept else int(claim.get("seeds", 1))
    return Experiment(path.stem, float(claim["takes"]), seeds, [Claim(**shown) for shown in claim["shows"]])

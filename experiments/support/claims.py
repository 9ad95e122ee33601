"""The claims that experiments carry in their YAML, checked from the run folders alone."""

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

    `metric` (as Run.metric has it) of the runs whose configuration has the values of `of`; with `minus`, its difference
    from the runs that have those, paired by seed. The mean over seeds lies within `within` of `published`, is at least
    `at_least`, at most `at_most`; with `in_seeds`, so many seeds hold each by itself, in place of the mean.
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
        """What was to come out, in words."""
        parts = [f"{self.published:g}" if self.published is not None else ""]
        parts += [f"± {self.within:g}" if self.within is not None else ""]
        parts += [f"at least {self.at_least:g}" if self.at_least is not None else ""]
        parts += [f"at most {self.at_most:g}" if self.at_most is not None else ""]
        parts += [f"in {self.in_seeds} seeds or more" if self.in_seeds is not None else ""]
        return f"{self.metric}: " + " ".join(part for part in parts if part)

    def values(self, runs: Sequence[Run]) -> list[float]:
        """One number a run that matches, or one a seed where there is a difference."""
        chosen = {run.seed: run.metric(self.metric) for run in runs if run.matches(self.of)}
        if self.minus is None:
            return list(chosen.values())
        others = {run.seed: run.metric(self.metric) for run in runs if run.matches(self.minus)}
        assert chosen.keys() == others.keys(), f"{self.statement}: seeds {sorted(chosen)} against {sorted(others)}"
        return [chosen[seed] - others[seed] for seed in sorted(chosen)]

    def check(self, runs: Sequence[Run]) -> Finding:
        """The verdict. Runs that did not come to an end make it fall."""
        values, (low, high) = self.values(runs), self.bounds()
        finite = [value for value in values if isfinite(value)]
        if self.in_seeds is not None:
            holding = sum(low <= value <= high for value in finite)
            measured = f"{holding} of {len(values)} seeds; {spread(finite) if finite else 'none ended'}"
            return Finding(self.statement, self.source, self.expected(), measured, holding >= self.in_seeds)
        if not values or len(finite) < len(values):
            measured = f"{len(values) - len(finite)} of {len(values)} runs did not end"
            return Finding(self.statement, self.source, self.expected(), measured, False)
        holds = low <= statistics.fmean(finite) <= high
        return Finding(self.statement, self.source, self.expected(), spread(finite), holds)


@dataclass(frozen=True)
class Experiment:
    """conf/experiment/NAME.yaml, read for what it claims; `takes` is seconds on two cores, all its runs together."""

    name: str
    takes: float
    seeds: int | None  # None: its own sweep names them
    claims: list[Claim]


def read(path: Path) -> Experiment | None:
    """The claims of an experiment's YAML; None if it makes none.

    Raises:
        ConfigError: for a key that a claim does not have.
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
        raise ConfigError(f"{path.stem}: claim.seeds={claim['seeds']} beside hydra.sweeper.params.seed; allowed: one")
    seeds = None if "seed" in swept else int(claim.get("seeds", 1))
    return Experiment(path.stem, float(claim["takes"]), seeds, [Claim(**shown) for shown in claim["shows"]])

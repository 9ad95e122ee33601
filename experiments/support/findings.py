"""What an experiment shows: findings for a table, and figures for TensorBoard."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dl_lab.cli.app import exits
from dl_lab.plotting.figures import Numbers, array
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.tensorboard import EventWriter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finding:
    """One row of the results: the claim, its source, the published and the measured value, and the verdict."""

    claim: str
    source: str
    published: str
    measured: str
    holds: bool

    @property
    def verdict(self) -> str:
        return "holds" if self.holds else "DOES NOT HOLD"

    def cells(self) -> list[str]:
        return [self.claim, self.source, self.published, self.measured, self.verdict]


class Report:
    """Collects the findings of one concept, from `source` unless they name their own, and writes its figures to a new
    folder under outputs/experiments/NAME.
    """

    def __init__(self, name: str, source: str):
        self.source = source
        self.findings: list[Finding] = []
        self.folder = Path(reserve_run_folder(f"outputs/experiments/{name}"))
        self._events = EventWriter(self.folder)

    def holds(self, claim: str, holds: bool, measured: str, published: str, source: str | None = None) -> None:
        """Add a finding whose verdict the caller has computed."""
        self.findings.append(Finding(claim, source or self.source, published, measured, bool(holds)))

    def equal(self, claim: str, measured: Numbers, reference: Numbers, within: float, against: str) -> None:
        """Every number is within `within` (absolute) of the reference, which `against` names, as in "scipy". A single
        number is the reference of all.
        """
        ours, theirs = array(measured), array(reference)
        assert theirs.ndim == 0 or ours.shape == theirs.shape, f"{claim}: shape {ours.shape}, reference {theirs.shape}"
        error = float(np.max(np.abs(ours - theirs), initial=0.0))
        self.holds(claim, error <= within, f"off by {error:.1e}", f"{against}, to {within:.0e}")

    def covers(self, claim: str, names: Iterable[str], known: Iterable[str]) -> None:
        """Every name is among the known ones."""
        missing = set(names) - set(known)
        self.holds(claim, not missing, f"missing: {missing or 'none'}", "all")

    def mean(
        self,
        claim: str,
        values: Sequence[float],
        published: str,
        at_least: float = -np.inf,
        at_most: float = np.inf,
        source: str | None = None,
    ) -> None:
        """The mean over seeds lies within the bounds."""
        self.holds(claim, at_least <= statistics.fmean(values) <= at_most, spread(values), published, source)

    def figure(self, tag: str, figure: "Figure", step: int = 0) -> None:
        """Write a figure to TensorBoard; a slider selects among the steps of one tag."""
        self._events.figure(tag, figure, step)

    def close(self) -> None:
        self._events.close()

    def finish(self) -> None:
        """Print the findings; exit with status 1 if one does not hold."""
        self.close()
        with exits():
            for finding in self.findings:
                print(f"{finding.verdict}: {finding.claim}\n    {finding.measured}   ({finding.published})")
            print(f"source   {self.source}\nfigures  tensorboard --logdir {self.folder}")
        if not all(finding.holds for finding in self.findings):
            raise SystemExit(1)


def spread(values: Sequence[float]) -> str:
    """Mean, standard deviation and number of seeds, with four significant digits, or seven if the seeds agree."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.4g}"
    deviation = statistics.stdev(values)
    digits = 4 if deviation > 1e-4 * abs(mean) else 7
    return f"{mean:.{digits}g} ± {deviation:.1g} ({len(values)} seeds)"

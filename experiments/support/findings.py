"""What a concept program shows: findings for a table, and figures for TensorBoard."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dl_lab.plotting.figures import Numbers, array
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.tensorboard import EventWriter

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Finding:
    """One row of the results: what is claimed and by whom, what was to come out, what came out."""

    claim: str
    source: str
    published: str
    measured: str
    holds: bool

    def cells(self) -> list[str]:
        return [self.claim, self.source, self.published, self.measured, "holds" if self.holds else "DOES NOT HOLD"]


class Report:
    """Collects the findings of the concept `name`, whose published source is `source`, and writes its figures to a
    new run under outputs/experiments/`name`.
    """

    def __init__(self, name: str, source: str):
        self.source = source
        self.findings: list[Finding] = []
        self.folder = Path(reserve_run_folder(f"outputs/experiments/{name}"))
        self._events = EventWriter(self.folder)

    def holds(self, claim: str, holds: bool, measured: str, published: str, source: str | None = None) -> None:
        """A finding that was decided elsewhere."""
        self.findings.append(Finding(claim, source or self.source, published, measured, bool(holds)))

    def equal(self, claim: str, measured: Numbers, reference: Numbers, within: float, against: str) -> None:
        """Every number within `within` (absolute) of the reference, which is what `against` says, as "scipy"."""
        ours, theirs = array(measured), array(reference)
        assert ours.shape == theirs.shape, f"{claim}: {ours.shape} against {theirs.shape}"
        error = float(np.max(np.abs(ours - theirs), initial=0.0))
        self.holds(claim, error <= within, f"off by {error:.1e}", f"{against}, to {within:.0e}")

    def covers(self, claim: str, names: Iterable[str], known: Iterable[str]) -> None:
        """Every one of the names is among those known."""
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
        """The mean over seeds lies between two bounds."""
        self.holds(claim, at_least <= statistics.fmean(values) <= at_most, spread(values), published, source)

    def figure(self, tag: str, figure: "Figure", step: int = 0) -> None:
        """A figure for TensorBoard; the slider shows those of one tag by their step."""
        self._events.figure(tag, figure, step)

    def close(self) -> None:
        self._events.close()

    def finish(self) -> None:
        """Print the findings; exit with 1 if one does not hold."""
        self.close()
        for finding in self.findings:
            verdict = "holds" if finding.holds else "DOES NOT HOLD"
            print(f"{verdict}: {finding.claim}\n    {finding.measured}   ({finding.published})")
        print(f"source {self.source}\nlook   tensorboard --logdir {self.folder}")
        if not all(finding.holds for finding in self.findings):
            raise SystemExit(1)


def spread(values: Sequence[float]) -> str:
    """Mean, standard deviation and number of seeds; four significant digits, or seven where the seeds agree so far."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.4g}"
    deviation = statistics.stdev(values)
    digits = 4 if deviation > 1e-4 * abs(mean) else 7
    return f"{mean:.{digits}g} ± {deviation:.1g} ({len(values)} seeds)"

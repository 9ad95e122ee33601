"""Does every concept show what is claimed of it?

    python -m experiments.reproduce [NAME ...] [--quick | --long] [--launcher NAME]

Runs concept programs (experiments/NAME.py) and trained experiments (conf/experiment/NAME.yaml, each of its seeds), and
writes a row for each claim to experiments/RESULTS.md. Without names: all that take under two minutes each, --quick
those under ten seconds, --long all. Seconds are given as they passed, and of the CPU; a launcher of Hydra's runs the
jobs of an experiment. A claim that does not hold is printed as such and makes the exit status 1.
"""

import argparse
import importlib
import importlib.util
import os
import pkgutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

import experiments
from dl_lab.config.compose import CONF
from dl_lab.runs.folders import reserve_run_folder
from experiments import checks
from experiments.support import claims
from experiments.support.findings import Finding, Report
from experiments.support.results_table import write_rows

QUICK, NORMAL = 10, 120  # seconds
LAUNCHER = "vectorized"
HEADER = ("concept", "claim", "source", "published", "measured", "verdict", "seconds", "command")


def programs() -> dict[str, float]:
    """Concept programs, by what they take in seconds: the modules that say so in TAKES."""
    found = {}
    for module in pkgutil.iter_modules(experiments.__path__):
        path = Path(experiments.__path__[0]) / f"{module.name}.py"
        if path.exists() and "\nTAKES = " in path.read_text():
            found[module.name] = float(importlib.import_module(f"experiments.{module.name}").TAKES)
    return found


def trained() -> dict[str, claims.Experiment]:
    """The experiments of conf/experiment that carry a claim."""
    found = (claims.read(path) for path in sorted((CONF / "experiment").glob("*.yaml")))
    return {experiment.name: experiment for experiment in found if experiment is not None}


def run_program(name: str) -> list[Finding]:
    """The findings of a concept program."""
    report: Report = importlib.import_module(f"experiments.{name}").main()
    report.close()
    return report.findings


def run_trained(experiment: claims.Experiment, launcher: str = LAUNCHER) -> list[Finding]:
    """Train an experiment with every seed, and check its claims and what experiments/checks/NAME.py adds."""
    folder = Path(reserve_run_folder(f"outputs/experiments/{experiment.name}")).absolute()
    line = [sys.executable, "-m", "dl_lab.train", "-m", f"experiment={experiment.name}", f"hydra.sweep.dir={folder}"]
    line.append(f"hydra/launcher={launcher}")
    if experiment.seeds is not None:
        line.append(f"seed=range({experiment.seeds})")
    with (folder / "log.txt").open("w") as log:
        status = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    runs = [
        claims.Run(path.parent) for path in sorted(folder.glob("*/summary.json"), key=lambda at: int(at.parent.name))
    ]
    complete = [run for run in runs if (run.folder / ".hydra").is_dir()]
    if not complete:
        reason = f"could not be run, exit status {status}: see {folder / 'log.txt'}"
        return [Finding("runs at all", experiment.name, "", reason, False)]
    findings = [claim.check(complete) for claim in experiment.claims]
    if importlib.util.find_spec(f"{checks.__name__}.{experiment.name}"):
        module = importlib.import_module(f"{checks.__name__}.{experiment.name}")
        report = Report(experiment.name, experiment.claims[0].source)
        module.check(complete, report)
        report.close()
        findings += report.findings
    return findings


def cpu_seconds() -> float:
    """Of all cores, by this process and those that it waited for."""
    return sum(os.times()[:4])


@dataclass(frozen=True)
class Job:
    """One thing to run for a concept; `takes` is in seconds, about."""

    concept: str
    takes: float
    work: Callable[[], list[Finding]]
    command: str

    def run(self) -> tuple[list[Finding], list[str]]:
        """The findings, and a row of the table for each."""
        started, before = time.perf_counter(), cpu_seconds()
        findings = self.work()
        taken = f"{time.perf_counter() - started:.0f} ({cpu_seconds() - before:.0f} CPU)"
        for finding in findings:
            verdict = "holds" if finding.holds else "DOES NOT HOLD"
            print(f"{verdict:<14}{self.concept:<24}{finding.claim}: {finding.measured}")
        print(f"{'':<14}{self.concept:<24}{taken} s", flush=True)
        tail = [taken, f"`{self.command}`"]
        return findings, [f"| {' | '.join([self.concept, *finding.cells(), *tail])} |" for finding in findings]


def jobs(launcher: str) -> list[Job]:
    """Every program and every trained experiment, sorted by name."""
    found = [
        Job(name, takes, partial(run_program, name), f"python -m experiments.{name}")
        for name, takes in programs().items()
    ]
    by = "" if launcher == LAUNCHER else f" --launcher {launcher}"
    found += [
        Job(
            name,
            experiment.takes,
            partial(run_trained, experiment, launcher),
            f"python -m experiments.reproduce {name}{by}",
        )
        for name, experiment in trained().items()
    ]
    return sorted(found, key=lambda job: job.concept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="those under ten seconds")
    length.add_argument("--long", action="store_true", help="also those over two minutes")
    parser.add_argument("--launcher", default=LAUNCHER, help=f"what runs an experiment's jobs, {LAUNCHER} by default")
    options = parser.parse_args()
    everything = jobs(options.launcher)
    known = {job.concept for job in everything}
    if unknown := sorted(set(options.names) - known):
        parser.error(f"{', '.join(unknown)} is not known; allowed: {', '.join(sorted(known))}")
    at_most = QUICK if options.quick else inf if options.long or options.names else NORMAL
    fallen = 0
    for job in everything:
        if job.takes < at_most and (not options.names or job.concept in options.names):
            findings, rows = job.run()
            fallen += sum(not finding.holds for finding in findings)
            write_rows("Concepts", HEADER, job.concept, job.command.partition(" --launcher")[0], rows)
    if fallen:
        raise SystemExit(f"{fallen} claims do not hold")


if __name__ == "__main__":
    main()

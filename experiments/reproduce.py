"""Check the claims of the experiments.

    python -m experiments.reproduce [NAME ...] [--quick | --long] [--launcher NAME] [--update]

Runs concept programs (experiments/NAME.py) and trained experiments (conf/experiment/NAME.yaml, with all their seeds),
and writes a row for each claim to outputs/experiments/RESULTS.md, or with --update to experiments/RESULTS.md, which
git tracks. Without names it runs everything under two minutes; --quick runs everything under ten seconds, --long
everything. Rows give the seconds that passed and the CPU seconds. The exit status is 1 if a claim does not hold.
"""

import argparse
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path

from dl_lab.cli.app import exits
from dl_lab.config.compose import CONF
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.reader import read_strict
from experiments import checks
from experiments.support import claims
from experiments.support.command_line import add_update, parsed
from experiments.support.findings import Finding, Report
from experiments.support.results_table import write_rows

HERE = Path(__file__).parent
QUICK, NORMAL = 10, 120  # seconds
LAUNCHER = "vectorized"
HEADER = ("concept", "claim", "source", "published", "measured", "verdict", "seconds", "command")


def programs() -> dict[str, float]:
    """The seconds that each concept program takes, by name: the modules with TAKES."""
    found = {path.stem: re.search(r"^TAKES = (\d+)", path.read_text(), re.MULTILINE) for path in HERE.glob("*.py")}
    return {name: float(takes[1]) for name, takes in found.items() if takes is not None}


def run_program(name: str) -> list[Finding]:
    """Run a concept program; returns its findings."""
    report: Report = importlib.import_module(f"experiments.{name}").main()
    report.close()
    return report.findings


def run_trained(experiment: claims.Experiment, launcher: str = LAUNCHER) -> list[Finding]:
    """Train an experiment with every seed, check its claims, and run experiments/checks/NAME.py."""
    folder = Path(reserve_run_folder(f"outputs/experiments/{experiment.name}")).absolute()
    line = [sys.executable, "-m", "dl_lab.train", "-m", f"experiment={experiment.name}", f"hydra.sweep.dir={folder}"]
    line.append(f"hydra/launcher={launcher}")
    if experiment.seeds is not None:
        line.append(f"seed=range({experiment.seeds})")
    with (folder / "log.txt").open("w") as log:
        status = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    folders = sorted((path.parent for path in folder.glob("*/summary.json")), key=lambda path: int(path.name))
    complete = [read_strict(path) for path in folders if (path / ".hydra").is_dir()]
    if not complete:
        reason = f"no run was completed, exit status {status}; see {folder / 'log.txt'}"
        return [Finding("the experiment runs", experiment.name, "", reason, False)]
    findings = [claim.check(complete) for claim in experiment.claims]
    if importlib.util.find_spec(f"{checks.__name__}.{experiment.name}"):
        module = importlib.import_module(f"{checks.__name__}.{experiment.name}")
        report = Report(experiment.name, experiment.claims[0].source)
        module.check(complete, report)
        report.close()
        findings += report.findings
    return findings


def cpu_seconds() -> float:
    """CPU seconds of this process and of the processes it has waited for."""
    return sum(os.times()[:4])


@dataclass(frozen=True)
class Job:
    """One command for a concept; `takes` is an estimate in seconds."""

    concept: str
    takes: float
    work: Callable[[], list[Finding]]
    command: str

    def run(self) -> tuple[list[Finding], list[str]]:
        """Run the command; returns the findings and a row of the table for each."""
        started, before = time.perf_counter(), cpu_seconds()
        findings = self.work()
        taken = f"{time.perf_counter() - started:.0f} ({cpu_seconds() - before:.0f} CPU)"
        for finding in findings:
            print(f"{finding.verdict:<14}{self.concept:<24}{finding.claim}: {finding.measured}")
        print(f"{'':<14}{self.concept:<24}{taken} s", flush=True)
        tail = [taken, f"`{self.command}`"]
        return findings, [f"| {' | '.join([self.concept, *finding.cells(), *tail])} |" for finding in findings]


def jobs(launcher: str) -> list[Job]:
    """A job for every program and every trained experiment, sorted by name."""
    found = [
        Job(name, takes, partial(run_program, name), f"python -m experiments.{name}")
        for name, takes in programs().items()
    ]
    suffix = "" if launcher == LAUNCHER else f" --launcher {launcher}"
    for path in (CONF / "experiment").glob("*.yaml"):
        if experiment := claims.read(path):
            command = f"python -m experiments.reproduce {path.stem}{suffix}"
            found.append(Job(path.stem, experiment.takes, partial(run_trained, experiment, launcher), command))
    return sorted(found, key=lambda job: job.concept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="run everything under ten seconds")
    length.add_argument("--long", action="store_true", help="run everything, including what takes over two minutes")
    parser.add_argument("--launcher", default=LAUNCHER, help=f"hydra/launcher of the runs (default: {LAUNCHER})")
    add_update(parser)
    options = parsed(parser)
    everything = jobs(options.launcher)
    known = {job.concept for job in everything}
    if unknown := sorted(set(options.names) - known):
        parser.error(f"NAME={unknown[0]} is not known; allowed: {', '.join(sorted(known))}")
    at_most = QUICK if options.quick else inf if options.long or options.names else NORMAL
    failed = 0
    with exits():
        for job in everything:
            if job.takes < at_most and (not options.names or job.concept in options.names):
                findings, rows = job.run()
                failed += sum(not finding.holds for finding in findings)
                command = job.command.partition(" --launcher")[0]
                write_rows(options.results_path, "Concepts", HEADER, job.concept, command, rows)
    if failed:
        raise SystemExit(f"{failed} claims do not hold")


if __name__ == "__main__":
    main()

"""Measure ratios of dl_lab to a baseline, and write them to a file of results and TensorBoard."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from dl_lab.cli.app import exits
from dl_lab.plotting.bars import ratio_bars
from dl_lab.runs.tensorboard import EventWriter
from experiments.support.command_line import add_update, parsed
from experiments.support.results_table import write_section


class BaselineMissing(Exception):
    """The baseline of a row cannot run on this machine."""


@dataclass(frozen=True)
class Row:
    """What is measured, its bound and aim as ratios, and a function that measures one pair (dl_lab, baseline)."""

    what: str
    bound: float
    aim: float
    pair: Callable[[], tuple[float, float]]

    def cells(self, ratios: list[float]) -> list[str]:
        """The cells of the table after `what`, `bound` and `aim`: median, least to most, verdict."""
        median = statistics.median(ratios)
        verdict = "aim" if median <= self.aim else "holds" if median <= self.bound else "does not hold"
        return [f"{median:.3g}", f"{min(ratios):.3g} to {max(ratios):.3g}", verdict]


def command(*arguments: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a Python process that runs in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        line, null = [sys.executable, *arguments], subprocess.DEVNULL
        start = time.perf_counter()
        process = subprocess.Popen(line, cwd=folder, stdout=null, stderr=null, env=environment)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0  # set here, because os.wait4 has already waited for the process
        return time.perf_counter() - start, usage.ru_maxrss / 1024


def lightning(argument: str) -> float:
    """Seconds of the same training in PyTorch Lightning; raises BaselineMissing if it is not installed."""
    if find_spec("lightning") is None:
        raise BaselineMissing("PyTorch Lightning is not installed")
    return command(str(Path(__file__).with_name("lightning_baseline.py")), argument)[0]


def parse_arguments(description: str | None, rows: Iterable[str], pairs: int, *folders: str) -> argparse.Namespace:
    """Parse the command line of a benchmark: rows, number of pairs, file of results, optional folders."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="; ".join(rows))
    parser.add_argument("--pairs", type=int, default=pairs)
    for folder in folders:
        parser.add_argument(f"--{folder}", type=Path, metavar="FOLDER")
    add_update(parser)
    options = parsed(parser)
    if unknown := sorted(set(options.rows) - set(rows)):
        parser.error(f"ROW={unknown[0]} is not known; allowed: {', '.join(rows)}")
    return options


@exits()
def show_table(section: str, command: str, known: dict[str, Row], options: argparse.Namespace) -> None:
    """Print the ratios of the chosen rows, or of all rows and write them to the file of results and TensorBoard."""
    chosen, pairs = options.rows, options.pairs
    lines = ["| what | bound | aim | median | least to most | verdict |", "|---|---|---|---|---|---|"]
    measured: dict[str, list[float]] = {}
    for name in chosen or known:
        row = known[name]
        try:
            measured[name] = [ours / theirs for ours, theirs in (row.pair() for _ in range(pairs))]
            cells = row.cells(measured[name])
        except BaselineMissing as reason:
            cells = ["", "", str(reason)]
        lines.append(f"| {' | '.join([row.what, f'{row.bound:.3g}', f'{row.aim:.3g}', *cells])} |")
        print(lines[-1], flush=True)
    if chosen:
        return
    head = f"Ratios of dl_lab to the baseline, {pairs} pairs, {os.cpu_count()} cores, torch {torch.__version__}."
    write_section(options.results_path, section, "\n".join([f"{head} `{command}`", "", *lines]))
    if measured:
        events = EventWriter(Path(f"outputs/experiments/{section.lower()}"))
        names, bounds = [known[name].what for name in measured], [known[name].bound for name in measured]
        events.figure("speed", ratio_bars(names, list(measured.values()), bounds), 0)
        events.close()

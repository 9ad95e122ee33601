"""Seconds and memory of making a table ready to train, against reading it with polars alone."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from dl_lab.config.compose import compose
from dl_lab.config.parse import parse
from dl_lab.training.setup import build_data

ROWS, COLUMNS = 200_000, 31
BUILD = """
import torch, polars
from dl_lab.config.compose import compose
from dl_lab.config.parse import parse
from dl_lab.training.setup import build_data
run = parse(compose("dataset=table", "dataset.path={path}", "dataset.targets=[y]"))
"""


@contextmanager
def numbers() -> Iterator[Path]:
    """A csv file of 57 MB: 30 features and the target y."""
    import polars as pl

    values = np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    names = [*(f"x{column}" for column in range(COLUMNS - 1)), "y"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "numbers.csv"
        pl.DataFrame(values, schema=names).write_csv(path, float_precision=6)
        yield path


def seconds() -> tuple[float, float]:
    """Seconds until the splits are ready, and of polars.read_csv."""
    import polars as pl

    with numbers() as path, redirect_stdout(StringIO()):
        run = parse(compose("dataset=table", f"dataset.path={path}", "dataset.targets=[y]"))
        build_data(run)  # warm up both
        pl.read_csv(path)
        start = time.perf_counter()
        pl.read_csv(path)
        theirs = time.perf_counter() - start
        start = time.perf_counter()
        build_data(run)
        return time.perf_counter() - start, theirs


def megabytes() -> tuple[float, float]:
    """Peak memory until the splits are ready, beyond that of the imports, and the size of the file."""
    with numbers() as path:
        before, after = (_peak(BUILD.format(path=path) + code) for code in ("", "build_data(run)\n"))
        return after - before, path.stat().st_size / 2**20


def _peak(code: str) -> float:
    """Peak megabytes of a process, as Linux counts them: ru_maxrss begins with those of the process that starts it."""
    code += 'print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")][0])'
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(printed.split()[-1]) / 1024

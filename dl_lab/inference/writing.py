"""Write a table in parts, to a csv, tsv, parquet or jsonl file."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import polars as pl

from dl_lab.core.atomic_io import atomic_write
from dl_lab.core.errors import ConfigError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDS = (*SEPARATORS, ".parquet", ".jsonl", ".ndjson")
CELLS = 2**22  # in a row group of a parquet file

Write = Callable[[pl.DataFrame], None]


FIRST = ("row", "file", "line")  # the first column of predictions is one of these


def _check_place(out: Path) -> None:
    """Raises: ConfigError if `out` is a folder, or in one that does not exist."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        what = "is a folder" if out.is_dir() else "is in a folder that does not exist"
        raise ConfigError(f"out={out} {what}; allowed: a file in an existing folder")


def check_out(out: Path, path: Path, replaces: bool) -> None:
    """Raises: ConfigError if predictions cannot be written to `out`, if it is the input `path`, or, unless `replaces`,
    if it exists and has no predictions.
    """
    if out.suffix.lower() not in ENDS:
        raise ConfigError(f"out={out} is not a known kind of file; allowed: a name that ends in {', '.join(ENDS)}")
    _check_place(out)
    if out.exists() and path.exists() and out.samefile(path):
        raise ConfigError(f"out={out} is also path={path}; allowed: another file")
    if out.exists() and not replaces:
        start = out.read_bytes()[:1000].decode(errors="replace").splitlines()
        names, cells = (line.split(",") for line in [*start, "", ""][:2])
        if names[0] not in FIRST or len(names) < 2 or (names[0] != "file" and not cells[0].isdigit()):
            raise ConfigError(
                f"{out} exists, and seems to have no predictions; allowed: a new file; hint: out={out} replaces it, "
                "out=FILE writes another one"
            )


def check_metrics_file(out: Path, replaces: bool) -> None:
    """Raises: ConfigError if metrics cannot be written to `out`, or, unless `replaces`, if it has something else."""
    _check_place(out)
    if out.exists() and not replaces:
        with suppress(ValueError, OSError, TypeError):
            replaces = "loss" in json.loads(out.read_text(encoding="utf-8"))
        if not replaces:
            raise ConfigError(f"{out} exists, and has no metrics; allowed: a new file; hint: out={out} replaces it")


def write_metrics(out: Path, metrics: Mapping[str, float]) -> None:
    """Write metrics as JSON; a number that is not finite is null."""
    values = {name: value if isfinite(value) else None for name, value in metrics.items()}
    with atomic_write(out) as file:
        file.write(f"{json.dumps(values, indent=2)}\n".encode())


@contextmanager
def writing(out: Path) -> Iterator[Write]:
    """A function that appends rows. The file `out` appears, or replaces an earlier one, at the end of the context."""
    if out.suffix.lower() == ".parquet":
        with _parquet(out) as write:
            yield write
        return
    with atomic_write(out) as file:
        yield _csv(file, SEPARATORS[out.suffix.lower()]) if out.suffix.lower() in SEPARATORS else _jsonl(file)


def _csv(file: BinaryIO, separator: str) -> Write:
    header = [True]

    def write(frame: pl.DataFrame) -> None:
        frame.write_csv(file, include_header=header.pop() if header else False, separator=separator)

    return write


def _jsonl(file: BinaryIO) -> Write:
    return lambda frame: frame.write_ndjson(file)


@contextmanager
def _parquet(out: Path) -> Iterator[Write]:
    """Write parquet in parts, which are joined as a stream, because polars cannot append to a parquet file."""
    held: list[pl.DataFrame] = []
    files: list[Path] = []
    with TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as folder:

        def save() -> None:
            files.append(Path(folder) / f"{len(files)}.parquet")
            pl.concat(held, how="vertical_relaxed").write_parquet(files[-1])
            held.clear()

        def write(frame: pl.DataFrame) -> None:
            held.append(frame)
            if sum(map(len, held)) * len(frame.columns) >= CELLS:
                save()

        yield write
        if held:
            save()
        whole = files[0]
        if len(files) > 1:
            whole = Path(folder) / "whole.parquet"
            pl.scan_parquet(files, glob=False).sink_parquet(whole)
        whole.replace(out)

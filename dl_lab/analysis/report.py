"""The report of a comparison: sentences and tables for the screen, compare.md, compare.csv and figures."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dl_lab.analysis.comparison import Comparison
from dl_lab.analysis.measured import compare_tables, divide
from dl_lab.analysis.sentences import left_out_lines, summary
from dl_lab.analysis.table import BRIEF, as_csv, markdown, note, rows
from dl_lab.core.atomic_io import files_of
from dl_lab.core.errors import ConfigError, counted, printable
from dl_lab.runs.finder import SWEEP, find
from dl_lab.runs.folders import reserve_run_folder
from dl_lab.runs.reader import Run, read_tolerant

MOST_ROWS = 20  # of a table on the screen


def write_report(folders: Sequence[Path], metric: str | None, out: Path | None) -> str:
    """Compare all runs in `folders` and write the report to `out`. Returns the text for the screen.

    Raises:
        ConfigError: if there are no runs to compare, no run has the metric, or a file cannot be written.
    """
    runs, left_out = find(folders)
    if not runs:
        reasons = "".join(f"; {line}" for line in left_out_lines(left_out))
        raise ConfigError(f"no run is found{reasons}; hint: give folders of runs that dl_lab.train has written")
    comparisons, without, not_counted = compare_tables(runs, metric)
    head = [*_division(comparisons, runs, metric), *without, *left_out_lines(left_out | not_counted)]
    head = [*map(printable, head)]
    out = out or default_folder(folders)
    try:
        figures = write_files(comparisons, head, out)
    except OSError as error:
        if not error.filename:
            raise
        reason = f"{error.filename} cannot be written ({error.strerror})"
        raise ConfigError(f"{reason}; hint: choose another folder with out=FOLDER") from error
    where = [f"wrote  {out / 'compare.md'}, compare.csv, {figures} figures in compare/"]
    where.append(f"look   tensorboard --logdir {shlex.quote(str(out / 'compare'))}   (IMAGES, CUSTOM SCALARS)")
    if out in folders:
        where.append(f"       tensorboard --logdir {shlex.quote(str(out))}   (HPARAMS)")
    tables = [line for each in comparisons for line in _on_screen(each)]
    return "\n".join([*head, *[""] * bool(head), *tables, BRIEF, "", *map(printable, where)])


def _division(comparisons: Sequence[Comparison], runs: Sequence[Run], given: str | None) -> list[str]:
    """Why there are several tables."""
    if len(comparisons) < 2:
        return []
    lines = [f"{len(comparisons)} tables: runs that are measured differently are not ranked against each other"]
    metrics = {each.metric for each in comparisons}
    if given is None and len(metrics) == 1:
        (metric,) = metrics
        fewer = len(divide(runs, metric))
        if fewer < len(comparisons):
            name = metric.removeprefix("best/")
            lines.append(
                f"hint: metric={name} gives {counted(fewer, 'table')}, as what else differs does not change {name}"
            )
    return lines


def _on_screen(comparison: Comparison) -> list[str]:
    table = markdown(rows(comparison))
    more = [f"... {len(table) - MOST_ROWS - 2} more in compare.md"] if len(table) > MOST_ROWS + 2 else []
    return [*map(printable, summary(comparison)), "", *table[: MOST_ROWS + 2], *more, ""]


def write_files(comparisons: Sequence[Comparison], head: Sequence[str], out: Path) -> int:
    """Write compare.md, compare.csv and compare/ to `out`. Returns the number of figures."""
    from dl_lab.analysis import report_figures, report_files  # imports matplotlib

    several = len(comparisons) > 1
    lines = [f"# {head[0]}", "", *(f"- {line}" for line in head[1:]), ""] if several else [f"- {line}" for line in head]
    for each in comparisons:
        title, *rest = map(printable, summary(each))
        lines += [f"#{'#' * several} {title}", "", *(f"- {line}" for line in rest), "", *markdown(rows(each)), ""]
    text = "\n".join([*lines, note(comparisons)])
    with TemporaryDirectory() as made:
        folder = Path(made) / "compare"
        figures = report_figures.write(comparisons, text, folder, out.name)
        files = {f"compare/{name}": path.read_bytes() for name, path in files_of(folder).items()}
    links = "\n".join(f"![{path.stem.replace('_', ' ')}](compare/{path.name})" for path in figures)
    files |= {"compare.md": f"{text}\n{links}\n".encode(), "compare.csv": as_csv(comparisons).encode()}
    report_files.publish(files, out)
    return len(figures)


def default_folder(folders: Sequence[Path]) -> Path:
    """The only folder given, if it is not a run; otherwise a new one."""
    if len(folders) == 1 and ((folders[0] / SWEEP).exists() or isinstance(read_tolerant(folders[0]), str)):
        return folders[0]
    return Path(reserve_run_folder("outputs/comparisons"))

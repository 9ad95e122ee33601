"""The report of a comparison: sentences and tables for the screen, and files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from dl_lab.analysis.comparison import Comparison
from dl_lab.analysis.measured import compare_tables, divide
from dl_lab.analysis.report_files import new_folder, write_new
from dl_lab.analysis.sentences import left_out_lines, summary
from dl_lab.analysis.table import BRIEF, as_csv, fitting, markdown, note, rows
from dl_lab.core.atomic_io import files_of
from dl_lab.core.errors import ConfigError, counted, printable
from dl_lab.core.shell import word
from dl_lab.core.terminal import columns_of, labelled
from dl_lab.runs.finder import find
from dl_lab.runs.reader import Run

MOST_ROWS = 20  # of a table on the screen


def write_report(folders: Sequence[Path], metric: str | None, out: Path | None) -> tuple[str, Path]:
    """Compare all runs in `folders` and write the report to `out`, or to a new folder. Returns the text for the screen,
    and the folder.

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
    try:
        folder = new_folder(folders, out)
        write_new(contents(comparisons, head, folder), folder)
    except OSError as error:
        if not error.filename:
            raise
        reason = f"{error.filename} cannot be written ({error.strerror})"
        raise ConfigError(f"{reason}; hint: choose another folder with out=FOLDER") from error
    where = {
        "wrote": f"{folder / 'compare.html'} (open it in a browser), compare.md, compare.csv, figures/",
        "look": f"tensorboard --logdir {word(folder)}   (IMAGES, CUSTOM SCALARS)",
    }
    tables = [line for each in comparisons for line in _on_screen(each)]
    text = [*head, *[""] * bool(head), *tables, BRIEF, "", *labelled(where)]
    return "\n".join(text), folder


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
    found = rows(comparison)
    shown = fitting(found, columns_of(sys.stdout))
    table, left_out = markdown(shown), [name for name in found[0] if name not in shown[0]]
    more = [f"... {len(table) - MOST_ROWS - 2} more in compare.md"] if len(table) > MOST_ROWS + 2 else []
    more += [f"... the columns {', '.join(left_out)} do not fit, and are in compare.md"] if left_out else []
    return [*map(printable, summary(comparison)), "", *table[: MOST_ROWS + 2], *more, ""]


def contents(comparisons: Sequence[Comparison], head: Sequence[str], folder: Path) -> dict[str, bytes]:
    """The files of the report by name: compare.html, .md and .csv, figures/ and TensorBoard's events."""
    from dl_lab.analysis import page, report_figures  # import matplotlib

    several = len(comparisons) > 1
    lines = [f"# {head[0]}", "", *_bullets(head[1:])] if several else []
    for each in comparisons:
        title, *rest = map(printable, summary(each))
        rest = rest if several else [*rest, *head]
        lines += [f"#{'#' * several} {title}", "", *_bullets(rest), *markdown(rows(each)), ""]
    text = "\n".join([*lines, note(comparisons)])
    with TemporaryDirectory() as made:
        title = "/".join(folder.absolute().parts[-3:])  # sweep, compare, number
        figures = report_figures.write(comparisons, text, Path(made), title)
        files = {name: path.read_bytes() for name, path in files_of(Path(made)).items()}
    names = [path.name for paths in figures for path in paths]
    links = "\n".join(f"![{Path(name).stem.replace('_', ' ')}](figures/{name})" for name in names)
    pictures = [{path.stem.replace("_", " "): files[f"figures/{path.name}"] for path in paths} for paths in figures]
    texts = {"compare.html": page.page(comparisons, head, pictures, folder), "compare.md": f"{text}\n{links}\n"}
    texts["compare.csv"] = as_csv(comparisons)
    return {**files, **{name: content.encode() for name, content in texts.items()}}


def _bullets(lines: Sequence[str]) -> list[str]:
    return [*(f"- {line}" for line in lines), ""]

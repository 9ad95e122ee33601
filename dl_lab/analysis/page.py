"""compare.html: tables that a click sorts, curves, figures and configurations, in one page that loads nothing else."""

import json
import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dl_lab.analysis.comparison import Comparison
from dl_lab.analysis.report_figures import Curve, curve_names, curves_of
from dl_lab.analysis.sentences import counts, sentences, summary
from dl_lab.analysis.statistics import Interval
from dl_lab.analysis.table import DIFFERENCES, MEANS, note, rows
from dl_lab.core.errors import counted, printable
from dl_lab.core.formatting import format_value
from dl_lab.runs.reader import Run

TEMPLATE = Path(__file__).with_name("page.html")
MOST_POINTS = 400  # of a curve
WIDTH = 120  # of the drawing of an interval, in pixels

Pictures = Mapping[str, bytes]  # PNG files by name


def page(comparisons: Sequence[Comparison], head: Sequence[str], pictures: Sequence[Pictures], folder: Path) -> str:
    """The page, for a file in `folder`, from which its links lead to the runs."""
    title = head[0] if len(comparisons) > 1 else summary(comparisons[0])[0]
    body = [f"<h1>{_text(title)}</h1>", *_list(head[1:] if len(comparisons) > 1 else head)]
    if len(comparisons) > 1:
        links = (f'<li><a href="#{n}">{_text(each.name)}</a></li>' for n, each in enumerate(comparisons))
        body += ["<ul>", *links, "</ul>"]
    for number, (comparison, images) in enumerate(zip(comparisons, pictures, strict=True)):
        name, *lines = summary(comparison)
        body += [f'<h2 id="{number}">{_text(name)}</h2>'] * (len(comparisons) > 1)
        body += [*_list(lines), *_table(comparison), *_all_sentences(comparison, lines)]
        body += ["<h3>Curves</h3>", f'<div data-curves="{number}"></div>', "<h3>Figures</h3>", *_figures(images)]
        body += ["<h3>Configurations</h3>", *_configurations(comparison, folder)]
    body.append(f"<h2>Methods</h2><p>{_text(note(comparisons))}</p>")
    curves = json.dumps([_curves(each) for each in comparisons]).replace("<", "\\u003c")  # no end of the script
    parts = {"title": _text(title), "body": "\n".join(body), "curves": curves}
    return re.sub("<!-- (title|body|curves) -->", lambda found: parts[found[1]], TEMPLATE.read_text(encoding="utf-8"))


def _text(text: object) -> str:
    return escape(printable(" ".join(str(text).split())))


def _list(lines: Sequence[str]) -> list[str]:
    items = [f"<li{' class=warning' if line.startswith('warning') else ''}>{_text(line)}</li>" for line in lines]
    return ["<ul>", *items, "</ul>"] if items else []


def _table(comparison: Comparison) -> list[str]:
    """The table, with a drawing of each interval."""
    names, *found = rows(comparison)
    means = _drawings([(each.mean, each.interval) for each in comparison.configurations])
    differences = _drawings([(each.mean, each.interval) if each else None for each in comparison.verdicts])
    drawn = {MEANS: means, **dict.fromkeys(DIFFERENCES, differences)}
    lines = ['<div class="scroll"><table>', "<thead><tr>"]
    lines += [f'<th scope="col"><button>{_text(name) or "rank"}</button></th>' for name in names]
    lines.append("</tr></thead><tbody>")
    for row, cells in enumerate(found):
        line = ""
        for name, cell in zip(names, cells, strict=True):
            drawing = drawn[name][row] if name in drawn else ""
            line += f"<td{' class=words' if name == 'verdict' else ''}>{_text(cell)}{drawing}</td>"
        lines.append(f"<tr>{line}</tr>")
    return [*lines, "</tbody></table></div>"]


def _drawings(intervals: Sequence[tuple[float, Interval] | None]) -> list[str]:
    """Each mean with its interval as a line, all to the same scale, and a dashed line at 0; "" where it is unknown."""
    known = [each for each in intervals if each and isfinite(sum(each[1]))]
    ends = [end for _, interval in known for end in interval]
    low, high = min(ends, default=0.0), max(ends, default=0.0)

    def place(value: float) -> str:
        return f"{2 + (value - low) / (high - low or 1) * (WIDTH - 4):.1f}"

    drawn = []
    for each in intervals:
        if each not in known or each is None:
            drawn.append("")
            continue
        mean, (first, last) = each
        line = f'<line x1="{place(first)}" x2="{place(last)}" y1="4" y2="4"/><circle cx="{place(mean)}" cy="4" r="2"/>'
        zero = f'<line class="zero" x1="{place(0)}" x2="{place(0)}" y1="0" y2="8"/>' if low <= 0 <= high else ""
        drawn.append(f'<svg class="interval" width="{WIDTH}" height="8" aria-hidden="true">{line}{zero}</svg>')
    return drawn


def _all_sentences(comparison: Comparison, lines: Sequence[str]) -> list[str]:
    """The sentences that are not among the lines above the table."""
    further = [line for line in sentences(comparison) if line not in lines]
    return (
        [f"<details><summary>{counted(len(further), 'more sentence')}</summary>", *_list(further), "</details>"]
        if further
        else []
    )


def _figures(images: Pictures) -> list[str]:
    lines = ['<div class="figures">']
    for name, content in images.items():
        source = f"data:image/png;base64,{b64encode(content).decode()}"
        lines.append(f'<figure><img src="{source}" alt="{_text(name)}" loading="lazy"></figure>')
    return [*lines, "</div>"]


def _curves(comparison: Comparison) -> dict[str, list[dict[str, Any]]]:
    """The curves of the best configurations by metric, with at most MOST_POINTS points each."""
    found = {name: curves_of(comparison, name) for name in curve_names(comparison.metric)}
    return {
        name: [_points(label, curve) for label, curve in curves.items()] for name, curves in found.items() if curves
    }


def _points(label: str, curve: Curve) -> dict[str, Any]:
    places = np.unique(np.linspace(0, len(curve[0]) - 1, MOST_POINTS).round().astype(int))
    steps, *values = (side[places] for side in curve)
    rounded = [[float(f"{value:.6g}") for value in side] for side in values]
    return {
        "label": label,
        "steps": steps.astype(int).tolist(),
        **dict(zip(("mean", "low", "high"), rounded, strict=True)),
    }


def _configurations(comparison: Comparison, folder: Path) -> list[str]:
    """What all configurations share, and for each one its other values and its runs."""
    configurations = comparison.configurations
    first = configurations[0].values
    common = {key: first[key] for key in first if all(each.values.get(key) == first[key] for each in configurations)}
    lines = _details(f"{counted(len(common), 'value')} that all configurations share", [_values(common)])
    for rank, each in enumerate(configurations, 1):
        own = {key: value for key, value in each.values.items() if key not in common}
        runs = sorted(each.runs, key=lambda run: run.repetition)
        table = "".join(_run(run, comparison.metric, folder) for run in runs)
        header = f"<tr><th>seed</th><th>fold</th><th>status</th><th>{_text(comparison.metric)}</th><th>folder</th></tr>"
        status = f" ({counts(each.not_completed)})" if each.not_completed else ""
        title = f"{rank}. {comparison.label(each)}: {counted(len(each.runs), 'run')}{status}"
        lines += _details(title, [_values(own), f'<div class="scroll"><table>{header}{table}</table></div>'])
    return lines


def _details(title: str, content: Sequence[str]) -> list[str]:
    return [f"<details><summary>{_text(title)}</summary>", *content, "</details>"]


def _values(values: Mapping[str, Any]) -> str:
    return f"<p>{'<br>'.join(f'{_text(key)}={_text(value)}' for key, value in values.items())}</p>" if values else ""


def _run(run: Run, metric: str, folder: Path) -> str:
    (seed, fold), score = run.repetition, format_value(run.metric(metric))
    link = f'<a href="{quote(os.fsencode(_relative(run.folder, folder)))}">{_text(run.folder)}</a>'
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in (seed, fold, _text(run.status), score, link))}</tr>"


def _relative(target: Path, folder: Path) -> str:
    return Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix() + "/"

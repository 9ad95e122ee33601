"""Write a file of results, which has one section per kind of result."""

import re
from collections.abc import Sequence
from pathlib import Path

from dl_lab.core.progress import announce

PUBLISHED = Path(__file__).parents[1] / "RESULTS.md"  # tracked by git
OWN = Path("outputs/experiments/RESULTS.md")  # in the working directory


def write_section(path: Path, title: str, text: str) -> None:
    """Replace the text under the heading `title` of a file, or add the section, and say where it is."""
    before = path.read_text() if path.exists() else "# Results\n"
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(before):
        after = pattern.sub(lambda _: section + "\n", before)
    else:
        after = f"{before.rstrip()}\n\n{section}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(after.rstrip() + "\n")
    announce(f"results  {path}")


def write_rows(path: Path, title: str, header: Sequence[str], name: str, command: str, rows: Sequence[str]) -> None:
    """Replace the rows of the concept `name` (first column) that `command` (last column, with any launcher) wrote, and
    sort all rows.
    """
    before = path.read_text() if path.exists() else ""
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", before, re.MULTILINE | re.DOTALL)
    kept = [line for line in (section[1] if section else "").splitlines() if line.startswith("| ")][1:]
    replaced = re.compile(rf"\| {re.escape(name)} \|.*\| `{re.escape(command)}( --launcher \w+)?` \|")
    kept = [line for line in kept if not replaced.fullmatch(line)]
    body = sorted([*kept, *rows], key=lambda line: line.split(" | ")[0])
    write_section(path, title, "\n".join([f"| {' | '.join(header)} |", "|---" * len(header) + "|", *body]))

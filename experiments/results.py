"""experiments/RESULTS.md: one section an experiment that writes there, each replaced as a whole."""

import re
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")


def write_section(title: str, text: str) -> None:
    """Put `text` under the heading `title`, in place of what stood there."""
    before = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    section = f"## {title}\n\n{text.strip()}\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if pattern.search(before):
        after = pattern.sub(lambda _: section + "\n", before)
    else:
        after = f"{before.rstrip()}\n\n{section}"
    RESULTS.write_text(after.rstrip() + "\n")

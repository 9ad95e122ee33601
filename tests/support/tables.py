"""Tables for tests: the contents of CSV files, and columns written to one."""

from pathlib import Path

Columns = dict[str, list[str]]

ROWS = 20


PRICES = "".join(f"{row},{row * row / 4},{100 - row},{'cat' if row % 3 else 'dog'}\n" for row in range(ROWS))


TABLE = f"area,rooms,price,pet\n{PRICES}"


def written(path: Path, columns: Columns) -> Path:
    """Write columns, which need no quotes, to a CSV file."""
    path.write_text("\n".join(map(",".join, [columns, *zip(*columns.values(), strict=True)])) + "\n")
    return path

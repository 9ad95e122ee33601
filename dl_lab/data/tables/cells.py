"""The cells of CSV files: numbers, and marks of missing values."""

from math import inf

Lines = list[tuple[int, list[str]]]  # the number of a line, and its cells

MISSING = {  # what pandas reads as missing, and further marks of spreadsheets, UCI and SAS
    *("", "NA", "N/A", "NaN", "-NaN", "NULL", "None", "<NA>", "#N/A", "#NA", "NaT", "nan", "-nan", "n/a", "null"),
    *("na", "NAN", "Null", "-", "--", ".", "?"),
}


def parse_number(cell: str) -> float | int | None:
    """Parse a number as spreadsheets write it, exactly if it is whole; None for anything else, including 1_000."""
    try:
        value = float(cell) if cell.isascii() and "_" not in cell else None
    except ValueError:
        return None
    is_inexact = value is not None and 2**53 <= abs(value) < inf and cell.lstrip("+-").isdigit()
    return int(cell) if is_inexact else value

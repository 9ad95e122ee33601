"""Recognize CSV files that do not consist of a header line and comma-separated cells."""

from math import inf

from dl_lab.core.errors import ConfigError

Lines = list[tuple[int, list[str]]]  # the number of a line, and its cells

SEPARATORS = {";": "';'", "\t": "tabs", "|": "'|'", " ": "spaces"}
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


def check_layout(path: str, lines: Lines) -> None:
    """Check the separators, and the number of cells in each line.

    Raises:
        ConfigError: naming the line, with a hint at the likely cause.
    """
    number, header = lines[0]
    if header[0].startswith("sep="):
        raise ConfigError(
            f"dataset.path={path} line {number} names a separator; allowed: a header line; hint: remove it"
        )
    separator = _separator(lines)
    if separator and len(header) == 1 and not header[0].startswith("#"):
        raise ConfigError(
            f"dataset.path={path} line {number}: the cells seem to be separated by {separator}; allowed: commas, and "
            "points in decimal numbers; hint: save it as comma-separated values"
        )
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise ConfigError(
                f"dataset.path={path} line {number} has {len(cells)} cells; allowed: {len(header)}, as in the header"
                f"{_hint(lines, separator)}"
            )


def _separator(lines: Lines) -> str | None:
    """What seems to separate the cells instead of commas."""
    header, *rows = [",".join(cells) for _, cells in lines[:100]]
    for sign, name in SEPARATORS.items():
        if sign in header and (len(lines[0][1]) == 1 or {row.count(sign) for row in rows} == {header.count(sign)}):
            return name
    return None


def _hint(lines: Lines, separator: str | None) -> str:
    """The likely cause of lines that differ in their number of cells."""
    names, sizes = len(lines[0][1]), {len(cells) for _, cells in lines[1:]}
    if any(cells[0].startswith("#") for _, cells in lines):
        return "; hint: remove the lines that begin with #"
    if sizes == {names + 1}:
        at_end = not any(cells[-1] for _, cells in lines[1:])
        return f"; hint: {'remove the comma at the end of each line' if at_end else 'the header lacks a name'}"
    if sizes == {2 * names}:
        return "; hint: write decimal numbers with a point, such as 1.5"
    return f"; hint: the cells seem to be separated by {separator}" if separator else ""


def check_header(path: str, lines: Lines, features: list[str]) -> None:
    """Check that no two columns have one name, and that the first line is a header. It is a row if it has numbers above
    all columns of numbers, unless they are the names 0, 1, 2, ... of pandas or `features` are chosen, and certainly if
    one of its words is repeated below.

    Raises:
        ConfigError: naming the line.
    """
    (number, header), *rows = lines
    above = [name for name, cell in zip(header, rows[0][1], strict=True) if parse_number(cell) is not None]
    if above and all(name in MISSING or parse_number(name) is not None for name in above):
        counted = [name for name in header if parse_number(name) is not None]
        words = [place for place, name in enumerate(header) if name not in ("", *counted)]
        is_chosen = features or counted == [*map(str, range(len(counted)))]
        if not is_chosen or any(cells[place] == header[place] for place in words for _, cells in rows):
            raise ConfigError(
                f"dataset.path={path} line {number} has numbers ({', '.join(above[:3])}) instead of names; allowed: a "
                "header line; hint: add one, or if they are names, choose the features with dataset.features=[...]"
            )
    named = [name for name in header if name]
    if len(set(named)) < len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise ConfigError(
            f"dataset.path={path} line {number}: column {twice!r} appears twice; allowed: distinct names; hint: rename "
            "one of them"
        )

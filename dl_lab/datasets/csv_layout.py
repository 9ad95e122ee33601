"""Recognize CSV files that do not consist of a header line and comma-separated cells."""

from dl_lab.core.errors import ConfigError
from dl_lab.data.tables.cells import MISSING, Lines, parse_number
from dl_lab.datasets.csv_separator import layout

NAMES = {"\t": "tabs", " ": "spaces"}


def check_layout(path: str, text: str, lines: Lines, problem: str) -> None:
    """Check the separators, the place of the header, and the number of cells in each line. `problem` says where the
    csv module could not read on.

    Raises:
        ConfigError: naming the line, with a hint at the likely cause.
    """
    number, header = lines[0] if lines else (1, [""])
    if header[0].startswith("sep="):
        raise ConfigError(
            f"dataset.path={path} line {number} names a separator; allowed: a header line; hint: remove it"
        )
    ragged = [(number, len(cells)) for number, cells in lines if len(cells) != len(header)]
    if not header[0].startswith("#"):
        _check_beginning(path, text, number, is_even=not problem and not ragged and any(header[1:]))
    if problem:
        raise ConfigError(f"dataset.path={path} {problem}; allowed: a CSV file")
    if ragged:
        raise ConfigError(
            f"dataset.path={path} line {ragged[0][0]} has {ragged[0][1]} cells; allowed: {len(header)}, as in the "
            f"header{_hint(lines)}"
        )


def _check_beginning(path: str, text: str, number: int, is_even: bool) -> None:
    """Raises: ConfigError if commas do not separate the cells, or the header is not in line `number`."""
    sign, line = layout(text, is_even) or (",", number)
    if sign != ",":
        raise ConfigError(
            f"dataset.path={path} line {line}: the cells seem to be separated by {NAMES.get(sign, repr(sign))}; "
            "allowed: commas, and points in decimal numbers; hint: save it as comma-separated values"
        )
    if line > number:
        raise ConfigError(
            f"dataset.path={path} line {number} is not a header, line {line} seems to be; allowed: a header line and "
            f"rows; hint: remove what is above line {line}"
        )


def _hint(lines: Lines) -> str:
    """The likely cause of lines that differ in their number of cells."""
    names, sizes = len(lines[0][1]), {len(cells) for _, cells in lines[1:]}
    if any(cells[0].startswith("#") for _, cells in lines):
        return "; hint: remove the lines that begin with #"
    if sizes == {names + 1}:
        at_end = not any(cells[-1] for _, cells in lines[1:])
        return f"; hint: {'remove the comma at the end of each line' if at_end else 'the header lacks a name'}"
    if sizes == {2 * names}:
        return "; hint: write decimal numbers with a point, such as 1.5"
    return ""


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

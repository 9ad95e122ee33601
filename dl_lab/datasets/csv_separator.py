"""Find out how a text is divided into cells, if it is not the CSV file that is expected."""

import csv
import re
from collections import Counter
from io import StringIO

from dl_lab.data.tables.cells import Lines, parse_number

SAMPLE = 20_000  # characters at the beginning of a file
USUAL = ",;\t|:"  # preferred in this order to other signs that explain a text equally well; a space comes last
FORMATS = {  # by the beginning of a file, in lower case
    r"<!doctype html|<(html|head|body|table)\b": "an HTML page",
    r"<\?xml|<!doctype": "an XML file",
    r'\{\s*["}]|\[\s*[\[{]': "a JSON file",
    r"version https://git-lfs": "a Git LFS pointer, which stands for the file",
    r"(%[^\n]*\n\s*)*@relation": "an ARFF file",
    r"%pdf-": "a PDF file",
    r"\{\\rtf": "an RTF file",
    r"[^\n]*\0": "a binary file",
}


def other_format(text: str) -> str | None:
    """What a text seems to be, if it is known and no table."""
    start = text[:SAMPLE].lstrip().lower()
    return next((name for pattern, name in FORMATS.items() if re.match(pattern, start)), None)


def layout(text: str, is_even: bool) -> tuple[str, int] | None:
    """The sign that separates the cells, and the number of the header line, as the beginning of a text shows them: of
    all signs that divide nearly all lines into equally many cells, the one with the most numbers between them.

    If commas do so in all lines, which `is_even` says, other signs are common in cells: names have spaces, times
    colons.
    """
    sample = text if len(text) <= SAMPLE else text[:SAMPLE].rpartition("\n")[0]
    signs = {sign for sign in sample if (sign in ";\t|" if is_even else not sign.isalnum())}
    signs = {",", *signs}.difference("\"'.+-_\r\n\0")
    ranked = sorted(signs, key=lambda sign: (sign == " ", (USUAL + sign).index(sign), sign))
    divided = [(sign, lines) for sign in ranked if (lines := _divide(sample, sign))]
    tables = [(sign, table) for sign, lines in divided if (table := _table(lines, sign))]
    sign, (_, line) = max(tables, key=lambda found: found[1][0], default=("", (0.0, 0)))
    return (sign, line) if sign else None


def _divide(text: str, sign: str) -> Lines:
    if sign == " ":
        text = re.sub(r"^ +| +$|(?<= ) +", "", text, flags=re.MULTILINE)
    reader = csv.reader(StringIO(text, newline=""), delimiter=sign, skipinitialspace=sign != " ")
    return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if "".join(cells).strip()]


def _table(lines: Lines, sign: str) -> tuple[float, int] | None:
    """The fraction of numbers in the cells, and the number of the header line; None if the lines are no table."""

    def is_number(cell: str) -> bool:
        return parse_number(cell if sign == "," else cell.replace(",", ".")) is not None

    size = Counter(len(cells) for _, cells in lines).most_common(1)[0][0]
    first = next((place for place, (_, cells) in enumerate(lines) if len(cells) == size and any(cells[1:])), 0)
    header, *rows = lines[first:]
    even = [cells for _, cells in rows if len(cells) == size]
    has_names, is_first = not any(map(is_number, header[1])), len(lines[0][1]) > 1
    numbers = sum(is_number(cell) for cells in even for cell in cells)
    if size < 2 or not even or len(even) < 0.9 * len(rows) or not (is_first or (has_names and numbers)):
        return None
    return numbers / (size * len(even)), header[0] if has_names else lines[0][0]

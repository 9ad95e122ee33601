"""Find out which sign separates the cells of a text, and in which line a table begins."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from io import StringIO

from dl_lab.data.tables.cells import Lines, parse_number

SAMPLE = 20_000  # characters at the beginning of a file
csv.field_size_limit(2**31 - 1)  # of characters in a cell; Python's default is 128 kB
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


def find_quote(text: str) -> str:
    """The sign around cells: a single quote if there are no double ones, and all that begin a cell end it too."""
    begun = len(re.findall(r"(?m)(?:^|[,;\t| ])'", text))
    is_single = '"' not in text and 0 < begun == len(re.findall(r"(?m)(?:^|[,;\t| ])'[^'\n]*'(?=[,;\t| \r]|$)", text))
    return "'" if is_single else '"'


def find_table(text: str, header: bool, given: str, quote: str) -> tuple[str, int]:
    """The sign that separates the cells, and the place of the first line of the table among the lines of `divide`: of
    all signs that divide nearly all lines into equally many cells, the one with the most numbers between them.

    If commas do so in all lines, other signs are common in cells: names have spaces, times colons. `given` is the sign
    if it is known, or "auto".
    """
    if given != "auto":
        return given, (table_of(list(divide(text, given, quote)), given, header) or (0, 0))[1]
    commas = list(divide(text, ",", quote))
    is_even = len({len(cells) for _, cells in commas[:-1] or commas}) == 1 and any(commas[0][1][1:])
    signs = {sign for sign in text if (sign in ";\t|" if is_even else not sign.isalnum())}
    signs = {",", *signs}.difference("\"'.+-_\r\n\0")
    ranked = sorted(signs, key=lambda sign: (sign == " ", (USUAL + sign).index(sign), sign))
    divided = [(sign, commas if sign == "," else list(divide(text, sign, quote))) for sign in ranked]
    tables = [(sign, found) for sign, lines in divided if lines and (found := table_of(lines, sign, header))]
    sign, (_, place) = max(tables, key=lambda found: found[1][0], default=(",", (0.0, 0)))
    return sign, place


def divide(text: str, sign: str, quote: str, above: int = 0, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The number of the line, if `above` are above the text, and the stripped cells, of each line that is not blank.
    Spaces separate in runs.

    Raises:
        ValueError: if `strict`, naming the line where quotes are misplaced.
    """
    if sign == " ":
        text = re.sub(r"^ +| +(?=\r?$)|(?<= ) +", "", text, flags=re.MULTILINE)
    skips = sign != " "
    file, begin = StringIO(text, newline=""), 1
    reader = csv.reader(file, delimiter=sign, quotechar=quote, skipinitialspace=skips, strict=strict)
    try:
        for cells in reader:
            begin = reader.line_num + 1
            if "".join(cells).strip() or len(cells) > 1:
                yield above + reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise ValueError(f"line {above + begin}: a quote ({quote}) opens and is never closed") from error
        raise ValueError(f"line {above + reader.line_num}: {error}") from error


def table_of(lines: Lines, sign: str, header: bool) -> tuple[float, int] | None:
    """The fraction of numbers in the cells, and the place of the first line of the table; None if there is no table.

    Lines above it are titles if they have one cell each, or if the first line of its size has names above numbers.
    """

    def is_number(cell: str) -> bool:
        return parse_number(cell if sign == "," else cell.replace(",", ".")) is not None

    size = Counter(len(cells) for _, cells in lines).most_common(1)[0][0]
    first = next((place for place, (_, cells) in enumerate(lines) if len(cells) == size and any(cells[1:])), 0)
    names, *rows = lines[first:]
    even = [cells for _, cells in rows if len(cells) == size]
    numbers = sum(is_number(cell) for cells in even for cell in cells)
    has_names, is_first = not any(map(is_number, names[1])), len(lines[0][1]) > 1
    if size < 2 or not even or len(even) < 0.9 * len(rows) or not (is_first or (has_names and numbers) or not header):
        return None
    are_titles = all(sum(map(bool, cells)) < 2 for _, cells in lines[:first])
    is_table = (are_titles or numbers) and (has_names or not header)
    return numbers / (size * len(even)), first if is_table else 0

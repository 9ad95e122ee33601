"""The mistakes that are most common in csv files: one line says what is wrong, where, and what to do."""

from pathlib import Path

import pytest
from support.configs import parsed

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.training.setup import build_data

HEAD = "area,price,pet"
ROWS = [f"{row},{row * row / 4},{'cat' if row % 3 else 'dog'}" for row in range(40)]


def table(*rows: str, head: str = HEAD) -> str:
    return "\n".join([head, *(rows or ROWS)]) + "\n"


def with_row(row: str) -> str:
    """A table with another row in line 32."""
    return table(*ROWS[:30], row, *ROWS[30:])


def with_prices(template: str) -> str:
    return table(*(f"{row},{template.format(row + 1)},cat" for row in range(40)))


REFUSED = {
    "no file": (None, "cannot be read (No such file or directory); allowed: a csv, tsv or parquet file"),
    "an empty file": ("", "is empty; allowed: a csv, tsv or parquet file with a header line and rows"),
    "a page to sign in": ("<!DOCTYPE html>\n<p>Sign in", "seems to be an HTML page; allowed: a csv, tsv or parquet"),
    "no header": (table(*ROWS[1:], head=ROWS[0]), "line 1 has numbers (0, 0.0) instead of names; allowed: a header"),
    "a name twice": (table(head="price,price,pet"), "line 1: column 'price' appears twice; allowed: distinct names"),
    "a comma in a text": (with_row("1,2,a cat, grey"), "line 32 has 4 cells; allowed: 3, as in the header; hint: put "),
    "a line cut off": (table()[:-6], "line 41 has 2 cells; allowed: 3, as in the header; hint: complete or remove"),
    "an open quote": (with_row('1,2,"cat'), 'line 32: a quote (") opens and is never closed; allowed: '),
    "a word for a number": (with_row("1,unknown,cat"), "line 32, column price: 'unknown' is not a number; allowed: "),
    "an infinite number": (with_row("1,inf,cat"), "line 32, column price: 'inf' is not a number; allowed: finite"),
    "two files in one": (with_row(HEAD), "hint: remove this line, which repeats the header"),
    "currency signs": (
        with_prices("${}.5"),
        "column price: '$1.5' is not a number; allowed: finite numbers (float32),",
    ),
    "percent signs": (
        with_prices("{}%"),
        "'1%' is not a number; allowed: finite numbers (float32), such as 4623.5 or ",
    ),
    "thousands": (with_prices('"{},000"'), "hint: \"dataset.thousands=','\" reads them"),
    "decimal commas": (with_prices('"{},25"'), "hint: \"dataset.decimal=','\" reads them"),
}
PRINTED = {
    "no UTF-8": (table(*ROWS, "1,2,caf\u00e9").encode("latin-1"), "it is read as windows-1252"),
    "a title": (f"Prices of 2024,,\n{table()}", "line 2 seems to be the header; the lines above it are skipped"),
    "an index of pandas": (
        table(*(f"{i},{row}" for i, row in enumerate(ROWS)), head=f",{HEAD}"),
        "is left out",
    ),
    "no target": (with_row("1,,cat"), "1 of 41 rows without price, left out"),
    "a sum": (table(*ROWS, "Total,9000,"), "line 42, column area: 'Total' is no number, so that the column is a cat"),
    "percent in a feature": (table(*(f"{i}%,{i},a" for i in range(40))), "hint: dataset.percent=true reads them"),
    "one unit": (
        table(*ROWS, "5 kg,5,cat"),
        "line 42, column area: '5 kg' is no number, so that the column is a category; "
        "hint: remove the unit, or dataset.numbers=[area]",
    ),
    "units": (
        table(*(f"{i}.5 kg,{i},a" for i in range(40))),
        "line 2, column area: '0.5 kg' is no number, so that the ",
    ),
    "one decimal comma": (
        table(*(f"{i}.5,{i},a" for i in range(40)), '"2,5",5,cat'),
        "column area: '2,5' is no number, so that the column is a category; hint: write it as the others",
    ),
    "two formats of dates": (
        table(*(f"{f'2024-01-{i % 28 + 1:02}' if i % 5 else '21/5/2024'},{i},a" for i in range(40))),
        "line 2, column area: '21/5/2024' is no date, so that the column is a category; hint: write it as '2024-01-02'",
    ),
    "one thousand": (table(*ROWS, '"1,000",5,cat'), "hint: \"dataset.thousands=','\" reads them"),
}


def built(folder: Path, content: str | bytes | None, target: str = "price") -> None:
    announce.cache_clear()
    path = folder / "t.csv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    build_data(parsed("dataset=table", f"dataset.path={path}", f"dataset.targets=[{target}]"))


@pytest.mark.parametrize("fault", REFUSED)
def test_a_fault_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    content, said = REFUSED[fault]
    with pytest.raises(ConfigError) as caught:
        built(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"dataset.path={tmp_path / 't.csv'} ")
    assert said in message
    assert "; allowed: " in message
    assert "\n" not in message


@pytest.mark.parametrize("fault", PRINTED)
def test_a_fault_that_can_be_mended_is_printed_in_one_line(tmp_path: Path, fault: str, capsys) -> None:
    content, said = PRINTED[fault]
    built(tmp_path, content)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if said in line]
    assert f"dataset.path={tmp_path / 't.csv'}" in line


def test_a_misspelled_target_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset.targets=Price is not known \(nearest: price\); allowed: area, pet"):
        built(tmp_path, table(), "Price")

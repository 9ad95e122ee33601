"""Files of tables, however they are written. The oracles are Python's csv module and float()."""

import bz2
import csv
import gzip
import io
import lzma
import math
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.tables.cells import are_inexact, parse_numbers
from dl_lab.data.tables.reading import RawTable, Reading, read_table, with_decimal
from dl_lab.data.tables.types import numbers_of

AUTO = {"separator": "auto", "encoding": "auto", "decimal": "auto"}
DEFAULTS = {**AUTO, "header": True, "thousands": None, "percent": False, "missing": []}


def reading(**changes: object) -> Reading:
    return Reading(**{**DEFAULTS, **changes})


def read(folder: Path, content: str | bytes, name: str = "table.csv", **changes: object) -> RawTable:
    announce.cache_clear()
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    table = read_table(str(path), reading(**changes))
    return with_decimal(table, table.candidates, reading(**changes))


def columns(table: RawTable) -> dict[str, list[object]]:
    return table.frame.to_dict(as_series=False)


def numbers(table: RawTable) -> dict[str, list[object]]:
    return parse_numbers(table.frame, table.options).to_dict(as_series=False)


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zstd(content: bytes) -> bytes:
    """A Zstandard frame with one raw block (RFC 8878): magic, descriptor, window, header of the block, content."""
    return b"\x28\xb5\x2f\xfd\x00\x58" + ((len(content) << 3) | 1).to_bytes(3, "little") + content


PLAIN = "x,größe\n" + "".join(f"{row},{row - 0.5}\n" for row in range(5))
EXPECTED = {"x": [0, 1, 2, 3, 4], "größe": [-0.5, 0.5, 1.5, 2.5, 3.5]}
TABS = PLAIN.replace(",", "\t")
WRITTEN = {
    "plain": PLAIN,
    "UTF-8 with a mark": PLAIN.encode("utf-8-sig"),
    **{name: PLAIN.encode(name) for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "cp1252")},
    "gz": gzip.compress(PLAIN.encode()),
    "bz2": bz2.compress(PLAIN.encode()),
    "xz": lzma.compress(PLAIN.encode()),
    "zst": zstd(PLAIN.encode()),
    "zip": zipped(a=PLAIN.encode()),
    "zip of UTF-16": zipped(a=PLAIN.encode("utf-16"), **{"__MACOSX/a": b""}),
    "tabs": TABS,
    "semicolons": PLAIN.replace(",", ";"),
    "bars": PLAIN.replace(",", "|"),
    "another sign": PLAIN.replace(",", "~"),
    "spaces": PLAIN.replace(",", "   ").replace("\n", "  \n "),
    "Excel's sign": "sep=;\r\n" + PLAIN.replace(",", ";"),
    "decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "decimal commas between tabs": TABS.replace(".", ","),
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "no newline at the end": PLAIN.rstrip("\n"),
    "blank lines": "\n \n" + PLAIN.replace("\n", "\n  \n\n"),
    "blank lines, quoted": "\n" + PLAIN.replace("\n", '"\n\n').replace(",", ',"'),
    "quoted": PLAIN.replace("\n", '"\r\n').replace(",", ',"'),
    "quoted after spaces": PLAIN.replace("\n", '"\n').replace(",", ', "'),
    "single quotes": "'x','größe'\n" + PLAIN.partition("\n")[2].replace("\n", "'\n").replace(",", ",'"),
    "spaces around": PLAIN.replace(",", " ,\t ").replace("\n", " \n"),
    "separators at the end": PLAIN.replace("\n", ",\n"),
    "separators at the end of rows": PLAIN.replace("\n", ",\n").replace(",\n", "\n", 1),
    "separators at the end of the header": PLAIN.replace("\n", ",,\n", 1),
    "comments": "# by hand, 2020\n#\n" + PLAIN,
    "a header as a comment": "# " + PLAIN,
    "a title": "Sizes, 2009 (10:20)\n\n" + PLAIN.replace("\n", ",7\n").replace("7", "z", 1),
    "a quoted title": '"Sizes, 2009"\n' + PLAIN,
    "Excel's title": "Sizes,\n,\n" + PLAIN,
    "names of rows": "".join(map(str.__add__, ["", "a,", "b,", "c,", "d,", "e,"], PLAIN.splitlines(keepends=True))),
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
def test_one_table_is_read_however_it_is_written(tmp_path: Path, content: str | bytes) -> None:
    table = read(tmp_path, content)
    found = numbers(table)
    assert {name: found[name] for name in EXPECTED} == EXPECTED
    assert set(found) - set(EXPECTED) <= {"z", "Unnamed: 0"}


SAID = {
    "cp1252": "is not UTF-8 at byte 4; it is read as windows-1252",
    "comments": "line 3 seems to be the header; the lines above it are skipped",
    "a title": "line 3 seems to be the header; the lines above it are skipped",
    "names of rows": "line 1 has no name for the first column",
}


@pytest.mark.parametrize("name", SAID)
def test_a_guess_is_printed(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path, WRITTEN[name])
    assert SAID[name] in capsys.readouterr().out
    read(tmp_path, PLAIN)
    assert capsys.readouterr().out == ""


def test_what_is_given_is_not_guessed(tmp_path: Path) -> None:
    assert columns(read(tmp_path, "a;b,c\n1;5,2\n", separator=",")) == {"a;b": ["1;5"], "c": ["2"]}
    text = "имя;x\n" + "да;1,5\n" * 3
    table = read(tmp_path, text.encode("cp1251"), encoding="windows-1251", decimal=".")
    assert columns(table) == {"имя": ["да"] * 3, "x": ["1,5"] * 3}
    assert numbers(table)["x"] == [None] * 3
    assert numbers(read(tmp_path, text, decimal=","))["x"] == [1.5] * 3
    assert numbers(read(tmp_path, 'x,y\n"1,5",2\n', decimal=",")) == {"x": [1.5], "y": [2]}
    assert columns(read(tmp_path, "a\tb\n1;2\t3;4\n", separator="tab")) == {"a": ["1;2"], "b": ["3;4"]}
    with_rows = read(tmp_path, "1;x\n3;y\n", header=False, missing=["x", 3])
    assert columns(with_rows) == {"column_1": ["1", None], "column_2": [None, "y"]}


def test_thousands_and_percents_are_numbers_on_request(tmp_path: Path) -> None:
    cells = ["1,234", "1,234,567.5", "-12,34,567", "12", "1,23", "1,,234", "12345,678", "5%", "2.5 %", "1,000%", "%"]
    content = "x\n" + "".join(f'"{cell}"\n' for cell in cells)
    expected = [1234, 1234567.5, -1234567, 12, *[None] * 3, 0.05, 0.025, 10, None]
    assert numbers(read(tmp_path, content, thousands=",", percent=True))["x"] == expected
    assert numbers(read(tmp_path, content))["x"] == [12.0 if cell == "12" else None for cell in cells]
    european = "x;y\n1.234,5;1\n-1.234.567;2\n"
    assert numbers(read(tmp_path, european, thousands="."))["x"] == [1234.5, -1234567]
    assert numbers(read(tmp_path, "x;y\n1\u202f234,5;1\n1 234;2\n", thousands=" ", decimal=","))["x"] == [1234.5, 1234]
    assert numbers(read(tmp_path, "x\ty\n1,234\t2\n5,678\t3\n"))["x"] == [None, None]  # thousands or fractions


def test_missing_values_are_null(tmp_path: Path) -> None:
    marks = ["", "NA", "n/a", "NaN", "null", "None", "?", "-", "<NA>", "#N/A", ".", " "]
    content = "x,y\n1,a\n" + "".join(f"{mark},{mark}\n" for mark in marks) + "-999,b\n-999.0,b\n"
    table = columns(read(tmp_path, content, missing=[-999]))
    assert [cell for cell in table["x"] if cell] == ["1", "None", "-"]  # missing among numbers, which is found later
    assert [cell for cell in table["y"] if cell] == ["a", "None", "-", "b", "b"]
    table = columns(read(tmp_path, content, missing=["-", "None"]))
    assert [cell for cell in table["y"] if cell] == ["a", "b", "b"]
    assert columns(read(tmp_path, "x,y\n0,a\n0.0,0\n-0.5,c\n", missing=[0, -0.5])) == {
        "x": [None] * 3,
        "y": ["a", None, "c"],
    }
    assert columns(read(tmp_path, "x,,y\n1,,2\n3,NA,4\n")) == {"x": ["1", "3"], "y": ["2", "4"]}
    assert [*columns(read(tmp_path, "x,,y\n1,,2\n3,7,4\n"))] == ["x", "Unnamed: 1", "y"]


REFUSED = {
    "": "is empty",
    "\n\n": "is empty",
    "x,y\n": "has a header but no rows",
    "x,y\n1,2\n1,2,3\n": "line 3 has 3 cells; allowed: 2, as in the header; hint: put quotes",
    "x,y\n\n1,2\n1\n": "line 4 has 1 cell;",
    "x,y\n1,2\n3\n4,5,6\n": "line 3 has 1 cell;",
    'x,y\n1,2\n1,"2\n3,4\n': 'line 3: a quote (") opens and is never closed',
    'x,y\n1,"2"3\n': "line 2: ",
    "x,x\n1,2\n": "line 1: column 'x' appears twice",
    "\n\nx,x\n1,2\n": "line 3: column 'x' appears twice",
    "1,2\n3,4\n": "line 1 has numbers (1, 2) instead of names; allowed: a header line; hint: add one, or set "
    "dataset.header=false",
    "0,1,a\n2,3,a\n": "instead of names",
    "7,7,a\n2,3,b\n": "instead of names",
    "1990,2000\n1991,2001\n": "instead of names",
    "x,y\n1,5,2\n1,5,3\n": "the header lacks a name, or decimal numbers have commas",
    "x,y\n1,5,2,5\n1,5,2,5\n": "4 cells; allowed: 2, as in the header; hint: write decimal numbers with a point",
    "x\n1,5\n2,5\n": "write decimal numbers with a point",
    "x,y\n1,2\n# the end\n": "remove the lines that begin with #",
    "\n <!DOCTYPE html>\n<title>Oh, no</title>": "seems to be an HTML page",
    '[{"x": 1, "y": 2},\n{"x": 1, "y": 2}]': "seems to be a JSON file",
    "version https://git-lfs.github.com/spec/v1\nsize 7": "a Git LFS pointer",
    "% by hand\n\n@RELATION iris\n@DATA\n1,2": "an ARFF file",
    "table.csv" + "\0" * 90: "a binary file",
    gzip.compress(b"x,y\n1,2\n")[:-9]: "cannot be unpacked",
    zstd(b"x,y\n1,2\n")[:-3]: "cannot be unpacked",
    zipped(a=b"x", b=b"y"): "holds 2 files (a, b)",
    zipped(**{"[Content_Types].xml": b"", "xl/workbook.xml": b""}): "is a workbook of Excel",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "looks like an old Excel workbook",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR": "looks like a picture",
    b"PAR1\x15\x04\xffPAR1": "is no complete parquet file",
    b"PAR1\x15\x04\xff": "looks like a Parquet file",
}


@pytest.mark.parametrize("content", REFUSED, ids=map(str, range(len(REFUSED))))  # archives hold the present time
def test_what_is_wrong_is_one_line_that_names_the_place(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert REFUSED[content] in message
    assert message.startswith(f"dataset.path={tmp_path / 'table.csv'} ")
    assert "allowed: " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"separator": "ab"}, "dataset.separator=ab is not allowed; allowed: auto, tab, space, or one sign"),
        ({"encoding": "utf-7000"}, "dataset.encoding=utf-7000 is not allowed"),
        ({"encoding": "hex"}, "dataset.encoding=hex is not allowed"),
        ({"encoding": "a\0b"}, "dataset.encoding=a"),
        ({"decimal": ",", "thousands": ","}, "dataset.thousands=, is not allowed"),
    ],
)
def test_options_are_checked(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reading(**changes)
    assert str(caught.value).startswith(said)


def test_a_text_in_another_encoding_than_given_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not in utf-8 at byte 4, it looks like Latin-1"):
        read(tmp_path, PLAIN.encode("cp1252"), encoding="utf-8")
    with pytest.raises(ConfigError, match="is not in utf-16"):
        read(tmp_path, b"x,y\n1,2\n3", encoding="utf-16")


def test_numbers_are_names_if_they_are_chosen_or_count(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("2019,2020\n1,2\n")
    assert columns(read_table(str(tmp_path / "a.csv"), reading(), ["2019"])) == {"2019": ["1"], "2020": ["2"]}
    for header in ("0,1", "1999,2000,2001", ",1940,1945", "country,1960,1970", ",7.5,9"):
        row = "a,5,6" if header.count(",") == 2 else "5,6"
        assert [*columns(read(tmp_path, f"{header}\n{row}\n"))] == [name or "Unnamed: 0" for name in header.split(",")]
    assert [*columns(read(tmp_path, ",x,Unnamed: 0\n1,2,3\n"))] == ["Unnamed: 0_", "x", "Unnamed: 0"]


def test_long_cells_nul_bytes_and_wide_tables(tmp_path: Path) -> None:
    long = "x" * 300_000
    table = read(tmp_path, f"x,y\n1,{long}\n2,3\0\n")
    assert columns(table) == {"x": ["1", "2"], "y": [long, "3\0"]}
    assert numbers(table)["y"] == [None, None]
    wide = "\t".join(f"name {place}" for place in range(5000)) + "\n" + "\t".join(["1"] * 5000) + "\n"
    assert read(tmp_path, wide * 1).frame.shape == (1, 5000)


def test_parquet_keeps_its_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pl.DataFrame(
        {"n": [1, 2, None], "f": [0.5, math.nan, 1], "b": [True, False, None], "s": ["a", " NA", None]}
    ).with_columns(c=pl.col("s").cast(pl.Categorical), t=pl.duration(minutes="n"), many=pl.concat_list("n"))
    frame.write_parquet(tmp_path / "a.parquet")
    table = read_table(str(tmp_path / "a.parquet"), reading())
    assert columns(table) == {
        "n": [1, 2, None], "f": [0.5, None, 1], "b": [True, False, None], "s": ["a", " NA", None],
        "c": ["a", " NA", None], "t": [60, 120, None],
    }  # fmt: skip
    assert "left out: many" in capsys.readouterr().out
    assert table.place(1, "f") == "row 2, column f"
    frame.clear().write_parquet(tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="no rows"):
        read_table(str(tmp_path / "a.parquet"), reading())


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        *((cell, pl.Float64) for cell in ("2.5", "", "1e5", '"2.5"', "-.5")),
        *((cell, pl.String) for cell in ("NA", "nan", "-inf", "1e400", "9007199254740993", "2.5%", "a")),
    ],
)
def test_numbers_of_features_are_those_of_their_texts(tmp_path: Path, cell: str, kind: pl.DataType) -> None:
    path = tmp_path / "a.csv"
    path.write_text("x,y,z\n" + 2000 * "1.50,a,-0.5\n" + f"{cell},b,2.0\n")
    texts, table = read_table(str(path), reading()), read_table(str(path), reading(), [], lambda name: name in "xy")
    assert table.frame.dtypes == [kind, pl.String, pl.String]
    assert numbers_of(table, "x").to_list() == numbers(texts)["x"]


def test_the_place_of_a_cell_is_its_line(tmp_path: Path) -> None:
    table = read(tmp_path, '# title\n\n"x\nz",y\n"a\nb",1\n\nc,2\n')
    assert [table.place(row, "y") for row in (0, 1)] == ["line 6, column y", "line 8, column y"]


CELLS = st.text(st.sampled_from('ab1.,;"\n é\t'), max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6), st.sampled_from(",;\t|"), st.booleans())
def test_every_table_that_csv_writes_is_read_as_it_was(tmp_path_factory, rows, sign: str, quotes_all: bool) -> None:
    buffer = io.StringIO(newline="")
    style = csv.QUOTE_ALL if quotes_all else csv.QUOTE_MINIMAL
    csv.writer(buffer, delimiter=sign, quoting=style).writerows([("x", "y", "key"), *[(*row[:2], "k") for row in rows]])
    path = tmp_path_factory.mktemp("hypothesis") / "a.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    table = read_table(str(path), reading(separator=sign))
    expected = [tuple(cell.strip() for cell in row[:2]) for row in rows]
    found = [(x or "", y or "") for x, y in table.frame.select("x", "y").rows()]
    assert found == [tuple("" if cell in (".",) else cell for cell in row) for row in expected]


def as_float(cell: str) -> float | None:
    try:
        value = float(cell) if cell.isascii() and "_" not in cell and cell == cell.strip() else math.nan
    except ValueError:
        return None
    return None if math.isnan(value) else value


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.floats().map(repr)
        | st.integers(-(2**70), 2**70).map(str)
        | st.text(st.sampled_from("0123456789.eE+-_ infaty\u0661x"), max_size=8)
        | st.from_regex(r"[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
        min_size=1,
    )
)
def test_numbers_are_exactly_those_of_float(cells: list[str]) -> None:
    found = parse_numbers(pl.DataFrame({"x": cells}), reading())["x"].to_list()
    assert found == [as_float(cell) for cell in cells]


def test_whole_numbers_that_float64_cannot_tell_apart_are_found() -> None:
    big = 2**53
    assert are_inexact(pl.Series([str(big), f"+{big + 1}"]))
    assert not are_inexact(pl.Series([str(big), f"{big + 2}", f"{big}.0", f"0{big}", None, "x"]))
    assert not are_inexact(pl.Series([str(big + 1), "7"]))

"""What commands print: names in the files and data of others reach neither the clipboard nor the cursor of a terminal,
and forge no line.
"""

import csv
import json
import sys
import unicodedata
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from support import pictures
from support.commands import TINY, command, spawn, train

from dl_lab import compare, evaluate
from dl_lab.core.errors import printable
from dl_lab.core.terminal import Escaping, escape_output
from dl_lab.sweeps.manifest import Entry
from dl_lab.sweeps.report import failure_lines

FORGED = "\nforged\r\x1b[A"
HOSTILE = f"a\x1b]52;c;Y2F0\x07b\x9b2Jc\u202ed\x85\u2028{FORGED}e"  # OSC 52, CSI in 7 and 8 bits, bidi, ends of lines
ESCAPED = repr(HOSTILE)[1:-1]
NO_TEXT = "sweep\udcff"  # a name of a folder that is not UTF-8, as Python reads it


ORDINARY = (
    "10\u00a0%\u3000\u6771 \U0001f469\u200d\U0001f52c \u0915\u094d\u200d \u0645\u06cc\u200c\u062e a\u00adb \ue000"
)


def test_text_of_other_languages_is_printed_as_it_is():
    """Spaces, joiners of emoji and scripts, and private signs; no control, and no mark of direction."""
    assert printable(ORDINARY) == ORDINARY
    signs = map(chr, range(sys.maxunicode + 1))
    controls = [sign for sign in signs if unicodedata.category(sign) in ("Cc", "Zl", "Zp", "Cs")]
    bidi = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # Unicode's Bidi_Control
    assert all(printable(sign) == repr(sign)[1:-1] for sign in [*controls, *bidi])
    assert sum(printable(sign) == sign for sign in map(chr, range(0x2000, 0x2070))) == 112 - 2 - 11


def check(*texts):
    for text in texts:
        assert {sign for sign in text if not sign.isprintable()} <= {"\n"}
        assert not [line for line in text.splitlines() if line.startswith("forged")]


@pytest.fixture
def hostile_run(tmp_path):
    """A run on a table of which names, classes and the run folder are hostile."""
    table = tmp_path / "table.csv"
    with table.open("w", newline="") as file:
        rows = [[number, number / 2, HOSTILE if number % 2 else "B"] for number in range(30)]
        csv.writer(file).writerows([[f"id{HOSTILE}", "x", "y"], *rows])
    given = (
        "dataset=csv",
        "dataset.task=classification",
        f"dataset.path={table}",
        "dataset.targets=[y]",
        f"hydra.run.dir=runs/{HOSTILE}",
    )
    return train(tmp_path, *given, *TINY[1:])


def test_headers_classes_and_folders_are_escaped(tmp_path, hostile_run):
    assert hostile_run.status == 0
    check(hostile_run.out, hostile_run.err)
    in_table = ESCAPED.replace("\\r", "\\n")  # a table has one kind of line end
    assert f"id{in_table}" in hostile_run.out  # of the line that names an identifier
    (tmp_path / "link").symlink_to(hostile_run.run)
    evaluated = command(evaluate.main, tmp_path, "run=link")
    check(evaluated.out, evaluated.err)
    assert in_table in evaluated.out  # in the report of scikit-learn


def test_class_folders_are_escaped(tmp_path):
    pictures.write(tmp_path / "pictures", {"A": 6, HOSTILE: 6})
    ended = train(tmp_path, "dataset=image_folder", f"dataset.path={tmp_path / 'pictures'}", *TINY[1:])
    evaluated = command(evaluate.main, tmp_path, f"run={ended.run}", "split=train")
    check(ended.out, ended.err, evaluated.out, evaluated.err)
    assert ESCAPED in evaluated.out


@pytest.fixture
def hostile_sweep(tmp_path):
    """A sweep of which another person has changed the files."""
    ended = train(tmp_path, "-m", *TINY, "seed=0,1,2", f"hydra.sweep.dir={NO_TEXT}")
    assert ended.status == 0, ended.err
    for run, changes in zip(
        ended.runs,
        [
            {"status": "failed", "reason": HOSTILE},
            {"status": f"odd{HOSTILE}", "reason": HOSTILE},
            {"best": {"loss": 1.0, HOSTILE: 2.0}},
        ],
        strict=True,
    ):
        summary = json.loads((run / "summary.json").read_text())
        (run / "summary.json").write_text(json.dumps(summary | changes))
    configuration = ended.runs[2] / ".hydra" / "config.yaml"
    configuration.write_text(f"{configuration.read_text()}\nadded: {json.dumps(HOSTILE)}\n")
    (tmp_path / NO_TEXT / HOSTILE / ".hydra").mkdir(parents=True)
    (tmp_path / NO_TEXT / HOSTILE / ".hydra" / "config.yaml").write_text("- 1\n")
    return tmp_path / NO_TEXT


@pytest.mark.parametrize("arguments", [[], [f"metric=best/{HOSTILE}"], [f"metric={HOSTILE}"]])
def test_comparisons_are_escaped(tmp_path, hostile_sweep, arguments):
    compared = command(compare.main, tmp_path, str(hostile_sweep), *arguments)
    check(compared.out, compared.err)
    assert ESCAPED in compared.out + compared.err
    for written in hostile_sweep.rglob("compare.*"):
        check(written.read_text())


def test_a_failed_job_is_one_line():
    entry = Entry(number=0, overrides=[HOSTILE], signature="", folder="0", status="failed", reason=HOSTILE)
    assert failure_lines([entry]) == [f"  #0  {ESCAPED}: {ESCAPED}"]


def test_tracebacks_are_escaped(tmp_path):
    code = f"from dl_lab.core.terminal import escape_output; escape_output(); raise RuntimeError({HOSTILE!r})"
    ended = spawn(tmp_path, "-c", code)
    assert "RuntimeError" in ended.stderr
    assert {sign for sign in ended.stderr if not sign.isprintable()} <= {"\n"}


@pytest.mark.parametrize("text", ["\router 0", "\n", "\x1b[A\x1b[A", "\r    \r", "\r"])
def test_a_bar_moves_the_cursor(text):
    stream = StringIO()
    Escaping(stream).write(text)
    assert stream.getvalue() == text


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_an_ascii_terminal_and_a_closed_one_are_written_to(monkeypatch, name):
    written = BytesIO()
    monkeypatch.setattr(sys, name, TextIOWrapper(written, "ascii"))
    escape_output()
    print("±", file=getattr(sys, name), flush=True)
    assert written.getvalue() == b"\\xb1\n"
    monkeypatch.setattr(sys, name, None)
    escape_output()
    print("lost", file=getattr(sys, name))
    getattr(sys, name).close()


def test_lines_written_at_once_are_escaped():
    stream = StringIO()
    Escaping(stream).writelines(["\ttable\n", "\x1b[2J\n"])
    assert stream.getvalue() == "\ttable\n\\x1b[2J\n"

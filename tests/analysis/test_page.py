"""compare.html is one page that loads nothing, with the table, curves, figures and configurations."""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from dl_lab.analysis import page
from dl_lab.analysis.comparison import Comparison, compare
from dl_lab.analysis.table import rows
from dl_lab.runs.reader import Run

HOSTILE = "</script></td><img src=x onerror=alert(1)>\"'&|"


class Parsed(HTMLParser):
    """The tags, links and cells of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.rows: list[list[str]] = []
        self.script = self.data = ""
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True
        self.script = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.script == "curves":
            self.data += data
        elif self.in_cell:
            self.rows[-1][-1] += data.strip()


def runs_of(folder: Path, names: Sequence[str], key: str = "model") -> list[Run]:
    """Runs of three seeds, whose accuracy falls with the place of the name; seed 1 is better than seed 0."""
    runs = []
    for number, name in enumerate(names):
        for seed in range(3):
            here = folder / f"{number}_{seed}"
            here.mkdir(parents=True)
            score = 0.9 - 0.1 * number + 0.01 * seed
            lines = [
                {"step": step, "split": "val", "accuracy": score - 1 / step, "loss": 1 / step} for step in (10, 20)
            ]
            (here / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            values = {key: name, "seed": seed, "train.best": "loss", "train.epochs": 3}
            summary = {"best": {"accuracy": score}, "seconds": 1.0}
            runs.append(Run(folder=here, status="completed", values=values, summary=summary))
    return runs


def made(folder: Path, names: Sequence[str], key: str = "model") -> tuple[Comparison, str]:
    comparison, _ = compare(runs_of(folder / "a sweep", names, key), "best/accuracy")
    return comparison, page.page([comparison], [], [{"by model": b"\x89PNG"}], folder / "out")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison, str]:
    folder = tmp_path_factory.mktemp("page")
    return folder, *made(folder, ["cnn", "mlp", "9", "1e-05"])


def test_the_page_has_the_table_and_the_runs_with_links(example):
    folder, comparison, text = example
    parsed = Parsed(text)
    table = rows(comparison)
    assert parsed.rows[0][1:] == table[0][1:]
    assert parsed.rows[1 : len(table)] == table[1:]
    links = [link for link in parsed.links if not link.startswith("data:image/png;base64,")]
    assert len(parsed.links) - len(links) == 1
    assert [(folder / "out" / unquote(link)).resolve() for link in links] == [
        run.folder for each in comparison.configurations for run in each.runs
    ]


def test_the_page_loads_nothing(example):
    parsed = Parsed(example[2])
    assert not parsed.tags & {"link", "iframe", "object", "base", "form"}
    assert all(link.startswith(("data:image/png;base64,", "../")) for link in parsed.links)
    assert "default-src 'none'; img-src data:" in example[2]
    outside = re.findall(r"https?://[^\s\"']+", re.sub(r"base64,[^\"]+", "", example[2]))
    assert set(outside) == {"http://www.w3.org/2000/svg"}  # a name


def test_curves_are_means_over_seeds_in_bands(example):
    (curves,) = json.loads(Parsed(example[2]).data)
    assert list(curves) == ["val/accuracy", "val/loss"]
    first = curves["val/accuracy"][0]
    assert (first["label"], first["steps"]) == ("cnn", [10, 20])
    assert first["mean"] == pytest.approx([0.81, 0.86])
    assert first["low"] == pytest.approx([0.8, 0.85])
    assert first["high"] == pytest.approx([0.82, 0.87])


def test_long_curves_keep_their_ends():
    steps = np.arange(10_000.0)
    found = page._points("a", (steps, steps / 3, steps, steps))
    assert len(found["steps"]) == page.MOST_POINTS
    assert (found["steps"][0], found["steps"][-1]) == (0, 9999)
    assert found["mean"][-1] == 3333.0


def test_text_of_runs_is_not_markup(tmp_path):
    comparison, text = made(tmp_path, ["cnn", HOSTILE], "model.kernel")
    plain = Parsed(made(tmp_path / "plain", ["cnn", "mlp"], "model.kernel")[1])
    parsed = Parsed(text)
    assert (parsed.tags, parsed.attributes) == (plain.tags, plain.attributes)
    assert parsed.rows[2][1] == HOSTILE
    (curves,) = json.loads(parsed.data)
    assert curves["val/accuracy"][1]["label"] == comparison.label(comparison.configurations[1])


def test_the_page_of_several_tables_begins_with_links_to_them(tmp_path):
    comparisons = [compare(runs_of(tmp_path / name, ["cnn"]), "best/accuracy", name)[0] for name in ("a=1", "b<2")]
    parsed = Parsed(page.page(comparisons, ["2 tables"], [{}, {}], tmp_path))
    assert parsed.links[:2] == ["#0", "#1"]
    assert len(json.loads(parsed.data)) == 2


CLICK = """<script>
const read = () => Array.from(document.querySelector("table").tBodies[0].rows, row => row.cells[1].textContent);
const click = column => { document.querySelectorAll("table")[0].tHead.rows[0].cells[column].firstChild.click(); };
const found = [read()];
const difference = Array.from(document.querySelector("tr").cells, cell => cell.innerText).indexOf("behind by");
for (const column of [1, 1, 2, difference, difference]) { click(column); found.push(read()); }
document.querySelector(".legend input").click();
found.push(document.querySelectorAll(".chart polyline").length);
document.title = JSON.stringify(found);
</script>"""


@pytest.mark.faults
def test_a_browser_sorts_the_table_and_draws_the_curves(tmp_path, example):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no browser")
    (tmp_path / "page.html").write_text(example[2].replace("</body>", f"{CLICK}</body>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=3000",
    ]
    command = [browser, *options, "--dump-dom", (tmp_path / "page.html").as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    found = re.search("<title>(.*?)</title>", dumped)
    assert found is not None
    assert json.loads(found[1]) == [
        ["cnn", "mlp", "9", "1e-05"],
        ["1e-05", "9", "cnn", "mlp"],  # numbers first, by their size
        ["mlp", "cnn", "9", "1e-05"],
        ["1e-05", "9", "mlp", "cnn"],  # by accuracy
        ["mlp", "9", "1e-05", "cnn"],  # by difference, which the leader has not
        ["1e-05", "9", "mlp", "cnn"],
        3,  # curves, without that of cnn
    ]

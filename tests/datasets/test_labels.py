"""Multi-label targets of tables, and tasks of each target."""

import re

import numpy as np
import pytest
from support.commands import command, train
from support.configs import parsed
from support.tables import written

from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.data.spec import Head
from dl_lab.evaluate import main
from dl_lab.training import setup

ROWS = 60
FIRST, SECOND = np.random.default_rng(0).normal(size=(2, ROWS))
RED, BIG = FIRST > 0, SECOND > 0.3
WORDS = [";".join(["red"] * int(red) + ["big "] * int(big)) or "none" for red, big in zip(RED, BIG, strict=True)]
COLUMNS = {
    "x": FIRST,
    "red": RED.astype(int),
    "big": np.where(BIG, "Yes", "no"),
    "tags": np.array(WORDS),
    "sick": (FIRST > 1).astype(int),
    "price": SECOND,
}


@pytest.fixture
def path(tmp_path):
    rows = zip(*COLUMNS.values(), strict=True)
    (tmp_path / "t.csv").write_text("\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in rows)]))
    return str(tmp_path / "t.csv")


def data_of(path: str, targets: str, *more: str) -> Data:
    split = ("dataset.validation=0", "dataset.test=0", "dataset.shuffle=false")
    chosen = ("dataset=table", f"dataset.path={path}", f"dataset.targets=[{targets}]", "dataset.features=[x]", *split)
    return setup.build_data(parsed(*chosen, *more))


def test_columns_of_0_and_1_and_of_words_for_them_are_one_head(path):
    data = data_of(path, "red,big", "dataset.task=multilabel")
    assert data.spec.heads == (Head(name="labels", task="multilabel", labels=("red", "big")),)
    np.testing.assert_array_equal(data.train.targets, np.column_stack([RED, BIG]))


def test_a_cell_may_have_several_labels(path):
    data = data_of(path, "tags,red", "dataset.task=multilabel", "dataset.label_separator=';'")
    assert data.spec.heads[0].labels == ("big", "none", "tags=red", "red=red")
    expected = np.column_stack([BIG, ~RED & ~BIG, RED, RED])
    np.testing.assert_array_equal(data.train.targets, expected)


def test_each_target_has_its_own_task(path):
    data = data_of(path, "red,price,sick,big", "dataset.task={red: multilabel, big: multilabel}")
    tasks = [(head.name, head.task) for head in data.spec.heads]
    assert tasks == [("price", "regression"), ("sick", "classification"), ("labels", "multilabel")]
    assert data.train.targets.shape == (ROWS, 4)
    np.testing.assert_array_equal(data.train.targets[:, 1:], np.column_stack([FIRST > 1, RED, BIG]))
    data = data_of(path, "price,sick", "dataset.task={sick: regression}")
    assert [(head.task, head.labels) for head in data.spec.heads] == [("regression", ("price", "sick"))]


@pytest.mark.parametrize(("name", "cell"), [("tags", WORDS[0]), ("price", str(SECOND[0]))])
def test_a_column_that_holds_no_labels_is_refused(tmp_path, path, name, cell):
    ended = train(
        tmp_path, "dataset=table", f"dataset.path={path}", f"dataset.targets=[{name}]", "dataset.task=multilabel"
    )
    assert ended.status == 2
    assert ended.err.startswith(f"error: dataset.targets={name} has {cell!r} in line 2, column {name}, and is a label")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("sign", [";", "|", ","])
def test_classes_that_seem_to_be_labels_or_numbers_with_a_unit_have_a_hint(tmp_path, capsys, sign):
    announce.cache_clear()
    labels = [f'"{sign.join("abcd"[n] for n in range(4) if row >> n & 1)}"' for row in range(1, 16)]
    for cells, hint in (
        (labels * 4, f"\"dataset.label_separator='{sign}'\""),
        (
            [f"{row}.5 kg" for row in range(15)] * 4,
            "classes such as '0.5 kg' seem to be numbers; hint: remove the unit",
        ),
        (["plain", "a;b", "a;c"] * 20, None),
    ):
        data_of(str(written(tmp_path / "t.csv", {"x": [*map(str, FIRST)], "y": cells})), "y")
        out = capsys.readouterr().out
        assert (hint in out) if hint else ("hint:" not in out)


def test_labels_train_from_the_command_line_with_weights(tmp_path, path):
    chosen = ("dataset=table", f"dataset.path={path}", "dataset.targets=[big,sick]", "dataset.task=multilabel")
    ended = train(tmp_path, *chosen, "dataset.sample_weight=red", "train.steps=4", "model=linear", "train.pictures=1")
    assert ended.status == 0, ended.err
    assert {"accuracy", "subset_accuracy", "f1_macro"} <= ended.lines("test")[0].keys()
    assert re.search("^red +weight ", ended.out, re.MULTILINE)
    report = command(main, tmp_path, f"run={ended.run}")
    assert report.status == 0, report.err
    assert re.search(r"precision +recall +f1-score +support\n\n +big .*\n +sick .*\n", report.out)

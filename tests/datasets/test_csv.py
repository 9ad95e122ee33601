"""CSV files: the numbers and classes in them, and one line, with its line and column, for whatever is wrong."""

from pathlib import Path

import numpy as np
import pytest
from support.configs import parsed
from support.tables import ROWS, TABLE

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.training.setup import build_data


def built(path: Path, *overrides: str) -> Data:
    """The data of a file, its rows in their order: 14 to train, 2 to validate, 4 to test."""
    return build_data(parsed("dataset=csv", f"dataset.path={path}", "dataset.shuffle=false", *overrides))


def of_text(folder: Path, content: str | bytes, *overrides: str) -> Data:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return built(path, *overrides)


def refusal(folder: Path, content: str | bytes, *overrides: str) -> str:
    """The one line that the file is refused with, checked to name the file."""
    with pytest.raises(ConfigError) as caught:
        of_text(folder, content, *(overrides or ("dataset.targets=[y]",)))
    message = str(caught.value)
    assert "\n" not in message
    assert "\0" not in message
    return message


def test_regression_is_standardised_by_the_training_rows_alone(tmp_path: Path) -> None:
    overrides = "dataset.features=[area,rooms]", "dataset.targets=[price]"
    data = of_text(tmp_path, TABLE, *overrides)
    area = np.arange(ROWS, dtype=float)
    table = np.column_stack([area, area * area / 4])
    mean, std = table[:14].mean(axis=0), table[:14].std(axis=0)
    # float64, a handful of operations on numbers of size 100
    np.testing.assert_allclose(data.train.inputs, ((table - mean) / std)[:14], atol=1e-12)
    np.testing.assert_allclose(data.validation.inputs, ((table - mean) / std)[14:16], atol=1e-12)
    np.testing.assert_allclose(data.test.inputs, ((table - mean) / std)[16:], atol=1e-12)
    (head,) = data.spec.heads
    assert (head.name, head.task, head.labels) == ("price", "regression", ("price",))
    prices = data.train.targets.numpy() * head.scale + head.offset
    np.testing.assert_allclose(prices[:, 0], 100 - area[:14], atol=1e-12)
    np.testing.assert_allclose(data.train.targets.mean(), 0, atol=1e-12)
    np.testing.assert_allclose(data.train.targets.std(correction=0), 1, atol=1e-12)

    held_out_changed = TABLE.replace("\n17,", "\n1e9,").replace("14,49.0,86", "14,-7e9,1e9")
    changed = of_text(tmp_path, held_out_changed, *overrides)
    assert not np.array_equal(changed.validation.inputs, data.validation.inputs)
    assert changed.spec == data.spec
    np.testing.assert_array_equal(changed.train.inputs, data.train.inputs)
    np.testing.assert_array_equal(changed.train.targets, data.train.targets)


def test_without_validation_rows_the_training_rows_are_validated_on(tmp_path: Path) -> None:
    data = of_text(tmp_path, TABLE, "dataset.features=[area]", "dataset.targets=[price]", "dataset.validation=0")
    assert (len(data.train), len(data.test)) == (16, 4)
    np.testing.assert_array_equal(data.validation.inputs, data.train.inputs)
    np.testing.assert_array_equal(data.validation.targets, data.train.targets)
    everything = of_text(tmp_path, TABLE, "dataset.targets=[price]", "dataset.features=[area]", "dataset.validation=0",
                         "dataset.test=0")  # fmt: skip
    assert len(everything.train) == ROWS
    assert everything.test is None
    overrides = "dataset.targets=[price]", "dataset.features=[area]", "dataset.validation=0", "dataset.test=20"
    assert "dataset.test=20" in refusal(tmp_path, TABLE, *overrides)


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    data = of_text(tmp_path, TABLE, "dataset.targets=[pet]", "dataset.task=classification")
    (head,) = data.spec.heads
    assert (head.name, head.task, head.labels) == ("pet", "classification", ("cat", "dog"))
    assert data.spec.input_shape == (3,)  # every column but the target
    assert data.train.targets.tolist() == [int(row % 3 == 0) for row in range(14)]


def test_numbers_can_be_names_of_classes(tmp_path: Path) -> None:
    content = "x,y\n" + "".join(f"{row},{row % 2 * 5}\n" for row in range(20))
    data = of_text(tmp_path, content, "dataset.targets=[y]", "dataset.task=classification")
    assert data.spec.heads[0].labels == ("0", "5")
    assert data.train.targets.tolist() == [0, 1] * 7


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["1", "1.0", "+1", "01", "2", "2."], ["1", "2"]),
        (["1", "1.0", "x"], ["1", "1.0", "x"]),  # not all are numbers
        (["12345678901234567", "12345678901234568"], ["12345678901234567", "12345678901234568"]),
        (["cafe\u0301", "caf\u00e9", "the"], ["caf\u00e9", "the"]),
        (["inf", "9" * 400, "1"], ["1", "9" * 400, "inf"]),  # not all are finite
        (["CC", "Cc", "cc"], ["CC", "Cc", "cc"]),
        (["none", "Na", "K"], ["K", "Na", "none"]),  # no value is missing
        (["+", "-"], ["+", "-"]),
        ([str(number % 14) for number in range(20)], sorted(map(str, range(14)))),  # as many as training rows
    ],
)
def test_spellings_of_one_number_or_letter_are_one_class(
    tmp_path: Path, cells: list[str], classes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    announce.cache_clear()
    content = "x,y\n" + "".join(f"{row},{cells[row % len(cells)]}\n" for row in range(20))
    data = of_text(tmp_path, content, "dataset.targets=[y]", "dataset.task=classification")
    (head,) = data.spec.heads
    assert head.labels == tuple(classes)
    assert ("differ only in their case: CC, Cc, cc\n" in capsys.readouterr().out) == ("CC" in cells)


def test_chosen_features_may_have_numbers_as_names(tmp_path: Path) -> None:
    content, overrides = "2019,2020\n" + "1,2\n3,5\n" * 10, ("dataset.features=['2019']", "dataset.targets=['2020']")
    assert len(of_text(tmp_path, content, *overrides).train) == 14
    rows = "2019,2020,a\n" + "1,2,a\n3,5,b\n" * 10
    assert "instead of names" in refusal(tmp_path, rows, *overrides)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "Id", "rownames"])
@pytest.mark.parametrize("header", ["x,y", "0,y"])
def test_a_column_that_numbers_the_rows_is_no_feature(tmp_path: Path, capsys, name: str, header: str) -> None:
    announce.cache_clear()
    numbered = f"{name},{header},1\n" + "".join(f"{row},{row * row},{row % 3},7\n" for row in range(20))
    data = of_text(tmp_path, numbered, "dataset.targets=[y]", "dataset.standardize=false")
    assert data.train.inputs.tolist() == [[row * row, 7] for row in range(14)]
    assert "left out" in capsys.readouterr().out
    if name:
        chosen = of_text(tmp_path, numbered, "dataset.targets=[y]", f"dataset.features=['{name}']")
        assert chosen.spec.input_shape == (1,)
    other = of_text(tmp_path, numbered.replace("\n3,", "\n99,"), "dataset.targets=[y]")
    assert other.spec.input_shape == (3 if name in ("index", "Id", "rownames") else 2,)


COUNTED = [7, *range(10, 23), 9, 8, *range(23, 27)]  # 20 numbers that count 1 by 1, in another order


@pytest.mark.parametrize(
    ("name", "numbers", "is_named"),
    [
        ("x", COUNTED, True),
        *((name, [number**2 for number in COUNTED], True) for name in ("id", "CustomerID", "index", "S.No", "row_nr")),
        *((name, [number**2 for number in COUNTED], False) for name in ("x", "grid", "Valid")),
        ("id", [number / 2 for number in COUNTED], False),
        ("x", [*COUNTED[1:], 8], False),
    ],
)
def test_a_feature_that_seems_to_number_the_rows_is_named(tmp_path, capsys, name, numbers, is_named) -> None:
    announce.cache_clear()
    content = f"a,{name},y\n" + "".join(f"0.5,{number},{number % 3}\n" for number in numbers)
    assert of_text(tmp_path, content, "dataset.targets=[y]").spec.input_shape == (2,)
    assert (f"features that seem to number the rows: {name}; hint: " in capsys.readouterr().out) == is_named
    announce.cache_clear()
    of_text(tmp_path, content, "dataset.targets=[y]", f"dataset.features=['{name}']")
    of_text(tmp_path, content.replace("\n0.5,", "\n").removeprefix("a,"), "dataset.targets=[y]")
    assert "number the rows" not in capsys.readouterr().out


def test_cells_may_be_longer_than_128_kb(tmp_path: Path) -> None:
    content = "x,y,note\n" + f"1,2,{'x' * 200_000}\n2,3,y\n" * 10
    assert len(of_text(tmp_path, content, "dataset.targets=[y]", "dataset.features=[x]").train) == 14
    data = of_text(tmp_path, content, "dataset.targets=[note]", "dataset.task=classification")
    assert [len(label) for label in data.spec.heads[0].labels] == [200_000, 1]


def test_several_targets_have_a_head_for_the_numbers_and_one_for_each_class(tmp_path: Path) -> None:
    targets = "dataset.targets=[pet,price,rooms]"
    data = of_text(tmp_path, TABLE, targets, "dataset.standardize=false")
    assert data.spec.task == "multi_output"
    assert [head.task for head in data.spec.heads] == ["regression", "classification"]
    assert [head.labels for head in data.spec.heads] == [("price", "rooms"), ("cat", "dog")]
    row = np.arange(14)
    np.testing.assert_array_equal(data.train.targets, np.column_stack([100 - row, row * row / 4, row % 3 == 0]))
    np.testing.assert_array_equal(data.train.inputs, row[:, None])


def test_without_standardisation_the_numbers_are_as_they_stand(tmp_path: Path) -> None:
    data = of_text(tmp_path, TABLE, "dataset.features=[rooms,area]", "dataset.targets=[price]",
                   "dataset.standardize=false")  # fmt: skip
    row = np.arange(14)
    np.testing.assert_array_equal(data.train.inputs, np.column_stack([row * row / 4, row]))  # in the order asked for
    np.testing.assert_array_equal(data.train.targets[:, 0], 100 - row)


PLAIN = "x,y\n" + "".join(f"{row},{row - 10.5}\n" for row in range(20))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PLAIN.replace(",", " ,  ").replace("\n", " \n"), id="spaces"),
        pytest.param("\ufeff" + PLAIN, id="byte order mark"),
        pytest.param(PLAIN.replace("\n", "\r\n"), id="carriage returns"),
        pytest.param(PLAIN.replace("\n3,", '\n"3",').replace("x,", '"x",'), id="quoted"),
        pytest.param(PLAIN.rstrip("\n"), id="no newline at the end"),
        pytest.param(PLAIN.replace("\n", '"\n').replace(",", ', "'), id="quoted after a space"),
        pytest.param("\n\n" + PLAIN.replace("\n", "\n\n"), id="blank lines"),
        pytest.param(PLAIN.replace("\n5,-5.5", "\n+5.0,-.55e1"), id="other ways to write a number"),
    ],
)
def test_the_same_numbers_are_read_however_they_are_written(tmp_path: Path, content: str) -> None:
    assert content != PLAIN
    columns = "dataset.features=[x]", "dataset.targets=[y]"
    data = of_text(tmp_path, content, *columns, "dataset.standardize=false")
    np.testing.assert_array_equal(data.train.inputs[:, 0], np.arange(14))
    np.testing.assert_array_equal(data.train.targets[:, 0], np.arange(14) - 10.5)


@pytest.mark.parametrize(
    ("name", "cell"),
    [("first and last", "Ann B. Smith"), ("h:m:s", "10:20:30"), ("tags", "a;b"), ("d/m/y", "1/2/2020"), ("a|b", "")],
)
def test_cells_may_hold_other_separators(tmp_path: Path, name: str, cell: str) -> None:
    content = f"x,{name},y\n" + "".join(f"{row},{cell},{row}\n" for row in range(20))
    assert len(of_text(tmp_path, content, "dataset.targets=[y]", "dataset.features=[x]").train) == 14


def test_quoted_cells_may_hold_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    content = 'x,"the ""kind"", if any"\n' + '1,"a, b"\n2,"c\nd"\n' * 10
    data = of_text(tmp_path, content, "dataset.targets=['the \"kind\", if any']", "dataset.task=classification")
    assert data.spec.heads[0].name == 'the "kind", if any'
    assert data.spec.heads[0].labels == ("a, b", "c\nd")


GOOD = "1,2\n" * 10


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("", ["is empty"], id="empty"),
        pytest.param("\n\n", ["is empty"], id="blank"),
        pytest.param("x,y\n", ["header", "no rows"], id="header only"),
        pytest.param(f"x,y\n{GOOD}1,2,3\n", ["line 12 ", "3 cells", "allowed: 2"], id="a cell too many"),
        pytest.param(f"x,y\n{GOOD}1\n", ["line 12 ", "1 cell;"], id="a cell too few"),
        pytest.param(f"x,y\n\n{GOOD}\n1\n", ["line 14 "], id="ragged after blank lines"),
        pytest.param(f"x,y\n{GOOD}1,two\n", ["line 12,", "column y", "'two'"], id="a word in a target"),
        pytest.param(f"x,y\n{GOOD}1,\u0663\n", ["line 12,", "column y", "not a number"], id="an Arabic digit"),
        pytest.param(f"x,y\n{GOOD}-inf,2\n", ["line 12,", "column x", "'-inf'"], id="inf"),
        pytest.param(f"x,y\n{GOOD}1e999,2\n", ["line 12,", "column x", "'1e999'"], id="more than a float holds"),
        pytest.param(f"x,y\n{GOOD}1,2\0\n", ["line 12,", "column y"], id="a NUL byte"),
        pytest.param(f"x,x\n{GOOD}", ["line 1:", "'x'", "twice"], id="a column twice"),
        pytest.param(f"\n\nx,x\n{GOOD}", ["line 3:", "'x'", "twice"], id="a column twice after blank lines"),
        pytest.param(f"x,z\n{GOOD}", ["dataset.targets=y", "x, z"], id="no such target"),
        pytest.param(f'x,y\n{GOOD}1,"2\n', ["line 12"], id="a quote that never ends"),
        pytest.param("x,y\n1,2\n", ["dataset.validation=0.1", "1 row; hint: add rows"], id="one row"),
        pytest.param("y\n" + "1\n" * 10, ["dataset.features=[]", "beside the targets"], id="a target alone"),
        pytest.param("my x\n1\n2\n", ["dataset.targets=y", "allowed: my x"], id="one column"),
        pytest.param("\n <!DOCTYPE html>\n<title>Oh, no</title>", ["seems to be an HTML page"], id="HTML"),
        pytest.param('[{"x": 1, "y": 2},\n{"x": 1, "y": 2}]', ["seems to be a JSON file"], id="JSON"),
        pytest.param("version https://git-lfs.github.com/spec/v1\nsize 7", ["Git LFS pointer"], id="Git LFS"),
        pytest.param("% by hand\n\n@RELATION iris\n@DATA\n1,2", ["an ARFF file"], id="ARFF"),
        pytest.param("table.csv" + "\0" * 90, ["a binary file"], id="tar"),
        pytest.param("x,y\n" + "1,5,2,5\n" * 9, ["4 cells", "with a point"], id="decimal commas between commas"),
        pytest.param(f"x,y\n{GOOD}".replace("1,", "a,1,"), ["the header lacks a name"], id="row names of R"),
        pytest.param(f"x,y\n{GOOD}{2**53},1\n{2**53 + 1},1\n", ["column x", "2^53"], id="too many digits"),
        pytest.param(f"1,2\n{GOOD}", ["line 1 ", "instead of names"], id="no header"),
        pytest.param("1,?,a\n" + "2,3,a\n" * 9, ["line 1 ", "instead of names"], id="no header, a missing value"),
        pytest.param("0,1,a\n" + "2,3,a\n" * 9, ["line 1 ", "instead of names"], id="no header, counting"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_reported_in_one_line_that_names_the_place(
    tmp_path: Path, content: str | bytes, said: list[str]
) -> None:
    message = refusal(tmp_path, content)
    assert message.startswith("dataset.")
    assert "allowed:" in message or "hint:" in message
    for part in said:
        assert part in message


@pytest.mark.parametrize("point", [".", ","])
@pytest.mark.parametrize("sign", [";", "\t", "|", " "])
def test_a_separator_is_found(tmp_path: Path, sign: str, point: str) -> None:
    rows = [["a", "b", "y"], *([f"{row}{point}5", row % 4, row] for row in range(20))]
    content = "\n".join(sign.join(map(str, cells)) for cells in rows)
    data = of_text(tmp_path, content, "dataset.targets=[y]", "dataset.standardize=false")
    assert data.train.inputs.tolist() == [[row + 0.5, row % 4] for row in range(14)]


CLASSES = "x,kind\n" + "1,a\n2,b\n" * 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("x,kind\n" + "1,a\n" * 10, ["column kind", "one class, a"], id="a constant class"),
        pytest.param("x,kind\n" + "".join(f"1,{row}.5\n" for row in range(20)), ["distinct numbers"], id="continuous"),
        pytest.param("x,kind\n" + "1,7\n2,007\n3,7.0\n" * 5, ["column kind holds one class, 7"], id="one number"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_classes_is_reported_in_one_line(tmp_path: Path, content: str, said: list[str]) -> None:
    message = refusal(tmp_path, content, "dataset.targets=[kind]", "dataset.task=classification")
    for part in ["dataset.path=", "table.csv", *said]:
        assert part in message


def test_a_near_miss_of_a_column_gives_the_nearest(tmp_path: Path) -> None:
    assert "dataset.targets=prise is not known (nearest: price)" in refusal(
        tmp_path, TABLE, "dataset.targets=[prise]", "dataset.features=[area]"
    )
    assert "dataset.features=room is not known (nearest: rooms)" in refusal(
        tmp_path, TABLE, "dataset.targets=[price]", "dataset.features=[room]"
    )


def test_a_missing_file_and_a_folder_are_reported_in_one_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.csv", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigError) as caught:
            built(path, "dataset.targets=[y]")
        assert f"dataset.path={path} cannot be read" in str(caught.value)
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_target_must_be_named(tmp_path: Path) -> None:
    assert "dataset.targets is empty; allowed: area, rooms, price, pet" in refusal(
        tmp_path, TABLE, "dataset.targets=[]"
    )


def test_an_unknown_task_is_refused_with_those_there_are(tmp_path: Path) -> None:
    message = refusal(tmp_path, TABLE, "dataset.targets=[price]", "dataset.task=regresion")
    assert message.endswith(
        "(nearest: regression); allowed: auto, classification, multi_output, multilabel, regression"
    )
    message = refusal(tmp_path, TABLE, "dataset.targets=[price]", "dataset.task={prise: regression}")
    assert message == "dataset.task=prise is not known (nearest: price); allowed: price"


def test_a_path_and_targets_must_be_given() -> None:
    with pytest.raises(ConfigError, match=r"^dataset\.path is missing"):
        parsed("dataset=csv", "dataset.targets=[y]")
    with pytest.raises(ConfigError, match=r"^dataset\.targets is missing"):
        parsed("dataset=csv", "dataset.path=table.csv")

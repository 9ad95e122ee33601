"""The division of the rows of a table, against scikit-learn's splitters and exhaustive search."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, StratifiedShuffleSplit

from dl_lab.core import rng
from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.partition import divide
from dl_lab.data.tables.folds import FoldConfig, fold_of
from dl_lab.data.tables.partition import PartitionConfig, Parts, partition

VALUES = {"validation": 0.1, "test": 0.2, "folds": None, "fold": None, "shuffle": True}
VALUES |= {"split": None, "group": None, "time": None, "stratify": None}
KEYS = {"groups": "group", "times": "time", "assigned": "split"}


def parts_of(rows: int, seed: int = 0, more: Any = None, **values: Any) -> Parts:
    """The parts of a table. `more` are the columns, whose keys are named."""
    more = more or {}
    named = {key: "column" for column, key in KEYS.items() if column in more}
    parts = partition(PartitionConfig(**{**VALUES, **named, **values}), rows, seed, **more)
    everything = parts if parts.validation is not parts.train else (parts.train, parts.test)
    assert sorted(np.concatenate(everything)) == list(range(rows))
    return parts


def counts(parts: Parts, classes: np.ndarray) -> list[list[int]]:
    return [np.bincount(classes[part], minlength=classes.max() + 1).tolist() for part in parts]


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (7, 0.31), (1, 0), (0.2, 11)])
@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_without_more_keys_are_divided_as_always(validation: float, test: float, shuffle: bool) -> None:
    order = torch.randperm(53, generator=rng.generator(3, "split")) if shuffle else torch.arange(53)
    parts = parts_of(53, 3, validation=validation, test=test, shuffle=shuffle)
    for part, expected in zip(parts, divide(53, validation, test, order), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_without_validation_the_training_rows_validate() -> None:
    parts = parts_of(10, validation=0, more={"classes": np.arange(10) % 2})
    np.testing.assert_array_equal(parts.train, parts.validation)
    assert len(parts.test) == 2


@pytest.mark.parametrize("sizes", [(50, 50, 50), (152, 124, 68), (357, 212), (59, 71, 48), (1000, 33, 41, 52)])
@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.2), (0.25, 0), (37, 41)])
def test_classes_are_divided_as_by_scikit_learn(sizes: tuple[int, ...], validation: float, test: float) -> None:
    classes = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = parts_of(len(classes), validation=validation, test=test, more={"classes": classes})
    rest = classes
    for part in (parts.test, parts.validation):
        if len(part):
            expected = next(StratifiedShuffleSplit(1, test_size=len(part), random_state=0).split(rest, rest))[1]
            share = np.bincount(rest) * len(part) / len(rest)
            tied = len(set((share % 1).round(9))) < len(sizes)  # scikit-learn draws which class has one more
            ours, theirs = np.bincount(classes[part]), np.bincount(rest[expected])
            np.testing.assert_array_equal(*((np.sort(ours), np.sort(theirs)) if tied else (ours, theirs)))
            rest = np.repeat(np.arange(len(sizes)), np.bincount(rest) - ours)


def test_a_rare_class_is_in_every_split() -> None:
    classes = np.array([0] * 500 + [1] * 3 + [2] * 4)
    assert all(min(each) >= 1 for each in counts(parts_of(507, more={"classes": classes}), classes))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("rows", "folds", "test"), [(50, 5, 0), (53, 5, 0.2), (11, 11, 0), (40, 2, 7)])
@pytest.mark.parametrize("kind", ["plain", "in order", "classes", "groups"])
def test_each_row_outside_the_test_split_is_validated_once(
    kind: str, rows: int, folds: int, test: float, seed: int
) -> None:
    more = {
        "classes": {"classes": np.arange(rows) % max(1, rows // folds // 3)},
        "groups": {"groups": np.arange(rows)},
    }.get(kind)
    found = [
        parts_of(rows, seed, more, folds=folds, fold=fold, test=test, shuffle=kind != "in order")
        for fold in range(folds)
    ]
    assert len({tuple(sorted(parts.test)) for parts in found}) == 1
    validated = np.concatenate([parts.validation for parts in found])
    assert sorted([*validated, *found[0].test]) == list(range(rows))
    sizes = [len(parts.validation) for parts in found]
    assert max(sizes) - min(sizes) <= 1
    if kind == "in order" and not test:
        for parts, (_, expected) in zip(found, KFold(folds).split(np.zeros(rows)), strict=True):
            np.testing.assert_array_equal(parts.validation, expected)


@pytest.mark.parametrize("sizes", [(50, 50, 50), (31, 10, 17), (7, 6, 5)])
def test_folds_of_classes_are_those_of_scikit_learn(sizes: tuple[int, ...]) -> None:
    classes = np.repeat(np.arange(len(sizes)), sizes)
    found = [
        np.bincount(classes[parts_of(len(classes), folds=5, fold=fold, test=0, more={"classes": classes}).validation])
        for fold in range(5)
    ]
    expected = [np.bincount(classes[part]) for _, part in StratifiedKFold(5).split(classes, classes)]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", range(8))
def test_sizes_of_groups_are_as_near_as_possible(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 12, size=random.integers(3, 9))
    groups = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    parts = parts_of(len(groups), seed, {"groups": groups}, test=0.3, validation=0.2)
    asked = round(0.3 * len(groups))
    possible = [sum(some) for number in range(1, len(sizes)) for some in combinations(sizes.tolist(), number)]
    assert abs(len(parts.test) - asked) == min(abs(each - asked) for each in possible)
    assert sum(len(set(groups[part])) for part in parts) == len(sizes)


def test_many_groups_are_divided_exactly_and_by_seed() -> None:
    groups = np.repeat(np.arange(20_000), np.random.default_rng(0).geometric(0.2, 20_000))
    found = [parts_of(len(groups), seed, {"groups": groups}) for seed in (0, 1)]
    assert {len(parts.test) for parts in found} == {round(0.2 * len(groups))}
    shared = len(np.intersect1d(found[0].test, found[1].test)) / len(found[0].test)
    assert shared == pytest.approx(0.2, abs=0.02)  # 3 standard deviations for 4,000 groups are 0.02


def test_folds_of_groups_are_as_large_as_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    groups = random.permutation(np.repeat(np.arange(23), random.integers(1, 40, size=23)))
    found = [parts_of(len(groups), 0, {"groups": groups}, folds=4, fold=fold, test=0) for fold in range(4)]
    expected = [len(part) for _, part in GroupKFold(4).split(groups, groups=groups)]
    assert sorted(len(parts.validation) for parts in found) == sorted(expected)


@pytest.mark.parametrize("folds", [None, 4])
def test_groups_are_stratified_where_possible(folds: int | None) -> None:
    random = np.random.default_rng(0)
    groups = random.permutation(np.repeat(np.arange(120), 5))
    classes = (groups % 4 == 0).astype(int)
    more = {"groups": groups, "classes": classes}
    parts = parts_of(600, 0, more, stratify=True, folds=folds, fold=folds and 1)
    for part, size in zip(parts, (360, 120, 120) if folds else (420, 60, 120), strict=True):
        assert len(part) == pytest.approx(size, abs=5)
        assert classes[part].mean() == pytest.approx(0.25, abs=5 / len(part))


def test_the_last_rows_are_the_test_split_and_equal_times_stay_together() -> None:
    times = np.random.default_rng(0).permutation(np.repeat(np.arange(25.0), 4))
    parts = parts_of(100, more={"times": times}, validation=9, test=21)
    assert [len(part) for part in parts] == [72, 8, 20]
    assert times[parts.train].max() < times[parts.validation].min()
    assert times[parts.validation].max() < times[parts.test].min()


def test_a_column_names_the_split_and_the_rest_is_drawn_from_the_training_rows() -> None:
    words = [("Train", " val", "TEST")[row % 3] for row in range(30)]
    assert [(set(part % 3), len(part)) for part in parts_of(30, more={"assigned": words})] == [
        ({0}, 10),
        ({1}, 10),
        ({2}, 10),
    ]
    words = [("train", "test")[row % 2] for row in range(40)]
    for more in ({}, {"folds": 5, "fold": 4}):
        parts = parts_of(40, more={"assigned": words}, validation=4, **more)
        assert [len(part) for part in parts] == [16, 4, 20]
        assert set(parts.test % 2) == {1}


CLASSES = np.array([0] * 20 + [1] * 2)
ONE_GROUP, TWO_GROUPS = np.zeros(22, dtype=int), np.arange(22) % 2
TIMES = np.array([0.0] * 12 + [1.0] * 10)
WORDS = ["train", "val"] * 11


@pytest.mark.parametrize(
    ("more", "values", "message"),
    [
        ({"classes": CLASSES, "labels": ["a", "b"]}, {"stratify": True}, "class b has too few rows, 2; allowed: 3"),
        ({"classes": CLASSES}, {"stratify": True, "folds": 4, "fold": 0}, "class 1 has too few rows, 2; allowed: 5"),
        ({"classes": TWO_GROUPS}, {"stratify": True, "test": 1}, "1 row is too small for 2 classes"),
        (
            {"classes": np.arange(22) % 3},
            {"stratify": True, "test": 12, "folds": 4, "fold": 0},
            "fold of 2 rows is too",
        ),
        ({}, {"stratify": True}, "dataset.stratify=true is not allowed with these targets"),
        ({}, {"folds": 19, "fold": 0}, "dataset.folds=19 is more than the 18 rows outside the test split"),
        ({}, {"folds": 5}, "dataset.fold=null is not allowed with dataset.folds=5; allowed: 0 to 4; hint"),
        ({}, {"folds": 5, "fold": 5}, "dataset.fold=5 is not allowed with dataset.folds=5; allowed: 0 to 4"),
        ({}, {"fold": 0}, "dataset.fold=0 is not allowed; allowed: null without dataset.folds"),
        ({"groups": ONE_GROUP}, {}, "dataset.group=column has 1 value for 3 parts"),
        ({"groups": TWO_GROUPS}, {}, "dataset.group=column has 2 values for 3 parts"),
        ({"groups": TWO_GROUPS}, {"folds": 3, "fold": 0, "test": 0}, "2 values for 3 parts"),
        ({"groups": TWO_GROUPS - 1}, {}, "has 11 rows without a value, such as row 1; allowed"),
        ({"groups": np.arange(22), "classes": CLASSES}, {"stratify": True}, "split without class 1"),
        ({"times": TIMES}, {}, "dataset.time=column has too few distinct values"),
        ({"times": np.where(TIMES > 0, np.nan, TIMES)}, {}, "has 10 rows without a value, such as row 13"),
        ({"times": TIMES}, {"group": "g"}, "dataset.group=g is not allowed; allowed: null with dataset.time=column"),
        ({"times": TIMES}, {"folds": 2, "fold": 0}, "dataset.folds=2 is not allowed; allowed: null with dataset.time"),
        ({"times": TIMES}, {"stratify": True}, "dataset.stratify=True is not allowed; allowed: null with dataset.time"),
        ({}, {"stratify": True, "shuffle": False}, "allowed: null with dataset.shuffle=false"),
        ({"assigned": ["train", "tets"] * 11}, {}, "dataset.split=column row 2=tets is not known (nearest: test)"),
        ({"assigned": ["test", "val"] * 11}, {}, "dataset.split=column names no training row"),
        ({"assigned": ["train", None] * 11}, {}, "dataset.split=column has 11 rows without a value"),
        (
            {"assigned": WORDS},
            {"folds": 2, "fold": 0},
            "dataset.folds=2 is not allowed; allowed: null with dataset.spl",
        ),
        (
            {"assigned": [*WORDS[1:], "test"]},
            {"time": "t"},
            "dataset.time=t is not allowed; allowed: null with dataset",
        ),
        ({"assigned": WORDS, "groups": np.arange(22) // 2}, {"test": 0}, "assigned to two splits: 11 of 11 groups"),
        ({}, {"validation": 0.5, "test": 0.5}, "leave no training example of 22"),
        (
            {},
            {"validation": 0.01},
            "dataset.validation=0.01 is not allowed; allowed: at least 1 of 22 rows; hint: add rows",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(more: Any, values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parts_of(22, more=more, **values)
    assert message in str(error.value)
    assert "allowed:" in str(error.value)


def test_a_class_with_too_few_rows_is_named_and_the_rows_are_divided_by_seed(capsys: Any) -> None:
    announce.cache_clear()
    parts = parts_of(22, more={"classes": CLASSES, "labels": ["a", "b"]})
    assert "not stratified: class b has too few rows, 2; allowed: 3 or more" in capsys.readouterr().out
    for part, expected in zip(parts, parts_of(22), strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize("shuffle", [True, False])
def test_bundled_tables_have_the_same_folds(shuffle: bool) -> None:
    for fold in range(3):
        values = {"folds": 3, "fold": fold, "test": 5, "shuffle": shuffle}
        order = torch.randperm(31, generator=rng.generator(0, "split")) if shuffle else torch.arange(31)
        found = fold_of(FoldConfig(validation=0.1, **values), order)
        for part, expected in zip(found, parts_of(31, **values), strict=True):
            np.testing.assert_array_equal(part, expected)

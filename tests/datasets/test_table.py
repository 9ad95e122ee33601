"""Tables: standardization as scikit-learn's StandardScaler, and the names of heads."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler

from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data
from dl_lab.datasets.table import Table, TableConfig, table_data

ROWS, TRAINED = 40, 30
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=ROWS)
COLUMNS = {
    **{f"constant {value}": np.full(ROWS, value) for value in (0.0, 14.62, 0.1, 1 / 3, 1e9 + 0.1, -1.7e-30, 3e38)},
    "constant but for rounding": 14.62 + 1e-13 * NOISE,
    "almost constant": 14.62 + 1e-10 * NOISE,
    "far from zero": 1e9 + 1e-3 * NOISE,
    "0 but for one": np.eye(ROWS)[3],
    "ordinary": NOISE,
    "small": 1e-100 * NOISE,
    "smaller than a square": 1e-300 * NOISE,
    "large": 3e38 * np.tanh(NOISE),
}


def split(numbers: Mapping[str, NDArray[np.float64]], targets: list[str], classes: Any = None, **more: Any) -> Data:
    """The data of a table whose first TRAINED rows are the training split."""
    sizes = {"validation": 5, "test": 5, "shuffle": False, "standardize": True}
    config = TableConfig(features=[], targets=targets, **{**sizes, **more})
    return table_data(config, Table(numbers, classes or {}), 0)


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_standardized_as_by_scikit_learn(name: str) -> None:
    column = COLUMNS[name].copy()
    column[TRAINED:] *= 1.5
    scaler = StandardScaler().fit(column[:TRAINED, None])
    data = split({"x": column, "y": column}, ["y"])
    expected = scaler.transform(column[:, None])
    # a mean is rounded in its last digits, which changes a result by `error` and the standard deviation by its square
    error = 1e-15 * TRAINED * float(np.abs(column[:TRAINED]).max() / scaler.scale_[0])
    close = {"rtol": 1e-12 + error**2, "atol": error}
    for part, rows in ((data.train, slice(TRAINED)), (data.validation, slice(TRAINED, 35)), (data.test, slice(35, 40))):
        np.testing.assert_allclose(part.inputs, expected[rows], **close)
        np.testing.assert_allclose(part.targets, expected[rows], **close)
    assert data.spec.heads[0].scale == pytest.approx(scaler.scale_.tolist(), rel=close["rtol"])


def test_a_single_training_row_is_constant() -> None:
    data = split({"x": NOISE[:3], "y": NOISE[:3]}, ["y"], validation=1, test=1)
    np.testing.assert_array_equal(data.validation.inputs[:, 0], NOISE[1:2] - NOISE[0])


@pytest.mark.parametrize("target", ["far", "y"])
def test_a_value_too_large_for_float32_is_refused(target: str) -> None:
    far = np.where(np.arange(ROWS) < TRAINED, 1e-9 * NOISE, 1e32)
    for column in (far, 1e200 * NOISE):
        with pytest.raises(ConfigError, match=r"^dataset\.(features|targets)=far .* hint: "):
            split({"far": column, "y": NOISE}, [target])


def test_classes_without_a_training_example_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    announce.cache_clear()
    numbers = np.where(np.arange(ROWS) < TRAINED, np.arange(ROWS) % 2, 3)
    split({"x": NOISE}, ["kind"], {"kind": (numbers, list("abcd"))})
    assert "2 of 4 classes have no example in the training split, such as 'c'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("numbers", "classes", "expected"),
    [
        (["a", "b"], ["kind"], "regression"),
        (["regression", "b"], ["kind"], "regression"),
        (["a", "b"], ["regression", "regression_", "loss"], "regression__"),
        (["a"], ["regression", "a/loss"], "a"),
    ],
)
def test_heads_have_distinct_names(numbers: list[str], classes: list[str], expected: str) -> None:
    labels = {name: (np.arange(ROWS) % 2, ["no", "yes"]) for name in classes}
    data = split(dict.fromkeys(["x", *numbers], NOISE), [*numbers, *classes], labels)
    assert [head.name for head in data.spec.heads] == [expected, *classes]

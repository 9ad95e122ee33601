"""Real data that comes with scikit-learn, so that nothing is downloaded (https://scikit-learn.org/stable/datasets)."""

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dl_lab.data.dataset import Data
from dl_lab.datasets.images import ImageConfig, image_data
from dl_lab.datasets.table import Table, TableConfig, table_data
from dl_lab.registry import DATASETS

CLASS_COLUMNS = {"iris": "species", "wine": "cultivar", "breast_cancer": "diagnosis"}


@dataclass(frozen=True, kw_only=True)
class DigitsConfig(ImageConfig):
    test: float


@cache
def _digits_table() -> NDArray[np.uint8]:
    """scikit-learn's file, (image, 64 pixels and a label); importing scikit-learn takes longer than training here."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.uint8)


@DATASETS.register("digits", DigitsConfig, kinds={"image"}, tasks={"classification"})
def digits(config: DigitsConfig, data_dir: Path, seed: int) -> Data:
    """1,797 handwritten digits of 8x8 pixels with values 0 to 16 (Alpaydin & Kaynak 1998, UCI)."""
    table = torch.from_numpy(_digits_table())
    images, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].long()
    return image_data(config, seed, images, labels, [str(digit) for digit in range(10)], test=config.test)


@dataclass(frozen=True, kw_only=True)
class BundledTableConfig(TableConfig):
    """A table whose columns are known beforehand."""

    name: str

    @property
    def task(self) -> str:
        """What the chosen targets make: classification if the class alone, else regression, else both."""
        class_column = CLASS_COLUMNS.get(self.name)
        if class_column not in self.targets:
            return "regression"
        return "classification" if len(self.targets) == 1 else "multi_output"


def _column(name: str) -> str:
    """A column's name without its unit, in the manner of Python: "sepal length (cm)" is sepal_length."""
    return re.sub(r"\W+", "_", re.sub(r"\(.*\)", "", name).strip()).lower()


def _table(config: BundledTableConfig, bunch: Any, seed: int) -> Data:
    numbers = {
        _column(name): column.astype(np.float64) for name, column in zip(bunch.feature_names, bunch.data.T, strict=True)
    }
    class_column = CLASS_COLUMNS.get(config.name)
    if class_column is not None:
        labels = [str(name) for name in bunch.target_names]
        return table_data(config, Table(numbers, {class_column: (bunch.target.astype(np.int64), labels)}), seed)
    targets = bunch.target.reshape(len(bunch.data), -1).T.astype(np.float64)
    names = [_column(name) for name in getattr(bunch, "target_names", ["progression"])]
    return table_data(config, Table(numbers | dict(zip(names, targets, strict=True)), {}), seed)


def _register(name: str, load: Callable[[], Any], about: str) -> None:
    def build(config: BundledTableConfig, data_dir: Path, seed: int) -> Data:
        return _table(config, load(), seed)

    build.__doc__ = about
    tasks = {"regression", "classification", "multi_output"} if name in CLASS_COLUMNS else {"regression"}
    DATASETS.register(name, BundledTableConfig, kinds={"features"}, tasks=tasks)(build)


def _loader(name: str) -> Callable[[], Any]:
    def load() -> Any:
        import sklearn.datasets

        return getattr(sklearn.datasets, f"load_{name}")()

    return load


_register("iris", _loader("iris"), "150 flowers, 4 lengths in cm, 3 species (Fisher 1936).")
_register("wine", _loader("wine"), "178 wines, 13 chemical measures, 3 cultivars (Forina et al. 1991, UCI).")
_register(
    "breast_cancer",
    _loader("breast_cancer"),
    "569 tumours, 30 measures, 2 diagnoses (Street et al. 1993, UCI).",
)
_register(
    "diabetes",
    _loader("diabetes"),
    "442 patients, 10 measures, progression after a year (Efron et al. 2004).",
)
_register("linnerud", _loader("linnerud"), "20 men, 3 exercises, 3 measures of the body (Tenenhaus 1998).")

"""Datasets that are part of scikit-learn and need no download (https://scikit-learn.org/stable/datasets)."""

import importlib.util
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dl_lab.data.dataset import Data
from dl_lab.data.partition import FractionOrCount
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.tables.folds import FoldConfig
from dl_lab.datasets.images import ImageConfig, image_data
from dl_lab.datasets.table import Table, TableConfig, table_data
from dl_lab.registry import DATASETS

CLASS_COLUMNS = {"iris": "species", "wine": "cultivar", "breast_cancer": "diagnosis"}


class DigitsConfig(ImageConfig):
    test: FractionOrCount


@cache
def _digits_table() -> NDArray[np.uint8]:
    """Read scikit-learn's file (image, 64 pixels and a label); importing scikit-learn takes longer than training."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    return np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.uint8)


@DATASETS.register("digits", DigitsConfig, kinds={"image"}, tasks={"classification"})
def digits(config: DigitsConfig, data_dir: Path, seed: int) -> Data:
    """1,797 handwritten digits of 8x8 pixels with values 0 to 16 (Alpaydin & Kaynak 1998, UCI)."""
    table = torch.from_numpy(_digits_table())
    images, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].long()
    data = image_data(config, seed, images, labels, [str(digit) for digit in range(10)], test=config.test)
    return replace(data, preprocessing=Preprocessing(spec=data.spec, white=16.0))


class BundledTableConfig(TableConfig, FoldConfig):
    """A table whose columns are known in advance."""

    name: str

    @property
    def task(self) -> str:
        """Classification for the class column alone, regression for numbers alone, multi_output for both."""
        class_column = CLASS_COLUMNS.get(self.name)
        if class_column not in self.targets:
            return "regression"
        return "classification" if len(self.targets) == 1 else "multi_output"


def _column(name: str) -> str:
    """Return a column's name without its unit as an identifier: "sepal length (cm)" becomes sepal_length."""
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


def _register(name: str, about: str) -> None:
    def build(config: BundledTableConfig, data_dir: Path, seed: int) -> Data:
        import sklearn.datasets

        return _table(config, getattr(sklearn.datasets, f"load_{name}")(), seed)

    build.__doc__ = about
    tasks = {"regression", "classification", "multi_output"} if name in CLASS_COLUMNS else {"regression"}
    DATASETS.register(name, BundledTableConfig, kinds={"features"}, tasks=tasks)(build)


_register("iris", "150 flowers, 4 lengths in cm, 3 species (Fisher 1936).")
_register("wine", "178 wines, 13 chemical measurements, 3 cultivars (Forina et al. 1991, UCI).")
_register("breast_cancer", "569 tumours, 30 measurements, 2 diagnoses (Street et al. 1993, UCI).")
_register("diabetes", "442 patients, 10 measurements, disease progression after one year (Efron et al. 2004).")
_register("linnerud", "20 men, 3 exercises, 3 body measurements (Tenenhaus 1998).")

"""Generated data: regression with known weights, and classes that are or are not linearly separable."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from dl_lab.core import rng
from dl_lab.core.errors import require
from dl_lab.core.schema import Finite, NonEmpty, NonNegativeFloat, PositiveInt
from dl_lab.data.dataset import Data
from dl_lab.datasets.table import Table, TableConfig, table_data
from dl_lab.registry import DATASETS

FiniteList = Annotated[list[Finite], NonEmpty, "a list of one finite number or more"]
Points = tuple[NDArray[np.float64], NDArray[np.int64]]


class GeneratedConfig(TableConfig):
    """`noise`: the standard deviation of the normal noise on the target, or on the points."""

    examples: PositiveInt
    noise: NonNegativeFloat


def _random(seed: int) -> Generator:
    return default_rng(rng.seed_for(seed, "data"))


def _regression(
    config: GeneratedConfig, inputs: dict[str, NDArray[np.float64]], y: NDArray[np.float64], seed: int
) -> Data:
    noisy = y + config.noise * _random(seed).spawn(1)[0].standard_normal(len(y))
    return table_data(config, Table(inputs | {"y": noisy}, {}), seed)


class LineConfig(GeneratedConfig):
    slope: Finite
    intercept: Finite


@DATASETS.register("line", LineConfig, kinds={"features"}, tasks={"regression"})
def line(config: LineConfig, data_dir: Path, seed: int) -> Data:
    """y = slope * x + intercept + noise, x uniform in [-1, 1]."""
    x = _random(seed).uniform(-1, 1, config.examples)
    return _regression(config, {"x": x}, config.slope * x + config.intercept, seed)


class PlaneConfig(GeneratedConfig):
    """`weights`: one for each feature."""

    weights: FiniteList
    intercept: Finite


@DATASETS.register("plane", PlaneConfig, kinds={"features"}, tasks={"regression"})
def plane(config: PlaneConfig, data_dir: Path, seed: int) -> Data:
    """y = weights . x + intercept + noise, with standard normal x1, x2, ..."""
    x = _random(seed).standard_normal((config.examples, len(config.weights)))
    inputs = {f"x{number}": column for number, column in enumerate(x.T, 1)}
    return _regression(config, inputs, x @ np.array(config.weights) + config.intercept, seed)


class PolynomialConfig(GeneratedConfig):
    """`coefficients`: of x^0, x^1, ... in the target; `degree`: the highest power of x among the features."""

    coefficients: FiniteList
    degree: PositiveInt


@DATASETS.register("polynomial", PolynomialConfig, kinds={"features"}, tasks={"regression"})
def polynomial(config: PolynomialConfig, data_dir: Path, seed: int) -> Data:
    """y = polynomial(x) + noise, x uniform in [-1, 1]; the features are the powers of x."""
    x = _random(seed).uniform(-1, 1, config.examples)
    inputs = {f"x{power}": x**power for power in range(1, config.degree + 1)}
    return _regression(config, inputs, np.polynomial.Polynomial(config.coefficients)(x), seed)


def _classes(config: GeneratedConfig, points: Points, seed: int, classes: int = 2) -> Data:
    inputs, labels = points
    names = [str(number) for number in range(classes)]
    columns = {f"x{number}": column for number, column in enumerate(inputs.T, 1)}
    return table_data(config, Table(columns, {"class": (labels, names)}), seed)


class ClassesConfig(GeneratedConfig):
    classes: Annotated[int, Ge(2), "a whole number, 2 or more"]

    def __post_init__(self) -> None:
        allowed = f"{self.classes} or more, one for each class"
        require(self.examples >= self.classes, "dataset.examples", self.examples, allowed)


def _sklearn(name: str, config: GeneratedConfig, seed: int, classes: int = 2, **parameters: object) -> Data:
    """Draw points from a generator of scikit-learn."""
    import sklearn.datasets

    make: Callable[..., Points] = getattr(sklearn.datasets, f"make_{name}")
    random_state = rng.seed_for(seed, "data") % 2**32
    inputs, labels = make(config.examples, random_state=random_state, **parameters)
    return _classes(config, (inputs, labels.astype(np.int64)), seed, classes)


@DATASETS.register("moons", GeneratedConfig, kinds={"features"}, tasks={"classification"})
def moons(config: GeneratedConfig, data_dir: Path, seed: int) -> Data:
    """Two interleaving half circles (sklearn.datasets.make_moons)."""
    return _sklearn("moons", config, seed, noise=config.noise)


@DATASETS.register("circles", GeneratedConfig, kinds={"features"}, tasks={"classification"})
def circles(config: GeneratedConfig, data_dir: Path, seed: int) -> Data:
    """A circle of radius 0.5 inside a circle of radius 1 (sklearn.datasets.make_circles)."""
    return _sklearn("circles", config, seed, noise=config.noise, factor=0.5)


@DATASETS.register("blobs", ClassesConfig, kinds={"features"}, tasks={"classification"})
def blobs(config: ClassesConfig, data_dir: Path, seed: int) -> Data:
    """Normal clusters around random centres, with standard deviation `noise` (sklearn.datasets.make_blobs)."""
    return _sklearn("blobs", config, seed, config.classes, centers=config.classes, cluster_std=config.noise)


class SpiralsConfig(ClassesConfig):
    turns: NonNegativeFloat


@DATASETS.register("spirals", SpiralsConfig, kinds={"features"}, tasks={"classification"})
def spirals(config: SpiralsConfig, data_dir: Path, seed: int) -> Data:
    """Interleaved spiral arms, one for each class (a smooth form of the two-spirals task, Lang & Witbrock 1988)."""
    random = _random(seed)
    labels = np.arange(config.examples) % config.classes
    radius = np.sqrt(random.uniform(0.02, 1, config.examples))
    angle = 2 * np.pi * (config.turns * radius + labels / config.classes)
    points = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return _classes(
        config, (points + config.noise * random.standard_normal(points.shape), labels), seed, config.classes
    )


@DATASETS.register("xor", GeneratedConfig, kinds={"features"}, tasks={"classification"})
def xor(config: GeneratedConfig, data_dir: Path, seed: int) -> Data:
    """Clusters around (+-1, +-1), `noise` wide; class 1 if exactly one sign is + (Minsky & Papert 1969)."""
    random = _random(seed)
    corners = random.integers(0, 2, (config.examples, 2))
    points = 2.0 * corners - 1 + config.noise * random.standard_normal(corners.shape)
    return _classes(config, (points, corners[:, 0] ^ corners[:, 1]), seed)

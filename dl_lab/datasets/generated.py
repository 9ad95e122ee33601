"""Data drawn from a known law: regression on known weights, and classes that a line can or cannot part."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from dl_lab.core import rng
from dl_lab.core.errors import ALL_FINITE, COUNT, FINITE, NOT_NEGATIVE, check, require
from dl_lab.data.dataset import Data
from dl_lab.datasets.table import Table, TableConfig, table_data
from dl_lab.registry import DATASETS

Points = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class GeneratedConfig(TableConfig):
    """`noise` is the standard deviation of what is added to the target, or to the points."""

    examples: int
    noise: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"examples": COUNT, "noise": NOT_NEGATIVE})


def _random(seed: int) -> Generator:
    return default_rng(rng.seed_for(seed, "data"))


def _regression(
    config: GeneratedConfig, inputs: dict[str, NDArray[np.float64]], y: NDArray[np.float64], seed: int
) -> Data:
    noisy = y + config.noise * _random(seed).spawn(1)[0].standard_normal(len(y))
    return table_data(config, Table(inputs | {"y": noisy}, {}), seed)


@dataclass(frozen=True, kw_only=True)
class LineConfig(GeneratedConfig):
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"slope": FINITE, "intercept": FINITE})


@DATASETS.register("line", LineConfig, kinds={"features"}, tasks={"regression"})
def line(config: LineConfig, data_dir: Path, seed: int) -> Data:
    """y = slope * x + intercept + noise, x uniform in [-1, 1]."""
    x = _random(seed).uniform(-1, 1, config.examples)
    return _regression(config, {"x": x}, config.slope * x + config.intercept, seed)


@dataclass(frozen=True, kw_only=True)
class PlaneConfig(GeneratedConfig):
    """`weights`: one a feature."""

    weights: list[float]
    intercept: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"weights": ALL_FINITE, "intercept": FINITE})


@DATASETS.register("plane", PlaneConfig, kinds={"features"}, tasks={"regression"})
def plane(config: PlaneConfig, data_dir: Path, seed: int) -> Data:
    """y = weights . x + intercept + noise, every x standard normal."""
    x = _random(seed).standard_normal((config.examples, len(config.weights)))
    inputs = {f"x{number}": column for number, column in enumerate(x.T, 1)}
    return _regression(config, inputs, x @ np.array(config.weights) + config.intercept, seed)


@dataclass(frozen=True, kw_only=True)
class PolynomialConfig(GeneratedConfig):
    """`coefficients` of x^0, x^1, ... make the target; the model is given x^1 ... x^`degree`."""

    coefficients: list[float]
    degree: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"degree": COUNT, "coefficients": ALL_FINITE})


@DATASETS.register("polynomial", PolynomialConfig, kinds={"features"}, tasks={"regression"})
def polynomial(config: PolynomialConfig, data_dir: Path, seed: int) -> Data:
    """y = a polynomial in x + noise, x uniform in [-1, 1]; the features are powers of x."""
    x = _random(seed).uniform(-1, 1, config.examples)
    inputs = {f"x{power}": x**power for power in range(1, config.degree + 1)}
    return _regression(config, inputs, np.polynomial.Polynomial(config.coefficients)(x), seed)


def _classes(config: GeneratedConfig, points: Points, seed: int, classes: int = 2) -> Data:
    inputs, labels = points
    names = [str(number) for number in range(classes)]
    columns = {f"x{number}": column for number, column in enumerate(inputs.T, 1)}
    return table_data(config, Table(columns, {"class": (labels, names)}), seed)


@dataclass(frozen=True, kw_only=True)
class ClassesConfig(GeneratedConfig):
    classes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.classes >= 2, "dataset.classes", self.classes, "a whole number, 2 or more")
        require(
            self.examples >= self.classes,
            "dataset.examples",
            self.examples,
            f"one a class or more, {self.classes}",
        )


def _sklearn(name: str, config: GeneratedConfig, seed: int, classes: int = 2, **parameters: object) -> Data:
    """Points of one of scikit-learn's generators."""
    import sklearn.datasets

    make: Callable[..., Points] = getattr(sklearn.datasets, f"make_{name}")
    random_state = rng.seed_for(seed, "data") % 2**32
    inputs, labels = make(config.examples, random_state=random_state, **parameters)
    return _classes(config, (inputs, labels.astype(np.int64)), seed, classes)


@DATASETS.register("moons", GeneratedConfig, kinds={"features"}, tasks={"classification"})
def moons(config: GeneratedConfig, data_dir: Path, seed: int) -> Data:
    """Two half circles that reach into each other (sklearn.datasets.make_moons)."""
    return _sklearn("moons", config, seed, noise=config.noise)


@DATASETS.register("circles", GeneratedConfig, kinds={"features"}, tasks={"classification"})
def circles(config: GeneratedConfig, data_dir: Path, seed: int) -> Data:
    """A circle of radius 0.5 within one of radius 1 (sklearn.datasets.make_circles)."""
    return _sklearn("circles", config, seed, noise=config.noise, factor=0.5)


@DATASETS.register("blobs", ClassesConfig, kinds={"features"}, tasks={"classification"})
def blobs(config: ClassesConfig, data_dir: Path, seed: int) -> Data:
    """Normal clouds around random centres, `noise` wide (sklearn.datasets.make_blobs)."""
    return _sklearn("blobs", config, seed, config.classes, centers=config.classes, cluster_std=config.noise)


@dataclass(frozen=True, kw_only=True)
class SpiralsConfig(ClassesConfig):
    turns: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"turns": NOT_NEGATIVE})


@DATASETS.register("spirals", SpiralsConfig, kinds={"features"}, tasks={"classification"})
def spirals(config: SpiralsConfig, data_dir: Path, seed: int) -> Data:
    """Arms that wind around each other, one a class (the two-spirals task of Lang & Witbrock 1988, made smooth)."""
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
    """Clouds around (+-1, +-1), `noise` wide; class 1 where exactly one sign is + (Minsky & Papert 1969)."""
    random = _random(seed)
    corners = random.integers(0, 2, (config.examples, 2))
    points = 2.0 * corners - 1 + config.noise * random.standard_normal(corners.shape)
    return _classes(config, (points, corners[:, 0] ^ corners[:, 1]), seed)

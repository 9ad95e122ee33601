"""A dataset of your own, three concentric rings: one config class and one registered function, nothing else.

python -m dl_lab.train --config-dir experiments/own_conf 'imports=[experiments.support.rings]' dataset=rings
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dl_lab.data.dataset import Data
from dl_lab.datasets.table import Table, TableConfig, table_data
from dl_lab.registry import DATASETS


@dataclass(frozen=True, kw_only=True)
class RingsConfig(TableConfig):
    examples: int
    noise: float


@DATASETS.register("rings", RingsConfig, kinds={"features"}, tasks={"classification"})
def rings(config: RingsConfig, data_dir: Path, seed: int) -> Data:
    """Rings of radius 1, 2 and 3; `noise` is the standard deviation of the radius."""
    random = np.random.default_rng(seed)
    labels = np.arange(config.examples) % 3
    radius = labels + 1 + config.noise * random.standard_normal(len(labels))
    angle = random.uniform(0, 2 * np.pi, len(labels))
    columns = {"x": radius * np.cos(angle), "y": radius * np.sin(angle)}
    return table_data(config, Table(columns, {"ring": (labels, ["inner", "middle", "outer"])}), seed)

"""Datasets: read the published files by hand, and train on a dataset of your own.

Claim: an idx file is a header (two zeros, the type, the number of dimensions, a big-endian size for each) followed by
the bytes (LeCun et al. 1998, http://yann.lecun.com/exdb/mnist): a dozen lines read Fashion-MNIST exactly as torchvision
does. A dataset in twenty lines of your own file (experiments/support/rings.py) trains with the same command.

    python -m experiments.datasets
"""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from torchvision.datasets import FashionMNIST

from dl_lab.datasets.mnist import CLOTHING, FILES, read_idx
from dl_lab.plotting.figures import image_grid, scatter
from experiments.support.findings import Report
from experiments.support.rings import RingsConfig, rings

TAKES = 20  # seconds on two cores
SOURCE = "http://yann.lecun.com/exdb/mnist"
CONF = Path(__file__).with_name("own_conf")


def read_by_hand(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of bytes by its published description."""
    with path.open("rb") as file:
        zero, kind, dimensions = struct.unpack(">HBB", file.read(4))
        assert (zero, kind) == (0, 8), f"{path} holds no bytes"
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        return np.frombuffer(file.read(), dtype=np.uint8).reshape(shape)


def train_on_rings(folder: Path) -> float:
    """Train on the custom dataset with the usual command; returns the test accuracy."""
    given = ["imports=[experiments.support.rings]", "dataset=rings", "train.steps=600", f"hydra.run.dir={folder}"]
    line = [sys.executable, "-m", "dl_lab.train", "--config-dir", str(CONF), *given]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, cwd=CONF.parents[1])
    return float(json.loads((folder / "summary.json").read_text())["test"]["accuracy"])


def main() -> Report:
    report = Report("datasets", SOURCE)
    home = Path(os.environ.get("DL_LAB_DATA", Path.home() / ".cache" / "dl_lab"))
    raw = home / "FashionMNIST" / "raw"
    by_hand = [read_by_hand(raw / file) for file in FILES]
    peers = [FashionMNIST(home, train=train, download=True) for train in (True, False)]
    theirs = [part for peer in peers for part in (peer.data, peer.targets)]
    for file, ours, reference in zip(FILES, by_hand, theirs, strict=True):
        report.equal(f"{file} read by hand", ours.astype(np.int16), reference.short(), 0, "torchvision")
        report.equal(f"{file} read by dl_lab", read_idx(raw / file).short(), reference.short(), 0, "torchvision")
    counts = np.bincount(by_hand[1])
    source = "https://github.com/zalandoresearch/fashion-mnist"
    claim, measured = "6,000 training images of each class", f"{counts.min()} to {counts.max()}"
    report.holds(claim, (counts == 6000).all(), measured, "6,000", source)
    names = [CLOTHING[label] for label in by_hand[1][:24]]
    report.figure("fashion_mnist", image_grid(by_hand[0][:24], "Fashion-MNIST, the first 24 images", names))

    values = yaml.safe_load((CONF / "dataset" / "rings.yaml").read_text())
    config = RingsConfig(**{key: value for key, value in values.items() if key != "name"})
    data = rings(config, home, 0)
    points, labels = next(iter(data.train.everything(len(data.train))))
    held_out, answers = next(iter(data.test.everything(len(data.test))))
    groups = {name: tuple(points[labels == number].T) for number, name in enumerate(data.spec.heads[0].labels)}
    report.figure("rings", scatter(groups, "A dataset of your own", "x (standardized)", "y (standardized)"))
    accuracy = train_on_rings(report.folder.absolute() / "rings")
    neighbours = KNeighborsClassifier(5).fit(points, labels).score(held_out, answers)
    claim = "training on a custom dataset is as accurate as scikit-learn's five nearest neighbors"
    report.equal(claim, accuracy, neighbours, 0.03, "KNeighborsClassifier")
    return report


if __name__ == "__main__":
    main().finish()

"""Names of runs, tags and columns. TensorBoard sorts by them, and shows or opens only the first ones."""

import re
from collections.abc import Iterable

from dl_lab.runs.naming import short_overrides

LAST = "~"  # sorts after letters
ASIDE = ("train/lr", "train/gradient_norm", "train/examples_per_second")
FIRST_COLUMNS = ("model", "optimizer", "optimizer.lr", "dataset", "folder")  # of HPARAMS, which shows five of each kind
SHOWN_COLUMNS = 5
LONGEST_NAME = 120  # bytes


def run_name(overrides: Iterable[str]) -> str:
    """A name for a run with these overrides, such as "lr=0.01 seed=2", which is valid as the name of a folder on any
    system; empty for a run without.
    """
    parts = []
    for override in short_overrides([override.lstrip("+~") for override in overrides]):
        key, _, value = override.partition("=")
        plain = re.sub(r"[^\w.,+-]+", "_", re.sub(r"[\[\](){}'\"]|(?<=,)\s+", "", value))
        parts.append(re.sub(r"[^\w.-]+", "_", key) + "=" + plain)
    return " ".join(parts).encode()[:LONGEST_NAME].decode(errors="ignore").rstrip(" .")


def tag_of(name: str) -> str:
    """The tag of "train/loss", "best/loss" or "epoch". TensorBoard sorts groups of tags by name and opens the first
    two, which are therefore train and val, with the loss and the metrics only.
    """
    if name in ASIDE:
        return name.replace("train/", "while training/")
    return name if name.startswith(("train/", "val/")) else f"{LAST}{name}"


def column_of(key: str) -> str:
    """The name of a hyperparameter by which TensorBoard sorts it; it shows no leading spaces."""
    return " " * (len(FIRST_COLUMNS) - FIRST_COLUMNS.index(key)) + key if key in FIRST_COLUMNS else key

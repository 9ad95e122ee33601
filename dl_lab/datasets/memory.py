"""Examples in the memory of this process, which dl_lab.run(data=(X, y)) holds while it uses them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.data.tables.reading import RawTable, Reading
from dl_lab.datasets.table_config import RowsConfig
from dl_lab.datasets.table_file import KINDS, TASKS, rows_data
from dl_lab.registry import DATASETS

if TYPE_CHECKING:
    import polars as pl

AS_IN_PYTHON = Reading(
    separator="auto", encoding="auto", header=True, decimal=".", thousands=None, percent=False, missing=[]
)


@dataclass(frozen=True)
class Examples:
    """Rows of features, if there are no `pixels` (row, channel, height, width), and of `targets`; `digest` identifies
    them.
    """

    frame: "pl.DataFrame"
    targets: tuple[str, ...]
    pixels: Tensor | None
    digest: str


class MemoryConfig(RowsConfig):
    """The rows are identified by their `digest`."""

    digest: str | None


_held: ContextVar[Examples | None] = ContextVar("examples", default=None)


@contextmanager
def held(examples: Examples | None) -> Iterator[None]:
    """Give these examples to the dataset `memory` inside the context."""
    token = _held.set(examples)
    try:
        yield
    finally:
        _held.reset(token)


@DATASETS.register("memory", MemoryConfig, kinds=KINDS, tasks=TASKS)
def memory(config: MemoryConfig, data_dir: Path, seed: int) -> Data:
    """Arrays or dataframes in memory, which the process must hold (see `held`).

    Raises:
        ConfigError: if this process holds no examples, or other ones.
    """
    examples = _held.get()
    if examples is None:
        raise ConfigError(
            "dataset=memory: the examples were in the memory of a Python program, and this process has none; allowed: "
            "data=(X, y) in Python; hint: dl_lab.run(..., data=(X, y)), also with resume=FOLDER, or "
            "Run.evaluate(data=(X, y))"
        )
    if config.digest != examples.digest:
        what = f"data={examples.digest} are other examples than dataset.digest={config.digest} of the run"
        raise ConfigError(f"{what}; allowed: the same values and names of columns, in the same order")
    try:
        return rows_data(
            config, RawTable("data", examples.frame, AS_IN_PYTHON, None, {}), AS_IN_PYTHON, seed, examples.pixels
        )
    except ConfigError as error:
        raise ConfigError(str(error).replace("dataset.path=data", "data")) from error

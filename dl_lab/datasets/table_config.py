"""The keys of tables in files, and what they exclude."""

from typing import Annotated

from annotated_types import Ge, Len

from dl_lab.core.errors import ConfigError, require, unknown
from dl_lab.core.schema import PositiveInt
from dl_lab.data.tables.partition import PartitionConfig
from dl_lab.data.tables.reading import Reading
from dl_lab.data.tables.types import COUNTER, Kind
from dl_lab.datasets.table import TableConfig
from dl_lab.datasets.tokenized import TokenizerConfig

DEFAULT = "bpe"  # the tokenizer, as in conf
TASKS = ("auto", "regression", "classification", "multilabel", "multi_output")


class RowsConfig(TableConfig, PartitionConfig, TokenizerConfig):
    """`drop` names columns that are no features; `categories`, `numbers` and `dates` set the types of columns. `task`
    is that of all targets, or of each one by its name. `text` names a column of texts, the only input.
    """

    drop: list[str]
    categories: list[str]
    numbers: list[str]
    dates: list[str]
    task: Annotated[str | dict[str, str], f"text ({', '.join(TASKS)}), or {{column: task}}"]
    label_separator: Annotated[str, Len(1)] | None
    max_categories: Annotated[int, Ge(2), "a whole number, 2 or more"]
    sample_weight: str | None
    image_shape: Annotated[list[PositiveInt], Len(3, 3), "a list of 3 whole numbers: channels, height, width"] | None
    text: str | None
    context_length: PositiveInt

    def __post_init__(self) -> None:
        PartitionConfig.__post_init__(self)
        TokenizerConfig.__post_init__(self)
        self._check_text()
        each = self.task if isinstance(self.task, dict) else {}
        for name in each:
            if name not in self.targets:
                raise unknown("dataset.task", name, self.targets)
        for task in each.values() or [self.task]:
            if task not in TASKS:
                raise unknown("dataset.task", task, TASKS)
        is_free = self.sample_weight not in [*self.targets, *self.features]
        require(is_free, "dataset.sample_weight", self.sample_weight, "a column that is neither target nor feature")
        typed = [*self.categories, *self.numbers, *self.dates]
        for key in ("drop", "categories", "numbers", "dates"):
            for name in getattr(self, key):
                taken = self.targets if key != "drop" else [*self.targets, *self.features]
                require(
                    name not in taken, f"dataset.{key}", name, "columns that are neither targets nor chosen features"
                )
                require(typed.count(name) < 2, f"dataset.{key}", name, "one type for each column")

    def _check_text(self) -> None:
        if self.text is None:
            no_effect = f"{DEFAULT} without dataset.text; hint: dataset.text=COLUMN names the text"
            require(self.tokenizer == DEFAULT, "dataset.tokenizer", self.tokenizer, no_effect)
            return
        require(self.text not in self.targets, "dataset.text", self.text, "a column that is no target")
        for key in ("features", "categories", "numbers", "dates", "image_shape"):
            value = getattr(self, key)
            require(not value, f"dataset.{key}", value, f"none with dataset.text={self.text}, the only input")

    @property
    def kind(self) -> str:
        if self.text is not None:
            return "tokens"
        return "features" if self.image_shape is None else "image"

    def type_of(self, name: str) -> Kind | None:
        """The type that is set for a column."""
        kinds: dict[Kind, list[str]] = {"category": self.categories, "number": self.numbers, "date": self.dates}
        return next((kind for kind, names in kinds.items() if name in names), None)

    def is_feature(self, name: str) -> bool:
        """Whether a column is a feature of numbers or of a type to be found, and nothing else."""
        named = [*self.targets, *self.drop, *self.categories, *self.dates]
        others = (self.split, self.group, self.time, self.sample_weight)
        is_chosen = name in self.features if self.features else not COUNTER.fullmatch(name)
        return is_chosen and self.kind == "features" and name not in named and name not in others

    def task_of(self, name: str) -> str:
        return self.task.get(name, "auto") if isinstance(self.task, dict) else self.task


class TableFileConfig(RowsConfig, Reading):
    """Rows in files; `images` names a column of picture files below `image_folder`."""

    path: str
    validation_path: str | None
    test_path: str | None
    images: str | None
    image_folder: str | None

    def __post_init__(self) -> None:
        RowsConfig.__post_init__(self)
        for key in ("validation_path", "test_path"):
            allowed = f"null with dataset.split={self.split}, which assigns the rows of one file"
            require(self.split is None or getattr(self, key) is None, f"dataset.{key}", getattr(self, key), allowed)
        Reading.__post_init__(self)
        self._check_images()

    def _check_images(self) -> None:
        if self.image_folder is not None and self.images is None:
            raise ConfigError(
                f"dataset.image_folder={self.image_folder} has no effect without dataset.images; allowed: null; hint: "
                "dataset.images=COLUMN names the files"
            )
        if self.images is None:
            return
        if self.image_shape is None:
            raise ConfigError(
                f"dataset.images={self.images} needs the size of the images; hint: dataset.image_shape=[3,64,64] "
                "resizes them to 64 x 64 pixels in RGB"
            )
        grey_or_rgb = self.image_shape[0] in (1, 3)
        require(grey_or_rgb, "dataset.image_shape", self.image_shape, "1 channel (grey) or 3 (RGB) for pictures")

    def needs(self, name: str) -> bool:
        """Whether a file of validation or test rows must have a column."""
        used = [*self.targets, *self.features, self.group, self.time, self.sample_weight, self.images, self.text]
        if self.text is not None:
            return name in used
        return name in used if self.features else name not in self.drop

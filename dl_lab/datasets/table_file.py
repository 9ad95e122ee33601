"""Tables from files of the user, with columns of all types, missing values and several targets."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dl_lab.core.errors import ConfigError, unknown
from dl_lab.core.paths import user_path
from dl_lab.core.progress import announce
from dl_lab.data.dataset import Data, byte_statistics
from dl_lab.data.preprocessing import Preprocessing, plain
from dl_lab.data.spec import DataSpec
from dl_lab.data.splits import InMemory
from dl_lab.data.tables import targets
from dl_lab.data.tables.division import Rows
from dl_lab.data.tables.heads import Values, in_float32
from dl_lab.data.tables.joining import read_tables
from dl_lab.data.tables.matrix import assemble, standardize
from dl_lab.data.tables.partition import Parts
from dl_lab.data.tables.reading import RawTable, Reading, with_decimal
from dl_lab.data.tables.report import announce_columns
from dl_lab.data.tables.targets import Target
from dl_lab.data.tables.types import Feature, learned, numbers_rows, typed
from dl_lab.data.tables.weights import weights_of, with_weights
from dl_lab.datasets.images import scale
from dl_lab.datasets.table import choose_columns
from dl_lab.datasets.table_config import RowsConfig, TableFileConfig
from dl_lab.datasets.table_images import Images, images_of, pictures_of
from dl_lab.datasets.table_splits import divided
from dl_lab.datasets.table_texts import tokens_of
from dl_lab.registry import DATASETS

KINDS = ("features", "image", "tokens")
TASKS = ("regression", "classification", "multilabel", "multi_output")


@DATASETS.register("csv", TableFileConfig, kinds=KINDS, tasks=TASKS)
@DATASETS.register("table", TableFileConfig, kinds=KINDS, tasks=TASKS)
def table_file(config: TableFileConfig, data_dir: Path, seed: int) -> Data:
    """Rows of a csv, tsv or parquet file. Everything learned from them is of the training split.

    Raises:
        ConfigError: naming line and column where a cell is wrong.
    """
    options = Reading(**{field.name: getattr(config, field.name) for field in fields(Reading)})
    paths = {"path": config.path, "validation_path": config.validation_path, "test_path": config.test_path}
    table = read_tables(paths, options, config.features, config.targets, config.needs, config.is_feature)
    return rows_data(config, table, options, seed)


def rows_data(config: RowsConfig, table: RawTable, options: Reading, seed: int, pixels: Tensor | None = None) -> Data:
    """Rows of a table that is written as `options` say; `pixels` are those of their images, if they are in memory."""
    candidates = _candidates(config, table) if pixels is None else []
    table = with_decimal(table, table.candidates, options)
    table, rows = targets.rows_with_targets(table, config.targets)
    parts = divided(config, table, rows, seed)
    train = parts.train
    table = with_decimal(table, train, options)
    if table.options.decimal == "," and options.decimal == "auto":
        announce(f"dataset.path={table.path}: numbers have decimal commas; dataset.decimal=. reads them as text")
    found = [_target(config, table, name, rows, train) for name in config.targets]
    parts = targets.known_classes(found, parts)
    if config.text is not None:
        return _text_data(config, table, candidates, found, parts)
    names = _without_index(config, table, candidates, train)
    weights = None if config.sample_weight is None else weights_of(table, config.sample_weight, parts)
    if config.image_shape is not None:
        return _image_data(config, table, names, found, weights, parts, pixels)
    features = _features(config, table, names, train)
    announce_columns(table, features, found, train, is_chosen=bool(config.features), weight=config.sample_weight)
    reading = plain(table.options)
    del table  # which takes as much memory as all that follows
    return _data(config, reading, features, found, weights, parts)


def _candidates(config: RowsConfig, table: RawTable) -> list[str]:
    """The columns that may be features.

    Raises:
        ConfigError: for a column that does not exist.
    """
    known = table.frame.columns
    for key in ("drop", "categories", "numbers", "dates", "split", "group", "time", "sample_weight", "images", "text"):
        value = getattr(config, key, None)
        for name in value if isinstance(value, list) else [value] * (value is not None):
            if name not in known:
                raise unknown(f"dataset.{key}", name, known)
    left_out = [
        *config.drop,
        *({config.split, config.group, config.sample_weight, _images(config)} - {*config.features}),
    ]
    choose_columns(config, known, [])
    return [name for name in config.features or known if name not in [*left_out, *config.targets]]


def _target(config: RowsConfig, table: RawTable, name: str, rows: Rows, train: Rows) -> Target:
    task = targets.task_of(table, name, train, config.task_of(name))
    if task == "multilabel":
        return targets.label_target(table, name, rows, train, config.label_separator)
    if task == "regression":
        return targets.regression_target(table, name, rows)
    return targets.class_target(table, name, train)


def _without_index(config: RowsConfig, table: RawTable, names: Sequence[str], train: Rows) -> list[str]:
    """The names without columns that only number the rows, unless features are chosen."""
    if config.features:
        return [*names]
    index = [name for name in names if config.type_of(name) is None and numbers_rows(table, name, train)]
    for name in index:
        announce(
            f"dataset.path={table.path}: column {table.frame.columns.index(name) + 1} ({name}) is left out, because "
            "it seems to number the rows; dataset.features=[...] can include it"
        )
    return [name for name in names if name not in index]


def _features(config: RowsConfig, table: RawTable, names: Sequence[str], train: Rows) -> list[Feature]:
    """Learn how to encode each column; polars and NumPy work on several columns at a time."""

    def learn(name: str) -> Feature | None:
        column = typed(table, name, train, config.type_of(name))
        return None if column is None else learned(column, train, config.max_categories)

    with ThreadPoolExecutor() as pool:
        features = dict(zip(names, pool.map(learn, names), strict=True))
    if empty := [name for name, feature in features.items() if feature is None]:
        announce(f"dataset.path={table.path}: columns without a value in the training split: {', '.join(empty)}")
    if len(empty) == len(features):
        raise ConfigError("dataset.features=[]: no column remains beside the targets; allowed: at least one feature")
    return [feature for feature in features.values() if feature is not None]


def _data(
    config: RowsConfig,
    reading: Mapping[str, Any],
    features: Sequence[Feature],
    found: Sequence[Target],
    weights: Values | None,
    parts: Parts,
) -> Data:
    """The matrix of the rows in the order of the splits, which are parts of it."""
    order = _order(parts)
    blocks = [block for feature in features for block in feature.encoder.blocks(feature.column.values)]
    matrix, encoders = assemble(blocks, order), [feature.encoder for feature in features]
    if config.standardize:
        encoders = standardize(matrix, encoders, len(parts.train))
    in_float32("features", [name for encoder in encoders for name in encoder.outputs], matrix)
    data = _in_splits(config, torch.from_numpy(matrix), found, weights, parts)
    columns = tuple(map(plain, encoders))
    return replace(data, preprocessing=Preprocessing(spec=data.spec, columns=columns, reading=reading))


def _image_data(
    config: RowsConfig,
    table: RawTable,
    names: Sequence[str],
    found: Sequence[Target],
    weights: Values | None,
    parts: Parts,
    pixels: Tensor | None,
) -> Data:
    """The images of the rows, as bytes, with the statistics of the training split."""
    shape, order, column = config.image_shape or [], _order(parts), _images(config)
    if pixels is not None:
        images, needed = Images(pixels[order], {}), []
    elif column is None:
        images, needed = images_of(table, names, shape, order), [("pixel", name) for name in names]
    else:
        assert isinstance(config, TableFileConfig)
        of_table = Path(config.path).parent
        folder = of_table if config.image_folder is None else user_path(config.image_folder, "dataset.image_folder")
        images, needed = pictures_of(table, column, shape, order, folder), [("picture", column)]
    train = images.pixels[: len(parts.train)]
    mean, std = byte_statistics(train) if config.standardize else scale(train)
    data = _in_splits(config, images.pixels, found, weights, parts)
    files = {"": Path(table.path), **data.files, **images.files} if images.files else data.files
    columns = tuple({"kind": kind, "name": name} for kind, name in needed)
    preprocessing = Preprocessing(spec=data.spec, columns=columns, reading=plain(table.options))
    return replace(data, mean=mean, std=std, files=files, preprocessing=preprocessing)


def _text_data(
    config: RowsConfig, table: RawTable, candidates: Sequence[str], found: Sequence[Target], parts: Parts
) -> Data:
    """The texts of the rows, as tokens."""
    weights = None if config.sample_weight is None else weights_of(table, config.sample_weight, parts)
    others = [name for name in candidates if name != config.text]
    tokens, tokenizer = tokens_of(config, table, others, _order(parts), len(parts.train))
    data = _in_splits(config, tokens, found, weights, parts)
    spec = replace(data.spec, vocabulary=len(tokenizer) + 1, padding=len(tokenizer))
    columns = ({"kind": "text", "name": config.text},)
    preprocessing = Preprocessing(spec=spec, columns=columns, reading=plain(table.options), tokenizer=tokenizer)
    return replace(data, spec=spec, tokenizer=tokenizer, preprocessing=preprocessing)


def _images(config: RowsConfig) -> str | None:
    """The column that names picture files."""
    return config.images if isinstance(config, TableFileConfig) else None


def _order(parts: Parts) -> Rows:
    """The rows of all splits; those of the training split once, if they are also the validation split."""
    return np.concatenate([parts.train, *(part for part in parts[1:] if part is not parts.train)])


def _in_splits(
    config: RowsConfig, inputs: Tensor, found: Sequence[Target], weights: Values | None, parts: Parts
) -> Data:
    """Data of the inputs (row, ...) of all splits, one after the other."""
    rows, order = len(parts.train), _order(parts)
    heads, joined = targets.heads_of(found, order, rows, config.standardize)
    if weights is not None:
        joined = with_weights(joined, weights[order])
    sizes = [rows, *(len(part) for part in parts[1:] if part is not parts.train)]
    splits = [InMemory(*pair) for pair in zip(inputs.split(sizes), joined.split(sizes), strict=True)]
    shape = tuple(inputs.shape[1:])
    return Data(
        spec=DataSpec(kind=config.kind, input_shape=shape, heads=heads, is_weighted=weights is not None),
        train=splits[0],
        validation=splits[-2 if len(splits) > 2 else 0],
        test=splits[-1] if len(parts.test) else None,
        files=_files(config),
    )


def _files(config: RowsConfig) -> dict[str, Path]:
    """The files by names that stay when they are moved; the default if there is one file only."""
    if not isinstance(config, TableFileConfig):
        return {}
    others = {"validation": config.validation_path, "test": config.test_path}
    files = {name: Path(path) for name, path in others.items() if path is not None}
    return {"": Path(config.path), **files} if files else {}

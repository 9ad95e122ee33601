"""Evaluate a trained model on other labelled data: a table with the targets, a folder of classes, or a text."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dl_lab.core.errors import ConfigError, counted, quoted
from dl_lab.core.progress import announce
from dl_lab.data.files import read_text
from dl_lab.data.pictures import inspect
from dl_lab.data.preprocessing import Preprocessing
from dl_lab.data.splits import InMemory, Split, Streamed, Windows
from dl_lab.data.tables.parts import parts_of
from dl_lab.data.tokenizers import one_line_end
from dl_lab.datasets.class_folders import ALLOWED, below, entries, is_picture, plain, split_folders
from dl_lab.inference import inputs
from dl_lab.inference.blocks import DEFAULT_OPTIONS, Block, Options, allowed, naming_path
from dl_lab.inference.tables import reading_of
from dl_lab.inference.targets import first_columns, have_targets, target_columns, targets_of, weights_of
from dl_lab.inference.trained import Trained
from dl_lab.training import loop
from dl_lab.training.state import Plan


@dataclass(frozen=True)
class Labelled(Dataset[tuple[Tensor, int]]):
    """Pictures in files, with their class numbers."""

    files: list[tuple[str, int]]
    preprocessing: Preprocessing

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.files[index]
        return self.preprocessing.stored([path])[0], label


def evaluate_on(trained: Trained, path: Path, options: Options = DEFAULT_OPTIONS) -> dict[str, float]:
    """The metrics on a file or folder with the targets.

    Raises:
        ConfigError: if it holds no targets, or does not fit the model.
    """
    return metrics_of(trained, plan_of(trained, path, options))


def metrics_of(trained: Trained, plan: Plan) -> dict[str, float]:
    """The metrics of a model on the test split of a plan."""
    assert plan.data.test is not None
    metrics = loop.evaluate(trained.model, plan, plan.data.test, at_end=True)
    trained.model.eval()  # the loop leaves it in training mode
    return metrics


def plan_of(trained: Trained, path: Path, options: Options = DEFAULT_OPTIONS) -> Plan:
    """The plan to evaluate a model on a file or folder, whose examples are its test split.

    Raises:
        ConfigError: if it holds no targets, or does not fit the model.
    """
    with naming_path(path):
        if not path.exists():
            raise ConfigError(f"path={path} does not exist; allowed: {allowed(trained)}, with the targets")
        if trained.spec.task == "language_modelling":
            return trained.plan(_text(trained, path))
        if trained.spec.kind == "image" and path.is_dir():
            return trained.plan(_class_folders(trained, path))
        return _table(
            trained, inputs.of_file(trained, path, replace(options, others=target_columns(trained))), str(path)
        )


def plan_of_memory(trained: Trained, frame: pl.DataFrame, pixels: Tensor | None) -> Plan:
    """As `plan_of`, for rows in memory with their targets; `pixels` are their images, if these are not columns.

    Raises:
        ConfigError: if there are no targets, or they do not fit the model.
    """
    if trained.spec.kind == "tokens":
        raise ConfigError("data: the model reads text; allowed: path=FILE")
    options = Options(others=target_columns(trained))
    with naming_path(frame):
        if pixels is None:
            return _table(trained, inputs.of_memory(trained, frame, options), "data")
        parts = parts_of(frame, reading_of(trained, options), options.others, len(frame))
        usable, stored = np.ones(len(frame), dtype=bool), trained.preprocessing.stored(pixels)
        return _table(trained, (Block(pl.DataFrame(), usable, stored, part) for part in parts), "data")


def _text(trained: Trained, path: Path) -> Split:
    """The whole text, without the characters that the model does not know, as in training."""
    tokenizer = trained.preprocessing.tokenizer
    if tokenizer is None or tokenizer.kind == "words":
        raise ConfigError(
            f"path={path}: a file has no targets for this model of sequences; allowed: split=test, or another split"
        )
    text = one_line_end(read_text(str(path), "a text file"))
    known = tokenizer.without_unknown(text)
    if unknown := tokenizer.unknown(text):
        lost = counted(len(text) - len(known), "character")
        announce(f"{path}: {lost} left out, as the training text has none of them: {quoted(unknown)}")
    tokens = tokenizer.encode(known)
    if len(tokens) < 2:
        raise ConfigError(f"path={path} has {counted(len(tokens), 'token')}; allowed: a text of two or more")
    return Windows(tokens, trained.spec.input_shape[0])


def _class_folders(trained: Trained, path: Path) -> Split:
    """The pictures in folders with the names of classes; those that cannot be read are left out."""
    (head,) = trained.spec.heads
    folders = {plain(name): folder for name, folder in entries(path, path)[0].items()}
    known = [name for name in folders if name in head.labels]
    if not known:
        inside = split_folders(path)
        hint = f"; hint: path={inside.get('test', next(iter(inside.values())))}" if inside else ""
        raise ConfigError(
            f"path={path} has no folder of a known class; allowed: {ALLOWED}: {quoted([*head.labels])}{hint}"
        )
    if unseen := [name for name in folders if name not in head.labels]:
        announce(f"{path}: classes that are not in the training data are left out: {quoted(unseen)}")
    files = [(str(file), head.labels.index(name)) for name in known for file in sorted(below(folders[name], path))]
    files = [(file, label) for file, label in files if is_picture(Path(file))]
    inspected = inspect([file for file, _ in files])
    if broken := [f"{file} is {each.problem}" for file, each in inspected.items() if each.problem]:
        announce(f"{path}: {counted(len(broken), 'picture')} left out: {quoted(broken)}")
    files = [(file, label) for file, label in files if not inspected[file].problem]
    if not files:
        raise ConfigError(f"path={path} has no picture of a known class that can be read; allowed: {ALLOWED}")
    return Streamed(Labelled(files, trained.preprocessing), torch.arange(len(files)), 0, torch.device("cpu"))


def _table(trained: Trained, blocks: Iterator[Block], path: str) -> Plan:
    """The plan for the rows with all targets and known classes, with their weights if the table has them."""
    spec, weight = trained.spec, getattr(trained.run.dataset.config, "sample_weight", None)
    unseen, lost = {head.name: set[str]() for head in spec.heads}, 0
    found: list[tuple[Tensor, Tensor]] = []
    weighted = spec.is_weighted
    for block in blocks:
        if block.part is None:
            raise ConfigError(f"path={path} is a picture, without a class; allowed: {ALLOWED}, or a table with targets")
        part, rows = block.part, np.flatnonzero(block.is_usable & have_targets(trained, block.part))
        weighted = weighted and weight in part.frame.columns
        values = np.column_stack([targets_of(trained, head, part, rows, unseen[head.name]) for head in spec.heads])
        is_known = np.ones(len(rows), dtype=bool)
        for place, head in first_columns(spec.heads):
            is_known &= (values[:, place] >= 0) | (head.task != "classification")
        if weighted:
            values = np.column_stack([values, weights_of(part, str(weight), rows)])
        lost += len(part.frame) - len(rows)
        stored = block.stored[block.is_usable.cumsum()[rows[is_known]] - 1]
        found.append((stored, torch.from_numpy(values[is_known])))
    if lost:
        announce(f"{path}: {counted(lost, 'row')} without a target or a picture left out")
    for head in spec.heads:
        if classes := sorted(unseen[head.name]):
            what = "labels" if head.task == "multilabel" else f"rows of classes of {head.name}"
            announce(f"{path}: {what} that are not in the training data are left out: {quoted(classes)}")
    stored, targets = map(torch.cat, zip(*found, strict=True))
    if not len(stored):
        raise ConfigError(
            f"dataset.path={path} has no row with a known target; allowed: rows with the targets of the training data"
        )
    if weighted and not targets[:, -1].sum() > 0:
        raise ConfigError(f"dataset.path={path} column {weight} is 0 in all rows; allowed: a weight above 0")
    if spec.is_weighted and not weighted:
        announce(f"{path} has no column {weight}: metrics are not weighted")
        known = trained.preprocessing
        trained = replace(trained, preprocessing=replace(known, spec=replace(spec, is_weighted=False)))
    if trained.spec.task == "classification" and not weighted:
        targets = targets[:, 0].long()
    return trained.plan(InMemory(stored, targets))

"""Classify every configuration key, once for all parts of the program.

Which runs form one row of `compare`, which job of a sweep is done already, what `resume=` and `rerun=` may change, and
what the members of a stack share all follow from the table KEYS.
"""

import json
from collections.abc import Mapping
from enum import Enum
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

from dl_lab.core.paths import user_path

Scalars = dict[str, float | str | bool]


class Effect(Enum):
    """What a key changes; of several effects the first one counts."""

    MEASURES = "what a metric means: the examples, units or loss behind it, or the checkpoint that it describes"
    COMPUTES = "the trained model"
    OBSERVES = "how the run is named, shown and checked"
    EXECUTES = "where and how fast the run computes; at most the last digits of its results"


class Stacked(Enum):
    """How far the members of a stack may differ in a key."""

    EQUAL = "not at all"
    NUMBERS = "in numbers, and in lists of numbers"
    ANY = "in any value"


class Key(NamedTuple):
    effect: Effect
    stacked: Stacked = Stacked.EQUAL


MEASURES, COMPUTES, OBSERVES, EXECUTES = Effect
EQUAL, NUMBERS, ANY = Stacked

KEYS = {
    "seed": Key(COMPUTES, ANY),
    "precision": Key(COMPUTES),
    "device": Key(EXECUTES),
    "threads": Key(EXECUTES),
    "compile": Key(EXECUTES),
    "deterministic": Key(EXECUTES),
    "data_dir": Key(EXECUTES),
    "imports": Key(EXECUTES),
    "name": Key(OBSERVES, ANY),
    "tags": Key(OBSERVES, ANY),
    "claim": Key(OBSERVES, ANY),
    "claim.*": Key(OBSERVES, ANY),
    "sweep": Key(EXECUTES, ANY),  # which jobs there are, not what one computes
    "sweep.*": Key(EXECUTES, ANY),
    "model": Key(COMPUTES),
    "model.*": Key(COMPUTES),
    "optimizer": Key(COMPUTES),
    "optimizer.*": Key(COMPUTES, NUMBERS),  # vectorized.optimizers knows which numbers a rule needs equal
    "initializer": Key(COMPUTES, ANY),
    "initializer.*": Key(COMPUTES, ANY),
    "dropout": Key(COMPUTES),
    "dropout.*": Key(COMPUTES, NUMBERS),
    "schedule": Key(COMPUTES, ANY),
    "schedule.*": Key(COMPUTES, ANY),
    "loss": Key(MEASURES),
    "loss.*": Key(MEASURES, NUMBERS),
    "dataset": Key(MEASURES),
    "dataset.*": Key(COMPUTES),  # of entries that users register
    **dict.fromkeys(
        (
            *(
                "dataset.path",
                "dataset.digest",
                "dataset.examples",
                "dataset.validation",
                "dataset.test",
                "dataset.shuffle",
                "dataset.folds",
                "dataset.validation_path",
                "dataset.test_path",
                "dataset.split",
                "dataset.group",
                "dataset.time",
                "dataset.stratify",
                "dataset.skip_broken",
            ),  # the splits
            *("dataset.targets", "dataset.task", "dataset.standardize", "dataset.context_length"),  # targets and units
            *("dataset.separator", "dataset.encoding", "dataset.header", "dataset.decimal", "dataset.thousands"),
            *(
                "dataset.percent",
                "dataset.missing",
                "dataset.task.*",
                "dataset.sample_weight",
                "dataset.label_separator",
            ),
            *("dataset.noise", "dataset.classes", "dataset.modulus", "dataset.length", "dataset.digits"),  # generated
            *("dataset.coefficients", "dataset.degree", "dataset.intercept", "dataset.slope", "dataset.weights"),
            *("dataset.turns", "dataset.tokenizer", "dataset.vocabulary_size"),
        ),
        Key(MEASURES),
    ),
    "dataset.fold": Key(COMPUTES, ANY),  # as the seed, it chooses the validation split
    "dataset.features": Key(COMPUTES),
    "dataset.drop": Key(COMPUTES),
    "dataset.categories": Key(COMPUTES),
    "dataset.numbers": Key(COMPUTES),
    "dataset.dates": Key(COMPUTES),
    "dataset.max_categories": Key(COMPUTES),
    **dict.fromkeys(("dataset.image_shape", "dataset.images", "dataset.image_folder", "dataset.text"), Key(COMPUTES)),
    "dataset.size": Key(COMPUTES),
    "dataset.grey": Key(COMPUTES),
    "dataset.statistics_examples": Key(COMPUTES),
    "dataset.crop": Key(COMPUTES),
    "dataset.flip": Key(COMPUTES),
    "dataset.num_workers": Key(EXECUTES),
    "train.epochs": Key(COMPUTES),
    "train.steps": Key(COMPUTES),
    "train.patience": Key(COMPUTES, ANY),
    "train.batch_size": Key(COMPUTES),
    "train.accumulate": Key(COMPUTES),  # batch normalization sees smaller batches, dropout draws other masks
    "train.max_grad_norm": Key(COMPUTES, NUMBERS),
    "train.decay_biases": Key(COMPUTES),
    "train.one_batch": Key(MEASURES),  # validates on that batch
    "train.validate_every": Key(MEASURES),  # the best of more validations is better
    "train.best": Key(MEASURES, ANY),  # chooses the checkpoint that is tested
    "train.eval_batch_size": Key(EXECUTES),  # validation adds up sums over examples
    "train.log_every": Key(OBSERVES),  # a point of a training curve is a mean since the previous one
    "train.pictures": Key(OBSERVES),
}


@cache
def classified(key: str) -> Key | None:
    """The entry of KEYS for a dotted key or the name of a group, or that of the closest group that holds it."""
    found, group = KEYS.get(key), key.rpartition(".")[0]
    while found is None and group:
        found, group = KEYS.get(f"{group}.*"), group.rpartition(".")[0]
    return found


def effect(key: str) -> Effect:
    """What a key changes; an unknown one, of an older version, counts as a part of the computation, as does `data`, the
    fingerprint of the files that a run was trained on.
    """
    found = classified(key)
    return COMPUTES if found is None else found.effect


def is_identity(key: str) -> bool:
    """Whether runs that differ in this key are runs of different configurations, or have different seeds."""
    return effect(key) in (MEASURES, COMPUTES)


_SECTIONS = {key.removesuffix(".*") for key in KEYS if key.endswith(".*")}
LENGTH = ("train.steps", "train.epochs")
HARMLESS_KEYS = tuple(key for key in KEYS if not is_identity(key) and key not in _SECTIONS and key[-1] != "*")
MOVED = ("dataset.path", "dataset.validation_path", "dataset.test_path")  # the same data elsewhere
REPEATS = ("seed", "dataset.fold")  # runs of one configuration differ in these
RESUME_KEYS = (*LENGTH, *HARMLESS_KEYS, *MOVED)
RERUN_KEYS = tuple(key for key in RESUME_KEYS if key not in (*LENGTH, "train.log_every"))  # these decide which points


def flatten(values: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration by dotted key, with the choice of a group under the name of the group."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix.removesuffix(".") if prefix and key == "name" else f"{prefix}{key}"] = value
    return flat


def hyperparameters(values: Mapping[str, Any]) -> Scalars:
    """A nested configuration as TensorBoard's HPARAMS show it, without paths and claims; lists and null become text."""
    flat = flatten({key: value for key, value in values.items() if key not in ("data_dir", "imports", "claim")})
    return {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in flat.items()}


def configuration(values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a flat configuration that all runs of one row of `compare` share: its identity without REPEATS."""
    return {key: value for key, value in values.items() if is_identity(key) and key not in REPEATS}


def configuration_name(values: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that name the configuration of flat `values`, the same for all seeds. Where the data are
    known by their fingerprint, their place has no effect.
    """
    place = MOVED if "data" in values else ()
    return digest({key: value for key, value in configuration(values).items() if key not in place})[:8]


def measurement(values: Mapping[str, Any], metric: str | None = None) -> dict[str, Any]:
    """The part of flat `values` that decides what metrics mean, or what this one means: runs that share it can be
    compared. It includes the fingerprint of the data, with which their place has no effect.
    """
    part, _, name = (metric or "").rpartition("/")
    ignored = {*(MOVED if "data" in values else ())}
    if metric and name != "loss":
        ignored |= {key for key in values if key.partition(".")[0] == "loss"} | {"dataset.standardize"}
    if name == "bits_per_byte":
        ignored |= {"dataset.tokenizer", "dataset.vocabulary_size"}
    if part.partition("/")[0] in ("last", "train"):
        ignored |= {"train.best", "train.validate_every"}
    return {
        key: value
        for key, value in values.items()
        if (effect(key) is MEASURES or key == "data") and key not in ignored and key not in REPEATS
    }


def signature(values: Mapping[str, Any]) -> str:
    """A digest of what a run with this nested configuration computes, including its seed."""
    identity = {key: value for key, value in flatten(values).items() if is_identity(key)}
    for key in MOVED:
        if isinstance(path := identity.get(key), str):
            identity[key] = str(user_path(path, key).absolute())
    return digest(identity)


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """The first key in which two nested configurations compute or measure something else, with both values; None if
    there is none. The length of a run and the place of its data may differ: they have checks of their own.
    """
    ours, theirs = flatten(first), flatten(second)
    for key in sorted(ours.keys() | theirs.keys()):
        values = [flat.get(key) for flat in (ours, theirs)]
        if is_identity(key) and key not in (*LENGTH, *MOVED) and _canonical(values[0]) != _canonical(values[1]):
            return f"{key}={values[0]} instead of {key}={values[1]}"
    return None


def digest(values: Mapping[str, Any]) -> str:
    """The SHA-256 of canonical JSON: keys are sorted, and 1.0 is 1."""
    text = json.dumps(_canonical(values), sort_keys=True, separators=(",", ":"), default=str)
    return sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def may_differ_in_stack(key: str, value: Any) -> bool:
    """Whether the members of a stack may differ in a key that has this value in one of them."""
    stacked = (classified(key) or Key(COMPUTES)).stacked
    parts = [part for part in value if part is not None] if isinstance(value, list) else [value]
    numbers = all(isinstance(part, int | float) and not isinstance(part, bool) for part in parts)
    return stacked is ANY or (stacked is NUMBERS and numbers)


def shared_in_stack(values: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a nested configuration that all members of a stack share; numbers that may differ are "a number"."""
    flat = {key: value for key, value in flatten(values).items() if not may_differ_in_stack(key, None)}
    return {key: "a number" if may_differ_in_stack(key, value) else value for key, value in flat.items()}

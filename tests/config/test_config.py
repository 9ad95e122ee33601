"""The typed configuration: every key of every choice has a type, a value in YAML, and a line for a mistake."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from support.commands import TINY, spawn
from support.configs import choices, compose, container, parsed
from support.sweeps import add_model

from dl_lab.config.compose import with_new_keys
from dl_lab.config.parse import parse
from dl_lab.config.schema import RunSettings, TrainConfig
from dl_lab.config.validation import typed
from dl_lab.core.errors import COUNT, FINITE, ConfigError, check, one_of, require
from dl_lab.datasets.generated import LineConfig
from dl_lab.registry import REGISTRIES

ENTRIES = [(group, name) for group, registry in REGISTRIES.items() for name in registry.names()]
REQUIRED = {"path": "somewhere", "targets": ["y"]}  # what only the user can know, ??? in YAML


@cache
def base(*overrides: str) -> dict[str, Any]:
    return container(*overrides)


def with_entry(group: str, name: str, /, **changes: Any) -> dict[str, Any]:
    """A whole configuration that chooses an entry, its YAML's values changed."""
    chosen = base(f"{group}={name}")[group]
    given = {key: REQUIRED[key] if value == "???" else value for key, value in chosen.items()}
    return {**deepcopy(base()), group: {**given, **changes}}


def wrong(hint: Any) -> Iterator[tuple[Any, str]]:
    """Values of the wrong type for a field, each with a pattern for what the error says is allowed."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words = {int: "whole number", float: "number", bool: "true or false", str: "text"}
    kind = next(option for option in options if option is not type(None))
    if get_origin(kind) is list:
        yield {"a": 1}, "a list|numbers?"
        yield [{"a": 1}], "a list|numbers?"
        return
    allowed = str(get_args(kind)[0]) if get_origin(kind) is Literal else words[kind]
    yield [1], allowed
    if str not in options:
        yield 1.5 if kind is int else "many", allowed
    if kind in (int, float):
        yield True, allowed
    if type(None) not in options:
        yield None, allowed


def typed_fields() -> Iterator[Any]:
    """Every field of every schema, with a configuration's values for all of them."""
    schemas = [(group, name, REGISTRIES[group][name].schema) for group, name in ENTRIES]
    for group, name, schema in [*schemas, ("train", "default", TrainConfig), ("", "run", RunSettings)]:
        for field in fields(schema):
            if field.name != "name" or not group:  # a choice's name is looked up, not typed
                yield pytest.param(group, name, schema, field.name, id=f"{group or 'settings'}={name}-{field.name}")


@pytest.mark.parametrize(("group", "name", "schema", "field"), list(typed_fields()))
def test_an_error_about_a_wrong_type_says_what_is_allowed(group, name, schema, field):
    whole = with_entry(group, name)[group] if group else base()
    values = {inner.name: whole[inner.name] for inner in fields(schema)}
    key = f"{group}.{field}" if group else field
    for value, words in wrong(get_type_hints(schema)[field]):
        with pytest.raises(ConfigError, match=f"^{re.escape(key)}=.* is not .*; allowed: .*({words})") as caught:
            typed(schema, {**values, field: value}, group)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_a_missing_key_and_an_unknown_one_are_reported_for_every_entry(group, name):
    values = with_entry(group, name)
    for key in [field.name for field in fields(REGISTRIES[group][name].schema) if field.name != "name"]:
        without = {**values, group: {inner: value for inner, value in values[group].items() if inner != key}}
        with pytest.raises(ConfigError, match=f"^{group}.{key} is missing; allowed: "):
            parse(without)
    with pytest.raises(ConfigError, match=f"^{group}.surely_not is not a key.*; allowed: "):
        parse(with_entry(group, name, surely_not=1))


LENGTH = "${oc.select:model.context_length,64}"


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_a_configuration_of_an_older_version_gets_every_key_that_its_choice_has_now(group, name):
    now = container(f"{group}={name}", resolve=False)[group]
    assert with_new_keys({group: {"name": name}})[group] == {
        key: {"???": None, LENGTH: 64}.get(str(value), value) for key, value in now.items()
    }


@pytest.mark.parametrize("choice", choices("train"))
def test_every_length_of_training_is_a_whole_train_configuration(choice):
    assert isinstance(parsed(f"train={choice}").train, TrainConfig)


@dataclass(frozen=True, kw_only=True)
class UsersConfig:
    """A configuration as README.md shows it, without the classes of dl_lab."""

    width: int
    scale: float
    mode: str
    deep: bool

    def __post_init__(self) -> None:
        check("model", self, {"width": COUNT, "mode": one_of("3", "wide")})
        require(self.scale < self.width, "model.scale", self.scale, f"less than model.width={self.width}")


USERS_VALUES = {"width": 3, "scale": 1, "mode": "wide", "deep": False}


@pytest.mark.parametrize(
    ("key", "value", "converted"), [("width", "4", 4), ("scale", "0.5", 0.5), ("scale", 2, 2.0), ("mode", 3, "3")]
)
def test_a_value_is_converted_if_nothing_is_lost(key, value, converted):
    config = typed(UsersConfig, {**USERS_VALUES, key: value}, "model")
    assert isinstance(config, UsersConfig)
    assert getattr(config, key) == converted
    assert type(getattr(config, key)) is type(converted)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 4.0}, "model.width=4.0 is not allowed; allowed: a whole number"),
        ({"width": True}, "model.width=True is not allowed; allowed: a whole number"),
        ({"scale": True}, "model.scale=True is not allowed; allowed: a number"),
        ({"deep": 1.0}, "model.deep=1.0 is not allowed; allowed: true or false"),
        ({"width": -1}, "model.width=-1 is not allowed; allowed: a whole number, 1 or more"),
        ({"mode": "flat"}, "model.mode=flat is not allowed; allowed: 3, wide"),
        ({"scale": 9}, "model.scale=9.0 is not allowed; allowed: less than model.width=3"),
        (
            {"widht": 1},
            "model.widht is not a key (nearest: width); allowed: deep, mode, scale, width; hint: model.width=1",
        ),
    ],
)
def test_a_plain_dataclass_of_a_user_is_validated(values, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        typed(UsersConfig, {**USERS_VALUES, **values}, "model")


@dataclass(frozen=True, kw_only=True)
class UsersLineConfig(LineConfig):
    """A subclass of a configuration of dl_lab, decorated as a plain dataclass is."""

    bend: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check("dataset", self, {"bend": FINITE})


def test_a_dataclass_of_a_user_extends_a_configuration_of_ours():
    values = with_entry("dataset", "line")["dataset"]
    del values["name"]
    config = typed(UsersLineConfig, {**values, "bend": 2}, "dataset")
    assert (config.slope, config.bend) == (values["slope"], 2.0)
    assert replace(config, bend=3.0) == typed(UsersLineConfig, {**values, "bend": 3.0}, "dataset")
    with pytest.raises(FrozenInstanceError):
        config.slope = 1.0
    for wrong_value in ({"bend": "nan"}, {"bend": 0.0, "noise": -1}):
        with pytest.raises(ConfigError, match="is not allowed; allowed: "):
            typed(UsersLineConfig, {**values, **wrong_value}, "dataset")


def test_an_unknown_key_is_reported_with_the_nearest():
    with pytest.raises(ConfigError, match=r"^optimizer.beta is not a key \(nearest: betas\); allowed: .*amsgrad"):
        parse(with_entry("optimizer", "adam", beta=[0.9, 0.999]))
    with pytest.raises(ConfigError, match=r"^sed is not a key \(nearest: seed\); allowed: "):
        parse({**base(), "sed": 1})


@pytest.mark.parametrize(("value", "words"), [("???", "is missing"), ("${seed}", "is an interpolation")])
def test_a_plain_mapping_holds_values_and_nothing_to_look_up(value, words):
    with pytest.raises(ConfigError, match=f"^optimizer.lr(=.*)? {words}"):
        parse(with_entry("optimizer", "adam", lr=value))


def test_a_missing_group_or_setting_is_an_error():
    for key in [*REGISTRIES, "train", "seed", "device"]:
        with pytest.raises(ConfigError, match=f"^{key} is missing; hint: "):
            parse({name: value for name, value in base().items() if name != key})


def test_a_name_that_nobody_registered_is_reported_with_the_nearest():
    with pytest.raises(ConfigError, match=r"^model.name=mpl is not known \(nearest: mlp\); allowed: cnn, "):
        parse(with_entry("model", "mlp", name="mpl"))


def test_a_group_without_a_name_is_reported():
    with pytest.raises(ConfigError, match=r"^loss=.* has no name; allowed: one of auto, "):
        parse({**base(), "loss": {}})
    with pytest.raises(ConfigError, match=r"^loss=mse has no name; allowed: one of auto, "):
        parse({**base(), "loss": "mse"})


def test_what_only_the_user_knows_is_asked_for():
    with pytest.raises(ConfigError, match=r"^dataset.path is missing; hint: dataset.path=VALUE"):
        parse(compose("dataset=text", "model=transformer"))


def test_values_arrive_with_their_types_and_as_plain_values():
    overrides = ("model.hidden_sizes=[3,4]", "optimizer.lr=1", "train.batch_size=full", "seed=7", "data_dir=here")
    run = parsed(*overrides)
    assert run.model.config.hidden_sizes == [3, 4]
    assert isinstance(run.optimizer.config.lr, float)
    assert run.train.batch_size == "full"
    assert run.train.patience is None
    assert (run.settings.seed, run.settings.data_folder) == (7, Path("here"))
    composed = {key: value for key, value in container(*overrides).items() if key != "sweep"}  # no part of a run
    assert run.as_dict == {**composed, "data_dir": str(Path("here").absolute())}


@pytest.mark.parametrize("steps_per_epoch", [1, 7, 20, 21, 99, 100, 101, 500])
def test_length_and_validations_follow_their_rules(steps_per_epoch):
    def config(**changes: int) -> TrainConfig:
        return TrainConfig(**{**base()["train"], **changes})

    assert config(steps=3).total_steps(steps_per_epoch) == 3
    with pytest.raises(ConfigError, match=r"train.epochs=5 and train.steps=3 are both set; hint: "):
        config(steps=3, epochs=5)
    assert config(epochs=5).total_steps(steps_per_epoch) == 5 * steps_per_epoch
    assert config().total_steps(steps_per_epoch) == max(20 * steps_per_epoch, 2000)
    assert config(validate_every=3).steps_between_validations(steps_per_epoch) == 3
    between = config().steps_between_validations(steps_per_epoch)  # the fewest whole epochs that make 20 steps
    assert between % steps_per_epoch == 0
    assert between - steps_per_epoch < 20 <= between


USERS_MODULE = """
from dataclasses import dataclass

from torch import nn

from dl_lab.registry import MODELS


@dataclass(frozen=True, kw_only=True)
class MeanConfig:
    scale: float


@MODELS.register("mean", MeanConfig, kinds={"features"})
class Mean(nn.Module):
    def __init__(self, config, spec, make_dropout):
        super().__init__()
        self.scale = config.scale
        self.head = nn.Linear(1, spec.num_outputs)

    def forward(self, features):
        return self.head(self.scale * features.mean(dim=1, keepdim=True))
"""


TRAIN_AND_EVALUATE = """
import sys
from dl_lab import evaluate, train
sys.argv[1:] = {arguments}
train.main()
sys.argv[1:] = ["run=run", "imports=[mean]"]
evaluate.main()
"""


def test_a_module_of_the_working_folder_registers_a_model_that_trains(tmp_path):
    add_model(tmp_path, "mean", USERS_MODULE, "scale: 2.0")
    arguments = ["--config-dir", "own", "model=mean", "imports=[mean]", "hydra.run.dir=run", *TINY]
    ended = spawn(tmp_path, "-P", "-c", TRAIN_AND_EVALUATE.format(arguments=arguments))
    assert ended.returncode == 0, ended.stderr
    trained, evaluated = (line[4:].lstrip() for line in ended.stdout.splitlines() if line.startswith("test  "))
    assert evaluated.startswith(trained.split("  (")[0])  # which lists fewer metrics
    # iris has 3 classes: one weight and one bias each
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["parameters"] == 6


USERS_DATA = """
from dataclasses import dataclass

import torch

from dl_lab.data.dataset import Data
from dl_lab.data.spec import DataSpec, Head
from dl_lab.data.splits import InMemory
from dl_lab.registry import DATASETS


@dataclass(frozen=True, kw_only=True)
class HolesConfig:
    hole: float


@DATASETS.register("holes", HolesConfig, kinds={"features"}, tasks={"regression"})
def holes(config, data_dir, seed):
    inputs, targets = torch.rand(20, 3), torch.rand(20, 1)
    inputs[7, 2] = config.hole
    split = InMemory(inputs, targets)
    spec = DataSpec(kind="features", input_shape=(3,), heads=(Head(name="y", task="regression", labels=("y",)),))
    return Data(spec=spec, train=split, validation=split, test=None)
"""


TRAIN_ON_HOLES = """
import sys
from dl_lab import train
for hole in ("nan", "inf", "-inf"):
    sys.argv[1:] = ["--config-dir", "own", "dataset=holes", "imports=[holes]", f"dataset.hole={hole}"]
    try:
        train.main()
    except SystemExit as end:
        print(end.code)
"""


def test_non_finite_numbers_in_the_data_of_a_user_are_reported(tmp_path):
    add_model(tmp_path, "holes", USERS_DATA, "hole: 0.0", "dataset")
    ended = spawn(tmp_path, "-P", "-c", TRAIN_ON_HOLES)
    assert ended.stdout.split() == ["2", "2", "2"]
    wrong = "error: dataset=holes: example 7 of train has inputs[2] = {}; allowed: finite numbers\n"
    assert ended.stderr == "".join(map(wrong.format, ("nan", "inf", "-inf")))


def test_an_experiment_sets_what_belongs_to_no_group_and_the_command_line_has_the_last_word():
    assert parsed("experiment=norris").settings.precision == "float64"
    assert parsed("experiment=norris", "precision=float32").settings.precision == "float32"


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_is_a_configuration_that_can_run(name):
    assert parsed(f"experiment={name}").settings.seed == 0


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class LabelledConfig:
    label: str
    labels: list[str]
    level: Level
    size: int | str | None


LABELLED = {"label": True, "labels": [1, False, "b"], "level": "HIGH", "size": 3}


def test_a_users_dataclass_takes_booleans_as_text_and_enum_members_by_name():
    config = typed(LabelledConfig, LABELLED, "model")
    assert config == LabelledConfig(label="True", labels=["1", "False", "b"], level=Level.HIGH, size=3)
    with pytest.raises(ConfigError, match=r"^model.level=MIDDLE is not allowed; allowed: LOW, HIGH$"):
        typed(LabelledConfig, {**LABELLED, "level": "MIDDLE"}, "model")


def test_a_run_can_be_named_by_a_boolean():
    assert parsed("name=true", "tags=[true,1]").settings.tags == ["True", "1"]
    with pytest.raises(ConfigError, match=r"^train.batch_size=True"):
        parsed("train.batch_size=true")

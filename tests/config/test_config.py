"""The typed configuration: every key of every choice has a type, a value in YAML, and a line for a mistake."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from omegaconf import OmegaConf
from support.commands import TINY, spawn
from support.configs import choices, compose, container, parsed

from dl_lab.config.compose import CONF
from dl_lab.config.parse import parse, typed
from dl_lab.config.schema import RunSettings, TrainConfig
from dl_lab.core.errors import ConfigError
from dl_lab.registry import REGISTRIES

ENTRIES = [(group, name) for group, registry in REGISTRIES.items() for name in registry.names()]
REQUIRED = {"path": "somewhere", "targets": ["y"]}  # what only the user can know, ??? in YAML


@cache
def base() -> dict[str, Any]:
    return container()


def with_entry(group: str, name: str, /, **changes: Any) -> dict[str, Any]:
    """A whole configuration that chooses an entry, its YAML's values changed."""
    chosen = OmegaConf.to_container(OmegaConf.load(f"{CONF}/{group}/{name}.yaml"), resolve=True)
    given = {key: REQUIRED[key] if value == "???" else value for key, value in chosen.items()}
    return {**deepcopy(base()), group: {**given, **changes}}


def wrong(hint: Any) -> Iterator[tuple[Any, str]]:
    """Values of the wrong type for a field, each with words that tell what is allowed."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    kind = next(option for option in options if option is not type(None))
    if get_origin(kind) is list:
        yield {"a": 1}, "a list, each "
        yield [{"a": 1}], "a list, each "
        return
    yield [1], words[kind]
    if str not in options:
        yield 1.5 if kind is int else "many", words[kind]
    if type(None) not in options:
        yield None, words[kind]


def typed_fields() -> Iterator[Any]:
    """Every field of every schema, with a configuration's values for all of them."""
    schemas = [(group, name, REGISTRIES[group][name].schema) for group, name in ENTRIES]
    for group, name, schema in [*schemas, ("train", "default", TrainConfig), ("", "run", RunSettings)]:
        for field in fields(schema):
            if field.name != "name" or not group:  # a choice's name is looked up, not typed
                yield pytest.param(group, name, schema, field.name, id=f"{group or 'settings'}={name}-{field.name}")


@pytest.mark.parametrize(("group", "name", "schema", "field"), list(typed_fields()))
def test_a_wrong_type_of_any_key_is_told_in_words(group, name, schema, field):
    whole = with_entry(group, name)[group] if group else base()
    values = {inner.name: whole[inner.name] for inner in fields(schema)}
    key = f"{group}.{field}" if group else field
    for value, words in wrong(get_type_hints(schema)[field]):
        with pytest.raises(ConfigError, match=f"^{re.escape(key)}=.* has the wrong type; allowed: .*{words}") as told:
            typed(schema, {**values, field: value}, group)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_every_entry_has_a_yaml_of_its_name_with_every_field_and_nothing_else(group, name):
    chosen = with_entry(group, name)[group]
    assert chosen["name"] == name
    assert set(chosen) == {"name", *(field.name for field in fields(REGISTRIES[group][name].schema))}


@pytest.mark.parametrize("group", list(REGISTRIES))
def test_every_yaml_of_a_group_belongs_to_an_entry(group):
    assert choices(group) == REGISTRIES[group].names()


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_a_missing_key_and_an_unknown_one_are_told_for_every_entry(group, name):
    values = with_entry(group, name)
    for key in [field.name for field in fields(REGISTRIES[group][name].schema) if field.name != "name"]:
        without = {**values, group: {inner: value for inner, value in values[group].items() if inner != key}}
        with pytest.raises(ConfigError, match=f"^{group}.{key} is missing; allowed: "):
            parse(without)
    with pytest.raises(ConfigError, match=f"^{group}.surely_not is not a key.*; allowed: "):
        parse(with_entry(group, name, surely_not=1))


@pytest.mark.parametrize("choice", choices("train"))
def test_every_length_of_training_is_a_whole_train_configuration(choice):
    assert isinstance(parsed(f"train={choice}").train, TrainConfig)


def test_an_unknown_key_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"^optimizer.beta is not a key \(nearest: betas\); allowed: .*amsgrad"):
        parse(with_entry("optimizer", "adam", beta=[0.9, 0.999]))
    with pytest.raises(ConfigError, match=r"^sed is not a key \(nearest: seed\); allowed: "):
        parse({**base(), "sed": 1})


@pytest.mark.parametrize(("value", "words"), [("???", "is missing"), ("${seed}", "is an interpolation")])
def test_a_plain_mapping_holds_values_and_nothing_to_look_up(value, words):
    with pytest.raises(ConfigError, match=f"^optimizer.lr(=.*)? {words}"):
        parse(with_entry("optimizer", "adam", lr=value))


def test_a_missing_group_or_setting_is_told():
    for key in [*REGISTRIES, "train", "seed", "device"]:
        with pytest.raises(ConfigError, match=f"^{key} is missing; allowed: "):
            parse({name: value for name, value in base().items() if name != key})


def test_a_name_that_nobody_registered_is_told_with_the_nearest():
    with pytest.raises(ConfigError, match=r"^model.name=mpl is not known \(nearest: mlp\); allowed: cnn, "):
        parse(with_entry("model", "mlp", name="mpl"))


def test_a_group_without_a_name_is_told():
    with pytest.raises(ConfigError, match=r"^loss=.* has no name; allowed: one of auto, "):
        parse({**base(), "loss": {}})
    with pytest.raises(ConfigError, match=r"^loss=mse has no name; allowed: one of auto, "):
        parse({**base(), "loss": "mse"})


def test_what_only_the_user_knows_is_asked_for():
    with pytest.raises(ConfigError, match=r"^dataset.path is missing; allowed: give it, as dataset.path=VALUE"):
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
    with pytest.raises(ConfigError, match=r"train.epochs=5 and train.steps=3; allowed: one"):
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
sys.argv[1:] = ["run=run", "imports=[mine]"]
evaluate.main()
"""


def test_a_module_of_the_working_folder_registers_a_model_that_trains(tmp_path):
    (tmp_path / "mine.py").write_text(USERS_MODULE)
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "mean.yaml").write_text("name: mean\nscale: 2.0\n")
    arguments = ["--config-dir", "own", "model=mean", "imports=[mine]", "hydra.run.dir=run", *TINY]
    ended = spawn(tmp_path, "-P", "-c", TRAIN_AND_EVALUATE.format(arguments=arguments))
    assert ended.returncode == 0, ended.stderr
    trained, evaluated = (line for line in ended.stdout.splitlines() if line.startswith("test  "))
    assert evaluated.split("  (")[0] == trained.split("  (")[0]
    # iris has 3 classes: one weight and one bias each
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["parameters"] == 6


USERS_DATA = """
from dataclasses import dataclass

import torch

from dl_lab.data import Data, InMemory
from dl_lab.registry import DATASETS
from dl_lab.specs import DataSpec, Head


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


@pytest.mark.parametrize(("hole", "shown"), [("nan", "nan"), ("inf", "inf"), ("-inf", "-inf")])
def test_a_number_that_is_not_finite_in_data_of_ones_own_is_named(tmp_path, hole, shown):
    (tmp_path / "mine.py").write_text(USERS_DATA)
    (tmp_path / "own" / "dataset").mkdir(parents=True)
    (tmp_path / "own" / "dataset" / "holes.yaml").write_text("name: holes\nhole: 0.0\n")
    own = ("--config-dir", "own", "dataset=holes", "imports=[mine]", "train.batch_size=10", "train.steps=1")
    ended = spawn(tmp_path, "-m", "dl_lab.train", *own, f"dataset.hole={hole}")
    assert ended.returncode == 2
    wrong = f"error: dataset=holes: example 7 of train has inputs[2] = {shown}; allowed: finite numbers\n"
    assert ended.stderr == wrong


def test_an_experiment_sets_what_belongs_to_no_group_and_the_command_line_has_the_last_word():
    assert parsed("experiment=norris").settings.precision == "float64"
    assert parsed("experiment=norris", "precision=float32").settings.precision == "float32"


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_is_a_configuration_that_can_run(name):
    assert parsed(f"experiment={name}").settings.seed == 0

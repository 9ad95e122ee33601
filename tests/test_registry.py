"""A name reaches what is registered, its YAML says the same, and a new module is found by itself."""

from dataclasses import fields, is_dataclass
from importlib import import_module

import pytest
import torch
from support.configs import choices, parsed
from torch import nn

from dl_lab.config.compose import CONF, defaults
from dl_lab.core.errors import ConfigError
from dl_lab.data.spec import KINDS, TASKS
from dl_lab.optimizers.sgd import SGDConfig
from dl_lab.registry import OPTIMIZERS, REGISTRIES, Registry
from dl_lab.training.setup import build_optimizer

ENTRIES = [(group, name) for group, registry in REGISTRIES.items() for name in registry.names()]


@pytest.mark.parametrize("group", REGISTRIES)
def test_every_entry_has_a_yaml_and_every_yaml_an_entry(group):
    registry = REGISTRIES[group]
    ours = [name for name in registry.names() if registry[name].build.__module__.startswith("dl_lab.")]
    assert choices(group) == ours  # other tests register entries of a user's


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_a_yaml_lists_exactly_the_fields_of_its_schema_under_the_name_of_its_file(group, name):
    values = defaults(CONF / group / f"{name}.yaml")
    assert values["name"] == name
    assert set(values) == {"name", *(field.name for field in fields(REGISTRIES[group][name].schema))}


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_a_yaml_begins_by_saying_what_it_is(group, name):
    assert (CONF / group / f"{name}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_an_entry_is_a_documented_builder_with_a_frozen_schema(group, name):
    entry = REGISTRIES[group][name]
    assert entry.name == name
    assert (entry.build.__doc__ or "").strip()  # a class does not inherit this one
    assert is_dataclass(entry.schema)
    assert entry.schema.__dataclass_params__.frozen
    assert entry.kinds
    assert entry.kinds <= set(KINDS)
    assert entry.tasks
    assert entry.tasks <= set(TASKS)


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_a_mistyped_name_gives_one_line_with_the_nearest(group, name):
    mistyped = name[0] + name
    with pytest.raises(ConfigError) as caught:
        REGISTRIES[group][mistyped]
    message = str(caught.value)
    assert message.startswith(f"{group}.name={mistyped} is not known (nearest: {name}); allowed: ")
    assert message.endswith(", ".join(REGISTRIES[group].names()))
    assert "\n" not in message


@pytest.mark.parametrize("group", REGISTRIES)
@pytest.mark.parametrize("name", ["torch.nn.Linear", "os.system", "__init__", ""])
def test_a_name_reaches_nothing_that_is_not_registered(group, name):
    with pytest.raises(ConfigError, match="is not known"):
        REGISTRIES[group][name]


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_a_name_is_taken_once(group, name):
    registry = REGISTRIES[group]
    before = registry[name]
    with pytest.raises(ValueError, match=f"{group}={name} is registered twice"):
        registry.register(name, SGDConfig)(lambda config: None)
    assert registry[name] is before


def test_an_entry_registered_by_a_user_is_reached_from_the_configuration(monkeypatch):
    monkeypatch.setattr(OPTIMIZERS, "_entries", dict(OPTIMIZERS._entries))  # put back after the test

    @OPTIMIZERS.register("of_a_user", SGDConfig)
    def of_a_user(config: SGDConfig, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=config.lr)

    run = parsed("optimizer=sgd", "optimizer.name=of_a_user", "optimizer.lr=0.25")
    assert "of_a_user" in OPTIMIZERS.names()
    assert build_optimizer(run, nn.Linear(2, 1)).param_groups[0]["lr"] == 0.25


def test_a_new_module_of_the_package_is_found_and_nothing_is_imported_before(tmp_path, monkeypatch):
    package = tmp_path / "things_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from dl_lab.registry import Registry\nTHINGS, imported = Registry('thing', __name__), []\n"
    )
    for name in ("first", "second"):
        (package / f"{name}.py").write_text(
            "from dataclasses import dataclass\n"
            "from things_of_a_test import THINGS, imported\n"
            "@dataclass(frozen=True)\nclass Config:\n    size: int\n"
            f"imported.append('{name}')\n"
            f"@THINGS.register('{name}_thing', Config)\n"
            "def build(config):\n    return [0] * config.size\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    module = import_module("things_of_a_test")
    things: Registry = module.THINGS
    assert module.imported == []
    assert things.names() == ["first_thing", "second_thing"]
    entry = things["second_thing"]
    assert entry.build(entry.schema(3)) == [0, 0, 0]
    assert module.imported == ["first", "second"]

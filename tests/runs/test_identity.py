"""Every configuration key is classified, and what follows from the classification."""

from pathlib import Path
from typing import ClassVar, get_origin, get_type_hints

import pytest
import yaml
from support.commands import train
from support.configs import container
from support.interrupted import RUN, interrupted

from dl_lab.config.schema import RunSettings, TrainConfig
from dl_lab.registry import REGISTRIES
from dl_lab.runs import identity
from dl_lab.runs.identity import COMPUTES, EXECUTES, KEYS, MEASURES, OBSERVES, RERUN_KEYS, RESUME_KEYS

CONF = Path(__file__).parents[2] / "conf"
OPEN_GROUPS = {"model", "optimizer", "initializer", "dropout", "schedule", "loss", "sweep"}  # all keys are of one kind


def yaml_keys() -> set[str]:
    """The dotted keys of all YAML choices and of conf/config.yaml."""
    top = yaml.safe_load((CONF / "config.yaml").read_text())
    keys = {key for key in top if key not in ("defaults", "hydra")}
    for group in {*OPEN_GROUPS, "dataset", "train"}:
        choices = [yaml.safe_load(path.read_text()) for path in (CONF / group).glob("*.yaml")]
        keys |= set(identity.flatten({group: {key: 0 for choice in choices for key in choice if key != "defaults"}}))
    return keys


def schema_keys() -> set[str]:
    """The dotted keys of all schemas."""
    schemas = [("", RunSettings), ("train.", TrainConfig)]
    schemas += [
        (f"{group}.", registry[name].schema) for group, registry in REGISTRIES.items() for name in registry.names()
    ]
    hints = [(prefix, name, hint) for prefix, schema in schemas for name, hint in get_type_hints(schema).items()]
    return {
        (prefix + name).removesuffix(".name")
        for prefix, name, hint in hints
        if get_origin(hint) is not ClassVar and name[0] != "_"
    }


@pytest.mark.parametrize("keys", [yaml_keys, schema_keys])
def test_every_key_is_classified(keys):
    found = keys()
    assert len(found) > 50
    assert {key for key in found if key.partition(".")[0] not in OPEN_GROUPS and key not in KEYS} == set()
    assert {key for key in found if identity.classified(key) is None} == set()


def test_every_classified_key_exists():
    assert {key for key in KEYS if not key.endswith("*")} <= yaml_keys() | schema_keys() | {"sweep"}


@pytest.mark.parametrize(
    ("key", "effect"),
    [
        ("optimizer.lr", COMPUTES),
        ("model", COMPUTES),
        ("seed", COMPUTES),
        ("precision", COMPUTES),
        ("train.batch_size", COMPUTES),
        ("dataset.key_of_a_user", COMPUTES),
        ("model.nested.key", COMPUTES),
        ("loss", MEASURES),
        ("loss.label_smoothing", MEASURES),
        ("dataset.validation", MEASURES),
        ("dataset.standardize", MEASURES),
        ("train.best", MEASURES),
        ("train.validate_every", MEASURES),
        ("name", OBSERVES),
        ("tags", OBSERVES),
        ("claim.shows", OBSERVES),
        ("train.log_every", OBSERVES),
        ("train.pictures", OBSERVES),
        ("device", EXECUTES),
        ("threads", EXECUTES),
        ("data_dir", EXECUTES),
        ("dataset.num_workers", EXECUTES),
        ("train.eval_batch_size", EXECUTES),
        ("sweep.trials", EXECUTES),
    ],
)
def test_keys_have_the_effect_that_they_are_known_for(key, effect):
    assert identity.effect(key) is effect


CHANGES = {
    "name": "mine",
    "tags": ["a"],
    "device": "cuda",
    "threads": 2,
    "data_dir": "/elsewhere",
    "train.log_every": 7,
    "train.pictures": 3,
    "train.eval_batch_size": 9,
}


def changed(config: dict, key: str, value: object) -> dict:
    group, _, name = key.rpartition(".")
    return {**config, group: {**config[group], name: value}} if group else {**config, name: value}


@pytest.mark.parametrize(("key", "value"), CHANGES.items())
def test_what_only_observes_or_executes_keeps_the_signature_and_the_name_of_a_configuration(key, value):
    config = container()
    other = changed(config, key, value)
    assert identity.signature(other) == identity.signature(config)
    names = {identity.configuration_name(identity.hyperparameters(values)) for values in (config, other)}
    assert len(names) == 1
    assert key in RESUME_KEYS


@pytest.mark.parametrize(("key", "value"), [("optimizer.lr", 7), ("train.best", "accuracy"), ("dataset.test", 0.3)])
def test_what_computes_or_measures_changes_the_signature_and_the_name_of_a_configuration(key, value):
    config = container()
    other = changed(config, key, value)
    assert identity.signature(other) != identity.signature(config)
    names = {identity.configuration_name(identity.hyperparameters(values)) for values in (config, other)}
    assert len(names) == 2
    assert key not in RESUME_KEYS


def test_a_seed_changes_the_signature_and_not_the_name_of_a_configuration():
    config, other = container(), container("seed=1")
    assert identity.signature(other) != identity.signature(config)
    names = {identity.configuration_name(identity.hyperparameters(values)) for values in (config, other)}
    assert len(names) == 1


def test_a_signature_reads_whole_floats_as_integers_and_relative_paths_as_absolute_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (one, other) = (
        {"dataset": {"name": "csv", "path": path, "test": test}} for path, test in (("a", 5), (f"{tmp_path}/a", 5.0))
    )
    assert identity.signature(one) == identity.signature(other)


def test_a_rerun_keeps_its_length_and_its_points():
    assert set(RESUME_KEYS) - set(RERUN_KEYS) == {"train.steps", "train.epochs", "train.log_every"}


@pytest.mark.parametrize(
    ("key", "value", "other", "differs"),
    [
        ("seed", 0, 1, False),
        ("name", None, "mine", False),
        ("train.best", "loss", "accuracy", False),
        ("train.patience", None, 3, False),
        ("train.max_grad_norm", 1, 0.5, False),
        ("train.max_grad_norm", None, 0.5, True),
        ("optimizer.lr", 0.1, 1, False),
        ("optimizer.betas", [0.9, 0.99], [0.8, 0.99], False),
        ("optimizer.amsgrad", False, True, True),
        ("initializer.name", "default", "zeros", False),
        ("schedule.name", "constant", "cosine", False),
        ("dropout.p", 0, 0.5, False),
        ("dropout.name", "none", "dropout", True),
        ("loss.name", "mse", "l1", True),
        ("train.batch_size", 16, 32, True),
        ("train.log_every", 5, 10, True),
        ("device", "cpu", "auto", True),
        ("model.hidden_sizes", [1], [2], True),
    ],
)
def test_members_of_a_stack_share_everything_but_what_may_differ(key, value, other, differs):
    config = container()
    shared = [identity.shared_in_stack(changed(config, key, each)) for each in (value, other)]
    assert (shared[0] != shared[1]) == differs


def test_a_resumed_run_may_get_another_name_and_run_elsewhere(tmp_path):
    whole = train(tmp_path / "whole", *RUN, "name=after", "tags=[a]", "device=cpu")
    interrupted(tmp_path / "broken", 15, *RUN)
    resumed = train(tmp_path / "broken", "resume=run", "name=after", "tags=[a]", "device=cpu")
    assert resumed.status == 0, resumed.err
    assert resumed.summary["name"] == "after"
    assert (resumed.run / "metrics.jsonl").read_bytes() == (whole.run / "metrics.jsonl").read_bytes()


def test_auto_finds_an_interrupted_run_whose_name_is_another_and_prefers_the_same_name(tmp_path):
    overrides = [override for override in RUN if not override.startswith("hydra.")]
    interrupted(tmp_path, 7, *overrides, "hydra.run.dir=outputs/1/1", "name=one")
    interrupted(tmp_path, 7, *overrides, "hydra.run.dir=outputs/1/2", "name=two")
    for name, folder in (("one", "1"), ("three", "2")):
        assert train(tmp_path, *overrides, "resume=auto", f"name={name}").status == 0
        assert f"name: {name}\n" in (tmp_path / "outputs" / "1" / folder / ".hydra" / "config.yaml").read_text()
        assert (tmp_path / "outputs" / "1" / folder / "summary.json").exists()

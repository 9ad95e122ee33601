"""Hints for keys and choices that a command does not have: where the key is, as arguments that can be pasted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from dl_lab.config import comments
from dl_lab.config.compose import CONF, PLAIN, TEXTS, quoted
from dl_lab.core.errors import near, plain, same
from dl_lab.core.shell import line

USUAL = {  # the choice and the key of a group that are meant if only the group is named
    "dropout": ("dropout", "p"),
    "model": ("mlp", "hidden_sizes"),
    "optimizer": ("sgd", "lr"),
    "train": ("default", "epochs"),
    "dataset": ("table", "path"),
}
OTHER_NAMES = {  # of other libraries
    "lr": ("learning_rate", "eta", "step_size"),
    "epochs": ("num_epochs", "max_epochs", "n_epochs", "passes"),
    "steps": ("max_steps", "num_steps", "iterations", "iters", "updates"),
    "batch_size": ("bs", "minibatch", "mini_batch_size", "per_device_train_batch_size"),
    "hidden_sizes": ("hidden", "hidden_units", "units", "hidden_dim", "layers", "hidden_layer_sizes", "width"),
    "weight_decay": ("wd", "l2", "decay"),
    "patience": ("early_stopping",),
    "max_grad_norm": ("clip", "clip_norm", "grad_clip", "gradient_clip_val"),
    "p": ("rate", "prob", "probability", "dropout_rate"),
    "context_length": ("block_size", "seq_len", "sequence_length"),
    "num_heads": ("n_head", "nhead", "heads"),
    "seed": ("random_state", "random_seed"),
    "device": ("gpu", "cuda", "accelerator"),
    "dataset": ("data",),
    "model": ("network", "net", "arch", "architecture"),
    "optimizer": ("optim",),
    "schedule": ("scheduler", "lr_scheduler"),
    "activation": ("nonlinearity",),
    "mlp": ("ffn", "dense", "feedforward", "fully_connected"),
    "cnn": ("conv", "convnet"),
    "transformer": ("gpt",),
    "l1": ("mae",),
    "cross_entropy": ("ce", "nll"),
    "binary_cross_entropy": ("bce",),
    "kaiming_normal": ("he", "he_normal"),
    "xavier_uniform": ("glorot", "glorot_uniform"),
}
MEANT = {plain(other): name for name, others in OTHER_NAMES.items() for other in others}
PAIRS = (("[", "]"), ("{", "}"), ("(", ")"))
MOST = 3  # suggestions in one hint


@cache
def choices() -> dict[str, dict[str, dict[str, str]]]:
    """The groups with their choices, and the keys of each with their values in YAML; experiments come last."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for path in sorted(CONF.glob("*/*.yaml"), key=lambda path: (path.parent.name == "experiment", path)):
        own = {} if path.parent.name == "experiment" else comments.keys(path)
        found.setdefault(path.parent.name, {})[path.stem] = {key: own[key][0] for key in own}
    return found


@cache
def settings() -> list[str]:
    """The keys that belong to no group, and the arguments of train that are none."""
    return [key for key in comments.keys(CONF / "config.yaml") if key not in choices()] + ["resume", "rerun"]


def present(overrides: Iterable[str]) -> dict[str, dict[str, str]]:
    """The keys of the choice of each group, of which `overrides` select others than the default ones."""
    defaults = OmegaConf.load(CONF / "config.yaml").defaults
    selected = {group: choice for each in defaults if isinstance(each, Mapping) for group, choice in each.items()}
    selected |= {group: choice for group, _, choice in (each.partition("=") for each in overrides)}
    return {group: own.get(str(selected.get(group)), {}) for group, own in choices().items()}


def of_key(group: str, key: object, value: object, config: Mapping[Any, Any], by_letters: bool = True) -> str:
    """The arguments that set a key which `group` ("" for none) does not have, as the end of a message; "" if there are
    none. `config` has the present choices, with their keys. `by_letters` includes names that are near.
    """
    found = [each for each in _meant(group, str(key), str(value), config, by_letters) if each]
    return f"; hint: {' or '.join(found[:MOST])}" if found else ""


def of_choice(group: str, value: object) -> str:
    """The arguments that were probably meant by a choice that a group does not have, as the end of a message."""
    text = str(value)
    if group == "dataset" and re.search(r"[./\\]", text):
        return f"; hint: {_file(text)}"
    own = choices().get(group, {})
    off = "none" if text.lower() in ("null", "false", "off", "no") else MEANT.get(plain(text), "")
    if off in own:
        return f"; hint: {group}={off}"
    others = [each for each, names in choices().items() if text in names and each not in (group, "experiment")]
    if others:
        return f"; hint: {line(f'{others[0]}={text}')}"
    is_value = re.fullmatch(r"[-+.\d\[(].*|true|yes|on", text, re.IGNORECASE)
    if is_value is None or group not in USUAL:
        return ""
    choice, key = USUAL[group]
    value = text if re.match(r"[-+.\d\[(]", text) else choices()[group][choice][key]
    return f"; hint: {_set(group, key, value, [choice], {})}"


def of_quoting(override: str) -> str:
    """A value in quotes, where Hydra cannot read it otherwise, as the end of a message."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip() or any(value.count(left) != value.count(right) for left, right in PAIRS):
        return ""
    text = f"{key.strip()}={_in_quotes(value.strip())}"
    try:
        OverridesParser.create().parse_overrides([text])
    except HydraException:  # the key cannot be read
        return ""
    return f"; hint: {line(text)}"


def _in_quotes(value: str) -> str:
    """A value, or each value of a list, in the quotes of Hydra's grammar."""
    if value[:1] == "[" and value[-1:] == "]":
        each = (text.strip() for text in value[1:-1].split(","))
        return f"[{','.join(text if PLAIN.fullmatch(text) else quoted(text) for text in each)}]"
    return quoted(value)


def of_several(override: str) -> str:
    """How to give several values, or one value with a comma, as the end of a message."""
    key, _, value = override.partition("=")
    group, _, name = key.rpartition(".")
    default = next((own[name] for own in choices().get(group, {}).values() if name in own), "")
    if TEXTS.fullmatch(key):
        one = f"{line(f'{key}={quoted(value)}')} is one value with a comma"
    elif default.startswith("["):
        one = f"{line(f'{key}=[{value}]')} is a list"
    elif re.fullmatch(r"\d+,\d+", value) and "." in default:
        one = f"{key}={value.replace(',', '.')} is a number"
    else:
        return "; hint: -m runs each"
    return f"; hint: {one}; -m runs each"


def _file(path: str) -> str:
    """The dataset of a file or folder that is given as a choice."""
    if path.endswith(("/", "\\")) or "." not in path.rsplit("/", 1)[-1]:
        return line("dataset=image_folder", f"dataset.path={path}", "model=cnn")
    if path.endswith((".txt", ".md")):
        return line("dataset=text", f"dataset.path={path}", "model=transformer")
    return line("dataset=table", f"dataset.path={path}", "dataset.targets=[COLUMN]")


def _meant(group: str, key: str, value: str, config: Mapping[Any, Any], by_letters: bool) -> Iterator[str]:
    """Each set of arguments that the key and its value can mean; those of a group that has the key come first."""
    groups = choices()
    key, _, inner = key.partition(".")  # of a group whose name is not known
    asked = MEANT.get(plain(key), key)
    if inner:
        yield line(f"{name}.{inner}={value}") if (name := near(asked, groups)) else ""
        return
    if (name := same(asked, groups)) and name != group:
        is_choice = value in groups[name] or name not in USUAL or not value
        yield line(f"{name}={value}") if is_choice else of_choice(name, value).removeprefix("; hint: ")
        return
    if group and (name := same(asked, _keys(group))):
        yield _set(group, name, value, _having(group, name), config)
        return
    if name := same(asked, settings()):
        yield line(f"{name}={value}")
        return
    named = list(_elsewhere(asked, value, config))
    if not by_letters:
        yield from named
        return
    if not named and not group and not near(key, [*groups, *settings()]):
        every = [found for each in groups for found in _keys(each)]
        named = list(_elsewhere(near(asked, every) or "", value, config))
    yield from named
    if not named and not group:
        yield from (line(f"{each}={value}") for each in groups if value in groups[each])


def _elsewhere(asked: str, value: str, config: Mapping[Any, Any]) -> list[str]:
    """The arguments that set a key in each group that has it, or only in those whose present choice has it."""
    found = [(group, name) for group in choices() if (name := same(asked, _keys(group)))]
    present = [(group, name) for group, name in found if name in (config.get(group) or ())]
    return [_set(group, name, value, _having(group, name), config) for group, name in present or found]


def _keys(group: str) -> list[str]:
    return list(dict.fromkeys(key for own in choices().get(group, {}).values() for key in own if key != "name"))


def _having(group: str, key: str) -> list[str]:
    """The choices with a key; the usual one of the group comes first, then the shortest names."""
    usual = USUAL.get(group, ("",))[0]
    having = [choice for choice, own in choices()[group].items() if key in own]
    return sorted(having, key=lambda choice: (choice != usual, len(choice), choice))


def _set(group: str, key: str, value: str, having: list[str], config: Mapping[Any, Any]) -> str:
    """The arguments that set a key of a group, with a choice that has it unless the present one does."""
    default = choices()[group][having[0]][key]
    if default.startswith("[") and value and not re.match(r"[\[('\"]|null", value):
        value = f"[{value}]"
    argument = f"{group}.{key}={value}"
    if key in (config.get(group) or ()):
        return line(argument)
    others = f" (also a key of {', '.join(having[1:])})" if having[1:] else ""
    return line(f"{group}={having[0]}", argument) + others

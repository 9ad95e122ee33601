"""Hints for keys and choices that a command does not have: where the key is, as arguments that can be pasted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dl_lab.config import comments
from dl_lab.config.compose import CONF, argument
from dl_lab.core.errors import near, plain, same
from dl_lab.core.shell import line

USUAL = {  # the choice and the key of a group that are meant if only the group is named
    "dropout": ("dropout", "p"),
    "model": ("mlp", "hidden_sizes"),
    "optimizer": ("sgd", "lr"),
    "train": ("default", "epochs"),
    "dataset": ("table", "path"),
    "sweep": ("random", "trials"),
}
OTHER_NAMES = {  # of other libraries
    "lr": ("learning_rate", "eta"),
    "epochs": ("num_epochs", "max_epochs", "n_epochs", "passes"),
    "steps": ("max_steps", "num_steps", "iterations", "iters", "updates"),
    "batch_size": ("bs", "batch", "minibatch", "mini_batch_size", "per_device_train_batch_size"),
    "hidden_sizes": ("hidden", "hidden_units", "units", "hidden_dim", "layers", "hidden_layer_sizes"),
    "weight_decay": ("wd", "l2", "decay"),
    "patience": ("early_stopping",),
    "max_grad_norm": ("clip", "clip_norm", "grad_clip", "gradient_clip_val"),
    "p": ("rate", "prob", "probability", "dropout_rate"),
    "context_length": ("block_size", "seq_len", "sequence_length"),
    "num_heads": ("n_head", "nhead", "heads"),
    "seed": ("random_state", "random_seed"),
    "device": ("accelerator",),
    "dataset": ("data",),
    "model": ("network", "net", "arch", "architecture"),
    "optimizer": ("optim",),
    "schedule": ("scheduler", "lr_scheduler", "lr_schedule"),
    "hydra/launcher": ("launcher",),
    "hydra/sweeper": ("sweeper",),
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
MOST = 3  # suggestions in one hint


@cache
def choices() -> dict[str, dict[str, dict[str, str]]]:
    """The groups with their choices, and the keys of each with their values in YAML; those of experiments and of Hydra,
    which come last, are left out.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    for path in sorted(CONF.rglob("*/*.yaml"), key=lambda path: (path.parent.name == "experiment", path)):
        group = path.parent.relative_to(CONF).as_posix()
        own = {} if group == "experiment" or "/" in group else comments.keys(path)
        found.setdefault(group, {})[path.stem] = {key: own[key][0] for key in own}
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
    """The arguments that set a key which `group` ("" for none) does not have; "" if there are none. `config` has the
    present choices, with their keys. `by_letters` includes names that are near.
    """
    found = filter(None, _meant(group, str(key), str(value), config, by_letters))
    return " or ".join(islice(found, MOST))


def of_choice(group: str, value: object) -> str:
    """The arguments that were probably meant by a choice that a group does not have; "" if none is likely."""
    text, own = str(value), choices().get(group, {})
    if group == "dataset" and re.search(r"[./\\]", text):
        return of_file(text)
    asked = "none" if text.lower() in ("null", "false", "off", "no") else MEANT.get(plain(text), text)
    if asked in own:
        return f"{group}={asked}"
    if others := [each for each, names in choices().items() if asked in names and each not in (group, "experiment")]:
        return line(f"{others[0]}={asked}")
    is_value = re.match(r"[-+.\d\[(]", text)
    if group not in USUAL or not (is_value or text.lower() in ("true", "yes", "on")):
        return ""
    choice, key = USUAL[group]
    return _set(group, key, text if is_value else own[choice][key], {}, choice)


def of_file(path: str) -> str:
    """The dataset of a file or folder that is given as a choice."""
    file, suffix = argument("dataset.path", path), Path(path).suffix
    if suffix in (".txt", ".md"):
        return f"dataset=text {file} model=transformer"
    return f"dataset=table {file} 'dataset.targets=[COLUMN]'" if suffix else f"dataset=image_folder {file} model=cnn"


def _meant(group: str, key: str, value: str, config: Mapping[Any, Any], by_letters: bool) -> Iterator[str]:
    """Each set of arguments that the key and its value can mean; those of a group that has the key come first."""
    above, _, inner = key.partition(".")
    if inner:  # of a group that is not known
        found = near(MEANT.get(plain(above), above), choices()) or ""
        is_key = same(inner, _keys(found))
        yield from [argument(f"{found}.{inner}", value)] if is_key else _meant("", inner, value, config, by_letters)
        return
    asked = MEANT.get(plain(key), key)
    named = _named(group, asked, value, config)
    yield from named or (_near(group, asked, value, config) if by_letters else [])


def _named(group: str, asked: str, value: str, config: Mapping[Any, Any]) -> list[str]:
    """The arguments for a key or group of this name."""
    if plain(asked) in ("gpu", "cuda"):
        return ["device=cuda"]
    if (name := same(asked, choices())) and name != group:
        is_choice = value in choices()[name] or name not in USUAL or not value
        return [line(f"{name}={value}") if is_choice else of_choice(name, value)]
    if group and (name := same(asked, _keys(group))):
        return [_set(group, name, value, config)]
    if name := same(asked, settings()):
        return [argument(name, value)]
    whole = [(each, name) for each in choices() for name in _keys(each) if not group and same(asked, [each + name])]
    return [_set(each, name, value, config) for each, name in whole] or _elsewhere(asked, value, config)


def _near(group: str, asked: str, value: str, config: Mapping[Any, Any]) -> list[str]:
    """The arguments for a key whose name is near, or for a choice of which only the value is known."""
    if group:
        return [_set(group, nearest, value, config)] if (nearest := near(asked, _keys(group))) else []
    if nearest := near(asked, [*choices(), *settings()]):
        return [argument(nearest, value)] if nearest in settings() or value in choices()[nearest] else []
    if nearest := near(asked, [name for each in choices() for name in _keys(each)]):
        return _elsewhere(nearest, value, config)
    return [line(f"{each}={value}") for each, names in choices().items() if value in names]


def _elsewhere(asked: str, value: str, config: Mapping[Any, Any]) -> list[str]:
    """The arguments that set a key in each group that has it, or only in those whose present choice has it."""
    found = [(group, name) for group in choices() if (name := same(asked, _keys(group)))]
    present = [(group, name) for group, name in found if name in (config.get(group) or ())]
    return [_set(group, name, value, config) for group, name in present or found]


def _keys(group: str) -> list[str]:
    return list(dict.fromkeys(key for own in choices().get(group, {}).values() for key in own if key != "name"))


def _having(group: str, key: str) -> list[str]:
    """The choices with a key; the usual one of the group comes first, then the shortest names."""
    usual = USUAL.get(group, ("",))[0]
    having = [choice for choice, own in choices()[group].items() if key in own]
    return sorted(having, key=lambda choice: (choice != usual, len(choice), choice))


def _set(group: str, key: str, value: str, config: Mapping[Any, Any], choice: str = "") -> str:
    """The arguments that set a key of a group, with a choice that has it unless the present one does."""
    having = [choice] if choice else _having(group, key)
    default = choices()[group][having[0]][key]
    if default.startswith("[") and value and not re.match(r"[\[('\"]|null", value):
        value = f"[{value}]"
    whole = argument(f"{group}.{key}", value)
    if key in (config.get(group) or ()):
        return whole
    others = f" (also a key of {', '.join(having[1:])})" if having[1:] else ""
    return f"{group}={having[0]} {whole}{others}"

"""The arguments of train: options, group=choice and key=value, made readable for Hydra or refused with a hint."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from dl_lab.cli.arguments import divided, is_folder
from dl_lab.config import hints
from dl_lab.config.compose import FOLDERS, PLAIN, TEXTS, argument, quoted
from dl_lab.config.quoting import readable
from dl_lab.core.errors import ConfigError, hinted, same, unknown, unknown_option
from dl_lab.core.shell import line

RERUN = "--experimental-rerun"
NO_KEY = re.compile(r"\s*(\+\+?|~)?\s*(@[^=]*)?=")
COLUMNS = re.compile(r"(?:dataset\.(?:targets|features|drop|categories|numbers|dates)|tags)=\[([^\[\]'\"$\\]*)\]")
FUNCTIONS = "choice|range|glob|interval|sort|shuffle|tag|str|int|float|bool|json_str|extend_list"
ONE_VALUE = re.compile(rf"[^=]+=(?!(?:{FUNCTIONS})\(|~)[^,'\"$\\]+")  # no sweep, quoted text, interpolation or function
NUMBER = re.compile(r"(?<=[=,\[])[-+]?[\d.][\w.+-]*(?=[,\]]|$)")
A_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:e[-+]?\d+)?", re.IGNORECASE)
HOME = re.compile(r"(?<=[=,\[])~[^,\]]*")  # a value such as ~/data.csv, which Hydra reads in quotes only
NO_CHOICE = re.compile(r"[-+.]?\d[^,]*|\[[-+.\d].*|true|false|null", re.IGNORECASE)  # of which Hydra says no more


def options_first(arguments: Sequence[str]) -> list[str]:
    """Move Hydra's options before the overrides, because it does not read an option between two overrides, and quote
    values that Hydra would read otherwise.

    Raises:
        ConfigError: for an unknown option, an option that runs code from a file, and what is not key=value.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}; hint: see --help")

    parser = get_args_parser()
    parser.error = refuse
    refuse_keys_as_options(arguments, parser)
    parsed, rest = parser.parse_known_intermixed_args(list(arguments))
    if rest:
        raise unknown_option(rest[0], option_names(parser))
    if parsed.experimental_rerun is not None:
        raise ConfigError(f"{RERUN} loads a pickle, which can run code; hint: give the same overrides again")
    options = list(arguments)
    for place, override in enumerate(parsed.overrides):
        refuse_unreadable(parsed.overrides, place)
        options.remove(override)
    return options + [in_quotes(override) for override in parsed.overrides]


def option_names(parser: ArgumentParser) -> list[str]:
    return [name for name in parser._option_string_actions if name.startswith("--") and name != RERUN]


def refuse_keys_as_options(arguments: Sequence[str], parser: ArgumentParser) -> None:
    """Raise ConfigError for a key or choice that is written as an option: --lr 0.1, --model=cnn, -epochs 3."""
    names = option_names(parser)
    for place, given in enumerate(arguments):
        option, equals, value = given.partition("=")
        is_option = len(option) < 3 or any(name.startswith(option) for name in (*names, "-cd", "-cp", "-cn"))
        if not given.startswith("-") or is_option:
            continue
        following = (*arguments[place + 1 :], "VALUE")[0]
        if hint := of_override(option.lstrip("-"), value if equals else following, arguments):
            raise ConfigError(f"{option} is not an option; allowed: group=choice and key=value; hint: {hint}")


def refuse_unreadable(overrides: Sequence[str], place: int) -> None:
    """Raise ConfigError for an override that is not key=value, and for a value where a choice belongs."""
    override = overrides[place]
    key, equals, value = override.partition("=")
    if NO_KEY.match(override):
        hint = whole(overrides, place)
        raise ConfigError(f"{override} cannot be read (it has no key); allowed: key=value{hinted(hint)}")
    if not equals and not override.startswith("~"):
        hint = meant_by(overrides, place)
        raise ConfigError(f"{override} is not key=value; allowed: group=choice and key=value{hinted(hint)}")
    if key in hints.choices() and NO_CHOICE.fullmatch(value):
        raise unknown(key, value, hints.choices()[key], hints.of_choice(key, value))
    if value.startswith("=") and not is_text(key):
        single = value.lstrip("=")
        hint = of_override(key, single, overrides) or line(f"{key}={single}")
        raise ConfigError(f"{override} has two signs =; allowed: key=value; hint: {hint}")
    dotted = key if key.startswith(("hydra", "~", "+")) else key.replace("/", ".")
    if ("-" in key or dotted != key) and (hint := of_override(dotted, value, overrides)):
        raise ConfigError(f"{key} is not a key; allowed: group=choice and key=value; hint: {hint}")


def is_text(key: str) -> bool:
    """Whether the value of a key is a text, which can have spaces."""
    return key in FOLDERS or bool(TEXTS.fullmatch(key))


def meant_by(overrides: Sequence[str], place: int) -> str:
    """What an override without = was meant to be; "" if that is not clear."""
    override, following = overrides[place], overrides[place + 1 :]
    key, colon, value = override.partition(":")
    if not colon or not value:
        value = following[0] if following and "=" not in following[0].strip("=") else "VALUE"
        value = following[1] if value == "=" and following[1:] else value.removeprefix("=")
    if hint := of_override(key, value, overrides, by_letters=False):
        return hint
    if text := whole(overrides, place):
        return text
    if is_folder(override):
        return f"{line(f'resume={override}')} continues a run"
    if Path(override).is_file():
        return hints.of_file(override)
    if f"--{key}" in option_names(get_args_parser()):
        return f"--{key}"
    chosen = [f"{group}={name}" for group, names in hints.choices().items() if (name := same(key, names))]
    if chosen:
        return " or ".join(chosen)
    is_key = re.fullmatch(r"[\w/]+(\.\w+)+", key) and value != "VALUE"
    return argument(key, value) if is_key else listed(overrides, place)


def whole(overrides: Sequence[str], place: int) -> str:
    """The override that the shell has divided at its spaces, as Hydra and the shell read it; "" if it is none."""
    meant = divided(overrides, place, is_text)
    key, _, value = meant.partition("=")
    is_odd = value.startswith("[") and re.search(r"['\"$\\]", value)
    return meant and (readable(meant) if is_odd else argument(key, value))


def listed(overrides: Sequence[str], place: int) -> str:
    """The numbers of a sweep with commas instead of spaces, such as seed=0,1; "" if there are none."""
    start = next((each for each in range(place, -1, -1) if "=" in overrides[each]), place)
    key, _, first = overrides[start].partition("=")
    numbers = [text.strip(",") for text in (first, *overrides[start + 1 : place + 1])]
    return f"{key}={','.join(numbers)}" if len(numbers) > 1 and all(map(A_NUMBER.fullmatch, numbers)) else ""


def of_override(key: str, value: str, overrides: Sequence[str], by_letters: bool = True) -> str:
    """The arguments that were meant by a key and a value; "" if there are none."""
    group, _, name = key.rpartition(".")
    return hints.of_key(group, name, value, hints.present(overrides), by_letters)


def in_quotes(override: str) -> str:
    """Quote values that Hydra reads otherwise: ~/data.csv, the path of a folder with any character, columns and files
    of a table with spaces, brackets and letters such as é, and a name or tag, also one that looks like a number.
    """
    key, _, value = override.partition("=")
    is_escaped = "${" in value and re.search(r"['\"\\]", value)  # by a user who knows Hydra's grammar
    if key in FOLDERS and not PLAIN.fullmatch(value) and not is_escaped:
        return f"{key}={quoted(value)}"
    if columns := COLUMNS.fullmatch(override):
        is_plain = re.compile(r"'.*'|\".*\"|[A-Za-z_][\w./-]*", re.ASCII) if key == "tags" else PLAIN
        names = [
            name if is_plain.fullmatch(name) else quoted(name) for name in map(str.strip, columns[1].split(",")) if name
        ]
        return f"{key}=[{','.join(names)}]"
    if is_text(key) and ONE_VALUE.fullmatch(override) and not PLAIN.fullmatch(value):
        return f"{key}={quoted(value)}"
    if re.search("['\"]", override):
        return override
    return (NUMBER if key in ("name", "tags") else HOME).sub(r"'\g<0>'", override)

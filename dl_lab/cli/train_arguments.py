"""The arguments of train: options, group=choice and key=value, made readable for Hydra or refused with a hint."""

import re
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from dl_lab.cli.arguments import divided, is_folder
from dl_lab.config import hints
from dl_lab.config.compose import FOLDERS, PLAIN, TEXTS, quoted
from dl_lab.core.errors import ConfigError, same, unknown, unknown_option
from dl_lab.core.shell import line

RERUN = "--experimental-rerun"
NO_KEY = re.compile(r"\s*(\+\+?|~)?\s*(@[^=]*)?=")
COLUMNS = re.compile(r"(?:dataset\.(?:targets|features|drop|categories|numbers|dates)|tags)=\[([^\[\]'\"$\\]*)\]")
FUNCTIONS = "choice|range|glob|interval|sort|shuffle|tag|str|int|float|bool|json_str|extend_list"
ONE_VALUE = re.compile(rf"[^=]+=(?!(?:{FUNCTIONS})\(|~)[^,'\"$\\]+")  # no sweep, quoted text, interpolation or function
NUMBER = re.compile(r"(?<=[=,\[])[-+]?[\d.][\w.+-]*(?=[,\]]|$)")
HOME = re.compile(r"(?<=[=,\[])~[^,\]]*")  # a value such as ~/data.csv, which Hydra reads in quotes only
NO_CHOICE = re.compile(r"[-+.]?\d.*|\[[-+.\d].*|true|false|null", re.IGNORECASE)  # of which Hydra says no more


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
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if (
            len(option) < 3
            or option[0] != "-"
            or any(name.startswith(option) for name in [*names, "-cd", "-cp", "-cn"])
        ):
            continue
        following = arguments[place + 1] if place + 1 < len(arguments) else "VALUE"
        if hint := of_override(option.lstrip("-"), value if equals else following, arguments):
            raise ConfigError(f"{option} is not an option; allowed: group=choice and key=value{hint}")


def refuse_unreadable(overrides: Sequence[str], place: int) -> None:
    """Raise ConfigError for an override that is not key=value, and for a value where a choice belongs."""
    override = overrides[place]
    key, equals, value = override.partition("=")
    if NO_KEY.match(override):
        meant = divided(overrides, place, is_text)
        hint = f"; hint: {meant}" if meant else ""
        raise ConfigError(f"{override} cannot be read (it has no key); allowed: key=value{hint}")
    if not equals and not override.startswith("~"):
        raise ConfigError(
            f"{override} is not key=value; allowed: group=choice and key=value{meant_by(overrides, place)}"
        )
    if key in hints.choices() and NO_CHOICE.fullmatch(value):
        raise unknown(key, value, hints.choices()[key], hints.of_choice(key, value))
    if value.startswith("=") and not is_text(key):
        single = value.lstrip("=")
        hint = of_override(key, single, overrides) or f"; hint: {line(f'{key}={single}')}"
        raise ConfigError(f"{override} has two signs =; allowed: key=value{hint}")
    dotted = key if key.startswith(("hydra", "~", "+")) else key.replace("/", ".")
    if ("-" in key or dotted != key) and (hint := of_override(dotted, value, overrides)):
        raise ConfigError(f"{key} is not a key; allowed: group=choice and key=value{hint}")


def is_text(key: str) -> bool:
    """Whether the value of a key is a text, which can have spaces."""
    return key in FOLDERS or bool(TEXTS.fullmatch(key))


def meant_by(overrides: Sequence[str], place: int) -> str:
    """What an override without = was meant to be, as the end of a message."""
    key, colon, value = overrides[place].partition(":")
    following = overrides[place + 1 :]
    if not colon or not value:
        value = following[0] if following and "=" not in following[0].strip("=") else "VALUE"
        value = following[1] if value == "=" and following[1:] else value.removeprefix("=")
    if hint := of_override(key, value, overrides, by_letters=False):
        return hint
    if is_folder(overrides[place]):
        return f"; hint: {line(f'resume={overrides[place]}')} continues a run"
    chosen = [f"{group}={name}" for group, names in hints.choices().items() if (name := same(key, names))]
    whole = f"{key}={value}" if re.fullmatch(r"[\w/]+(\.\w+)+", key) and value != "VALUE" else ""
    meant = " or ".join(chosen) or divided(overrides, place, is_text) or (whole and line(whole))
    return f"; hint: {meant}" if meant else ""


def of_override(key: str, value: str, overrides: Sequence[str], by_letters: bool = True) -> str:
    """The arguments that were meant by a key and a value, as the end of a message."""
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

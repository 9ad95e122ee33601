"""The `key=value` arguments of all commands."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import dl_lab
from dl_lab.core.errors import ConfigError, hinted, near, unknown_key
from dl_lab.core.shell import word

READING = ("separator", "encoding", "header", "decimal", "thousands", "percent", "missing")
TABLE_KEYS = tuple(f"dataset.{name}" for name in (*READING, "image_folder"))  # how a new table is read
HELP_OPTIONS, VERSION_OPTIONS = ("--help", "-h"), ("--version", "-V")


def take(arguments: Sequence[str], keys: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the arguments `key=value` with a key in `keys` from all others. The last value of a key counts.

    Raises:
        ConfigError: for `key=` without a value.
    """
    taken, rest = {}, []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in keys:
            rest.append(argument)
        elif not value:
            raise ConfigError(f"{argument} has no value; allowed: {key}=VALUE")
        else:
            taken[key] = value
    return taken, rest


def values(arguments: Sequence[str], keys: Collection[str], texts: Collection[str] = ()) -> dict[str, Any]:
    """Parse arguments that are all `key=value`; a value is YAML, such as 3, true or [a, b], except of keys in `texts`.
    A dot in a key nests. A folder alone is the value of `run`.

    Raises:
        ConfigError: for any other argument, an unknown key, and a missing or unreadable value.
    """
    taken, rest = take(arguments, keys)
    folders = [each for each in rest if is_folder(each) or (each == arguments[0] and is_bare(each))]
    if "run" in keys and "run" not in taken and folders:
        taken["run"] = folders[0]
        rest.remove(folders[0])
    if "run" in texts and "run" not in taken and not rest:
        raise ConfigError("run is missing; allowed: run=FOLDER, or the folder of a run alone; hint: see --help")
    if rest:
        raise not_taken(rest[0], keys, arguments, texts)
    plain = {key: taken.pop(key) for key in texts if key in taken}
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"{key}={text}" for key, text in taken.items()]))
    except Exception as error:  # OmegaConf and YAML raise errors of many types
        raise ConfigError(f"{' '.join(arguments)} cannot be read; allowed: key=value, quoted for the shell") from error
    assert isinstance(parsed, dict)
    return {**{str(key): value for key, value in parsed.items()}, **plain}


def is_bare(argument: str) -> bool:
    """Whether an argument is neither key=value nor an option."""
    return "=" not in argument and not argument.startswith("-")


def is_folder(argument: str) -> bool:
    return not argument.startswith("-") and Path(argument).is_dir()


def not_taken(
    argument: str, keys: Collection[str], arguments: Sequence[str], texts: Collection[str] = ()
) -> ConfigError:
    """The error for one of the `arguments` that is not one of the `keys` of a command. The values of those in `texts`
    are texts, which the shell may have divided.
    """
    option, equals, value = argument.partition("=")
    place = arguments.index(argument)
    if argument.startswith("-") and (key := near(option.lstrip("-"), keys)):
        meant = f"{key}={value if equals else (*arguments[place + 1 :], 'VALUE')[0]}"
    elif equals and option.replace(".", "_").isidentifier():
        return unknown_key("", option, keys)
    elif "path" in keys and Path(argument).exists():
        meant = f"path={argument}"
    else:
        meant = divided(arguments, place, texts.__contains__)
    hint = word(meant) if meant else ""
    return ConfigError(
        f"{argument} is not key=value; allowed: {', '.join(f'{key}=VALUE' for key in keys)}{hinted(hint)}"
    )


def divided(arguments: Sequence[str], place: int, is_text: Callable[[str], object]) -> str:
    """The argument that the shell has divided at its spaces, of which the one at `place` is a part. "" if that is an
    option, or if no key with a list, no value or a text, as `is_text` knows them, comes before.
    """
    if arguments[place].startswith("-"):
        return ""

    def continues(argument: str) -> bool:
        return not argument.startswith("-") and "=" not in argument[1:]

    start = next((each for each in range(place, 0, -1) if not continues(arguments[each])), 0)
    start += arguments[start].startswith("-")
    end = next((each for each in range(place + 1, len(arguments)) if not continues(arguments[each])), len(arguments))
    first, _, begun = arguments[start].partition("=")
    key, equals, value = (part.strip() for part in " ".join(arguments[start:end]).partition("="))
    is_open = equals and (not begun or begun[0] in "[({")
    if end - start < 2 or not (is_open or is_text(first if equals else "run")):
        return ""
    return f"{key}={value}" if equals else "" if is_folder(first) else f"run={key}"


def answered(arguments: Sequence[str], text: str | None = None) -> bool:
    """Print the help, if the command has a `text` of it, or the version, if it is asked for."""
    if text is not None and not set(HELP_OPTIONS).isdisjoint(arguments):
        print(text)
    elif not set(VERSION_OPTIONS).isdisjoint(arguments):
        print(f"dl_lab {dl_lab.__version__}")
    else:
        return False
    return True

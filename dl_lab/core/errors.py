"""Mistakes of a user, each told in one line: the key, what was given, what is allowed, the nearest name."""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from math import inf
from typing import Any


class ConfigError(ValueError):
    """A user's mistake; its message is made one line and is shown without a traceback."""

    def __init__(self, message: str):
        super().__init__("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in message))


def unknown(key: str, given: object, allowed: Iterable[str]) -> ConfigError:
    """The error for a value that is not among the names allowed, with the nearest one that is."""
    return ConfigError(f"{key}={given} is not known{_among(given, allowed)}")


def unknown_key(group: str, given: object, allowed: Iterable[str]) -> ConfigError:
    """The error for a key that its group ("" for the whole) does not have, with the nearest one that it has."""
    return ConfigError(f"{group}{'.' if group else ''}{given} is not a key{_among(given, allowed)}")


def unknown_option(given: str, allowed: Iterable[str]) -> ConfigError:
    """The error for an option of the command line, as --multirn, that is not among those allowed."""
    return ConfigError(f"{given} is not an option{_among(given, allowed)}")


def _among(given: object, allowed: Iterable[str]) -> str:
    names = sorted(allowed)
    nearest = get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f" (nearest: {nearest[0]})" if nearest else ""
    return f"{hint}; allowed: {', '.join(names) or 'nothing here'}"


def require(condition: bool, key: str, given: object, allowed: str) -> None:
    """Raise ConfigError unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{key}={given} is not allowed; allowed: {allowed}")


Rule = tuple[Callable[[Any], bool], str]

POSITIVE: Rule = (lambda value: 0 < value < inf, "a number above 0")
NOT_NEGATIVE: Rule = (lambda value: 0 <= value < inf, "0 or a number above it")
FINITE: Rule = (lambda value: -inf < value < inf, "a finite number")
ALL_FINITE: Rule = (
    lambda values: len(values) > 0 and all(-inf < value < inf for value in values),
    "a list of one finite number or more",
)
FRACTION: Rule = (lambda value: 0 <= value <= 1, "a number from 0 to 1")
FRACTION_OR_COUNT: Rule = (
    lambda value: 0 <= value < 1 or (1 <= value < inf and value == int(value)),
    "a fraction from 0 up to 1, or a whole number",
)
BELOW_ONE: Rule = (lambda value: 0 <= value < 1, "a number from 0 up to, but not including, 1")
COUNT: Rule = (lambda value: 1 <= value < 2**62, "a whole number, 1 or more")
COUNTS: Rule = (lambda values: all(value >= 1 for value in values), "a list of whole numbers, 1 or more each")


def up_to(most: int, least: int = 1) -> Rule:
    """The rule that a whole number is from `least` to `most`."""
    return (lambda value: least <= value <= most, f"a whole number from {least} to {most}")


def one_of(*names: str) -> Rule:
    """The rule that a value is one of `names`."""
    return (lambda value: value in names, ", ".join(names))


def check(group: str, config: object, rules: Mapping[str, Rule]) -> None:
    """Hold every field of `config` that has a rule against it; None always passes.

    Raises:
        ConfigError: naming `group.field`, its value and what is allowed.
    """
    for name, (holds, allowed) in rules.items():
        value = getattr(config, name, None)
        if value is not None:
            require(holds(value), f"{group}.{name}" if group else name, value, allowed)


def refuse_interpolations(values: Any, key: str = "") -> None:
    """Raises: ConfigError if any text within, a key or a value, asks to be looked up elsewhere, as ${oc.env:HOME}, or
    stands for a value that must be given.
    """
    if values == "???":
        raise ConfigError(f"{key} is missing; allowed: give it, as {key}=VALUE")
    if isinstance(values, str) and "${" in values:
        raise ConfigError(f"{key}={values} would be looked up elsewhere; allowed: a plain value")
    inner = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for name, value in inner:
        here = f"{key}.{name}" if key else str(name)
        refuse_interpolations(str(name), here)
        refuse_interpolations(value, here)


class Diverged(Exception):
    """A run whose loss stopped being a finite number; its message says where, and which key to turn down."""


class Failed(Exception):
    """A run under way that the machine or its data brought to an end; its message says why, and how to go on."""


class Stopped(BaseException):
    """A run that a signal asked to stop and that has saved itself; ends a sweep too. `status` is the process's."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


MISTAKE, FAILED, INTERRUPTED = 2, 1, 130  # exit statuses


class JobsFailed(Exception):
    """Some jobs of a sweep failed; its text has a line for each."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    says_so = re.search("allocate memory|out of memory|unable to alloc|^$", str(error), re.I)
    return isinstance(error, MemoryError | RuntimeError) and says_so is not None

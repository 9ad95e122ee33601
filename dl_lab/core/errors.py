"""Exceptions and exit statuses of the commands, and one-line messages for a user's mistakes.

A message names the key, the value and what is allowed, with the nearest name; advice follows `hint:`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import inf
from operator import ne
from typing import Any
from unicodedata import bidirectional, category

DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # classes of controls in Unicode
NEAR = 0.7  # the least share of letters that near names have in common
MARKS = "\u061c\u200e\u200f"  # controls of direction that are of other classes
FAILED, MISTAKE, INTERRUPTED = 1, 2, 130  # exit statuses
FAILURES = (Exception, SystemExit, GeneratorExit)  # of a run: an exit that a user's code asks for ends only that run


def printable(text: str, kept: str = "") -> str:
    """A text for one line of a terminal: escapes replace the characters that it would obey, unless they are `kept`."""
    if text.isprintable():
        return text
    return "".join(repr(sign)[1:-1] if is_obeyed(sign) and sign not in kept else sign for sign in text)


def is_obeyed(sign: str) -> bool:
    """Whether a terminal obeys a character: it is a control, ends a line, or changes the direction of text. Spaces and
    joiners of any language are not.
    """
    return category(sign) in ("Cc", "Cs", "Zl", "Zp") or bidirectional(sign) in DIRECTIONS or sign in MARKS


def counted(number: int, one: str, several: str | None = None) -> str:
    """A number and what it counts: "1 row", "1,234 rows"; `several` is `one` with "s" by default."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def quoted(names: Sequence[str], most: int = 5) -> str:
    """The first names, quoted, and how many others there are."""
    return ", ".join(map(repr, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


class ConfigError(ValueError):
    """A user's mistake, shown as one line without a traceback."""

    def __init__(self, message: str):
        super().__init__(re.sub(r"(\S{200})\S{800,}", r"\1...", printable(message)))


class UserCodeError(ConfigError):
    """What the code of a user returned does not fit. Resuming the run would not help."""


class Diverged(Exception):
    """The loss of a run is no longer finite. The message says at which step and which key to change."""


class Failed(Exception):
    """The machine or the data ended a run. The message gives the reason and how to resume."""


class JobsFailed(Exception):
    """Some jobs of a sweep failed. The message has one line per job. In Python, `sweep` has the other jobs."""

    sweep: Any = None


class Stopped(BaseException):
    """A signal stopped a run, which has saved a checkpoint. It also ends a sweep. `status` is the exit status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def hinted(advice: str) -> str:
    """Advice as the end of a message; "" without advice."""
    return f"; hint: {advice}" if advice else ""


def unknown(key: str, given: object, allowed: Iterable[str], hint: str = "") -> ConfigError:
    """The error for a value that is not one of the `allowed` names; `hint` is advice, or ""."""
    return ConfigError(f"{key}={given} is not known{_nearest(given, allowed)}{hinted(hint)}")


def unknown_key(group: str, given: object, allowed: Iterable[str], hint: str = "") -> ConfigError:
    """The error for a key that a group does not have; "" is the top level, and `hint` is advice, or ""."""
    return ConfigError(f"{group}{'.' if group else ''}{given} is not a key{_nearest(given, allowed)}{hinted(hint)}")


def unknown_option(given: str, allowed: Iterable[str]) -> ConfigError:
    """The error for a command-line option such as --multirn."""
    return ConfigError(f"{given} is not an option{_nearest(given, allowed)}")


def unknown_command(given: str, allowed: Iterable[str], hint: str = "") -> ConfigError:
    """The error for a first argument that is no command; `hint` is advice, or ""."""
    return ConfigError(f"{given} is not a command{_nearest(given, allowed)}{hinted(hint)}")


def near(given: object, names: Iterable[str]) -> str | None:
    """The name that was probably meant: with other capitals, dashes or order of letters, a few other letters (one
    of three), or without its end. None if no name is near.
    """
    spelled = {plain(name): name for name in names}
    text = plain(given)
    if found := same(text, spelled):
        return spelled[found]
    swapped = [name for name in spelled if len(name) == len(text) > 2 and sorted(name) == sorted(text)]
    begun = [name for name in spelled if is_beginning(text, name, 3) or is_beginning(name, text, 4)]
    mistyped = [name for name in spelled if len(name) == len(text) > 2 and sum(map(ne, name, text)) == 1]
    close = get_close_matches(text, spelled, n=1, cutoff=NEAR)
    nearest = swapped or close or mistyped or sorted(begun, key=len)
    return spelled[nearest[0]] if nearest else None


def is_beginning(short: str, text: str, least: int) -> bool:
    """Whether a text begins with a shorter one of at least so many letters."""
    return len(short) >= least and text.startswith(short)


def same(given: object, names: Iterable[str]) -> str | None:
    """The name with the same letters and digits."""
    return next((name for name in names if plain(name) == plain(given)), None)


def plain(name: object) -> str:
    """A name without capitals, dashes and underscores."""
    return str(name).lower().replace("-", "").replace("_", "")


def _nearest(given: object, allowed: Iterable[str]) -> str:
    """The end of a message: the allowed name that is near, if there is one, and all allowed names."""
    names = sorted(allowed)
    nearest = near(given, names)
    suggestion = f" (nearest: {nearest})" if nearest else ""
    return f"{suggestion}; allowed: {', '.join(names) or 'nothing here'}"


def require(condition: bool, key: str, given: object, allowed: str) -> None:
    """Raise ConfigError unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{key}={given} is not allowed; allowed: {allowed}")


# For the entries of users that are plain dataclasses; ours have the types of core/schema.
Rule = tuple[Callable[[Any], bool], str]

POSITIVE: Rule = (lambda value: 0 < value < inf, "a number above 0")
NOT_NEGATIVE: Rule = (lambda value: 0 <= value < inf, "0 or a number above it")
FINITE: Rule = (lambda value: -inf < value < inf, "a finite number")
FRACTION: Rule = (lambda value: 0 <= value <= 1, "a number from 0 to 1")
BELOW_ONE: Rule = (lambda value: 0 <= value < 1, "a number from 0 up to, but not including, 1")
COUNT: Rule = (lambda value: 1 <= value < 2**62, "a whole number, 1 or more")


def one_of(*names: str) -> Rule:
    """The rule that a value is one of `names`."""
    return (lambda value: value in names, ", ".join(names))


def check(group: str, config: object, rules: Mapping[str, Rule]) -> None:
    """Check the fields of a user's dataclass from its `__post_init__`; a field that is None passes.

    Raises:
        ConfigError: naming `group.field`, its value and what is allowed.
    """
    for name, (holds, allowed) in rules.items():
        value = getattr(config, name)
        require(value is None or holds(value), f"{group}.{name}", value, allowed)


def refuse_interpolations(values: Any, key: str = "") -> None:
    """Check that no key or value, however deep, is an interpolation such as ${oc.env:HOME} or the mark ??? of a
    missing value.

    Raises:
        ConfigError: for the first one.
    """
    if values == "???":
        raise ConfigError(f"{key} is missing; allowed: {key}=VALUE")
    if isinstance(values, str) and "${" in values:
        raise ConfigError(f"{key}={values} is an interpolation; allowed: a plain value")
    inner = values.items() if isinstance(values, Mapping) else enumerate(values) if isinstance(values, list) else ()
    for name, value in inner:
        here = f"{key}.{name}" if key else str(name)
        refuse_interpolations(str(name), here)
        refuse_interpolations(value, here)


def is_out_of_memory(error: BaseException) -> bool:
    """True if the error means that a device or the machine has run out of memory."""
    says_so = re.search("allocate memory|out of memory|unable to alloc|ALLOC_FAILED|bad_alloc", str(error), re.I)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and says_so is not None)

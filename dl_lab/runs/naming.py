"""Shorten configuration keys and overrides for the names of runs: optimizer.lr=0.01 becomes lr=0.01."""

import re
from collections import Counter
from collections.abc import Iterable

LONG_NUMBER = re.compile(r"[+-]?\d*\.\d{6,}(e[+-]?\d+)?")  # such as a search draws


def key_of(override: str) -> str:
    """The key of an override such as optimizer.lr=0.1."""
    return override.lstrip("+~").partition("=")[0]


def short_keys(keys: Iterable[str]) -> dict[str, str]:
    """Map each dotted key to its last part, or to the whole key if another one has the same last part."""
    lasts = {key: key.rpartition(".")[2] for key in keys}
    number_of = Counter(lasts.values())
    return {key: last if number_of[last] == 1 else key for key, last in lasts.items()}


def short_overrides(overrides: Iterable[str], other_keys: Iterable[str] = ()) -> list[str]:
    """Overrides with shortened keys, and with long numbers rounded to four digits, such as "lr=0.01". A key stays whole
    if one of the other overrides or of `other_keys` has the same last part.
    """
    parts = [override.partition("=") for override in overrides]
    short = short_keys([*(key for key, _, _ in parts), *other_keys])
    return [
        f"{short[key]}{equals}{f'{float(value):.4g}' if LONG_NUMBER.fullmatch(value) else value}"
        for key, equals, value in parts
    ]

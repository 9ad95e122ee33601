"""Hints for values that Hydra's grammar does not read as they are given: the argument that works, for the shell."""

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dl_lab.config.compose import PLAIN, TEXTS, argument, quoted
from dl_lab.config.hints import choices
from dl_lab.core.shell import line

SPACES = " \t\n\r"  # of Hydra's grammar and of files with arguments; others belong to names
PAIRS = (("[", "]"), ("{", "}"), ("(", ")"))


def readable(override: str) -> str:
    """An override that cannot be read, without spaces around = and a comma at the end, or with quotes; "" if that is
    not enough.
    """
    key, equals, value = (part.strip(SPACES) for part in override.partition("="))
    is_text = TEXTS.fullmatch(key)
    value = value if is_text else value.rstrip(f"{SPACES},") or value
    if not (equals and key) or (not is_text and any(value.count(left) != value.count(right) for left, right in PAIRS)):
        return ""
    is_list = value[:1] + value[-1:] in ("[]", "()", "{}") and ((value[0] == "[" and not is_text) or takes_list(key))
    texts = [text.strip() for text in value[1:-1].split(",")] if is_list else [value]
    plain, safe = (f"[{','.join(each)}]" if is_list else each[0] for each in (texts, [_in_quotes(t) for t in texts]))
    candidates = [f"{key}={plain}", f"{key}={safe}"][1 if is_text else 0 :]
    return next((line(each) for each in candidates if _is_read(each)), "")


def _in_quotes(text: str) -> str:
    return text if PLAIN.fullmatch(text) else quoted(text)


def _is_read(override: str) -> bool:
    try:
        OverridesParser.create().parse_overrides([override])
    except HydraException:
        return False
    return True


def takes_list(key: str) -> bool:
    """Whether the value of a key is a list, as in the YAML files that have the key."""
    return _default(key).startswith("[")


def _default(key: str) -> str:
    group, _, name = key.rpartition(".")
    return next((own[name] for own in choices().get(group, {}).values() if name in own), "")


def several(override: str) -> str:
    """How to give several values, or one value with a comma."""
    key, _, value = override.partition("=")
    if TEXTS.fullmatch(key):
        return f"{argument(key, value)} is one value with a comma; -m runs each"
    if takes_list(key) and "(" not in value:
        return f"{line(f'{key}=[{value}]')} is a list; -m runs each"
    if re.fullmatch(r"\d+,\d+", value) and "." in _default(key):
        return f"{key}={value.replace(',', '.')} is a number; -m runs each"
    return "-m runs each"

"""Values from YAML and the command line, held against the types of a dataclass. Imports no torch."""

import pickle
from dataclasses import fields
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from dl_lab.core.errors import ConfigError, unknown_key


def typed(schema: type, values: Any, group: str) -> Any:
    """An instance of the dataclass `schema` with these values; the jobs of a sweep share those that are equal.

    Raises:
        ConfigError: for an unknown or missing key, or a value of the wrong type.
    """
    return _typed(schema, pickle.dumps(values), group)


@lru_cache(maxsize=1024)
def _typed(schema: type, pickled: bytes, group: str) -> Any:
    values = pickle.loads(pickled)
    prefix = f"{group}." if group else ""
    hints = get_type_hints(schema)
    names = [field.name for field in fields(schema)]
    if not isinstance(values, dict):
        raise ConfigError(f"{group}={values} is not allowed; allowed: the keys {', '.join(names)}")
    for name in names:
        if name not in values:
            raise ConfigError(f"{prefix}{name} is missing; allowed: {_in_words(hints[name])}")
    structured = OmegaConf.structured(schema)
    OmegaConf.set_readonly(structured, None)
    for name, value in values.items():
        if name not in names:
            raise unknown_key(group, name, names)
        try:
            structured[name] = value
        except (ConfigKeyError, OmegaConfBaseException) as error:
            raise ConfigError(
                f"{prefix}{name}={value} has the wrong type; allowed: {_in_words(hints[name])}"
            ) from error
    return OmegaConf.to_object(structured)


def _in_words(hint: Any) -> str:
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    if hint in plain:
        return plain[hint]
    if get_origin(hint) is list:
        return f"a list, each {_in_words(get_args(hint)[0])}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_in_words(part) for part in get_args(hint))
    return str(hint)

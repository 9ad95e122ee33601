"""Values from YAML and the command line, checked against the types of a schema by pydantic."""

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dl_lab.core.errors import ConfigError, hinted, unknown, unknown_key
from dl_lab.core.shell import line

if TYPE_CHECKING:
    from pydantic import TypeAdapter


def typed(schema: type, values: Any, group: str) -> Any:
    """Return an instance of the dataclass `schema` with these values.

    Raises:
        ConfigError: for an unknown or missing key, or a value that is not allowed.
    """
    from pydantic import ValidationError

    names = [field.name for field in fields(schema)]
    if not isinstance(values, dict):
        raise ConfigError(f"{group}={values} is not allowed; allowed: the keys {', '.join(names)}")
    for name in values:
        if name not in names:
            raise unknown_key(group, name, names, _hint(group, name, values))
    try:
        checked = _adapter(schema).validate_python(values)
    except ValidationError as error:
        raise _config_error(schema, values, group, error.errors()[0]) from error
    for name, value in checked.items():
        if _is_lossy(values[name], value):
            raise _config_error(schema, values, group, {"loc": (name,), "type": "lossy"})
    return schema(**checked)


def _hint(group: str, key: object, values: Mapping[str, Any]) -> str:
    """Where the key of a group is, if it is one of a configuration."""
    from dl_lab.config import hints  # imports Hydra, which not every command needs

    present = {group: [name for name in values if name != key]}
    return hints.of_key(group, key, values[str(key)], present) if group in hints.choices() else ""


@cache
def _adapter(schema: type) -> "TypeAdapter[dict[str, Any]]":
    """The validator of the fields of a dataclass, a schema or one written by a user; __post_init__ runs afterwards."""
    from pydantic import ConfigDict, TypeAdapter, with_config
    from typing_extensions import TypedDict

    hints = get_type_hints(schema, include_extras=True)
    make: Any = TypedDict  # mypy knows only literal fields
    types = make(schema.__name__, {field.name: _as_in_yaml(hints[field.name]) for field in fields(schema)})
    return TypeAdapter(with_config(ConfigDict(coerce_numbers_to_str=True))(types))


def _as_in_yaml(hint: Any) -> Any:
    """The same type, which also accepts true and false as text, and members of an Enum by name."""
    from pydantic import BeforeValidator

    if hint is str:
        return Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, bool) else value)]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return Annotated[hint, BeforeValidator(lambda name: hint.__members__.get(str(name), name))]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_as_in_yaml(arguments[0]), *hint.__metadata__)]
    if origin is list:
        return list[_as_in_yaml(arguments[0])]  # type: ignore[misc]
    if origin in (Union, UnionType):
        return Union[tuple(map(_as_in_yaml, arguments))]  # noqa: UP007  # the types are not known here
    return hint


def _config_error(schema: type, values: dict[str, Any], group: str, error: Mapping[str, Any]) -> ConfigError:
    """Translate the first error of pydantic into one line."""
    name = str(error["loc"][0])
    key = f"{group}.{name}" if group else name
    hint = get_type_hints(schema, include_extras=True)[name]
    if error["type"] == "missing" and len(error["loc"]) == 1:
        return ConfigError(f"{key} is missing; allowed: {in_words(hint)}")
    if error["type"] == "literal_error" and len(error["loc"]) == 1:
        return unknown(key, values[name], _choices(hint))
    advice = _corrected(key, values[name], hint)
    return ConfigError(f"{key}={values[name]} is not allowed; allowed: {in_words(hint)}{hinted(advice)}")


def _corrected(key: str, value: Any, hint: Any) -> str:
    """The argument with null instead of None, or with the brackets of a list; "" if that is not the mistake."""
    kinds = [get_origin(each) or each for each in (hint, *get_args(hint))]
    if NoneType in kinds and str(value).lower() == "none":
        return f"{key}=null"
    if not {list, tuple} & {*kinds} or isinstance(value, list | dict) or value is None:
        return ""
    texts = str(value).split()
    return line(f"{key}=[{','.join(texts) if all(map(str.isdecimal, texts)) else value}]")


def _is_lossy(value: Any, checked: Any) -> bool:
    """Whether pydantic has read true as a number, or a number with a decimal point as a whole number or true."""
    if isinstance(checked, list):
        return any(map(_is_lossy, value, checked))
    if isinstance(checked, bool):
        return isinstance(value, float)
    if isinstance(checked, int):
        return isinstance(value, bool | float)
    return isinstance(checked, float) and isinstance(value, bool)


def _choices(hint: Any) -> list[str]:
    """The names in a Literal, and null if it is optional."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [name for part in get_args(hint) for name in (["null"] if part is NoneType else _choices(part))]


def in_words(hint: Any) -> str:
    """Return what a type allows, for error messages and the reference of the configuration."""
    plain = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    if hint in plain:
        return plain[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(hint.__members__)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        texts = [extra for extra in hint.__metadata__ if isinstance(extra, str)]
        return texts[-1] if texts else in_words(arguments[0])
    if origin is Literal:
        return ", ".join(arguments)
    if origin is tuple:
        return f"a list of {' and '.join(map(in_words, arguments))}"
    if origin is list:
        return f"a list, each {in_words(arguments[0])}"
    if origin in (Union, UnionType):
        return ", or ".join(map(in_words, arguments))
    return str(hint)

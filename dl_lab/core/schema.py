"""The base class of configurations, and the types that their fields are made of.

A schema is a frozen dataclass without default values: the values are in YAML. `config.validation.typed` checks values
against it with pydantic. The text at the end of a type is what an error message gives as allowed.
"""

from dataclasses import Field, FrozenInstanceError, dataclass
from math import inf
from typing import Annotated, Any, ClassVar, dataclass_transform

from annotated_types import Interval, Len


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Schema:
    """A configuration; every subclass is a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init_subclass__(cls) -> None:
        dataclass(frozen=True, kw_only=True)(cls)
        del cls.__setattr__, cls.__delattr__  # a user may decorate the class again, which these would prevent

    def __post_init__(self) -> None:
        """Check rules that involve several fields, with `core.errors.require`."""

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")


PositiveInt = Annotated[int, Interval(ge=1, lt=2**62), "a whole number, 1 or more"]
NonNegativeInt = Annotated[int, Interval(ge=0, lt=2**62), "a whole number, 0 or more"]
Seed = Annotated[int, Interval(ge=0, lt=2**63), "a whole number from 0 to 2^63 - 1"]

# An upper bound of infinity excludes nan too.
Finite = Annotated[float, Interval(gt=-inf, lt=inf), "a finite number"]
PositiveFloat = Annotated[float, Interval(gt=0, lt=inf), "a number above 0"]
NonNegativeFloat = Annotated[float, Interval(ge=0, lt=inf), "0 or a number above it"]
Fraction = Annotated[float, Interval(ge=0, le=1), "a number from 0 to 1"]
BelowOne = Annotated[float, Interval(ge=0, lt=1), "a number from 0 up to, but not including, 1"]

NonEmpty = Len(min_length=1)
Pair = Len(2, 2)

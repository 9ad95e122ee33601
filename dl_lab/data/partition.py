"""The division of examples into training, validation and test split."""

from math import inf
from typing import Annotated

from annotated_types import Interval, Predicate
from torch import Tensor

from dl_lab.core.errors import ConfigError, counted, require
from dl_lab.core.schema import Schema

FractionOrCount = Annotated[
    int | float,  # 1 is one example; 1.0 may mean all of them
    Interval(ge=0, lt=inf),
    Predicate(lambda value: value < 1 or (value == int(value) and (value > 1 or isinstance(value, int)))),
    "a fraction from 0 up to, but not including, 1, or a whole number",
]


class SplitConfig(Schema):
    """How much is held out: a fraction below 1, or a number of examples."""

    validation: FractionOrCount
    test: FractionOrCount


def held_out(fraction_or_count: float, examples: int) -> int:
    """The number of held-out examples, given a field `validation` or `test`."""
    return round(fraction_or_count * examples) if fraction_or_count < 1 else int(fraction_or_count)


def divide(examples: int, validation: float, test: float, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cut `order` (example,) into the indices of the training, validation and test examples, in this order.

    Raises:
        ConfigError: if no example is left for training or validation.
    """
    for_test, for_validation = held_out(test, examples), held_out(validation, examples)
    require(for_validation >= 1, "dataset.validation", validation, f"at least 1 of {counted(examples, 'example')}")
    for_training = examples - for_test - for_validation
    if for_training < 1:
        raise ConfigError(
            f"dataset.validation={validation} and dataset.test={test} leave no training example of {examples}; "
            "allowed: together less than all"
        )
    train, validation_part, test_part = order.split([for_training, for_validation, for_test])
    return train, validation_part, test_part

"""Numbers as text."""

from collections.abc import Mapping
from math import floor, inf, isfinite, log10
from types import MappingProxyType

from dl_lab.core.errors import printable


def format_value(value: object, digits: int = 4) -> str:
    """A value as text, with so many significant digits; "-" for None, nan and infinity."""
    if value is None or (isinstance(value, float) and not isfinite(value)):
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def format_setting(value: object) -> str:
    """A value of a configuration as in YAML; `hyperparameters` have null as the text "None"."""
    text = str(value)
    return {"None": "null", "True": "true", "False": "false"}.get(text, text)


def format_metrics(
    metrics: Mapping[str, float], intervals: Mapping[str, tuple[float, float]] = MappingProxyType({})
) -> str:
    """Metrics as one line of text, with four significant digits; those that have an interval of 95 %, with it and
    the digits that it supports.
    """
    return "  ".join(f"{printable(name)} {_estimate(metrics[name], intervals.get(name))}" for name in metrics)


def _estimate(value: float, interval: tuple[float, float] | None) -> str:
    low, high = interval or (value, value)
    if not 1e-5 < high - low < inf:
        return f"{value:.4g}"
    return "{:.{d}f} (95 % {:.{d}f} to {:.{d}f})".format(value, low, high, d=decimals(high - low))


def decimals(size: float) -> int:
    """The decimals that show two significant digits of a number of this size."""
    return max(1 - floor(log10(size)), 0) if size else 0

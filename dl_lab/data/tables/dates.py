"""Dates and times in columns of text."""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y"),
    *("%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d %Y", "%b %d, %Y"),
    *("%d-%B-%Y", "%d %B %Y", "%B %d %Y", "%B %d, %Y", "%a, %d %b %Y", "%a %b %d %Y"),
)  # in the order of preference: the month is before the day if both fit
TIMES = ("%H:%M", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p", "%H:%M%#z", "%H:%M:%S%.f%#z", "%H:%M:%S%.f %#z")
PATTERNS = (
    *DAYS,
    *(f"{day}{sign}{time}" for day, sign, time in product(DAYS, " T", TIMES)),
    *("%Y-%m", "%Y/%m", "%b %Y", "%B %Y", "%m/%Y"),
)
ONLY_CHOSEN = ("%Y%m%d", "%Y%m", "%Y")  # which are numbers
MONTHS = "(?i:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*)"
FIELDS = {"a": "[A-Za-z]{3,}", "b": MONTHS, "B": MONTHS, "p": "[A-Za-z]{2}", ".f": r"[.\d]*", "#z": ".*"}  # no numbers
YEARS = (1000, 9999)  # others are a sign that the pattern does not fit


def pattern(known: pl.Series, is_chosen: bool) -> str | None:
    """The polars format of all texts, or of most of them if the user has chosen that they are dates; None if there is
    none.
    """
    texts = known.unique()
    first = texts.head(1)
    if not is_chosen and not first.str.contains(r"^\D{0,15}\d.{0,50}$").item():
        return None
    found = [
        (pattern, len(texts) - parsed(texts, pattern).null_count())
        for pattern in (*PATTERNS, *ONLY_CHOSEN * is_chosen)
        if is_chosen or (_shape(pattern).fullmatch(first.item()) and not parsed(first, pattern).null_count())
    ]
    best, count = max(found, key=lambda each: each[1], default=("", 0))
    return best if count == len(texts) or (is_chosen and count) else None


@cache
def _shape(pattern: str) -> re.Pattern[str]:
    """A regular expression for all texts that may have this format; polars takes a thousand times as long to see it."""
    parts = re.split(r"%(\.f|#z|[A-Za-z])", pattern)  # every second one is a field
    known = [FIELDS.get(part, r"\s*[+-]?\d+") if place % 2 else re.escape(part) for place, part in enumerate(parts)]
    return re.compile("".join(known).replace(r"\ ", r"\s*"))


def parsed(texts: pl.Series, pattern: str) -> pl.Series:
    """The dates in microseconds, in UTC where texts have a time zone; null for texts of another format."""
    return likely(texts.str.to_datetime(pattern, strict=False, time_unit="us"))


def likely(dates: pl.Series) -> pl.Series:
    """Dates without a time zone; null for those in an unlikely year."""
    import polars as pl

    is_likely = dates.dt.year().is_between(*YEARS)
    return pl.select(pl.when(is_likely).then(dates.dt.replace_time_zone(None))).to_series().alias(dates.name)

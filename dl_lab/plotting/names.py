"""Names from data and configurations as text in figures. Does not import torch."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from textwrap import fill

from matplotlib.font_manager import FontProperties, findfont, get_font

LONGEST_TICK = 25  # characters of a name on an axis or above an image


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def _first(signs: Sequence[str], room: int) -> Sequence[str]:
    """The first of these signs and escapes, which have `room` characters at most."""
    return signs[: bisect_right(list(accumulate(map(len, signs))), room)]


def plain(name: object, longest: int = 100) -> str:
    """A name from data or a configuration as matplotlib draws it: without formulas between $, with escapes for
    characters that the font lacks, and shortened in the middle. A space comes before "_", which hides it in legends.
    """
    signs = [sign if sign == "\n" or ord(sign) in _glyphs() else ascii(sign)[1:-1] for sign in str(name)]
    if sum(map(len, signs)) > longest:
        end = _first(signs[::-1], (longest - 1) // 2)[::-1]
        signs = [*_first(signs, longest // 2), "…", *end]
    return (" " * str(name).startswith("_") + "".join(signs)).replace("$", r"\$")


def ticks(names: Sequence[object]) -> list[str]:
    """Names beside the ticks of an axis."""
    return [plain(name, LONGEST_TICK) for name in names]


def wrapped(title: str, width: float) -> str:
    """Wrap a title to a figure of `width` inches, with ten characters per inch."""
    return plain(fill(title, int(10 * width)), 400)

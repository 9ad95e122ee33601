"""Names from data and configurations as text in figures. Does not import torch."""

from collections.abc import Sequence
from functools import cache
from textwrap import fill

from matplotlib.font_manager import FontProperties, findfont, get_font

LONGEST_TICK = 25  # characters of a name on an axis or above an image


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def plain(name: object, longest: int = 100) -> str:
    """A name from data or a configuration as matplotlib draws it: without formulas between $, with escapes for
    characters that the font lacks, and shortened in the middle. A space comes before "_", which hides it in legends.
    """
    text = str(name)
    if len(text) > longest:
        text = f"{text[: longest // 2]}…{text[-((longest - 1) // 2) :]}"
    signs = [sign if sign == "\n" or ord(sign) in _glyphs() else ascii(sign)[1:-1] for sign in text]
    return (" " * text.startswith("_") + "".join(signs)).replace("$", r"\$")


def ticks(names: Sequence[object]) -> list[str]:
    """Names beside the ticks of an axis."""
    return [plain(name, LONGEST_TICK) for name in names]


def wrapped(title: str, width: float) -> str:
    """Wrap a title to a figure of `width` inches, with ten characters per inch."""
    return plain(fill(title, int(10 * width)), 400)

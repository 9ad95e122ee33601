"""Text that can be pasted into a shell."""

import re
import shlex

from dl_lab.core.errors import printable


def word(value: object) -> str:
    """Quote a text or path as one word of bash or zsh: in $'...' if a terminal would obey any of its characters, and in
    double quotes if it has single ones.
    """
    text = str(value)
    if printable(text) != text:
        signs = (f"\\{sign}" if sign in "\\'" else sign if printable(sign) == sign else _escape(sign) for sign in text)
        return f"$'{''.join(signs)}'"
    if "'" in text and "!" not in text:
        return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'
    return shlex.quote(text)


def _escape(sign: str) -> str:
    """A character in $'...'; a byte that is no text, as Python reads it in the name of a file."""
    code = ord(sign)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\U{code:08x}"


def line(*words: str) -> str:
    """Words as a command line."""
    return " ".join(map(word, words))

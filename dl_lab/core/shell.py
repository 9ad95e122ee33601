"""Text that can be pasted into a shell."""

import re
import shlex


def word(text: str) -> str:
    """Quote a text as one word of the shell; a text with single quotes is in double quotes, which read better."""
    if "'" in text and "!" not in text:
        return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'
    return shlex.quote(text)


def line(*words: str) -> str:
    """Words as a command line."""
    return " ".join(map(word, words))

"""Words in a command that can be pasted."""

import os
import subprocess

from dl_lab.core import shell

WORDS = [
    "plain/1.5",
    "a b",
    "it's",
    "it's $HOME `x` \\ \"",
    "it's!",
    "$HOME `x` \\",
    "~",
    "\u00e9\u4e2d",
    "a\nb'\\c",
    "\x1b[2J\u202e\x9b",
    "x\udcffy",
    "",
]


def test_a_shell_reads_any_word_and_a_terminal_obeys_none():
    ended = subprocess.run(["bash", "-c", f"printf '%s\\0' {shell.line(*WORDS)}"], capture_output=True)
    assert ended.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in WORDS]
    assert shell.line(*WORDS).isprintable()

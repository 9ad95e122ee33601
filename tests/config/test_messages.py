"""Whose code raised an error decides what is said about it. What a hint quotes is what was meant."""

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dl_lab.config.messages import user_place
from dl_lab.config.quoting import readable


@pytest.mark.parametrize(
    ("module", "file", "place"),
    [
        ("hydra._internal.utils", "/opt/packages/hydra/_internal/utils.py", None),  # pip install --target
        ("my_model", "/home/me/my_model.py", "my_model.py, line 1"),
        ("json.decoder", "/usr/lib/python3/json/decoder.py", None),
        ("timm.models", "/usr/lib/python3/dist-packages/timm/models.py", None),
    ],
)
def test_the_place_of_an_error_is_in_the_code_of_the_user(module, file, place):
    with pytest.raises(KeyError) as caught:
        exec(compile("{}['key']", file, "exec"), {"__name__": module})
    assert user_place(caught.value.with_traceback(caught.tb.tb_next)) == place


UNREADABLE = [
    "a(b.csv",
    "[1",
    "[a b] c",
    "it's (1).csv",
    "~/x",
    "`ls` $HOME!",
    "a\x1b[31m!'",
    "\u202eb\t~'",
    "é\xa0",
    '"\\',
]


def test_a_hint_quotes_a_value_so_that_the_shell_and_hydra_read_it():
    hints = [readable(f"dataset.path={value}") for value in UNREADABLE]
    assert all(hint.isprintable() or "\xa0" in hint for hint in hints)
    ended = subprocess.run(["bash", "-c", f"printf '%s\\0' {' '.join(hints)}"], capture_output=True, text=True)
    overrides = OverridesParser.create().parse_overrides(ended.stdout.split("\0")[:-1])
    assert [override.value() for override in overrides] == UNREADABLE

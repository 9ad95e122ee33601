"""Whose code raised an error decides what is said about it."""

import pytest

from dl_lab.config.messages import user_place


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

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.commands import TINY, train
from support.configs import parsed

from dl_lab.core import yaml_files
from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.download import download
from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data, fingerprint
from dl_lab.data.files import read_text
from dl_lab.data.tables.reading import Reading, read_table
from dl_lab.datasets.mnist import read_idx
from dl_lab.runs import checkpoint
from dl_lab.training.setup import build_data


def parsed_data() -> Data:
    return build_data(parsed("dataset=iris"))


AUTO = {"separator": "auto", "encoding": "auto", "decimal": "auto"}
READING = Reading(**AUTO, header=True, thousands=None, percent=False, missing=[])
READERS = {
    "text": lambda path: read_text(str(path), "a text file"),
    "table": lambda path: read_table(str(path), READING),
    "idx": read_idx,
    "checkpoint": lambda path: checkpoint.load(path, torch.device("cpu")),
    "yaml": yaml_files.check,
    "download": lambda path: download([], "0" * 64, path, path.parent, "data"),
    "fingerprint": lambda path: fingerprint(replace(parsed_data(), files={"": path})),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to(os.devnull), Path.mkdir], ids=["pipe", "device", "folder"]
)
def test_what_is_no_file_is_refused(
    make: Callable[[Path], None], read: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"not a regular file|[Ii]s a directory|not a complete idx file"):
        read(tmp_path / "data")


def test_files_are_read_through_links(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\x00\r\n\xff")
    (tmp_path / "link").symlink_to("data")
    assert read_bytes(tmp_path / "link") == b"\x00\r\n\xff"


def test_a_file_of_ours_may_not_be_shadowed_by_an_endless_one(tmp_path):
    (tmp_path / "own" / "model").mkdir(parents=True)
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir):
        path = tmp_path / "own" / "model" / "mlp.yaml"
        make(path)
        assert train(tmp_path, "--config-dir", "own", *TINY).status == 0  # it is no choice
        path.rmdir() if path.is_dir() else path.unlink()

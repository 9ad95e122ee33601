"""Downloads of published files, checked against their sha256 before anything opens them."""

import hashlib
import http.client
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.error import HTTPError

import torch

from dl_lab.core.atomic_io import read_bytes
from dl_lab.core.errors import ConfigError
from dl_lab.core.progress import announce, in_notebook, shows_bars

TIMEOUT = 30  # seconds without a byte
_only: ContextVar[Path | None] = ContextVar("only", default=None)


@contextmanager
def only_into(data_dir: Path) -> Iterator[None]:
    """Inside the context, download only into this folder, which the command chose: a run folder may name any other."""
    before = _only.set(data_dir)
    try:
        yield
    finally:
        _only.reset(before)


@contextmanager
def missing_data(files: str, data_dir: Path) -> Iterator[None]:
    """Turn a failed download inside the context into one line that names the files and the folder they belong in."""
    if (only := _only.get()) is not None and only.absolute() != data_dir.absolute():
        raise ConfigError(
            f"data_dir={data_dir}, which the run folder names, does not hold {files}; allowed: downloads into {only}, "
            "or where the command says; hint: give data_dir=FOLDER"
        )
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is an open response
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"data_dir={data_dir} does not hold {files}, and the download failed ({reason}); "
            "hint: connect to a network, or put the files into that folder"
        ) from error


def download(urls: Sequence[str], sha256: str, path: Path, data_dir: Path, files: str) -> None:
    """Download the file with this sha256 to `path`, from the first of its mirrors `urls` that has it, with a progress
    bar on a terminal. Does nothing if `path` is that file already; leaves `path` as it is if every mirror fails.

    Raises:
        ConfigError: if no mirror has the file; names `files`, which it is or contains.
    """
    with missing_data(files, data_dir):
        if path.exists() and hashlib.sha256(read_bytes(path)).hexdigest() == sha256:
            return
    for number, url in enumerate(urls, 1):
        try:
            with missing_data(f"{files} (from {url})", data_dir):
                _fetch(url, sha256, path)
        except ConfigError:
            if number == len(urls):
                raise
        else:
            return


def _fetch(url: str, sha256: str, path: Path) -> None:
    announce(f"downloading {url} to {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torch.hub has no parameter for it
    try:
        torch.hub.download_url_to_file(url, str(path), sha256, progress=shows_bars() and not in_notebook())
    finally:
        socket.setdefaulttimeout(before)

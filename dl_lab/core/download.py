"""Fetching a published file once, whole and checked; and saying what to do where there is no network."""

import hashlib
import http.client
import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dl_lab.core.errors import ConfigError

TIMEOUT = 30  # seconds without a byte
SLOWEST = 1000  # bytes a second, over so many seconds; less is given up


@contextmanager
def missing_data(files: str, folder: Path) -> Iterator[None]:
    """Turn a failed download inside the block into one line that names the files and where to put them."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"data_dir={folder} does not hold {files}, and the download failed ({reason}); "
            "allowed: a network, or the files put into that folder"
        ) from error


def download_archive(urls: Sequence[str], sha256: str, path: Path, data_dir: Path, files: str) -> None:
    """Have an archive at `path` with this sha256: the one that is there, or the first that a mirror gives. Nobody opens
    another. `files` are those of `data_dir` that it is fetched for.
    """
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return
    for number, url in enumerate(urls, 1):
        try:
            with missing_data(f"{files} (from {url})", data_dir):
                fetch(url, sha256, path)
        except ConfigError:
            if number == len(urls):
                raise
        else:
            return


def download(url: str, sha256: str, path: Path) -> None:
    """Fetch `url` into `path`, with a progress bar on a terminal; nothing is left there unless its sha256 is right.

    Raises:
        ConfigError: if it cannot be fetched or is not what was published.
    """
    with missing_data(f"{path.relative_to(path.parents[1])} (from {url})", path.parents[1]):
        fetch(url, sha256, path)


def chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """What arrives, as it arrives. Raises: OSError if it only trickles."""
    since, received = time.monotonic(), 0
    while chunk := response.read1(1 << 16):
        yield chunk
        received += len(chunk)
        seconds = time.monotonic() - since
        if seconds > TIMEOUT:
            if received < SLOWEST * seconds:
                raise OSError(f"only {received} bytes came in {seconds:.1f} s")
            since, received = time.monotonic(), 0


def fetch(url: str, sha256: str, path: Path) -> None:
    """The same. Raises: OSError or HTTPException."""
    from tqdm import tqdm

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, partial.open("wb") as file:
            told = response.headers.get("Content-Length") or ""
            size = int(told) if told.isdecimal() else None
            with tqdm(total=size, unit="B", unit_scale=True, desc=path.name, disable=not sys.stderr.isatty()) as bar:
                for chunk in chunks(response):
                    file.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
        if digest.hexdigest() != sha256:
            raise OSError(f"its sha256 is {digest.hexdigest()[:12]}..., published is {sha256[:12]}...")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

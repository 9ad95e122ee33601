"""Downloads from a local server: the published file is saved, any other response is an error that leaves no file."""

import hashlib
import os
import re
import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from support.configs import parsed
from support.server import CONTENT, SHA256, body, files, not_found, refusal, serving

from dl_lab.core.download import download
from dl_lab.core.errors import ConfigError
from dl_lab.data.dataset import Data
from dl_lab.datasets import text
from dl_lab.training.setup import build_data


def chunked_and_cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n" % len(CONTENT) + CONTENT[:5000])
    handler.close_connection = True


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"220 another kind of server\r\n")


def test_the_published_file_is_saved_in_a_new_folder_without_others(tmp_path, capsys):
    path = tmp_path / "new" / "data" / "set" / "input.txt"
    with serving({"/input.txt": body(CONTENT)}) as url:
        download([f"{url}/input.txt"], SHA256, path, tmp_path, "input.txt")
    assert path.read_bytes() == CONTENT
    assert files(tmp_path) == [path]
    assert capsys.readouterr().out == f"downloading {url}/input.txt to {path}\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(body(CONTENT[::-1]), "invalid hash value", id="another file"),
        pytest.param(body(b""), "invalid hash value", id="an empty file"),
        pytest.param(
            body(CONTENT[:-1], Content_Length=str(len(CONTENT))),
            "invalid hash value|Incomplete",
            id="shorter than Content-Length",
        ),
        pytest.param(chunked_and_cut_off, "Incomplete", id="a chunk cut off"),
        pytest.param(not_found, "404", id="not found"),
        pytest.param(no_http, "another kind of server", id="no HTTP"),
    ],
)
def test_a_failed_download_is_a_one_line_error_and_leaves_no_file(tmp_path, answer, reason):
    with serving({"/input.txt": answer}) as url:
        message = refusal(f"{url}/input.txt", tmp_path / "set" / "input.txt")
        assert f"{url}/input.txt" in message
    assert re.search(reason, message)
    assert files(tmp_path) == []


def test_a_refused_connection_is_a_one_line_error_and_leaves_no_file(tmp_path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nothing listens
        message = refusal(f"http://127.0.0.1:{bound.getsockname()[1]}/input.txt", tmp_path / "set" / "input.txt")
    assert "refused" in message
    assert files(tmp_path) == []


def test_a_failed_download_keeps_the_existing_file(tmp_path):
    path = tmp_path / "set" / "input.txt"
    path.parent.mkdir()
    path.write_bytes(b"before")
    with serving({"/input.txt": body(CONTENT[::-1])}) as url:
        refusal(f"{url}/input.txt", path)
    assert path.read_bytes() == b"before"
    assert files(tmp_path) == [path]


def test_a_file_in_place_of_the_data_folder_is_a_one_line_error(tmp_path):
    (tmp_path / "data").write_text("a file")
    with serving({"/input.txt": body(CONTENT)}) as url:
        refusal(f"{url}/input.txt", tmp_path / "data" / "set" / "input.txt")
    assert (tmp_path / "data").read_text() == "a file"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into any folder")
def test_a_read_only_folder_is_a_one_line_error(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with serving({"/input.txt": body(CONTENT)}) as url:
            assert "Permission denied" in refusal(f"{url}/input.txt", tmp_path / "set" / "input.txt")
    finally:
        tmp_path.chmod(0o755)


def tiny_shakespeare(folder: Path) -> Data:
    return build_data(
        parsed("dataset=tiny_shakespeare", "model=transformer", "dataset.validation=0.1", f"data_dir={folder}")
    )


def test_tiny_shakespeare_is_downloaded_only_if_missing(tmp_path, monkeypatch):
    content = b"To be, or not to be, that is the question:\n" * 100
    monkeypatch.setattr(text, "SHAKESPEARE_SHA256", hashlib.sha256(content).hexdigest())
    with serving({"/input.txt": body(content)}) as url:
        monkeypatch.setattr(text, "SHAKESPEARE_URL", f"{url}/input.txt")
        downloaded = tiny_shakespeare(tmp_path)
    again = tiny_shakespeare(tmp_path)  # the server is gone
    assert (tmp_path / "tiny_shakespeare" / "input.txt").read_bytes() == content
    assert again.spec == downloaded.spec
    assert len(again.train) == len(downloaded.train)


def test_tiny_shakespeare_without_a_network_is_a_one_line_error(tmp_path, monkeypatch):
    with serving({}) as url:
        monkeypatch.setattr(text, "SHAKESPEARE_URL", f"{url}/input.txt")
        with pytest.raises(ConfigError) as caught:
            tiny_shakespeare(tmp_path / "data")
    message = str(caught.value)
    assert "\n" not in message
    assert f"data_dir={tmp_path / 'data'} does not hold tiny_shakespeare/input.txt" in message

"""A file server on 127.0.0.1, in place of the network."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dl_lab.core.download import download
from dl_lab.core.errors import ConfigError

os.environ["no_proxy"] = "*"  # the server is local


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Serve `answers` by path, 404 for any other, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answers.get(self.path, not_found)(self)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def body(content: bytes, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def not_found(handler: BaseHTTPRequestHandler) -> None:
    handler.send_error(404)


CONTENT = bytes(range(256)) * 1000  # more than one chunk of the reader


SHA256 = hashlib.sha256(CONTENT).hexdigest()


def refusal(url: str, path: Path, sha256: str = SHA256) -> str:
    """The error of a failed download: one line that names the file and the folder."""
    with pytest.raises(ConfigError) as caught:
        download([url], sha256, path, path.parents[1], f"{path.parent.name}/{path.name}")
    message = str(caught.value)
    assert "\n" not in message
    assert f"{path.parent.name}/{path.name}" in message
    assert f"data_dir={path.parents[1]} " in message
    assert "; hint: " in message
    return message

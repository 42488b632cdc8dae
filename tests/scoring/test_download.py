"""Downloads: from a server of our own, with its limits of size and time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmel.errors import InputError
from mmel.scoring.download import download, is_url


class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.path == "/gone":
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"picture")
        for _ in range(20 if self.path == "/slow" else 0):
            time.sleep(0.05)
            self.wfile.write(b".")

    def log_message(self, *_: object) -> None:
        """Nothing is to be said."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def test_a_picture_is_fetched_once(server: str, tmp_path: Path) -> None:
    before = Handler.asked
    file = download(f"{server}/a.jpg", folder=tmp_path)
    assert file.read_bytes() == b"picture" and file.parent == tmp_path
    assert download(f"{server}/a.jpg", folder=tmp_path) == file and Handler.asked == before + 1
    assert download(f"{server}/b.jpg", folder=tmp_path) != file


def test_limits_and_failures_are_named(server: str, tmp_path: Path) -> None:
    for url, message, settings in (
        (f"{server}/gone", "could not be fetched .*404.*save the picture", {}),
        (f"{server}/big", "larger than 3 bytes", {"max_bytes": 3}),
        (f"{server}/slow", "did not arrive in time", {"seconds": 0.2}),
        ("http://127.0.0.1:1/x", "could not be fetched", {}),
        ("http://[broken/x", "could not be fetched", {}),
        ("file:///etc/hostname", "neither http nor https", {}),
    ):
        with pytest.raises(InputError, match=message):
            download(url, folder=tmp_path, **settings)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["http://a/b", "HTTPS://a", "ftp://a", "file:///a", "data:image/png;base64,A"])
def test_urls(name: str) -> None:
    assert is_url(name)


@pytest.mark.parametrize("name", ["a.jpg", "a:b.jpg", "C:/a.jpg", "/a//b.jpg", "dir/http.jpg", ""])
def test_paths(name: str) -> None:
    assert not is_url(name)

"""Pictures from the web, only where the caller said so: a limit of bytes and of time, kept by the hash of the URL."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mmel import __version__
from mmel.errors import InputError
from mmel.files import atomic_write, cache_root

if TYPE_CHECKING:
    from http.client import HTTPResponse

MAX_BYTES = 20_000_000
SECONDS = 30.0
_BLOCK = 1 << 16
_URL = re.compile(r"[a-z][a-z0-9+.-]*://|data:", re.IGNORECASE)
_REMEDY = "save the picture beside the text and name it by its path"


def is_url(image: str) -> bool:
    """Whether a picture is named by a URL, of whatever scheme, and not by a path."""
    return _URL.match(image) is not None


def download(url: str, max_bytes: int = MAX_BYTES, seconds: float = SECONDS, folder: Path | None = None) -> Path:
    """The file of a picture on the web, fetched unless it was before.

    Args:
        url: http or https. seconds: for all of it.
        folder: None is `cache_root() / "downloads"`.

    Raises:
        InputError: another scheme, no answer in time, a status that is no success, or more than `max_bytes`.
    """
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    if not url.lower().startswith(("http://", "https://")):
        raise InputError(f"'{_short(url)}' is neither http nor https", remedy=_REMEDY)
    file = (folder or cache_root() / "downloads") / hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:32]
    if file.is_file():
        return file
    deadline = time.monotonic() + seconds
    try:
        with urlopen(Request(url, headers={"User-Agent": f"mmel/{__version__}"}), timeout=seconds) as stream:
            data = b"".join(_blocks(stream, url, max_bytes, deadline))
    except (OSError, HTTPException, ValueError) as error:
        raise InputError(f"'{_short(url)}' could not be fetched ({error})", remedy=_REMEDY) from error
    with atomic_write(file, "wb") as kept:
        kept.write(data)
    return file


def _blocks(stream: HTTPResponse, url: str, max_bytes: int, deadline: float) -> Iterator[bytes]:
    got = 0
    while block := stream.read1(_BLOCK):
        got += len(block)
        if got > max_bytes:
            raise InputError(f"'{_short(url)}' is larger than {max_bytes:,} bytes", remedy=_REMEDY)
        if time.monotonic() > deadline:
            raise InputError(f"'{_short(url)}' did not arrive in time", remedy=_REMEDY)
        yield block


def _short(url: str) -> str:
    return url if len(url) <= 100 else f"{url[:97]}..."

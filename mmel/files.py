"""Files that are whole or absent: atomic writing, strict reading, content hashes."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

from mmel.errors import InputError, SkipReport


def check_file(path: Path) -> None:
    """InputError where a folder is named as the file to write: said before the work, not after it."""
    if path.is_dir():
        raise InputError("is a folder", file=path, remedy="name a file")


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary sibling of `path` for writing; rename it onto `path` only when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".incomplete", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    temporary.chmod(0o644)
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary sibling folder that takes the place of `path` only when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".incomplete", dir=path.parent))
    temporary.chmod(0o755)
    try:
        yield temporary
        if path.exists():
            old = path.with_name(f".{path.name}.old.{os.getpid()}")
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


_opened: ContextVar[set[Path] | None] = ContextVar("_opened", default=None)


@contextmanager
def files_read() -> Iterator[set[Path]]:
    """Collect the files that `read_lines`, `read_blocks` and `read_text` open in the block, as resolved paths."""
    opened: set[Path] = set()
    token = _opened.set(opened)
    try:
        yield opened
    finally:
        _opened.reset(token)


def _note_opened(path: str | Path) -> None:
    if (opened := _opened.get()) is not None:
        opened.add(Path(path).resolve())


def read_lines(path: str | Path, skips: SkipReport | None = None) -> Iterator[tuple[int, str]]:
    """Stream `(line number from 1, line without its line break)`; bytes that are not UTF-8 name their place.

    With `skips` a line that is not UTF-8 is counted and passed over instead of raising. Only "\\n" and "\\r\\n"
    break lines, so that U+2028 and its like stay inside a text.
    """
    path = Path(path)
    try:
        stream = open(path, "rb")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, remedy="check the path") from error
    _note_opened(path)
    with stream:
        for number, raw in enumerate(stream, start=1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problem = InputError(
                    f"is not UTF-8: byte 0x{raw[error.start]:02x} at column {error.start + 1}",
                    file=path,
                    line=number,
                    remedy="convert the file, for example: iconv -f latin1 -t utf-8",
                )
                if skips is None:
                    raise problem from error
                skips.add("line is not UTF-8", str(problem))
                continue
            yield number, text.rstrip("\n").rstrip("\r")


def read_text(path: str | Path) -> str:
    """The whole file as text, line breaks as they stand; raises InputError where it is missing or not UTF-8."""
    return "".join(read_blocks(path))


def read_blocks(path: str | Path, size: int = 1 << 20) -> Iterator[str]:
    """Stream the text of a file in parts of at most `size` bytes, with the errors of `read_text`."""
    # Not utf-8-sig: its incremental decoder passes over a byte order mark that is cut short.
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        with open(path, "rb") as stream:
            _note_opened(path)
            while raw := stream.read(size):
                # A character that a part cuts is decoded, and named where it is broken, with the next.
                start = done - len(decoder.getstate()[0])
                text = decoder.decode(raw)
                yield text.removeprefix("\ufeff") if start == 0 else text
                done += len(raw)
        start = done - len(decoder.getstate()[0])
        yield decoder.decode(b"", final=True)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not UTF-8: byte 0x{error.object[error.start]:02x} at byte {start + error.start}",
            file=path,
            remedy="convert the file, for example: iconv -f latin1 -t utf-8",
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_write(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def read_json(path: Path, remedy: str) -> Any:
    """The JSON value of a file that `write_json` wrote; InputError with `remedy` where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("is missing", file=path, remedy=remedy) from error
    except ValueError as error:
        raise InputError(f"is not JSON ({error})", file=path, remedy=remedy) from error


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def weights_digest(path: str | Path, expected: str | None = None) -> str:
    """Hex SHA-256 of a file of weights; InputError where it is missing or its digest is not `expected`.

    expected: 64 hex digits, or None where nothing is known of the file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            "is not there" if not path.exists() else "is no file",
            file=path,
            field="weights",
            remedy="give the path of the downloaded file",
        )
    if expected is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", expected):
        raise InputError(f"'{expected}' is no SHA-256", field="sha256", remedy="give its 64 hex digits")
    digest = sha256_file(path)
    if expected is not None and digest != expected.lower():
        raise InputError(
            f"has the SHA-256 {digest}, expected {expected.lower()}",
            file=path,
            field="sha256",
            remedy="fetch the file again; give its own digest if another file is meant",
        )
    return digest


def cache_root() -> Path:
    """Folder for what can be computed again: `$MMEL_CACHE`, else `~/.cache/mmel`."""
    return Path(os.environ.get("MMEL_CACHE") or Path.home() / ".cache" / "mmel")

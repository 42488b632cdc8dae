"""How a knowledge base lies on disk, and how a new state of it takes the place of the old one.

```
DIR/kb.json            what it is (KbMeta), which data folder is current, the size of each of its files
DIR/kb-data-xxxxxxxx/  kb.sqlite, links.{indptr,indices,data}.npy, popularity.npy, vectors/NAME.{npy,json}
```
A data folder is never changed once kb.json names it (only vectors are added), so readers may map it without locks.
A writer fills `kb-data-xxxxxxxx.incomplete`, renames it, then replaces kb.json: that one rename is the commit. Killed
before it, the old state stands; killed after it, the new one; what lies about is removed by the next writer.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mmel.errors import InputError
from mmel.files import atomic_write

FORMAT = 1
META_FILE = "kb.json"
DATABASE = "kb.sqlite"
POPULARITY = "popularity.npy"
LINKS = ("links.indptr.npy", "links.indices.npy", "links.data.npy")
FILES = (DATABASE, POPULARITY, *LINKS)
VECTORS = "vectors"
_BUILD = "python -m mmel.kb build --entities kb.jsonl --out {folder}"
_ATTEMPTS = 3
_INCOMPLETE = ".incomplete"
_DATA_FOLDER = re.compile(r"kb-data-[0-9a-f]{8}(\.incomplete)?")


@dataclass(frozen=True, slots=True)
class PriorMeta:
    """A prior dictionary that went into p(e|m): `pairs` of surface and entity read, `unknown` of them of no entity."""

    name: str
    sha256: str
    pairs: int
    unknown: int


@dataclass(frozen=True, slots=True)
class KbMeta:
    """What a knowledge base is. Counts: `aliases` (surface, entity) pairs over `surfaces` distinct names.

    `content_hash` covers the entity records in their order and the prior dictionaries, not name, date or source:
    the same input gives the same hash everywhere. `lineage` is the hash of the first build, kept by every later
    `add`, which raises `revision` by one. `links` join two entities of the base, `dangling_links` lead out of it.
    """

    name: str
    date: str
    source: str
    content_hash: str
    lineage: str
    revision: int
    entities: int
    surfaces: int
    aliases: int
    links: int
    dangling_links: int
    priors: tuple[PriorMeta, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> KbMeta:
        """The meta in a dict that may hold more keys; raises KeyError where one lacks."""
        chosen = {field.name: values[field.name] for field in fields(cls)}
        return cls(**{**chosen, "priors": tuple(PriorMeta(**prior) for prior in chosen["priors"])})


@dataclass(frozen=True, slots=True)
class Manifest:
    """kb.json: the meta, the current data folder, and what `add` needs to go on from the content hash."""

    meta: KbMeta
    data: Path
    record_sum: int


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check kb.json: InputError where there is no base, half a base or a damaged one."""
    folder = Path(folder)
    for attempt in range(_ATTEMPTS):
        text = _meta_text(folder)
        try:
            return _manifest(folder, text)
        except InputError:
            # A writer may have put another state in place between two looks.
            if attempt == _ATTEMPTS - 1 or _meta_text(folder) == text:
                raise
    raise AssertionError("the last attempt returns or raises")


def _meta_text(folder: Path) -> str:
    path = folder / META_FILE
    build = _BUILD.format(folder=folder)
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError("is not UTF-8", file=path, remedy=f"build the base again: {build}") from error
    if not folder.exists():
        raise InputError("there is no such folder", file=folder, remedy=f"check the path, or build the base: {build}")
    if folder.is_dir() and _data_folders(folder):
        raise InputError(
            "holds half a knowledge base: the build was stopped before it was done",
            file=folder,
            remedy=f"build it again: {build}",
        )
    raise InputError(
        f"is no knowledge base: it is no folder with a {META_FILE}",
        file=folder,
        remedy="check the path; a knowledge base is made by `python -m mmel.kb build`",
    )


def _manifest(folder: Path, text: str) -> Manifest:
    path = folder / META_FILE
    again = f"build the base again: {_BUILD.format(folder=folder)}"
    try:
        values = json.loads(text)
        if values["format"] != FORMAT:
            raise InputError(
                f"is {values['format']}, this version reads {FORMAT}", file=path, field="format", remedy=again
            )
        manifest = Manifest(KbMeta.from_dict(values), folder / values["data"], int(values["record_sum"], 16))
        sizes = dict(values["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"does not describe a knowledge base ({error!r})", file=path, remedy=again) from error
    for name, size in sizes.items():
        file = manifest.data / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found:,} bytes instead of {size:,}"
            raise InputError(f"the knowledge base is damaged: this file {state}", file=file, remedy=again)
    return manifest


def _data_folders(folder: Path) -> list[Path]:
    """The data folders, whole or not, in a base's folder, which may hold other things that are left alone."""
    return [path for path in folder.glob("kb-data-*") if _DATA_FOLDER.fullmatch(path.name)]


@contextmanager
def new_state(folder: str | Path, wait: float = 0) -> Iterator[Path]:
    """Lock the base and yield an empty data folder to fill; it is removed unless `commit` took it.

    Raises InputError when `folder` is a file or another process writes for more than `wait` seconds.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file; a knowledge base is a folder", file=folder, remedy="name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder, wait):
        for leftover in _data_folders(folder):
            if leftover.suffix == _INCOMPLETE:
                shutil.rmtree(leftover, ignore_errors=True)
        data = folder / f"kb-data-{secrets.token_hex(4)}{_INCOMPLETE}"
        data.mkdir()
        try:
            yield data
        finally:
            shutil.rmtree(data, ignore_errors=True)


@contextmanager
def lock(folder: Path, wait: float = 0) -> Iterator[None]:
    """Hold the base for writing; a SQLite lock, because the system lets go of it when the process dies."""
    with closing(sqlite3.connect(folder / ".lock", timeout=wait, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise InputError(
                f"cannot be locked for writing ({error})", file=folder, remedy="wait for the other build or add to end"
            ) from error
        yield


def commit(folder: str | Path, data: Path, meta: KbMeta, record_sum: int) -> None:
    """Make the filled data folder of `new_state` the current one and remove the others."""
    folder = Path(folder)
    sizes = {}
    for name in FILES:
        # Opened for writing, which is what fsync asks for on some systems.
        with open(data / name, "rb+") as stream:
            os.fsync(stream.fileno())
            sizes[name] = os.fstat(stream.fileno()).st_size
    current = data.with_suffix("")
    os.replace(data, current)
    values = {
        "format": FORMAT,
        **meta.to_dict(),
        "data": current.name,
        "files": sizes,
        "record_sum": f"{record_sum:064x}",
    }
    with atomic_write(folder / META_FILE) as stream:
        json.dump(values, stream, indent=1, ensure_ascii=False)
        stream.write("\n")
    for other in _data_folders(folder):
        if other != current:
            shutil.rmtree(other, ignore_errors=True)

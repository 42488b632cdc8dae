"""Build a knowledge base from a stream of entities; memory stays the same however many there are.

Records go to SQLite as they come; names and links wait in a spill file that SQLite sorts on disk.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import date as calendar
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmel.document import Entity
from mmel.errors import InputError
from mmel.files import cache_root
from mmel.kb import layout
from mmel.kb.layout import KbMeta
from mmel.kb.names import fold
from mmel.progress import progress

SCHEMA = """
CREATE TABLE entities (
    idx INTEGER PRIMARY KEY, id TEXT NOT NULL, title TEXT NOT NULL, type TEXT NOT NULL, description TEXT NOT NULL,
    aliases TEXT NOT NULL, images TEXT NOT NULL, links TEXT NOT NULL, popularity INTEGER NOT NULL);
CREATE TABLE surfaces (sid INTEGER PRIMARY KEY, surface TEXT NOT NULL, total REAL NOT NULL);
CREATE TABLE folds (folded TEXT NOT NULL, sid INTEGER NOT NULL, PRIMARY KEY (folded, sid)) WITHOUT ROWID;
CREATE TABLE aliases (
    sid INTEGER NOT NULL, rank INTEGER NOT NULL, idx INTEGER NOT NULL, prior REAL NOT NULL, count REAL NOT NULL,
    PRIMARY KEY (sid, rank)) WITHOUT ROWID;
CREATE TABLE dangling (target TEXT NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (target, idx)) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5 (
    title, aliases, description, content='', tokenize='unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE grams USING fts5 (
    folded, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1');
CREATE VIRTUAL TABLE grams_vocab USING fts5vocab (grams, 'row');
"""
_BATCH = 5_000
_CACHE_KIB = 65_536


def build(
    entities: Iterable[Entity],
    out: str | Path,
    *,
    name: str = "",
    date: str | None = None,
    source: str = "",
    total: int | None = None,
) -> KbMeta:
    """Build the knowledge base `out` from `entities`; index i is the i-th entity.

    A base that is already at `out` is replaced when all is done and untouched until then. `date` (ISO) is today's
    by default. `total` is the number of entities, for the progress bar. Raises InputError for a duplicate id and
    for a name or count that cannot be stored, with the record's number. A link to an unknown id is kept in the
    record and counted in `meta.dangling_links`.
    """
    out = Path(out)
    with layout.new_state(out) as data:
        with closing(_open(data / layout.DATABASE, data / "spill.sqlite")) as db:
            db.executescript(SCHEMA)
            records = _load(db, progress(entities, "entities", total=total), data / layout.POPULARITY)
            _check_ids(db)
            steps: list[Callable[[sqlite3.Connection], object]] = [_rank, _index_names, _optimize]
            for step in progress(steps, "indexing", unit="step"):
                step(db)
            links, dangling = _write_links(db, data, records.count)
            surfaces = int(db.execute("SELECT count(*) FROM surfaces").fetchone()[0])
            aliases = int(db.execute("SELECT count(*) FROM aliases").fetchone()[0])
        (data / "spill.sqlite").unlink()
        digest = content_hash(records.sum, ())
        meta = KbMeta(
            name=name or out.resolve().name,
            date=date if date is not None else calendar.today().isoformat(),
            source=source,
            content_hash=digest,
            lineage=digest,
            revision=1,
            entities=records.count,
            surfaces=surfaces,
            aliases=aliases,
            links=links,
            dangling_links=dangling,
        )
        layout.commit(out, data, meta, records.sum, ())
    return meta


def cached_build(entities_factory: Callable[[], Iterable[Entity]], key: str, **meta: Any) -> Path:
    """The folder of the base built from `entities_factory()`, built at most once for a `key`.

    `key` is a content key that the caller computes (letters, digits, `-`, `_`, `.`); it lies at
    `cache_root()/kb/key`. `meta` goes to `build`. A half or damaged base there is built anew.
    """
    if not key or not all(character.isalnum() or character in "-_." for character in key) or key.startswith("."):
        raise InputError(f"'{key}' is no cache key", field="key", remedy="use letters, digits, '-', '_' and '.'")
    folder = cache_root() / "kb" / key
    try:
        layout.read_manifest(folder)
    except InputError:
        build(entities_factory(), folder, **meta)
    return folder


def content_hash(record_sum: int, prior_digests: Iterable[str]) -> str:
    """SHA-256 over the sum (mod 2^256) of the records' SHA-256 and the prior dictionaries' digests.

    The sum lets `add` change a record's part without reading the others; a record's digest covers its index, so
    that order counts.
    """
    parts = [f"{record_sum:064x}", *prior_digests]
    return hashlib.sha256("\n".join(parts).encode("ascii")).hexdigest()


def record_row(index: int, entity: Entity) -> tuple[Any, ...]:
    """The row of `entities` that holds a record; InputError where the record cannot be stored."""

    def fail(message: str, field: str, remedy: str) -> InputError:
        return InputError(f"entity '{entity.id}' (record {index + 1}): {message}", field=field, remedy=remedy)

    if not entity.id.strip():
        raise fail("has no id", "id", "give every entity an id")
    for alias in entity.aliases:
        if not alias.name.strip():
            raise fail("has an alias without a name", "aliases", "drop it or name it")
        if not (math.isfinite(alias.count) and alias.count >= 0):
            raise fail(f"alias '{alias.name}' has count {alias.count}", "aliases", "counts are 0 or more")
    aliases = [
        [alias.name, int(alias.count) if alias.count == int(alias.count) else alias.count] for alias in entity.aliases
    ]
    packed = (json.dumps(value, ensure_ascii=False) for value in (aliases, entity.images, entity.links))
    return (index, entity.id, entity.title, entity.type, entity.description, *packed, int(entity.popularity))


def record_digest(row: tuple[Any, ...]) -> int:
    """The SHA-256 of a row of `entities` as a number; InputError where a string is not Unicode text."""
    try:
        return int.from_bytes(hashlib.sha256("\0".join(map(str, row)).encode("utf-8")).digest(), "big")
    except UnicodeEncodeError as error:
        raise InputError(
            f"entity '{row[1]!a}' (record {row[0] + 1}): holds half a surrogate pair ({error.object[error.start]!a})",
            remedy="repair the escape in the JSON",
        ) from error


class _Records:
    """What `_load` saw: how many records, and the sum of their digests."""

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0


def _open(database: Path, spill: Path) -> sqlite3.Connection:
    """A writing connection without journals: the folder is thrown away when anything fails."""
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA page_size = 8192")
    for schema, file in (("main", database), ("spill", spill)):
        if schema == "spill":
            db.execute("ATTACH ? AS spill", (str(file),))
        db.execute(f"PRAGMA {schema}.journal_mode = OFF")
        db.execute(f"PRAGMA {schema}.synchronous = OFF")
        db.execute(f"PRAGMA {schema}.cache_size = -{_CACHE_KIB}")
    db.execute("PRAGMA temp_store = FILE")
    db.create_function("fold", 1, fold, deterministic=True)
    db.execute("CREATE TABLE spill.counts (surface TEXT, dictionary INTEGER, idx INTEGER, count REAL)")
    db.execute("CREATE TABLE spill.links (idx INTEGER, target TEXT)")
    return db


def _load(db: sqlite3.Connection, entities: Iterable[Entity], popularity: Path) -> _Records:
    """Stream the records into `entities`, `texts` and the spill tables, and their popularity into its file."""
    records = _Records()
    stream = iter(entities)
    with NpyWriter(popularity, np.int64) as counts:
        while batch := list(islice(stream, _BATCH)):
            rows = [record_row(index, entity) for index, entity in enumerate(batch, start=records.count)]
            records.sum = (records.sum + sum(map(record_digest, rows))) % (1 << 256)
            db.execute("BEGIN")
            db.executemany("INSERT INTO entities VALUES (?,?,?,?,?,?,?,?,?)", rows)
            db.executemany(
                "INSERT INTO texts (rowid, title, aliases, description) VALUES (?,?,?,?)",
                _text_rows(batch, records.count),
            )
            db.executemany("INSERT INTO spill.counts VALUES (?,0,?,?)", _alias_rows(batch, records.count))
            db.executemany("INSERT INTO spill.links VALUES (?,?)", _link_rows(batch, records.count))
            db.execute("COMMIT")
            counts.append(np.array([entity.popularity for entity in batch], dtype=np.int64))
            records.count += len(batch)
    if not records.count:
        raise InputError("there is no entity to build from", remedy="give a file with one entity a line")
    return records


def _text_rows(batch: list[Entity], start: int) -> Iterator[tuple[int, str, str, str]]:
    for index, entity in enumerate(batch, start):
        yield index, entity.title, "\n".join(alias.name for alias in entity.aliases), entity.description


def _alias_rows(batch: list[Entity], start: int) -> Iterator[tuple[str, int, float]]:
    for index, entity in enumerate(batch, start):
        for alias in entity.aliases:
            yield alias.name, index, alias.count


def _link_rows(batch: list[Entity], start: int) -> Iterator[tuple[int, str]]:
    for index, entity in enumerate(batch, start):
        for target in dict.fromkeys(entity.links):
            yield index, target


def _check_ids(db: sqlite3.Connection) -> None:
    """Index the ids and the titles; InputError naming a duplicate id and its records."""
    try:
        db.execute("CREATE UNIQUE INDEX entities_id ON entities (id)")
    except sqlite3.IntegrityError as error:
        duplicate, first, second = db.execute(
            "SELECT id, min(idx) + 1, max(idx) + 1 FROM entities GROUP BY id HAVING count(*) > 1 ORDER BY 2"
        ).fetchone()
        raise InputError(
            f"duplicate entity id '{duplicate}': records {first:,} and {second:,}",
            field="id",
            remedy="keep one record for each id",
        ) from error
    db.execute("CREATE INDEX entities_title ON entities (title)")


def _rank(db: sqlite3.Connection) -> None:
    """Sum the counts of a name, and rank its entities by p(e|m) = count / sum of the name's counts."""
    db.execute("BEGIN")
    db.execute(
        "CREATE TABLE spill.sorted (surface TEXT, dictionary INTEGER, idx INTEGER, count REAL, "
        "PRIMARY KEY (surface, dictionary, idx)) WITHOUT ROWID"
    )
    db.execute(
        "INSERT INTO spill.sorted SELECT surface, dictionary, idx, sum(count) FROM spill.counts GROUP BY 1, 2, 3"
    )
    db.execute("DROP TABLE spill.counts")
    db.execute("INSERT INTO surfaces (surface, total) SELECT surface, sum(count) FROM spill.sorted GROUP BY surface")
    db.execute("CREATE UNIQUE INDEX surfaces_surface ON surfaces (surface)")
    db.execute(
        """INSERT INTO aliases
        SELECT sid, row_number() OVER (PARTITION BY sid ORDER BY prior DESC, idx) - 1, idx, prior, count FROM (
            SELECT s.sid, c.idx, c.count,
                   CASE WHEN s.total > 0 THEN c.count / s.total
                        ELSE 1.0 / count(*) OVER (PARTITION BY s.sid) END AS prior
            FROM spill.sorted c JOIN surfaces s ON s.surface = c.surface)"""
    )
    db.execute("COMMIT")


def _index_names(db: sqlite3.Connection) -> None:
    db.execute("BEGIN")
    db.execute("INSERT INTO folds SELECT fold(surface) AS folded, sid FROM surfaces ORDER BY 1, 2")
    db.execute("INSERT INTO grams (rowid, folded) SELECT sid, ' ' || fold(surface) || ' ' FROM surfaces ORDER BY sid")
    db.execute("COMMIT")


def _optimize(db: sqlite3.Connection) -> None:
    for table in ("texts", "grams"):
        db.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")


def _write_links(db: sqlite3.Connection, data: Path, entities: int) -> tuple[int, int]:
    """Write the links as a sorted CSR matrix; returns how many join two entities and how many dangle."""
    (count,) = db.execute("SELECT count(*) FROM spill.links").fetchone()
    dtype = np.int32 if max(count, entities) < np.iinfo(np.int32).max else np.int64
    rows = db.execute(
        "SELECT l.idx, e.idx, l.target FROM spill.links l LEFT JOIN entities e ON e.id = l.target ORDER BY 1, 2"
    )
    links = dangling = 0
    indptr_file, indices_file, data_file = (data / name for name in layout.LINKS)
    with (
        NpyWriter(indptr_file, dtype) as indptr,
        NpyWriter(indices_file, dtype) as indices,
        NpyWriter(data_file, np.float32) as ones,
    ):
        indptr.append(np.zeros(1, dtype))
        while batch := rows.fetchmany(100_000):
            missing = [(target, row) for row, column, target in batch if column is None]
            db.executemany("INSERT INTO dangling VALUES (?,?)", missing)
            dangling += len(missing)
            pairs = np.array([(row, column) for row, column, _ in batch if column is not None], dtype).reshape(-1, 2)
            if len(pairs):
                # Rows below the last one seen are complete: their end is final.
                done = np.arange(indptr.length - 1, pairs[-1, 0])
                indptr.append((links + np.searchsorted(pairs[:, 0], done, side="right")).astype(dtype))
                indices.append(pairs[:, 1])
                ones.append(np.ones(len(pairs), np.float32))
                links += len(pairs)
        while indptr.length <= entities:
            indptr.append(np.full(min(1_000_000, entities + 1 - indptr.length), links, dtype))
    return links, dangling


class NpyWriter:
    """Append to a one-dimensional .npy file whose length is known at the end only.

    numpy pads the header of an array for lengths of up to 21 digits, so the final one fits over the first.
    """

    def __init__(self, path: Path, dtype: Any) -> None:
        self._stream = open(path, "wb")
        self._dtype = np.dtype(dtype)
        self.length = 0
        self._header()

    def _header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, values: np.ndarray) -> None:
        self._stream.write(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        self.length += len(values)

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.seek(0)
        self._header()
        self._stream.close()

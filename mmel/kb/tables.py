"""The tables of a knowledge base, its records as rows, and the SQL that `build` and `add` share."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmel.document import Alias, Entity
from mmel.errors import ConfigError, InputError
from mmel.kb.names import fold

COLUMNS = "idx, id, title, type, description, aliases, images, links, popularity, extra"
# `counts` is filled only where several dictionaries make up p(e|m); with one, `aliases` holds its counts.
SCHEMA = """
CREATE TABLE entities (
    idx INTEGER PRIMARY KEY, id TEXT NOT NULL, title TEXT NOT NULL, type TEXT NOT NULL, description TEXT NOT NULL,
    aliases TEXT NOT NULL, images TEXT NOT NULL, links TEXT NOT NULL, popularity INTEGER NOT NULL, extra TEXT NOT NULL);
CREATE TABLE surfaces (
    sid INTEGER PRIMARY KEY, surface TEXT NOT NULL, total REAL NOT NULL, dictionaries INTEGER NOT NULL);
CREATE TABLE folds (folded TEXT NOT NULL, sid INTEGER NOT NULL, PRIMARY KEY (folded, sid)) WITHOUT ROWID;
CREATE TABLE aliases (
    sid INTEGER NOT NULL, rank INTEGER NOT NULL, idx INTEGER NOT NULL, prior REAL NOT NULL, count REAL NOT NULL,
    PRIMARY KEY (sid, rank)) WITHOUT ROWID;
CREATE TABLE counts (
    sid INTEGER NOT NULL, dictionary INTEGER NOT NULL, idx INTEGER NOT NULL, count REAL NOT NULL,
    PRIMARY KEY (sid, dictionary, idx)) WITHOUT ROWID;
CREATE TABLE dangling (target TEXT NOT NULL, idx INTEGER NOT NULL, PRIMARY KEY (target, idx)) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5 (
    title, aliases, description, content='', tokenize='unicode61 remove_diacritics 2');
CREATE VIRTUAL TABLE grams USING fts5 (
    folded, content='', columnsize=0, detail=none, tokenize='trigram case_sensitive 1');
CREATE VIRTUAL TABLE grams_vocab USING fts5vocab (grams, 'row');
"""
INSERT_ENTITY = "INSERT OR REPLACE INTO entities VALUES (?,?,?,?,?,?,?,?,?,?)"
INSERT_TEXT = "INSERT INTO texts (rowid, title, aliases, description) VALUES (?,?,?,?)"
DELETE_TEXT = "INSERT INTO texts (texts, rowid, title, aliases, description) VALUES ('delete',?,?,?,?)"
_CACHE_KIB = 16_384
_OLDEST_SQLITE = (3, 34, 0)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def open_for_writing(database: Path) -> sqlite3.Connection:
    """A connection without journals: a database that is written is thrown away when anything fails."""
    check_sqlite()
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("PRAGMA page_size = 8192")
    db.execute("PRAGMA temp_store = FILE")
    quicken(db, "main")
    db.create_function("fold", 1, fold, deterministic=True)
    return db


def check_sqlite() -> None:
    """Raise ConfigError where Python's SQLite lacks the full-text index over trigrams."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise ConfigError(
            f"this Python has SQLite {sqlite3.sqlite_version}, knowledge bases need {wanted}. Remedy: a newer Python"
        )


def quicken(db: sqlite3.Connection, schema: str) -> None:
    """No journal, no sync, and a page cache of 16 MiB for an attached database."""
    db.execute(f"PRAGMA {schema}.journal_mode = OFF")
    db.execute(f"PRAGMA {schema}.synchronous = OFF")
    db.execute(f"PRAGMA {schema}.cache_size = -{_CACHE_KIB}")


def rank_sql(counts: str) -> str:
    """Fill `aliases` from `counts`, a relation (sid, dictionary, idx, count), of names already in `surfaces`.

    A dictionary d gives p_d(e|m) = count / sum of the name's counts in d (1 / number of entities where that sum is
    0). p(e|m) is the mean of p_d over the dictionaries that have the name at all, an entity that one of them lacks
    counting 0 there: Gan et al. (2021, section 4.1) average the link counts of Wikipedia with YAGO so.
    """
    return f"""
    INSERT INTO aliases
    SELECT sid, row_number() OVER (PARTITION BY sid ORDER BY prior DESC, idx) - 1, idx, prior, count FROM (
        SELECT sid, idx, sum(p) / dictionaries AS prior, sum(count) AS count FROM (
            SELECT c.sid, c.idx, c.count, s.dictionaries,
                   CASE WHEN sum(c.count) OVER own > 0 THEN c.count / sum(c.count) OVER own
                        ELSE 1.0 / count(*) OVER own END AS p
            FROM ({counts}) c JOIN surfaces s ON s.sid = c.sid
            WINDOW own AS (PARTITION BY c.sid, c.dictionary))
        GROUP BY sid, idx)"""


def count_rows(db: sqlite3.Connection, table: str) -> int:
    """The number of rows of a table."""
    (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def record_row(index: int, entity: Entity) -> tuple[Any, ...]:
    """The row of `entities` that holds a record; InputError where the record cannot be stored."""

    def fail(message: str, field: str, remedy: str) -> InputError:
        return InputError(f"entity '{entity.id}' (index {index}): {message}", field=field, remedy=remedy)

    if not entity.id.strip():
        raise fail("has no id", "id", "give every entity an id")
    if not 0 <= entity.popularity < 1 << 63:
        raise fail(f"has popularity {entity.popularity}", "popularity", "a count is a number of 0 or more")
    aliases = []
    for alias in entity.aliases:
        if not alias.name.strip():
            raise fail("has an alias without a name", "aliases", "drop it or name it")
        if not (math.isfinite(alias.count) and alias.count >= 0):
            raise fail(f"alias '{alias.name}' has count {alias.count}", "aliases", "a count is a number of 0 or more")
        # 1 and 1.0 are one count and must give one hash.
        aliases.append((alias.name, int(alias.count) if alias.count == int(alias.count) else alias.count))
    lists = (_encode(values) if values else "[]" for values in (aliases, entity.images, entity.links))
    extra = _encode(dict(entity.extra)) if entity.extra else ""
    return (index, entity.id, entity.title, entity.type, entity.description, *lists, entity.popularity, extra)


def record_entity(row: tuple[Any, ...]) -> Entity:
    """The record in a row of `entities`."""
    _, id, title, kind, description, aliases, images, links, popularity, extra = row
    return Entity(
        id=id,
        title=title,
        type=kind,
        description=description,
        aliases=tuple([Alias(name, count) for name, count in json.loads(aliases)]),
        images=tuple(json.loads(images)),
        links=tuple(json.loads(links)),
        popularity=popularity,
        extra=json.loads(extra) if extra else None,
    )


def record_digest(row: tuple[Any, ...]) -> int:
    """The SHA-256 of a row of `entities` as a number; InputError where a string is not Unicode text."""
    try:
        return int.from_bytes(hashlib.sha256("\0".join(map(str, row)).encode("utf-8")).digest(), "big")
    except UnicodeEncodeError as error:
        raise InputError(
            f"entity {row[1]!a} (index {row[0]}): holds half of a surrogate pair",
            remedy="write whole Unicode characters",
        ) from error


def text_row(index: int, entity: Entity) -> tuple[int, str, str, str]:
    """The row of `texts` of a record."""
    return index, entity.title, "\n".join([alias.name for alias in entity.aliases]), entity.description


def content_hash(record_sum: int, prior_digests: Iterable[str]) -> str:
    """SHA-256 over the sum (mod 2^256) of the records' digests and the prior dictionaries' digests.

    The sum lets `add` change a record's part without reading the others; a record's digest covers its index, so
    that order counts.
    """
    parts = [f"{record_sum % (1 << 256):064x}", *prior_digests]
    return hashlib.sha256("\n".join(parts).encode("ascii")).hexdigest()

"""Add entities to a knowledge base, or replace some, without building it again.

The data folder is copied and the copy changed, then it takes the place of the old one (`mmel.kb.layout`): readers
keep what they opened, and a process killed at any moment leaves the old base or the new one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date as calendar
from pathlib import Path
from typing import Any

import numpy as np

from mmel.document import Entity
from mmel.errors import InputError
from mmel.kb import layout, tables, vectors
from mmel.kb.arrays import LinkWriter, NpyWriter
from mmel.kb.layout import KbMeta
from mmel.progress import progress

_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Added:
    """What `add` did: how many entities are new, replaced, or were there just so; vectors that no longer fit."""

    meta: KbMeta
    new: int
    updated: int
    unchanged: int
    stale_vectors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """A record before (None: it is new) and after, with its row of `entities`."""

    index: int
    before: Entity | None
    after: Entity
    row: tuple[Any, ...]


def add(entities: Iterable[Entity], folder: str | Path, *, date: str | None = None) -> Added:
    """Add `entities` to the base at `folder`; one whose id is there replaces that record and keeps its index.

    New entities get the next indices. Links that led nowhere find a new entity. The base afterwards answers as if
    built from all records at once, except that prior dictionaries are not read again: what they say of a new entity
    is not known. `date` (ISO) is today's by default. Raises InputError as `build` does.
    """
    folder = Path(folder)
    layout.read_manifest(folder)
    with layout.new_state(folder) as data:
        manifest = layout.read_manifest(folder)
        meta = manifest.meta
        shutil.copyfile(manifest.data / layout.DATABASE, data / layout.DATABASE)
        with closing(tables.open_for_writing(data / layout.DATABASE)) as db:
            db.execute("BEGIN")
            changes, unchanged, record_sum = _store(db, entities, meta.entities)
            if not changes:
                return Added(meta, 0, 0, unchanged, ())
            new = sum(change.before is None for change in changes)
            _store_names(db, changes, several_dictionaries=bool(meta.priors))
            count = meta.entities + new
            links = _store_links(db, changes, manifest.data, data, count)
            _store_popularity(changes, manifest.data, data, count)
            db.execute("COMMIT")
            record_sum = (manifest.record_sum + record_sum) % (1 << 256)
            meta = replace(
                meta,
                date=date if date is not None else calendar.today().isoformat(),
                content_hash=tables.content_hash(record_sum, (prior.sha256 for prior in meta.priors)),
                revision=meta.revision + 1,
                entities=count,
                surfaces=tables.count_rows(db, "surfaces"),
                aliases=tables.count_rows(db, "aliases"),
                links=links,
                dangling_links=tables.count_rows(db, "dangling"),
            )
        _keep_vectors(manifest.data, data)
        stale = tuple(vectors.names(data))
        layout.commit(folder, data, meta, record_sum)
        return Added(meta, new, len(changes) - new, unchanged, stale)


def _store(db: sqlite3.Connection, entities: Iterable[Entity], count: int) -> tuple[list[_Change], int, int]:
    """Write records and their full text; the changes, how many records were there just so, the digests' change."""
    changes: list[_Change] = []
    seen: set[str] = set()
    unchanged = digests = 0
    for entity in progress(entities, "entities"):
        if entity.id in seen:
            raise InputError(f"duplicate entity id '{entity.id}'", field="id", remedy="keep one record for each id")
        seen.add(entity.id)
        row = tables.record_row(count, entity)
        digest = tables.record_digest(row)
        old = db.execute(f"SELECT {tables.COLUMNS} FROM entities WHERE id = ?", (entity.id,)).fetchone()
        if old:
            row = (old[0], *row[1:])
            digest = tables.record_digest(row)
        if old == row:
            unchanged += 1
            continue
        change = _Change(row[0], tables.record_entity(old) if old else None, entity, row)
        if change.before:
            digests -= tables.record_digest(old)
            db.execute(tables.DELETE_TEXT, tables.text_row(change.index, change.before))
        else:
            count += 1
        digests += digest
        db.execute(tables.INSERT_ENTITY, row)
        db.execute(tables.INSERT_TEXT, tables.text_row(change.index, entity))
        changes.append(change)
    return changes, unchanged, digests


def _store_names(db: sqlite3.Connection, changes: list[_Change], several_dictionaries: bool) -> None:
    """Count and rank anew the names that a changed record has or had."""
    db.execute("CREATE TEMP TABLE touched (sid INTEGER PRIMARY KEY)")
    db.execute("CREATE TEMP TABLE counted (sid INTEGER, dictionary INTEGER, idx INTEGER, count REAL)")
    names = {
        alias.name: None
        for change in changes
        for alias in (*(change.before.aliases if change.before else ()), *change.after.aliases)
    }
    sids = {name: _name_id(db, name) for name in names}
    db.executemany("INSERT INTO touched VALUES (?)", ((sid,) for sid in sids.values()))
    kept = (
        "SELECT sid, dictionary, idx, count FROM counts"
        if several_dictionaries
        else "SELECT sid, 0, idx, count FROM aliases"
    )
    db.execute(f"INSERT INTO counted {kept} WHERE sid IN (SELECT sid FROM touched)")
    db.execute("CREATE INDEX temp.counted_idx ON counted (idx)")
    db.executemany("DELETE FROM counted WHERE dictionary = 0 AND idx = ?", ((change.index,) for change in changes))
    db.executemany("INSERT INTO counted VALUES (?, 0, ?, ?)", _own_counts(changes, sids))
    for table in ("aliases", "counts"):
        db.execute(f"DELETE FROM {table} WHERE sid IN (SELECT sid FROM touched)")
    if several_dictionaries:
        db.execute("INSERT INTO counts SELECT * FROM counted")
    db.execute("CREATE INDEX temp.counted_sid ON counted (sid)")
    db.execute(
        "UPDATE surfaces SET (total, dictionaries) = (SELECT coalesce(sum(count), 0), count(DISTINCT dictionary) "
        "FROM counted WHERE counted.sid = surfaces.sid) WHERE sid IN (SELECT sid FROM touched)"
    )
    db.execute(tables.rank_sql("SELECT * FROM counted"))
    _forget_unused_names(db)
    db.execute("DROP TABLE touched")
    db.execute("DROP TABLE counted")


def _own_counts(changes: list[_Change], sids: dict[str, int]) -> Iterator[tuple[int, int, float]]:
    for change in changes:
        counts: dict[str, float] = {}
        for alias in change.after.aliases:
            counts[alias.name] = counts.get(alias.name, 0.0) + alias.count
        for name, count in counts.items():
            yield sids[name], change.index, count


def _name_id(db: sqlite3.Connection, name: str) -> int:
    """The number of a name, which is made when it is new."""
    row = db.execute("SELECT sid FROM surfaces WHERE surface = ?", (name,)).fetchone()
    if row:
        return int(row[0])
    sid = db.execute("INSERT INTO surfaces (surface, total, dictionaries) VALUES (?, 0, 0)", (name,)).lastrowid
    assert sid is not None
    db.execute("INSERT INTO folds VALUES (fold(?), ?)", (name, sid))
    db.execute("INSERT INTO grams (rowid, folded) VALUES (?, ' ' || fold(?) || ' ')", (sid, name))
    return sid


def _forget_unused_names(db: sqlite3.Connection) -> None:
    unused = db.execute("SELECT sid, surface FROM surfaces WHERE dictionaries = 0 AND sid IN (SELECT sid FROM touched)")
    for sid, name in unused.fetchall():
        db.execute("INSERT INTO grams (grams, rowid, folded) VALUES ('delete', ?, ' ' || fold(?) || ' ')", (sid, name))
        db.execute("DELETE FROM folds WHERE folded = fold(?) AND sid = ?", (name, sid))
        db.execute("DELETE FROM surfaces WHERE sid = ?", (sid,))


def _store_links(db: sqlite3.Connection, changes: list[_Change], old: Path, data: Path, entities: int) -> int:
    """Write the link files with the rows of changed entities, and of those whose dangling links now lead somewhere."""
    indptr, indices = (np.load(old / name, mmap_mode="r") for name in layout.LINKS[:2])
    db.executemany("DELETE FROM dangling WHERE idx = ?", ((change.index,) for change in changes))
    rows: dict[int, np.ndarray] = {}
    for change in changes:
        if change.before is None:
            for (source,) in db.execute("SELECT idx FROM dangling WHERE target = ?", (change.row[1],)).fetchall():
                links = rows.get(source, indices[indptr[source] : indptr[source + 1]])
                rows[source] = np.append(links, change.index)
            db.execute("DELETE FROM dangling WHERE target = ?", (change.row[1],))
    for change in changes:
        rows[change.index] = _resolve(db, change)
    most = len(indices) + sum(map(len, rows.values()))
    with LinkWriter(data, entities, most) as writer:
        start = 0
        for row in sorted(rows):
            _copy_rows(writer, indptr, indices, start, row)
            writer.append(np.full(len(rows[row]), row), np.sort(rows[row]))
            start = row + 1
        _copy_rows(writer, indptr, indices, start, len(indptr) - 1)
    return writer.links


def _resolve(db: sqlite3.Connection, change: _Change) -> np.ndarray:
    """The indices that a record links to; what leads nowhere is stored as dangling."""
    found = []
    for target in dict.fromkeys(change.after.links):
        row = db.execute("SELECT idx FROM entities WHERE id = ?", (target,)).fetchone()
        if row:
            found.append(row[0])
        else:
            db.execute("INSERT INTO dangling VALUES (?, ?)", (target, change.index))
    return np.array(found, dtype=np.int64)


def _copy_rows(writer: LinkWriter, indptr: np.ndarray, indices: np.ndarray, start: int, stop: int) -> None:
    stop = min(stop, len(indptr) - 1)
    for first in range(start, stop, _ROWS):
        last = min(first + _ROWS, stop)
        rows = np.repeat(np.arange(first, last), np.diff(indptr[first : last + 1]))
        writer.append(rows, indices[indptr[first] : indptr[last]])


def _store_popularity(changes: list[_Change], old: Path, data: Path, entities: int) -> None:
    before = np.load(old / layout.POPULARITY, mmap_mode="r")
    after = np.zeros(entities, dtype=np.int64)
    after[: len(before)] = before
    for change in changes:
        after[change.index] = change.after.popularity
    with NpyWriter(data / layout.POPULARITY, np.int64) as writer:
        writer.append(after)


def _keep_vectors(old: Path, data: Path) -> None:
    """Take the vectors along, though they lack the change: reading them says so. They are never written in place."""
    if (old / layout.VECTORS).is_dir():
        shutil.copytree(old / layout.VECTORS, data / layout.VECTORS, copy_function=_link_or_copy)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

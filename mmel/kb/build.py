"""Build a knowledge base from a stream of entities; memory stays the same however many there are.

Records go to SQLite as they come; names and links wait in a spill file beside it that SQLite sorts on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import date as calendar
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mmel.document import Entity
from mmel.errors import InputError
from mmel.files import cache_root
from mmel.kb import layout, tables
from mmel.kb.arrays import LinkWriter, NpyWriter
from mmel.kb.layout import KbMeta
from mmel.kb.priors import load_priors
from mmel.progress import progress

_BATCH = 5_000
_LINK_BATCH = 100_000
_WAIT_FOR_OTHER_BUILD = 3600.0


def build(
    entities: Iterable[Entity],
    out: str | Path,
    *,
    name: str = "",
    date: str | None = None,
    source: str = "",
    priors: Mapping[str, str | Path] | None = None,
    total: int | None = None,
) -> KbMeta:
    """Build the knowledge base `out` from `entities`; index i is the i-th entity.

    A base that is already at `out` is replaced when all is done and untouched until then. `name` is the folder's
    by default, `date` (ISO) today's. `priors` names dictionary files (`mmel.kb.priors`) that are averaged with the
    aliases' own counts. `total` is the number of entities, for the progress bar. A link to an unknown id is kept in
    the record and counted in `meta.dangling_links`. Raises InputError for an empty stream, a duplicate id, and a
    name or count that cannot be stored.
    """
    with layout.new_state(out) as data:
        return _build(entities, Path(out), data, name, date, source, priors or {}, total)


def cached_build(entities_factory: Callable[[], Iterable[Entity]], key: str, **meta: Any) -> Path:
    """The folder of the base made from `entities_factory()`, built once for a `key` and found again after.

    `key` is a content key that the caller computes (letters, digits, `-`, `_`, `.`); the base lies at
    `cache_root()/kb/key`. `meta` goes to `build`. A half or damaged base there is built anew; where another process
    is building it, that one is waited for.
    """
    if not key or key.startswith(".") or not all(c.isalnum() or c in "-_." for c in key):
        raise InputError(f"'{key}' is no cache key", field="key", remedy="use letters, digits, '-', '_' and '.'")
    folder = cache_root() / "kb" / key
    if not _is_whole(folder):
        with layout.new_state(folder, wait=_WAIT_FOR_OTHER_BUILD) as data:
            if not _is_whole(folder):
                defaults: dict[str, Any] = {"name": "", "date": None, "source": "", "priors": {}, "total": None}
                _build(entities_factory(), folder, data, **{**defaults, **meta})
    return folder


def _is_whole(folder: Path) -> bool:
    try:
        layout.read_manifest(folder)
    except InputError:
        return False
    return True


def _build(
    entities: Iterable[Entity],
    out: Path,
    data: Path,
    name: str,
    date: str | None,
    source: str,
    priors: Mapping[str, str | Path],
    total: int | None,
) -> KbMeta:
    with closing(tables.open_for_writing(data / layout.DATABASE)) as db:
        db.executescript(tables.SCHEMA)
        _attach_spill(db, data / "spill.sqlite")
        count, record_sum = _load(db, progress(entities, "entities", total=total), data / layout.POPULARITY)
        _index_ids(db)
        read = tuple(load_priors(db, *item, dictionary) for dictionary, item in enumerate(priors.items(), start=1))
        steps = [partial(_rank, db, bool(priors)), partial(_index_names, db), partial(_optimize, db)]
        for step in progress(steps, "indexing", unit="step"):
            step()
        links, dangling = _write_links(db, data, count)
        surfaces, aliases = tables.count_rows(db, "surfaces"), tables.count_rows(db, "aliases")
    (data / "spill.sqlite").unlink()
    digest = tables.content_hash(record_sum, (prior.sha256 for prior in read))
    meta = KbMeta(
        name=name or out.resolve().name,
        date=date if date is not None else calendar.today().isoformat(),
        source=source,
        content_hash=digest,
        lineage=digest,
        revision=1,
        entities=count,
        surfaces=surfaces,
        aliases=aliases,
        links=links,
        dangling_links=dangling,
        priors=read,
    )
    layout.commit(out, data, meta, record_sum)
    return meta


def _attach_spill(db: sqlite3.Connection, path: Path) -> None:
    db.execute("ATTACH ? AS spill", (str(path),))
    tables.quicken(db, "spill")
    db.execute("CREATE TABLE spill.counts (surface TEXT, dictionary INTEGER, idx INTEGER, count REAL)")
    db.execute("CREATE TABLE spill.links (idx INTEGER, target TEXT)")


def _load(db: sqlite3.Connection, entities: Iterable[Entity], popularity: Path) -> tuple[int, int]:
    """Stream the records into `entities`, `texts` and the spill file; their number and the sum of their digests."""
    stream = iter(entities)
    start = record_sum = 0
    with NpyWriter(popularity, np.int64) as in_links:
        while batch := list(enumerate(islice(stream, _BATCH), start)):
            rows = [tables.record_row(index, entity) for index, entity in batch]
            record_sum += sum(map(tables.record_digest, rows))
            aliases = ((alias.name, index, float(alias.count)) for index, entity in batch for alias in entity.aliases)
            links = ((index, target) for index, entity in batch for target in dict.fromkeys(entity.links))
            db.execute("BEGIN")
            db.executemany(tables.INSERT_ENTITY, rows)
            db.executemany(tables.INSERT_TEXT, (tables.text_row(index, entity) for index, entity in batch))
            db.executemany("INSERT INTO spill.counts VALUES (?,0,?,?)", aliases)
            db.executemany("INSERT INTO spill.links VALUES (?,?)", links)
            db.execute("COMMIT")
            in_links.append(np.array([entity.popularity for _, entity in batch], dtype=np.int64))
            start += len(batch)
    if not start:
        raise InputError("there is no entity to build from", remedy="give a file with one entity a line")
    return start, record_sum % (1 << 256)


def _index_ids(db: sqlite3.Connection) -> None:
    """Index ids and titles; InputError naming a duplicate id and its records."""
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


def _rank(db: sqlite3.Connection, several_dictionaries: bool) -> None:
    """Sort and sum the counts of each name, number the names, rank their entities."""
    db.execute("BEGIN")
    db.execute(
        "CREATE TABLE spill.sorted (surface TEXT, dictionary INTEGER, idx INTEGER, count REAL, "
        "PRIMARY KEY (surface, dictionary, idx)) WITHOUT ROWID"
    )
    db.execute(
        "INSERT INTO spill.sorted SELECT surface, dictionary, idx, sum(count) FROM spill.counts GROUP BY 1, 2, 3"
    )
    db.execute("DROP TABLE spill.counts")
    db.execute(
        "INSERT INTO surfaces (surface, total, dictionaries) "
        "SELECT surface, sum(count), count(DISTINCT dictionary) FROM spill.sorted GROUP BY surface"
    )
    db.execute("CREATE UNIQUE INDEX surfaces_surface ON surfaces (surface)")
    counts = "SELECT sid, dictionary, idx, count FROM spill.sorted JOIN surfaces USING (surface)"
    if several_dictionaries:
        db.execute(f"INSERT INTO counts {counts}")
    db.execute(tables.rank_sql(counts))
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
    rows = db.execute(
        "SELECT l.idx, e.idx, l.target FROM spill.links l LEFT JOIN entities e ON e.id = l.target ORDER BY 1, 2"
    )
    dangling = 0
    with LinkWriter(data, entities, tables.count_rows(db, "spill.links")) as writer:
        while batch := rows.fetchmany(_LINK_BATCH):
            missing = [(target, row) for row, column, target in batch if column is None]
            db.executemany("INSERT INTO dangling VALUES (?,?)", missing)
            dangling += len(missing)
            pairs = [(row, column) for row, column, _ in batch if column is not None]
            writer.append(*np.array(pairs, dtype=np.int64).reshape(-1, 2).T)
    return writer.links, dangling

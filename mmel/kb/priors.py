"""Prior dictionaries: files that say how often a surface was seen to mean an entity.

Two forms, told apart by the first line:

- deep-ed (Ganea & Hofmann 2017): `surface TAB total TAB id,count,title TAB id,count,title ...`. Values with
  fractions are read as p(e|m), the count being value * total.
- plain: `surface TAB entity TAB count`, the entity by id or title.

How several are averaged: `mmel.kb.tables.rank_sql`.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from mmel.errors import InputError
from mmel.files import read_lines, sha256_file
from mmel.kb.layout import PriorMeta
from mmel.progress import progress

_REMEDY = "a line is 'surface TAB entity TAB count' or 'surface TAB total TAB id,count,title TAB ...'"


class PriorRow(NamedTuple):
    """A surface that was seen `seen` times to mean an entity, which has this id or else this title."""

    surface: str
    entity: str
    title: str
    seen: float


def read_priors(path: str | Path) -> Iterator[PriorRow]:
    """Stream the rows of a dictionary file; InputError naming file and line at the first line of another form.

    Empty lines are passed over; a file without any row is an error.
    """
    parse: Callable[[list[str], Path, int], Iterator[PriorRow]] | None = None
    path = Path(path)
    for number, line in read_lines(path):
        if not line.strip():
            continue
        fields = line.split("\t")
        if len(fields) < 2 or not fields[0].strip():
            raise _bad(f"has {len(fields)} field(s) or no surface", path, number)
        if parse is None:
            parse = _plain if len(fields) == 3 and _is_number(fields[2]) else _deep_ed
        yield from parse(fields, path, number)
    if parse is None:
        raise InputError("is empty", file=path, remedy=_REMEDY)


def _plain(fields: list[str], path: Path, line: int) -> Iterator[PriorRow]:
    if len(fields) != 3:
        raise _bad(f"has {len(fields)} fields, the file's first line has 3", path, line)
    surface, entity, count = fields
    yield PriorRow(surface, entity, entity, _count(count, path, line))


def _deep_ed(fields: list[str], path: Path, line: int) -> Iterator[PriorRow]:
    surface, total = fields[0], _count(fields[1], path, line, "total")
    rows = []
    for entry in fields[2:]:
        if not entry:
            continue
        entity, comma, rest = entry.partition(",")
        value, _, title = rest.partition(",")
        if not comma or not entity:
            raise _bad(f"'{entry[:60]}' is not 'id,count,title'", path, line)
        rows.append(PriorRow(surface, entity, title, _count(value, path, line)))
    if any(row.seen % 1 for row in rows):
        rows = [row._replace(seen=row.seen * total) for row in rows]
    yield from rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count(text: str, path: Path, line: int, field: str = "count") -> float:
    value = float(text) if _is_number(text) else math.nan
    if not (math.isfinite(value) and value >= 0):
        raise _bad(f"'{text[:60]}' is not a number of 0 or more", path, line, field)
    return value


def _bad(message: str, path: Path, line: int, field: str | None = None) -> InputError:
    return InputError(message, file=path, line=line, field=field, remedy=_REMEDY)


def load_priors(db: sqlite3.Connection, name: str, path: str | Path, dictionary: int) -> PriorMeta:
    """Read a dictionary file into `spill.counts` as number `dictionary`, its entities matched with `entities`.

    An id matches first; else a title, underscores reading as spaces, that exactly one entity has. A pair of no
    entity of the base is left out and counted, so that p(e|m) is over the base's entities.
    """
    db.execute("CREATE TABLE spill.prior (surface TEXT, entity TEXT, title TEXT, seen REAL)")
    db.execute("BEGIN")
    pairs = db.executemany("INSERT INTO spill.prior VALUES (?,?,?,?)", progress(read_priors(path), name)).rowcount
    known = db.execute(
        """INSERT INTO spill.counts SELECT surface, ?, match, seen FROM (
            SELECT surface, seen, coalesce(
                (SELECT idx FROM entities WHERE id = entity),
                (SELECT min(idx) FROM entities WHERE title IN (p.title, replace(p.title, '_', ' '))
                 HAVING count(*) = 1)) AS match
            FROM spill.prior p) WHERE match IS NOT NULL""",
        (dictionary,),
    ).rowcount
    db.execute("COMMIT")
    db.execute("DROP TABLE spill.prior")
    return PriorMeta(name, sha256_file(path), pairs, pairs - known)

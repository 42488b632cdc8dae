"""Read a knowledge base: entities, names with p(e|m), links, search, vectors. Nothing here writes but `add_vectors`."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmel.document import Entity
from mmel.errors import InputError
from mmel.kb import layout, tables, vectors
from mmel.kb.layout import KbMeta, Manifest
from mmel.kb.names import fold, similarity_to, trigrams

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_CHUNK = 512
# Pages are read, not mapped: a fault reads 128 KiB around it, which makes a first document six times as slow.
_CACHE_KIB = 16_384
# Fuzzy lookup reads the postings of the rarest trigrams up to this many, and of five in any case, as one typing error
# spoils at most four; of the names met, those that share most are compared.
_POSTINGS = 200_000
_SURE_TRIGRAMS = 5
_VERIFIED = 1_000
_CLOSEST = 5
_EDIT_ODDS = 0.1
_AMBIGUITY = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 30), (31, 100), (101, 1 << 62))


@dataclass(slots=True)
class Match:
    """An entity that a surface may mean: dense index, p(e|m) in [0, 1], count, and how the surface was found."""

    index: int
    prior: float
    count: float
    how: str


class KnowledgeBase:
    """A knowledge base opened for reading. Entities are strings outside and dense indices 0..n-1 inside.

    Picklable and safe over forks and threads: each process and thread opens its own connection.
    """

    def __init__(self, folder: str | Path, manifest: Manifest) -> None:
        self.folder = Path(folder)
        self.meta: KbMeta = manifest.meta
        self._data = manifest.data
        self._local = threading.local()

    @classmethod
    def open(cls, folder: str | Path) -> KnowledgeBase:
        """Open the base at `folder`; InputError where there is none, half of one or a damaged one."""
        tables.check_sqlite()
        return cls(folder, layout.read_manifest(folder))

    def __len__(self) -> int:
        return self.meta.entities

    def __repr__(self) -> str:
        return f"KnowledgeBase({str(self.folder)!r}, {self.meta.name!r}, {len(self):,} entities)"

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "meta": self.meta, "_data": self._data}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._local = threading.local()

    def close(self) -> None:
        """Close this thread's connection, and no other thread's; the next use opens a new one."""
        if getattr(self._local, "process", None) == os.getpid():
            self._local.process = None
            self._local.connection.close()

    def __enter__(self) -> KnowledgeBase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _db(self) -> sqlite3.Connection:
        """This thread's connection: read-only, without locks (the file never changes)."""
        if getattr(self._local, "process", None) != os.getpid():
            path = self._data / layout.DATABASE
            try:
                connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
            except sqlite3.OperationalError as error:
                raise self._rewritten(path) from error
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            self._local.connection, self._local.process = connection, os.getpid()
        connection = self._local.connection
        assert isinstance(connection, sqlite3.Connection)
        return connection

    def _rewritten(self, path: Path) -> InputError:
        return InputError(
            "is gone: the knowledge base was rewritten after it was opened",
            file=path,
            remedy=f"open it again: KnowledgeBase.open({str(self.folder)!r})",
        )

    def _array(self, name: str) -> np.ndarray:
        try:
            array: np.ndarray = np.load(self._data / name, mmap_mode="r")
        except FileNotFoundError as error:
            raise self._rewritten(self._data / name) from error
        return array

    def _select(self, sql: str, values: Iterable[Any], *more: Any) -> Iterator[tuple[Any, ...]]:
        """Rows of `sql`, whose `{}` stands for the list of `values`; `more` binds what follows it.

        Lists are padded to a power of two with NULL, which matches nothing, so that few statements are prepared.
        """
        wanted = list(values)
        for start in range(0, len(wanted), _CHUNK):
            chunk = wanted[start : start + _CHUNK]
            width = 1 << (len(chunk) - 1).bit_length()
            bound = [*chunk, *[None] * (width - len(chunk)), *more]
            yield from self._db.execute(sql.format(",".join("?" * width)), bound)

    # -- entities

    def indices(self, ids: Sequence[str]) -> np.ndarray:
        """Dense indices int64 `[len(ids)]` of entity ids; -1 for an unknown id."""
        found = dict(self._select("SELECT id, idx FROM entities WHERE id IN ({})", dict.fromkeys(ids)))
        return np.fromiter((found.get(name, -1) for name in ids), dtype=np.int64, count=len(ids))

    def ids(self, indices: Iterable[int]) -> list[str]:
        """Entity ids of dense indices; InputError for an index outside the base."""
        return self._column("id", indices)

    def titles(self, indices: Iterable[int]) -> list[str]:
        """Titles of dense indices; InputError for an index outside the base."""
        return self._column("title", indices)

    def descriptions(self, indices: Iterable[int]) -> list[str]:
        """Descriptions of dense indices ("" for none); InputError for an index outside the base."""
        return self._column("description", indices)

    def _column(self, column: str, indices: Iterable[int]) -> list[str]:
        wanted = self._checked(indices)
        found = dict(self._select(f"SELECT idx, {column} FROM entities WHERE idx IN ({{}})", dict.fromkeys(wanted)))
        return [found[index] for index in wanted]

    def _checked(self, indices: Iterable[int]) -> list[int]:
        wanted = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices), dtype=np.int64).reshape(-1)
        outside = wanted[(wanted < 0) | (wanted >= len(self))]
        if outside.size:
            raise InputError(
                f"no entity has index {outside[0]}: '{self.meta.name}' has {len(self):,}",
                file=self.folder,
                remedy="drop the padding (-1) before asking",
            )
        result: list[int] = wanted.tolist()
        return result

    def entity(self, id: str) -> Entity:
        """The record of an entity id; InputError with the closest ids when there is none."""
        row = self._db.execute(f"SELECT {tables.COLUMNS} FROM entities WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise self._no_entity(id)
        return tables.record_entity(row)

    def find(self, name: str) -> list[Entity]:
        """The entity whose id is `name`, else all whose title it is; InputError with the closest when none is."""
        rows = self._db.execute(f"SELECT {tables.COLUMNS} FROM entities WHERE id = ?", (name,)).fetchall()
        rows = (
            rows
            or self._db.execute(
                f"SELECT {tables.COLUMNS} FROM entities WHERE title = ? ORDER BY idx", (name,)
            ).fetchall()
        )
        if not rows:
            raise self._no_entity(name)
        return [tables.record_entity(row) for row in rows]

    def _no_entity(self, word: str) -> InputError:
        """Names the entities that go by `word` or nearly so, else the ids beside it in alphabetical order."""
        near = self.ids(match.index for match in self.lookup(word, 3)) or [
            id
            for sql in ("id >= ? ORDER BY id LIMIT 2", "id < ? ORDER BY id DESC LIMIT 2")
            for (id,) in self._db.execute(f"SELECT id FROM entities WHERE {sql}", (word,))
        ]
        hint = " or ".join(f"'{id}' ({title})" for id, title in zip(near, self.titles(self.indices(near)), strict=True))
        return InputError(f"no entity '{word}' in '{self.meta.name}'", file=self.folder, remedy=f"did you mean {hint}?")

    def entities(self, indices: Iterable[int]) -> list[Entity]:
        """The records of dense indices, in that order; InputError for an index outside the base."""
        wanted = self._checked(indices)
        sql = f"SELECT {tables.COLUMNS} FROM entities WHERE idx IN ({{}})"
        found = {row[0]: tables.record_entity(row) for row in self._select(sql, dict.fromkeys(wanted))}
        return [found[index] for index in wanted]

    def __iter__(self) -> Iterator[Entity]:
        """All records in index order, streamed."""
        for row in self._db.execute(f"SELECT {tables.COLUMNS} FROM entities ORDER BY idx"):
            yield tables.record_entity(row)

    # -- arrays

    @cached_property
    def popularity(self) -> np.ndarray:
        """In-links of every entity as its record gives them, int64 `[n]`, memory-mapped."""
        return self._array(layout.POPULARITY)

    @cached_property
    def links(self) -> csr_matrix:
        """Links as a float32 CSR matrix of ones `[n, n]`: row = entity, columns = the entities it links to.

        The arrays are memory-mapped; columns are sorted and distinct.
        """
        from scipy.sparse import csr_matrix

        matrix = csr_matrix((len(self), len(self)), dtype=np.float32)
        # Set, not passed: the constructor would read them all to check them.
        matrix.indptr, matrix.indices, matrix.data = map(self._array, layout.LINKS)
        matrix.has_sorted_indices = matrix.has_canonical_format = True
        return matrix

    def vectors(self, name: str, stale: bool = False) -> np.ndarray:
        """The vectors `name`, `[n, d]`, memory-mapped; row i is the entity of index i.

        Raises InputError where there are none of that name, or where the base changed since they were added: with
        `stale` those are given all the same, and may have fewer rows (`add` only appends to the indices).
        """
        return vectors.read(self._data, name, self.meta, stale)

    def add_vectors(self, name: str, array: np.ndarray, encoder_id: str) -> None:
        """Store `array` `[n, d]` (floats) as the vectors `name`, replacing those that are there.

        `encoder_id` says what made them and is kept beside them. InputError for a wrong shape, type or name.
        """
        with layout.lock(self.folder):
            if layout.read_manifest(self.folder).data != self._data:
                raise self._rewritten(self._data)
            vectors.write(self._data, name, array, encoder_id, self.meta)

    @property
    def vector_names(self) -> list[str]:
        """The names that `vectors` knows, sorted."""
        return vectors.names(self._data)

    @cached_property
    def in_degree(self) -> np.ndarray:
        """Entities of the base that link to each entity, int64 `[n]`."""
        return np.bincount(self.links.indices, minlength=len(self))

    # -- names

    def names(self) -> Iterator[tuple[str, str, float, int]]:
        """Every name the base has as `(surface, folded, count, entities)`, in the order in which they came.

        `count` is the sum of the counts of its links, `entities` how many it may mean.
        """
        yield from self._db.execute(
            "SELECT s.surface, f.folded, s.total, a.entities FROM surfaces s JOIN folds f ON f.sid = s.sid "
            "JOIN (SELECT sid, count(*) AS entities FROM aliases GROUP BY sid) a ON a.sid = s.sid ORDER BY s.sid"
        )

    def lookup(self, surface: str, k: int | None = 30, fuzzy: bool = True, threshold: float = 0.8) -> list[Match]:
        """What `surface` may mean, most probable first; see `lookup_many`."""
        return self.lookup_many([surface], k, fuzzy, threshold)[0]

    def lookup_many(
        self, surfaces: Sequence[str], k: int | None = 30, fuzzy: bool = True, threshold: float = 0.8
    ) -> list[list[Match]]:
        """What each surface may mean: up to `k` (None: all) matches by falling prior, then by index.

        A surface the base has is `exact`. Else the names that fold to the same form are pooled: `folded`. Else, with
        `fuzzy`, the five names most similar to it (`names.similarity_to`) of at least `threshold` are: `fuzzy`.
        Pooled names s give p(e|m) = sum_s w_s p(e|s) / sum_s w_s, where w_s is the count of the name, for folded
        names of one dictionary the ratio of the pooled counts. For fuzzy ones it is divided by ten for each letter
        inserted or deleted: a noisy channel.
        """
        found = self._exact(surfaces, k)
        missing = [surface for surface in dict.fromkeys(surfaces) if surface not in found]
        if missing:
            found.update(self._folded(missing, k))
        if fuzzy:
            for surface in missing:
                if surface not in found:
                    found[surface] = self._fuzzy(surface, k, threshold)
        return [found.get(surface, []) for surface in surfaces]

    def _exact(self, surfaces: Sequence[str], k: int | None) -> dict[str, list[Match]]:
        sql = (
            "SELECT s.surface, a.idx, a.prior, a.count FROM surfaces s JOIN aliases a ON a.sid = s.sid "
            "WHERE s.surface IN ({}) AND a.rank < ? ORDER BY s.surface, a.rank"
        )
        found: dict[str, list[Match]] = {}
        for surface, index, prior, count in self._select(sql, dict.fromkeys(surfaces), _limit(k)):
            matches = found.get(surface)
            if matches is None:
                matches = found[surface] = []
            matches.append(Match(index, prior, count, "exact"))
        return found

    def _folded(self, surfaces: list[str], k: int | None) -> dict[str, list[Match]]:
        forms = {surface: fold(surface) for surface in surfaces}
        names: dict[str, list[int]] = {}
        for folded, sid in self._select("SELECT folded, sid FROM folds WHERE folded IN ({})", set(forms.values())):
            names.setdefault(folded, []).append(sid)
        pools = {form: self._pool(dict.fromkeys(sids, 1.0), k, "folded") for form, sids in names.items()}
        return {surface: pools[form] for surface, form in forms.items() if form in pools}

    def _fuzzy(self, mention: str, k: int | None, threshold: float) -> list[Match]:
        folded = fold(mention)
        if len(folded) < 3:
            return []
        similarity = similarity_to(folded)
        close = []
        near = self._sharing_trigrams(folded)
        for sid, surface in self._select("SELECT sid, surface FROM surfaces WHERE sid IN ({})", near):
            name = fold(surface)
            value = similarity(name)
            if value >= threshold:
                edits = (1 - value) * (len(folded) + len(name))
                close.append((-value, sid, edits))
        close = sorted(close)[:_CLOSEST]
        return self._pool({sid: _EDIT_ODDS**edits for _, sid, edits in close}, k, "fuzzy")

    def _sharing_trigrams(self, folded: str) -> list[int]:
        """Names (sid) that share rare trigrams with `folded`, those that share most first."""
        frequencies = sorted(
            (frequency, gram)
            for gram, frequency in self._select(
                "SELECT term, doc FROM grams_vocab WHERE term IN ({})", trigrams(folded)
            )
        )
        read = 0
        postings = [np.empty(0, dtype=np.int64)]
        for position, (frequency, gram) in enumerate(frequencies):
            if position >= _SURE_TRIGRAMS and read + frequency > _POSTINGS:
                break
            query = '"' + gram.replace('"', '""') + '"'
            # One string and numpy's parser: row by row the postings take three times as long.
            (rows,) = self._db.execute("SELECT group_concat(rowid) FROM grams WHERE grams MATCH ?", (query,)).fetchone()
            postings.append(np.fromstring(rows, dtype=np.int64, sep=","))
            read += frequency
        sids, shared = np.unique(np.concatenate(postings), return_counts=True)
        first: list[int] = sids[np.argsort(-shared, kind="stable")[:_VERIFIED]].tolist()
        return first

    def _pool(self, likelihoods: dict[int, float], k: int | None, how: str) -> list[Match]:
        """The matches of several names (sid -> how likely it was meant, but for its count) as those of one."""
        totals = dict(self._select("SELECT sid, total FROM surfaces WHERE sid IN ({})", likelihoods))
        weights = {sid: likelihood * totals[sid] for sid, likelihood in likelihoods.items()}
        scale = sum(weights.values())
        if not scale:
            weights, scale = likelihoods, sum(likelihoods.values())
        priors: dict[int, float] = {}
        counts: dict[int, float] = {}
        # A single name needs its first k only; of several any entity may come first.
        limit = _limit(k if len(weights) == 1 else None)
        sql = "SELECT sid, idx, prior, count FROM aliases WHERE sid IN ({}) AND rank < ? ORDER BY sid, rank"
        for sid, index, prior, count in self._select(sql, weights, limit):
            priors[index] = priors.get(index, 0.0) + prior * weights[sid] / scale
            counts[index] = counts.get(index, 0.0) + count
        ranked = sorted(priors, key=lambda index: (-priors[index], index))[:k]
        return [Match(index, priors[index], counts[index], how) for index in ranked]

    # -- search

    def search(self, query: str, k: int = 10) -> list[tuple[int, float]]:
        """The `k` entities whose title, aliases and description fit the words of `query` best.

        `(index, BM25)` by falling score, higher being better; a word in the title weighs 10, in an alias 5.
        Words are joined by OR; no word of the query syntax of SQLite is special.
        """
        words = "".join(c if c.isalnum() else " " for c in query).split()
        if not words:
            return []
        rows = self._db.execute(
            "SELECT rowid, -bm25(texts, 10.0, 5.0, 1.0) AS score FROM texts WHERE texts MATCH ? "
            "ORDER BY score DESC, rowid LIMIT ?",
            (" OR ".join(f'"{word}"' for word in words), k),
        )
        return [(index, score) for index, score in rows]

    def word_frequencies(self, words: Sequence[str]) -> dict[str, int]:
        """How many entities have each word in title, alias or description; words that none has are left out.

        Words as the full-text index has them: lower case, without diacritics, letters and digits.
        """
        self._db.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab (main, texts, 'row')")
        return dict(self._select("SELECT term, doc FROM temp.words WHERE term IN ({})", words))

    # -- what it is

    def stats(self) -> dict[str, Any]:
        """The meta, and counts of entities by type and of names by how many entities they may mean; reads it all."""
        types = self._db.execute("SELECT type, count(*) AS n FROM entities GROUP BY type ORDER BY n DESC, type")
        histogram = dict.fromkeys((_bucket(low, high) for low, high in _AMBIGUITY), 0)
        ambiguity = self._db.execute(
            "SELECT n, count(*) FROM (SELECT count(*) AS n FROM aliases GROUP BY sid) GROUP BY n ORDER BY n"
        )
        most = 0
        for entities, names in ambiguity:
            most = entities
            histogram[next(_bucket(low, high) for low, high in _AMBIGUITY if entities <= high)] += names
        return {
            **self.meta.to_dict(),
            "types": dict(types.fetchall()),
            "entities_per_surface": histogram,
            "most_entities_of_a_surface": most,
            "vectors": self.vector_names,
            "bytes": sum(path.stat().st_size for path in self._data.rglob("*") if path.is_file()),
        }

    def check_lineage(self, expected: KbMeta) -> None:
        """Raise InputError unless this is the base `expected` of a model, or a later revision of it."""
        ours = self.meta
        if ours.lineage != expected.lineage:
            reason = "is another knowledge base"
        elif ours.revision < expected.revision:
            reason = f"is revision {ours.revision} of it, older than revision {expected.revision}"
        elif ours.revision == expected.revision and ours.content_hash != expected.content_hash:
            reason = "is the same build with other entities added"
        else:
            return
        raise InputError(
            f"the model was trained for '{expected.name}' of {expected.date} ({expected.entities:,} entities, hash "
            f"{expected.content_hash[:12]}); '{ours.name}' of {ours.date} ({ours.entities:,} entities, hash "
            f"{ours.content_hash[:12]}) {reason}",
            file=self.folder,
            remedy="name a copy of the model's own base with --kb, add entities to that one with "
            "`python -m mmel.kb add`, or train a model for this one",
        )


def _limit(k: int | None) -> int:
    """A rank no name reaches stands for 'all'."""
    return k if k is not None else 1 << 62


def _bucket(low: int, high: int) -> str:
    if low == high:
        return str(low)
    return f"{low}-{high}" if high < 1 << 62 else f"{low}+"

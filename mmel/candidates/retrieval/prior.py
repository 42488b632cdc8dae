"""Retrieval by P(e|m): what training documents linked a name to, and what the knowledge base's aliases mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retrieved, distinct, padded
from mmel.candidates.retrieval.names import name_parts
from mmel.kb import KnowledgeBase


@dataclass(frozen=True)
class _Aliases:
    """What the knowledge base's aliases say of names: pairs `name * size + entity`, sorted, and their p(e|m)."""

    key: np.ndarray
    prior: np.ndarray
    known: np.ndarray


class PriorRetriever:
    """Entities by P(e|m), averaged over the dictionaries that know the name (Gan et al. 2021, section 4.1).

    The dictionaries are the counts of training annotations, and the aliases of the base. Where neither knows a name as
    it is written, both are asked for its core (`mmel.candidates.retrieval.names.name_parts`): *Iran's* is *Iran*.

    Args:
        counts: of training annotations; None where there are none.
    """

    name = "annotations"

    def __init__(self, kb: KnowledgeBase, counts: AnnotationCounts | None) -> None:
        self._kb = kb
        exact = counts or AnnotationCounts({}, len(kb), np.empty(0, np.int64), np.empty(0, np.float32))
        self._counts = exact, _by_core(exact)

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        """See Retriever."""
        ids = self._listed(table)
        scores = self.score(table, ids, leave_out)
        order = np.lexsort((ids, -scores), axis=1)
        ids, scores = np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1)
        found = (scores > 0).sum(1).clip(max=k).tolist()
        return padded([(e[:n], s[:n]) for e, s, n in zip(ids, scores, found, strict=True)], k)

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """See Retriever."""
        exact, core = (self._probability(level, table, ids, leave_out) for level in range(2))
        return np.where(exact[1], exact[0], core[0]).astype(np.float32)

    def _probability(
        self, level: int, table: MentionTable, ids: np.ndarray, leave_out: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """`[M, k]` p(e|m) for the names as written (0) or their cores (1), `[M, 1]` whether a dictionary knows them."""
        names = _at_level(table.name, level)
        pair, name, _ = self._counts[level].columns(replace(table, name=names), ids, leave_out)
        aliases, place = self._aliases(names)
        asked = np.where(ids >= 0, place[:, None] * len(self._kb) + ids, -1)
        at = np.searchsorted(aliases.key, asked).clip(max=max(len(aliases.key) - 1, 0))
        prior = np.where(aliases.key[at] == asked, aliases.prior[at], 0) if len(aliases.key) else np.zeros(ids.shape)
        known = aliases.known[place][:, None]
        dictionaries = (name > 0).astype(int) + known
        mean = (pair / np.maximum(name, 1) + prior) / np.maximum(dictionaries, 1)
        return np.where(ids >= 0, mean, 0), dictionaries > 0

    def _aliases(self, names: Sequence[str]) -> tuple[_Aliases, np.ndarray]:
        """What the base's aliases say of distinct names, and the place of each name among these `[M]`."""
        unique, place = distinct(list(names))
        matches = self._kb.lookup_many(unique, None, fuzzy=False)
        key = np.array([n * len(self._kb) + m.index for n, found in enumerate(matches) for m in found], np.int64)
        prior = np.array([m.prior for found in matches for m in found], np.float32)
        order = np.argsort(key)
        return _Aliases(key[order], prior[order], np.array([bool(found) for found in matches], bool)), place

    def _listed(self, table: MentionTable) -> np.ndarray:
        """`[M, w]` every entity that a dictionary has for a mention's name or its core, -1 pads."""
        rows, entities = [], []
        size = len(self._kb)
        for level, counts in enumerate(self._counts):
            names = _at_level(table.name, level)
            aliases, place = self._aliases(names)
            number = np.array([counts.names.get(name.casefold(), -1) for name in names], np.int64)
            for key, own in ((aliases.key, place), (counts.key, number)):
                begin, end = np.searchsorted(key, own * size), np.searchsorted(key, (own + 1) * size)
                begin, end = np.where(own >= 0, begin, 0), np.where(own >= 0, end, 0)
                row = np.repeat(np.arange(len(names)), end - begin)
                first = np.repeat(begin - np.cumsum(end - begin) + (end - begin), end - begin)
                rows.append(row)
                entities.append(key[first + np.arange(len(row))] % size)
        pairs = np.unique(np.concatenate(rows) * size + np.concatenate(entities))
        row, entity = pairs // size, pairs % size
        column = np.arange(len(row)) - np.searchsorted(row, row)
        out = np.full((len(table), int(column.max(initial=0)) + 1), -1, np.int64)
        out[row, column] = entity
        return out


def _at_level(names: Sequence[str], level: int) -> list[str]:
    return [name_parts(name)[0] for name in names] if level else list(names)


def _by_core(counts: AnnotationCounts) -> AnnotationCounts:
    """The counts by the cores of names."""
    cores, place = distinct([name_parts(name)[0] for name in counts.names])
    key = place[counts.key // counts.size] * counts.size + counts.key % counts.size if len(counts.key) else counts.key
    unique, inverse = np.unique(key, return_inverse=True)
    count = np.bincount(inverse, counts.count, len(unique)).astype(np.float32)
    return AnnotationCounts({core: i for i, core in enumerate(cores)}, counts.size, unique, count)

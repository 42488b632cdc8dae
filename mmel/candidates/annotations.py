"""A second prior dictionary: how often training annotations linked a surface to an entity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.kb import KnowledgeBase


class AnnotationColumns(NamedTuple):
    """Counts for candidates `[M, k]`: of (name, entity) pairs, of the name `[M, 1]`, of the entity; all float32."""

    pair: np.ndarray
    name: np.ndarray
    entity: np.ndarray


@dataclass(frozen=True)
class AnnotationCounts:
    """Counts of (case-folded name, entity) over annotated documents, bound to one opened knowledge base.

    Attributes:
        names: name -> dense index.
        size: number of entities of the knowledge base.
        key, count: sorted `name index * size + KB index` and its count.
    """

    names: dict[str, int]
    size: int
    key: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, table: MentionTable, size: int) -> AnnotationCounts:
        """Count the gold links of a table (NIL and unknown golds are left out)."""
        rows = np.flatnonzero(table.gold >= 0)
        names: dict[str, int] = {}
        name = np.array([names.setdefault(table.name[i].casefold(), len(names)) for i in rows], np.int64)
        key, count = np.unique(name * size + table.gold[rows], return_counts=True)
        return cls(names, size, key, count.astype(np.float32))

    def columns(self, table: MentionTable, ids: np.ndarray, leave_out: bool) -> AnnotationColumns:
        """Counts for candidates `ids` `[M, k]`.

        Args:
            leave_out: `table` is the one that was counted: subtract what a mention's own document contributed,
                which would otherwise show it its own gold.
        """
        name = np.array([self.names.get(n.casefold(), -1) for n in table.name], np.int64)
        valid = ids >= 0
        pairs = np.where(valid & (name >= 0)[:, None], name[:, None] * self.size + ids, -1)
        by_entity = np.bincount(self.key % self.size, self.count, self.size).astype(np.float32)
        by_name = np.bincount(self.key // self.size, self.count, len(self.names) + 1).astype(np.float32)
        pair = _lookup(self.key, self.count, pairs)
        names, entity = by_name[name][:, None] * (name >= 0)[:, None], by_entity[np.where(valid, ids, 0)] * valid
        if leave_out:
            # Names that were never counted have the index -1, and nothing to subtract.
            rows = np.flatnonzero((table.gold >= 0) & (name >= 0))
            doc, gold, stride = table.doc, table.gold, len(self.names)
            own_pair = (doc[rows] * stride + name[rows]) * self.size + gold[rows]
            ask = np.where(pairs >= 0, (doc * stride + name)[:, None] * self.size + ids, -1)
            pair -= _lookup(*_counted(own_pair), ask)
            names -= _lookup(*_counted(doc[rows] * stride + name[rows]), (doc * stride + name)[:, None])
            own_entity = doc[rows] * self.size + gold[rows]
            entity -= _lookup(*_counted(own_entity), np.where(valid, doc[:, None] * self.size + ids, -1))
        return AnnotationColumns(pair, np.maximum(names, 0).astype(np.float32), entity.astype(np.float32))

    def state(self, kb: KnowledgeBase) -> list[tuple[str, str, int]]:
        """`(name, entity id, count)` rows that survive a rebuilt or extended knowledge base."""
        names = list(self.names)
        ids = kb.ids(self.key % self.size)
        return [(names[k // self.size], e, int(c)) for k, e, c in zip(self.key, ids, self.count, strict=True)]

    @classmethod
    def from_state(cls, rows: Sequence[tuple[str, str, int]], kb: KnowledgeBase) -> AnnotationCounts:
        """Back from `state`, for the indices of `kb`; entities it does not have are dropped."""
        entity = kb.indices([e for _, e, _ in rows])
        names: dict[str, int] = {}
        name = np.array([names.setdefault(n, len(names)) for n, _, _ in rows], np.int64)
        key = name * len(kb) + entity
        known = entity >= 0
        order = np.argsort(key[known])
        count = np.array([c for _, _, c in rows], np.float32)[known]
        return cls(names, len(kb), key[known][order], count[order])


def _counted(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    key, count = np.unique(keys, return_counts=True)
    return key, count.astype(np.float32)


def _lookup(keys: np.ndarray, counts: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Count of each asked key, 0 where it is not among the sorted `keys`."""
    if not len(keys):
        return np.zeros(asked.shape, np.float32)
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, counts[place], 0).astype(np.float32)

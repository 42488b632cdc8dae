"""Candidate lists: from the dataset or the knowledge base, by prior, then by context, then by the document graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.document import TextMention
from mmel.kb import KnowledgeBase

# popularity: a list given without p(e|m). retrieved: not by its name, see `mmel.candidates.retrieval`.
SOURCES = ("pad", "given", "exact", "folded", "fuzzy", "popularity", "retrieved")
# p(e|m) by rank where a source gives ranks only: geometric means of 50 real lists, 1 at the top, then 0.08 r^-0.63.
RANK_SECOND, RANK_EXPONENT = 0.08, 0.63


@dataclass(frozen=True)
class Candidates:
    """Candidates of M mentions, at most k each.

    Attributes:
        ids: `[M, k]` int64 KB indices, -1 pads, best prior first.
        prior: `[M, k]` float32 p(e|m) in [0, 1], 0 at pads. Lists cut to k keep their uncut probabilities.
        source: `[M, k]` uint8 index into SOURCES.
    """

    ids: np.ndarray
    prior: np.ndarray
    source: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """`[M, k]` bool, True at candidates."""
        return np.asarray(self.ids >= 0)

    def gold_position(self, gold: np.ndarray) -> np.ndarray:
        """`[M]` column of the gold entity (KB indices `gold`, -1 unknown); -1 where it is no candidate."""
        hit = (self.ids == gold[:, None]) & (gold >= 0)[:, None]
        return np.where(hit.any(1), hit.argmax(1), -1)

    def take(self, order: np.ndarray) -> Candidates:
        """Candidates re-ordered and cut by column indices `order` `[M, k']`."""
        return Candidates(*(np.take_along_axis(a, order, 1) for a in (self.ids, self.prior, self.source)))

    def recall(self, gold: np.ndarray, k: int | None = None) -> float:
        """Share of mentions with a known gold (>= 0) whose gold is among the first k candidates."""
        known = gold >= 0
        position = self.gold_position(gold)[known]
        found = (position >= 0) & (position < (k or self.ids.shape[1]))
        return float(found.mean()) if known.any() else 0.0


class CandidateGenerator:
    """Lists candidates by prior for every mention of a table.

    A mention's own list (`TextMention.candidates`) is used where the dataset gives one: its priors where it has
    values, a calibrated decay where it has ranks only, and in-link popularity where it has neither. Otherwise the
    knowledge base is asked for the name: the surface, or the longer form that it was resolved to.

    Args:
        kb: the knowledge base whose indices are produced.
        prior_k: most candidates of a mention; None keeps all.
        fuzzy: whether a surface the knowledge base does not know may match a similar one.
    """

    def __init__(self, kb: KnowledgeBase, prior_k: int | None = 30, fuzzy: bool = True) -> None:
        self.kb, self.prior_k, self.fuzzy = kb, prior_k, fuzzy

    def __call__(self, table: MentionTable) -> Candidates:
        """Candidates of all M mentions, `k` = the longest list."""
        mentions = [m for document in table.documents for m in document.text_mentions]
        given = [i for i, m in enumerate(mentions) if m.candidates is not None]
        asked = [i for i, m in enumerate(mentions) if m.candidates is None]
        parts = zip(self._given(mentions, given), self._found(mentions, asked), strict=True)
        return _padded(len(mentions), *(np.concatenate(part) for part in parts))

    def _found(self, mentions: Sequence[TextMention], rows: Sequence[int]) -> _Cells:
        """What the knowledge base lists for the names of the mentions `rows`."""
        found = self.kb.lookup_many([mentions[i].name or mentions[i].text for i in rows], self.prior_k, self.fuzzy)
        flat = [match for matches in found for match in matches]
        return (
            np.repeat(np.array(rows, np.int64), [len(matches) for matches in found]),
            np.array([m.index for m in flat], np.int64),
            np.array([m.prior for m in flat], np.float32),
            np.array([SOURCES.index(m.how) for m in flat], np.uint8),
        )

    def _given(self, mentions: Sequence[TextMention], rows: Sequence[int]) -> _Cells:
        """What the dataset lists for the mentions `rows`, without the entities that the knowledge base lacks."""
        lists = [mentions[i].candidates or () for i in rows]
        flat = [candidate for listed in lists for candidate in listed]
        owner = np.repeat(np.arange(len(lists)), [len(listed) for listed in lists])
        ids = self.kb.indices([c.entity for c in flat])
        value = np.array([np.nan if c.prior is None else c.prior for c in flat])
        rank = np.array([-1 if c.rank is None else c.rank for c in flat])
        by_value = np.bincount(owner, np.isnan(value), len(lists)) == 0
        ordered = by_value | (np.bincount(owner, rank < 0, len(lists)) == 0)
        decay = np.where(rank == 0, 1.0, RANK_SECOND * np.maximum(rank, 1.0) ** -RANK_EXPONENT)
        in_links = np.where(ids >= 0, self.kb.popularity[ids], 0) + 1.0
        weight = np.where(ordered[owner], decay, in_links)
        share = weight / np.bincount(owner, weight, len(lists))[owner]
        prior = np.where(by_value[owner], value, share).astype(np.float32)
        # A list without prior and rank may stand in any order: its ties go by KB index.
        order = np.lexsort((np.where(ordered[owner], np.arange(len(flat)), ids), -prior, owner))
        first = np.searchsorted(owner, np.arange(len(lists)))
        among_first = np.arange(len(flat)) - first[owner] < (self.prior_k or len(flat))
        order = order[among_first & (ids[order] >= 0)]
        source = np.where(ordered, SOURCES.index("given"), SOURCES.index("popularity")).astype(np.uint8)
        return np.array(rows, np.int64)[owner[order]], ids[order], prior[order], source[owner[order]]


_Cells = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # mention, KB index, p(e|m) and source of candidates


def _padded(mentions: int, row: np.ndarray, ids: np.ndarray, prior: np.ndarray, source: np.ndarray) -> Candidates:
    """The flat cells, those of a mention together, as arrays `[mentions, k]`."""
    by_row = np.argsort(row, kind="stable")
    row = row[by_row]
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(mentions))[row]
    shape = (mentions, int(place.max(initial=0)) + 1)
    out = Candidates(np.full(shape, -1, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.uint8))
    for array, values in ((out.ids, ids), (out.prior, prior), (out.source, source)):
        array[row, place] = values[by_row]
    return out

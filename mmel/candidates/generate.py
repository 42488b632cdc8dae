"""Candidate lists: from the dataset or the knowledge base, by prior, then by context, then by the document graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.document import Candidate, TextMention
from mmel.kb import KnowledgeBase

SOURCES = ("pad", "given", "exact", "folded", "fuzzy", "popularity")  # popularity: a list given without p(e|m)
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
    knowledge base is asked for the surface.

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
        rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = [_EMPTY] * len(mentions)
        given = [i for i, m in enumerate(mentions) if m.candidates is not None]
        asked = [i for i, m in enumerate(mentions) if m.candidates is None]
        for i, row in zip(given, self._given([mentions[i] for i in given]), strict=True):
            rows[i] = row
        surfaces = [mentions[i].text for i in asked]
        for i, matches in zip(asked, self.kb.lookup_many(surfaces, self.prior_k, self.fuzzy), strict=True):
            if matches:
                rows[i] = (
                    np.array([m.index for m in matches], np.int64),
                    np.array([m.prior for m in matches], np.float32),
                    np.array([SOURCES.index(m.how) for m in matches], np.uint8),
                )
        return _pad(rows, self.prior_k)

    def _given(self, mentions: list[TextMention]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        ids = self.kb.indices([c.entity for m in mentions for c in m.candidates or ()])
        out, at = [], 0
        for mention in mentions:
            listed = mention.candidates or ()
            own = ids[at : at + len(listed)]
            at += len(listed)
            prior = self._prior(mention, own)
            # A list without prior and rank may stand in any order: its ties go by KB index.
            ordered = _is_ordered(listed)
            ties = np.arange(len(own)) if ordered else own
            order = np.lexsort((ties, -prior))[: self.prior_k]
            order = order[own[order] >= 0]
            out.append(
                (
                    own[order],
                    prior[order],
                    np.full(len(order), SOURCES.index("given" if ordered else "popularity"), np.uint8),
                )
            )
        return out

    def _prior(self, mention: TextMention, ids: np.ndarray) -> np.ndarray:
        listed = mention.candidates or ()
        if all(c.prior is not None for c in listed):
            return np.array([c.prior for c in listed], np.float32)
        if all(c.rank is not None for c in listed):
            rank = np.array([c.rank for c in listed], np.float64)
            weight = np.where(rank == 0, 1.0, RANK_SECOND * np.maximum(rank, 1) ** -RANK_EXPONENT)
        else:
            weight = np.where(ids >= 0, self.kb.popularity[ids], 0).astype(np.float64) + 1
        return (weight / weight.sum()).astype(np.float32)


def _is_ordered(listed: Sequence[Candidate]) -> bool:
    return all(c.prior is not None for c in listed) or all(c.rank is not None for c in listed)


_EMPTY = (np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.uint8))


def _pad(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], limit: int | None) -> Candidates:
    k = max([len(ids) for ids, _, _ in rows] + [1])
    k = min(k, limit) if limit else k
    ids = np.full((len(rows), k), -1, np.int64)
    prior = np.zeros((len(rows), k), np.float32)
    source = np.zeros((len(rows), k), np.uint8)
    for i, row in enumerate(rows):
        n = min(len(row[0]), k)
        ids[i, :n], prior[i, :n], source[i, :n] = row[0][:n], row[1][:n], row[2][:n]
    return Candidates(ids, prior, source)

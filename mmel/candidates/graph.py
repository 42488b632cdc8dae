"""The document graph over candidates: which candidates of different mentions meet in the knowledge base.

Two entities meet in a hub when both are, or link to, that hub: a character and a film's other characters meet in the
film, a page and the page it links to meet in the latter. The graph is the bipartite incidence of candidates and hubs,
flat over all documents, so that one sparse product passes messages in every document at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mmel.candidates.generate import Candidates
from mmel.candidates.mentions import MentionTable
from mmel.kb import KnowledgeBase

MAX_HUBS = 512
_TABLE = 8  # cells of a table of marks for each key that is numbered by it


@dataclass(frozen=True)
class CandidateGraph:
    """Edges between candidates (cells of `[M, k]`, numbered row by row) and hubs that two names of a document share.

    Attributes:
        cell: `[E]` int64 candidate cell of each edge, ascending.
        hub: `[E]` int64 KB index of the hub.
        mention: `[E]` mention of the cell.
        doc_slot, sentence_slot: `[E]` dense index of (document, hub) and (sentence, hub).
        group_slot, sentence_group_slot: `[E]` dense index of (surface group, hub) and (sentence, surface group, hub).
        shape: `(M, k)`. entities: size of the knowledge base.
    """

    cell: np.ndarray
    hub: np.ndarray
    mention: np.ndarray
    doc_slot: np.ndarray
    sentence_slot: np.ndarray
    group_slot: np.ndarray
    sentence_group_slot: np.ndarray
    shape: tuple[int, int]
    entities: int

    @classmethod
    def of(cls, table: MentionTable, candidates: Candidates, kb: KnowledgeBase) -> CandidateGraph:
        """Build the graph; hubs that only one name of a document reaches connect nothing and are dropped."""
        cells = np.flatnonzero(candidates.mask.ravel())
        edge, hub = hubs_of(candidates.ids.ravel()[cells], kb)
        cell = cells[edge]
        mention = cell // candidates.ids.shape[1]
        doc, group = table.doc[mention], table.surface_group[mention]
        number, hubs = numbered(hub, len(kb))
        slot, slots = numbered(doc * hubs + number, len(table.documents) * hubs)
        # A hub is kept where more than one surface group of the document reaches it.
        one = np.zeros(slots, np.int64)
        one[slot] = group
        shared = np.zeros(slots, bool)
        shared[slot[group != one[slot]]] = True
        keep = shared[slot]
        cell, hub, mention = cell[keep], hub[keep], mention[keep]
        slot = (np.cumsum(shared) - 1)[slot[keep]]
        pairs = dense(table.sentence * (int(table.surface_group.max(initial=0)) + 1) + table.surface_group)
        owners = (table.sentence, table.surface_group, pairs)
        sentence_slot, group_slot, sentence_group_slot = (_owned(slot, mention, owner, table) for owner in owners)
        return cls(
            cell=cell,
            hub=hub,
            mention=mention,
            doc_slot=slot,
            sentence_slot=sentence_slot,
            group_slot=group_slot,
            sentence_group_slot=sentence_group_slot,
            shape=(candidates.ids.shape[0], candidates.ids.shape[1]),
            entities=len(kb),
        )

    @cached_property
    def group_size(self) -> np.ndarray:
        """Mentions that share each edge's (surface group, hub)."""
        pairs = np.sort(self.group_slot * self.shape[0] + self.mention)
        pairs = pairs[np.diff(pairs, prepend=-1) > 0]
        return np.bincount(pairs // self.shape[0])[self.group_slot].astype(np.float32)

    def support(self, belief: np.ndarray, level: str = "document", how: str = "max") -> np.ndarray:
        """`[M, k]` float32: how much the other names of the document (or sentence) speak for each candidate.

        Each name spreads its belief over the hubs of its candidates (averaged over its mentions); a candidate
        collects what other names sent to its hubs.

        Args:
            belief: `[M, k]` weights of the candidates, for instance p(e|m).
            level: "document" or "sentence", where the other names are looked for.
            how: "max" takes a candidate's best hub, "sum" adds its hubs.
        """
        return self.collect(self.received(belief, level), how)

    def received(self, belief: np.ndarray, level: str = "document") -> np.ndarray:
        """`[E]` what reaches each edge's candidate from other names; see `support`."""
        sent = belief.ravel()[self.cell]
        if level == "document":
            own_slot, slot, share = self.group_slot, self.doc_slot, sent / self.group_size
        else:
            own_slot, slot, share = self.sentence_group_slot, self.sentence_slot, sent
        own = np.bincount(own_slot, share)
        total = np.bincount(slot, share)
        return np.asarray(total[slot] - own[own_slot])

    def shared(self, values: np.ndarray, table: MentionTable, candidates: Candidates) -> np.ndarray:
        """`[M, k]` mean of `values` over the mentions of a document with one name, candidate by candidate."""
        key = np.where(candidates.mask, table.surface_group[:, None] * self.entities + candidates.ids, -1)
        slot = dense(key.ravel())
        mean = np.bincount(slot, values.ravel()) / np.bincount(slot)
        return np.where(candidates.mask, mean[slot].reshape(values.shape), 0).astype(np.float32)

    def collect(self, received: np.ndarray, how: str) -> np.ndarray:
        """`[M, k]` float32 from values on edges `[E]`: the largest, or the sum, over each candidate's hubs."""
        size = self.shape[0] * self.shape[1]
        if how == "sum":
            return np.bincount(self.cell, received, size).reshape(self.shape).astype(np.float32)
        out = np.zeros(size, np.float32)
        if len(self.cell):
            starts = np.flatnonzero(np.diff(self.cell, prepend=-1))
            out[self.cell[starts]] = np.maximum(np.maximum.reduceat(received, starts), 0)
        return out.reshape(self.shape)

    def pagerank(self, prior: np.ndarray, doc: np.ndarray, teleport: float = 0.2, rounds: int = 5) -> np.ndarray:
        """`[M, k]` float32 personalised PageRank within each document, restarting at p(e|m) (Pershina et al. 2015).

        Args:
            prior: `[M, k]` p(e|m), 0 at pads. doc: `[M]` document of each mention.
            teleport: probability of a restart. rounds: steps of the power iteration.
        """
        weight = prior.ravel() + 1e-4 * (prior.ravel() > 0)
        row_doc = np.repeat(doc, self.shape[1])
        start = weight / np.maximum(np.bincount(row_doc, weight)[row_doc], 1e-12)
        degree = np.bincount(self.cell, minlength=len(start))
        hub_degree = np.bincount(self.doc_slot)
        rank = start.copy()
        for _ in range(rounds):
            to_hub = np.bincount(self.doc_slot, (rank / np.maximum(degree, 1))[self.cell])
            back = np.bincount(self.cell, (to_hub / hub_degree)[self.doc_slot], len(rank))
            rank = teleport * start + (1 - teleport) * np.where(degree > 0, back, rank)
        return rank.reshape(self.shape).astype(np.float32)


def hubs_of(entities: np.ndarray, kb: KnowledgeBase, most: int = MAX_HUBS) -> tuple[np.ndarray, np.ndarray]:
    """`(position in entities, hub)` pairs: every entity itself, then the first `most` entities it links to."""
    pointer, links = kb.links.indptr, kb.links.indices
    unique, inverse = np.unique(entities, return_inverse=True)
    begin = np.asarray(pointer[unique], np.int64)
    count = np.minimum(np.asarray(pointer[unique + 1], np.int64) - begin, most) + 1
    per_entity = count[inverse]
    position = np.repeat(np.arange(len(entities)), per_entity)
    step = np.arange(len(position)) - np.repeat(np.cumsum(per_entity) - per_entity, per_entity)
    source = inverse[position]
    at = begin[source] + step - 1
    linked = np.asarray(links[np.where(step > 0, at, 0)], np.int64) if len(links) else np.zeros(len(at), np.int64)
    hub = np.where(step > 0, linked, entities[position])
    once = (step == 0) | (hub != entities[position])  # a link to itself adds nothing
    return position[once], hub[once]


def dense(keys: np.ndarray) -> np.ndarray:
    """Keys renumbered 0, 1, ... in sorted order."""
    return np.asarray(np.unique(keys, return_inverse=True)[1], np.int64)


def numbered(keys: np.ndarray, limit: int) -> tuple[np.ndarray, int]:
    """`dense(keys)` of keys in 0 .. limit - 1, and how many distinct ones there are."""
    if limit > _TABLE * len(keys):
        unique, number = np.unique(keys, return_inverse=True)
        return np.asarray(number, np.int64), len(unique)
    # Marks in a table instead of a sort: most keys are there many times.
    there = np.zeros(limit, bool)
    there[keys] = True
    number = np.cumsum(there, dtype=np.int32)
    return (number[keys] - 1).astype(np.int64), int(number[-1]) if limit else 0


def _owned(slot: np.ndarray, mention: np.ndarray, owner: np.ndarray, table: MentionTable) -> np.ndarray:
    """Dense index of (owner, hub) for each edge.

    Args:
        slot: `[E]` dense (document, hub). mention: `[E]`. owner: `[M]` what in one document shares the hub, such as a
            sentence; no owner is in two documents, and those of a document lie close together.
    """
    if not len(slot):
        return slot
    # Each document has a block of its hubs times its owners.
    some = np.flatnonzero(np.diff(table.first))
    low, width = np.zeros((2, len(table.documents)), np.int64)
    low[some] = np.minimum.reduceat(owner, table.first[some])
    width[some] = np.maximum.reduceat(owner, table.first[some]) + 1 - low[some]
    doc_of_slot = np.zeros(int(slot.max()) + 1, np.int64)
    doc_of_slot[slot] = table.doc[mention]
    first = np.searchsorted(doc_of_slot, np.arange(len(low) + 1))
    ends = np.cumsum(np.diff(first) * width)
    block = ends - np.diff(first) * width
    doc = table.doc[mention]
    key = block[doc] + (slot - first[doc]) * width[doc] + owner[mention] - low[doc]
    return numbered(key, int(ends[-1]))[0]

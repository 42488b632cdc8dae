"""Minibatches of whole documents as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mmel.candidates.graph import dense, numbered
from mmel.text.fusion_inputs import FusionBatch, FusionInputs
from mmel.text.modalities import FULL, GROUPS, Drawn, allowed, sides
from mmel.text.mulrel import bucket_documents, chunk_mentions
from mmel.text.prepare import TextInputs


@dataclass(frozen=True)
class LinkEdges:
    """The candidate graph of a batch: E edges between candidate cells and hubs (see CandidateGraph).

    `cell` indexes the batch's `[m * k]` cells; the slots are dense within the batch. `share` is one over the number
    of mentions that share the edge's name and hub.
    """

    cell: Tensor
    doc_slot: Tensor
    group_slot: Tensor
    sentence_slot: Tensor
    sentence_group_slot: Tensor
    share: Tensor


@dataclass(frozen=True)
class BatchPictures:
    """Modalities of m mentions, see `mmel.text.modalities`.

    `available` `[m, k, 4]` which groups of columns a candidate has; `permitted` `[m, 4]` which a mention's task may
    read; `evidence` `[m, E]` of its pictures.
    """

    available: Tensor
    permitted: Tensor
    evidence: Tensor


@dataclass(frozen=True)
class TextBatch:
    """m mentions of some documents, k candidates each.

    Attributes:
        rows: `[m]` row of each mention in its `TextInputs`.
        place: `[D, n]` which of the m mentions stands at each place of each document piece, -1 pads.
        features: `[m, k, F]`; mask `[m, k]`; gold `[m]` column or -1; prior `[m, k]` p(e|m).
        vectors: `[u, d + e]` title vectors and entity vectors of the distinct candidates; slot `[m, k]` indexes them.
        views: `[m, V, d]` contexts.
        tokens: `[t, d]` distinct context tokens; word `[m, W]` indexes them, where word_mask `[m, W]` (W = 0: unused).
        sentence, group: `[m]` ids; position `[m]` of the mention in its document.
        same_name, same_doc: `[m * k]` slots shared by cells of one entity under one name, and in one document piece.
        fusion: what the scorer `fusion` reads, where it is on.
        pictures: where the scorer `pictures` is on.
    """

    rows: np.ndarray
    place: Tensor
    features: Tensor
    mask: Tensor
    gold: Tensor
    prior: Tensor
    vectors: Tensor
    slot: Tensor
    views: Tensor
    tokens: Tensor
    word: Tensor
    word_mask: Tensor
    sentence: Tensor
    group: Tensor
    position: Tensor
    same_name: Tensor
    same_doc: Tensor
    edges: LinkEdges
    fusion: FusionBatch | None = None
    pictures: BatchPictures | None = None

    @property
    def entities(self) -> Tensor:
        """`[m, k, d + e]` vectors of the candidates."""
        return functional.embedding(self.slot, self.vectors)

    @property
    def words(self) -> Tensor:
        """`[m, W, d]` vectors of the context tokens."""
        return functional.embedding(self.word, self.tokens)

    def to(self, device: torch.device) -> TextBatch:
        """The batch on a device."""
        if device.type == "cpu":
            return self
        moved: dict[str, Any] = {f.name: _moved(getattr(self, f.name), device) for f in fields(self)}
        return replace(self, **moved)


def _moved(value: object, device: torch.device) -> object:
    if isinstance(value, LinkEdges | BatchPictures):
        return type(value)(*(getattr(value, f.name).to(device) for f in fields(value)))
    return value.to(device) if isinstance(value, Tensor | FusionBatch) else value


def plan_batches(
    inputs: TextInputs, max_pairs: int, max_mentions: int, order: np.random.Generator | None = None
) -> list[list[tuple[int, int]]]:
    """Batches of document pieces as mention ranges `(first, end)`, bounded by `D * n_max ** 2 <= max_pairs`.

    `order` mixes which documents of like size meet; None keeps their order.
    """
    first = inputs.table.first
    pieces = [
        (int(first[d]) + a, int(first[d]) + b) for d, a, b in chunk_mentions(np.diff(first).tolist(), max_mentions)
    ]
    if order is not None:
        pieces = [pieces[i] for i in order.permutation(len(pieces))]
    return [[pieces[i] for i in batch] for batch in bucket_documents([b - a for a, b in pieces], max_pairs)]


def make_batch(
    inputs: TextInputs, pieces: Sequence[tuple[int, int]], with_words: bool = True, drawn: Drawn | None = None
) -> TextBatch:
    """Tensors of the mentions in `pieces` (mention ranges, each within one document).

    drawn: the task of each, and whether it sees swapped pictures; None: all that it has.
    """
    rows = np.concatenate([np.arange(a, b) for a, b in pieces])
    width = max(b - a for a, b in pieces)
    place = np.full((len(pieces), width), -1, np.int64)
    at = 0
    for i, (a, b) in enumerate(pieces):
        place[i, : b - a] = np.arange(at, at + b - a)
        at += b - a
    piece = np.repeat(np.arange(len(pieces)), [b - a for a, b in pieces])
    table, candidates = inputs.table, inputs.candidates
    ids, mask = candidates.ids[rows], candidates.mask[rows]
    distinct, slot = _distinct(inputs.slot[rows], len(inputs.titles))
    words = inputs.context.words[rows] if with_words else np.full((len(rows), 0), -1, np.int64)
    read, word = _distinct(np.maximum(words, 0), len(inputs.context.tokens))
    features, pictures = _seen(inputs, rows, drawn)
    return TextBatch(
        rows=rows,
        place=torch.from_numpy(place),
        features=torch.from_numpy(features),
        mask=torch.from_numpy(mask),
        gold=torch.from_numpy(inputs.gold[rows]),
        prior=torch.from_numpy(candidates.prior[rows]),
        vectors=torch.from_numpy(np.concatenate([inputs.titles[distinct], inputs.entities[distinct]], -1)).float(),
        slot=slot,
        views=torch.from_numpy(inputs.context.views[rows]),
        tokens=torch.from_numpy(inputs.context.tokens[read]).float(),
        word=word,
        word_mask=torch.from_numpy(words >= 0),
        sentence=torch.from_numpy(table.sentence[rows]),
        group=torch.from_numpy(table.surface_group[rows]),
        position=torch.from_numpy(rows - table.first[table.doc[rows]]),
        same_name=_shared(_pairs(piece, table.surface_group[rows]), ids),
        same_doc=_shared(piece, ids),
        edges=_edges(inputs, pieces),
        fusion=None if inputs.fusion is None else _fused(inputs.fusion, rows, inputs.slot[rows], drawn),
        pictures=pictures,
    )


def _fused(inputs: FusionInputs, rows: np.ndarray, slot: np.ndarray, drawn: Drawn | None) -> FusionBatch:
    """What the scorer `fusion` reads of `rows`: what their tasks allow, with the pictures that were drawn."""
    if drawn is None:
        return FusionBatch.of(inputs, rows, slot)
    return FusionBatch.of(inputs, rows, slot, sides(drawn.allowed), drawn.swapped)


def _seen(inputs: TextInputs, rows: np.ndarray, drawn: Drawn | None) -> tuple[np.ndarray, BatchPictures | None]:
    """The features of `rows`, and their modalities where pictures are scored."""
    features, own = inputs.features[rows], inputs.pictures
    if own is None:
        return features, None
    available, evidence = own.available[rows], own.evidence[rows]
    permitted = np.ones((len(rows), len(GROUPS)), bool) if drawn is None else drawn.allowed
    own_pictures = np.full(len(rows), -1) if drawn is None else drawn.swapped
    for number, other in enumerate(inputs.swapped):
        at = own_pictures == number
        features[at, :, -other.values.shape[-1] :] = other.values[rows[at]]
        available[at], evidence[at] = other.available[rows[at]], other.evidence[rows[at]]
    return features, BatchPictures(*(torch.from_numpy(one) for one in (available, permitted, evidence)))


def iterate_batches(
    inputs: TextInputs, max_pairs: int, max_mentions: int, with_words: bool = True, task: str = FULL
) -> Iterator[TextBatch]:
    """All mentions of `inputs` in batches, one after the other; `task` is one of `mmel.text.modalities.TASKS`."""
    for pieces in plan_batches(inputs, max_pairs, max_mentions):
        mentions = sum(b - a for a, b in pieces)
        drawn = None if task == FULL else Drawn(np.tile(allowed(task), (mentions, 1)), np.full(mentions, -1))
        yield make_batch(inputs, pieces, with_words, drawn)


def _distinct(index: np.ndarray, size: int) -> tuple[np.ndarray, Tensor]:
    """The distinct values of `index` (0 to size - 1), ascending, and which of them each is."""
    number, count = numbered(index.ravel(), size)
    distinct = np.zeros(count, np.int64)
    distinct[number] = index.ravel()
    return distinct, torch.from_numpy(number.reshape(index.shape))


def _shared(owner: np.ndarray, ids: np.ndarray) -> Tensor:
    """`[m * k]` dense slots of (owner, entity); all pads share one slot."""
    stride = int(ids.max(initial=0)) + 1
    return torch.from_numpy(dense(np.where(ids >= 0, owner[:, None] * stride + ids, -1).ravel()))


def _pairs(piece: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """Dense index of (piece, slot): pieces of one document share nothing, whether or not they meet in a batch."""
    return dense(piece * (slot.max(initial=0) + 1) + slot)


def _edges(inputs: TextInputs, pieces: Sequence[tuple[int, int]]) -> LinkEdges:
    graph, k = inputs.graph, inputs.candidates.ids.shape[1]
    low = np.searchsorted(graph.mention, [a for a, _ in pieces], side="left").tolist()
    high = np.searchsorted(graph.mention, [b for _, b in pieces], side="left").tolist()
    ranges = list(zip(low, high, strict=True))
    before = np.cumsum([0, *(b - a for a, b in pieces)]).tolist()
    shift = [(at - a) * k for at, (a, _) in zip(before, pieces, strict=False)]
    cell = np.concatenate([graph.cell[a:b] + by for (a, b), by in zip(ranges, shift, strict=True)])
    slots = (graph.doc_slot, graph.group_slot, graph.sentence_slot, graph.sentence_group_slot)
    doc, group, sentence, sentence_group = (_renumbered(slot, ranges) for slot in slots)
    share = torch.from_numpy(1 / np.concatenate([graph.group_size[a:b] for a, b in ranges]))
    return LinkEdges(torch.from_numpy(cell), doc, group, sentence, sentence_group, share)


def _renumbered(slot: np.ndarray, ranges: Sequence[tuple[int, int]]) -> Tensor:
    """Dense slots of the edges in `ranges`, one range a piece, between which none is shared.

    Those of a document lie close together, so that a shift keeps pieces apart.
    """
    parts, size = [], 0
    for a, b in ranges:
        if b > a:
            part = slot[a:b]
            low = part.min()
            parts.append(part + (size - low))
            size += int(part.max() - low) + 1
    return torch.from_numpy(numbered(np.concatenate(parts), size)[0] if parts else slot[:0])

"""Dense retrieval by a bi-encoder (Wu et al. 2020, BLINK): a frozen sentence encoder with a trained head on each side.

A mention is read twice: its name, and its name in quotation marks between what stands left and right of it. An entity
is read as the text model reads it. Untrained heads leave plain cosine: of the mean of the mention's two vectors with
the entity's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mmel.candidates.folds import document_folds
from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retrieved
from mmel.encoders.entities import EntityVectors
from mmel.encoders.text import CachedTextEncoder
from mmel.kb import KnowledgeBase
from mmel.parallel import one_thread
from mmel.retrieval_settings import DenseTrainConfig
from mmel.vision.index import VectorIndex, build_index, pair_scores

SIDE = 160  # characters read on each side of a mention, cut at words
_EXACT = 200_000  # entities that are all compared; of more an index finds the nearest
_ROWS = 8192  # entities that go through the head at a time


class Heads(nn.Module):
    """Linear maps of a mention's two vectors and of an entity's vector to unit vectors of one space.

    They begin as plain cosine: the mean of the mention's vectors, and the entity's vector as it is.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        # What is learned is the difference to plain cosine, which weight decay pulls to zero.
        self.mention = nn.Parameter(torch.zeros(2 * dim, dim))
        self.entity = nn.Parameter(torch.zeros(dim, dim))

    def mentions(self, vectors: Tensor) -> Tensor:
        """`[m, d]` unit of `[m, 2, d]`."""
        return functional.normalize(vectors.mean(1) + vectors.flatten(1) @ self.mention, dim=-1)

    def entities(self, vectors: Tensor) -> Tensor:
        """`[e, d]` unit of `[e, d]`."""
        return functional.normalize(vectors + vectors @ self.entity, dim=-1)


@dataclass
class DenseRetriever:
    """Entities whose text is near the mention in its context.

    Attributes:
        entities: vectors of entities under the same encoder.
        heads: trained on all documents; `held_out` those of each fold of documents, trained without it, which score the
            training documents.
    """

    kb: KnowledgeBase
    encoder: CachedTextEncoder
    entities: EntityVectors
    heads: Heads
    held_out: Sequence[Heads] = ()

    name = "dense"

    def __post_init__(self) -> None:
        self._index: VectorIndex | None = None

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        """See Retriever."""
        ids, scores = np.full((len(table), k), -1, np.int64), np.zeros((len(table), k), np.float32)
        for rows, index, queries in self._parts(table, leave_out):
            found, entities = index.search(queries, k)
            ids[rows], scores[rows] = entities, np.where(entities >= 0, found, 0)
        return Retrieved(ids, scores)

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """See Retriever."""
        scores = np.zeros(ids.shape, np.float32)
        for rows, index, queries in self._parts(table, leave_out):
            scores[rows] = pair_scores(index.rows, queries, ids[rows])
        return np.where(ids >= 0, scores, 0)

    def _parts(self, table: MentionTable, leave_out: bool) -> Iterator[tuple[np.ndarray, VectorIndex, np.ndarray]]:
        """Mentions that share their heads, with the index of all entities and `[m, d]` queries under these."""
        vectors = mention_vectors(table, self.encoder)
        if not (leave_out and self.held_out):
            if self._index is None:
                self._index = self._indexed(self.heads)
            yield np.arange(len(table)), self._index, _mapped(self.heads.mentions, vectors)
            return
        fold = document_folds(table.documents, len(self.held_out))[table.doc]
        for number, heads in enumerate(self.held_out):
            rows = np.flatnonzero(fold == number)
            if len(rows):
                yield rows, self._indexed(heads), _mapped(heads.mentions, vectors[rows])

    def _indexed(self, heads: Heads) -> VectorIndex:
        everything = np.arange(len(self.kb))
        parts = (everything[start : start + _ROWS] for start in range(0, len(everything), _ROWS))
        rows = [_mapped(heads.entities, self.entities.vectors(self.kb, part)) for part in parts]
        return build_index(np.concatenate(rows), "exact" if len(everything) <= _EXACT else "hnsw")

    def train(self, table: MentionTable, config: DenseTrainConfig, seed: int) -> DenseRetriever:
        """The retriever with heads that learned from the gold links of a table, and those held out."""
        if not config.epochs:
            return self
        known = np.flatnonzero(table.gold >= 0)
        vectors, gold = mention_vectors(table, self.encoder), table.gold
        fold = document_folds(table.documents, config.folds)[table.doc]
        entities = self.entities.vectors(self.kb, np.arange(len(self.kb)))
        held_out = []
        for number in range(config.folds):
            rows = known[fold[known] != number]
            held_out.append(train_heads(vectors[rows], gold[rows], entities, config, seed))
        heads = train_heads(vectors[known], gold[known], entities, config, seed)
        return DenseRetriever(self.kb, self.encoder, self.entities, heads, held_out)


def mention_texts(table: MentionTable) -> tuple[list[str], list[str]]:
    """The name of each mention, and the mention in quotation marks between its left and its right context."""
    marked = []
    for d, start, end, name in zip(
        table.doc.tolist(), table.start.tolist(), table.end.tolist(), table.name, strict=True
    ):
        text = table.documents[d].text
        left, right = text[max(start - SIDE, 0) : start], text[end : end + SIDE]
        if start > SIDE:
            left = left.partition(" ")[2]
        if end + SIDE < len(text):
            right = right.rpartition(" ")[0]
        marked.append(f'{left}"{name}"{right}')
    return list(table.name), marked


def mention_vectors(table: MentionTable, encoder: CachedTextEncoder) -> np.ndarray:
    """`[M, 2, d]` float16 unit vectors of what is read of each mention."""
    return np.stack([encoder.sentence_vectors(texts) for texts in mention_texts(table)], 1)


@one_thread()
def train_heads(
    vectors: np.ndarray, gold: np.ndarray, entities: np.ndarray, config: DenseTrainConfig, seed: int
) -> Heads:
    """Heads under which a mention's entity is nearer than those of the other mentions of its batch.

    Then further epochs with entities that these heads find nearest and that are wrong (Wu et al. 2020, section 4.2).

    Args:
        vectors: `[m, 2, d]` of mentions. gold: `[m]` row of each one's entity. entities: `[n, d]` of the whole base.
    """
    generator = torch.Generator().manual_seed(seed)
    heads = Heads(entities.shape[1])
    asked, right, table = torch.from_numpy(vectors).float(), torch.from_numpy(gold), torch.from_numpy(entities)
    if not len(gold):
        return heads
    optimizer = torch.optim.AdamW(heads.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    wrong: Tensor | None = None
    for epoch in range(config.epochs + config.hard_epochs):
        if epoch == config.epochs:
            wrong = torch.from_numpy(_mined(heads, vectors, gold, entities, config.mined))
        for rows in torch.randperm(len(right), generator=generator).split(config.batch):
            others = right[rows]
            if wrong is not None:
                drawn = torch.randint(wrong.shape[1], (len(rows), config.hard_negatives), generator=generator)
                others = torch.cat([others, wrong[rows].gather(1, drawn).flatten()])
            listed = torch.unique(others[others >= 0])
            cosines = heads.mentions(asked[rows]) @ heads.entities(table[listed].float()).T
            loss = functional.cross_entropy(cosines / config.temperature, torch.searchsorted(listed, right[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return heads.eval()


def _mined(heads: Heads, vectors: np.ndarray, gold: np.ndarray, entities: np.ndarray, count: int) -> np.ndarray:
    """`[m, count]` the nearest entities of each mention but its own, -1 pads."""
    index = build_index(_mapped(heads.entities, entities), "exact" if len(entities) <= _EXACT else "hnsw")
    near = index.search(_mapped(heads.mentions, vectors), count + 1)[1]
    order = np.argsort(near == gold[:, None], axis=1, kind="stable")[:, :count]
    return np.take_along_axis(near, order, 1)


@torch.inference_mode()
def _mapped(head: Callable[[Tensor], Tensor], vectors: np.ndarray) -> np.ndarray:
    return np.asarray(head(torch.from_numpy(vectors).float()).numpy())

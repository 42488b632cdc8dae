"""Retrieval by words: BM25 of mention and sentence against title and description.

Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", equation 3.15, with the inverse
document frequency log(1 + (n - df + 0.5) / (df + 0.5)), which is never negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retrieved, distinct
from mmel.candidates.retrieval.names import plain_name
from mmel.candidates.retrieval.sparse import SparseIndex

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

K1, B = 1.2, 0.75  # saturation of a word's count, and how much a text's length takes off


class Bm25Index:
    """Texts by their words, each word weighted as BM25 does."""

    def __init__(self, texts: Iterable[str]) -> None:
        from scipy.sparse import csr_matrix
        from sklearn.feature_extraction.text import CountVectorizer

        self._words = CountVectorizer(preprocessor=plain_name, token_pattern=r"[^\W_]+", dtype=np.float32)
        counts = self._words.fit_transform(texts)
        length = np.asarray(counts.sum(1))[:, 0]
        frequency = np.bincount(counts.indices, minlength=counts.shape[1])
        rarity = np.log1p((counts.shape[0] - frequency + 0.5) / (frequency + 0.5))
        discount = K1 * (1 - B + B * length / max(length.mean(), 1e-9))
        row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        weight = rarity[counts.indices] * counts.data * (K1 + 1) / (counts.data + discount[row])
        weights = csr_matrix((weight.astype(np.float32), counts.indices, counts.indptr), counts.shape)
        self.index = SparseIndex(weights, np.arange(counts.shape[0]))

    def queries(self, texts: list[str]) -> csr_matrix:
        """`[len(texts), words]` float32: how often each text has each word."""
        return self._words.transform(texts)


class Bm25Retriever:
    """Entities whose title and description share words with the mention and its sentence; the mention counts twice."""

    name = "bm25"

    def __init__(self, index: Bm25Index) -> None:
        self._texts = index

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        """See Retriever."""
        queries, place = self._queries(table)
        found = self._texts.index.search(queries, k)
        return Retrieved(found.ids[place], found.scores[place])

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """See Retriever."""
        queries, place = self._queries(table)
        return self._texts.index.score(queries, place, ids)

    def _queries(self, table: MentionTable) -> tuple[csr_matrix, np.ndarray]:
        sentences = table.sentence_texts()
        texts = [f"{name} {sentences[s]}" for name, s in zip(table.name, table.sentence.tolist(), strict=True)]
        texts, place = distinct(texts)
        return self._texts.queries(texts), place

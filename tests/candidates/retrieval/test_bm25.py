"""BM25 against its formula written out."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.candidates.retrieval.bm25 import K1, B, Bm25Index, Bm25Retriever
from mmel.kb import KnowledgeBase
from tests.tiny import document

TEXTS = ["salt road salt", "a road", "glass harbour at the salt road", "", "harbour"]


def formula(query: str, text: str) -> float:
    words = [each.split() for each in TEXTS]
    mean = sum(map(len, words)) / len(words)
    total = 0.0
    own = Counter(text.split())
    for word, asked in Counter(query.split()).items():
        df = sum(word in each for each in words)
        if df:
            idf = math.log(1 + (len(TEXTS) - df + 0.5) / (df + 0.5))
            tf = own[word]
            total += asked * idf * tf * (K1 + 1) / (tf + K1 * (1 - B + B * len(text.split()) / mean))
    return total


@pytest.mark.parametrize("query", ["salt", "road salt salt", "harbour unknown", "unknown", ""])
def test_scores_are_those_of_the_formula(query: str) -> None:
    index = Bm25Index(TEXTS)
    queries = index.queries([query])
    scores = index.index.score(queries, np.zeros(1, np.int64), np.arange(len(TEXTS))[None])
    expected = [formula(query, text) for text in TEXTS]
    np.testing.assert_allclose(scores[0], expected, rtol=1e-5)
    found = index.index.search(queries, 10)
    assert (found.ids[0] >= 0).sum() == np.count_nonzero(expected)
    assert found.ids[0, 0] == (int(np.argmax(expected)) if max(expected) else -1)


def test_the_sentence_speaks_and_the_mention_counts_twice(tiny_kb: KnowledgeBase) -> None:
    from mmel.text.entity_text import entity_text

    retriever = Bm25Retriever(Bm25Index(map(entity_text, tiny_kb)))
    text = "[Nobody] hides a ledger. [Nobody] loses a caravan, says [Mira]'s guide."
    table = MentionTable.of([document(text)], tiny_kb)
    found = retriever.retrieve(table, 3)
    assert tiny_kb.ids(found.ids[:2, 0]) == ["F2", "F1"]
    np.testing.assert_allclose(retriever.score(table, found.ids), found.scores, rtol=1e-5)
    ids = tiny_kb.indices(["C3"])[None].repeat(3, 0)
    scores = retriever.score(table, ids)[:, 0]
    assert scores[0] == 0 and scores[2] == pytest.approx(2 * scores[1], rel=1e-5)

"""The bi-encoder: plain cosine at first, what heads learn, and who is scored by which heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmel.candidates import MentionTable
from mmel.candidates.folds import document_folds
from mmel.candidates.retrieval.dense import (
    SIDE,
    DenseRetriever,
    Heads,
    mention_texts,
    mention_vectors,
    train_heads,
)
from mmel.document import Document, TextMention
from mmel.encoders.entities import SentenceVectors
from mmel.encoders.text import CachedTextEncoder
from mmel.kb import KnowledgeBase
from mmel.retrieval_settings import DenseTrainConfig
from mmel.text.entity_text import entity_texts
from tests.tiny import OneHotEncoder, document

WORDS = (
    "Salt Road film A caravan loses its guide Glass Harbour pilot hides ledger Mira Dole Otto smuggler Nobody leads "
    "Quillhaven Zero Ines Brandt Renn Voss"
)
DOCUMENTS = [document(f"[Nobody|F{1 + i % 2}] leads {('caravan', 'pilot')[i % 2]}", f"d{i}") for i in range(24)]


@pytest.fixture
def retriever(tiny_kb: KnowledgeBase, tmp_path: Path) -> DenseRetriever:
    encoder = CachedTextEncoder(OneHotEncoder(WORDS), tmp_path)
    return DenseRetriever(tiny_kb, encoder, SentenceVectors(encoder, entity_texts), Heads(encoder.encoder.dim))


def test_untrained_heads_are_plain_cosine(retriever: DenseRetriever) -> None:
    kb, encoder = retriever.kb, retriever.encoder
    table = MentionTable.of([document("The [Mira Dole] of a caravan. [Glass Harbour]")], kb)
    name, marked = mention_texts(table)
    assert name == ["Mira Dole", "Glass Harbour"]
    assert marked[0] == 'The "Mira Dole" of a caravan. Glass Harbour'
    query = encoder.sentence_vectors(name).astype(float) + encoder.sentence_vectors(marked)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    rows = encoder.sentence_vectors(entity_texts(np.arange(len(kb)), kb)).astype(float)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    expected = query @ rows.T
    everything = np.tile(np.arange(len(kb)), (2, 1))
    np.testing.assert_allclose(retriever.score(table, everything), expected, atol=2e-3)
    found = retriever.retrieve(table, 4)
    np.testing.assert_allclose(found.scores, -np.sort(-expected, axis=1)[:, :4], atol=2e-3)
    np.testing.assert_allclose(retriever.score(table, found.ids), found.scores, atol=1e-6)
    assert (retriever.score(table, np.full((2, 2), -1)) == 0).all()
    deeper = retriever.retrieve(table, 20)
    assert (deeper.ids[:, len(kb) :] == -1).all() and (deeper.scores[:, len(kb) :] == 0).all()


def test_contexts_are_cut_at_words(tiny_kb: KnowledgeBase) -> None:
    text = "begin " + "word " * 60 + "Mira " + "other " * 60 + "end"
    start = text.index("Mira")
    table = MentionTable.of([Document("d", text, text_mentions=(TextMention(start, start + 4, "Mira"),))], tiny_kb)
    marked = mention_texts(table)[1][0]
    assert marked.count('"Mira"') == 1 and len(marked) <= 2 * SIDE + 6
    assert set(marked.replace('"', "").split()) == {"word", "Mira", "other"}


def test_heads_learn_what_cosine_does_not_say(retriever: DenseRetriever) -> None:
    table = MentionTable.of(DOCUMENTS, retriever.kb)
    config = DenseTrainConfig(epochs=30, hard_epochs=5, batch=8, learning_rate=0.02, folds=2)
    trained = retriever.train(table, config, 0)
    assert (trained.retrieve(table, 1).ids[:, 0] == table.gold).all()
    again = retriever.train(table, config, 0)
    assert torch.equal(trained.heads.mention, again.heads.mention), "the same for the same seed"
    assert not torch.equal(trained.heads.mention, retriever.train(table, config, 1).heads.mention)
    assert retriever.train(table, config.model_copy(update={"epochs": 0}), 0) is retriever


def test_training_documents_are_scored_by_heads_that_did_not_see_them(retriever: DenseRetriever) -> None:
    table = MentionTable.of(DOCUMENTS, retriever.kb)
    config = DenseTrainConfig(epochs=3, hard_epochs=0, batch=8, folds=3)
    trained = retriever.train(table, config, 0)
    fold = document_folds(table.documents, 3)[table.doc]
    assert set(fold.tolist()) == {0, 1, 2}
    assert document_folds(DOCUMENTS[:1], 3)[0] == fold[0], "whatever stands beside it"
    left_out = trained.retrieve(table, 5, leave_out=True)
    np.testing.assert_allclose(trained.score(table, left_out.ids, leave_out=True), left_out.scores, atol=1e-6)
    vectors = mention_vectors(table, retriever.encoder)
    entities = retriever.entities.vectors(retriever.kb, np.arange(len(retriever.kb)))
    for number in range(3):
        others = fold != number
        heads = train_heads(vectors[others], table.gold[others], entities, config, 0)
        single = DenseRetriever(retriever.kb, retriever.encoder, retriever.entities, heads)
        np.testing.assert_array_equal(single.retrieve(table, 5).scores[~others], left_out.scores[~others])


def test_nothing_to_learn_from(retriever: DenseRetriever) -> None:
    table = MentionTable.of([document("[Nobody|NIL]")], retriever.kb)
    trained = retriever.train(table, DenseTrainConfig(epochs=1, folds=2), 0)
    assert not trained.heads.mention.detach().any()
    assert retriever.retrieve(MentionTable.of([], retriever.kb), 3).ids.shape == (0, 3)

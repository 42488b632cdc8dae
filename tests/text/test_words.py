"""Word overlap against scikit-learn's TF-IDF, with the knowledge base's own document frequencies."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mmel.candidates import CandidateGenerator, MentionTable
from mmel.kb import KnowledgeBase
from mmel.kb.names import fold
from mmel.text.entity_text import entity_texts, main_neighbour
from mmel.text.words import LINKED, word_overlap
from tests.tiny import ENTITIES, document


def test_document_frequencies_are_those_of_the_records(tiny_kb: KnowledgeBase) -> None:
    texts = [f"{e.title} {' '.join(a.name for a in e.aliases)} {e.description}" for e in ENTITIES]
    words = {w for text in texts for w in re.findall(r"[^\W_]+", fold(text))}
    expected = {w: sum(w in re.findall(r"[^\W_]+", fold(t)) for t in texts) for w in words}
    assert tiny_kb.word_frequencies(sorted(words | {"absent"})) == expected


def test_cosines_equal_scikit_learn(tiny_kb: KnowledgeBase) -> None:
    marked = "The guide [Mira|C1] and a caravan. Otto hides the ledger from [Mira|C3], the pilot said."
    table = MentionTable.of([document(marked), document("[Zero|X1] is quiet.", "e")], tiny_kb)
    listed = CandidateGenerator(tiny_kb)(table)
    neighbours = main_neighbour(np.maximum(listed.ids, 0).ravel(), tiny_kb).reshape(listed.ids.shape)
    found = word_overlap(table, listed.ids, neighbours, tiny_kb)
    sentences = ["The guide Mira and a caravan. ", "Otto hides the ledger from Mira, the pilot said.", "Zero is quiet."]
    queries = [[sentences[0] + sentences[1]] * 2 + [sentences[2]], sentences]
    for level, texts in enumerate(queries):
        for i, text in enumerate(texts):
            for j in np.flatnonzero(listed.ids[i] >= 0):
                other = entity_texts(neighbours[i, j : j + 1], tiny_kb, LINKED)[0]
                assert found[i, j, level] == pytest.approx(_reference(text, other, tiny_kb), abs=1e-5)
    assert (found[listed.ids < 0] == 0).all()


def _reference(text: str, other: str, kb: KnowledgeBase) -> float:
    count = TfidfVectorizer(
        preprocessor=fold, token_pattern=r"[^\W_]+", sublinear_tf=True, use_idf=False, norm=None
    ).fit([text, other])
    words = count.get_feature_names_out().tolist()
    known = kb.word_frequencies(words)
    weight = np.log(1 + len(kb) / (1 + np.array([known.get(w, 0) for w in words])))
    one, two = count.transform([text, other]).toarray() * weight
    return float(one @ two / np.sqrt((one @ one) * (two @ two)))

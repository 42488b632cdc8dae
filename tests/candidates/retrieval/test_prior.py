"""p(e|m) of counted links and aliases, the core of a name where nobody knows the name, and documents left out."""

from __future__ import annotations

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.retrieval.prior import PriorRetriever
from mmel.document import Document
from mmel.kb import KnowledgeBase
from tests.tiny import document

SEEN = [document("[Mira|C1] and [Mrs. Voss|C3] of [Elsewhere|NIL]", "1"), document("[Mira|C1] [Voss's|C1]", "2"),
        document("[Old Town|T1]", "3")]  # fmt: skip


def retrieved(kb: KnowledgeBase, *documents: Document, leave_out: bool = False, k: int = 5) -> list[dict[str, float]]:
    counts = AnnotationCounts.of(MentionTable.of(SEEN, kb), len(kb))
    retriever, table = PriorRetriever(kb, counts), MentionTable.of(documents, kb)
    found = retriever.retrieve(table, k, leave_out)
    np.testing.assert_array_equal(retriever.score(table, found.ids, leave_out), found.scores)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    everything = retriever.score(table, np.tile(np.arange(len(kb)), (len(table), 1)), leave_out)
    assert (everything.sum(1) < 1 + 1e-6).all()
    if k >= len(kb):
        np.testing.assert_allclose(everything.sum(1), found.scores.sum(1), rtol=1e-6)
    return [
        dict(zip(kb.ids(ids[ids >= 0]), scores[ids >= 0].tolist(), strict=True))
        for ids, scores in zip(*found, strict=True)
    ]


def test_dictionaries_that_know_the_name_are_averaged(tiny_kb: KnowledgeBase) -> None:
    rows = retrieved(tiny_kb, document("[Mira] [mira] [Otto] [Old Town] [Nobody]"), k=20)
    assert rows[0] == rows[1] == pytest.approx({"C1": (1 + 0.4) / 2, "C3": 0.6 / 2})
    assert rows[2] == pytest.approx({"C2": 0.5, "C4": 0.5})
    assert rows[3:] == [{"T1": 1}, {}]


def test_the_core_is_asked_where_the_name_is_unknown(tiny_kb: KnowledgeBase) -> None:
    rows = retrieved(tiny_kb, document("[Mira's] [Dr. Voss] [Ines'] [mrs. voss] [Renn (guide)]"), k=20)
    assert rows[0] == pytest.approx({"C1": 0.7, "C3": 0.3})
    assert rows[1] == pytest.approx({"C3": 0.5, "C1": 0.5}), "Mrs. Voss and Voss's are both Voss"
    assert rows[2] == {"P1": 1} and rows[3] == {"C3": 1}, "as it is written comes first"
    assert rows[4] == {"C2": 1}


def test_a_document_does_not_see_its_own_links(tiny_kb: KnowledgeBase) -> None:
    rows = retrieved(tiny_kb, *SEEN, leave_out=True, k=20)
    names = [mention.text for each in SEEN for mention in each.text_mentions]
    own = dict(zip(zip(names, range(len(names)), strict=True), rows, strict=True))
    assert own["Mira", 0] == pytest.approx({"C1": 0.7, "C3": 0.3}), "the other document says C1 too"
    assert own["Mrs. Voss", 1] == {"C1": 1}, "only the other's Voss's is left"
    assert own["Voss's", 4] == {"C3": 1}
    assert own["Old Town", 5] == {}


def test_cut_to_k_and_without_counts(tiny_kb: KnowledgeBase) -> None:
    assert retrieved(tiny_kb, document("[Mira]"), k=1) == [pytest.approx({"C1": 0.7})]
    retriever = PriorRetriever(tiny_kb, None)
    table = MentionTable.of([document("[Mira] [Nobody]")], tiny_kb)
    assert tiny_kb.ids(retriever.retrieve(table, 1).ids[:1, 0]) == ["C3"]
    empty = MentionTable.of([], tiny_kb)
    assert retriever.retrieve(empty, 3).ids.shape == (0, 3)

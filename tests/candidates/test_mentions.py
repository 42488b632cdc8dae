from __future__ import annotations

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.document import NIL, Document, TextMention
from mmel.kb import KnowledgeBase
from tests.tiny import document


def test_table_of_two_documents(tiny_kb: KnowledgeBase) -> None:
    first = document("[Mira|C1] met [Otto|NIL]. Then [mira|C3] left [Nemo|Q404].", "a")
    second = document("[Mira] alone", "c")
    table = MentionTable.of([first, Document("b", "no names"), second], tiny_kb)
    assert len(table) == 5
    assert table.doc.tolist() == [0, 0, 0, 0, 2]
    assert table.first.tolist() == [0, 4, 4, 5]
    assert table.surface == ["Mira", "Otto", "mira", "Nemo", "Mira"]
    assert table.gold.tolist() == [*tiny_kb.indices(["C1"]), -1, *tiny_kb.indices(["C3"]), -1, -1]
    assert table.labelled.tolist() == [True, True, True, True, False]
    assert table.sentence.tolist() == [0, 0, 1, 1, 3]
    # One name of one document, whatever its case.
    assert table.surface_group.tolist() == [0, 1, 0, 2, 3]
    assert [first.text[s:e] for s, e in zip(table.start[:4], table.end[:4], strict=True)] == table.surface[:4]


def test_resolved_names_group_and_surfaces_stay(tiny_kb: KnowledgeBase) -> None:
    mentions = (
        TextMention(0, 4, "Mira", name="Mira Dole"),
        TextMention(9, 18, "Mira Dole"),
        TextMention(23, 27, "Mira"),
    )
    table = MentionTable.of([Document("d", "Mira and Mira Dole and Mira", text_mentions=mentions)], tiny_kb)
    assert table.name == ["Mira Dole", "Mira Dole", "Mira"]
    assert table.surface == ["Mira", "Mira Dole", "Mira"]
    assert table.surface_group.tolist() == [0, 0, 1]


@pytest.mark.parametrize("documents", [[], [Document("d", "")], [Document("d", "text"), Document("e", "text")]])
def test_nothing_to_link(tiny_kb: KnowledgeBase, documents: list[Document]) -> None:
    table = MentionTable.of(documents, tiny_kb)
    assert len(table) == 0
    assert table.first.tolist() == [0] * (len(documents) + 1)


def test_documents_together_are_the_documents_one_by_one(tiny_kb: KnowledgeBase) -> None:
    texts = ["[Mira|C1]. [Otto|C2] and [Mira|C3].\n[Ines|NIL]", "none", "[Otto|C4] and [otto|C2]. Then [Zero|X1]"]
    documents = [document(text, str(i)) for i, text in enumerate(texts)]
    whole = MentionTable.of(documents, tiny_kb)
    for d, one in enumerate(documents):
        rows = slice(whole.first[d], whole.first[d + 1])
        alone = MentionTable.of([one], tiny_kb)
        for field in ("start", "end", "gold", "labelled"):
            np.testing.assert_array_equal(getattr(whole, field)[rows], getattr(alone, field))
        for field in ("sentence", "surface_group"):
            np.testing.assert_array_equal(_ranks(getattr(whole, field)[rows]), _ranks(getattr(alone, field)))
    assert len(set(whole.sentence.tolist()) & set(range(3))) == 3
    assert NIL not in whole.surface


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1]

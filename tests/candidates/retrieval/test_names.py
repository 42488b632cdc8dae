"""Names in two parts, initials, and what is found by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.candidates.retrieval.names import INITIALS, NameIndex, NameRetriever, initials, name_parts, plain_name
from mmel.document import Alias, Entity
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from tests.tiny import document


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Iran's", ("iran", "")),
        ("Knights’", ("knights", "")),
        ("President da Silva", ("da silva", "president")),
        ("U.S. Senator John Doe", ("u.s. senator john doe", "")),
        ("Mr. Foxx", ("foxx", "mr.")),
        ("Vice President", ("president", "vice")),
        ("President", ("president", "")),
        ("King of Siam", ("king of siam", "")),
        ("Fred (footballer, born 1979)", ("fred", "footballer, born 1979")),
        ("Salt Road (1990 film), part 2", ("salt road", "1990 film , part 2")),
        ("Springfield, Illinois", ("springfield", "illinois")),
        ("(untitled)", ("(untitled)", "")),
        ("", ("", "")),
        ("Zoë  Ångström", ("zoe angstrom", "")),
    ],
)
def test_what_only_qualifies_a_name_stands_apart(name: str, parts: tuple[str, str]) -> None:
    assert name_parts(name) == parts
    assert plain_name(plain_name(name)) == plain_name(name)


@pytest.mark.parametrize(
    ("title", "letters"),
    [
        ("United Nations Security Council", "unsc"),
        ("Lord of the Salt", "ls"),
        ("Salt Road (1990 Film)", "sr"),
        ("Salt", ""),
        ("Été Île", "ei"),
    ],
)
def test_initials(title: str, letters: str) -> None:
    assert initials(title) == (letters)


ENTITIES = (
    Entity("A", "Ada Foxxe"),
    Entity("B", "Brannoch", aliases=(Alias("Highmoor"), Alias("The Moor"))),
    Entity("C", "Ada (river)"),
    Entity("D", "Northern Salt Traders"),
    Entity("E", "Ada Quill"),
    Entity("F", "Ada"),
)


@pytest.fixture
def retriever(tmp_path: Path) -> tuple[NameRetriever, KnowledgeBase]:
    build(ENTITIES, tmp_path / "kb")
    kb = KnowledgeBase.open(tmp_path / "kb")
    return NameRetriever(NameIndex(kb)), kb


def found(retriever: tuple[NameRetriever, KnowledgeBase], name: str, k: int = 3) -> list[tuple[str, Any]]:
    table = MentionTable.of([document(f"[{name}]")], retriever[1])
    ids, scores = retriever[0].retrieve(table, k)
    kept = ids[0] >= 0
    return list(zip(retriever[1].ids(ids[0][kept]), scores[0][kept].tolist(), strict=True))


def test_titles_aliases_and_initials_are_names(retriever: tuple[NameRetriever, KnowledgeBase]) -> None:
    assert found(retriever, "Ada Foxxe", 1) == [("A", pytest.approx(1))]
    assert found(retriever, "HIGHMOOR", 1) == [("B", pytest.approx(1))]
    assert found(retriever, "NST", 1) == [("D", pytest.approx(INITIALS))]


def test_possessives_and_forms_of_address_spoil_nothing(retriever: tuple[NameRetriever, KnowledgeBase]) -> None:
    assert found(retriever, "Brannoch's", 1) == found(retriever, "Brannoch", 1)
    assert found(retriever, "President Foxxe", 1)[0][0] == found(retriever, "Foxxe", 1)[0][0] == "A"
    assert found(retriever, "Foxx", 1)[0][0] == "A", "a letter left out"


def test_what_is_in_brackets_weighs_less(retriever: tuple[NameRetriever, KnowledgeBase]) -> None:
    names = [name for name, _ in found(retriever, "Ada", 4)]
    assert names[:2] == ["F", "C"] and set(names[2:]) == {"A", "E"}


def test_nothing_alike_finds_nothing(retriever: tuple[NameRetriever, KnowledgeBase]) -> None:
    assert found(retriever, "%%%") == found(retriever, "zzz") == []


def test_scores_of_any_entity_are_those_of_retrieval(retriever: tuple[NameRetriever, KnowledgeBase]) -> None:
    table = MentionTable.of([document("[Ada] and [Moor] and [Ada]")], retriever[1])
    retrieved = retriever[0].retrieve(table, 8)
    np.testing.assert_allclose(retriever[0].score(table, retrieved.ids), retrieved.scores, rtol=1e-5)
    np.testing.assert_array_equal(retrieved.ids[0], retrieved.ids[2])
    assert (np.diff(retrieved.scores, axis=1) <= 0).all()
    everything = np.tile(np.arange(len(retriever[1])), (3, 1))
    assert ((retriever[0].score(table, everything) > 0).sum(1) == (retrieved.ids >= 0).sum(1)).all()

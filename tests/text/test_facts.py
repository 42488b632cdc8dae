"""Plain facts against sums by hand: words of titles and descriptions, years, full names with initials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.candidates import MentionTable
from mmel.document import Document, Entity, TextMention
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.text.facts import NAMES, facts, full_name, match_names

PEOPLE = [
    Entity("Q1", "Ann Vale", description="Birth: 1850, Rome. Death: 1900. Occupation: painter. Spouse: Otto Brand."),
    Entity("Q2", "Ann Vale (tennis)", description="Birth: 1980. Occupation: tennis player."),
    Entity("Q3", "Otto Brand", description=""),
]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> KnowledgeBase:
    folder = tmp_path_factory.mktemp("facts") / "kb"
    build(PEOPLE, folder, name="people")
    return KnowledgeBase.open(folder)


def _columns(kb: KnowledgeBase, text: str, *surfaces: str) -> dict[str, np.ndarray]:
    mentions = tuple(TextMention(text.index(s), text.index(s) + len(s), s) for s in surfaces)
    table = MentionTable.of([Document("d", text, text_mentions=mentions)], kb)
    ids = np.array([[*kb.indices(["Q1", "Q2", "Q3"]), -1]] * len(surfaces))
    out = facts(table, ids, kb, [text] * len(surfaces))
    assert (out[:, -1] == 0).all()
    return dict(zip(NAMES, np.moveaxis(out[:, :3], -1, 0), strict=True))


def _weight(kb: KnowledgeBase, *words: str) -> float:
    seen = kb.word_frequencies(list(words))
    return sum(math.log((len(kb) + 1) / (seen.get(w, 0) + 1)) + 0.01 for w in words)


def test_shares_are_sums_of_weights(people: KnowledgeBase) -> None:
    found = _columns(people, "Vale's tennis match with Brand the painter in 1990", "Vale", "Brand")
    share = _weight(people, "vale") / _weight(people, "ann", "vale")
    assert found["title_in_name"][0] == pytest.approx([share, share, 0], abs=1e-6)
    assert found["name_in_title"][0] == pytest.approx([1, 1, 0])
    assert found["qualifier_in_sentence"][0] == pytest.approx([0, 1, 0])
    assert found["sentence_in_description"][0, 0] == pytest.approx(math.log1p(_weight(people, "painter", "brand")))
    assert found["other_names_in_description"][0] == pytest.approx([math.log1p(_weight(people, "brand")), 0, 0])
    brand = _weight(people, "brand") / _weight(people, "otto", "brand")
    assert found["title_in_other_names"][0] == pytest.approx([0, 0, brand], abs=1e-6)


def test_years_lie_within_a_life_or_so_many_apart(people: KnowledgeBase) -> None:
    found = _columns(people, "Vale in 1910", "Vale")
    assert found["within_years"][0].tolist() == [-1, -1, 0]
    assert found["years_apart"][0] == pytest.approx([10 / 50, 70 / 50, 0])
    assert _columns(people, "Vale in 1880", "Vale")["within_years"][0].tolist() == [1, -1, 0]
    assert _columns(people, "Vale at 1,880 metres", "Vale")["within_years"][0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("text", "surface", "expected"),
    [
        ("Charles O. Whitley in 1990", "Charles", "Charles O. Whitley"),
        ("the painter Oscar de la Renta smiled", "Oscar", "Oscar de la Renta"),
        ("Foxx's portrait of the year", "Foxx", "Foxx"),
        ("Minister William Burns, Rome", "William", "Minister William Burns"),
        ("of the Vale", "Vale", "Vale"),
    ],
)
def test_a_full_name_is_the_run_of_capitals(text: str, surface: str, expected: str) -> None:
    at = text.index(surface)
    assert full_name(text, at, at + len(surface)) == expected


def test_initials_match_and_middle_names_contradict() -> None:
    assert match_names(["edwin", "f", "sweet"], ["edwin", "forrest", "sweet"], {}) == pytest.approx(
        (2.5 / 3, 2.5 / 3, 0)
    )
    assert match_names(["henry", "m", "stanley"], ["edward", "stanley"], {})[2] == pytest.approx(0.1)
    assert match_names([], ["a"], {}) == (0, 0, 0)


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=5))
def test_a_name_matches_itself(words: list[str]) -> None:
    assert match_names(words, words, {}) == ((1, 1, 0) if words else (0, 0, 0))


def test_no_candidate_no_facts(people: KnowledgeBase) -> None:
    table = MentionTable.of([Document("d", "Vale", text_mentions=(TextMention(0, 4, "Vale"),))], people)
    assert (facts(table, np.full((1, 2), -1), people, ["Vale"]) == 0).all()


def test_other_names_are_those_of_another_surface(people: KnowledgeBase) -> None:
    from mmel.text.facts import _other_names, _words

    text = "Ann Vale met Otto Vale and Ann Vale; Rome. " * 3
    mentions = []
    for name in ("Ann Vale", "Otto Vale", "Rome"):
        at = -1
        while (at := text.find(name, at + 1)) >= 0:
            mentions.append(TextMention(at, at + len(name), name))
    documents = [Document("d", text, text_mentions=tuple(mentions)), Document("e", "Rome", text_mentions=())]
    table = MentionTable.of(documents, people)
    names = [_words(name) for name in table.name]
    group = table.surface_group
    twin = [{w for j in range(len(table)) if group[j] != group[i] for w in names[j]} for i in range(len(table))]
    assert _other_names(table, names) == twin

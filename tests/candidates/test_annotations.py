from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmel.candidates import MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.document import Document, Entity, TextMention
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from tests.tiny import ENTITIES

ids = st.sampled_from([entity.id for entity in ENTITIES[:4]])
mentions = st.tuples(st.sampled_from(["Ann", "ann", "Bo", "Ko"]), st.none() | st.just("NIL") | st.just("Q404") | ids)
corpora = st.lists(st.lists(mentions, max_size=5), max_size=4)
Corpus = Sequence[Sequence[tuple[str, str | None]]]
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def table_of(corpus: Corpus, kb: KnowledgeBase) -> MentionTable:
    documents: list[Document] = []
    for names in corpus:
        spans = [TextMention(3 * i, 3 * i + len(name), name, entity) for i, (name, entity) in enumerate(names)]
        documents.append(Document(str(len(documents)), " " * 20, text_mentions=tuple(spans)))
    return MentionTable.of(documents, kb)


def recount(table: MentionTable, row: int, entity: int, leave_out: bool) -> tuple[int, int, int]:
    """Links of (name, entity), of the name and to the entity, in all documents or in all but the mention's own."""
    counts: Counter[str] = Counter()
    for other in range(len(table)):
        if table.gold[other] < 0 or (leave_out and table.doc[other] == table.doc[row]):
            continue
        same_name = table.name[other].casefold() == table.name[row].casefold()
        same_entity = bool(table.gold[other] == entity)
        counts.update({"pair": same_name and same_entity, "name": same_name, "entity": same_entity})
    return counts["pair"], counts["name"], counts["entity"]


@given(corpus=corpora, leave_out=st.booleans())
@quick
def test_counts_are_those_of_a_recount(tiny_kb: KnowledgeBase, corpus: Corpus, leave_out: bool) -> None:
    table = table_of(corpus, tiny_kb)
    counts = AnnotationCounts.of(table, len(tiny_kb))
    asked = np.tile(np.array([0, 3, 1, 2, 9, -1]), (len(table), 1))
    pair, name, entity = counts.columns(table, asked, leave_out)
    for row in range(len(table)):
        for column, candidate in enumerate(asked[row]):
            expected = recount(table, row, candidate, leave_out)
            found = pair[row, column], name[row, 0], entity[row, column]
            assert found == (expected if candidate >= 0 else (0, expected[1], 0))


def test_documents_that_were_never_counted_have_nothing_to_leave_out(tiny_kb: KnowledgeBase) -> None:
    last = tiny_kb.ids([len(tiny_kb) - 1])[0]
    table = table_of([[("Ann", last), ("Bo", "C1")]], tiny_kb)
    nothing = AnnotationCounts({}, len(tiny_kb), np.empty(0, np.int64), np.empty(0, np.float32))
    asked = np.tile(np.arange(len(tiny_kb)), (len(table), 1))
    assert not any(column.any() for column in nothing.columns(table, asked, True))


@given(first=corpora, second=corpora)
@quick
def test_a_split_of_what_was_counted_is_left_out_too(tiny_kb: KnowledgeBase, first: Corpus, second: Corpus) -> None:
    """Training splits are prepared one by one with counts over all of them."""
    whole, part = table_of([*first, *second], tiny_kb), table_of(second, tiny_kb)
    counts = AnnotationCounts.of(whole, len(tiny_kb))
    rows = slice(int(whole.first[len(first)]), None)
    asked = np.tile(np.arange(4), (len(whole), 1))
    for all_of_it, of_the_split in zip(
        counts.columns(whole, asked, True), counts.columns(part, asked[rows], True), strict=True
    ):
        np.testing.assert_array_equal(all_of_it[rows], of_the_split)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with more entities, in another order, and without the first one."""
    folder = tmp_path_factory.mktemp("grown") / "kb"
    more = (Entity("N1", "New page"), *reversed(ENTITIES[1:]), Entity("N2", "Newer page"))
    build([replace(entity, links=()) for entity in more], folder)
    return folder


@given(corpus=corpora)
@quick
def test_counts_move_to_another_base(tiny_kb: KnowledgeBase, grown: Path, corpus: Corpus) -> None:
    table = table_of(corpus, tiny_kb)
    counts = AnnotationCounts.of(table, len(tiny_kb))
    rows = counts.state(tiny_kb)
    assert Counter({(name, entity): count for name, entity, count in rows}) == Counter(
        (name.casefold(), tiny_kb.ids([gold])[0])
        for name, gold in zip(table.name, table.gold.tolist(), strict=True)
        if gold >= 0
    )
    back = AnnotationCounts.from_state(rows, tiny_kb)
    assert sorted(back.state(tiny_kb)) == sorted(rows)
    with KnowledgeBase.open(grown) as kb:
        moved = AnnotationCounts.from_state(rows, kb)
        assert sorted(moved.state(kb)) == sorted(row for row in rows if row[1] != ENTITIES[0].id)
        known = [entity.id for entity in ENTITIES[1:4]]
        there = np.tile(kb.indices(known), (len(table), 1))
        here = np.tile(tiny_kb.indices(known), (len(table), 1))
        np.testing.assert_array_equal(
            moved.columns(table_of(corpus, kb), there, False).pair, counts.columns(table, here, False).pair
        )


def test_nothing_counted(tiny_kb: KnowledgeBase) -> None:
    counts = AnnotationCounts.of(table_of([], tiny_kb), len(tiny_kb))
    assert counts.state(tiny_kb) == []
    for one in (counts, AnnotationCounts.from_state([], tiny_kb)):
        table = table_of([[("Ann", "C1")]], tiny_kb)
        for column in one.columns(table, np.array([[1, -1]]), False):
            assert not column.any()

"""Adding entities: the base afterwards is the one that a build of everything gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.document import Alias, Entity
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.kb.update import add

NAMES = ["ann", "Ann", "bo", "Cyril Harbour", "Cyril Harbor"]


def test_new_and_updated(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    first = build(entities, tmp_path, date="2020-02-02")
    new = Entity("X404", "The Ledger", aliases=(Alias("Ledger", 2), Alias("Mira", 20)), links=("C2",), popularity=3)
    changed = replace(entities[1], title="Mira, pilot", aliases=(Alias("Captain", 1),), links=("C2",))
    added = add([new, changed, entities[0]], tmp_path, date="2021-01-01")
    assert (added.new, added.updated, added.unchanged) == (1, 1, 1)
    kb = KnowledgeBase.open(tmp_path)
    assert kb.meta == added.meta
    assert (kb.meta.revision, kb.meta.lineage, kb.meta.date) == (2, first.content_hash, "2021-01-01")
    assert kb.meta.content_hash != first.content_hash
    assert list(kb) == [entities[0], changed, *entities[2:], new]
    assert [(match.index, match.count) for match in kb.lookup("Mira")] == [(6, 20), (4, 12), (3, 2)]
    # C2's link to X404 led nowhere until now; C1 links to C2 alone.
    assert kb.links[2].indices.tolist() == [0, 6]
    assert kb.links[1].indices.tolist() == [2]
    assert kb.meta.dangling_links == 0
    assert kb.popularity.tolist() == [12, 0, 0, 7, 0, 0, 3]
    assert [index for index, _ in kb.search("captain")] == [1]
    assert kb.search("ledger")[0][0] == 6
    kb.check_lineage(first)
    assert len(list(tmp_path.glob("kb-data-*"))) == 1


def test_the_same_again_changes_nothing(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    first = build(entities, tmp_path)
    added = add(entities, tmp_path)
    assert (added.new, added.updated, added.unchanged) == (0, 0, 6)
    assert KnowledgeBase.open(tmp_path).meta == first


def test_an_open_reader_keeps_what_it_opened(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    build(entities, tmp_path)
    old = KnowledgeBase.open(tmp_path)
    assert len(old.lookup("Mira")) == 3
    add([Entity("N", "N", aliases=(Alias("Mira", 1),))], tmp_path)
    assert len(old.lookup("Mira")) == 3
    assert len(KnowledgeBase.open(tmp_path).lookup("Mira")) == 4
    old.close()
    with pytest.raises(InputError, match="open it again"):
        old.lookup("Mira")
    with pytest.raises(InputError, match="open it again"):
        _ = old.links
    with pytest.raises(InputError, match="open it again"):
        old.add_vectors("text", np.zeros((6, 1)), "made-up encoder")


def test_vectors_are_kept_and_known_to_be_old(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    build(entities, tmp_path)
    KnowledgeBase.open(tmp_path).add_vectors("text", np.ones((6, 2)), "made-up encoder")
    added = add([Entity("N", "N")], tmp_path)
    assert added.stale_vectors == ("text",)
    kb = KnowledgeBase.open(tmp_path)
    with pytest.raises(InputError, match=r"made for 6 entities \(revision 1\).*7 entities, revision 2"):
        kb.vectors("text")
    assert kb.vectors("text", stale=True).shape == (6, 2)
    kb.add_vectors("text", np.ones((7, 2)), "made-up encoder")
    assert kb.vectors("text").shape == (7, 2)
    build(entities, tmp_path)
    assert KnowledgeBase.open(tmp_path).vector_names == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([Entity("N", "n"), Entity("N", "m")], "duplicate entity id 'N'"),
        ([Entity("N", "n", aliases=(Alias(" ", 1),))], "alias without a name"),
        ([Entity("half \udfff", "n")], "surrogate"),
    ],
)
def test_bad_records_leave_the_base(
    tmp_path: Path, entities: tuple[Entity, ...], bad: list[Entity], reason: str
) -> None:
    first = build(entities, tmp_path)
    with pytest.raises(InputError, match=reason):
        add([Entity("M", "fine"), *bad], tmp_path)
    kb = KnowledgeBase.open(tmp_path)
    assert kb.meta == first
    assert tuple(kb) == entities


def test_no_base_to_add_to(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        add([Entity("N", "n")], tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


ids = st.sampled_from([f"E{i}" for i in range(6)])
records = st.builds(
    Entity,
    id=ids,
    title=st.sampled_from(NAMES),
    description=st.sampled_from(["", "a harbour pilot", "of the harbour"]),
    aliases=st.lists(st.builds(Alias, st.sampled_from(NAMES), st.integers(0, 5)), max_size=3).map(tuple),
    links=st.lists(ids, max_size=4).map(tuple),
    popularity=st.integers(0, 3),
)
batches = st.lists(records, max_size=4, unique_by=lambda entity: entity.id)


@settings(max_examples=30, deadline=None)
@given(first=batches.filter(bool), later=st.lists(batches, min_size=1, max_size=3))
def test_adding_equals_building_all_at_once(
    tmp_path_factory: pytest.TempPathFactory, first: list[Entity], later: list[list[Entity]]
) -> None:
    folder = tmp_path_factory.mktemp("kb")
    build(first, folder / "added")
    merged = {entity.id: entity for entity in first}
    for batch in later:
        add(batch, folder / "added")
        merged.update((entity.id, entity) for entity in batch)
    build(merged.values(), folder / "built")
    added, built = (KnowledgeBase.open(folder / name) for name in ("added", "built"))
    assert list(added) == list(built)
    for count in ("content_hash", "entities", "surfaces", "aliases", "links", "dangling_links"):
        assert getattr(added.meta, count) == getattr(built.meta, count)
    assert np.array_equal(added.links.toarray(), built.links.toarray())
    assert np.array_equal(added.popularity, built.popularity)
    asked = [*NAMES, "ANN", "cyril harbur"]
    assert added.lookup_many(asked) == built.lookup_many(asked)
    for query in ("harbour", "ann pilot"):
        assert [index for index, _ in added.search(query)] == [index for index, _ in built.search(query)]

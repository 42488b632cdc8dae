"""Reading a knowledge base."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.document import Alias, Entity
from mmel.errors import InputError
from mmel.kb import KnowledgeBase, Match
from mmel.kb.build import build


def test_records_come_back_as_they_were(kb: KnowledgeBase, entities: tuple[Entity, ...]) -> None:
    assert len(kb) == len(entities)
    assert tuple(kb) == entities
    assert kb.entities([3, 0, 3]) == [entities[3], entities[0], entities[3]]
    assert kb.entity("P2") == entities[5]
    assert kb.titles(np.array([1])) == ["Mira (The Glass Harbour)"]


def test_indices_and_ids_are_inverse(kb: KnowledgeBase) -> None:
    indices = kb.indices(["C3", "nobody", "F1", "C3"])
    assert indices.dtype == np.int64
    assert indices.tolist() == [4, -1, 0, 4]
    assert kb.ids(indices[indices >= 0]) == ["C3", "F1", "C3"]
    assert kb.indices([]).shape == (0,)
    assert kb.ids([]) == []


@pytest.mark.parametrize("index", [-1, 6])
def test_an_index_outside_is_an_error(kb: KnowledgeBase, index: int) -> None:
    for ask in (kb.ids, kb.titles, kb.entities):
        with pytest.raises(InputError, match=f"no entity has index {index}"):
            ask([0, index])


def test_an_unknown_id_names_close_ones(kb: KnowledgeBase) -> None:
    with pytest.raises(InputError, match=r"no entity 'Zoe Quil' .*did you mean 'P2' \(Zoe Quill\)"):
        kb.entity("Zoe Quil")
    with pytest.raises(InputError, match=r"did you mean .*'C3'"):
        kb.entity("C4")


def test_find_takes_an_id_or_a_title(kb: KnowledgeBase, entities: tuple[Entity, ...]) -> None:
    assert kb.find("P2") == [entities[5]]
    assert kb.find("Zoe Quill") == [entities[5]]
    with pytest.raises(InputError, match="did you mean"):
        kb.find("Otto")


def test_links_are_a_sparse_matrix(kb: KnowledgeBase) -> None:
    expected = np.zeros((6, 6))
    for row, column in [(0, 1), (0, 2), (0, 3), (1, 0), (1, 3), (2, 0), (3, 0)]:
        expected[row, column] = 1
    assert np.array_equal(kb.links.toarray(), expected)
    assert kb.links[1].indices.tolist() == [0, 3]
    assert (kb.links @ np.ones(6)).tolist() == [3, 2, 1, 1, 0, 0]
    assert kb.links.indices.dtype == kb.links.indptr.dtype
    assert kb.meta.links == 7
    assert kb.meta.dangling_links == 1


def test_popularity_is_mapped(kb: KnowledgeBase) -> None:
    assert kb.popularity.tolist() == [12, 0, 0, 7, 0, 0]
    assert isinstance(kb.popularity, np.memmap)


def test_exact_lookup_ranks_by_share_of_the_count(kb: KnowledgeBase) -> None:
    assert kb.lookup("Mira") == [
        Match(4, 12 / 20, 12, "exact"),
        Match(1, 6 / 20, 6, "exact"),
        Match(3, 2 / 20, 2, "exact"),
    ]
    assert [match.index for match in kb.lookup("Mira", k=2)] == [4, 1]


def test_an_exact_name_is_not_folded(kb: KnowledgeBase) -> None:
    assert kb.lookup("MIRA") == [Match(4, 1.0, 5, "exact")]
    assert kb.lookup("zoë") == [Match(3, 1.0, 1, "exact")]


def test_folded_names_pool_their_counts(kb: KnowledgeBase) -> None:
    # "Mira" 20 and "MIRA" 5: 17, 6 and 2 of 25.
    found = kb.lookup("mira")
    assert [(match.index, match.count, match.how) for match in found] == [
        (4, 17, "folded"),
        (1, 6, "folded"),
        (3, 2, "folded"),
    ]
    assert [match.prior for match in found] == pytest.approx([17 / 25, 6 / 25, 2 / 25])
    assert [(match.index, match.prior) for match in kb.lookup("ZOÉ")] == [(5, 0.75), (3, 0.25)]
    assert kb.lookup("zoe ferreira\u2010luk")[0] == Match(3, 1.0, 20, "folded")


def test_fuzzy_only_where_nothing_else_is_found(kb: KnowledgeBase) -> None:
    found = kb.lookup("The Glas Harbuor")
    assert [(match.index, match.how) for match in found] == [(0, "fuzzy")]
    assert kb.lookup("The Glas Harbuor", fuzzy=False) == []
    assert kb.lookup("The Glas Harbuor", threshold=0.99) == []
    assert kb.lookup("Xylophone") == []
    assert kb.lookup("Ot") == []
    assert kb.lookup("") == kb.lookup("  ") == []


def test_fuzzy_prefers_the_closer_name_and_then_the_commoner(tmp_path: Path) -> None:
    names = [("Michel", 10.0), ("Michael", 50_000.0), ("Michaela", 10.0)]
    build([Entity(f"E{i}", name, aliases=(Alias(name, count),)) for i, (name, count) in enumerate(names)], tmp_path)
    kb = KnowledgeBase.open(tmp_path)
    # "Micheal": one letter off Michel, two off Michael, three off Michaela, each letter weighing a factor of ten.
    weights = np.array([10 / 10, 50_000 / 100, 10 / 1000])
    found = {match.index: match.prior for match in kb.lookup("Micheal", threshold=0.7)}
    assert [found[index] for index in range(3)] == pytest.approx(weights / weights.sum())


def test_lookup_of_odd_characters(tmp_path: Path) -> None:
    names = ['7" single', "AC/DC", "C++", "a*b OR (c)", "東京", "N'Djamena", "50% off", "nul\0l"]
    build([Entity(f"E{i}", name, aliases=(Alias(name, 1),)) for i, name in enumerate(names)], tmp_path)
    kb = KnowledgeBase.open(tmp_path)
    found = kb.lookup_many(names)
    assert [[match.index for match in matches] for matches in found] == [[i] for i in range(len(names))]
    assert kb.lookup("a*b OR [c)")[0].index == 3
    assert kb.lookup('7" singel')[0].index == 0
    for name in names:
        kb.search(name)


def test_zero_counts_share_evenly(tmp_path: Path) -> None:
    entities = [Entity("A", "A", aliases=(Alias("x", 0),)), Entity("B", "B", aliases=(Alias("x", 0),))]
    build([*entities, Entity("C", "C", aliases=(Alias("y", 0), Alias("z", 2)))], tmp_path)
    kb = KnowledgeBase.open(tmp_path)
    assert [match.prior for match in kb.lookup("x")] == [0.5, 0.5]
    assert [match.prior for match in kb.lookup("X")] == [0.5, 0.5]
    assert kb.lookup("y")[0].prior == 1.0


names = st.sampled_from(["ann", "Ann", "ANN", "Bo", "bó", "Cy"])
tables = st.lists(st.lists(st.tuples(names, st.integers(1, 9)), max_size=5), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None)
@given(table=tables, asked=st.lists(names, max_size=8), k=st.sampled_from([1, 2, None]))
def test_lookup_many_is_the_ratio_of_counts(
    tmp_path_factory: pytest.TempPathFactory, table: list[list[tuple[str, int]]], asked: list[str], k: int | None
) -> None:
    folder = tmp_path_factory.mktemp("kb")
    build([Entity(f"E{i}", "t", aliases=tuple(Alias(*row) for row in rows)) for i, rows in enumerate(table)], folder)
    kb = KnowledgeBase.open(folder)
    for surface, matches in zip(asked, kb.lookup_many(asked, k=k, fuzzy=False), strict=True):
        counts = _counts(table, {surface}) or _counts(table, _spellings(surface))
        total = sum(counts.values())
        expected = sorted(((-Fraction(count, total), index) for index, count in counts.items()))[:k]
        assert [match.index for match in matches] == [index for _, index in expected]
        assert [match.prior for match in matches] == pytest.approx([float(-share) for share, _ in expected])
        assert [match.count for match in matches] == [counts[match.index] for match in matches]


def _spellings(surface: str) -> set[str]:
    return {"ann": {"ann", "Ann", "ANN"}, "bo": {"Bo", "bó"}, "cy": {"Cy"}}[surface.lower().replace("ó", "o")]


def _counts(table: list[list[tuple[str, int]]], spellings: set[str]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for index, rows in enumerate(table):
        for name, count in rows:
            if name in spellings:
                counts[index] = counts.get(index, 0) + count
    return counts


def test_many_surfaces_at_once(tmp_path: Path) -> None:
    build([Entity(f"E{i}", f"T{i}", aliases=(Alias(f"name {i}"),)) for i in range(1500)], tmp_path)
    kb = KnowledgeBase.open(tmp_path)
    asked = [f"name {i}" for i in reversed(range(1500))]
    assert [matches[0].index for matches in kb.lookup_many(asked)] == list(reversed(range(1500)))
    assert kb.indices([f"E{i}" for i in range(1500)]).tolist() == list(range(1500))
    assert kb.lookup_many([]) == []


def test_search_ranks_by_bm25(kb: KnowledgeBase) -> None:
    hits = kb.search("salt trader")
    assert hits[0][0] == 4
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)
    assert kb.search("ACTRESS", k=1)[0][0] in (3, 5)
    assert len(kb.search("the pilot mira", k=2)) == 2
    assert kb.search("zoe")[0][0] in (3, 5)
    assert kb.search('"* () AND') == []
    assert kb.search("") == []


def test_stats(kb: KnowledgeBase) -> None:
    stats = kb.stats()
    assert stats["types"] == {"character": 3, "person": 2, "film": 1}
    # Mira has three entities; the seven other names one each.
    assert stats["entities_per_surface"]["1"] == 7
    assert stats["entities_per_surface"]["3-5"] == 1
    assert sum(stats["entities_per_surface"].values()) == stats["surfaces"] == 8
    assert stats["most_entities_of_a_surface"] == 3
    assert (stats["date"], stats["source"], stats["content_hash"]) == ("2020-02-02", "invented", kb.meta.content_hash)


def _first_of(kb: KnowledgeBase, surface: str) -> int:
    return kb.lookup(surface)[0].index


def test_pickled_and_used_in_other_processes_and_threads(kb: KnowledgeBase) -> None:
    assert _first_of(kb, "Otto") == 2
    assert kb.links.nnz == 7
    state = pickle.dumps(kb)
    assert len(state) < 2_000
    assert _first_of(pickle.loads(state), "Otto") == 2
    for method in {"spawn", "fork"} & set(multiprocessing.get_all_start_methods()):
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.apply(_first_of, (kb, "Otto")) == 2
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(_first_of(kb, "Mira"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [4] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_its_own_connection(kb: KnowledgeBase) -> None:
    ours = kb._db
    child = os.fork()
    if child == 0:
        os._exit(0 if kb._db is not ours and _first_of(kb, "Otto") == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert _first_of(kb, "Otto") == 2


def test_closing_and_using_again(kb: KnowledgeBase) -> None:
    kb.close()
    assert _first_of(kb, "Otto") == 2


def test_closing_in_one_thread_leaves_the_others_theirs(kb: KnowledgeBase) -> None:
    ours = kb._db

    def use() -> None:
        _first_of(kb, "Otto")
        kb.close()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert kb._db is ours
    assert _first_of(kb, "Otto") == 2


def test_lineage(kb: KnowledgeBase) -> None:
    meta = kb.meta
    kb.check_lineage(meta)
    kb.check_lineage(replace(meta, name="copy", date="1999-01-01"))
    with pytest.raises(InputError, match=r"another knowledge base.*Remedy: .*--kb"):
        kb.check_lineage(replace(meta, lineage="0" * 64))
    with pytest.raises(InputError, match="revision 1 of it, older than revision 3"):
        kb.check_lineage(replace(meta, revision=3, content_hash="1" * 64))
    with pytest.raises(InputError, match="other entities added"):
        kb.check_lineage(replace(meta, content_hash="1" * 64))


def test_vectors(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    build(entities, tmp_path)
    kb = KnowledgeBase.open(tmp_path)
    with pytest.raises(InputError, match="There are none"):
        kb.vectors("text")
    array = np.arange(12, dtype=np.float32).reshape(6, 2)
    kb.add_vectors("text", array, "made-up encoder")
    assert kb.vector_names == ["text"]
    stored = kb.vectors("text")
    assert isinstance(stored, np.memmap)
    assert np.array_equal(stored, array)
    kb.add_vectors("text", array + 1, "another")
    assert np.array_equal(KnowledgeBase.open(tmp_path).vectors("text"), array + 1)
    with pytest.raises(InputError, match="Did you mean 'text'"):
        kb.vectors("texts")


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("text", np.zeros((5, 2)), r"\[5, 2\]"),
        ("text", np.zeros(6), r"\[6\]"),
        ("text", np.zeros((6, 2), dtype=np.int64), "int64"),
        ("../text", np.zeros((6, 2)), "cannot name vectors"),
    ],
)
def test_bad_vectors(kb: KnowledgeBase, name: str, array: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        kb.add_vectors(name, array, "made-up encoder")
    assert kb.vector_names == []

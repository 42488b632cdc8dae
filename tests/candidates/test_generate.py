from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmel.candidates import CandidateGenerator, Candidates, MentionTable
from mmel.candidates.generate import SOURCES
from mmel.document import Candidate
from mmel.kb import KnowledgeBase
from tests.tiny import ENTITIES, document

IDS = [entity.id for entity in ENTITIES]


def generate(kb: KnowledgeBase, listed: list[Candidate] | None, k: int | None = 30) -> Candidates:
    table = MentionTable.of([document("[Mira]", candidates={"Mira": listed})], kb)
    return CandidateGenerator(kb, k)(table)


def named(kb: KnowledgeBase, found: Candidates, row: int = 0) -> list[str]:
    return kb.ids(found.ids[row][found.mask[row]])


def test_the_base_is_asked_where_the_dataset_has_no_list(tiny_kb: KnowledgeBase) -> None:
    table = MentionTable.of([document("[Mira], [otto], [Quillhavn], [Nobody] and [Zero]")], tiny_kb)
    found = CandidateGenerator(tiny_kb)(table)
    for row, surface in enumerate(table.surface):
        matches = tiny_kb.lookup(surface)
        assert found.ids[row][found.mask[row]].tolist() == [m.index for m in matches]
        assert found.prior[row][found.mask[row]] == pytest.approx([m.prior for m in matches])
        assert {SOURCES[s] for s in found.source[row][found.mask[row]]} == {m.how for m in matches}
    assert [len(named(tiny_kb, found, row)) for row in range(5)] == [2, 2, 2, 0, 1]
    assert named(tiny_kb, found, 0) == ["C3", "C1"]
    pads = ~found.mask
    assert (found.ids[pads] == -1).all() and not found.prior[pads].any() and not found.source[pads].any()


def test_fuzzy_lookup_can_be_off(tiny_kb: KnowledgeBase) -> None:
    table = MentionTable.of([document("[Quillhavn] and [otto]")], tiny_kb)
    found = CandidateGenerator(tiny_kb, fuzzy=False)(table)
    assert [len(named(tiny_kb, found, row)) for row in range(2)] == [0, 2]


def test_the_first_k_by_prior_keep_their_probabilities(tiny_kb: KnowledgeBase) -> None:
    listed = [Candidate(id, (i + 1) / 55) for i, id in enumerate(IDS)]
    whole, cut = generate(tiny_kb, listed, None), generate(tiny_kb, listed, 3)
    assert named(tiny_kb, whole) == IDS[::-1]
    assert cut.ids.tolist() == whole.ids[:, :3].tolist()
    assert cut.prior.tolist() == whole.prior[:, :3].tolist()
    table = MentionTable.of([document("[Mira]")], tiny_kb)
    assert CandidateGenerator(tiny_kb, 1)(table).ids.shape == (1, 1)


def test_equal_given_priors_keep_the_order_of_the_list(tiny_kb: KnowledgeBase) -> None:
    listed = [Candidate(id, prior) for id, prior in (("X1", 0.2), ("C1", 0.3), ("T1", 0.2), ("F1", 0.3), ("C2", 0.0))]
    assert named(tiny_kb, generate(tiny_kb, listed)) == ["C1", "F1", "X1", "T1", "C2"]


def test_unknown_entities_of_a_list_are_left_out(tiny_kb: KnowledgeBase) -> None:
    found = generate(tiny_kb, [Candidate("Q404", 0.6), Candidate("C1", 0.3), Candidate("C2", 0.1)])
    assert named(tiny_kb, found) == ["C1", "C2"]
    assert found.prior[0, :2] == pytest.approx([0.3, 0.1])


def test_an_empty_list_is_no_question_to_the_base(tiny_kb: KnowledgeBase) -> None:
    found = generate(tiny_kb, [])
    assert found.ids.tolist() == [[-1]]
    assert found.recall(np.array([0])) == 0


@given(size=st.integers(2, 10), order=st.randoms(use_true_random=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_ranks_become_a_falling_distribution_wherever_they_stand(
    tiny_kb: KnowledgeBase, size: int, order: np.random.Generator
) -> None:
    listed = [Candidate(id, rank=rank) for rank, id in enumerate(IDS[:size])]
    order.shuffle(listed)
    found = generate(tiny_kb, listed)
    assert named(tiny_kb, found) == IDS[:size]
    assert (np.diff(found.prior[0]) < 0).all()
    assert found.prior.sum() == pytest.approx(1)


def test_ranks_follow_the_curve_of_real_lists(tiny_kb: KnowledgeBase) -> None:
    prior = generate(tiny_kb, [Candidate(id, rank=rank) for rank, id in enumerate(IDS)]).prior[0]
    expected = [1, *(0.08 * rank**-0.63 for rank in range(1, len(IDS)))]
    assert prior / prior[0] == pytest.approx(expected)


@given(order=st.permutations(IDS), k=st.integers(1, 10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_a_list_without_prior_or_rank_may_stand_in_any_order(tiny_kb: KnowledgeBase, order: list[str], k: int) -> None:
    """Nine of these ten are equally popular, so that ties are what is cut."""
    found = generate(tiny_kb, [Candidate(id) for id in order], k)
    assert named(tiny_kb, found) == IDS[:k]


def test_popularity_orders_a_list_without_prior_or_rank(tmp_path_factory: pytest.TempPathFactory) -> None:
    from dataclasses import replace

    from mmel.kb.build import build

    folder = tmp_path_factory.mktemp("popular") / "kb"
    build([replace(entity, popularity=i % 4) for i, entity in enumerate(ENTITIES)], folder)
    with KnowledgeBase.open(folder) as kb:
        mixed = [Candidate("F1", prior=0.9), Candidate("C3", rank=0), Candidate("C1"), Candidate("C2"), Candidate("T2")]
        for listed in (mixed, mixed[::-1]):
            found = generate(kb, listed)
            assert named(kb, found) == ["C2", "C1", "F1", "C3", "T2"]
            assert found.prior[0] == pytest.approx(np.array([3, 2, 1, 1, 1]) / 8)


def test_positions_recall_and_reordering() -> None:
    ids = np.array([[4, 2, 7], [5, -1, -1], [-1, -1, -1]])
    found = Candidates(ids, np.where(ids >= 0, 0.5, 0).astype(np.float32), (ids >= 0).astype(np.uint8))
    assert found.mask.sum() == 4
    assert found.gold_position(np.array([7, 5, 5])).tolist() == [2, 0, -1]
    assert found.gold_position(np.array([-1, -1, -1])).tolist() == [-1, -1, -1]
    assert found.recall(np.array([7, 5, 5])) == pytest.approx(2 / 3)
    assert found.recall(np.array([7, 5, 5]), 2) == pytest.approx(1 / 3)
    assert found.recall(np.array([7, -1, -1])) == 1
    assert found.recall(np.array([-1, -1, -1])) == 0
    taken = found.take(np.array([[2, 0], [0, 1], [1, 0]]))
    assert taken.ids.tolist() == [[7, 4], [5, -1], [-1, -1]]


@pytest.mark.parametrize("texts", [[], ["no names"]])
def test_no_mention_gives_no_row(tiny_kb: KnowledgeBase, texts: list[str]) -> None:
    found = CandidateGenerator(tiny_kb)(MentionTable.of([document(t) for t in texts], tiny_kb))
    assert found.ids.shape == (0, 1)

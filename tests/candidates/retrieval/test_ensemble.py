"""Union, scores made alike, and the search of weights, each against its definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.candidates import MentionTable
from mmel.candidates.retrieval.base import Retrieved
from mmel.candidates.retrieval.ensemble import Ensemble, Gathered, alike, best_weights, grid, union, weighted
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from tests.tiny import document


class Fixed:
    """A retriever whose scores `[M, N]` of all entities are known."""

    def __init__(self, name: str, scores: list[list[float]]) -> None:
        self.name, self.scores = name, np.array(scores, np.float32)

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        known = np.nan_to_num(self.scores)
        order = np.argsort(-known, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(known, order, 1)
        return Retrieved(np.where(scores != 0, order, -1), scores)

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        return np.where(ids >= 0, np.take_along_axis(self.scores, np.maximum(ids, 0), 1), 0)


@given(st.lists(st.lists(st.integers(-1, 6), min_size=5, max_size=5), min_size=3, max_size=3))
def test_union_has_each_entity_once(rows: list[list[int]]) -> None:
    lists = np.array(rows)
    out = union([lists[:, :2], lists[:, 2:]])
    for row, own in zip(out, lists, strict=True):
        assert row[row >= 0].tolist() == sorted({e for e in own.tolist() if e >= 0})
        assert (row[: (row >= 0).sum()] >= 0).all(), "pads stand behind"


def test_scores_are_made_alike_mention_by_mention() -> None:
    found = Retrieved(
        np.array([[4, 2, 0], [3, 1, -1], [5, 6, 7], [-1, -1, -1], [1, 2, -1]]),
        np.array([[9, 5, 1], [4, 2, 0], [2, 2, 2], [0, 0, 0], [-0.2, -0.6, 0]], np.float32),
    )
    scores = np.array([[9, 5, 0.5], [4, 2, 1], [2, 1, 2], [1, 1, 1], [-0.2, -0.6, -0.4]], np.float32)
    expected = [[1, 0.5, 0], [1, 0.5, 0.25], [1, 0, 1], [0, 0, 0], [1, 0, 0.5]]
    np.testing.assert_allclose(alike(scores, found), np.array(expected), atol=1e-6)


def test_what_is_rounded_otherwise_is_as_good() -> None:
    found = Retrieved(np.array([[4, 2, 0]]), np.full((1, 3), 0.6799657, np.float32))
    above, below = (np.nextafter(found.scores, np.float32(to)) for to in (1, 0))
    for scores in (above, found.scores, below):
        np.testing.assert_array_equal(alike(scores, found), np.ones((1, 3)))
    uneven = found._replace(scores=np.concatenate([above[:, :1], found.scores[:, :1], below[:, :1]], 1))
    np.testing.assert_array_equal(alike(uneven.scores, uneven), np.ones((1, 3)))
    np.testing.assert_array_equal(alike(np.array([[0.68, 0.67, 0.1]], np.float32), found), [[1, 0, 0]])


def test_the_grid_has_all_shares() -> None:
    weights = grid(3, 4)
    assert len(weights) == 15 and len({tuple(row) for row in weights.tolist()}) == 15
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (grid(1) == 1).all() and len(grid(5)) == 1001


@pytest.fixture
def table(tiny_kb: KnowledgeBase) -> MentionTable:
    return MentionTable.of([document("[Mira|C1] [Otto|C4] [Zero|NIL]")], tiny_kb)


def test_members_find_together(table: MentionTable) -> None:
    one = Fixed("one", [[4, 3, 2, 0, 0], [0, 0, 1, 0, 0], [0] * 5])
    two = Fixed("two", [[0, 0, 10, 30, 0], [0, 0, 0, 0, 5], [0] * 5])
    ensemble = Ensemble([one, two], [3, 1], depth=2)
    ids, scores = ensemble.retrieve(table, 3)
    # Of two that are full, the last has 0: entity 1 of the first, 2 of the second retriever.
    np.testing.assert_array_equal(ids, np.array([[0, 3, -1], [2, 4, -1], [-1, -1, -1]]))
    np.testing.assert_allclose(scores, np.array([[0.75, 0.25, 0], [0.75, 0.25, 0], [0, 0, 0]]))
    asked = np.array([[3, 0], [4, -1], [1, 2]])
    np.testing.assert_allclose(ensemble.score(table, asked), np.array([[0.25, 0.75], [0.25, 0], [0, 0]]))


def test_gathered_are_found_again(table: MentionTable) -> None:
    random = np.random.default_rng(0)
    members = [Fixed(str(i), random.integers(0, 5, (3, 9)).tolist()) for i in range(3)]
    further = np.array([[8, -1], [0, 8], [-1, -1]])
    gathered = Ensemble(members, depth=3).gather(table, further)
    assert all(set(further[i][further[i] >= 0]) <= set(gathered.ids[i]) for i in range(3))
    mask = gathered.ids >= 0
    assert (np.diff(np.where(mask, gathered.ensemble, -1), axis=1) <= 0).all()
    ids = np.where(random.random(gathered.ids.shape) < 0.7, random.permuted(gathered.ids, axis=1), -1)
    scores, ensemble, rank = gathered.at(ids)
    for r, member in enumerate(members):
        np.testing.assert_array_equal(scores[..., r], member.score(table, ids))
    kept = ids >= 0
    np.testing.assert_array_equal(np.take_along_axis(gathered.ids, rank, 1)[kept], ids[kept])
    np.testing.assert_array_equal(np.take_along_axis(gathered.ensemble, rank, 1)[kept], ensemble[kept])
    assert not ensemble[~kept].any() and not rank[~kept].any()


def test_what_a_member_cannot_tell_is_masked(table: MentionTable) -> None:
    nan = float("nan")
    random = np.random.default_rng(1)
    scores, weights = random.random((4, 5, 3)), random.dirichlet(np.ones(3), 6).T
    whole = weighted(scores, weights)
    np.testing.assert_array_equal(whole, scores @ weights)
    scores[random.random(scores.shape) < 0.4] = nan
    scores[0, 0] = nan
    masked = weighted(scores, weights)
    for i, j, w in np.ndindex(masked.shape):
        there = ~np.isnan(scores[i, j])
        own = weights[there, w]
        expected = own @ scores[i, j][there] / own.sum() if there.any() else 0
        assert masked[i, j, w] == pytest.approx(expected)
    np.testing.assert_allclose(weighted(scores, weights[:, 2]), masked[..., 2])
    one = Fixed("one", [[4, 3, 2, 0, 0], [0, 0, 1, 0, 0], [2, 1, 0, 0, 0]])
    two = Fixed("two", [[nan, 1, nan, 3, nan], [nan] * 5, [nan, nan, nan, 0, 5]])
    ids, found = Ensemble([one, two], depth=3).retrieve(table, 4)
    # Entity 0 is only known to the first, 3 and 4 have nothing by it; the second says nothing of the second mention.
    np.testing.assert_array_equal(ids[:, :2], np.array([[0, 3], [2, -1], [0, 1]]))
    np.testing.assert_allclose(found[:, :2], np.array([[1, 0.5], [1, 0], [1, 0.5]]))
    gathered = Ensemble([one, two], depth=3).gather(table)
    # By the second alone entity 0 has nothing, so that two of three are first; the second mention then finds none.
    best, recall = best_weights([gathered], [np.array([3, 2, 4])], (1,))
    assert best.tolist() == [0, 1] and recall == {1: pytest.approx(2 / 3)}


@pytest.mark.parametrize("gold", [-1, 9])
def test_without_a_link_to_find_all_weights_are_equal(gold: int) -> None:
    scores = np.ones((2, 3, 4), np.float32)
    gathered = Gathered(np.tile(np.arange(3), (2, 1)), scores, scores, scores.sum(-1))
    weights, recall = best_weights([gathered], [np.full(2, gold)], (1, 3))
    assert weights.tolist() == [0.25] * 4
    # Links that are not found are none of 2; where there is none, nothing is known.
    assert recall == ({} if gold < 0 else {1: 0.0, 3: 0.0})


@pytest.mark.parametrize("weights", [[0, 0], [1, float("nan")], [2, -1]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="are no weights"):
        Ensemble([Fixed(name, [[1]]) for name in "ab"], weights)


@given(st.integers(0, 1000))
@settings(deadline=None, max_examples=20)
def test_the_best_weights_are_those_of_trying_all(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (7, 6)
    ids = np.argsort(random.random((7, 9)), axis=1)[:, :6]
    scores = np.maximum(random.random((*shape, 2), np.float32) - 0.2, 0)
    gold = np.where(random.random(7) < 0.2, -1, random.integers(0, 9, 7))
    gathered = Gathered(ids, scores, scores, scores.sum(-1))
    weights, recall = best_weights([gathered], [gold], (1, 3))

    def value(weight: np.ndarray) -> tuple[float, float]:
        ranks = []
        for i, j in product(range(7), range(6)):
            if ids[i, j] == gold[i]:
                total = scores[i] @ weight
                equal = (total == total[j]).sum()
                ranks.append(1 + (total > total[j]).sum() + (equal - 1) / 2 if total[j] > 0 else np.inf)
        return sum(int(r <= 1) + int(r <= 3) for r in ranks), sum(1 / r for r in ranks)

    best = max(value(row) for row in grid(2))
    assert value(weights) == pytest.approx(best)
    known = max((gold >= 0).sum(), 1)
    assert sum(recall.values()) * known == pytest.approx(best[0])

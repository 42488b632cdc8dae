"""The sub-tasks against twins that look at every entity; the learned weight; mentions and entities without vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmel.document import Entity
from mmel.errors import ConfigError, InputError
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.vision.gallery import build_gallery
from mmel.vision.tasks import (
    Combination,
    Ranking,
    View,
    extend,
    fuse,
    fusion_weight,
    gold_ranks,
    link,
    ranking_metrics,
    recall,
    rerank,
)
from tests.vision.test_index import unit

COUNT = 12


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("twelve") / "kb"
    build([Entity(f"E{n:02}", f"Entity {n}") for n in range(COUNT)], folder, date="2020-02-02")
    with KnowledgeBase.open(folder) as opened:
        yield opened


def view(kb: KnowledgeBase, owners: np.ndarray, queries: int = 5, seed: int = 0, dim: int = 4) -> View:
    gallery = build_gallery(kb, owners, unit(len(owners), dim, seed), encoder_id="x")
    return View(gallery, unit(queries, dim, seed + 1))


def every_score(one: View) -> list[dict[int, float]]:
    """For each mention the score of each entity in the gallery."""
    all_entities = np.tile(one.gallery.entities, (len(one.queries), 1))
    return [
        dict(zip(map(int, entities), map(float, scores), strict=True))
        for entities, scores in zip(all_entities, one.gallery.score(one.queries, all_entities), strict=True)
    ]


def in_order(scores: dict[int, float]) -> list[int]:
    return sorted(scores, key=lambda entity: (-scores[entity], entity))


galleries = st.tuples(
    st.sets(st.integers(0, COUNT - 1), min_size=1), st.sets(st.integers(0, COUNT - 1), min_size=1), st.integers(0, 999)
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=galleries, k=st.integers(1, 14), length=st.integers(1, 14))
def test_recall_with_one_and_rerank_with_the_other(
    case: tuple[set[int], set[int], int], k: int, length: int, kb: KnowledgeBase
) -> None:
    pictures = view(kb, np.array(sorted(case[0])), seed=case[2])
    texts = view(kb, np.array(sorted(case[1])), seed=case[2] + 5, dim=6)
    orders: list[tuple[Combination, View, View]] = [
        ("pictures+texts", pictures, texts),
        ("texts+pictures", texts, pictures),
    ]
    for combination, first, second in orders:
        found = link("V2VTEL", pictures=pictures, texts=texts, combination=combination, k=k, length=length)
        for row, one, other in zip(found.entities, every_score(first), every_score(second), strict=True):
            head = in_order(one)[:k][:length]
            tail = in_order(one)[:k][length:]
            again = in_order({entity: other[entity] for entity in head if entity in other})
            expected = again + [entity for entity in head if entity not in other] + tail
            assert row[: len(expected)].tolist() == (expected if again else head + tail)
            assert (row[len(expected) :] == -1).all()
        assert (np.diff(np.where(np.isfinite(found.scores), found.scores, -99)) <= 0).all()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=galleries, k=st.integers(1, 14), weight=st.floats(0, 1))
def test_fused_scores(case: tuple[set[int], set[int], int], k: int, weight: float, kb: KnowledgeBase) -> None:
    pictures = view(kb, np.array(sorted(case[0])), seed=case[2])
    texts = view(kb, np.array(sorted(case[1])), seed=case[2] + 5, dim=6)
    found = fuse(pictures, texts, weight, k)
    for entities, scores, one, other in zip(
        found.entities, found.scores, every_score(pictures), every_score(texts), strict=True
    ):
        union = {*in_order(one)[:k], *in_order(other)[:k]}
        least = [min((side[entity] for entity in union if entity in side), default=0.0) for side in (one, other)]
        added = {
            entity: (1 - weight) * one.get(entity, least[0]) + weight * other.get(entity, least[1]) for entity in union
        }
        expected = in_order(added)[:k]
        assert entities[: len(expected)].tolist() == expected
        np.testing.assert_allclose(scores[: len(expected)], [added[entity] for entity in expected], atol=1e-12)


def test_fusion_at_the_ends_is_one_gallery(kb: KnowledgeBase) -> None:
    pictures, texts = view(kb, np.arange(COUNT)), view(kb, np.arange(COUNT), seed=7)
    np.testing.assert_array_equal(fuse(pictures, texts, 0, 12).entities, recall(pictures, 12).entities)
    np.testing.assert_array_equal(fuse(pictures, texts, 1, 12).entities, recall(texts, 12).entities)


def test_reranking_everything_is_the_other_gallery(kb: KnowledgeBase) -> None:
    pictures, texts = view(kb, np.arange(COUNT)), view(kb, np.arange(COUNT), seed=7)
    np.testing.assert_array_equal(rerank(recall(pictures, 12), texts, 12).entities, recall(texts, 12).entities)


def test_single_tasks(kb: KnowledgeBase) -> None:
    pictures, texts = view(kb, np.arange(COUNT)), view(kb, np.arange(COUNT), seed=7)
    np.testing.assert_array_equal(link("V2VEL", pictures=pictures, k=3).entities, recall(pictures, 3).entities)
    np.testing.assert_array_equal(link("V2TEL", texts=texts, k=3).entities, recall(texts, 3).entities)
    fused = link("V2VTEL", pictures=pictures, texts=texts, combination="fused", weight=0.3, k=4)
    np.testing.assert_array_equal(fused.entities, fuse(pictures, texts, 0.3, 4).entities)


def test_the_weight_is_that_of_the_view_that_knows(kb: KnowledgeBase) -> None:
    random, gold = np.random.default_rng(0), np.arange(COUNT)
    clear, noise = view(kb, gold, COUNT), view(kb, gold, COUNT, seed=7)
    clear = View(clear.gallery, clear.gallery.index.rows)
    assert fusion_weight(clear, noise, gold) < 0.5
    assert fusion_weight(noise, clear, gold, metric="R@1") > 0.5
    # Each knows half of the mentions; both together know all.
    halves = []
    for start in (0, COUNT // 2):
        queries = unit(COUNT, 4, int(random.integers(99)))
        known = slice(start, start + COUNT // 2)
        queries[known] = clear.gallery.index.rows[known]
        halves.append(View(clear.gallery, queries))
    weight = fusion_weight(halves[0], halves[1], gold)
    best = ranking_metrics(gold_ranks(fuse(halves[0], halves[1], weight, 12), gold))["mrr_at"]["10"]
    for other in np.linspace(0, 1, 21):
        assert (
            best
            >= ranking_metrics(gold_ranks(fuse(halves[0], halves[1], float(other), 12), gold))["mrr_at"]["10"] - 1e-9
        )


def test_a_mention_without_a_vector(kb: KnowledgeBase) -> None:
    pictures, texts = view(kb, np.arange(COUNT)), view(kb, np.arange(COUNT), seed=7)
    pictures.queries[2] = np.nan
    texts.queries[3] = np.nan
    found = recall(pictures, 3)
    assert found.entities[2].tolist() == [-1, -1, -1]
    assert gold_ranks(found, np.arange(5))[2] == np.inf
    again = rerank(found, texts, 3)
    np.testing.assert_array_equal(again.entities[3], found.entities[3])
    np.testing.assert_array_equal(again.scores[3], found.scores[3])
    assert again.entities[2].tolist() == [-1, -1, -1]
    both = fuse(pictures, texts, 0.5, 3)
    np.testing.assert_array_equal(both.entities[2], recall(texts, 3).entities[2])
    np.testing.assert_array_equal(both.entities[3], found.entities[3])


def test_metrics_share_ties() -> None:
    entities = np.array([[4, 7, 9, -1], [1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1]])
    scores = np.array([[0.9, 0.5, 0.5, -np.inf], [0.4, 0.3, 0.2, 0.1], [0.8, 0.8, -np.inf, -np.inf], [-np.inf] * 4])
    ranks = gold_ranks(Ranking(entities, scores), np.array([9, 2, 6, 1]))
    assert ranks.tolist() == [2.5, 2, 1.5, np.inf]
    metrics = ranking_metrics(ranks)
    assert metrics["mentions"] == 4
    assert metrics["recall_at"] == {"1": 0, "3": 0.75, "5": 0.75, "10": 0.75}
    assert metrics["mrr_at"]["3"] == pytest.approx((1 / 2.5 + 1 / 2 + 1 / 1.5) / 4)


def test_padding_is_no_entity(kb: KnowledgeBase) -> None:
    found = recall(view(kb, np.array([3])), 4)
    assert found.entities[:, 1:].tolist() == [[-1] * 3] * 5
    assert gold_ranks(found, np.full(5, -1)).tolist() == [np.inf] * 5
    assert gold_ranks(rerank(found, view(kb, np.array([5]), seed=3), 4), np.full(5, 3)).tolist() == [1] * 5


def test_what_does_not_fit(kb: KnowledgeBase) -> None:
    pictures, texts = view(kb, np.arange(3)), view(kb, np.arange(3), queries=4)
    with pytest.raises(ConfigError, match="task is 'V2VL'. Did you mean 'V2VEL'"):
        link("V2VL", pictures=pictures)
    with pytest.raises(ConfigError, match="task 'V2TEL' needs texts. Remedy"):
        link("V2TEL", pictures=pictures)
    with pytest.raises(ConfigError, match="task 'V2VTEL' needs pictures"):
        link("V2VTEL", texts=texts)
    with pytest.raises(ConfigError, match="combination is 'fuse'. Did you mean 'fused'"):
        link("V2VTEL", pictures=pictures, texts=texts, combination="fuse")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="5 mentions for pictures and 4 for texts"):
        link("V2VTEL", pictures=pictures, texts=texts, combination="fused")
    with pytest.raises(InputError, match="5 mentions ranked, 4 for ranking again"):
        link("V2VTEL", pictures=pictures, texts=texts)
    with pytest.raises(ConfigError, match="length = 0"):
        rerank(recall(pictures, 3), pictures, 0)
    with pytest.raises(ConfigError, match="weight = 1.5: must be between 0 and 1"):
        fuse(pictures, pictures, 1.5, 3)
    with pytest.raises(ConfigError, match=r"metric is 'F1'; allowed: R@1, MRR@10"):
        fusion_weight(pictures, pictures, np.zeros(5), metric="F1")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"gold of shape \[3\] for 5 mentions"):
        gold_ranks(recall(pictures, 3), np.zeros(3))
    with pytest.raises(InputError, match="field 'k'"):
        recall(pictures, 0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=galleries,
    k=st.integers(1, 14),
    further=st.lists(st.lists(st.integers(-1, COUNT - 1), min_size=4, max_size=4), min_size=5, max_size=5),
)
def test_a_ranking_with_further_entities(
    case: tuple[set[int], set[int], int], k: int, further: list[list[int]], kb: KnowledgeBase
) -> None:
    pictures = view(kb, np.array(sorted(case[0])), seed=case[2])
    pictures.queries[3] = np.nan
    first = recall(pictures, k)
    found = extend(first, pictures, np.array(further))
    for i, (scores, more) in enumerate(zip(every_score(pictures), further, strict=True)):
        expected = in_order({e: s for e, s in scores.items() if e in {*first.entities[i].tolist(), *more}})
        if i == 3:
            expected = []
        assert found.entities[i, : len(expected)].tolist() == expected
        assert found.scores[i, : len(expected)].tolist() == [scores[entity] for entity in expected]
        assert (found.entities[i, len(expected) :] == -1).all()
        assert np.isneginf(found.scores[i, len(expected) :]).all()


def test_nothing_further(kb: KnowledgeBase) -> None:
    pictures = view(kb, np.arange(COUNT))
    first = recall(pictures, 3)
    for further in (np.empty((5, 0), np.int64), np.full((5, 2), -1)):
        found = extend(first, pictures, further)
        np.testing.assert_array_equal(found.entities[:, :3], first.entities)
        np.testing.assert_array_equal(found.scores[:, :3], first.scores)
        assert (found.entities[:, 3:] == -1).all()

"""Links from scores: a twin that sorts, softmax, pads, columns, scores that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmel.candidates.ranked import ranked_links
from mmel.document import NIL, Link
from mmel.errors import InputError
from mmel.kb import KnowledgeBase
from tests.tiny import ENTITIES

scores = st.floats(-60, 60).map(lambda value: round(value, 1))
mentions = st.lists(st.dictionaries(st.integers(0, len(ENTITIES) - 1), scores, max_size=5), min_size=1, max_size=4)


def table(rows: list[dict[int, float]], width: int) -> tuple[np.ndarray, np.ndarray]:
    ids, values = np.full((len(rows), width), -1), np.full((len(rows), width), np.nan)
    for i, row in enumerate(rows):
        ids[i, : len(row)], values[i, : len(row)] = list(row), list(row.values())
    return ids, values


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=mentions, temperature=st.sampled_from([0.05, 1.0, 3.0]), most=st.sampled_from([None, 1, 3]))
def test_candidates_by_falling_score(
    rows: list[dict[int, float]], temperature: float, most: int | None, tiny_kb: KnowledgeBase
) -> None:
    ids, values = table(rows, 5)
    links = ranked_links(ids, values, tiny_kb, np.full(ids.shape, 0.25), temperature, most=most)
    for row, link in zip(rows, links, strict=True):
        best = max(row.values(), default=0.0)
        weights = {entity: np.exp((value - best) / temperature) for entity, value in row.items()}
        order = sorted(row, key=lambda entity: -row[entity])[:most]  # stable: equals stay as listed
        assert [c.entity for c in link.candidates] == [ENTITIES[entity].id for entity in order]
        assert [c.score for c in link.candidates] == pytest.approx(
            [weights[entity] / sum(weights.values()) for entity in order]
        )
        assert all(c.prior == 0.25 for c in link.candidates)
        assert (link.entity, link.score) == (
            (link.candidates[0].entity, link.candidates[0].score) if row else (NIL, 0.0)
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=mentions, width=st.integers(5, 40))
def test_pads_and_other_mentions_change_nothing(
    rows: list[dict[int, float]], width: int, tiny_kb: KnowledgeBase
) -> None:
    every: list[Link] = ranked_links(*table(rows, width), tiny_kb)
    for row, link in zip(rows, every, strict=True):
        assert ranked_links(*table([row], 5), tiny_kb) == [link]
    # Pads may be anywhere.
    ids, values = (np.insert(each, [0, 1, 1], each[:, -1:] * 0 - 1, 1) for each in table(rows, 6))
    assert ranked_links(ids, values, tiny_kb) == every


def test_scores_too_far_for_probabilities_still_rank(tiny_kb: KnowledgeBase) -> None:
    (link,) = ranked_links(np.array([[3, 1, 2, 0]]), np.array([[-900.0, -800.0, 0.0, -1000.0]]), tiny_kb)
    assert [c.entity for c in link.candidates] == [ENTITIES[e].id for e in (2, 1, 3, 0)]
    assert [c.score for c in link.candidates] == [1, 0, 0, 0]


def test_float32_scores_are_summed_in_float64(tiny_kb: KnowledgeBase) -> None:
    (link,) = ranked_links(np.array([[0, 1, 2]]), np.array([[0.1, 0.2, 0.3]], np.float32), tiny_kb)
    assert sum(c.score for c in link.candidates) == pytest.approx(1, abs=1e-15)


def test_a_candidate_that_is_ruled_out_comes_last(tiny_kb: KnowledgeBase) -> None:
    ids = np.array([[-1, 4, 5], [4, 5, -1]])
    found = ranked_links(ids, np.array([[9, -np.inf, -3.0], [-np.inf, -np.inf, 0]]), tiny_kb)
    assert [(c.entity, c.score) for c in found[0].candidates] == [(ENTITIES[5].id, 1), (ENTITIES[4].id, 0)]
    assert [(c.entity, c.score) for c in found[1].candidates] == [(ENTITIES[4].id, 0), (ENTITIES[5].id, 0)]


def test_columns_of_the_first_candidates(tiny_kb: KnowledgeBase) -> None:
    count = len(ENTITIES)
    ids = np.tile(np.arange(count), 2)[None, :12]
    addends = np.arange(24.0).reshape(1, 12, 2)
    values = np.linspace(1, 0, 12)[None]
    (link,) = ranked_links(ids, values, tiny_kb, addends=addends, columns=("alone", "linked"))
    told = [dict(c.columns) for c in link.candidates]
    assert told == [{"alone": 2.0 * i, "linked": 2.0 * i + 1} for i in range(10)] + [{}, {}]
    (first,) = ranked_links(ids, -values, tiny_kb, most=1, addends=addends, columns=("alone", "linked"))
    assert [dict(c.columns) for c in first.candidates] == [{"alone": 22.0, "linked": 23.0}]
    (link,) = ranked_links(ids, values, tiny_kb)
    assert not any(c.columns for c in link.candidates)


def test_nothing_to_link(tiny_kb: KnowledgeBase) -> None:
    assert ranked_links(np.empty((0, 3), np.int64), np.empty((0, 3)), tiny_kb) == []
    assert ranked_links(np.empty((2, 0), np.int64), np.empty((2, 0)), tiny_kb) == [Link(NIL, 0.0)] * 2


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers(wrong: float, tiny_kb: KnowledgeBase) -> None:
    ids = np.array([[0, 1, -1]])
    with pytest.raises(InputError, match="field 'scores'.* Remedy: the checkpoint is broken"):
        ranked_links(ids, np.array([[0.0, wrong, 0]]), tiny_kb)
    assert ranked_links(ids, np.array([[0.0, 1.0, wrong]]), tiny_kb)[0].entity == ENTITIES[1].id

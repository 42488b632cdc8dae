"""Search among sparse rows against all products, one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random_array

from mmel.candidates.retrieval.sparse import SparseIndex


def brute(queries: np.ndarray, rows: np.ndarray, owners: np.ndarray, entities: int) -> np.ndarray:
    """`[q, entities]` the best product of a row of each entity, 0 without one."""
    out = np.zeros((len(queries), entities))
    for row, owner in zip(rows, owners, strict=True):
        out[:, owner] = np.maximum(out[:, owner], queries @ row)
    return out


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_it_finds_what_all_products_say(seed: int, count: int, k: int) -> None:
    random = np.random.default_rng(seed)
    # Few values, so that many scores are equal.
    rows, queries = (np.round(random_array((n, 9), density=0.3, rng=random).toarray() * 3) for n in (count, 5))
    owners = np.sort(random.integers(0, 12, count))
    index = SparseIndex(csr_matrix(rows.astype(np.float32)), owners)
    given = csr_matrix(queries.astype(np.float32))
    expected = brute(queries, rows, owners, 12)
    found = index.search(given, k)
    for row, scores in enumerate(expected):
        order = np.lexsort((np.arange(12), -scores))
        wanted = order[scores[order] > 0][:k]
        np.testing.assert_array_equal(found.ids[row, : len(wanted)], wanted)
        assert (found.ids[row, len(wanted) :] == -1).all() and (found.scores[row, len(wanted) :] == 0).all()
    ids = random.integers(-1, 12, (5, 6))
    scores = index.score(given, np.arange(5), ids)
    expected = np.where(ids >= 0, np.take_along_axis(expected, np.maximum(ids, 0), 1), 0)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_a_query_without_features_finds_nothing() -> None:
    index = SparseIndex(csr_matrix(np.eye(3, dtype=np.float32)), np.arange(3))
    found = index.search(csr_matrix((2, 3), dtype=np.float32), 2)
    assert (found.ids == -1).all() and (found.scores == 0).all()
    assert index.search(csr_matrix((0, 3), dtype=np.float32), 2).ids.shape == (0, 2)

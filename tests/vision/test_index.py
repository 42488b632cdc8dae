"""Search among unit vectors against a brute-force twin: order, ties, pads; kept on disk; what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.errors import ConfigError, InputError, MissingDependencyError
from mmel.vision import index as module
from mmel.vision.index import build_index, hnsw_parameters, ivf_pq_parameters, open_index, pair_scores


def unit(count: int, dim: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(dtype)


def brute(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort all rows of each query by falling score, then by number."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1)
    for number, query in enumerate(queries.astype(np.float64)):
        values = [float(np.float32(math_dot(query, row))) for row in rows.astype(np.float64)]
        order = sorted(range(len(rows)), key=lambda row: (-values[row], row))[:k]
        found[number, : len(order)] = order
        scores[number, : len(order)] = [values[row] for row in order]
    return scores, found


def math_dot(one: np.ndarray, other: np.ndarray) -> float:
    import math

    return math.fsum((one * other).tolist())


@st.composite
def crowded(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Few distinct vectors of a few grid points, so that most of them tie."""
    dim = draw(st.integers(1, 4))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    points = random.integers(-1, 2, (draw(st.integers(1, 60)), dim)) + 1e-3
    queries = random.integers(-1, 2, (draw(st.integers(0, 5)), dim)) + 1e-3
    points, queries = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (points, queries))
    return points.astype(np.float32), queries.astype(np.float32), draw(st.integers(1, 70))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and slack of a few, so that small cases take every path."""
    monkeypatch.setattr(module, "_BLOCK", 7)
    monkeypatch.setattr(module, "_QUERIES", 2)
    monkeypatch.setattr(module, "_SLACK", 2)
    monkeypatch.setattr(module, "_PAIRS", 11)


@pytest.mark.usefixtures("small_blocks")
@settings(max_examples=150, deadline=None)
@given(case=crowded())
def test_exact_is_brute_force_ties_included(case: tuple[np.ndarray, np.ndarray, int]) -> None:
    rows, queries, k = case
    scores, found = build_index(rows).search(queries, k)
    expected_scores, expected = brute(rows, queries, k)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(scores, expected_scores)
    assert scores.dtype == np.float32
    assert found.dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(case=crowded(), seed=st.integers(0, 99))
def test_the_order_of_rows_changes_no_score(case: tuple[np.ndarray, np.ndarray, int], seed: int) -> None:
    rows, queries, k = case
    order = np.random.default_rng(seed).permutation(len(rows))
    scores, found = build_index(rows).search(queries, k)
    shuffled, moved = build_index(rows[order]).search(queries, k)
    np.testing.assert_array_equal(scores, shuffled)
    for one, other, values in zip(found, moved, scores, strict=True):
        clear = values > values[-1]
        for value in set(values[clear].tolist()):
            assert set(one[values == value]) == set(order[other[values == value]])


def test_scores_do_not_depend_on_the_batch() -> None:
    rows, queries = unit(500, 64), unit(9, 64, 1)
    together = build_index(rows).search(queries, 20)
    for number in range(9):
        alone = build_index(rows).search(queries[number : number + 1], 20)
        np.testing.assert_array_equal(alone[0][0], together[0][number])
        np.testing.assert_array_equal(alone[1][0], together[1][number])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_exact_finds_what_the_whole_matrix_says(dtype: type) -> None:
    rows, queries = unit(3000, 32, dtype=dtype), unit(11, 32, 1)
    scores, found = build_index(rows).search(queries, 50)
    whole = queries.astype(np.float64) @ rows.astype(np.float64).T
    np.testing.assert_array_equal(found, np.argsort(-whole, axis=1)[:, :50])
    np.testing.assert_allclose(scores, -np.sort(-whole, axis=1)[:, :50], atol=1e-6)


def test_pair_scores() -> None:
    rows, queries = unit(20, 5), unit(3, 5, 1)
    chosen = np.array([[0, 19], [-1, 3], [3, 3]])
    found = pair_scores(rows, queries, chosen)
    assert found[1, 0] == -np.inf
    assert found[2, 0] == found[2, 1]
    np.testing.assert_allclose(found[[0, 1]][:, 1], [queries[0] @ rows[19], queries[1] @ rows[3]], rtol=1e-5)
    assert pair_scores(rows, queries[:0], chosen[:0]).shape == (0, 2)


APPROXIMATE = [
    ("hnsw", {"dims": 12, "refine": 12}),
    ("ivf-pq", {"lists": 4, "dims": 16, "bytes": 8, "probes": 4, "refine": 30}),
]


@pytest.mark.parametrize(("kind", "parameters"), APPROXIMATE)
def test_approximate_search_gives_exact_scores_of_what_it_finds(kind: str, parameters: dict[str, int]) -> None:
    pytest.importorskip("faiss")
    rows, queries = unit(600, 16), unit(20, 16, 1)
    rows[7] = rows[300]
    exact, _ = build_index(rows).search(queries, 10)
    index = build_index(rows, kind, **parameters)
    scores, found = index.search(queries, 10)
    assert index.kind == kind
    np.testing.assert_array_equal(scores, pair_scores(rows, queries, found))
    assert np.isin(exact, scores).mean() > 0.9
    twins = index.search(rows[7:8], 2)
    assert twins[1].tolist() == [[7, 300]]
    assert index.search(queries[:0], 3)[0].shape == (0, 3)


@pytest.mark.parametrize(("kind", "parameters"), [("exact", {}), *APPROXIMATE])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_kept_on_disk(kind: str, parameters: dict[str, int], dtype: type, tmp_path: Path) -> None:
    if kind != "exact":
        pytest.importorskip("faiss")
    rows, queries = unit(400, 16, dtype=dtype), unit(5, 16, 1)
    index = build_index(rows, kind, **parameters)
    index.save(tmp_path / "index")
    opened = open_index(tmp_path / "index")
    assert isinstance(opened.rows, np.memmap)
    assert (opened.kind, opened.rows.dtype) == (kind, dtype)
    for one, other in zip(index.search(queries, 30), opened.search(queries, 30), strict=True):
        np.testing.assert_array_equal(one, other)
    # Over itself, while its files are mapped.
    opened.save(tmp_path / "index")
    np.testing.assert_array_equal(open_index(tmp_path / "index").rows, rows)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_fewer_rows_than_asked() -> None:
    pytest.importorskip("faiss")
    rows = unit(3, 4)
    for kind in ("exact", "hnsw"):
        scores, found = build_index(rows, kind).search(rows[:1], 5)
        assert sorted(found[0, :3]) == [0, 1, 2]
        assert found[0, 3:].tolist() == [-1, -1]
        assert np.isneginf(scores[0, 3:]).all()
        assert scores[0, 0] == pytest.approx(1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((0, 4), np.float32), r"float32 \[0, 4\]. Remedy: give float32 or float16 \[n, d\]"),
        (np.zeros(4, np.float32), r"float32 \[4\]"),
        (np.ones((2, 1), np.float64), "float64"),
        (np.array([[1, 0], [3, 4]], np.float32), "row 1 has the norm 5. Remedy: give unit rows"),
        (np.array([[1, 0], [np.nan, 0]], np.float32), "row 1 has the norm nan"),
    ],
)
def test_rows_that_are_none(rows: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_index(rows)


def test_queries_that_do_not_fit() -> None:
    index = build_index(unit(5, 4))
    with pytest.raises(InputError, match=r"queries \[2, 3\] on an index of rows \[5, 4\]. Remedy: encode both"):
        index.search(unit(2, 3), 1)
    with pytest.raises(InputError, match="query 1 is not finite"):
        index.search(np.array([[1, 0, 0, 0], [np.nan, 0, 0, 0]], np.float32), 1)
    with pytest.raises(InputError, match="field 'k': 0: must be at least 1"):
        index.search(unit(2, 4), 0)


def test_settings_that_do_not_exist() -> None:
    pytest.importorskip("faiss")
    rows = unit(300, 16)
    with pytest.raises(ConfigError, match="index kind is 'hnws'. Did you mean 'hnsw'"):
        build_index(rows, "hnws")
    with pytest.raises(ConfigError, match="kind 'hnsw' has no parameter 'link'. Did you mean 'links'"):
        build_index(rows, "hnsw", link=3)
    with pytest.raises(ConfigError, match="kind 'exact' has no parameter 'links'. It has none"):
        build_index(rows, links=3)
    with pytest.raises(ConfigError, match="links = 0: must be at least 1"):
        build_index(rows, "hnsw", links=0)
    with pytest.raises(ConfigError, match="bytes = 7: must divide dims = 16"):
        build_index(rows, "ivf-pq", bytes=7)
    with pytest.raises(ConfigError, match="dims = 17: must be at most the width of rows, 16"):
        build_index(rows, "hnsw", dims=17)
    with pytest.raises(InputError, match="200 rows are too few for an 'ivf-pq' of .* Remedy: use 'exact' or 'hnsw'"):
        build_index(rows[:200], "ivf-pq")


@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (1000, 7), (120_000, 512), (1_000_000, 300)])
def test_default_parameters_fit_their_rows(rows: int, dim: int) -> None:
    chosen = ivf_pq_parameters(rows, dim)
    assert chosen["dims"] % chosen["bytes"] == 0
    assert hnsw_parameters(dim)["dims"] == chosen["dims"] <= dim
    assert 1 <= chosen["probes"] <= chosen["lists"] <= 4 * np.sqrt(rows) + 1


def _break_meta(folder: Path, **values: object) -> None:
    meta = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**meta, **values}))


def _foreign(folder: Path) -> None:
    build_index(unit(3, 4), "hnsw").save(folder / "other")
    (folder / "other" / "index.faiss").replace(folder / "index.faiss")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "index.json").unlink(), "holds no whole index"),
        (lambda folder: (folder / "index.json").write_text("{"), "holds no whole index"),
        (lambda folder: (folder / "rows.npy").write_bytes(b"\x93NUMPY"), "holds no whole index"),
        (lambda folder: (folder / "rows.npy").write_bytes(b""), "holds no whole index"),
        (lambda folder: np.save(folder / "rows.npy", unit(3, 4)), r"has rows \[3, 4\] instead of \[40, 4\]"),
        (lambda folder: _break_meta(folder, format=9), "is 9, this version reads 1"),
        (lambda folder: _break_meta(folder, kind="tree"), "holds no whole index .*tree"),
        (lambda folder: (folder / "index.faiss").write_bytes(b"IxF"), "index.faiss: cannot be read"),
        (_foreign, r"is of rows \[3, 4\] instead of \[40, 4\]"),
    ],
)
def test_damaged_folders(damage: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    build_index(unit(40, 4), "hnsw").save(tmp_path / "i")
    damage(tmp_path / "i")
    with pytest.raises(InputError, match=message) as error:
        open_index(tmp_path / "i")
    assert "Remedy: build the index again" in str(error.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"mmel\[index\]"):
        build_index(unit(5, 4), "hnsw")

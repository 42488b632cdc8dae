"""The generated faces have the numbers of real ones, and galleries of them can be measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.gallery_speed import PICTURES, Faces, exact_rows, measure_build, measure_search, recalled


def test_faces_have_the_numbers_that_are_stated() -> None:
    rows = Faces().rows(9_000)
    first, second = rows[::PICTURES], rows[1::PICTURES]
    same, other = (first * second).sum(1), (first * np.roll(second, 1, axis=0)).sum(1)
    assert same.mean() == pytest.approx(0.64, abs=0.03)
    assert same.std() == pytest.approx(0.13, abs=0.03)
    assert other.mean() == pytest.approx(0, abs=0.02)
    assert other.std() == pytest.approx(0.10, abs=0.01)
    share = np.linalg.eigvalsh(np.cov(first.T))
    assert share.sum() ** 2 / (share**2).sum() == pytest.approx(99, abs=10)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_queries_are_of_people_in_the_gallery() -> None:
    faces = Faces()
    rows, queries = faces.rows(3_000), faces.queries(50, 3_000)
    assert (queries @ rows.T).max(1).mean() > 0.55
    np.testing.assert_array_equal(faces.rows(3_000), rows)


def test_recalled() -> None:
    exact = np.array([[1, 2], [3, 4]])
    assert recalled(np.array([[2, 1], [3, -1]]), exact) == {"recall": 0.75, "first": 0.5}


def test_measured(tmp_path: Path) -> None:
    built = measure_build(tmp_path, "exact", 500, half=True)
    assert (built["rows"], [path.name for path in tmp_path.iterdir()]) == (500, ["exact"])
    exact = exact_rows(tmp_path, "exact", 20, 5)["found"]
    searched = measure_search(tmp_path, "exact", {}, 20, 5)
    assert recalled(searched["found"], exact) == {"recall": 1, "first": 1}
    assert searched["batch_ms"] > 0

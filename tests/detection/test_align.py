"""Alignment: the least-squares twin of Umeyama's solution, and dots that must land on the template."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from mmel.detection import ARCFACE_TEMPLATE, align_face, similarity_transform

coordinates = st.integers(-50, 50)
points = st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5).map(lambda p: np.array(p, float))


def applied(matrix: np.ndarray, at: np.ndarray) -> np.ndarray:
    return at @ matrix[:, :2].T + matrix[:, 2]


@given(points, st.floats(0.1, 5), st.floats(-3, 3), st.tuples(coordinates, coordinates))
def test_a_similarity_is_recovered(source: np.ndarray, scale: float, angle: float, shift: tuple[int, int]) -> None:
    assume(len(np.unique(source, axis=0)) > 1)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.hstack([turn, np.array(shift)[:, None]])
    np.testing.assert_allclose(similarity_transform(source, applied(matrix, source)), matrix, atol=1e-8)


@given(points, points)
def test_no_similarity_is_closer_in_the_least_squares(source: np.ndarray, target: np.ndarray) -> None:
    assume(len(np.unique(source, axis=0)) > 1)
    # Without reflections, (a, b, x, y) -> (ax - by + x, bx + ay + y) is linear in its unknowns.
    (x, y), one, zero = source.T, np.ones(5), np.zeros(5)
    rows = np.vstack([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    best, *_ = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)
    least = ((rows @ best - target.T.ravel()) ** 2).sum()
    matrix = similarity_transform(source, target)
    assert ((applied(matrix, source) - target) ** 2).sum() == pytest.approx(least, rel=1e-6, abs=1e-6)
    assert np.linalg.det(matrix[:, :2]) >= -1e-9


def test_a_mirrored_face_is_not_reflected() -> None:
    mirrored = ARCFACE_TEMPLATE * (-1, 1)
    assert np.linalg.det(similarity_transform(mirrored, ARCFACE_TEMPLATE)[:, :2]) > 0


def test_points_that_coincide_are_shifted() -> None:
    matrix = similarity_transform(np.full((5, 2), 3.0), ARCFACE_TEMPLATE)
    np.testing.assert_allclose(matrix[:, :2], np.eye(2))
    np.testing.assert_allclose(applied(matrix, np.full((1, 2), 3.0))[0], ARCFACE_TEMPLATE.mean(0))


def dots(size: tuple[int, int], at: np.ndarray, radius: float) -> Image.Image:
    """White discs at the points, by area: a pixel spans [i, i + 1)."""
    fine = 4
    rows, columns = (np.mgrid[: size[1] * fine, : size[0] * fine] + 0.5) / fine
    near = np.zeros(rows.shape)
    for x, y in at:
        near = np.maximum(near, (columns - x) ** 2 + (rows - y) ** 2 < radius**2)
    grey = (255 * near.reshape(size[1], fine, size[0], fine).mean((1, 3))).astype(np.uint8)
    return Image.fromarray(np.stack([grey] * 3, axis=2))


def centroids(face: Image.Image, around: np.ndarray, reach: int) -> np.ndarray:
    grey = np.asarray(face)[..., 0].astype(float)
    found = []
    for x, y in np.round(around).astype(int):
        part = grey[y - reach : y + reach, x - reach : x + reach]
        rows, columns = np.mgrid[y - reach : y + reach, x - reach : x + reach] + 0.5
        found.append([(part * columns).sum() / part.sum(), (part * rows).sum() / part.sum()])
    return np.array(found)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.7, 6.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, -1.2])
@pytest.mark.parametrize(("side", "margin"), [(112, 0.0), (160, 0.0), (112, 0.3)])
def test_landmarks_land_on_the_template(scale: float, angle: float, side: int, margin: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = ARCFACE_TEMPLATE @ turn.T
    landmarks += 5 * scale + 2 - landmarks.min(0)
    size = tuple(np.ceil(landmarks.max(0) + 5 * scale + 2).astype(int).tolist())
    face = align_face(dots(size, landmarks, 4 * scale), landmarks, side, margin)
    assert face.size == (side, side)
    expected = (ARCFACE_TEMPLATE + margin * 112) * side / (112 * (1 + 2 * margin))
    np.testing.assert_allclose(centroids(face, expected, 7), expected, atol=0.3)


def test_a_face_on_the_template_stays_as_it_is() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8))
    np.testing.assert_allclose(np.asarray(align_face(noise, ARCFACE_TEMPLATE)), np.asarray(noise), atol=1)


def test_a_large_face_is_averaged_not_sampled() -> None:
    board = (np.indices((112 * 6, 112 * 6)).sum(0) % 2 * 255).astype(np.uint8)
    picture = Image.fromarray(np.stack([board] * 3, axis=2))
    grey = np.asarray(align_face(picture, ARCFACE_TEMPLATE * 6))
    assert abs(grey[2:-2, 2:-2].astype(int) - 127).max() <= 1


@pytest.mark.parametrize("shift", [-1000.0, 60.0, 5000.0])
def test_outside_the_picture_is_black(shift: float) -> None:
    for scale in (1, 5):
        picture = Image.new("RGB", (112 * scale, 112 * scale), "white")
        face = np.asarray(align_face(picture, ARCFACE_TEMPLATE * scale + shift * scale))
        assert face[:, -40:].max() == 0
    assert align_face(Image.new("RGB", (1, 1), "white"), ARCFACE_TEMPLATE).size == (112, 112)

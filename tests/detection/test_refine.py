"""Refinement against a detector that reads painted dots, with errors that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from mmel.detection import ARCFACE_TEMPLATE, Faces, refine_landmarks
from mmel.detection.faces import no_faces

COLOURS = {(1, 0, 0): 2, (0, 1, 0): 1, (0, 0, 1): 2}  # eyes, nose, corners of the mouth


class Dots:
    """One face whose landmarks are the centres of dots of three colours, left before right, shifted by `error`."""

    id = "dots"

    def __init__(self, error: tuple[float, float] = (0, 0)) -> None:
        self.error, self.sizes = error, [(0, 0)]

    def detect(self, pictures: Sequence[Image.Image]) -> list[Faces]:
        self.sizes = [picture.size for picture in pictures]
        return [self._face(np.asarray(picture) > 127) for picture in pictures]

    def _face(self, lit: np.ndarray) -> Faces:
        points = []
        for colour, count in COLOURS.items():
            rows, columns = np.nonzero((lit == np.array(colour, bool)).all(2))
            if not len(rows):
                return no_faces()
            halves = [columns >= 0] if count == 1 else [columns < columns.mean(), columns >= columns.mean()]
            points += [(columns[half].mean() + 0.5, rows[half].mean() + 0.5) for half in halves]
        landmarks = np.array([points], np.float32) + np.array(self.error, np.float32)
        return Faces(np.array([[*landmarks.min(1)[0], *landmarks.max(1)[0]]]), landmarks, np.ones(1, np.float32))


def face_of_dots(scale: float, angle: float) -> tuple[Image.Image, np.ndarray]:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = ARCFACE_TEMPLATE @ turn.T
    landmarks += 60 - landmarks.min(0)
    width, height = (landmarks.max(0) + 60).astype(int)
    rows, columns = np.mgrid[:height, :width] + 0.5
    pixels = np.zeros((height, width, 3), np.uint8)
    colours = [colour for colour, count in COLOURS.items() for _ in range(count)]
    for (x, y), colour in zip(landmarks, colours, strict=True):
        pixels[(columns - x) ** 2 + (rows - y) ** 2 < (6 * scale) ** 2] = 255 * np.array(colour)
    return Image.fromarray(pixels), landmarks


@pytest.mark.parametrize("scale", [0.6, 1.0, 3.0])
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_errors_with_a_side_cancel_and_the_view_is_upright(scale: float, angle: float) -> None:
    picture, truth = face_of_dots(scale, angle)
    start = truth + np.random.default_rng(0).normal(0, 3 * scale, truth.shape)
    exact = refine_landmarks(picture, start, Dots())
    np.testing.assert_allclose(exact, truth, atol=0.5 * scale)
    assert exact.dtype == np.float32
    biased = Dots((4.0, 0.0))
    np.testing.assert_allclose(refine_landmarks(picture, start, biased), exact, atol=1e-3)
    assert len(set(biased.sizes)) == 1 and len(biased.sizes) == 2


def test_a_face_that_is_not_found_again_stays_where_it_was() -> None:
    picture, truth = face_of_dots(1.0, 0.0)
    blank = Image.new("RGB", picture.size)
    np.testing.assert_array_equal(refine_landmarks(blank, truth, Dots()), truth.astype(np.float32))
    far = Dots((60.0, 0.0))  # beyond the view's own face: another one
    np.testing.assert_array_equal(refine_landmarks(picture, truth, far), truth.astype(np.float32))

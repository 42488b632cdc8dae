"""The choice of a region's face, and faces moved between a picture and its part."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmel.detection import Faces, choose_face
from mmel.detection.faces import no_faces, shrunk
from mmel.document import Box


def faces_of(*squares: tuple[float, float, float, float]) -> Faces:
    """Faces of (centre x, centre y, side, confidence)."""
    table = np.array(squares, np.float32)
    half = table[:, 2:3] / 2
    boxes = np.hstack([table[:, :2] - half, table[:, :2] + half])
    return Faces(boxes, np.repeat(table[:, None, :2], 5, axis=1), table[:, 3])


SIZE = (100, 100)
LARGE, SMALL, CORNER = (50, 50, 40, 0.9), (52, 52, 10, 0.95), (10, 10, 40, 0.9)


@pytest.mark.parametrize(
    ("faces", "box", "expected"),
    [
        ([], None, None),
        ([SMALL], None, 0),
        ([SMALL, LARGE], None, 1),
        ([CORNER, LARGE], None, 1),
        ([LARGE, CORNER], (0, 0, 30, 30), 1),
        ([LARGE, CORNER], (60, 60, 90, 90), None),
        ([LARGE, SMALL], (51, 51, 60, 60), 1),
        ([(40, 50, 20, 0.6), (60, 50, 20, 0.9)], None, 1),
        ([(0, 0, 5, 0.5)], None, 0),
    ],
)
def test_the_face_of_a_region(faces: list[tuple[float, ...]], box: Box | None, expected: int | None) -> None:
    found = faces_of(*faces) if faces else no_faces()  # type: ignore[arg-type]
    assert choose_face(found, box, SIZE) == expected


def test_faces_moved_there_and_back() -> None:
    faces = faces_of(LARGE, SMALL)
    moved = faces.moved(2, (10, -5))
    np.testing.assert_allclose(moved.landmarks[0, 0], [110, 95])
    np.testing.assert_allclose(moved.sizes, 2 * faces.sizes)
    back = moved.moved(0.5, (-5, 2.5))
    np.testing.assert_allclose(back.boxes, faces.boxes)
    assert moved.boxes.dtype == moved.landmarks.dtype == np.float32


def test_shrunk_keeps_small_pictures_and_thin_ones_a_pixel() -> None:
    picture = Image.new("RGB", (300, 1))
    assert shrunk(picture, 300) == (picture, 1.0)
    small, scale = shrunk(picture, 30)
    assert small.size == (30, 1) and scale == pytest.approx(0.1)

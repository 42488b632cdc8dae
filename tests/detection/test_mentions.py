from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmel.detection import Faces, detect_mentions
from mmel.errors import InputError, SkipReport


class Columns:
    """As many faces as a picture has tens of pixels in width, the last one beyond its right edge."""

    id = "columns"

    def detect(self, pictures: Sequence[Image.Image]) -> list[Faces]:
        return [self._faces(picture.width // 10) for picture in pictures]

    def _faces(self, count: int) -> Faces:
        left = 10 * np.arange(count) + 5.0
        boxes = np.stack([left, left * 0 - 1, left + 10, left * 0 + 8], axis=1).astype(np.float32)
        confidence = np.linspace(0.9, 0.5, count).astype(np.float32)
        return Faces(boxes, np.zeros((count, 5, 2), np.float32), confidence)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for width in (5, 10, 30):
        Image.new("RGB", (width, 10)).save(tmp_path / f"{width}.png")
    (tmp_path / "text.png").write_text("words")
    return tmp_path


def test_one_mention_a_face_with_its_box_inside_the_picture(root: Path) -> None:
    none, one, three = detect_mentions(["5.png", "10.png", "30.png"], Columns(), root)
    assert none == ()
    assert [(m.image, m.box, m.entity) for m in one] == [("10.png", (5, 0, 10, 8), None)]
    assert [m.box for m in three] == [(5, 0, 15, 8), (15, 0, 25, 8), (25, 0, 30, 8)]
    assert [m.extra and m.extra["confidence"] for m in three] == pytest.approx([0.9, 0.7, 0.5])


def test_faces_that_are_unsure_or_small_are_left_out(root: Path) -> None:
    assert [len(found) for found in detect_mentions(["30.png"], Columns(), root, threshold=0.6)] == [2]
    assert [len(found) for found in detect_mentions(["30.png"], Columns(), root, least=11)] == [0]


def test_unreadable_pictures_are_counted_or_raised(root: Path) -> None:
    skips = SkipReport()
    found = list(detect_mentions(["text.png", "10.png", "missing.png"], Columns(), root, skips=skips))
    assert [len(mentions) for mentions in found] == [0, 1, 0]
    assert skips.counts == {"picture cannot be read": 2}
    with pytest.raises(InputError, match="text.png"):
        list(detect_mentions(["10.png", "text.png"], Columns(), root))


@pytest.mark.data
def test_faces_of_real_posters(data_root: Path) -> None:
    from mmel.detection import make_detector

    detector = make_detector("yunet", data_root.parent / "weights" / "yunet_n_dynamic.onnx")
    posters = sorted(path.name for path in (data_root / "posters").rglob("*.jpg"))[:20]
    folder = next((data_root / "posters").rglob("*.jpg")).parent
    counts = [len(mentions) for mentions in detect_mentions(posters, detector, folder, threshold=0.7)]
    assert sum(counts) >= 20 and max(counts) >= 2

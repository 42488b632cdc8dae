"""MTCNN of facenet-pytorch: what the package trips over, and real faces beside YuNet's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmel.detection import make_detector
from mmel.errors import ConfigError

pytest.importorskip("facenet_pytorch")
from mmel.detection.mtcnn import Mtcnn


@pytest.fixture(scope="module")
def detector() -> Mtcnn:
    return Mtcnn()


def test_pictures_without_a_face_of_any_size(detector: Mtcnn) -> None:
    sizes = [(1, 1), (11, 200), (20, 20), (64, 48)]
    for faces in detector.detect([Image.new("RGB", size, "grey") for size in sizes]):
        assert (faces.boxes.shape, faces.landmarks.shape, faces.confidence.shape) == ((0, 4), (0, 5, 2), (0,))


def test_arrays_of_objects_become_numbers_best_first(detector: Mtcnn, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 25, 25]], object)
    points = np.array([[[i, i]] * 5 for i in (1, 2)], object)

    def detect(picture: Image.Image, landmarks: bool) -> tuple[Any, Any, Any]:
        return boxes, np.array([0.8, 1.0000001], object), points

    monkeypatch.setattr(detector._net, "detect", detect)
    faces = detector.detect([Image.new("RGB", (2048, 1024))])[0]
    assert faces.boxes.dtype == faces.landmarks.dtype == faces.confidence.dtype == np.float32
    np.testing.assert_allclose(faces.confidence, [1.0, 0.8])
    np.testing.assert_allclose(faces.boxes, [[10, 10, 50, 50], [0, 0, 20, 20]])
    np.testing.assert_allclose(faces.landmarks[:, 0], [[4, 4], [2, 2]])


def test_a_stage_that_leaves_nothing_is_no_face_and_other_failures_are_raised(
    detector: Mtcnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(message: str) -> Any:
        def detect(picture: Image.Image, landmarks: bool) -> None:
            raise RuntimeError(message)

        return detect

    monkeypatch.setattr(detector._net, "detect", fail("torch.cat(): expected a non-empty list of Tensors"))
    assert len(detector.detect([Image.new("RGB", (64, 64))])[0]) == 0
    monkeypatch.setattr(detector._net, "detect", fail("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        detector.detect([Image.new("RGB", (64, 64))])


@pytest.mark.parametrize("setting", [{"threshold": 1.0}, {"least": 5}, {"least": 30, "max_side": 20}])
def test_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Mtcnn(**setting)


@pytest.mark.data
def test_both_detectors_see_the_same_faces(data_root: Path, detector: Mtcnn) -> None:
    other = make_detector("yunet", data_root.parent / "weights" / "yunet_n_dynamic.onnx")
    paths = sorted((data_root / "movies" / "images" / "people").glob("*.jpg"))[:12]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    close = 0
    for one, two in zip(detector.detect(pictures), other.detect(pictures), strict=True):
        if len(one) and len(two):
            close += abs(one.landmarks[0] - two.landmarks[0]).mean() < 0.05 * two.sizes[0]
    assert close >= 10

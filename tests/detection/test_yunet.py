"""YuNet: its maps decoded by hand, non-maximum suppression by its twin, a model whose faces are known, OpenCV."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mmel.detection import Faces, make_detector
from mmel.detection.yunet import YuNet, decode, non_maximum_suppression
from mmel.errors import ConfigError, InputError
from tests.detection.models import write_red_model
from tests.encoders.images.models import write_corner_model


def empty_maps(width: int, height: int) -> dict[str, np.ndarray]:
    return {
        f"{name}_{stride}": np.zeros((1, (width // stride) * (height // stride), size), np.float32)
        for stride in (8, 16, 32)
        for name, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
    }


def test_one_cell_decoded_by_hand() -> None:
    maps = empty_maps(64, 32)
    cell = 2 * 4 + 0  # row 0, column 3 of stride 16 has number 3; row 1, column 0 number 4
    maps["cls_16"][0, 3], maps["obj_16"][0, 3] = 0.81, 0.64
    maps["bbox_16"][0, 3] = [0.5, 0.25, np.log(2), np.log(0.5)]
    maps["kps_16"][0, 3] = np.arange(10) / 10
    maps["cls_8"][0, cell], maps["obj_8"][0, cell] = 1.5, 0.1  # root of 1 x 0.1: below the threshold
    faces = decode(maps, width=64, threshold=0.5)
    np.testing.assert_allclose(faces.confidence, [0.72], rtol=1e-6)
    x, y = (3 + 0.5) * 16, 0.25 * 16
    np.testing.assert_allclose(faces.boxes, [[x - 16, y - 4, x + 16, y + 4]], rtol=1e-6)
    points = np.arange(10).reshape(5, 2) / 10
    np.testing.assert_allclose(faces.landmarks[0], np.add(points, [3, 0]) * 16, rtol=1e-6)
    assert [part.dtype.name for part in (faces.boxes, faces.landmarks, faces.confidence)] == ["float32"] * 3


def test_nothing_found_is_empty_and_the_best_comes_first() -> None:
    maps = empty_maps(64, 64)
    none = decode(maps, 64, 0.5)
    assert (none.boxes.shape, none.landmarks.shape, len(none)) == ((0, 4), (0, 5, 2), 0)
    for stride, score in ((8, 0.6), (32, 0.9), (16, 0.7)):
        maps[f"cls_{stride}"][0, -1] = maps[f"obj_{stride}"][0, -1] = score
    np.testing.assert_allclose(decode(maps, 64, 0.5).confidence, [0.9, 0.7, 0.6], rtol=1e-6)
    np.testing.assert_allclose(decode(maps, 64, 0.65).confidence, [0.9, 0.7], rtol=1e-6)


def kept_by_twin(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for j in kept:
            width = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0])
            height = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1])
            common = max(width, 0) * max(height, 0)
            union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (boxes[i], boxes[j])) - common
            if common > overlap * union:
                break
        else:
            kept.append(i)
    return kept


@given(
    st.lists(st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 9)] * 2), max_size=12), st.sampled_from([0.1, 0.3])
)
def test_suppression_against_its_twin(drawn: list[tuple[int, int, int, int]], overlap: float) -> None:
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in drawn], np.float32).reshape(-1, 4)
    scores = np.linspace(0.5, 0.9, len(boxes))[::-1].astype(np.float32)
    assert non_maximum_suppression(boxes, scores, overlap).tolist() == kept_by_twin(boxes, scores, overlap)


def red_square(size: tuple[int, int], *corners: tuple[int, int], side: int = 32, colour: str = "red") -> Image.Image:
    picture = Image.new("RGB", size, "black")
    for x, y in corners:
        ImageDraw.Draw(picture).rectangle((x, y, x + side - 1, y + side - 1), fill=colour)
    return picture


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_red_model(tmp_path_factory.mktemp("red") / "red.onnx")


def centres(faces: Faces) -> list[list[float]]:
    return np.round((faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2, 3).tolist()


def test_pictures_of_any_size_and_number_of_faces(weights: Path) -> None:
    detector = YuNet(weights, border=0)
    pictures = [
        red_square((100, 70), (32, 0)),
        red_square((100, 70)),
        red_square((256, 200), (64, 96), (192, 160)),
        Image.new("RGB", (1, 1), "red"),
        red_square((100, 70), (32, 0), colour="blue"),
    ]
    assert [centres(faces) for faces in detector.detect(pictures)] == [[[32, 0]], [], [[64, 96], [192, 160]], [], []]
    assert detector.detect([]) == []


def test_a_second_look_with_a_border_gives_pixels_of_the_picture(weights: Path) -> None:
    picture = red_square((48, 48), (8, 8))
    assert centres(YuNet(weights, threshold=0.8, border=0).detect([picture])[0]) == []
    assert centres(YuNet(weights, threshold=0.8, border=0.5).detect([picture])[0]) == [[8, 8]]


def test_large_pictures_are_shrunk_and_pixels_are_theirs(weights: Path) -> None:
    picture = red_square((512, 256), (256, 128), side=128)
    faces = YuNet(weights, max_side=128).detect([picture])[0]
    assert centres(faces) == [[256, 128]]
    np.testing.assert_allclose(faces.sizes, [128], rtol=1e-5)
    np.testing.assert_allclose(faces.landmarks[0], np.full((5, 2), (256, 128)), rtol=1e-5)


def test_the_id_tells_weights_and_settings(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(weights.read_bytes())
    assert YuNet(weights).id == YuNet(other).id
    assert len({YuNet(weights, **{key: 0.7}).id for key in ("threshold", "border")} | {YuNet(weights).id}) == 3  # type: ignore[arg-type]


def test_weights_that_are_none_or_another_models(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        YuNet(tmp_path / "none.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("words")
    with pytest.raises(InputError, match=r"text\.onnx: field 'weights': is no ONNX model that can be opened"):
        YuNet(text)
    for model in (
        write_corner_model(tmp_path / "embedder.onnx"),
        write_corner_model(tmp_path / "free.onnx", ("n", 3, "h", "w")),
        write_red_model(tmp_path / "others.onnx", ("conf", "iou", "loc", "marks")),
    ):
        with pytest.raises(InputError, match="is the model of another architecture: it takes x"):
            YuNet(model)
    with pytest.raises(InputError, match="has the SHA-256"):
        make_detector("yunet", text, sha256="0" * 64)


@pytest.mark.parametrize("setting", [{"threshold": 0.0}, {"max_side": 8}, {"border": -1.0}, {"threads": 0}])
def test_settings_out_of_range(weights: Path, setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        YuNet(weights, **setting)  # type: ignore[arg-type]


@pytest.mark.data
def test_the_same_faces_as_opencv(data_root: Path) -> None:
    cv2 = pytest.importorskip("cv2", minversion="5.0", reason="OpenCV opens models of free size from 5.0 on")
    weights = data_root.parent / "weights" / "yunet_n_dynamic.onnx"
    ours, compared = YuNet(weights, threshold=0.6, border=0), 0
    for path in sorted((data_root / "posters").rglob("*.jpg"))[:20]:
        picture = Image.open(path).convert("RGB")
        theirs = cv2.FaceDetectorYN.create(str(weights), "", picture.size, 0.6, 0.3, 5000)
        expected = theirs.detect(np.ascontiguousarray(np.asarray(picture)[..., ::-1]))[1]
        found = ours.detect([picture])[0]
        expected = np.empty((0, 15), np.float32) if expected is None else expected[np.argsort(-expected[:, 14])]
        compared += len(expected)
        np.testing.assert_allclose(found.confidence, expected[:, 14], atol=1e-4)
        np.testing.assert_allclose(found.landmarks.reshape(-1, 10), expected[:, 4:14], atol=0.01)
        np.testing.assert_allclose(found.boxes[:, :2], expected[:, :2], atol=0.01)
        np.testing.assert_allclose(found.boxes[:, 2:] - found.boxes[:, :2], expected[:, 2:4], atol=0.01)
    assert compared > 20

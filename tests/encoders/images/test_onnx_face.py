"""Faces through an ONNX model: the arithmetic around it, and what is said of a file or a picture that does not fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmel.encoders.images import make_image_encoder
from mmel.encoders.images.onnx_face import OnnxFaceEncoder
from mmel.errors import ConfigError, InputError, MissingDependencyError
from mmel.files import sha256_file
from tests.encoders.images.models import noise, write_corner_model

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def corner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corner_model(tmp_path_factory.mktemp("onnx") / "corner.onnx")


def _twin(picture: Image.Image, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    pixels = np.asarray(picture, np.float64)
    sides = []
    for face in (pixels, pixels[:, ::-1]):
        sides.append(((face[:2, :2] - mean) / deviation).transpose(2, 0, 1).ravel())
    row = np.concatenate(sides)
    return row / np.linalg.norm(row)


@pytest.mark.parametrize("normalisation", ["imagenet", "arcface"])
def test_rows_are_the_normalised_face_and_its_mirror_image_at_unit_norm(corner: Path, normalisation: str) -> None:
    mean, deviation = np.full(3, 127.5), np.full(3, 127.5)
    if normalisation == "imagenet":
        mean = np.array([0.485, 0.456, 0.406]) * 255
        deviation = np.array([0.229, 0.224, 0.225]) * 255
    pictures = noise(5)
    found = OnnxFaceEncoder(corner, normalisation=normalisation, batch=2).encode(pictures)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [_twin(picture, mean, deviation) for picture in pictures], atol=1e-5)


def test_without_the_mirror_image_half_as_wide(corner: Path) -> None:
    both, one = OnnxFaceEncoder(corner), OnnxFaceEncoder(corner, mirrored=False)
    assert (both.dim, one.dim) == (24, 12)
    first = both.encode(noise(2))[:, :12]
    np.testing.assert_allclose(one.encode(noise(2)), first / np.linalg.norm(first, axis=1, keepdims=True), atol=1e-6)


def test_batches_and_threads_change_nothing(corner: Path) -> None:
    encoder, pictures = OnnxFaceEncoder(corner, batch=3, threads=2), noise(10)
    whole = encoder.encode(pictures)
    with ThreadPoolExecutor(4) as pool:
        singly = list(pool.map(lambda picture: encoder.encode([picture]), pictures))
    np.testing.assert_allclose(np.concatenate(singly), whole, atol=1e-6)
    assert encoder.encode([]).shape == (0, 24)


def test_a_model_for_one_picture_at_a_time(corner: Path, tmp_path: Path) -> None:
    single = OnnxFaceEncoder(write_corner_model(tmp_path / "one.onnx", (1, 3, 112, 112)))
    np.testing.assert_allclose(single.encode(noise(3)), OnnxFaceEncoder(corner).encode(noise(3)), atol=1e-6)


def test_id_changes_with_everything_that_changes_rows(corner: Path, tmp_path: Path) -> None:
    other = write_corner_model(tmp_path / "other.onnx", scale=2)
    encoders = [
        OnnxFaceEncoder(corner),
        OnnxFaceEncoder(corner, normalisation="arcface"),
        OnnxFaceEncoder(corner, mirrored=False),
        OnnxFaceEncoder(other),
    ]
    assert len({encoder.id for encoder in encoders}) == 4
    assert OnnxFaceEncoder(corner, threads=2, batch=1).id == encoders[0].id


def test_made_by_name(corner: Path) -> None:
    assert make_image_encoder("onnx-face", corner).id == OnnxFaceEncoder(corner).id
    arcface = make_image_encoder("onnx-face:arcface", corner, sha256_file(corner).upper())
    assert arcface.id == OnnxFaceEncoder(corner, normalisation="arcface").id
    with pytest.raises(ConfigError, match="needs weights"):
        make_image_encoder("onnx-face")
    with pytest.raises(ConfigError, match="'onnx-fase' does not exist. Did you mean 'onnx-face'"):
        make_image_encoder("onnx-fase")
    with pytest.raises(ConfigError, match="normalisation is 'arkface'. Did you mean 'arcface'"):
        make_image_encoder("onnx-face:arkface", corner)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 112, 96), "takes pictures as"),
        (("n", 1, 112, 112), "takes pictures as"),
        ((8, 3, 112, 112), "takes pictures as"),
        (("n", 3, 112, 112, 1), "it takes x"),
    ],
)
def test_another_architecture(tmp_path: Path, shape: tuple[int | str, ...], message: str) -> None:
    path = write_corner_model(tmp_path / "m.onnx", shape)
    with pytest.raises(InputError, match=message) as error:
        OnnxFaceEncoder(path)
    assert str(path) in str(error.value)
    assert "Remedy: export" in str(error.value)


def test_a_model_that_gives_no_row_a_face(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gives an output of shape \[1, 3, 2, 2\] for one face"):
        OnnxFaceEncoder(write_corner_model(tmp_path / "map.onnx", flat=False))


def test_files_that_do_not_serve(corner: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    with pytest.raises(InputError, match=r"text.onnx.*is no ONNX model"):
        OnnxFaceEncoder(text)
    with pytest.raises(InputError, match=r"gone.onnx.*is not there"):
        OnnxFaceEncoder(tmp_path / "gone.onnx")
    with pytest.raises(InputError, match="is no file"):
        OnnxFaceEncoder(tmp_path)
    with pytest.raises(InputError, match=f"has the SHA-256 {sha256_file(corner)}, expected 0000"):
        OnnxFaceEncoder(corner, sha256="0" * 64)
    with pytest.raises(InputError, match="'abc' is no SHA-256"):
        OnnxFaceEncoder(corner, sha256="abc")
    with pytest.raises(ConfigError, match="at least 1"):
        OnnxFaceEncoder(corner, batch=0)


def test_pictures_that_do_not_fit(corner: Path) -> None:
    encoder = OnnxFaceEncoder(corner)
    with pytest.raises(InputError, match=r"picture 1 is 100x100, the encoder takes 112x112. Remedy: align"):
        encoder.encode([*noise(1), *noise(1, 100)])
    with pytest.raises(InputError, match=r"picture 0 has the mode 'L', not RGB"):
        encoder.encode([noise(1)[0].convert("L")])


def test_a_vector_without_direction_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gives picture 0 a vector of norm 0"):
        OnnxFaceEncoder(write_corner_model(tmp_path / "zero.onnx", scale=0)).encode(noise(1))
    with pytest.raises(InputError, match=r"a vector of norm inf"):
        OnnxFaceEncoder(write_corner_model(tmp_path / "inf.onnx", scale=float("inf"))).encode(noise(1))


def test_without_the_package(corner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"mmel\[face\]"):
        OnnxFaceEncoder(corner)

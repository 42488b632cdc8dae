"""The speed benchmark runs on painted faces, and both ways give the same vectors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from benchmarks.face_speed import main, write_pictures
from tests.detection.models import write_red_model
from tests.encoders.images.models import write_corner_model


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        picture = Image.new("RGB", (96, 48), (0, 0, 80 * i))
        ImageDraw.Draw(picture).rectangle((32, 0, 63, 31), fill="red")
        picture.save(folder / f"{i}.jpg")
    return folder


def test_pictures_are_repeated_and_resized(pictures: Path, tmp_path: Path) -> None:
    paths = write_pictures(pictures, tmp_path, count=5, side=24)
    assert len(paths) == 5 and len(set(paths)) == 3
    assert Image.open(paths[0]).size == (24, 12)


def test_measured(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detector, embedder = write_red_model(tmp_path / "red.onnx"), write_corner_model(tmp_path / "corner.onnx")
    command = ["--pictures", str(pictures), "--detector", str(detector), "--embedder", str(embedder)]
    command += ["--count", "5", "--side", "96", "--repeats", "1", "--cores", "2"]
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["pictures"] == result["faces"] == 5
    assert result["least_cosine"] > 0.999
    assert result["mmel"]["pictures_per_second"] > 0
    assert main(command) == 0
    assert "times as fast as plain" in capsys.readouterr().out

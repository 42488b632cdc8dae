from __future__ import annotations

from pathlib import Path

import pytest

from mmel.detection import make_detector
from mmel.errors import ConfigError
from tests.detection.models import write_red_model


def test_detectors_by_name(tmp_path: Path) -> None:
    assert make_detector("yunet", write_red_model(tmp_path / "red.onnx")).id.startswith("yunet-")
    pytest.importorskip("facenet_pytorch")
    assert make_detector("mtcnn").id.startswith("mtcnn-")


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("yunet", None, "'yunet' needs weights. Remedy: give the file"),
        ("mtcnn", "file.pt", "'mtcnn' takes no weights"),
        ("yunett", None, "'yunett' does not exist. Did you mean 'yunet'"),
    ],
)
def test_what_a_name_needs(name: str, weights: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_detector(name, weights)

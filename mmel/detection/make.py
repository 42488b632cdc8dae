"""The detectors that settings name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmel.detection.faces import FaceDetector
from mmel.detection.spans import TextDetector
from mmel.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from mmel.kb import KnowledgeBase

DETECTORS = ("yunet", "mtcnn")


def make_detector(name: str, weights: str | Path | None = None, sha256: str | None = None) -> FaceDetector:
    """The face detector called `name`: `yunet` (weights: its ONNX file) or `mtcnn` (weights come with its package).

    Raises ConfigError for an unknown name, and where weights are missing or not needed; what the detector raises.
    """
    if name == "yunet":
        from mmel.detection.yunet import YuNet

        if weights is None:
            raise ConfigError("detector 'yunet' needs weights. Remedy: give the file yunet_n_dynamic.onnx")
        return YuNet(weights, sha256=sha256)
    if name == "mtcnn":
        from mmel.detection.mtcnn import Mtcnn

        if weights is not None:
            raise ConfigError("detector 'mtcnn' takes no weights: they come with the package facenet-pytorch")
        return Mtcnn()
    raise ConfigError(f"detector '{name}' does not exist.{did_you_mean(name, DETECTORS)}")


def open_text_detector(file: Path, kb: KnowledgeBase) -> TextDetector | None:
    """What finds mentions in texts for a run whose detection file this is; None where it has none."""
    from mmel.detection.names import NameDetector

    return NameDetector.load(file, kb) if file.is_file() else None

"""MTCNN (Zhang et al. 2016) of facenet-pytorch, whose weights lie inside the package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from mmel.detection.faces import Faces, no_faces, shrunk
from mmel.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from PIL.Image import Image


class Mtcnn:
    """Faces by three networks, each over what the one before let through.

    Args:
        threshold: the least confidence.
        least: side of the smallest face looked for, pixels; larger is faster.
        max_side: larger pictures are shrunk to it for detection, in pixels; landmarks are of the picture as given.
        device: torch device.

    Raises:
        MissingDependencyError without facenet-pytorch; ConfigError for a setting out of range.
    """

    def __init__(self, *, threshold: float = 0.7, least: int = 20, max_side: int = 1024, device: str = "cpu") -> None:
        if not (0 < threshold < 1 and 12 <= least <= max_side):
            raise ConfigError(
                f"threshold = {threshold}, least = {least}, max_side = {max_side}: allowed are 0 < threshold < 1 and "
                "12 <= least <= max_side"
            )
        try:
            import facenet_pytorch
        except ImportError as error:
            raise MissingDependencyError("facenet-pytorch", "face") from error
        stages = [min(0.6, threshold), min(0.7, threshold), threshold]
        self._net = facenet_pytorch.MTCNN(
            keep_all=True, min_face_size=least, thresholds=stages, post_process=False, device=device
        )
        self._least, self._max_side = least, max_side
        self.id = f"mtcnn-{version('facenet-pytorch')}-{threshold:g}-{least}-{max_side}"

    def detect(self, pictures: Sequence[Image]) -> list[Faces]:
        """See FaceDetector."""
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture: Image) -> Faces:
        picture, scale = shrunk(picture, self._max_side)
        if min(picture.size) < self._least:  # the package's pyramid would be empty, and it fails
            return no_faces()
        # One picture a call: a batch must be of equal sizes, and one picture without a face makes lists of objects.
        try:
            boxes, scores, points = self._net.detect(picture, landmarks=True)
        except RuntimeError as error:
            # The package concatenates what a stage left; where that is nothing, torch refuses.
            if "non-empty list" not in str(error):
                raise
            return no_faces()
        if boxes is None:
            return no_faces()
        boxes, scores, points = (np.array(part.tolist(), np.float32) for part in (boxes, scores, points))
        order = np.argsort(-scores, kind="stable")
        return Faces(boxes[order], points[order], np.clip(scores[order], 0, 1)).moved(1 / scale, (0, 0))

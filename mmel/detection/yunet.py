"""YuNet (Wu et al. 2023, "YuNet: A Tiny Millisecond-level Face Detector") from its ONNX file, by onnxruntime.

OpenCV's `FaceDetectorYN` gives the same boxes in the same time, but its releases before 5.0 cannot open a model whose
sides are free, and one detector object of it serves one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmel.detection.faces import Faces, shrunk
from mmel.errors import ConfigError, InputError
from mmel.files import weights_digest
from mmel.onnx import open_model

if TYPE_CHECKING:
    from PIL.Image import Image

_REMEDY = "give a YuNet .onnx file with inputs of free size, such as yunet_n_dynamic.onnx"
_STRIDES = (8, 16, 32)
_OUTPUTS = tuple(f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in _STRIDES)
_OVERLAP = 0.3  # intersection over union above which the less confident of two boxes is the same face
_MOST = 5000  # boxes that go into that comparison, as in OpenCV


class YuNet:
    """Faces of at least about 10 pixels; calls from several threads are safe.

    Args:
        weights: the ONNX file with inputs of free size (`yunet_n_dynamic.onnx`). sha256: its digest, checked if given.
        threshold: the least confidence, the root of class score x objectness.
        max_side: larger pictures are shrunk to it for detection, in pixels; landmarks are of the picture as given.
        border: where nothing is found, look again with a black border of this fraction of the sides, because a face
            that fills the picture has no surroundings to be told by; 0 is never.
        threads: of one picture.

    Raises:
        MissingDependencyError without onnxruntime; InputError for a file that is missing, has another digest or is no
        YuNet; ConfigError for a setting out of range.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        sha256: str | None = None,
        threshold: float = 0.5,
        max_side: int = 1024,
        border: float = 0.5,
        threads: int = 1,
    ) -> None:
        if not (0 < threshold < 1 and max_side >= 32 and border >= 0 and threads >= 1):
            raise ConfigError(
                f"threshold = {threshold}, max_side = {max_side}, border = {border}, threads = {threads}: allowed are "
                "0 < threshold < 1, max_side >= 32, border >= 0, threads >= 1"
            )
        digest = weights_digest(weights, sha256)
        self._threshold, self._max_side, self._border = threshold, max_side, border
        self._session = _open(Path(weights), threads)
        self._input = self._session.get_inputs()[0].name
        self.id = f"yunet-{digest[:8]}-{threshold:g}-{max_side}-{border:g}"

    def detect(self, pictures: Sequence[Image]) -> list[Faces]:
        """See FaceDetector. One picture a pass: a batch of equal ones is no faster on a processor."""
        return [self._detect(picture) for picture in pictures]

    def _detect(self, picture: Image) -> Faces:
        picture, scale = shrunk(picture, self._max_side)
        faces = self._pass(np.asarray(picture))
        if not len(faces) and self._border:
            dx, dy = round(self._border * picture.width), round(self._border * picture.height)
            faces = self._pass(np.pad(np.asarray(picture), ((dy, dy), (dx, dx), (0, 0)))).moved(1, (-dx, -dy))
        return faces.moved(1 / scale, (0, 0))

    def _pass(self, pixels: np.ndarray) -> Faces:
        height, width = pixels.shape[:2]
        padded = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        padded[0, :, :height, :width] = pixels[..., ::-1].transpose(2, 0, 1)
        outputs = dict(zip(_OUTPUTS, self._session.run(_OUTPUTS, {self._input: padded}), strict=True))
        return decode(outputs, padded.shape[3], self._threshold)


def decode(outputs: dict[str, np.ndarray], width: int, threshold: float) -> Faces:
    """The faces in the maps of one picture: `cls`, `obj` `[1, cells, 1]`, `bbox` `[.., 4]`, `kps` `[.., 10]` a stride.

    A cell (column, row) of stride s holds the box of centre `(cell + b[:2]) s` and sides `exp(b[2:]) s`, and landmarks
    `(cell + k) s`, as in OpenCV's `FaceDetectorYN`. width: of the padded picture.
    """
    boxes, landmarks, scores = [], [], []
    for stride in _STRIDES:
        likely = np.clip([outputs[f"{part}_{stride}"][0, :, 0] for part in ("cls", "obj")], 0, 1)
        score = np.sqrt(likely[0] * likely[1])
        found = np.flatnonzero(score >= threshold)
        cells = np.stack([found % (width // stride), found // (width // stride)], axis=1).astype(np.float32)
        box, points = outputs[f"bbox_{stride}"][0, found], outputs[f"kps_{stride}"][0, found].reshape(-1, 5, 2)
        centres, half = (cells + box[:, :2]) * stride, np.exp(box[:, 2:]) * (stride / 2)
        boxes.append(np.hstack([centres - half, centres + half]))
        landmarks.append((cells[:, None] + points) * stride)
        scores.append(score[found])
    faces = Faces(np.concatenate(boxes), np.concatenate(landmarks), np.concatenate(scores))
    kept = non_maximum_suppression(faces.boxes, faces.confidence, _OVERLAP)
    return Faces(faces.boxes[kept], faces.landmarks[kept], faces.confidence[kept])


def non_maximum_suppression(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Positions of the boxes `[n, 4]` to keep, best first: each that overlaps no better kept one by more (IoU)."""
    order = np.argsort(-scores, kind="stable")[:_MOST]
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        sides = np.minimum(boxes[best, 2:], boxes[order, 2:]) - np.maximum(boxes[best, :2], boxes[order, :2])
        common = np.prod(np.clip(sides, 0, None), axis=1)
        order = order[common <= overlap * (areas[best] + areas[order] - common)]
    return np.array(kept, np.int64)


def _open(file: Path, threads: int) -> Any:
    session = open_model(file, threads, _REMEDY)
    inputs, outputs = session.get_inputs(), {output.name for output in session.get_outputs()}
    free = len(inputs) == 1 and len(inputs[0].shape) == 4 and not any(isinstance(n, int) for n in inputs[0].shape[2:])
    if not free or not outputs.issuperset(_OUTPUTS):
        shapes = ", ".join(f"{one.name} {one.shape}" for one in inputs)
        what = f"is the model of another architecture: it takes {shapes} and gives {', '.join(sorted(outputs))}"
        raise InputError(what, file=file, field="weights", remedy=_REMEDY)
    return session

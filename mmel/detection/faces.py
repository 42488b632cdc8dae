"""What every face detector gives, and the choice of one face for a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmel.document import Box

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Faces:
    """The n faces of a picture, most confident first, in float32 pixels of that picture.

    `boxes` `[n, 4]` (x0, y0, x1, y1); `landmarks` `[n, 5, 2]` (x, y) of left eye, right eye, nose, left and right
    corner of the mouth, left as the viewer sees it; `confidence` `[n]` in [0, 1].
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    confidence: np.ndarray

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def sizes(self) -> np.ndarray:
        """`[n]` geometric mean of each box's sides, pixels."""
        width, height = np.clip(self.boxes[:, 2:] - self.boxes[:, :2], 0, None).T
        return np.sqrt(width * height)

    def moved(self, scale: float, offset: tuple[float, float]) -> Faces:
        """The same faces in a picture where the point p is now at `scale * p + offset`."""
        shift = np.asarray(offset, np.float32)
        boxes = (self.boxes * scale + np.tile(shift, 2)).astype(np.float32)
        return Faces(boxes, (self.landmarks * scale + shift).astype(np.float32), self.confidence)


def no_faces() -> Faces:
    """The faces of a picture without one."""
    return Faces(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32))


def resized(picture: Image, side: int) -> tuple[Image, float]:
    """The picture with its longer side of `side` pixels, and its scale."""
    scale = side / max(picture.size)
    return picture.resize((max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))), scale


def shrunk(picture: Image, max_side: int) -> tuple[Image, float]:
    """The picture with its longer side at most `max_side` pixels, and its scale in (0, 1]."""
    return (picture, 1.0) if max(picture.size) <= max_side else resized(picture, max_side)


class FaceDetector(Protocol):
    """What the engine asks of a detector. `id` changes whenever its output would; calls from threads are safe."""

    @property
    def id(self) -> str: ...

    def detect(self, pictures: Sequence[Image]) -> list[Faces]:
        """The faces of each RGB picture; none is an empty `Faces`, not an error."""
        ...


def choose_face(faces: Faces, box: Box | None, size: tuple[int, int]) -> int | None:
    """Which face a region means: the largest whose centre is inside its box, weighed by how central and sure it is.

    The weight is area x confidence x (1 - d), d the distance of the centres in units of half the region's diagonal,
    so that of two faces alike the central one wins, and a large one before a small one behind it.

    Args:
        box: the region in the pixels of the faces; None is the whole picture. size: width, height of that picture.
    """
    if not len(faces):
        return None
    x0, y0, x1, y1 = (0.0, 0.0, *map(float, size)) if box is None else box
    centres = (faces.boxes[:, :2] + faces.boxes[:, 2:]) / 2
    inside = np.all((centres >= (x0, y0)) & (centres <= (x1, y1)), axis=1)
    if not inside.any():
        return None
    distance = np.hypot(*(centres - ((x0 + x1) / 2, (y0 + y1) / 2)).T) / (np.hypot(x1 - x0, y1 - y0) / 2)
    weight = faces.sizes**2 * faces.confidence * np.clip(1 - distance, 0, None)
    return int(np.argmax(np.where(inside, weight, -1.0)))

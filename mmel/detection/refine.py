"""Landmarks read a second time, from the face as every face is shown: upright, at one size, and mirrored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmel.detection.align import similarity_transform, template, warp
from mmel.detection.faces import FaceDetector

if TYPE_CHECKING:
    from PIL.Image import Image

VIEW_SIDE, _MARGIN = 128, 0.25  # of the view, pixels; around the template, a fraction of its side
_FAR = 0.15  # of the view's side: landmarks further from the template are another face's
_MIRRORED = [1, 0, 2, 4, 3]  # left is right and right is left


def refine_landmarks(picture: Image, landmarks: np.ndarray, detector: FaceDetector) -> np.ndarray:
    """`[5, 2]` float32: the landmarks `[5, 2]` of one face of a picture, more exact.

    A detector is trained to find faces of all sizes and turns, and its landmarks wander by some pixels with both. Seen
    in a view that is aligned by the first ones, the errors are smaller, and those that have a side cancel in the mean
    with the mirror image. Where the face is not found again, the landmarks are returned as they were.
    """
    from PIL import ImageOps

    aim = template(VIEW_SIDE, _MARGIN)
    matrix = similarity_transform(landmarks, aim)
    view = warp(picture, matrix, VIEW_SIDE)
    found = []
    for faces, mirrored in zip(detector.detect([view, ImageOps.mirror(view)]), (False, True), strict=True):
        if not len(faces):
            continue
        points = faces.landmarks
        if mirrored:
            points = (points * (-1, 1) + (VIEW_SIDE, 0))[:, _MIRRORED]
        away = np.abs(points - aim).max(axis=(1, 2))
        if away.min() < _FAR * VIEW_SIDE:
            found.append(points[np.argmin(away)])
    if not found:
        return np.asarray(landmarks, np.float32)
    turn, shift = matrix[:, :2], matrix[:, 2]
    return np.asarray((np.mean(found, axis=0) - shift) @ np.linalg.inv(turn).T, np.float32)

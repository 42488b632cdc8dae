"""Faces turned, scaled and moved so that five landmarks fall on those of the ArcFace template."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

ARCFACE_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eyes, nose and corners of the mouth in a face of 112 x 112 pixels (Deng et al. 2019, ArcFace)."""
_SIDE = 112


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`[2, 3]` matrix of the rotation, uniform scale and shift that takes `source` closest to `target`.

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", Eq. 40-42; both
    are `[n, 2]`. Never a reflection. Points that all coincide have no scale: they are only shifted.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    centre, goal = source.mean(0), target.mean(0)
    variance = ((source - centre) ** 2).sum() / len(source)
    if variance == 0:
        return np.hstack([np.eye(2), (goal - centre)[:, None]])
    left, values, right = np.linalg.svd((target - goal).T @ (source - centre) / len(source))
    sign = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(sign) @ right
    scale = (values * sign).sum() / variance
    return np.hstack([scale * rotation, (goal - scale * rotation @ centre)[:, None]])


def template(side: int = _SIDE, margin: float = 0.0) -> np.ndarray:
    """`[5, 2]` the ArcFace template in `side` pixels, with `margin` of its side added around it."""
    return (ARCFACE_TEMPLATE + margin * _SIDE) * (side / (_SIDE * (1 + 2 * margin)))


def align_face(picture: Image, landmarks: np.ndarray, size: int = _SIDE, margin: float = 0.0) -> Image:
    """A face of `size` x `size` pixels with its landmarks on the template; black where the picture ends.

    Args:
        landmarks: `[5, 2]` as in `Faces`.
        margin: of the template's side, added around it, for encoders that want hair and neck too.
    """
    return warp(picture, similarity_transform(landmarks, template(size, margin)), size)


def warp(picture: Image, matrix: np.ndarray, size: int) -> Image:
    """`size` x `size` pixels where the point p of the picture is at `matrix @ (p, 1)`, bilinear, averaged when shrunk.

    Bilinear reading alone looks at four pixels, so that a face of several times the size would be sampled, not
    averaged: the part of the picture that is needed is shrunk by a whole number first.
    """
    from PIL import Image as pillow

    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    factor = max(int(np.sqrt(abs(np.linalg.det(inverse[:2, :2])))), 1)
    if factor > 1:
        corners = inverse[:2] @ np.array([[0, size, size, 0], [0, 0, size, size], [1, 1, 1, 1]])
        limit = np.array(picture.size)
        low = np.clip(np.floor(corners.min(1)) - 2 * factor, 0, limit - 1).astype(int)
        high = np.clip(np.ceil(corners.max(1)) + 2 * factor, low + 1, limit).astype(int)
        picture = picture.crop((*low.tolist(), *high.tolist())).reduce(factor)
        inverse[:2, 2] -= low
        inverse[:2] /= factor
    return picture.transform(
        (size, size), pillow.Transform.AFFINE, tuple(inverse[:2].ravel().tolist()), pillow.Resampling.BILINEAR
    )

"""Boxes of regions: enlarged by a margin and clipped to the picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmel.document import Box
from mmel.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


def clip_box(box: Box, size: tuple[int, int], margin: float = 0.0) -> tuple[int, int, int, int]:
    """The whole pixels that `box` (x0, y0, x1, y1), enlarged by a margin, covers of a picture of `size` (w, h).

    margin: added on each side, as a fraction of the box's width and height.

    Raises:
        InputError: x1 <= x0 or y1 <= y0, a value that is not finite, or no pixel of the box inside the picture.
    """
    x0, y0, x1, y1 = box
    width, height = size
    if not all(map(math.isfinite, box)) or x1 <= x0 or y1 <= y0:
        raise InputError(
            f"{tuple(box)} is no box",
            field="box",
            remedy="give finite pixels (x0, y0, x1, y1) with x0 < x1 and y0 < y1",
        )
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        raise InputError(
            f"{tuple(box)} lies outside the picture of {width} x {height} pixels",
            field="box",
            remedy="give pixels of the picture as it is shown, after its EXIF rotation",
        )
    dx, dy = margin * (x1 - x0), margin * (y1 - y0)
    left, upper = max(math.floor(x0 - dx), 0), max(math.floor(y0 - dy), 0)
    return left, upper, min(math.ceil(x1 + dx), width), min(math.ceil(y1 + dy), height)


def crop(picture: Image, box: Box | None, margin: float = 0.0) -> Image:
    """The part of a picture under `box` as `clip_box` makes it; all of it where the box is None."""
    return picture if box is None else picture.crop(clip_box(box, picture.size, margin))

"""What every image encoder shares: the protocol, and the checks of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mmel.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageEncoder(Protocol):
    """What the engine asks of an image encoder.

    Attributes:
        id: changes whenever the output would (weights, preprocessing, precision).
        dim: d, the width of a row.
        size: side in pixels that pictures must have (an aligned face), None where any picture is taken.
    """

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def size(self) -> int | None: ...

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        """`[len(pictures), dim]` float32 rows of unit norm; RGB pictures. May be called from several threads."""
        ...


@runtime_checkable
class GridEncoder(Protocol):
    """An ImageEncoder that also gives what it sees before it is pooled (grid features, Huang et al. 2020).

    Attributes:
        grid_dim: g, the width of a cell's vector.
    """

    @property
    def grid_dim(self) -> int: ...

    def grid(self, pictures: Sequence[Image]) -> np.ndarray:
        """`[len(pictures), rows, columns, grid_dim]` float32, not normalised; pictures as for `encode`."""
        ...


def pixel_rows(pictures: Sequence[Image], size: int) -> np.ndarray:
    """`[n, size, size, 3]` uint8 of RGB pictures; InputError naming the first that is not RGB or not of that size."""
    rows = np.empty((len(pictures), size, size, 3), np.uint8)
    for number, picture in enumerate(pictures):
        check_rgb(picture, number)
        if picture.size != (size, size):
            raise InputError(
                f"picture {number} is {picture.width}x{picture.height}, the encoder takes {size}x{size}",
                field="pictures",
                remedy=f"align the face (mmel.detection.align.align_face with size={size}) or resize the picture",
            )
        rows[number] = np.asarray(picture)
    return rows


def check_rgb(picture: Image, number: int) -> None:
    """InputError where the picture has other channels than red, green and blue."""
    if picture.mode != "RGB":
        raise InputError(
            f"picture {number} has the mode '{picture.mode}', not RGB",
            field="pictures",
            remedy="open it with mmel.pictures.load_picture",
        )


def reason(error: Exception) -> str:
    """The first line of what a library says, or what kind of error it is."""
    return str(error).strip().split("\n")[0] or type(error).__name__


def finite_grid(cells: np.ndarray, encoder: str) -> np.ndarray:
    """`cells` `[n, rows, columns, g]`; InputError where one is not finite, also in half precision, as it is stored."""
    wrong = np.flatnonzero(~(np.abs(cells) <= np.finfo(np.float16).max).all((1, 2, 3)))
    if len(wrong):
        raise InputError(
            f"'{encoder}' gives picture {wrong[0]} cells that are not finite or above {np.finfo(np.float16).max:g}",
            field="weights",
            remedy="check that the weights belong to this encoder and are complete",
        )
    return cells


def unit_rows(rows: np.ndarray, encoder: str) -> np.ndarray:
    """`rows` `[n, d]` as float32 of unit norm; InputError where one is not finite or zero, and so no direction."""
    rows = np.asarray(rows, np.float32)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(norm[:, 0]) & (norm[:, 0] > 0)))
    if len(wrong):
        raise InputError(
            f"'{encoder}' gives picture {wrong[0]} a vector of norm {norm[wrong[0], 0]}",
            field="weights",
            remedy="check that the weights belong to this encoder and are complete",
        )
    return np.asarray(rows / norm)

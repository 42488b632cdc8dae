"""Whole pictures as grids of vectors, kept on disk like those of regions (Wang et al. 2022, Eq. 3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmel.encoders.cache import Encoding, EncodingCache
from mmel.encoders.images.base import GridEncoder, ImageEncoder
from mmel.errors import ConfigError, SkipReport
from mmel.vision.regions import Region, RegionEncoder, Seen

BOX = 4


class Grid(NamedTuple):
    """Cells of the pictures of one thing: `cells` `[c, g]` float16, and `boxes` `[c, 4]` float16, the share of its
    picture that each covers (x0, y0, x1, y1). No rows where there is no picture that can be read."""

    cells: np.ndarray
    boxes: np.ndarray


class PictureGrids(RegionEncoder):
    """Reads whole pictures as grids, each distinct one once.

    encoder: one with a grid (`resnet50`, `open-clip`, the patch transformer); others: see RegionEncoder.
    """

    def __init__(self, encoder: ImageEncoder, folder: Path | None = None, workers: int = 2) -> None:
        if not isinstance(encoder, GridEncoder):
            raise ConfigError(
                f"image encoder '{encoder.id}' gives one vector a picture and no grid. "
                "Remedy: vision.encoder=resnet50, open-clip:MODEL/PRETRAINED or patch-transformer"
            )
        self.grids: GridEncoder = encoder
        super().__init__(encoder, None, folder, workers=workers)

    @property
    def dim(self) -> int:
        """g, the width of a cell's vector."""
        return self.grids.grid_dim

    def read(
        self,
        pictures: Sequence[Sequence[Path]],
        most: int,
        skips: SkipReport,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Grid]:
        """The grids of the first `most` pictures of each thing, one behind the other; the unreadable are counted."""
        regions = [[Region(path) for path in each[:most]] for each in pictures]
        stored = iter(self.stored([region for each in regions for region in each], skips, on_batch))
        empty = Encoding(np.empty((0, self.dim), np.float16), np.empty((0, 2), np.int32))
        return [_joined([next(stored) or empty for _ in each] or [empty]) for each in regions]

    def _open(self, folder: Path) -> EncodingCache:
        self.id += "+grid"
        return EncodingCache(folder / self.id, self.dim)

    def _encoded(self, seen: Sequence[Seen]) -> list[Encoding]:
        grids = self.grids.grid([one.picture for one in seen]).astype(np.float16)
        # The cache keeps two integers beside a row; here they are the bits of four numbers.
        boxes = cell_boxes(*grids.shape[1:3]).view(np.int32)
        return [Encoding(grid.reshape(len(boxes), -1), boxes) for grid in grids]


def cell_boxes(rows: int, columns: int) -> np.ndarray:
    """`[rows * columns, 4]` float16 shares of a picture, (x0, y0, x1, y1), row by row."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], 1).astype(np.float16)


def _joined(parts: Sequence[Encoding]) -> Grid:
    cells, boxes = parts[0] if len(parts) == 1 else (np.concatenate(each) for each in zip(*parts, strict=True))
    return Grid(np.asarray(cells), np.ascontiguousarray(boxes).view(np.float16).reshape(-1, BOX))

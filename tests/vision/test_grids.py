"""Pictures as grids: places of cells, several pictures, what cannot be read, and what is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmel.errors import ConfigError, SkipReport
from mmel.vision.grids import PictureGrids, cell_boxes
from mmel.vision.regions import UNREADABLE


class Mosaic:
    """Mean colours of 2 x 3 cells."""

    id, dim, size, grid_dim = "mosaic", 3, None, 3

    def __init__(self) -> None:
        self.seen = 0

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        raise AssertionError("grids are no pooled vectors")

    def grid(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.seen += len(pictures)
        return np.stack([np.asarray(one.resize((3, 2), Image.Resampling.BOX), np.float32) for one in pictures])


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    random = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path in paths:
        tiles = np.kron(random.integers(0, 255, (2, 3, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        Image.fromarray(tiles).save(path)
    return paths


def test_cells_lie_row_by_row(pictures: list[Path], tmp_path: Path) -> None:
    encoder, skips = Mosaic(), SkipReport()
    grids = PictureGrids(encoder, tmp_path / "cache")
    (found,) = grids.read([pictures[:1]], 1, skips)
    tiles = np.asarray(Image.open(pictures[0]))[1::4, 1::4]
    np.testing.assert_array_equal(found.cells, tiles.reshape(6, 3))
    for (x0, y0, x1, y1), cell in zip(found.boxes.astype(float), found.cells, strict=True):
        np.testing.assert_array_equal(tiles[int(y0 + y1), int(3 * (x0 + x1) / 2)], cell)
    assert not skips.counts


def test_several_pictures_and_unreadable_ones(pictures: list[Path], tmp_path: Path) -> None:
    encoder, skips = Mosaic(), SkipReport()
    grids = PictureGrids(encoder, tmp_path / "cache")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    things = [pictures, [], [broken], [tmp_path / "absent.png", pictures[1]], pictures[1:2]]
    found = grids.read(things, 2, skips)
    assert [len(one.cells) for one in found] == [12, 0, 0, 6, 6]
    assert [one.boxes.shape for one in found] == [(12, 4), (0, 4), (0, 4), (6, 4), (6, 4)]
    np.testing.assert_array_equal(found[0].cells[6:], found[4].cells)
    np.testing.assert_array_equal(found[3].cells, found[4].cells)
    assert skips.counts == {UNREADABLE: 2} and encoder.seen == 2
    again = PictureGrids(encoder, tmp_path / "cache").read(things, 2, SkipReport())
    assert encoder.seen == 2  # what was read stays on disk
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.cells, other.cells)
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_boxes_tile_the_picture() -> None:
    boxes = cell_boxes(2, 4).astype(float)
    assert boxes[0].tolist() == [0, 0, 0.25, 0.5] and boxes[-1].tolist() == [0.75, 0.5, 1, 1]
    assert ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() == pytest.approx(1)


def test_an_encoder_without_a_grid(tmp_path: Path) -> None:
    class Plain:
        id, dim, size = "plain", 3, None

        def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
            return np.ones((len(pictures), 3), np.float32)

    with pytest.raises(ConfigError, match=r"'plain' gives one vector a picture and no grid.*resnet50"):
        PictureGrids(Plain(), tmp_path)

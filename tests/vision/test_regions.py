"""Regions as vectors: a detector and an encoder whose answers are known, over real files and caches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from mmel.detection import ARCFACE_TEMPLATE, Faces
from mmel.detection.faces import no_faces
from mmel.errors import ConfigError, InputError
from mmel.vision.regions import NO_FACE, NO_FACE_CROPPED, UNREADABLE, Region, RegionEncoder


class MeanColour:
    """The mean colour of a picture at unit norm; notes what it was given."""

    dim = 3

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self.id = f"mean-{size}"
        self.seen: list[Image.Image] = []
        self.batches: list[int] = []

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        self.seen += pictures
        self.batches.append(len(pictures))
        means = np.array([np.asarray(picture, np.float32).mean((0, 1)) for picture in pictures]) + 1e-3
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), np.float32)


class Squares:
    """A face for each bright square of the picture it is given, as large as it."""

    id = "squares"

    def detect(self, pictures: Sequence[Image.Image]) -> list[Faces]:
        return [self._faces(np.asarray(picture).max(2) > 127) for picture in pictures]

    def _faces(self, bright: np.ndarray) -> Faces:
        labels, count = ndimage.label(bright)
        if not count:
            return no_faces()
        slices = ndimage.find_objects(labels)
        boxes = np.array([(x.start, y.start, x.stop, y.stop) for y, x in slices], np.float32)
        sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
        landmarks = boxes[:, None, :2] + ARCFACE_TEMPLATE[None] * sides / 112
        return Faces(boxes, landmarks.astype(np.float32), np.full(count, 0.75, np.float32))


COLOURS = {"red": (1, 0, 0), "lime": (0, 1, 0), "blue": (0, 0, 1)}


def painted(path: Path, *squares: tuple[str, int, int], size: tuple[int, int] = (60, 40)) -> Path:
    """A black picture with squares of 20 pixels."""
    picture = Image.new("RGB", size)
    for colour, x, y in squares:
        picture.paste(colour, (x, y, x + 20, y + 20))
    picture.save(path)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Red on the left, lime on the right."""
    return painted(tmp_path / "two.png", ("red", 5, 10), ("lime", 36, 10))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return painted(tmp_path / "empty.png")


def test_the_face_of_each_region_is_aligned_and_encoded(two: Path, tmp_path: Path) -> None:
    encoder = MeanColour()
    regions = RegionEncoder(encoder, Squares(), tmp_path / "cache", refine=False)
    found = regions.encode([Region(two, (0, 0, 30, 40)), Region(two, (30, 0, 60, 40)), Region(two, (2.5, 8, 28, 33))])
    np.testing.assert_allclose(found.vectors, [COLOURS["red"], COLOURS["lime"], COLOURS["red"]], atol=0.02)
    assert found.vectors.dtype == np.float32 and found.found.all() and not found.skips.counts
    np.testing.assert_allclose(found.confidence, 0.75)
    np.testing.assert_allclose(found.size, 20, rtol=0.05)
    assert {picture.size for picture in encoder.seen} == {(112, 112)}
    for picture in encoder.seen:
        middle = np.asarray(picture)[8:-8, 8:-8].max(2)
        assert middle.min() > 250, "the whole face, from edge to edge"


def test_the_size_of_an_aligned_face_is_the_encoders(two: Path, tmp_path: Path) -> None:
    encoder = MeanColour(64)
    RegionEncoder(encoder, Squares(), tmp_path, refine=False).encode([Region(two)])
    assert encoder.seen[0].size == (64, 64)


def test_without_a_detector_the_pixels_are_encoded(two: Path, tmp_path: Path) -> None:
    encoder = MeanColour()
    found = RegionEncoder(encoder, None, tmp_path).encode([Region(two, (5, 10, 25, 30)), Region(two, (36, 12, 46, 30))])
    np.testing.assert_allclose(found.vectors, [COLOURS["red"], COLOURS["lime"]], atol=1e-3)
    assert [picture.size for picture in encoder.seen] == [(20, 20), (10, 18)]
    np.testing.assert_allclose(found.confidence, 1)
    np.testing.assert_allclose(found.size, [20, np.sqrt(180)], rtol=1e-6)
    sized = MeanColour(32)
    RegionEncoder(sized, None, tmp_path).encode([Region(two, (36, 12, 46, 30))])
    assert sized.seen[0].size == (32, 32)


def test_a_region_without_a_face_is_counted(two: Path, empty: Path, tmp_path: Path) -> None:
    regions = RegionEncoder(MeanColour(), Squares(), tmp_path, refine=False)
    for _ in range(2):  # computed, then from disk
        found = regions.encode([Region(empty), Region(two), Region(two, (26, 0, 34, 9))])
        assert found.found.tolist() == [False, True, False]
        assert np.isnan(found.vectors[0]).all() and np.isfinite(found.vectors[1]).all()
        assert found.confidence.tolist() == [0, 0.75, 0] and found.skips.counts == {NO_FACE: 2}
        assert "box (26, 0, 34, 9)" in found.skips.summary() and "empty.png" in found.skips.summary()


def test_or_its_middle_is_taken_and_counted(empty: Path, tmp_path: Path) -> None:
    painted(empty, ("blue", 20, 10), size=(60, 39))
    encoder = MeanColour()
    regions = RegionEncoder(encoder, Squares(), tmp_path, refine=False, unaligned="crop")
    for _ in range(2):
        found = regions.encode([Region(empty, (25, 11, 35, 25)), Region(empty, (0, 0, 10, 10))])
        np.testing.assert_allclose(found.vectors[0], COLOURS["blue"], atol=0.02)
        assert found.found.all() and found.skips.counts == {NO_FACE_CROPPED: 2 - (found.confidence > 0).sum()}
    assert (found.confidence[1], found.size[1]) == (0, 10)
    assert {picture.size for picture in encoder.seen} == {(112, 112)}


def broken(tmp_path: Path, two: Path) -> list[Region]:
    (tmp_path / "text.png").write_text("words")
    return [
        Region(tmp_path / "missing.png"),
        Region(tmp_path / "missing.png", (0, 0, 5, 5)),
        Region(tmp_path / "text.png"),
        Region(two, (100, 0, 120, 10)),
        Region(two, (10, 0, 5, 10)),
    ]


def test_what_cannot_be_read_is_counted_with_its_file(tmp_path: Path, two: Path) -> None:
    regions = RegionEncoder(MeanColour(), Squares(), tmp_path / "cache", refine=False, batch=2)
    for _ in range(2):
        found = regions.encode([*broken(tmp_path, two), Region(two)])
        assert found.found.tolist() == [False] * 5 + [True]
        assert found.skips.counts == {UNREADABLE: 5}
        for part in ("missing.png", "text.png", "two.png: field 'box': (100, 0, 120, 10) lies outside", "is no box"):
            assert part in found.skips.summary()


@pytest.mark.parametrize("which", range(5))
def test_or_raised(tmp_path: Path, two: Path, which: int) -> None:
    regions = RegionEncoder(MeanColour(), Squares(), tmp_path / "cache", refine=False, unreadable="error")
    with pytest.raises(InputError, match=r"(missing|text|two)\.png: "):
        regions.encode([Region(two), broken(tmp_path, two)[which]])
    assert regions.encode([Region(two)]).found.all()


def test_nothing_is_computed_twice_whatever_its_file_is_called(two: Path, tmp_path: Path) -> None:
    encoder = MeanColour()
    copy = tmp_path / "copy.png"
    copy.write_bytes(two.read_bytes())
    wanted = [Region(two), Region(copy), Region(two, (0, 0, 30, 40)), Region(two)]
    told: list[int] = []
    first = RegionEncoder(encoder, Squares(), tmp_path / "cache", refine=False).encode(wanted, told.append)
    assert len(encoder.seen) == sum(told) == 2
    again = RegionEncoder(encoder, Squares(), tmp_path / "cache", refine=False).encode(wanted[::-1])
    assert len(encoder.seen) == 2
    np.testing.assert_array_equal(first.vectors, again.vectors[::-1])
    painted(copy, ("blue", 5, 5))
    changed = RegionEncoder(encoder, Squares(), tmp_path / "cache", refine=False).encode([Region(copy)])
    np.testing.assert_allclose(changed.vectors[0], COLOURS["blue"], atol=0.02)


def test_what_is_not_kept_is_computed_again_to_the_same(two: Path, tmp_path: Path) -> None:
    encoder = MeanColour()
    wanted = [Region(two), Region(two, (0, 0, 30, 40)), Region(two)]
    passing = RegionEncoder(encoder, Squares(), tmp_path / "cache", refine=False)
    passing.keep = False
    first = passing.encode(wanted)
    again = passing.encode(wanted)
    assert len(encoder.seen) == 4
    kept = RegionEncoder(encoder, Squares(), tmp_path / "cache", refine=False).encode(wanted)
    for other in (again, kept):
        np.testing.assert_array_equal(first.vectors, other.vectors)


def test_settings_that_change_a_vector_have_caches_of_their_own(two: Path, tmp_path: Path) -> None:
    settings: list[dict[str, Any]] = [
        {},
        {"margin": 0.5},
        {"refine": False},
        {"side": 64},
        {"face_margin": 0.1},
        {"unaligned": "crop"},
    ]
    ids = {RegionEncoder(MeanColour(), Squares(), tmp_path, **kept).id for kept in settings}
    ids |= {
        RegionEncoder(MeanColour(64), Squares(), tmp_path, refine=False).id,
        RegionEncoder(MeanColour(), None, tmp_path).id,
    }
    assert len(ids) == 8
    same = RegionEncoder(MeanColour(), Squares(), tmp_path, refine=False, workers=5, batch=3, unreadable="error")
    assert same.id in ids


@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (3, 4), (2, 100)])
def test_batches_on_threads_keep_the_order(tmp_path: Path, workers: int, batch: int) -> None:
    names = [list(COLOURS)[i % 3] for i in range(17)]
    files = [painted(tmp_path / f"{i}.png", (name, i, 3)) for i, name in enumerate(names)]
    encoder = MeanColour()
    found = RegionEncoder(encoder, Squares(), tmp_path / "cache", refine=False, workers=workers, batch=batch).encode(
        [Region(file) for file in files]
    )
    np.testing.assert_allclose(found.vectors, [COLOURS[name] for name in names], atol=0.02)
    assert max(encoder.batches) == min(batch, 17) and sum(encoder.batches) == 17


def test_a_failing_encoder_is_not_swallowed_and_ends_its_threads(two: Path, tmp_path: Path) -> None:
    class Failing(MeanColour):
        def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
            raise RuntimeError("out of memory")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"):
        RegionEncoder(Failing(), Squares(), tmp_path, refine=False).encode([Region(two)])
    assert threading.active_count() == before


def test_no_region_and_pictures_of_one_pixel(tmp_path: Path) -> None:
    none = RegionEncoder(MeanColour(), Squares(), tmp_path / "cache", refine=False).encode([])
    assert none.vectors.shape == (0, 3) and none.found.shape == (0,)
    Image.new("RGB", (1, 1), "red").save(tmp_path / "one.png")
    for detector, unaligned in ((Squares(), "crop"), (None, "skip")):
        regions = RegionEncoder(MeanColour(), detector, tmp_path, unaligned=unaligned)  # type: ignore[arg-type]
        found = regions.encode([Region(tmp_path / "one.png"), Region(tmp_path / "one.png", (0, 0, 1, 1))])
        np.testing.assert_allclose(found.vectors, [COLOURS["red"]] * 2, atol=0.01)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"unaligned": "error"}, "unaligned is 'error'; allowed: skip, crop"),
        ({"unreadable": "crop"}, "unreadable is 'crop'; allowed: skip, error"),
        ({"margin": -1}, "margin = -1"),
        ({"side": 64}, "side = 64: encoder 'mean-32' takes 32 pixels"),
        ({"workers": 0}, "workers = 0"),
        ({"batch": 0}, "batch = 0"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RegionEncoder(MeanColour(32), None, tmp_path, **setting)

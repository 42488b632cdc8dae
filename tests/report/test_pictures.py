from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmel.report.pictures import Thumbnails, thumbnails
from mmel.vision.regions import Region


def noise(path: Path, size: tuple[int, int] = (300, 200), seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def embedded(thumbs: Thumbnails) -> list[Image.Image]:
    data = re.findall(r'url\("data:image/jpeg;base64,([^"]+)"\)', thumbs.css)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in data]


def test_equal_pictures_are_embedded_once(tmp_path: Path) -> None:
    first = noise(tmp_path / "a.png")
    again, other = Path(shutil.copy(first, tmp_path / "b.png")), noise(tmp_path / "c.png", seed=1)
    thumbs = thumbnails([Region(first), Region(again), Region(other), Region(first)])
    assert thumbs.classes == {Region(first): "p0", Region(again): "p0", Region(other): "p1"}
    assert [picture.size for picture in embedded(thumbs)] == [(112, 75)] * 2
    assert thumbs.problems == ()


def test_a_box_is_cut_out_with_a_margin(tmp_path: Path) -> None:
    picture = Image.new("RGB", (200, 200), "blue")
    picture.paste("red", (100, 100, 140, 140))
    picture.save(tmp_path / "a.png")
    (shown,) = embedded(thumbnails([Region(tmp_path / "a.png", (100, 100, 140, 140))]))
    assert shown.size == (60, 60)
    red = np.asarray(shown)[:, :, 0] > 128
    assert red[12:48, 12:48].all() and not red[:8].any() and not red[:, :8].any()


def test_small_pictures_keep_their_pixels_and_no_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "where it was taken"
    Image.new("RGB", (20, 10), "red").save(tmp_path / "a.jpg", exif=exif)
    (shown,) = embedded(thumbnails([Region(tmp_path / "a.jpg")]))
    assert shown.size == (20, 10)
    assert not shown.getexif()


@pytest.mark.parametrize(
    ("name", "box", "says"),
    [("none.jpg", None, "none.jpg"), ("text.jpg", None, "text.jpg"), ("a.png", (500, 0, 600, 10), "outside")],
)
def test_what_cannot_be_read_has_a_placeholder(
    tmp_path: Path, name: str, box: tuple[float, float, float, float] | None, says: str
) -> None:
    noise(tmp_path / "a.png")
    (tmp_path / "text.jpg").write_text("no picture")
    region = Region(tmp_path / name, box)
    thumbs = thumbnails([region])
    (problem,) = thumbs.problems
    assert says in problem and name in problem
    assert thumbs.css == ""
    assert thumbs.tile(region, "Ann & Bo") == (
        '<div class="picture missing" role="img" aria-label="Ann &amp; Bo: cannot be read">cannot be read</div>'
    )
    assert "no picture" in thumbs.tile(None, "Ann")

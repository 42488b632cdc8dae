"""Pictures whose content is known, in every mode and orientation; files that are broken, hostile or none."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmel.errors import InputError, SkipReport
from mmel.pictures import load_picture, picture_size, read_pictures

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    picture = load_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def corners() -> Image.Image:
    """3 x 2 pixels, a red one at the upper left."""
    image = Image.new("RGB", (3, 2), "blue")
    image.putpixel((0, 0), RED)
    return image


@pytest.mark.parametrize(
    ("orientation", "size", "red"),
    [
        (1, (3, 2), (0, 0)),
        (2, (3, 2), (2, 0)),
        (3, (3, 2), (2, 1)),
        (4, (3, 2), (0, 1)),
        (5, (2, 3), (0, 0)),
        (6, (2, 3), (1, 0)),
        (7, (2, 3), (1, 2)),
        (8, (2, 3), (0, 2)),
    ],
)
def test_a_picture_is_turned_as_its_exif_says(
    tmp_path: Path, orientation: int, size: tuple[int, int], red: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "turned.png", corners(), exif=exif)
    picture = load_picture(path)
    assert picture.size == picture_size(path) == size
    assert picture.getpixel(red) == RED


def test_exif_that_cannot_be_parsed_is_no_orientation(tmp_path: Path) -> None:
    path = saved(tmp_path / "odd.jpg", corners(), exif=b"Exif\0\0not a directory of tags")
    assert load_picture(path).size == picture_size(path) == (3, 2)


def over_white(mode: str) -> Image.Image:
    """A transparent, a half transparent and an opaque pixel, all black."""
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 128))
    image.putpixel((2, 0), (0, 0, 0, 255))
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_lies_over_white(tmp_path: Path, mode: str) -> None:
    row = pixels(saved(tmp_path / "see.png", over_white(mode)))[0]
    assert [tuple(pixel) for pixel in row.tolist()] == [WHITE, (127, 127, 127), BLACK]


def test_palettes_and_the_one_transparent_colour_of_a_png(tmp_path: Path) -> None:
    palette = corners().convert("P")
    np.testing.assert_array_equal(pixels(saved(tmp_path / "p.png", palette)), np.asarray(corners()))
    clear = pixels(saved(tmp_path / "clear.png", palette, transparency=palette.getpixel((0, 0))))
    assert tuple(clear[0, 0]) == WHITE and tuple(clear[1, 1]) == (0, 0, 255)
    keyed = pixels(saved(tmp_path / "keyed.png", corners(), transparency=(0, 0, 255)))
    assert tuple(keyed[0, 0]) == RED and tuple(keyed[1, 1]) == WHITE
    grey = pixels(saved(tmp_path / "grey.png", Image.new("L", (1, 1), 7), transparency=7))
    assert tuple(grey[0, 0]) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "CMYK", "YCbCr"])
def test_colours_of_other_modes(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(np.array([[WHITE, BLACK]], np.uint8)).convert(mode)
    np.testing.assert_allclose(pixels(saved(tmp_path / "colours.tif", image))[0], [WHITE, BLACK], atol=2)


def test_sixteen_bits_keep_their_greys(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    for name in ("grey.png", "grey.tif"):
        path = saved(tmp_path / name, Image.fromarray(values))
        assert pixels(path)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "depth.tif", Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(InputError, match=r"depth\.tif: has the colour mode F\. Remedy: save it as 8-bit RGB"):
        load_picture(path)


@pytest.mark.parametrize("name", ["film.gif", "film.webp", "film.png"])
def test_the_first_frame_of_an_animation(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], lossless=True)
    assert tuple(pixels(path)[0, 0]) == RED


def png_header(width: int, height: int) -> bytes:
    """The first bytes of a PNG of that size, without any pixel."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 12_000, 30_000])
def test_a_hostile_size_is_refused_by_the_header(tmp_path: Path, side: int) -> None:
    # Only a header: had anything been decoded, the error would be that of a truncated file.
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side) + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    with pytest.raises(InputError, match=r"bomb\.png.*pixels.*Remedy: make the picture smaller"):
        load_picture(path)


def test_the_limit_is_exact(tmp_path: Path) -> None:
    path = saved(tmp_path / "six.png", corners())
    assert load_picture(path, max_pixels=6).size == (3, 2)
    with pytest.raises(InputError, match="3 x 2 pixels are more than the 5 allowed"):
        load_picture(path, max_pixels=5)


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    saved(path, Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": ("none.jpg", lambda path: None, "cannot be read.*check the path"),
    "folder": ("folder.jpg", lambda path: path.mkdir(), "cannot be read.*check the path"),
    "empty": ("empty.jpg", lambda path: path.touch(), "cannot be read as a picture.*give a whole file"),
    "text": ("text.jpg", lambda path: path.write_text("dear diary"), "cannot be read as a picture"),
    "video": ("a.mp4", lambda path: path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(64)), "of a video, save a frame"),
    "truncated JPEG": ("half.jpg", truncated, "cannot be read as a picture.*truncated"),
    "truncated PNG": ("half.png", truncated, "cannot be read as a picture"),
    "truncated GIF": ("half.gif", truncated, "cannot be read as a picture"),
    "truncated WebP": ("half.webp", truncated, "cannot be read as a picture"),
    "truncated TIFF": ("half.tif", truncated, "cannot be read as a picture"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_read_names_file_and_remedy(tmp_path: Path, kind: str) -> None:
    name, make, message = BROKEN[kind]
    make(tmp_path / name)
    with pytest.raises(InputError, match=f"(?s){name}: .*{message}"):
        load_picture(tmp_path / name)


def test_a_size_is_read_without_decoding(tmp_path: Path) -> None:
    path = saved(tmp_path / "noise.png", Image.effect_noise((200, 100), 90))
    path.write_bytes(path.read_bytes()[:2000])
    assert picture_size(path) == (200, 100)
    path.write_bytes(b"words")
    with pytest.raises(InputError, match="noise.png: cannot be read as a picture"):
        picture_size(path)


def test_a_flipped_bit_gives_a_picture_or_the_one_error(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.png", corners()).read_bytes()
    path, errors = tmp_path / "flipped.png", 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            load_picture(path)
        except InputError:
            errors += 1
    assert errors > len(whole) // 2


@pytest.fixture
def mixed(tmp_path: Path) -> list[Path]:
    """Ten readable pictures of width 1..10, with a broken and a missing one between."""
    paths = [saved(tmp_path / f"{width}.png", Image.new("RGB", (width, 1))) for width in range(1, 11)]
    (tmp_path / "text.png").write_text("words")
    return [*paths[:3], tmp_path / "text.png", *paths[3:7], tmp_path / "missing.png", *paths[7:]]


@pytest.mark.parametrize("workers", [1, 3])
def test_pictures_come_in_order_and_skips_are_counted(mixed: list[Path], workers: int) -> None:
    skips = SkipReport()
    found = [(position, picture.width) for position, picture in read_pictures(mixed, skips, workers)]
    assert found == list(zip([0, 1, 2, 4, 5, 6, 7, 9, 10, 11], range(1, 11), strict=True))
    assert skips.counts == {"picture cannot be read": 2}
    assert "text.png" in skips.summary() and "missing.png" in skips.summary()


def test_without_skips_the_first_broken_file_is_an_error_in_its_turn(mixed: list[Path]) -> None:
    found = []
    with pytest.raises(InputError, match="text.png"):
        for position, _ in read_pictures(mixed):
            found.append(position)
    assert found == [0, 1, 2]


def test_few_pictures_are_decoded_ahead(mixed: list[Path]) -> None:
    taken: list[Path] = []

    def source() -> Iterator[Path]:
        for _ in range(1000):
            taken.append(mixed[0])
            yield mixed[0]

    before = threading.active_count()
    pictures = read_pictures(source(), workers=2)
    next(pictures)
    assert len(taken) <= 10
    pictures.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before

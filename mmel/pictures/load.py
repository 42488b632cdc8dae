"""Reading a picture whatever its file holds: any colour mode and orientation, hostile sizes, broken bytes.

Videos are not read, and of an animated picture (GIF, WebP, APNG) only the first frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmel.errors import InputError, SkipReport
from mmel.parallel import tried_ahead

if TYPE_CHECKING:
    from PIL.Image import Image

UNREADABLE = "picture cannot be read"
# Below the size at which Pillow itself warns; 240 MB as RGB.
MAX_PIXELS = 80_000_000
_ALPHA = {"RGBA", "RGBa", "LA", "La", "PA"}
_PLAIN = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_SIXTEEN_BITS = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
# The EXIF tag, and those of its values that exchange width and height.
_ORIENTATION, _LYING = 0x0112, range(5, 9)
_REMEDY = (
    "give a whole file in a format Pillow reads (JPEG, PNG, WebP, GIF, TIFF, BMP ...); of a video, save a frame as one"
)


def load_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image:
    """The picture of a file as upright 8-bit RGB, what is transparent over white.

    Turned as its EXIF orientation says; 16-bit grey is scaled to 8 bits; the first frame of an animation.

    Args:
        max_pixels: refuse larger pictures by their header, before anything is decoded. Pillow refuses more than
            twice `PIL.Image.MAX_IMAGE_PIXELS` whatever is given here.

    Raises:
        InputError: no such file, no picture, a truncated one, one of too many pixels or an unknown colour mode.
    """
    with _opened(path, max_pixels) as image:
        image.load()
        return _to_rgb(_upright(image), path)


def picture_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from its header alone; InputError as `load_picture` gives it."""
    with _opened(path, MAX_PIXELS) as image:
        width, height = image.size
        try:
            lies = image.getexif().get(_ORIENTATION) in _LYING
        except Exception:  # as in `_upright`
            lies = False
        return (height, width) if lies else (width, height)


@contextmanager
def _opened(path: str | Path, max_pixels: int) -> Iterator[Image]:
    """The opened, not yet decoded file; whatever goes wrong inside becomes an InputError."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            _check_size(image, path, max_pixels)
            yield image
    except InputError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, remedy="check the path") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(str(error), file=path, remedy="make the picture smaller") from error
    # Pillow's decoders answer broken bytes with OSError, SyntaxError, ValueError, struct.error, IndexError and others.
    except Exception as error:
        raise InputError(
            f"cannot be read as a picture ({type(error).__name__}: {error})", file=path, remedy=_REMEDY
        ) from error


def read_pictures(
    paths: Iterable[str | Path],
    skips: SkipReport | None = None,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[tuple[int, Image]]:
    """Yield `(position in paths, picture)` in order, decoded by `workers` threads at most a few ahead of the consumer.

    Without `skips` the first file that cannot be read raises its InputError (policy "error"); with it such files are
    counted there and passed over (policy "skip").
    """

    read = partial(load_picture, max_pixels=max_pixels)
    for position, picture in enumerate(tried_ahead(read, paths, workers, 4 * workers)):
        if not isinstance(picture, InputError):
            yield position, picture
        elif skips is None:
            raise picture
        else:
            skips.add(UNREADABLE, str(picture))


def _check_size(image: Image, path: str | Path, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(
            f"{width} x {height} pixels are more than the {max_pixels:,} allowed",
            file=path,
            remedy="make the picture smaller, or allow more with max_pixels where you trust its source",
        )


def _upright(image: Image) -> Image:
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    # EXIF that cannot be parsed (Pillow answers as variously as its decoders) says nothing about the orientation.
    except Exception:
        return image


def _to_rgb(image: Image, path: str | Path) -> Image:
    from PIL import Image as pillow

    if image.mode in _SIXTEEN_BITS:
        # Pillow's own conversion cuts off at 255, which leaves a white picture.
        return image.convert("I").point(lambda value: value / 257).convert("L").convert("RGB")
    if image.mode in _ALPHA or (image.mode in _PLAIN and "transparency" in image.info):
        over = image.convert("RGBA")
        return pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), over).convert("RGB")
    if image.mode in _PLAIN:
        return image.convert("RGB")
    raise InputError(
        f"has the colour mode {image.mode}",
        file=path,
        remedy=f"save it as 8-bit RGB; allowed modes: {', '.join(sorted(_PLAIN | _ALPHA | _SIXTEEN_BITS))}",
    )

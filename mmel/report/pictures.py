"""Small pictures inside a page: each distinct one stands there once, as a CSS class that any tile can wear."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from mmel.errors import InputError
from mmel.parallel import tried_ahead
from mmel.pictures import crop, load_picture
from mmel.progress import progress
from mmel.report.html import Html, element
from mmel.vision.regions import Region

_QUALITY = 72
# Around a box, so that one sees what the face belongs to; as far as a RegionEncoder looks unless told otherwise.
_MARGIN = 0.25


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """Pictures by the regions that they show.

    `classes`: CSS class of a region, None where it cannot be read. `css`: the rules of the classes. `problems`: a line
    for each region that cannot be read.
    """

    classes: dict[Region, str | None]
    css: str
    problems: tuple[str, ...]

    def tile(self, region: Region | None, label: str) -> Html:
        """The picture of a region, or a placeholder that says why there is none; `label` says what it shows."""
        shown = None if region is None else self.classes[region]
        if shown is None:
            missing = "no picture" if region is None else "cannot be read"
            return element("div", missing, class_="picture missing", role="img", aria_label=f"{label}: {missing}")
        return element("div", class_=f"picture {shown}", role="img", aria_label=label)


def thumbnails(regions: Iterable[Region], *, side: int = 112, workers: int = 2, prefix: str = "p") -> Thumbnails:
    """JPEG pictures of at most `side` x `side` pixels, of regions with a margin around their boxes.

    Nothing of a file but its pixels gets into them. workers: threads that read. prefix: of the classes' names, for a
    page that has pictures of two sizes.
    """
    distinct = list(dict.fromkeys(regions))
    classes: dict[Region, str | None] = {}
    names: dict[bytes, str] = {}
    problems = []

    done = progress(
        tried_ahead(partial(_jpeg, side=side), distinct, workers), "pictures of the report", len(distinct), "picture"
    )
    for region, result in zip(distinct, done, strict=True):
        if isinstance(result, InputError):
            problems.append(str(result))
            classes[region] = None
        else:
            classes[region] = names.setdefault(result, f"{prefix}{len(names)}")
    css = "\n".join(f".{name}{{background-image:{_url(data)}}}" for data, name in names.items())
    return Thumbnails(classes, css, tuple(problems))


def _jpeg(region: Region, side: int) -> bytes:
    picture = load_picture(region.path)
    try:
        picture = crop(picture, region.box, _MARGIN)
    except InputError as error:
        raise InputError(str(error), file=region.path) from error
    picture.thumbnail((side, side))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_QUALITY, optimize=True)
    return stream.getvalue()


def _url(jpeg: bytes) -> str:
    return f'url("data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}")'

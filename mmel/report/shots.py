"""The pictures of documents: small ones, their sizes, and what the boxes of mentions cover of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mmel.document import Box
from mmel.errors import InputError
from mmel.pictures import clip_box, picture_size
from mmel.report.judged import JudgedDocument
from mmel.report.pictures import Thumbnails, thumbnails
from mmel.vision.regions import Region

Percent = tuple[float, float, float, float]
_SIDE = 240  # pixels
_ALL: Percent = (0, 0, 100, 100)


class Shots:
    """The pictures of documents below a folder, and what could not be read.

    `sizes`: width and height of each picture that can be read. `covered`: left, top, width and height of each box in
    per cent of its picture; all of it where there is no box or no picture.
    """

    def __init__(self, judged: Iterable[JudgedDocument], folder: Path) -> None:
        self._folder = folder
        documents = list(judged)
        boxes = dict.fromkeys((one.image, one.box) for each in documents for one in each.document.visual_mentions)
        images = dict.fromkeys(image for each in documents for image in each.images)
        self.thumbnails: Thumbnails = thumbnails(map(self.region, images), side=_SIDE)
        self.problems = list(self.thumbnails.problems)
        self.sizes = {
            image: picture_size(folder / image) for image in images if self.thumbnails.classes[self.region(image)]
        }
        self.covered = {(image, box): self._covered(image, box) for image, box in boxes}

    def region(self, image: str) -> Region:
        return Region(self._folder / image)

    def _covered(self, image: str, box: Box | None) -> Percent:
        if box is None or image not in self.sizes:
            return _ALL
        width, height = self.sizes[image]
        try:
            x0, y0, x1, y1 = clip_box(box, (width, height))
        except InputError as error:
            self.problems.append(f"{self._folder / image}: {error}")
            return _ALL
        return 100 * x0 / width, 100 * y0 / height, 100 * (x1 - x0) / width, 100 * (y1 - y0) / height

"""Counts of what is to be seen: pictures that are there or not, boxes that fit or not, entities with a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mmel.datasets.base import Dataset
from mmel.document import NIL, Box, Document, Entity
from mmel.errors import InputError

Size = tuple[int, int]


class PictureFiles:
    """Asks the files behind a dataset's pictures; those of a generated one are there, or will be drawn."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def exists(self, image: str) -> bool:
        return not self._dataset.needs_root or (self._dataset.pictures / image).is_file()

    def size(self, image: str) -> Size:
        """Pixels of a picture that exists; InputError where it cannot be opened."""
        from mmel.pictures import picture_size

        return picture_size(self._dataset.pictures / image)


@dataclass(slots=True)
class Gallery:
    """The entities that a picture can be compared with."""

    files: PictureFiles
    entities: set[str] = field(default_factory=set)
    without: int = 0
    pictures: int = 0
    missing: int = 0

    def watch(self, entities: Iterable[Entity]) -> Iterator[Entity]:
        """Pass the entities on and count their pictures."""
        for entity in entities:
            found = sum(map(self.files.exists, entity.images))
            self.pictures += found
            self.missing += len(entity.images) - found
            if found:
                self.entities.add(entity.id)
            else:
                self.without += 1
            yield entity

    def record(self) -> dict[str, Any]:
        return {
            "entities": len(self.entities),
            "without_picture": self.without,
            "pictures": self.pictures,
            "pictures_missing": self.missing,
        }


@dataclass(slots=True)
class VisualReport:
    """Counts of the pictures and visual mentions of one split. `in_gallery`: linked ones whose entity has a picture."""

    gallery: Gallery
    mentions: int = 0
    linked: int = 0
    nil: int = 0
    unlabelled: int = 0
    in_gallery: int = 0
    # Boxes without area, and boxes with a part outside the picture.
    boxes_empty: int = 0
    boxes_beyond: int = 0
    _found: dict[str, bool] = field(default_factory=dict)

    def add(self, document: Document) -> None:
        for image in (*document.images, *(mention.image for mention in document.visual_mentions)):
            if image not in self._found:
                self._found[image] = self.gallery.files.exists(image)
        for mention in document.visual_mentions:
            self.mentions += 1
            if mention.entity is None:
                self.unlabelled += 1
            elif mention.entity == NIL:
                self.nil += 1
            else:
                self.linked += 1
                self.in_gallery += mention.entity in self.gallery.entities
            if mention.box is not None:
                self._measure(mention.image, mention.box)

    def _measure(self, image: str, box: Box) -> None:
        """Compare a box with its picture; without one only what begins before the first pixel is known to be off."""
        x0, y0, x1, y1 = box
        width, height = x1, y1
        if self._found[image]:
            try:
                width, height = self.gallery.files.size(image)
            except InputError:
                self._found[image] = False
        self.boxes_empty += x1 <= x0 or y1 <= y0
        self.boxes_beyond += min(x0, y0) < 0 or x1 > width or y1 > height

    def record(self) -> dict[str, Any]:
        found = sum(self._found.values())
        return {
            "pictures": found,
            "pictures_missing": len(self._found) - found,
            "mentions": self.mentions,
            "linked": self.linked,
            "nil": self.nil,
            "unlabelled": self.unlabelled,
            "in_gallery": self.in_gallery,
            "boxes_empty": self.boxes_empty,
            "boxes_beyond": self.boxes_beyond,
        }

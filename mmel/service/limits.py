"""How much one request may ask for, and how many may wait."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mmel.document import Document
from mmel.errors import ConfigError
from mmel.pictures import MAX_PIXELS

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Each is at least 1, and `pixels` no more than are linked.

    Attributes:
        characters: of a text. title: of a title. mentions: textual ones of a document that brings its own.
        pictures: of a request. picture_bytes: of each. pixels: of each, width times height.
        request_bytes: of the whole body.
        seconds: for reading a request, and again for answering it.
        queue: requests that are read, linked or waiting at a time.
        batch: documents linked together at most, each of `long` characters; a longer one counts for several.
    """

    characters: int = 20_000
    title: int = 1_000
    mentions: int = 500
    pictures: int = 12
    picture_bytes: int = 12 * MIB
    pixels: int = 25_000_000
    request_bytes: int = 48 * MIB
    seconds: int = 60
    queue: int = 128
    batch: int = 16
    long: int = 2_000

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 1:
                raise ConfigError(f"limit {field.name} = {getattr(self, field.name)}: must be at least 1")
        if self.pixels > MAX_PIXELS:  # a linker would pass over them without a word
            raise ConfigError(f"limit pixels = {self.pixels}: must be at most {MAX_PIXELS}, larger ones are not linked")

    def weight(self, document: Document) -> float:
        """How much of a batch a document is: time and memory of linking grow with the names in it."""
        return max(1.0, len(document.text) / self.long)

    @property
    def json_bytes(self) -> int:
        """Of a body that is JSON: a character may take twelve bytes (two escapes), a mention some hundred."""
        return min(self.request_bytes, 12 * (self.characters + self.title) + 512 * self.mentions + 64 * 1024)

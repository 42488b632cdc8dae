"""M3EL of Gan et al. 2021: reviews and pictures of films, names and faces linked to Wikipedia."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from mmel.datasets.movies import Movies
from mmel.datasets.registry import register
from mmel.document import Document, Entity, TextMention, VisualMention
from mmel.errors import SkipReport

M = TypeVar("M", TextMention, VisualMention)


@register
class M3elMovie(Movies):
    """A document is a film: the text of its reviews and its pictures (section 3). An entity is a Wikipedia title.

    The paper says what a document holds and not how it is written; the files are those of `movies`. Titles may be
    written with underscores, as in the paper's figures, and are read with spaces.
    """

    name = "m3el-movie"

    @property
    def splits(self) -> tuple[str, ...]:
        there = super().splits
        return tuple(split for split in self.card.splits if split in there)

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        for document in super()._read(split, skips):
            names, pictures = map(_titled, document.text_mentions), map(_titled, document.visual_mentions)
            yield replace(document, text_mentions=tuple(names), visual_mentions=tuple(pictures))

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        for entity in super().entities(skips):
            links = tuple(map(_title, entity.links))
            yield replace(entity, id=_title(entity.id), title=_title(entity.title), links=links)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _titled(mention: M) -> M:
    return mention if mention.entity is None else replace(mention, entity=_title(mention.entity))

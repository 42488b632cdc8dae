"""WIKIDiverse as KGMEL gives it: captions with mentions, Wikidata ids and titles, without offsets.

Kim et al., "KGMEL: Knowledge Graph-Enhanced Multimodal Entity Linking", SIGIR 2025. A file is one JSON list of `{"id",
"sentence", "imgPath", "mention": [surface], "entity": [title], "answer": [QID], "img-url"}`; the three lists belong
together. Captions without a picture of their own have no `img-url`, and all the same `imgPath`, another caption's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmel.document import NIL, Alias, Document, Entity
from mmel.errors import SkipReport
from mmel.formats.mentions_in_text import gold_label, located
from mmel.formats.records import Place, others, read_list, told_elsewhere

_FORM = 'a caption is {"id", "sentence", "imgPath", "mention": [...], "entity": [...], "answer": [...], "img-url"}'
_KEYS = frozenset({"id", "sentence", "imgPath", "mention", "entity", "answer"})

NO_PICTURE = "document without a picture"
SEVERAL_TITLES = "entity with several titles"


def read_captions(path: str | Path, skips: SkipReport | None = None) -> Iterator[Document]:
    """One document a caption, mentions located (`mentions_in_text`), `images` its picture or empty, other keys kept.

    Raises InputError at the first record that is not in the form; with `skips` it is counted and the rest goes on.
    """

    def parse(record: dict[str, Any], place: Place) -> Document:
        document, surfaces = place.identifier(record, "id"), place.texts(record, "mention", blank=False)
        answers = [gold_label(answer) for answer in _beside(record, "answer", len(surfaces), place)]
        text, mentions = located(place.text(record, "sentence"), surfaces, answers, skips, f"caption {document}")
        image = place.text(record, "imgPath", "") if record.get("img-url") else ""
        if not image and skips is not None:
            skips.note(NO_PICTURE, f"caption {document}")
        extra = others(record, _KEYS)
        return Document(document, text, text_mentions=mentions, images=(image,) if image else (), extra=extra)

    return read_list(path, parse, _FORM, skips)


def read_titles(paths: Iterable[str | Path], skips: SkipReport | None = None) -> Iterator[Entity]:
    """The entities that the captions of all `paths` name, by first appearance; the title is an alias of count 1.

    The first title of an entity is its title, others are aliases, and noted. A record that `read_captions` refuses is
    passed over: it is for that one to tell.
    """

    def parse(record: dict[str, Any], place: Place) -> list[tuple[str, str]]:
        answers = place.texts(record, "answer")
        return list(zip(map(gold_label, answers), _beside(record, "entity", len(answers), place), strict=True))

    titles: dict[str, dict[str, None]] = {}
    for path in paths:
        for pairs in told_elsewhere(partial(read_list, path, parse, _FORM), skips):
            for entity, title in pairs:
                if entity != NIL:
                    titles.setdefault(entity, {})[title or entity] = None
    for entity, names in titles.items():
        if len(names) > 1 and skips is not None:
            skips.note(SEVERAL_TITLES, f"{entity}: {', '.join(names)}")
        yield Entity(entity, next(iter(names)), aliases=tuple(map(Alias, names)))


def _beside(record: dict[str, Any], name: str, count: int, place: Place) -> list[str]:
    """A list that belongs to another one of `count`."""
    values = place.texts(record, name)
    if len(values) != count:
        raise place.error(f"has {len(values)} values for {count} mentions", name)
    return values

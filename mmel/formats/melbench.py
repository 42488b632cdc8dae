"""MELBench's Wikidata-MEL (WikiMEL): captions of people with mentions and Wikidata ids, and the entities' attributes.

Zhou et al., "MELBench: A Benchmark for Multimodal Entity Linking", 2021 (github.com/seukgcode/MELBench). `Wikidata-MEL
.json` is one object of `{"id", "sentence", "mentions": [surface], "entities": [title], "answer": [QID]}` by id;
`qid2ne.json` and `qid2abs.json` are objects of the titles and of descriptions such as "Sex: male. Birth: 1839. ...".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmel.document import Alias, Document, Entity
from mmel.errors import SkipReport
from mmel.formats.mentions_in_text import gold_label, located
from mmel.formats.records import Place, others, read_mapping, read_object

_CAPTION_FORM = 'a file of captions is {"7": {"id": "7", "sentence", "mentions": [...], "answer": ["Q..."]}, ...}'
_TABLE_FORM = 'a table of entities is {"Q42": "text", ...}'
_KEYS = frozenset({"id", "sentence", "mentions", "entities", "answer", "imgPath"})

NO_PICTURE = "document without a picture"
NO_DESCRIPTION = "entity without a description"
NO_ENTITY = "description without an entity"


def read_captions(
    path: str | Path, skips: SkipReport | None = None, wanted: Callable[[str], bool] = lambda _: True
) -> Iterator[Document]:
    """One document a caption whose sentence is `wanted`, mentions located (`mentions_in_text`), other keys kept.

    `images` is the `imgPath` where the file gives one; an empty one is noted. Raises InputError at the first record
    that is not in the form; with `skips` it is counted and the rest goes on.
    """

    def parse(record: dict[str, Any], place: Place) -> Document | None:
        # Half of a surrogate pair is refused below, in the split that the sentence belongs to.
        if not wanted(str(record.get("sentence") or "")):
            return None
        document = place.identifier(record, "id", str(place.number))
        surfaces, answers = place.texts(record, "mentions", blank=False), place.texts(record, "answer")
        if len(answers) != len(surfaces):
            raise place.error(f"has {len(answers)} values for {len(surfaces)} mentions", "answer")
        labels = [gold_label(answer) for answer in answers]
        text, mentions = located(place.text(record, "sentence"), surfaces, labels, skips, f"caption {document}")
        image = place.text(record, "imgPath", "")
        if not image and "imgPath" in record and skips is not None:
            skips.note(NO_PICTURE, f"caption {document}")
        extra = others(record, _KEYS)
        return Document(document, text, text_mentions=mentions, images=(image,) if image else (), extra=extra)

    return (document for document in read_mapping(path, parse, _CAPTION_FORM, skips) if document is not None)


def read_people(names: str | Path, descriptions: str | Path, skips: SkipReport | None = None) -> Iterator[Entity]:
    """The entities of `qid2ne.json` with the descriptions of `qid2abs.json`; the title is an alias of count 1.

    An entity without a description, and a description without an entity, is noted.
    """
    described = read_object(descriptions, _TABLE_FORM, skips)
    for entity, title in read_object(names, _TABLE_FORM, skips).items():
        name = Place(names, 0, _TABLE_FORM).text({entity: title}, entity) or entity
        description = Place(descriptions, 0, _TABLE_FORM).text(described, entity, "")
        if not description and skips is not None:
            skips.note(NO_DESCRIPTION, f"{entity} {name}")
        described.pop(entity, None)
        yield Entity(entity, name, description=description, aliases=(Alias(name),))
    if skips is not None:
        for entity in described:
            skips.note(NO_ENTITY, entity)

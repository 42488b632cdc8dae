"""The project's own JSON lines: documents, knowledge-base records and linked documents, one a line.

A document is `{"id", "title", "text", "text_mentions": [{"start", "end", "text", "entity"}], "visual_mentions":
[{"image", "box", "entity"}]}`. Offsets are characters, end-exclusive; `image` is relative to the file's folder;
`box` is `[x0, y0, x1, y1]` in pixels or null for the whole picture; `entity` is an id, "NIL", or absent where
unlabelled. `images` lists pictures of the document by path, with mentions or without. A text mention may also carry
`name` and `candidates: [{"id", "prior", "rank"}]`. An entity is
`{"id", "title", "type", "description", "aliases": [{"name", "count"}], "images", "links", "popularity"}`.
Unknown keys are kept in `extra` and written back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmel.document import (
    NIL,
    Alias,
    Box,
    Candidate,
    Coupling,
    Document,
    Entity,
    Link,
    LinkedDocument,
    ScoredCandidate,
    TextMention,
    VisualMention,
)
from mmel.errors import InputError, SkipReport
from mmel.formats.records import Place, is_finite, others, read_records, write_records

_DOCUMENT_KEYS = frozenset({"id", "title", "text", "text_mentions", "visual_mentions", "images"})
_TEXT_MENTION_KEYS = frozenset({"start", "end", "text", "entity", "name", "candidates"})
_VISUAL_MENTION_KEYS = frozenset({"image", "box", "entity"})
_ENTITY_KEYS = frozenset({"id", "title", "type", "description", "aliases", "images", "links", "popularity"})
_DOCUMENT_FORM = (
    'a document is {"id", "text", "text_mentions": [{"start", "end", "text"}], "visual_mentions": [{"image"}], '
    '"images": [path]}'
)
_ENTITY_FORM = 'an entity is {"id", "title", "aliases": [{"name", "count"}], "images": [path], "links": [id]}'
_LINKED_FORM = "write linked documents with write_linked"


def read_documents(path: str | Path, check: bool = True, skips: SkipReport | None = None) -> Iterator[Document]:
    """Stream the documents of a JSONL file; a key that is null counts as absent.

    `check` compares every text mention with its span. Raises InputError naming file, line and field at the
    first bad record; with `skips` a bad record is counted and the rest goes on.
    """
    return (document for _, document in read_placed_documents(path, check, skips))


def read_placed_documents(
    path: str | Path, check: bool = True, skips: SkipReport | None = None
) -> Iterator[tuple[Place, Document]]:
    """As `read_documents`, each document with the place where it stands."""

    def parse(record: dict[str, Any], place: Place) -> tuple[Place, Document]:
        document = parse_document(record, place)
        if check:
            document.check_spans(str(place.file), place.line)
        return place, document

    return read_records(path, parse, _DOCUMENT_FORM, skips)


def write_documents(path: str | Path, documents: Iterable[Document]) -> int:
    """Write documents, one a line, whole or not at all; the number written. Empty fields are left out."""
    return write_records(path, map(document_record, documents))


def read_entities(path: str | Path, skips: SkipReport | None = None) -> Iterator[Entity]:
    """Stream the records of a knowledge-base JSONL file; `title` falls back to the id where it is absent."""
    return read_records(path, _entity, _ENTITY_FORM, skips)


def write_entities(path: str | Path, entities: Iterable[Entity]) -> int:
    """Write knowledge-base records, one a line, whole or not at all; the number written."""
    return write_records(path, map(entity_record, entities))


def write_linked(path: str | Path, linked: Iterable[LinkedDocument]) -> int:
    """Write linked documents, one a line, whole or not at all; the number written.

    `{"doc_id", "title", "text", "text_mentions": [{"start", "end", "text", "entity", "score", "p_nil",
    "candidates": [{"id", "score", "prior", "columns"}], "gold", "name", "extra"}], "visual_mentions": [{"image", "box",
    ...}], "couplings": [[i, j, mass]], "paths": [[id, ...]], "meta", "extra"}`. `entity` is null for NIL; `p_nil` is
    the probability of NIL, or null where the run has learned none; `gold` is there where the document is labelled;
    `paths` has the entities that join each coupling. What each modality said alone is not written.
    """
    return write_records(path, map(linked_record, linked))


def read_linked(path: str | Path, skips: SkipReport | None = None) -> Iterator[LinkedDocument]:
    """Stream what `write_linked` wrote; the documents carry the gold labels and no candidates of their own."""
    return read_records(path, _linked, _LINKED_FORM, skips)


def parse_linked(record: dict[str, Any]) -> LinkedDocument:
    """The linked document of one JSON object that `linked_record` made."""
    return _linked(record, Place("linked document", 0, _LINKED_FORM))


def document_record(document: Document) -> dict[str, Any]:
    """The JSON object of a document."""
    record: dict[str, Any] = {"id": document.id}
    if document.title:
        record["title"] = document.title
    record["text"] = document.text
    if document.text_mentions:
        record["text_mentions"] = [_text_mention_record(mention) for mention in document.text_mentions]
    if document.visual_mentions:
        record["visual_mentions"] = [_visual_mention_record(mention) for mention in document.visual_mentions]
    if document.images:
        record["images"] = list(document.images)
    return _with_extra(record, document.extra, _DOCUMENT_KEYS, f"document '{document.id}'")


def entity_record(entity: Entity) -> dict[str, Any]:
    """The JSON object of a knowledge-base record."""
    record: dict[str, Any] = {
        "id": entity.id,
        "title": entity.title,
        "type": entity.type,
        "description": entity.description,
        "aliases": [{"name": alias.name, "count": alias.count} for alias in entity.aliases],
        "images": list(entity.images),
        "links": list(entity.links),
    }
    if entity.popularity:
        record["popularity"] = entity.popularity
    return _with_extra(record, entity.extra, _ENTITY_KEYS, f"entity '{entity.id}'")


def linked_record(linked: LinkedDocument) -> dict[str, Any]:
    """The JSON object of a linked document; see `write_linked`. A side without any link was not linked: it is []."""
    document = linked.document
    for kind, mentions, links in (
        ("text", document.text_mentions, linked.text_links),
        ("visual", document.visual_mentions, linked.visual_links),
    ):
        if links and len(mentions) != len(links):
            raise InputError(
                f"document '{document.id}': {len(mentions)} {kind} mentions and {len(links)} links",
                remedy="give one link a mention, in mention order",
            )
    # Equal in number, or none was linked.
    text = zip(document.text_mentions, linked.text_links, strict=False)
    visual = zip(document.visual_mentions, linked.visual_links, strict=False)
    record: dict[str, Any] = {
        "doc_id": document.id,
        "title": document.title,
        "text": document.text,
        "text_mentions": [
            _linked_mention({"start": mention.start, "end": mention.end, "text": mention.text}, mention, link)
            for mention, link in text
        ],
        "visual_mentions": [
            _linked_mention({"image": mention.image, "box": mention.box}, mention, link) for mention, link in visual
        ],
        "couplings": [[each.text, each.visual, each.mass] for each in linked.couplings],
        "paths": [list(each.path) for each in linked.couplings],
        "meta": dict(linked.meta),
    }
    if document.images:
        record["images"] = list(document.images)
    if document.extra:
        record["extra"] = dict(document.extra)
    return record


def _with_extra(
    record: dict[str, Any], extra: Mapping[str, Any] | None, known: frozenset[str], owner: str
) -> dict[str, Any]:
    if extra:
        taken = sorted(known & extra.keys())
        if taken:
            raise InputError(
                f"{owner}: the extra key '{taken[0]}' is a key of the format",
                field=taken[0],
                remedy="set the field itself instead",
            )
        record.update(extra)
    return record


def _text_mention_record(mention: TextMention) -> dict[str, Any]:
    record: dict[str, Any] = {"start": mention.start, "end": mention.end, "text": mention.text}
    if mention.entity is not None:
        record["entity"] = mention.entity
    if mention.name is not None:
        record["name"] = mention.name
    if mention.candidates is not None:
        record["candidates"] = [_candidate_record(candidate) for candidate in mention.candidates]
    return _with_extra(record, mention.extra, _TEXT_MENTION_KEYS, f"mention {mention.text!r}")


def _candidate_record(candidate: Candidate) -> dict[str, Any]:
    record: dict[str, Any] = {"id": candidate.entity}
    if candidate.prior is not None:
        record["prior"] = candidate.prior
    if candidate.rank is not None:
        record["rank"] = candidate.rank
    return record


def _visual_mention_record(mention: VisualMention) -> dict[str, Any]:
    record: dict[str, Any] = {"image": mention.image, "box": mention.box}
    if mention.entity is not None:
        record["entity"] = mention.entity
    return _with_extra(record, mention.extra, _VISUAL_MENTION_KEYS, f"visual mention of '{mention.image}'")


def _linked_mention(record: dict[str, Any], mention: TextMention | VisualMention, link: Link) -> dict[str, Any]:
    record["entity"] = None if link.entity == NIL else link.entity
    record["score"] = link.score
    listed = next((each.score for each in link.candidates if each.entity == NIL), None)
    record["p_nil"] = link.p_nil if listed is None else listed
    record["candidates"] = [_scored_record(each) for each in link.candidates]
    if mention.entity is not None:
        record["gold"] = mention.entity
    if isinstance(mention, TextMention) and mention.name is not None:
        record["name"] = mention.name
    if mention.extra:
        record["extra"] = dict(mention.extra)
    return record


def _scored_record(candidate: ScoredCandidate) -> dict[str, Any]:
    record: dict[str, Any] = {"id": candidate.entity, "score": candidate.score, "prior": candidate.prior}
    return record | {"columns": dict(candidate.columns)} if candidate.columns else record


def parse_document(record: dict[str, Any], place: Place) -> Document:
    """The document of a JSON object, its spans unchecked; InputError with the place and field of a fault."""
    return Document(
        id=place.identifier(record, "id"),
        text=place.text(record, "text"),
        title=place.text(record, "title", ""),
        text_mentions=tuple([_text_mention(each, place) for each in place.get(record, "text_mentions", list, [])]),
        visual_mentions=tuple(
            [_visual_mention(each, place) for each in place.get(record, "visual_mentions", list, [])]
        ),
        extra=others(record, _DOCUMENT_KEYS),
        images=_strings(record, "images", place),
    )


def _text_mention(record: Any, place: Place) -> TextMention:
    within = "text_mentions"
    candidates = place.get(record, "candidates", list, None, within)
    return TextMention(
        start=place.get(record, "start", int, within=within),
        end=place.get(record, "end", int, within=within),
        text=place.text(record, "text", within=within),
        entity=place.identifier(record, "entity", None, within),
        candidates=None if candidates is None else tuple([_candidate(each, place) for each in candidates]),
        name=place.text(record, "name", None, within),
        extra=others(record, _TEXT_MENTION_KEYS) or None,
    )


def _candidate(record: Any, place: Place) -> Candidate:
    within = "text_mentions.candidates"
    prior = place.get(record, "prior", float, None, within)
    if prior is not None and not 0 <= prior <= 1:
        raise place.error(f"is {prior}, a probability is between 0 and 1", f"{within}.prior")
    return Candidate(place.identifier(record, "id", within=within), prior, place.get(record, "rank", int, None, within))


def _visual_mention(record: Any, place: Place) -> VisualMention:
    within = "visual_mentions"
    return VisualMention(
        image=place.text(record, "image", within=within),
        box=_box(place.get(record, "box", list, None, within), place),
        entity=place.identifier(record, "entity", None, within),
        extra=others(record, _VISUAL_MENTION_KEYS) or None,
    )


def _box(value: list[Any] | None, place: Place) -> Box | None:
    if value is None:
        return None
    if len(value) != 4 or not all(map(is_finite, value)) or value[0] >= value[2] or value[1] >= value[3]:
        raise place.error(f"{value} is no box; one is [x0, y0, x1, y1] with x0 < x1 and y0 < y1", "visual_mentions.box")
    x0, y0, x1, y1 = value
    return x0, y0, x1, y1


def _entity(record: dict[str, Any], place: Place) -> Entity:
    entity_id = place.identifier(record, "id")
    popularity = place.get(record, "popularity", int, 0)
    if popularity < 0:
        raise place.error(f"is {popularity}, a count is 0 or more", "popularity")
    return Entity(
        id=entity_id,
        title=place.text(record, "title", entity_id),
        type=place.text(record, "type", ""),
        description=place.text(record, "description", ""),
        aliases=tuple([_alias(each, place) for each in place.get(record, "aliases", list, [])]),
        images=_strings(record, "images", place),
        links=_strings(record, "links", place),
        popularity=popularity,
        extra=others(record, _ENTITY_KEYS) or None,
    )


def _alias(record: Any, place: Place) -> Alias:
    name = place.text(record, "name", within="aliases")
    count = record.get("count", 1)
    if not is_finite(count) or count < 0:
        raise place.error(f"is {count!r}, a count is a number of 0 or more", "aliases.count")
    return Alias(name, count)


def _strings(record: dict[str, Any], name: str, place: Place) -> tuple[str, ...]:
    values = place.get(record, name, list, [])
    if not all(type(value) is str for value in values):
        raise place.error("expected a list of strings", name)
    return tuple(values)


def _linked(record: dict[str, Any], place: Place) -> LinkedDocument:
    text_records = place.get(record, "text_mentions", list, [])
    visual_records = place.get(record, "visual_mentions", list, [])
    document = Document(
        id=place.identifier(record, "doc_id"),
        text=place.text(record, "text"),
        title=place.text(record, "title", ""),
        text_mentions=tuple([_text_mention(_labelled(each, place), place) for each in text_records]),
        visual_mentions=tuple([_visual_mention(_labelled(each, place), place) for each in visual_records]),
        extra=place.get(record, "extra", dict, {}),
        images=_strings(record, "images", place),
    )
    document.check_spans(str(place.file), place.line)
    return LinkedDocument(
        document=document,
        text_links=tuple([_link(each, place) for each in text_records]),
        visual_links=tuple([_link(each, place) for each in visual_records]),
        meta=place.get(record, "meta", dict, {}),
        couplings=_couplings(record, place),
    )


def _couplings(record: dict[str, Any], place: Place) -> tuple[Coupling, ...]:
    pairs, paths = place.get(record, "couplings", list, []), place.get(record, "paths", list, [])
    if len(paths) not in (0, len(pairs)):
        raise place.error(f"{len(paths)} paths for {len(pairs)} couplings", "paths")
    try:
        return tuple(
            Coupling(int(i), int(j), float(mass), tuple(path))
            for (i, j, mass), path in zip(pairs, paths or [()] * len(pairs), strict=True)
        )
    except (TypeError, ValueError) as error:
        raise place.error(f"a coupling is [text mention, visual mention, mass] ({error})", "couplings") from error


def _labelled(record: Any, place: Place) -> dict[str, Any]:
    """The mention's record as in a document file: its gold label as `entity`, without the link."""
    if not isinstance(record, dict):
        raise place.error(f"expected an object, found {record!r}", "mentions")
    # The other keys of a mention stand in `extra`, so that none can clash with those of its link.
    kept = {name: record[name] for name in ("start", "end", "text", "image", "box", "name") if name in record}
    return {**kept, **place.get(record, "extra", dict, {}), "entity": record.get("gold")}


def _link(record: dict[str, Any], place: Place) -> Link:
    entity = place.identifier(record, "entity", None)
    candidates = tuple(
        [
            ScoredCandidate(
                place.identifier(each, "id"),
                place.get(each, "score", float),
                place.get(each, "prior", float),
                place.get(each, "columns", dict, {}),
            )
            for each in place.get(record, "candidates", list, [])
        ]
    )
    return Link(
        entity=NIL if entity is None else entity,
        score=place.get(record, "score", float),
        candidates=candidates,
        p_nil=None if NIL in [each.entity for each in candidates] else place.get(record, "p_nil", float, None),
    )

"""ELEVANT's JSON lines: benchmarks with labels, and articles linked by a system.

Bast, Hertel & Prange, "ELEVANT: A Fully Automatic Fine-Grained Entity Linking Evaluation and Analysis Tool",
EMNLP 2022 (demo). An article is `{"id", "title", "text", "evaluation_span", "labels": [{"id", "span", "entity_id",
"name", "type", ...}], "entity_mentions": [{"span", "id", "recognized_by", "linked_by", "candidates"}]}`. Spans are
characters, end-exclusive. ELEVANT takes integer ids only: where a document's id is none, its place in the file is
written and the id goes to `doc_id`. Labels outside the knowledge base are called `Unknown` with a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmel.document import NIL, Candidate, Document, Link, LinkedDocument, TextMention
from mmel.errors import InputError, SkipReport
from mmel.formats.records import Place, others, read_records, write_records

_FORM = 'an article is {"id", "title", "text", "labels": [{"id", "span": [start, end], "entity_id"}]}'
_ARTICLE_KEYS = frozenset({"id", "doc_id", "title", "text"})
_LABEL_KEYS = frozenset({"span", "entity_id"})
_MENTION_KEYS = frozenset({"span", "id", "candidates", "score"})
_LINKER_KEYS = ("recognized_by", "linked_by", "referenced_span", "contained")
_UNKNOWN = re.compile(r"Unknown\d*$")


def read_benchmark(path: str | Path, skips: SkipReport | None = None) -> Iterator[Document]:
    """Stream a benchmark; labels become text mentions, their further keys (`name`, `type`, ...) `extra`.

    Raises InputError naming line and field where an article is broken or a span lies outside the text; with
    `skips` the article is counted instead.
    """
    return read_records(path, _benchmark, _FORM, skips)


def write_benchmark(path: str | Path, documents: Iterable[Document], titles: Mapping[str, str] | None = None) -> int:
    """Write a benchmark from labelled documents; unlabelled mentions are left out. The number of articles.

    `titles` gives entity ids the names that ELEVANT shows; without it the id is shown.
    """
    return write_records(
        path, (_benchmark_record(document, index, titles or {}) for index, document in enumerate(documents))
    )


def read_linked_articles(path: str | Path, skips: SkipReport | None = None) -> Iterator[LinkedDocument]:
    """Stream linked articles. Predicted mentions are the document's text mentions, each with its link.

    A mention's `entity` is the label of the same span; all labels as they stand are kept in
    `extra["labels"]`. The format has no scores: a link scores 1 where no `score` key says otherwise, and its
    candidates, which have no order, are those of the mention.
    """
    return read_records(path, _linked, _FORM, skips)


def write_linked_articles(
    path: str | Path, linked: Iterable[LinkedDocument], linker: str = "mmel", titles: Mapping[str, str] | None = None
) -> int:
    """Write `*.linked_articles.jsonl`: the links of the text mentions under the name `linker`, and the labels.

    Labels are `extra["labels"]` where the document has them, else its labelled mentions. A link to NIL is a
    mention without an id. ELEVANT passes over the `score` of each mention.
    """
    return write_records(path, (linked_article(each, index, linker, titles) for index, each in enumerate(linked)))


def linked_article(
    linked: LinkedDocument, index: int, linker: str = "mmel", titles: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object of a linked article; see `write_linked_articles`. `index` is its place in the file."""
    document = linked.document
    if len(document.text_mentions) != len(linked.text_links):
        raise InputError(
            f"document '{document.id}': {len(document.text_mentions)} text mentions and {len(linked.text_links)} links",
            remedy="give one link a mention, in mention order",
        )
    record = _article(document, index)
    record["entity_mentions"] = [
        _mention_record(mention, link, linker)
        for mention, link in zip(document.text_mentions, linked.text_links, strict=True)
    ]
    if "labels" not in document.extra:
        record["labels"] = _labels(document, titles or {})
    return _with_extra(record, document, _ARTICLE_KEYS | {"entity_mentions"})


def _benchmark(record: dict[str, Any], place: Place) -> Document:
    text = place.text(record, "text")
    return Document(
        id=_document_id(record, place),
        text=text,
        title=place.text(record, "title", ""),
        text_mentions=tuple([_label(each, text, place) for each in place.get(record, "labels", list, [])]),
        extra=others(record, _ARTICLE_KEYS | {"labels"}),
    )


def _document_id(record: dict[str, Any], place: Place) -> str:
    return place.identifier(record, "doc_id" if "doc_id" in record else "id")


def _label(record: Any, text: str, place: Place) -> TextMention:
    start, end = _span(record, "labels", text, place)
    entity = place.identifier(record, "entity_id", NIL, "labels")
    return TextMention(
        start,
        end,
        text[start:end],
        NIL if _UNKNOWN.match(entity) else entity,
        extra=others(record, _LABEL_KEYS) or None,
    )


def _span(record: Any, within: str, text: str, place: Place) -> tuple[int, int]:
    span = place.get(record, "span", list, within=within)
    if len(span) != 2 or any(type(value) is not int for value in span) or not 0 <= span[0] < span[1] <= len(text):
        raise place.error(f"{span} is no [start, end) of the text, which has {len(text)} characters", f"{within}.span")
    return span[0], span[1]


def _linked(record: dict[str, Any], place: Place) -> LinkedDocument:
    text = place.text(record, "text")
    gold = {(label.start, label.end): label.entity for label in _benchmark(record, place).text_mentions}
    predicted = place.get(record, "entity_mentions", list, [])
    mentions = []
    for each in predicted:
        start, end = _span(each, "entity_mentions", text, place)
        names = place.get(each, "candidates", list, None, "entity_mentions")
        mentions.append(
            TextMention(
                start,
                end,
                text[start:end],
                gold.get((start, end)),
                None if names is None else tuple(Candidate(str(name)) for name in names),
                extra=others(each, _MENTION_KEYS) or None,
            )
        )
    document = Document(
        id=_document_id(record, place),
        text=text,
        title=place.text(record, "title", ""),
        text_mentions=tuple(mentions),
        extra=others(record, _ARTICLE_KEYS | {"entity_mentions"}),
    )
    links = [
        Link(place.identifier(each, "id", NIL, "entity_mentions"), place.get(each, "score", float, 1.0))
        for each in predicted
    ]
    return LinkedDocument(document, tuple(links))


def _article(document: Document, index: int) -> dict[str, Any]:
    number = int(document.id) if re.fullmatch(r"0|[1-9][0-9]{0,17}", document.id) else index
    record: dict[str, Any] = {"id": number, "title": document.title, "text": document.text}
    if str(number) != document.id:
        record["doc_id"] = document.id
    record["evaluation_span"] = [0, len(document.text)]
    return record


def _with_extra(record: dict[str, Any], document: Document, taken: frozenset[str]) -> dict[str, Any]:
    extra = document.extra
    clash = sorted(taken & extra.keys())
    if clash:
        raise InputError(
            f"document '{document.id}': the extra key '{clash[0]}' is a key of the format",
            field=clash[0],
            remedy="rename the extra key",
        )
    return {**record, **extra}


def _benchmark_record(document: Document, index: int, titles: Mapping[str, str]) -> dict[str, Any]:
    record = _article(document, index)
    record["labels"] = _labels(document, titles)
    return _with_extra(record, document, _ARTICLE_KEYS | {"labels"})


def _labels(document: Document, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    labelled = [mention for mention in document.text_mentions if mention.entity is not None]
    return [_label_record(mention, number, titles) for number, mention in enumerate(labelled)]


def _label_record(mention: TextMention, number: int, titles: Mapping[str, str]) -> dict[str, Any]:
    entity = f"Unknown{number}" if mention.entity == NIL else str(mention.entity)
    return {
        "id": number,
        "span": [mention.start, mention.end],
        "entity_id": entity,
        "name": titles.get(entity, mention.text if mention.entity == NIL else entity),
        "parent": None,
        "children": [],
        "optional": False,
        "type": "OTHER",
        **(mention.extra or {}),
    }


def _mention_record(mention: TextMention, link: Link, linker: str) -> dict[str, Any]:
    listed = [each.entity for each in link.candidates] or [each.entity for each in mention.candidates or ()]
    record: dict[str, Any] = {
        "span": [mention.start, mention.end],
        "recognized_by": linker,
        "linked_by": linker,
        "candidates": sorted(name for name in listed if name != NIL),
        "score": link.score,
    }
    if link.entity != NIL:
        record["id"] = link.entity
    extra = mention.extra or {}
    return {**record, **{name: extra[name] for name in _LINKER_KEYS if name in extra}}

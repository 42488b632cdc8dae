"""WIKIDiverse V2 as its authors give it: captions with spans and Wikipedia addresses, and tables of entities.

Wang et al., "WikiDiverse: A Multimodal Entity Linking Dataset with Diversified Contextual Topics and Entity Types", ACL
2022 (github.com/wangxw5/wikiDiverse). A file is one JSON list, of captions, `[caption, picture's address, topic,
[[mention, type, start, end, entity's address], ...]]`, or of mentions with candidates, `[caption, picture's address,
mention, type, left words, right words, entity's address, [candidate, ...], topic, start, end]`. Tables have a line an
entity, `TITLE@@@@DESCRIPTION` and `TITLE@@@@ADDRESS[AND]ADDRESS...`. An entity's id is its English Wikipedia title.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mmel.document import NIL, Alias, Candidate, Document, Entity, TextMention
from mmel.errors import InputError, SkipReport
from mmel.files import read_lines
from mmel.formats.mentions_in_text import gold_label, locate
from mmel.formats.records import Place, read_list, told_elsewhere
from mmel.formats.wikipedia import is_plain, wikipedia_title
from mmel.kb.names import fold

_PASSAGE = ("caption", "picture", "topic", "mentions")
_MENTION = ("mention", "type", "start", "end", "entity")
_ROW = (
    "caption", "picture", "mention", "type", "left", "right", "entity", "candidates", "topic", "start", "end",
)  # fmt: skip
_PASSAGE_FORM = f"a caption is [{', '.join(_PASSAGE)}], a mention [{', '.join(_MENTION)}]"
_ROW_FORM = f"a mention is [{', '.join(_ROW)}]"
_TABLE_FORM = "a line is TITLE@@@@TEXT"
_HEADINGS = ("entity", "entity_name", "title", "url")

NO_PICTURE = "document without a picture"
ODD_ADDRESS = "address of an entity that is not https://en.wikipedia.org/wiki/TITLE"
DECODED = "percent-encoded title was decoded"
REDIRECTED = "title that redirects to another"
SPELLED = "span that spells its mention otherwise"
MISPLACED = "span that does not spell its mention, which is looked for"
TWICE = "candidate is listed twice for a mention"
RESPELLED = "candidate that is the gold but for hyphens"
DESCRIBED_TWICE = "entity is described twice: the first was kept"
NO_ENTITY = "pictures of an entity without a description"

# The authors' own, so that names of files are theirs: what is before an ending that is known goes.
_BEFORE_ENDING = re.compile(r"\S+(?=\.(?:jpe?g|JPE?G|png|PNG|svg|SVG))")


def picture_name(address: str) -> str:
    """The name of a picture's file: MD5 of the last part of the address, and its ending, svg being png."""
    name = address.rsplit("/", 1)[-1]
    named = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() + _BEFORE_ENDING.sub("", name)
    return named.replace(".svg", ".png").replace(".SVG", ".png")


@dataclass(frozen=True, slots=True)
class Source:
    """What all readers of a folder share: where pictures lie, and which titles redirect to which.

    `pictures` and `portraits` are put before the names of captions' and entities' pictures.
    """

    pictures: str = "wikinewsImgs/"
    portraits: str = "images/"
    redirects: Mapping[str, str] = field(default_factory=dict)

    def title(self, address: str, place: Place, skips: SkipReport | None = None) -> str:
        """The entity of an address, redirects followed; NIL for `nil` in any spelling."""
        if gold_label(address) == NIL:
            return NIL
        try:
            title = wikipedia_title(address)
        except InputError as error:
            raise place.error(str(error)) from error
        target = self.redirects.get(title, title)
        _note(skips, ODD_ADDRESS, address, not is_plain(address))
        _note(skips, DECODED, f"{address} is {title!r}", "%" in address and unquote(address) != address)
        _note(skips, REDIRECTED, f"{title} -> {target}", target != title)
        return target


@dataclass(frozen=True, slots=True)
class _Mention:
    surface: str
    kind: str
    start: int
    end: int
    entity: str
    candidates: tuple[Candidate, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Caption:
    """A row: a caption with its mentions, or with one of them."""

    number: int | str | None
    text: str
    picture: str
    topic: str
    mentions: tuple[_Mention, ...]


def read_passages(path: str | Path, prefix: str, source: Source, skips: SkipReport | None = None) -> Iterator[Document]:
    """Stream one document a caption; the id is `prefix` and its place in the file.

    Topic and picture's address are kept in `extra`, the type of a mention in its own; `images` is the picture's file.
    A span that does not spell its mention is looked for in the caption, and noted. Raises InputError at the first
    caption that is not in the form; with `skips` it is counted and the rest goes on.
    """
    for caption in _read(path, False, source, skips):
        yield _document(caption, f"{prefix}-{caption.number}", source, skips)


def read_rows(path: str | Path, prefix: str, source: Source, skips: SkipReport | None = None) -> Iterator[Document]:
    """One document for all mentions of a caption and picture, with their candidates; else as `read_passages`.

    Candidates have neither prior nor rank: the files give no scores, and the authors do not say what orders lists that
    p(e|m), a bi-encoder and CLIP found together. The left and right words, which are made from the caption, are left
    out. The id is `prefix` and the place of the first mention in the file. A gold that is not among the candidates
    stays the label.
    """
    groups: dict[tuple[str, str], list[_Caption]] = {}
    captions: list[list[_Caption]] = []
    for row in _read(path, True, source, skips):
        key = row.text, row.picture
        # The same span again: the caption itself is there twice.
        if key not in groups or any(_span(row) == _span(other) for other in groups[key]):
            groups[key] = []
            captions.append(groups[key])
        groups[key].append(row)
    for rows in captions:
        caption = replace(rows[0], mentions=tuple(row.mentions[0] for row in rows))
        yield _document(caption, f"{prefix}-{caption.number}", source, skips)


def read_named(
    paths: Iterable[str | Path], listed: bool, source: Source, images: str | Path | None, skips: SkipReport | None
) -> Iterator[Entity]:
    """The entities that the captions of all `paths` name, by title; the title is an alias of count 1.

    listed: the files are of mentions with candidates, which are entities too. images: the table of pictures, if any.
    A caption that the readers of documents refuse is passed over: it is for them to tell.
    """
    pictures = {} if images is None else _read_pictures(images, source, skips)
    named: dict[str, None] = {}
    for path in paths:
        for caption in told_elsewhere(partial(_read, path, listed, source), skips):
            for mention in caption.mentions:
                named.update(dict.fromkeys([mention.entity, *(each.entity for each in mention.candidates or ())]))
    named.pop(NIL, None)
    # By first appearance a gold would stand before its candidates, and equal scores go by the order of the base.
    for title in sorted(named):
        yield Entity(title, title, aliases=(Alias(title),), images=pictures.get(title, ()))


def read_entities(
    descriptions: str | Path, images: str | Path | None, source: Source, skips: SkipReport | None = None
) -> Iterator[Entity]:
    """Stream the entities of the table of descriptions, with pictures from that of images, which is held in memory.

    The title is an alias of count 1. Noted are a title that comes again, and pictures of an entity that the table of
    descriptions has not.
    """
    pictures = {} if images is None else _read_pictures(images, source, skips)
    seen: set[str] = set()
    for title, description in _read_table(descriptions, source, skips):
        _note(skips, DESCRIBED_TWICE, title, title in seen)
        if title not in seen:
            seen.add(title)
            yield Entity(title, title, "", description, (Alias(title),), pictures.get(title, ()))
    for title in pictures:
        _note(skips, NO_ENTITY, title, title not in seen)


def _note(skips: SkipReport | None, reason: str, detail: str, when: bool = True) -> None:
    if skips is not None and when:
        skips.note(reason, detail)


# --- rows -----------------------------------------------------------------------------------------------------------


def _read(path: str | Path, listed: bool, source: Source, skips: SkipReport | None) -> Iterator[_Caption]:
    def passage(row: list[Any], place: Place) -> _Caption:
        record = _named(row, _PASSAGE, place)
        mentions = [_named(each, _MENTION, place) for each in place.get(record, "mentions", list)]
        golds = [source.title(place.text(each, "entity", ""), place, skips) for each in mentions]
        return _caption(record, [_mention(*each, None, place) for each in zip(mentions, golds, strict=True)], place)

    def mention(row: list[Any], place: Place) -> _Caption:
        record = _named(row, _ROW, place)
        gold = source.title(place.text(record, "entity", ""), place, skips)
        candidates = _candidates(place.texts(record, "candidates"), gold, source, place, skips)
        return _caption(record, [_mention(record, gold, candidates, place)], place)

    return read_list(path, mention if listed else passage, _ROW_FORM if listed else _PASSAGE_FORM, skips, list)


def _named(row: Any, names: tuple[str, ...], place: Place) -> dict[str, Any]:
    """The fields of a row by their names."""
    if not isinstance(row, list) or len(row) != len(names):
        found = f"{len(row)} fields" if isinstance(row, list) else repr(row)
        raise place.error(f"expected {len(names)} fields ({', '.join(names)}), found {found}")
    return dict(zip(names, row, strict=True))


def _caption(record: dict[str, Any], mentions: list[_Mention], place: Place) -> _Caption:
    text, picture = place.text(record, "caption"), place.text(record, "picture", "")
    return _Caption(place.number, text, picture, place.text(record, "topic", ""), tuple(mentions))


def _mention(record: dict[str, Any], gold: str, candidates: tuple[Candidate, ...] | None, place: Place) -> _Mention:
    surface, kind = place.text(record, "mention").strip(), place.text(record, "type", "")
    if not surface:
        raise place.error("is blank", "mention")
    return _Mention(surface, kind, place.get(record, "start", int), place.get(record, "end", int), gold, candidates)


def _candidates(
    addresses: list[str], gold: str, source: Source, place: Place, skips: SkipReport | None
) -> tuple[Candidate, ...]:
    titles: dict[str, None] = {}
    for address in addresses:
        title = source.title(address, place)
        # The authors compare titles with hyphens as spaces.
        if title != gold and title.replace("-", " ") == gold.replace("-", " "):
            _note(skips, RESPELLED, f"{title}: {gold}")
            title = gold
        _note(skips, TWICE, f"{place.file}[{place.number}]: {title}", title in titles)
        titles[title] = None
    titles.pop(NIL, None)
    return tuple(map(Candidate, titles))


def _span(row: _Caption) -> tuple[int, int]:
    return row.mentions[0].start, row.mentions[0].end


# --- documents ------------------------------------------------------------------------------------------------------


def _document(caption: _Caption, name: str, source: Source, skips: SkipReport | None) -> Document:
    _note(skips, NO_PICTURE, name, not caption.picture)
    text, spans = _spans(caption, name, skips)
    mentions = [
        TextMention(
            start, end, text[start:end], each.entity, each.candidates,
            None if text[start:end] == each.surface else each.surface, {"type": each.kind} if each.kind else None,
        )
        for (start, end), each in zip(spans, caption.mentions, strict=True)
    ]  # fmt: skip
    return Document(
        name,
        text,
        text_mentions=tuple(sorted(mentions, key=lambda mention: mention.start)),
        extra={key: value for key, value in (("topic", caption.topic), ("img_url", caption.picture)) if value},
        images=(source.pictures + picture_name(caption.picture),) if caption.picture else (),
    )


def _spans(caption: _Caption, name: str, skips: SkipReport | None) -> tuple[str, list[tuple[int, int]]]:
    """The text and a span a mention: the given one where it spells the mention or nothing else does."""
    spans: dict[int, tuple[int, int]] = {}
    for index, each in enumerate(caption.mentions):
        spelled = caption.text[each.start : each.end] if 0 <= each.start < each.end <= len(caption.text) else ""
        if fold(spelled) != fold(each.surface) and (each.surface in caption.text or not spelled.strip()):
            _note(skips, MISPLACED, f"{name}: {each.surface!r} at [{each.start}, {each.end}), {spelled!r}")
            continue
        _note(skips, SPELLED, f"{name}: {each.surface!r} is {spelled!r}", spelled.strip() != each.surface)
        start = each.start + len(spelled) - len(spelled.lstrip())
        spans[index] = start, start + len(spelled.strip())
    lost = [index for index in range(len(caption.mentions)) if index not in spans]
    text, found = locate(caption.text, [caption.mentions[index].surface for index in lost], skips, name)
    spans.update(zip(lost, found, strict=True))
    return text, [spans[index] for index in range(len(caption.mentions))]


# --- tables ---------------------------------------------------------------------------------------------------------


def _read_table(path: str | Path, source: Source, skips: SkipReport | None) -> Iterator[tuple[str, str]]:
    """The entity and the text of each line, but a heading."""
    for line, content in read_lines(path, skips):
        if not content.strip():
            continue
        place = Place(path, line, _TABLE_FORM)
        entity, separator, text = content.partition("@@@@")
        if line == 1 and entity.strip().casefold() in _HEADINGS:
            continue
        try:
            if not separator:
                raise place.error("has no @@@@")
            title = source.title(entity, place)
            if title == NIL:
                raise place.error(f"{entity!r} is what captions call an entity that is in no base")
        except InputError as error:
            if skips is None:
                raise
            skips.add("broken record", str(error))
            continue
        yield title, text.strip()


def _read_pictures(path: str | Path, source: Source, skips: SkipReport | None) -> dict[str, tuple[str, ...]]:
    """The files of each entity's pictures."""
    pictures: dict[str, tuple[str, ...]] = {}
    for title, addresses in _read_table(path, source, skips):
        files = [source.portraits + picture_name(each) for each in addresses.split("[AND]") if each.strip()]
        pictures[title] = (*pictures.get(title, ()), *files)
    return pictures

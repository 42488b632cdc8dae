"""M3EL of 2024: single mentions with a sentence, a description and a picture, and a few candidates that have them too.

Wang, Yin, Bai, Hu, Yan & Liang, "M3EL: A Multi-task Multi-topic Dataset for Multi-modal Entity Linking", arXiv
2410.18096 (github.com/ww-ffff/M3EL). A file is one JSON list of `{"Qid", "name", "description", "sentence", "image",
"candidates": [{"Qid", "name", "description", "image"}]}`; `image` is `[file, url, path]`, the path being one of the
authors' machine, `/M3EL/movies_candidates_images/NAME-QID/QID.jpg`.

What the form gives away must not become a feature: the gold is the first candidate of 55.8 % of the mentions, so
candidates carry neither prior nor rank, and their order means nothing; paths hold the gold's Qid; the mention's
description and picture may be those of the gold candidate, which is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmel.document import NIL, Alias, Candidate, Document, Entity, TextMention
from mmel.errors import SkipReport, excerpt
from mmel.formats.melbench import NO_PICTURE
from mmel.formats.mentions_in_text import gold_label, located
from mmel.formats.records import Place, others, read_list, told_elsewhere

FORM = (
    'an instance is {"Qid", "name", "description", "sentence", "image": [file, url, path], '
    '"candidates": [{"Qid", "name", "description", "image"}]}'
)
_INSTANCE_KEYS = frozenset({"Qid", "name", "description", "sentence", "image", "candidates"})

GOLD_MISSING = "gold is not among the candidates"
NO_CANDIDATES = "mention has no candidates"
TWICE = "candidate is listed twice for a mention"
SAME_PICTURE = "picture of the mention is the gold candidate's own"
SAME_DESCRIPTION = "description of the mention is the gold candidate's own"
NAMES_DIFFER = "entity has several names: the first is the title, the others are aliases"
DESCRIPTIONS_DIFFER = "entity has several descriptions: the longest was kept"


@dataclass(frozen=True, slots=True)
class Described:
    """What an instance or a candidate says of itself: id, name, description and the path of its picture."""

    id: str
    name: str
    description: str
    image: str | None


def read_documents(
    path: str | Path, prefix: str, skips: SkipReport | None = None, keep: Callable[[str], bool] | None = None
) -> Iterator[Document]:
    """Stream one document an instance, with one mention that lists its candidates.

    The id is `prefix` and the place in the file; `keep` says of a sentence whether what has it is wanted. The mention's
    description is `extra["description"]`; keys beyond the form go to the document's `extra`. A gold that is not among
    the candidates stays the label and is noted, as are a candidate listed twice (kept once), no candidates, no picture,
    and a picture or description that is the gold's own.

    Raises InputError at the first instance that is not in the form; with `skips` it is counted and the rest goes on.
    """

    def parse(record: dict[str, Any], place: Place) -> Document | None:
        sentence = record.get("sentence")
        wanted = keep is None or keep(sentence if isinstance(sentence, str) else "")
        return _document(record, place, prefix, skips) if wanted else None

    return (document for document in read_list(path, parse, FORM, skips) if document is not None)


def read_entities(paths: Iterable[str | Path], skips: SkipReport | None = None) -> Iterator[Entity]:
    """Every candidate of the files once, in the order of ids; an instance that is broken is passed over.

    Of several descriptions the longest is kept; the first name is the title, every name an alias. Both are noted.
    """
    known: dict[str, _Collected] = {}
    for path in paths:
        for candidates in told_elsewhere(partial(read_list, path, _candidates, FORM), skips):
            for candidate in candidates:
                if candidate.id in known:
                    known[candidate.id].add(candidate)
                else:
                    known[candidate.id] = _Collected(candidate)
    # In the order of first sight most golds would stand before the others of their lists, and equal scores go by it.
    for identity in sorted(known):
        yield known[identity].entity(skips)


@dataclass(slots=True)
class _Collected:
    """What all lists say of one candidate. Few lists differ, so sets are made where they do."""

    first: Described
    description: str = field(init=False)
    names: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    descriptions_differ: bool = False

    def __post_init__(self) -> None:
        self.description = self.first.description

    def add(self, other: Described) -> None:
        if other.name != self.first.name and other.name not in self.names:
            self.names += (other.name,)
        # Every mention's folder has its own copy of a candidate's picture: one is enough, the first that is named.
        if not self.images and self.first.image is None and other.image is not None:
            self.images = (other.image,)
        if other.description != self.description:
            self.descriptions_differ |= bool(self.description and other.description)
            # The same whatever order the files have.
            longest = max(self.description, other.description, key=lambda text: (len(text), text))
            self.description = longest

    def entity(self, skips: SkipReport | None) -> Entity:
        if skips is not None and self.names:
            skips.note(NAMES_DIFFER, f"{self.first.id}: {', '.join((self.first.name, *self.names))}")
        if skips is not None and self.descriptions_differ:
            skips.note(DESCRIPTIONS_DIFFER, f"{self.first.id}: {excerpt(self.description)!r}")
        return Entity(
            self.first.id,
            self.first.name,
            description=self.description,
            aliases=tuple(Alias(name) for name in (self.first.name, *self.names)),
            images=self.images if self.first.image is None else (self.first.image,),
        )


def _document(record: dict[str, Any], place: Place, prefix: str, skips: SkipReport | None) -> Document:
    where = f"{prefix}{place.number}"
    # No key is no label; null, nothing and "nil" say that it is not in the knowledge base.
    gold = gold_label(place.text(record, "Qid", None)) if "Qid" in record else None
    mention = _described(record, place, gold or "", "")
    listed = _candidates(record, place)
    candidates = {candidate.id: candidate for candidate in listed}
    if skips is not None:
        _note(mention, gold, candidates, len(listed), skips, where)
    text, (spot,) = located(place.text(record, "sentence", ""), [mention.name], [gold], skips, where)
    placed = TextMention(
        spot.start,
        spot.end,
        spot.text,
        gold,
        candidates=tuple(map(Candidate, candidates)),
        name=spot.name,
        extra={"description": mention.description} if mention.description else None,
    )
    return Document(
        where,
        text,
        text_mentions=(placed,),
        extra=others(record, _INSTANCE_KEYS),
        images=() if mention.image is None else (mention.image,),
    )


def _note(
    mention: Described,
    gold: str | None,
    candidates: dict[str, Described],
    listed: int,
    skips: SkipReport,
    where: str,
) -> None:
    """Count what is irregular or gives the gold away."""
    own = candidates.get(gold or NIL)
    told = {
        NO_CANDIDATES: not candidates,
        TWICE: len(candidates) < listed,
        NO_PICTURE: mention.image is None,
        GOLD_MISSING: bool(candidates) and gold not in (None, NIL) and own is None,
        SAME_PICTURE: own is not None and own.image is not None and own.image == mention.image,
        SAME_DESCRIPTION: own is not None and bool(own.description) and own.description == mention.description,
    }
    for reason, holds in told.items():
        if holds:
            skips.note(reason, f"{where}: {mention.name!r}, {gold}")


def _candidates(record: dict[str, Any], place: Place) -> list[Described]:
    found = []
    for number, each in enumerate(place.get(record, "candidates", list, [])):
        within = f"candidates[{number}]"
        label = gold_label(place.text(each, "Qid", within=within))
        if label == NIL:
            raise place.error(f"{each['Qid']!r} is no id of a candidate", f"{within}.Qid")
        found.append(_described(each, place, label, within))
    return found


def _described(record: Any, place: Place, identity: str, within: str) -> Described:
    name = place.text(record, "name", within=within)
    if not name.strip():
        raise place.error("is blank", f"{within}.name" if within else "name")
    description = place.text(record, "description", "", within).strip()
    return Described(identity, name, description, _picture(record.get("image"), place, within))


def _picture(value: Any, place: Place, within: str) -> str | None:
    """The path of a picture below the root, of `[file, url, path]` or of a path alone; None where there is none."""
    path = (value[2] if len(value) > 2 else None) if isinstance(value, list) else value
    where = f"{within}.image" if within else "image"
    if path is not None and not isinstance(path, str):
        raise place.error(f"expected [file, url, path], found {value!r}", where)
    path = (path or "").strip().replace("\\", "/")
    if not path or path.lower() in ("nan", "none", "null") or "://" in path:
        return None
    rooted = path.startswith("/") or path[1:2] == ":"
    parts = [part for part in path.split("/") if part and part != "."]
    if ".." in parts:
        raise place.error(f"{path!r} leads out of the dataset's folder", where)
    # The authors' paths begin at the root of a disk, with the name that the dataset's folder has there.
    return "/".join(parts[1:] if rooted else parts) or None

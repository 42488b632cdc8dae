"""Mentions with the few candidates that two models were trained and tested on: UniMEL's and DRIN's.

UniMEL (Liu et al., CIKM 2024, github.com/Javkonline/UniMEL): `SPLIT_w_10cands*.json` is a list of `{"name", "context",
"category", "ids": gold, "cands": [id, ...]}`, `entity2sum_SPLIT.json` a list of `{"ids", "name", "des", "sum"}`; the
n-th mention's picture is `mention_image/SPLIT_image/SPLIT_n.jpg`. Copies with MIMIC's keys (`mentions`, `sentence`,
`imgPath`, `answer`, `candidates`) are read too.

DRIN (Xing et al., MM 2023, github.com/starreeze/drin) for WikiMEL: `mentions/WIKIMEL_SPLIT.json` is one object of
`{"mentions", "sentence", "imgPath", "answer"}` by id, `candidates/top100/candidates*.tsv` has a line `id, candidate,
...` for each mention, by likeness of names, `candidates/qid2ne.json` and `entities/qid2abs.json` are MELBench's tables.
For WIKIDiverse both use the rows of its authors (`mmel.formats.wikidiverse`).

Candidates come without prior and rank: no list is in the order of p(e|m), and some have the gold put in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from mmel.document import NIL, Alias, Candidate, Document, Entity
from mmel.errors import SkipReport
from mmel.files import read_lines
from mmel.formats import melbench
from mmel.formats.m3el_mtmt import GOLD_MISSING, NO_CANDIDATES, TWICE
from mmel.formats.melbench import NO_PICTURE
from mmel.formats.mentions_in_text import gold_label, located
from mmel.formats.mimic import MimicFolder
from mmel.formats.records import Place, read_list, read_mapping, read_object

_MENTION_FORM = 'a mention is {"name", "context", "category", "ids": "Q42", "cands": ["Q42", ...]}'
_SUMMARY_FORM = 'an entity is {"ids": "Q42", "name", "des", "sum"}'
_DRIN_FORM = 'mentions are {"7": {"mentions": "surface", "sentence", "imgPath", "answer": "Q42"}, ...}'
_TABLE_FORM = "a table of entities is {id: text, ...}"
# UniMEL's name of a field and MIMIC's.
_NAMES = {"name": "mentions", "context": "sentence", "ids": "answer", "cands": "candidates"}
_SPLITS = {"train": "train", "val": "val", "valid": "val", "dev": "val", "test": "test"}

ENTITY_TWICE = "entity is there twice in a file: the first was kept"


class UniMelFolder:
    """A folder of UniMEL's: files of mentions below the root or `candidates/`, of entities beside or in `entities/`."""

    form: ClassVar[str] = "UniMEL"
    candidate_protocol: ClassVar[str] = "listed"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mimic = MimicFolder(root, "")

    @property
    def fits(self) -> bool:
        return bool(self.files)

    @cached_property
    def files(self) -> dict[str, Path]:
        """The file of each split; of several the one of the shortest name, others have what a model added."""
        name = re.compile(r"(train|valid|val|dev|test)_w_\d+cands.*\.json")
        found: dict[str, Path] = {}
        paths = [path for folder in (self.root, self.root / "candidates") for path in folder.glob("*_w_*cands*.json")]
        for path in sorted(paths, key=lambda path: (len(path.name), path)):
            if (match := name.fullmatch(path.name)) and _holds_objects(path):
                found.setdefault(_SPLITS[match.group(1)], path)
        return {split: found[split] for split in ("train", "val", "test") if split in found}

    def documents(self, split: str, skips: SkipReport | None = None) -> Iterator[Document]:
        """Stream one document a mention; the id is the split and the place in the file.

        A mention's category is its `extra`. What is noted: see the module's names. Raises InputError at the first
        record that is not in the form; with `skips` it is counted and the rest goes on.
        """
        path = self.files[split]
        word = path.name.partition("_")[0]

        def parse(record: dict[str, Any], place: Place) -> Document:
            image = self._picture(record, place, word)
            mention = _Listed.of(record, place, place.texts(record, _key(record, "cands")))
            return mention.document(f"{split}-{place.number}", image, skips)

        return read_list(path, parse, _MENTION_FORM, skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        """Stream the entities of `entity2sum*.json`, else `entity2brief*.json`, else MIMIC's `kb_entity.json`.

        Files of several splits share entities; one that is in one file twice is noted.
        """
        tables = self._tables("entity2sum") or self._tables("entity2brief")
        if not tables and self._mimic.fits:
            yield from self._mimic.entities(skips)
        seen: set[str] = set()
        for path in tables:
            here: set[str] = set()
            for entity in _read_table(path, skips):
                if entity.id in here and skips is not None:
                    skips.note(ENTITY_TWICE, f"{entity.id} in {path.name}")
                if entity.id not in seen:
                    yield entity
                here.add(entity.id)
                seen.add(entity.id)

    def _picture(self, record: dict[str, Any], place: Place, split: str) -> str:
        if "imgPath" not in record:
            return f"mention_image/{split}_image/{split}_{place.number}.jpg"
        image = place.text(record, "imgPath", "").strip()
        return self._mimic.picture(image) if image and self._mimic.fits else image

    def _tables(self, word: str) -> list[Path]:
        return sorted(path for folder in (self.root, self.root / "entities") for path in folder.glob(f"{word}*.json"))


class DrinFolder:
    """DRIN's folder of WikiMEL."""

    form: ClassVar[str] = "DRIN"
    candidate_protocol: ClassVar[str] = "listed"

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names, self._texts = root / "candidates" / "qid2ne.json", root / "entities" / "qid2abs.json"

    @property
    def fits(self) -> bool:
        return bool(self.files) and bool(self._lists)

    @cached_property
    def files(self) -> dict[str, Path]:
        """The file of each split."""
        paths = {word: self.root / "mentions" / f"WIKIMEL_{word}.json" for word in _SPLITS}
        return {_SPLITS[word]: path for word, path in paths.items() if path.is_file()}

    def documents(self, split: str, skips: SkipReport | None = None) -> Iterator[Document]:
        """Stream one document a mention, with the candidates of its id. See `UniMelFolder.documents`."""

        def parse(record: dict[str, Any], place: Place) -> Document:
            name = str(place.number)
            image = place.text(record, "imgPath", "")
            mention = _Listed.of(record, place, self._candidates.get(name, "").split("\t")[1:])
            return mention.document(name, f"mentions/{image}" if image else "", skips)

        return read_mapping(self.files[split], parse, _DRIN_FORM, skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        """Stream the entities of MELBench's tables, with the pictures that DRIN cleaned."""
        there = {path.stem: path.name for path in (self.root / "entities" / "cleaned-images").glob("*.*")}
        for entity in melbench.read_people(self._names, self._texts, skips):
            found = there.get(entity.id)
            yield replace(entity, images=(f"entities/cleaned-images/{found}",)) if found else entity

    @property
    def _lists(self) -> list[Path]:
        return sorted((self.root / "candidates").glob("**/candidates*.tsv"))

    @cached_property
    def _candidates(self) -> dict[str, str]:
        """The line of each mention. `candidates-answer.tsv`, of the tables' entities, goes before `candidates.tsv`."""
        lines = read_lines(self._lists[0])
        return {line.partition("\t")[0]: line for _, line in lines if line}


@dataclass(frozen=True, slots=True)
class _Listed:
    """A mention with its candidates, whichever names its fields had."""

    surface: str
    sentence: str
    gold: str | None
    candidates: tuple[str, ...]
    repeated: bool
    extra: Mapping[str, Any]

    @classmethod
    def of(cls, record: dict[str, Any], place: Place, candidates: list[str]) -> _Listed:
        name, gold = _key(record, "name"), _key(record, "ids")
        surface = place.text(record, name)
        if not surface.strip():
            raise place.error("is blank", name)
        # Lists are filled up to ten with blanks or nil; neither is an entity.
        listed = [candidate.strip() for candidate in candidates if gold_label(candidate) != NIL]
        category = place.text(record, "category", "")
        return cls(
            surface,
            place.text(record, _key(record, "context"), ""),
            gold_label(place.text(record, gold, None)) if gold in record else None,
            tuple(dict.fromkeys(listed)),
            len(set(listed)) < len(listed),
            {"type": category} if category else {},
        )

    def document(self, name: str, image: str, skips: SkipReport | None) -> Document:
        """The document of one mention; `image` is empty where it has none."""
        text, (spot,) = located(self.sentence, [self.surface], [self.gold], skips, name)
        if skips is not None:
            self._note(name, image, skips)
        listed = tuple(map(Candidate, self.candidates))
        spot = replace(spot, candidates=listed, extra=dict(self.extra) or None)
        return Document(name, text, text_mentions=(spot,), images=(image,) if image else ())

    def _note(self, name: str, image: str, skips: SkipReport) -> None:
        linked = self.gold not in (None, NIL)
        told = {
            NO_PICTURE: not image,
            NO_CANDIDATES: not self.candidates,
            TWICE: self.repeated,
            GOLD_MISSING: linked and bool(self.candidates) and self.gold not in self.candidates,
        }
        for reason, holds in told.items():
            if holds:
                skips.note(reason, f"{name}: {self.surface!r}, {self.gold}")


def _read_table(path: Path, skips: SkipReport | None) -> Iterator[Entity]:
    if path.name.startswith("entity2sum"):
        yield from read_list(path, _summary, _SUMMARY_FORM, skips)
        return
    table = read_object(path, _TABLE_FORM, skips)
    for title in table:
        description = Place(path, 0, _TABLE_FORM).text(table, title, "").strip()
        yield Entity(title, title, description=description, aliases=(Alias(title),))


def _summary(record: dict[str, Any], place: Place) -> Entity:
    identity = place.identifier(record, "ids")
    title = place.text(record, "name", "").strip() or identity
    description = place.text(record, "sum", "") or place.text(record, "des", "")
    return Entity(identity, title, description=description.strip(), aliases=(Alias(title),))


def _key(record: dict[str, Any], name: str) -> str:
    """UniMEL's name of a field, or MIMIC's where the record has that one only."""
    return _NAMES[name] if name not in record and _NAMES[name] in record else name


def _holds_objects(path: Path) -> bool:
    """Whether a list is one of objects; the rows of WIKIDiverse's authors, lists, have the same names of files."""
    with open(path, "rb") as stream:
        return re.match(rb"(?:\xef\xbb\xbf)?\s*\[\s*[{]", stream.read(256)) is not None

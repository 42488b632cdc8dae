"""The layout of MIMIC, in which WikiMEL, RichpediaMEL and WIKIDiverse were published anew and many models read them.

Luo et al., "Multi-Grained Multimodal Interaction Network for Entity Linking", KDD 2023 (github.com/pengfei-luo/MIMIC).
`NAME_train.json`, `NAME_dev.json` and `NAME_test.json` are lists of `{"id", "sentence", "imgPath", "entities",
"mentions", "answer"}`, one mention each, `answer` a Wikidata id or `nil`; `kb_entity.json` is a list of `{"id": 0,
"qid", "entity_name", "attr", "type": "entity", "image_list": [file]}` (later copies have `desc` for `attr`) and
`qid2id.json` one object of these ids by Wikidata id. Names may be percent-encoded. Pictures of entities lie in
`kb_image/`, those of mentions in `mention_image/`, converted, so that `x/y.z.PNG` is `y.jpg` there.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

from mmel.document import Alias, Document, Entity
from mmel.errors import SkipReport
from mmel.formats.melbench import NO_DESCRIPTION, NO_PICTURE
from mmel.formats.mentions_in_text import gold_label, located
from mmel.formats.records import Place, read_list, read_object

KB, IDS = "kb_entity.json", "qid2id.json"
_SPLIT_WORDS = {"train": ("train",), "val": ("dev", "val", "valid"), "test": ("test",)}
_MENTION_FORM = 'a mention is {"id", "sentence", "imgPath": "NAME.jpg", "mentions": "surface", "answer": "Q42"}'
_ENTITY_FORM = 'an entity is {"id": 0, "qid": "Q42", "entity_name", "attr", "image_list": ["NAME.jpg"]}'
_IDS_FORM = 'the numbers of entities are {"Q42": 0, ...}'

ENTITY_DECODED = "percent-encoded name of an entity was decoded"
ID_TWICE = "id of a document is there twice: the later one has a number behind it"
ENTITY_TWICE = "entity is there twice"
NO_NAME = "entity without a name: its id is its title"
NOT_IN_IDS = f"entity of {KB} is not in {IDS}"
NOT_IN_KB = f"entity of {IDS} is not in {KB}"
OTHER_NUMBER = f"entity has another number in {IDS} than in {KB}"


@dataclass(frozen=True, slots=True)
class _Mention:
    """A record: a mention with what it has in common with the others of its sentence."""

    document: str
    sentence: str
    image: str
    surface: str
    gold: str | None


class MimicFolder:
    """A folder in this layout: the mentions of each split, the entities, and where their pictures are."""

    form: ClassVar[str] = "MIMIC"
    candidate_protocol: ClassVar[str] = "kb"

    def __init__(self, root: Path, name: str) -> None:
        """`name`: of the dataset, as files begin with it; of other files for a split it goes first."""
        self.root, self.name = root, name

    @property
    def fits(self) -> bool:
        """Whether the folder is in this layout: no other has a file of the knowledge base's name."""
        return (self.root / KB).is_file()

    @cached_property
    def files(self) -> dict[str, Path]:
        """The file of each split: `train`, `val` (named `dev` there), `test`."""
        found: dict[str, Path] = {}
        for split, words in _SPLIT_WORDS.items():
            name = re.compile(rf"(.*[_.-])?({'|'.join(words)})\.json", re.IGNORECASE)
            paths = sorted(path for path in self.root.glob("*.json") if name.fullmatch(path.name))
            if paths:
                found[split] = min(paths, key=lambda path: not _plain(path.name).startswith(_plain(self.name)))
        return found

    def documents(self, split: str, skips: SkipReport | None = None) -> Iterator[Document]:
        """Stream one document a sentence and its picture: mentions that follow each other with both are its mentions.

        A surface is located in the sentence (`mentions_in_text`). The id is that of the first mention; of a later
        document with the same id it has a number behind it.

        Raises InputError at the first record that is not in the form; with `skips` it is counted and the rest goes on.
        """
        seen: Counter[str] = Counter()
        mentions = read_list(self.files[split], _mention, _MENTION_FORM, skips)
        for _, group in groupby(mentions, _caption):
            together = list(group)
            name, sentence, image = together[0].document, together[0].sentence, together[0].image
            seen[name] += 1
            if seen[name] > 1:
                _note(skips, ID_TWICE, name)
                name = f"{name}#{seen[name]}"
            if not image:
                _note(skips, NO_PICTURE, name)
            surfaces, golds = [mention.surface for mention in together], [mention.gold for mention in together]
            text, spots = located(sentence, surfaces, golds, skips, name)
            yield Document(name, text, text_mentions=spots, images=(self.picture(image),) if image else ())

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        """Stream the entities of `kb_entity.json`, the name as title and only alias, `attr` or `desc` as description.

        Noted are entities without a name or description, or with a percent-encoded name, which is decoded; where there
        is a `qid2id.json`, what it says otherwise. An entity that is there twice is skipped at its second place.
        """
        numbers = read_object(self.root / IDS, _IDS_FORM, skips) if (self.root / IDS).is_file() else None
        seen: set[str] = set()
        for number, entity in read_list(self.root / KB, partial(self._entity, skips), _ENTITY_FORM, skips):
            if entity.id in seen:
                if skips is None:
                    raise Place(self.root / KB, 0, _ENTITY_FORM).error(f"entity '{entity.id}' is there twice", "qid")
                skips.add(ENTITY_TWICE, f"{entity.id} {entity.title}")
                continue
            seen.add(entity.id)
            if skips is not None:
                _compare(entity, number, numbers, skips)
            yield entity
        if skips is not None and numbers is not None:
            for missing in sorted(numbers.keys() - seen):
                skips.note(NOT_IN_KB, missing)

    def _entity(self, skips: SkipReport | None, record: dict[str, Any], place: Place) -> tuple[Any, Entity]:
        identity = place.identifier(record, "qid").strip()
        if not identity:
            raise place.error("is empty", "qid")
        written = place.text(record, "entity_name", "").strip()
        if (name := unquote(written).strip()) != written:
            _note(skips, ENTITY_DECODED, f"{identity}: {written!r} is {name!r}")
        description = place.text(record, "attr", "") or place.text(record, "desc", "")
        images = place.texts(record, "image_list") if record.get("image_list") else []
        title = name or identity
        return record.get("id"), Entity(
            identity,
            title,
            description=description.strip(),
            aliases=(Alias(title),),
            images=tuple(f"{self._folder('kb_image')}/{image}" for image in images if image.strip()),
        )

    def picture(self, image: str) -> str:
        """Where the picture of a mention is, or would be: under its own name, or converted as the readers expect."""
        folder, file = self._folder("mention_image"), re.split(r"[/\\]", image)[-1]
        converted = f"{file.partition('.')[0]}.jpg"
        return f"{folder}/{file if file in self._mention_pictures else converted}"

    @cached_property
    def _mention_pictures(self) -> frozenset[str]:
        folder = self.root / self._folder("mention_image")
        return frozenset(os.listdir(folder)) if folder.is_dir() else frozenset()

    def _folder(self, name: str) -> str:
        """The name that a folder has here: some copies write it with another case or as a plural."""
        return self._folders.get(name, name)

    @cached_property
    def _folders(self) -> dict[str, str]:
        there = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        return {name.lower().removesuffix("s"): name for name in reversed(there)}


def _mention(record: dict[str, Any], place: Place) -> _Mention:
    surface = place.text(record, "mentions")
    if not surface.strip():
        raise place.error("is blank", "mentions")
    return _Mention(
        place.identifier(record, "id", str(place.number)),
        place.text(record, "sentence", ""),
        place.text(record, "imgPath", "").strip(),
        surface,
        # No key is no label; null, nothing and any spelling of nil say that it is not in the knowledge base.
        gold_label(place.text(record, "answer", None)) if "answer" in record else None,
    )


def _caption(mention: _Mention) -> tuple[str, str]:
    """What the mentions of one caption have in common; without a sentence every record is for itself."""
    return (mention.sentence, mention.image) if mention.sentence.strip() else (mention.document, "")


def _compare(entity: Entity, number: Any, numbers: dict[str, Any] | None, skips: SkipReport) -> None:
    """Note what an entity lacks, and where the two files of the knowledge base are not aligned."""
    if entity.title == entity.id:
        skips.note(NO_NAME, entity.id)
    if not entity.description:
        skips.note(NO_DESCRIPTION, f"{entity.id} {entity.title}")
    if numbers is not None and entity.id not in numbers:
        skips.note(NOT_IN_IDS, f"{entity.id} {entity.title}")
    elif numbers is not None and numbers[entity.id] != number:
        skips.note(OTHER_NUMBER, f"{entity.id} {entity.title}: {numbers[entity.id]}, not {number}")


def _plain(name: str) -> str:
    """A name of a file without its case and marks: `wiki_diverse` and `WIKIDiverse` are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _note(skips: SkipReport | None, reason: str, detail: str) -> None:
    if skips is not None:
        skips.note(reason, detail)

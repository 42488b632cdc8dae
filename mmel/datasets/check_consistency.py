"""Whether the parts of a dataset fit together: ids, labels, candidate lists and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmel.document import NIL, Document, Entity, TextMention
from mmel.errors import SkipReport, excerpt

GOLD_UNKNOWN = "gold is no entity of the knowledge base"
CANDIDATE_UNKNOWN = "candidate is no entity of the knowledge base"
SHARED = "text stands in an earlier split too"
UNREAD = "file that no reader of the dataset takes"
_DATA = (".json", ".jsonl", ".tsv", ".csv")


def note_unread(root: Path, read: Collection[Path], skips: SkipReport) -> None:
    """Note the files of data that lie in the root, or beside a file that was read (resolved paths), and were not."""
    root = root.resolve()
    kinds = {*_DATA, *(path.suffix for path in read)}
    for folder in sorted({root, *(path.parent for path in read if root in path.parents)}):
        for path in sorted(folder.iterdir()):
            if path.suffix in kinds and path not in read and not path.name.startswith(".") and path.is_file():
                skips.note(UNREAD, path.relative_to(root).as_posix())


@dataclass(slots=True)
class KnownEntities:
    """The ids of the knowledge base; `twice` are those that came again."""

    ids: set[str] = field(default_factory=set)
    twice: list[str] = field(default_factory=list)

    def watch(self, entities: Iterable[Entity]) -> Iterator[Entity]:
        """Pass the entities on and keep their ids."""
        for entity in entities:
            if entity.id in self.ids:
                self.twice.append(entity.id)
            self.ids.add(entity.id)
            yield entity


@dataclass(slots=True)
class SharedTexts:
    """The texts of the splits that were read so far, as digests, with split and document."""

    _first: dict[bytes, tuple[str, str]] = field(default_factory=dict)

    def earlier(self, split: str, document: Document) -> str | None:
        """Where another split has the text, in words; documents without a text have it nowhere."""
        if not document.text.strip():
            return None
        digest = hashlib.blake2b(document.text.encode(), digest_size=16).digest()
        other, name = self._first.setdefault(digest, (split, document.id))
        return None if other == split else f"'{name}' of {other}"


@dataclass(slots=True)
class ConsistencyReport:
    """Counts of one split; what does not fit is noted in `skips`, with examples.

    Without a knowledge base in the folder nothing is known of golds and candidates: their counts are None.
    """

    split: str
    known: KnownEntities
    texts: SharedTexts
    skips: SkipReport
    gold_unknown: int = 0
    gold_not_listed: int = 0
    candidates_unknown: int = 0
    texts_shared: int = 0
    twice: list[str] = field(default_factory=list)
    _ids: set[str] = field(default_factory=set)

    def add(self, document: Document) -> None:
        if document.id in self._ids:
            self.twice.append(document.id)
        self._ids.add(document.id)
        where = f"{self.split} '{document.id}'"
        if (other := self.texts.earlier(self.split, document)) is not None:
            self.texts_shared += 1
            self.skips.note(SHARED, f"{where} and {other}: {excerpt(document.text)!r}")
        for mention in document.text_mentions:
            self._add_gold(mention.entity, where)
            self._add_candidates(mention, where)
        for region in document.visual_mentions:
            self._add_gold(region.entity, where)

    def _add_gold(self, gold: str | None, where: str) -> None:
        if gold not in (None, NIL) and self.known.ids and gold not in self.known.ids:
            self.gold_unknown += 1
            self.skips.note(GOLD_UNKNOWN, f"{where}: '{gold}'")

    def _add_candidates(self, mention: TextMention, where: str) -> None:
        if mention.candidates is None:
            return
        listed = [candidate.entity for candidate in mention.candidates]
        self.gold_not_listed += mention.entity not in (None, NIL, *listed)
        for candidate in listed if self.known.ids else ():
            if candidate != NIL and candidate not in self.known.ids:
                self.candidates_unknown += 1
                self.skips.note(CANDIDATE_UNKNOWN, f"{where}, '{mention.text}': '{candidate}'")

    def record(self) -> dict[str, Any]:
        return {
            "gold_unknown": self.gold_unknown if self.known.ids else None,
            "gold_not_listed": self.gold_not_listed,
            "candidates_unknown": self.candidates_unknown if self.known.ids else None,
            "texts_shared": self.texts_shared,
            "ids_twice": len(self.twice),
        }

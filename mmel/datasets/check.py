"""What a dataset holds, counted, and how that compares with its card."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmel.datasets.base import Dataset
from mmel.datasets.card import SplitCounts
from mmel.datasets.check_consistency import ConsistencyReport, KnownEntities, SharedTexts, note_unread
from mmel.datasets.check_visual import Gallery, PictureFiles, VisualReport
from mmel.document import NIL, Candidate, Document, Entity, TextMention
from mmel.errors import InputError, SkipReport
from mmel.files import files_read, sha256_file
from mmel.progress import progress

RECALL_AT = (1, 2, 5, 10, 30)
# Cards give rates to four digits.
TOLERANCE = 0.00006

Ranker = Callable[[TextMention], Sequence[str]]


@dataclass(slots=True)
class SplitReport:
    """Counts of one split. Rates are over the linked text mentions; a mention without candidates is a miss."""

    documents: int = 0
    mentions: int = 0
    linked: int = 0
    nil: int = 0
    unlabelled: int = 0
    ranks: dict[int, int] = field(default_factory=dict)

    def add(self, document: Document, rank: Ranker) -> None:
        self.documents += 1
        for mention in document.text_mentions:
            self.mentions += 1
            if mention.entity is None:
                self.unlabelled += 1
            elif mention.entity == NIL:
                self.nil += 1
            else:
                self.linked += 1
                candidates = rank(mention)
                if mention.entity in candidates:
                    place = candidates.index(mention.entity)
                    self.ranks[place] = self.ranks.get(place, 0) + 1

    def recall_at(self, k: float) -> float | None:
        """Share of linked mentions whose gold is among the first `k` candidates."""
        if not self.linked:
            return None
        return sum(count for place, count in self.ranks.items() if place < k) / self.linked

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON and for the comparison with a card."""
        return {
            "documents": self.documents,
            "mentions": self.mentions,
            "linked": self.linked,
            "nil": self.nil,
            "unlabelled": self.unlabelled,
            "prior_accuracy": self.recall_at(1),
            "recall_at": {str(k): self.recall_at(k) for k in RECALL_AT},
            "candidate_recall": self.recall_at(math.inf),
        }


@dataclass(slots=True)
class CheckReport:
    """The outcome of `check`: per split the counts, and what is not as the card says.

    `broken` are splits that could not be read to their end, with the fault; they have no counts.
    """

    name: str
    protocol: str
    entities: int
    gallery: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    broken: dict[str, str]
    absent: list[str]
    mismatches: list[str]
    skips: SkipReport

    @property
    def ok(self) -> bool:
        return not self.broken and not self.mismatches and not self.skips.counts


def check(dataset: Dataset) -> CheckReport:
    """Read all of a dataset, count, and compare with its card.

    Bad records are counted and passed over, and a split whose file is broken is told when all others were read. Files
    beside those that were read are noted.
    """
    skips, broken = SkipReport(), dict[str, str]()
    gallery, known, texts = Gallery(PictureFiles(dataset)), KnownEntities(), SharedTexts()
    splits: dict[str, dict[str, Any]] = {}
    twice = {"entities": known.twice}
    with files_read() as read:
        entities = progress(dataset.entities(skips), f"{dataset.name} entities", unit="entity")
        rank, total = _ranker(dataset, known.watch(gallery.watch(entities)))
        for split in dataset.splits:
            consistency = ConsistencyReport(split, known, texts, skips)
            try:
                splits[split] = _check_split(dataset, split, rank, VisualReport(gallery), consistency)
            except InputError as error:
                broken[split] = str(error)
            else:
                twice[split] = consistency.twice
    if dataset.needs_root and not broken:
        note_unread(dataset.root, read, skips)
    return CheckReport(
        dataset.name,
        dataset.candidate_protocol,
        total,
        gallery.record(),
        splits,
        broken,
        [split for split in dataset.card.splits if split not in dataset.splits],
        [
            *(f"{what}: {len(ids)} ids stand twice, the first is '{ids[0]}'" for what, ids in twice.items() if ids),
            *_mismatches(dataset, splits, total, len(gallery.entities)),
        ],
        skips,
    )


def _check_split(
    dataset: Dataset, split: str, rank: Ranker, visual: VisualReport, consistency: ConsistencyReport
) -> dict[str, Any]:
    """The counts of one split; InputError where it cannot be read to its end."""
    report = SplitReport()
    for document in progress(dataset.documents(split, consistency.skips), f"{dataset.name} {split}", unit="doc"):
        report.add(document, rank)
        visual.add(document)
        consistency.add(document)
    seen = {"visual": visual.mentions, "pictures": visual.record(), "consistency": consistency.record()}
    return report.record() | seen


def _ranker(dataset: Dataset, entities: Iterator[Entity]) -> tuple[Ranker, int]:
    """How the dataset orders a mention's candidates by prior, and the number of its KB records.

    Ties go by id, never by the place in a mention's list: some files list the gold candidate first.
    """
    if dataset.candidate_protocol == "kb":
        return _by_alias_count(entities)
    popularity = {entity.id: entity.popularity for entity in entities}

    def key(candidate: Candidate) -> tuple[float, int, str]:
        # The source's prior or rank where it has one, else in-links.
        if candidate.prior is not None:
            return -candidate.prior, 0, candidate.entity
        if candidate.rank is not None:
            return candidate.rank, 0, candidate.entity
        return 0, -popularity.get(candidate.entity, 0), candidate.entity

    def rank(mention: TextMention) -> list[str]:
        return [candidate.entity for candidate in sorted(mention.candidates or (), key=key)]

    return rank, len(popularity)


def _by_alias_count(entities: Iterator[Entity]) -> tuple[Ranker, int]:
    """Candidates are the entities with exactly the mention's surface as an alias, by falling count; ties keep the
    order of the KB, as in its own lookup."""
    counts: dict[str, dict[str, float]] = {}
    total = 0
    for entity in entities:
        total += 1
        for alias in entity.aliases:
            named = counts.setdefault(alias.name, {})
            named[entity.id] = named.get(entity.id, 0) + alias.count
    ranked: dict[str, list[str]] = {}

    def rank(mention: TextMention) -> list[str]:
        if mention.text not in ranked:
            named = counts.get(mention.text, {})
            ranked[mention.text] = sorted(named, key=lambda entity: -named[entity])
        return ranked[mention.text]

    return rank, total


def _mismatches(
    dataset: Dataset, splits: Mapping[str, Mapping[str, Any]], entities: int, gallery: int
) -> Iterator[str]:
    """One line for each value that is not as the card says; what the card does not know is not compared."""
    card = dataset.card
    for what, counted, known in (("entities", entities, card.size(dataset.form)), ("gallery", gallery, card.gallery)):
        if known is not None and counted != known:
            yield f"{what}: {counted}, the card says {known}"
    for split, found in splits.items():
        expected = card.counts(dataset.form, split)
        for name in SplitCounts.model_fields:
            want, have = getattr(expected, name), found[name]
            if want is not None and (have is None or abs(have - want) > (TOLERANCE if isinstance(want, float) else 0)):
                yield f"{split} {name}: {have}, the card says {want}"
    for relative, want in card.checksums.items():
        path = dataset.root / relative
        if path.is_file() and (have := sha256_file(path)) != want:
            yield f"{path}: SHA-256 {have[:12]}..., the card says {want[:12]}..."

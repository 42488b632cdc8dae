"""Linked documents as a page sees them, and what is counted over all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mmel.document import NIL, Coupling, Document, LinkedDocument
from mmel.evaluation.metrics import link_counts
from mmel.report.cut import cut, shown_images
from mmel.report.mentions import JudgedMention, Modality, judged_mentions, strongest

CHARACTERS, PICTURES = 20_000, 60  # shown of one document
# What a document adds to a page, roughly, in bytes: of a mention with its candidates, of a picture, of a coupling.
_MENTION, _PICTURE, _COUPLING = 1_500, 12_000, 45


class JudgedDocument:
    """What is shown of a linked document. `place`: among all documents; `left_out`: a sentence for each thing cut."""

    def __init__(self, place: int, linked: LinkedDocument, mentions: Sequence[JudgedMention], top: int) -> None:
        short, self.left_out = cut(linked, CHARACTERS, PICTURES)
        self.place = place
        self.mentions: Sequence[JudgedMention] = mentions if short is linked else judged_mentions(short, top)
        self.document: Document = short.document
        self.images = shown_images(short)
        self.couplings: list[Coupling] = sorted(short.couplings, key=lambda one: -one.mass)
        self.strongest = strongest(short)
        self._sides: dict[Modality, list[JudgedMention]] = {"text": [], "visual": []}
        for one in self.mentions:
            self._sides[one.modality].append(one)
        self._counts = Counter(state for one in self.mentions for state in one.states)

    def count(self, state: str) -> int:
        """How many mentions are in a state."""
        return self._counts[state]

    def of(self, modality: Modality) -> list[JudgedMention]:
        """The mentions of a modality, in their order in the document."""
        return self._sides[modality]

    @property
    def doubtful(self) -> int:
        """How many mentions are worth a second look."""
        return sum(is_doubtful(one) for one in self.mentions)

    @property
    def bytes(self) -> int:
        """About what the document adds to a page."""
        parts = _MENTION * len(self.mentions) + _PICTURE * len(self.images) + _COUPLING * len(self.couplings)
        return len(self.document.text) + parts


def is_doubtful(mention: JudgedMention) -> bool:
    """Whether a mention is worth a second look: wrong, not in the knowledge base, unsure or in dispute."""
    return not {"wrong", "nil", "low", "disagree"}.isdisjoint(mention.states)


@dataclass(slots=True)
class Tally:
    """Counts over the mentions of a modality.

    `gold`: those whose gold entity is in the knowledge base; `correct` of these, and `alone_correct` what the modality
    decides by itself; `better` and `worse`: decisions that changed from wrong to right, and from right to wrong.
    """

    mentions: int = 0
    labelled: int = 0
    gold: int = 0
    correct: int = 0
    alone_correct: int = 0
    better: int = 0
    worse: int = 0
    nil: int = 0
    states: Counter[str] = field(default_factory=Counter)

    def add(self, mentions: Sequence[JudgedMention]) -> None:
        """Count the mentions of a document."""
        golds = [one.gold for one in mentions]
        gold, _, correct = link_counts(golds, [one.entity for one in mentions]).tolist()
        # A document in which nothing was coupled is linked as it is alone.
        before = [one.alone[0] if one.alone else one.entity for one in mentions]
        self.mentions += len(mentions)
        self.labelled += sum(one is not None for one in golds)
        self.gold += gold
        self.correct += correct
        self.alone_correct += int(link_counts(golds, before)[2])
        self.nil += sum(one.entity == NIL for one in mentions)
        changed = [one for one in mentions if one.changed and one.gold is not None]
        self.better += sum(not one.wrong for one in changed)
        self.worse += sum(one.alone is not None and one.alone[0] == one.gold for one in changed)
        self.states.update(state for one in mentions for state in one.states)


@dataclass(slots=True)
class Totals:
    """Counts over all documents, whether they are shown or not. `coupled`: whether modalities decided together."""

    documents: int = 0
    coupled: bool = False
    sides: dict[Modality, Tally] = field(default_factory=lambda: {"text": Tally(), "visual": Tally()})

    def add(self, linked: LinkedDocument, mentions: Sequence[JudgedMention]) -> None:
        """Count a document."""
        self.documents += 1
        self.coupled |= linked.alone is not None or bool(linked.couplings)
        for modality, tally in self.sides.items():
            tally.add([one for one in mentions if one.modality == modality])

    @property
    def labelled(self) -> int:
        """How many mentions have a gold label."""
        return sum(tally.labelled for tally in self.sides.values())

    @property
    def mentions(self) -> int:
        return sum(tally.mentions for tally in self.sides.values())

    def rows(self) -> Iterator[tuple[Modality, Tally]]:
        """The modalities in which something is linked."""
        return ((modality, tally) for modality, tally in self.sides.items() if tally.mentions)

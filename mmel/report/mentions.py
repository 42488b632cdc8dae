"""What a page says of a linked document: mentions judged by their gold, and the text cut where they begin and end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

from mmel.document import NIL, Coupling, Link, LinkedDocument, ScoredCandidate, TextMention, VisualMention
from mmel.errors import InputError

Modality = Literal["text", "visual"]
LOW = 0.5  # a confidence below this is low


class Ranked(NamedTuple):
    """A candidate with its rank among all of its mention's, from 1."""

    rank: int
    candidate: ScoredCandidate


@dataclass(frozen=True, slots=True)
class JudgedMention:
    """A mention with its decision.

    `place` among the document's mentions of that modality. `name`: the surface, or the picture's file name. `entity`
    and `score` of the decision; `ranked` the candidates that are shown. `gold`: an entity id, `NIL`, or None where
    unlabelled. `alone`: entity and score that the modality decides by itself, None where that is not known. `found`:
    the probability with which a detector found the mention, None where none did. `apart`: both it and the
    mention that it is coupled with most have an entity, and no path joins the two.
    """

    modality: Modality
    place: int
    name: str
    entity: str
    score: float
    ranked: tuple[Ranked, ...]
    gold: str | None
    alone: tuple[str, float] | None
    found: float | None
    apart: bool

    @property
    def wrong(self) -> bool:
        return self.gold is not None and self.entity != self.gold

    @property
    def changed(self) -> bool:
        return self.alone is not None and self.alone[0] != self.entity

    @property
    def low(self) -> bool:
        return self.score < LOW

    @property
    def runner_up(self) -> ScoredCandidate | None:
        """The best candidate that was not decided for."""
        return next((one.candidate for one in self.ranked if one.candidate.entity != self.entity), None)

    @property
    def states(self) -> list[str]:
        """The words that the page is filtered and coloured by."""
        states = ["unlabelled" if self.gold is None else "wrong" if self.wrong else "right"]
        states += ["nil"] if NIL in (self.entity, self.gold) else []
        states += ["low"] if self.low else []
        states += ["changed"] if self.changed else []
        states += ["apart"] if self.apart else []
        return states + (["disagree"] if self.changed or self.apart else [])


def judged_mentions(linked: LinkedDocument, top: int = 6) -> tuple[JudgedMention, ...]:
    """The linked mentions of a document, textual ones first, each with its first `top` candidates and the gold.

    InputError where links or couplings do not fit their document.
    """
    document = linked.document
    document.check_spans()
    best = strongest(linked)
    text = [(mention.text, mention) for mention in document.text_mentions]
    visual = [(PurePosixPath(mention.image).name, mention) for mention in document.visual_mentions]
    return (*_judged("text", text, linked, best, top), *_judged("visual", visual, linked, best, top))


def _judged(
    modality: Modality,
    mentions: Sequence[tuple[str, TextMention | VisualMention]],
    linked: LinkedDocument,
    best: Mapping[tuple[Modality, int], Coupling],
    top: int,
) -> Iterator[JudgedMention]:
    links, alone = _links(linked, modality), _links(linked.alone, modality) if linked.alone else ()
    for what in filter(None, (links, alone)):
        if len(what) != len(mentions):
            raise InputError(
                f"document '{linked.document.id}': {len(mentions)} {modality} mentions and {len(what)} links",
                remedy="give one link a mention, in mention order",
            )
    # Without links the modality was not linked.
    for place, ((name, mention), link) in enumerate(zip(mentions, links, strict=False)):
        coupling = best.get((modality, place))
        yield JudgedMention(
            modality, place, name, link.entity, link.score, _ranked(link, mention.entity, top), mention.entity,
            (alone[place].entity, alone[place].score) if alone else None,
            _found(mention),
            apart=coupling is not None and _apart(coupling, linked),
        )  # fmt: skip


def _apart(coupling: Coupling, linked: LinkedDocument) -> bool:
    """Nothing joins the two entities; of NIL that says nothing."""
    entities = linked.text_links[coupling.text].entity, linked.visual_links[coupling.visual].entity
    return not coupling.path and NIL not in entities


def _ranked(link: Link, gold: str | None, top: int) -> tuple[Ranked, ...]:
    """The first candidates, and behind them what was decided and what is right."""
    return tuple(
        Ranked(rank, one)
        for rank, one in enumerate(link.candidates, start=1)
        if rank <= top or one.entity in (link.entity, gold)
    )


def _found(mention: TextMention | VisualMention) -> float | None:
    """What a detector says of its mention: `probability` of a name, `confidence` of a face."""
    said = [(mention.extra or {}).get(key) for key in ("probability", "confidence")]
    return next((float(one) for one in said if isinstance(one, int | float) and not isinstance(one, bool)), None)


def _links(linked: LinkedDocument, modality: Modality) -> tuple[Link, ...]:
    return linked.text_links if modality == "text" else linked.visual_links


def strongest(linked: LinkedDocument) -> dict[tuple[Modality, int], Coupling]:
    """The coupling of most mass of each mention; InputError where one joins what is not there."""
    best: dict[tuple[Modality, int], Coupling] = {}
    for one in sorted(linked.couplings, key=lambda one: -one.mass):
        if not (0 <= one.text < len(linked.text_links) and 0 <= one.visual < len(linked.visual_links)):
            raise InputError(
                f"document '{linked.document.id}': a coupling of textual mention {one.text} with visual mention "
                f"{one.visual}, of {len(linked.text_links)} and {len(linked.visual_links)} that are linked"
            )
        best.setdefault(("text", one.text), one)
        best.setdefault(("visual", one.visual), one)
    return best


class Piece(NamedTuple):
    """A stretch of a text: the mention that it stands for (None: for none), and whether it is that one's first.

    `hidden` are the mentions that end with the piece and have no piece of their own.
    """

    text: str
    mention: int | None
    first: bool
    hidden: tuple[int, ...] = ()


def pieces(text: str, spans: Sequence[tuple[int, int]]) -> list[Piece]:
    """Cut a text so that every piece belongs to one mention, where mentions overlap to the shortest, or to none.

    The pieces spell the text. spans: `(start, end)` of each mention, end-exclusive, inside the text.
    """
    shown: set[int] = set()
    cut: list[tuple[int, int, int | None]] = []
    for start, end, owner in _stretches(len(text), spans):
        if cut and cut[-1][2] == owner:
            cut[-1] = (cut[-1][0], end, owner)
        else:
            cut.append((start, end, owner))
    owners = {owner for _, _, owner in cut}
    hidden: dict[int, list[int]] = {}
    ends = [end for _, end, _ in cut]
    for mention, (_, end) in enumerate(spans):
        if mention not in owners:
            # A merged piece may reach further than the mention under it.
            hidden.setdefault(next(one for one in ends if one >= end), []).append(mention)
    result = []
    for start, end, owner in cut:
        first = owner is not None and owner not in shown
        shown |= set() if owner is None else {owner}
        result.append(Piece(text[start:end], owner, first, tuple(hidden.get(end, ()))))
    return result


def _stretches(length: int, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int | None]]:
    """Start, end and shortest mention of each stretch between two places where mentions begin or end."""
    begins: dict[int, list[int]] = {}
    for mention, (start, _) in enumerate(spans):
        begins.setdefault(start, []).append(mention)
    places = sorted({0, length, *(place for span in spans for place in span)})
    active: list[int] = []
    for start, end in pairwise(places):
        active = [one for one in active if spans[one][1] > start] + begins.get(start, [])
        yield start, end, min(active, key=lambda one: spans[one][1] - spans[one][0], default=None)

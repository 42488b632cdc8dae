"""The values that walk through the engine: documents, mentions, entities, links.

Offsets are characters, end-exclusive. Boxes are `(x0, y0, x1, y1)` in pixels. An entity is a string id of one
knowledge base, `NIL` for 'not in the knowledge base', or None where unlabelled. `extra` keeps the keys of a
file that the engine does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmel.errors import InputError

NIL = "NIL"
Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate that a dataset lists for a mention.

    `prior` is p(e|m) in [0, 1] where the source gives a value; `rank` (from 0) is the position in a source
    that orders by p(e|m) without giving values. Both None: the source's order means nothing.
    """

    entity: str
    prior: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class TextMention:
    """A span of the text. `name` is a longer form a dataset resolved the surface to, else None.

    `candidates` is None where the knowledge base is to be asked, an empty tuple where the source has none.
    """

    start: int
    end: int
    text: str
    entity: str | None = None
    candidates: tuple[Candidate, ...] | None = None
    name: str | None = None
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class VisualMention:
    """A region of a picture; `image` is relative to the document file's folder, `box` None for all of it."""

    image: str
    box: Box | None = None
    entity: str | None = None
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its pictures and the mentions in both. `extra` keeps keys the engine does not know.

    `images` are pictures of the document by path, as `VisualMention.image`, whether they hold a mention or not.
    """

    id: str
    text: str
    title: str = ""
    text_mentions: tuple[TextMention, ...] = ()
    visual_mentions: tuple[VisualMention, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    images: tuple[str, ...] = ()

    def check_spans(self, file: str | None = None, line: int | None = None) -> None:
        """Raise InputError naming document, span and both strings where a mention does not spell its surface."""
        length = len(self.text)
        for mention in self.text_mentions:
            inside = 0 <= mention.start < mention.end <= length
            found = self.text[mention.start : mention.end]
            if not inside or found != mention.text:
                wrong = f"spells {found!r}" if inside else f"is none of the text's {length:,} characters"
                raise InputError(
                    f"document '{self.id}': span [{mention.start}, {mention.end}) {wrong}, "
                    f"the mention says {mention.text!r}",
                    file=file,
                    line=line,
                    field="text_mentions",
                    remedy="offsets are characters from 0, end-exclusive",
                )


@dataclass(frozen=True, slots=True)
class Alias:
    """A surface of an entity and how often it was seen to mean it (link count)."""

    name: str
    count: float = 1


@dataclass(frozen=True, slots=True)
class Entity:
    """A record of the knowledge base. `popularity` is the number of in-links where the source knows it."""

    id: str
    title: str
    type: str = ""
    description: str = ""
    aliases: tuple[Alias, ...] = ()
    images: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    popularity: int = 0
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate after scoring; `score` is the probability among the mention's candidates.

    `columns` says what the score is made of: the contribution of each part, in the unit of the part, by its name.
    """

    entity: str
    score: float
    prior: float
    columns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """The decision for one mention: an entity id or `NIL`, its score, and the ranked candidates.

    Where NIL was to be decided, `score` is the calibrated probability that the decision is right; else that of the
    best candidate among the candidates. `confidence` is the calibrated probability that the best candidate is right,
    whatever was decided, `p_nil` that the entity is not in the base; None where the run has learned none.
    """

    entity: str
    score: float
    candidates: tuple[ScoredCandidate, ...] = ()
    confidence: float | None = None
    p_nil: float | None = None

    def cut(self, most: int) -> Link:
        """The same with its first `most` candidates only, and NIL wherever it stands among them."""
        kept = [one for place, one in enumerate(self.candidates) if place < most or one.entity == NIL]
        return replace(self, candidates=tuple(kept))


@dataclass(frozen=True, slots=True)
class Coupling:
    """A textual and a visual mention of a document that the transport plan joins.

    `text` and `visual` are their positions among the document's mentions, `mass` what the plan moves between them, of
    1 in all. `path` are the entities from the textual link's to the visual link's, each linked to the next in the
    knowledge base; empty where no short path joins them.
    """

    text: int
    visual: int
    mass: float
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkedDocument:
    """A document with one link per mention, in mention order; `meta` says model, kb and version.

    `couplings` are the pairs that decided together, by falling mass. `alone` is the same document as each modality
    links it by itself; None where nothing was coupled.
    """

    document: Document
    text_links: tuple[Link, ...] = ()
    visual_links: tuple[Link, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    couplings: tuple[Coupling, ...] = ()
    alone: LinkedDocument | None = None

"""The page of linked documents: each text with its links, its pictures beside it, and what joins the two.

What the cards of the mentions show stands once, as JSON; the page's script makes a card when it is asked for. Without
the script the texts, the pictures and the list of links of each document are there.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmel.document import NIL, Box, Link, LinkedDocument, ScoredCandidate
from mmel.errors import ConfigError, InputError
from mmel.evaluation.metrics import link_counts
from mmel.files import atomic_write
from mmel.pictures import clip_box, picture_size
from mmel.report.html import Html, element
from mmel.report.mentions import LOW, JudgedMention, Modality, judged_mentions, pieces
from mmel.report.page import Filter, Order, notes, page, toolbar, unread
from mmel.report.pictures import Thumbnails, thumbnails
from mmel.report.visual import Entities, EntityCard, entity_cards
from mmel.vision.regions import Region

_NAMES: dict[Modality, str] = {"text": "text", "visual": "pictures"}
_STATES = {
    "wrong": "Wrong",
    "changed": "Changed",
    "nil": "NIL",
    "low": "Low confidence",
    "apart": "No common ground",
    "unlabelled": "Unlabelled",
}
_ORDERS = (
    Order("worst", "most errors first"),
    Order("changed", "most changed first", falls=True),
    Order("mentions", "most mentions first", falls=True),
    Order("place", "as in the corpus"),
)
_LEGEND = (
    ("right", "right"),
    ("wrong", "wrong"),
    ("nil", "NIL: not in the knowledge base"),
    ("unlabelled", "no label"),
    ("unlabelled low", f"confidence below {LOW:g}"),
    ("unlabelled changed", "changed by the other modality"),
)
_READ = (
    "Point at a mention, or reach it with the tab key, to see its card: entity, confidence, candidates with what their "
    "scores are made of, and the mentions of the other modality that decided with it. Enter or a click keeps the card "
    "open, Escape closes it.",
    "Lines join mentions that decided together, the thicker the more mass the transport plan moves between them. At "
    "rest only the strongest line of each mention is drawn; a mention that is pointed at shows all of its lines. "
    "Dashed: no short path in the knowledge base joins the two entities, so there is no common ground.",
    "Accuracy is over the mentions whose gold entity is in the knowledge base. Alone is what each modality decides by "
    "itself.",
)
_PICTURE, _PORTRAIT = 240, 80  # pixels: of a document's pictures, of an entity's
_LONGEST = 200  # characters of a description
_INSET = 6  # per cent by which a box shrinks for each one that it would hide
_Percent = tuple[float, float, float, float]
# The script draws into it.
_LINES = element("svg", class_="lines", aria_hidden="true")
_SIDES = ("left", "top", "width", "height")


def write_document_report(
    path: str | Path,
    linked: Sequence[LinkedDocument],
    cards: Entities,
    pictures: Path,
    *,
    title: str,
    protocol: str,
    top: int = 6,
    limit: int = 500,
) -> None:
    """Write a self-contained HTML page about linked documents, whole or not at all.

    Args:
        cards: of entities by id, or a function that is asked once for the ids on the page; one without a card shows
            its id.
        pictures: folder that the images of visual mentions are relative to.
        title: heading of the page. protocol: what the numbers stand for: dataset, split, candidates ...
        top: candidates shown of each mention.
        limit: documents shown, those with the most errors; the numbers are of all.

    Raises:
        ConfigError where `top` or `limit` is below 1; InputError where links or couplings do not fit their document.
    """
    if top < 1 or limit < 1:
        raise ConfigError(f"top = {top}, limit = {limit}: both must be at least 1")
    judged = [_Judged(place, one) for place, one in enumerate(linked)]
    worst = sorted(judged, key=lambda one: (-one.count("wrong"), -one.count("changed"), one.place))[:limit]
    wanted = _entities(worst, top)
    known = entity_cards(cards, list(wanted))
    portraits = {id: Region(card.picture) for id, card in known.items() if wanted[id] and card.picture is not None}
    small = thumbnails(portraits.values(), side=_PORTRAIT, prefix="e")
    shots = _Shots(worst, pictures)
    data = _Data(known, {id: small.classes[region] for id, region in portraits.items()}, top)
    records = [data.document(one) for one in worst]
    header = [
        element("h1", title),
        element("p", protocol, class_="protocol"),
        _headline(judged),
        unread([*shots.problems, *small.problems]),
        element("p", f"The {limit:,} of {len(judged):,} documents with the most errors are shown.", class_="part")
        if limit < len(judged)
        else None,
        _toolbar(worst),
        data.block(records),
    ]
    view = _View(known, shots)
    items = (view.card(order, one) for order, one in enumerate(worst))
    with atomic_write(path) as stream:
        stream.writelines(page(title, header, items, css=shots.thumbnails.css + small.css, kind="document"))


class _Judged:
    """A linked document with its judged mentions. `place`: among all documents."""

    def __init__(self, place: int, linked: LinkedDocument) -> None:
        self.place, self.linked, self.document = place, linked, linked.document
        self.mentions = judged_mentions(linked)
        self._counts = Counter(state for one in self.mentions for state in one.states)

    def count(self, state: str) -> int:
        """How many mentions are in a state."""
        return self._counts[state]

    def of(self, modality: Modality) -> list[JudgedMention]:
        return [one for one in self.mentions if one.modality == modality]


def _entities(judged: Iterable[_Judged], top: int) -> dict[str, bool]:
    """The entities on the page, and whether their pictures are shown: of decisions, golds, and what faces look like."""
    wanted: dict[str, bool] = {}
    for one in judged:
        for mention in one.mentions:
            decided = [mention.link.entity, mention.gold, mention.alone.entity if mention.alone else None]
            wanted.update((id, True) for id in decided if id is not None)
            for candidate in mention.link.candidates[:top]:
                wanted[candidate.entity] = wanted.get(candidate.entity, False) or mention.modality == "visual"
        for coupling in one.linked.couplings:
            for id in coupling.path:
                wanted.setdefault(id, False)
    wanted.pop(NIL, None)
    return wanted


def _headline(judged: Sequence[_Judged]) -> Html:
    """Accuracy of each modality, alone beside joint, over the mentions whose gold is in the knowledge base."""
    coupled = any(one.linked.alone for one in judged)
    names = ["", "mentions", *(["alone", "joint", "changed"] if coupled else ["accuracy"])]
    rows = [_scores(name, [m for one in judged for m in one.of(side)], coupled) for side, name in _NAMES.items()]
    table = element(
        "table",
        element("caption", f"{len(judged):,} documents"),
        element("thead", element("tr", [element("th", name, scope="col") for name in names])),
        element("tbody", rows),
        class_="scores",
    )
    return element("section", element("div", table), _legend(), class_="summary", aria_label="Scores")


def _scores(name: str, mentions: Sequence[JudgedMention], coupled: bool) -> Html | None:
    """The row of a modality; None where nothing is linked in it."""
    if not mentions:
        return None
    gold = [one.gold for one in mentions]
    total, _, correct = link_counts(gold, [one.link.entity for one in mentions])
    # A document in which nothing was coupled is linked as it is alone.
    _, _, alone = link_counts(gold, [(one.alone or one.link).entity for one in mentions])
    part = element("small", f" {total:,} with gold") if total < len(mentions) else None
    cells: list[list[str | None]] = [[f"{len(mentions):,}", part]]
    cells += [[f"{right / total:.1%}" if total else "–"] for right in ([alone, correct] if coupled else [correct])]
    if coupled:
        cells.append(_changes(mentions))
    return element("tr", element("th", name, scope="row"), [element("td", cell) for cell in cells])


def _changes(mentions: Iterable[JudgedMention]) -> list[str | None]:
    """How many decisions changed, and where gold says so how many to the better and to the worse."""
    changed = [one for one in mentions if one.changed]
    better = sum(one.gold == one.link.entity for one in changed)
    worse = sum(one.alone is not None and one.gold == one.alone.entity for one in changed)
    return [f"{len(changed):,}", element("small", f" +{better:,} −{worse:,}") if better or worse else None]


def _legend() -> Html:
    marks = [element("li", element("span", label, class_=f"m {state}")) for state, label in _LEGEND]
    return element(
        "div", element("ul", marks, class_="legend", aria_label="Legend"), notes("How to read this page", _READ)
    )


def _toolbar(judged: Sequence[_Judged]) -> Html:
    counts = {state: sum(one.count(state) for one in judged) for state in _STATES}
    filters = [Filter("", "All", sum(len(one.mentions) for one in judged))]
    filters += [Filter(state, label, counts[state]) for state, label in _STATES.items() if counts[state]]
    return toolbar(filters, _ORDERS)


class _Shots:
    """The pictures of documents: small ones, their sizes, what boxes cover of them, and what could not be read.

    `sizes`: width and height of each picture that can be read. `covered`: left, top, width and height of each box in
    per cent of its picture; all of it where there is no box or no picture.
    """

    def __init__(self, judged: Sequence[_Judged], folder: Path) -> None:
        self._folder = folder
        boxes = dict.fromkeys(
            (mention.image, mention.box) for one in judged for mention in one.document.visual_mentions
        )
        images = dict.fromkeys(image for image, _ in boxes)
        self.thumbnails: Thumbnails = thumbnails(map(self.region, images), side=_PICTURE)
        self.problems = list(self.thumbnails.problems)
        self.sizes = {
            image: picture_size(folder / image) for image in images if self.thumbnails.classes[self.region(image)]
        }
        self.covered = {(image, box): self._covered(image, box) for image, box in boxes}

    def region(self, image: str) -> Region:
        return Region(self._folder / image)

    def _covered(self, image: str, box: Box | None) -> _Percent:
        if box is None or image not in self.sizes:
            return 0, 0, 100, 100
        width, height = self.sizes[image]
        try:
            x0, y0, x1, y1 = clip_box(box, (width, height))
        except InputError as error:
            self.problems.append(f"{self._folder / image}: {error}")
            return 0, 0, 100, 100
        return 100 * x0 / width, 100 * y0 / height, 100 * (x1 - x0) / width, 100 * (y1 - y0) / height


class _Data:
    """What the script makes cards of: entities, names of columns and the documents' mentions, by their numbers."""

    def __init__(self, cards: Mapping[str, EntityCard], portraits: Mapping[str, str | None], top: int) -> None:
        self._top = top
        self._numbers = {id: number for number, id in enumerate(cards)} | {NIL: -1}
        self._entities = [
            [card.id, card.title, _short(card.description), portraits.get(id) or ""] for id, card in cards.items()
        ]
        self._columns: dict[str, int] = {}

    def document(self, judged: _Judged) -> dict[str, Any]:
        """Mentions `[name, entity, score, gold, alone, candidates]` and couplings `[text, visual, mass, path]`."""
        couplings = sorted(judged.linked.couplings, key=lambda one: -one.mass)
        return {
            "text": [self._mention(one) for one in judged.of("text")],
            "visual": [self._mention(one) for one in judged.of("visual")],
            "couplings": [
                [one.text, one.visual, _number(one.mass), [self._numbers[id] for id in one.path]] for one in couplings
            ],
        }

    def block(self, documents: Sequence[dict[str, Any]]) -> Html:
        """The element that holds it all; nothing in it can end the element or begin another."""
        values = {"entities": self._entities, "columns": list(self._columns), "documents": documents}
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        return element("script", Html(text), type="application/json", id="data")

    def _mention(self, judged: JudgedMention) -> list[Any]:
        return [
            judged.name,
            *self._decision(judged.link),
            None if judged.gold is None else self._numbers[judged.gold],
            self._decision(judged.alone) if judged.alone else None,
            list(self._candidates(judged)),
        ]

    def _decision(self, link: Link) -> list[Any]:
        return [self._numbers[link.entity], _number(link.score)]

    def _candidates(self, judged: JudgedMention) -> Iterator[list[Any]]:
        """`[entity, rank, score, prior, column, value, column, value, ...]`: the first ones, and the gold behind."""
        for rank, one in enumerate(judged.link.candidates, start=1):
            if rank <= self._top or one.entity == judged.gold:
                yield [self._numbers[one.entity], rank, _number(one.score), _number(one.prior), *self._values(one)]

    def _values(self, candidate: ScoredCandidate) -> Iterator[Any]:
        for name, value in candidate.columns.items():
            yield self._columns.setdefault(name, len(self._columns))
            yield _number(value)


def _number(value: float) -> float | str:
    """Four digits; a number that JSON does not have is said as text."""
    return float(f"{value:.4g}") if math.isfinite(value) else f"{value}"


def _short(description: str) -> str:
    return description[:_LONGEST] + ("…" if len(description) > _LONGEST else "")


@dataclass(frozen=True, slots=True)
class _View:
    """Writes documents: what is known of the entities, and the pictures."""

    entities: Mapping[str, EntityCard]
    shots: _Shots

    def card(self, order: int, judged: _Judged) -> Html:
        document = judged.document
        parts = [self._text(order, judged), self._pictures(order, judged)]
        return element(
            "li",
            element(
                "header",
                element("h2", document.title or document.id, dir="auto"),
                element("span", document.id, class_="id", dir="auto") if document.title else None,
                element("span", _verdict(judged), class_="verdict"),
            ),
            element("div", parts, _LINES if all(parts) else None, class_="body" if all(parts) else "body single"),
            element("ul", self._links(order, judged), class_="links"),
            class_="card document-card",
            id=f"d{order}",
            data_state=" ".join(state for state in _STATES if judged.count(state)),
            data_worst=order,
            data_changed=judged.count("changed"),
            data_mentions=len(judged.mentions),
            data_place=judged.place,
        )

    def _text(self, order: int, judged: _Judged) -> Html | None:
        if not judged.document.text:
            return None
        mentions = judged.of("text")
        spans = [(one.start, one.end) for one in judged.document.text_mentions] if mentions else []
        content: list[str] = []
        for piece in pieces(judged.document.text, spans):
            if piece.mention is None:
                content.append(piece.text)
            else:
                content.append(self._anchor(order, mentions[piece.mention], piece.text, first=piece.first))
            content += [self._anchor(order, mentions[one], "+", also=True) for one in piece.hidden]
        return element("div", content, class_="text", dir="auto")

    def _anchor(self, order: int, mention: JudgedMention, text: str, *, first: bool = True, also: bool = False) -> Html:
        """A mention, or a further piece of one; `also` is one that is hidden under another."""
        name = _anchor_id(order, mention)
        return element(
            "a",
            text,
            class_=f"m {' '.join(mention.states)}{' also' if also else ''}",
            href=f"#{name}",
            id=name if first else None,
            tabindex=None if first else "-1",
            aria_label=mention.name if also else None,
        )

    def _pictures(self, order: int, judged: _Judged) -> Html | None:
        by_image: dict[str, list[int]] = {}
        for place, mention in enumerate(judged.document.visual_mentions):
            by_image.setdefault(mention.image, []).append(place)
        if not by_image:
            return None
        linked = judged.of("visual")
        shots = [
            self._shot(order, judged, number, image, places if linked else [])
            for number, (image, places) in enumerate(by_image.items(), start=1)
        ]
        crowd = next(name for most, name in ((4, "few"), (12, "some"), (math.inf, "many")) if len(shots) <= most)
        return element("div", shots, class_=f"pictures {crowd}")

    def _shot(self, order: int, judged: _Judged, number: int, image: str, places: Sequence[int]) -> Html:
        """A picture with the boxes of its mentions, large ones below small ones."""
        mentions = judged.of("visual")
        covered = [(self.shots.covered[image, judged.document.visual_mentions[one].box], one) for one in places]
        covered.sort(key=lambda one: -one[0][2] * one[0][3])
        same: Counter[_Percent] = Counter()
        boxes = []
        for box, place in covered:
            boxes.append(self._box(order, mentions[place], number, box, _INSET * same[box]))
            same[box] += 1
        width, height = self.shots.sizes.get(image, (1, 1))
        picture = self.shots.thumbnails.tile(self.shots.region(image), f"Picture {number}")
        names = [
            element("span", self._title(mentions[place].link.entity), class_=_states(mentions[place]), dir="auto")
            for place in places
        ]
        return element(
            "figure",
            element("div", picture, boxes, class_="frame", style=f"aspect-ratio:{width}/{height}"),
            element("figcaption", names),
        )

    def _box(self, order: int, mention: JudgedMention, number: int, box: _Percent, inset: float) -> Html:
        name = _anchor_id(order, mention)
        left, top, width, height = box
        shrunk = (left + inset / 2, top + inset / 2, max(width - inset, 4), max(height - inset, 4))
        style = ";".join(f"{side}:{value:.4g}%" for side, value in zip(_SIDES, shrunk, strict=True))
        label = f"Picture {number}: {self._title(mention.link.entity)}"
        return element(
            "a", class_=f"m box {' '.join(mention.states)}", href=f"#{name}", id=name, style=style, aria_label=label
        )

    def _links(self, order: int, judged: _Judged) -> Iterator[Html]:
        """All links of a document as a list, for those who print it, search it or run no script."""
        for one in judged.mentions:
            said = [f" → {self._title(one.link.entity)} ", element("span", f"{one.link.score:.2f}", class_="score")]
            if one.wrong and one.gold is not None:
                said.append(f" · gold: {self._title(one.gold)}")
            if one.changed and one.alone is not None:
                said.append(f" · alone: {self._title(one.alone.entity)}")
            name = element("a", one.name, href=f"#{_anchor_id(order, one)}")
            yield element("li", name, said, class_=_states(one), dir="auto")

    def _title(self, entity: str) -> str:
        return NIL if entity == NIL else self.entities[entity].title


def _states(mention: JudgedMention) -> str:
    return f"state {' '.join(mention.states)}"


def _anchor_id(order: int, mention: JudgedMention) -> str:
    """`d3-t5`: the script reads the numbers of document and mention from it."""
    return f"d{order}-{mention.modality[0]}{mention.place}"


def _verdict(judged: _Judged) -> str:
    """`text 12 of 17 right, pictures 3 of 4 right, 2 changed`."""
    said = []
    for modality, name in _NAMES.items():
        mentions = judged.of(modality)
        labelled = [one for one in mentions if one.gold is not None]
        if labelled:
            said.append(f"{name} {sum(not one.wrong for one in labelled):,} of {len(labelled):,} right")
        elif mentions:
            said.append(f"{name} {len(mentions):,}")
    return ", ".join([*said, *([f"{judged.count('changed'):,} changed"] if judged.count("changed") else [])])

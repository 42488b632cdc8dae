"""A linked document as HTML: its text with links, its pictures with boxes, and all of its links as a table."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mmel.document import NIL, Coupling
from mmel.report.entities import EntityCard
from mmel.report.html import Html, element
from mmel.report.judged import JudgedDocument
from mmel.report.mentions import JudgedMention, Modality, pieces
from mmel.report.shots import Percent, Shots

SIDES: dict[Modality, str] = {"text": "text", "visual": "pictures"}
STATES = {"wrong": "Wrong", "nil": "NIL", "low": "Low confidence", "disagree": "Modalities disagree"}
_INSET = 6  # per cent by which a box shrinks for each one that it would hide
# The script draws into it.
_LINES = element("svg", class_="lines", aria_hidden="true")
_STYLED = ("left", "top", "width", "height")


@dataclass(frozen=True, slots=True)
class View:
    """Writes documents: what is known of the entities, and the pictures.

    `title` of the page. `labelled`: whether any document has gold labels. `coupled`: whether both modalities decided.
    """

    entities: Mapping[str, EntityCard]
    shots: Shots
    title: str
    labelled: bool
    coupled: bool

    def card(self, order: int, judged: JudgedDocument) -> Html:
        document = judged.document
        parts = [self._text(order, judged), self._pictures(order, judged)]
        states = [state for state in (*STATES, "unlabelled") if judged.count(state)]
        return element(
            "li",
            element(
                "header",
                # The page of one document says it already.
                element("h2", name_of(judged), dir="auto") if name_of(judged) != self.title else None,
                element("span", document.id, class_="id", dir="auto") if document.title else None,
                element("span", _verdict(judged), class_="verdict"),
            ),
            [element("p", said, class_="part") for said in judged.left_out],
            element("div", parts, _LINES if all(parts) else None, class_="body" if all(parts) else "body single"),
            self._links(order, judged) if judged.mentions else element("p", "No mentions.", class_="part"),
            class_="card document-card",
            id=f"d{order}",
            data_state=" ".join(states),
            data_order=order,
            data_doubtful=judged.doubtful,
            data_mentions=len(judged.mentions),
            data_place=judged.place,
        )

    # --- text -------------------------------------------------------------------------------------------------------

    def _text(self, order: int, judged: JudgedDocument) -> Html | None:
        if not judged.document.text:
            return None
        mentions = judged.of("text")
        spans = [(one.start, one.end) for one in judged.document.text_mentions] if mentions else []
        content: list[str] = []
        for piece in pieces(judged.document.text, spans):
            if piece.mention is None:
                content.append(piece.text)
            else:
                content.append(_anchor(order, mentions[piece.mention], piece.text, first=piece.first))
            content += [_anchor(order, mentions[one], "+", also=True) for one in piece.hidden]
        return element("div", content, class_="text", dir="auto")

    # --- pictures ---------------------------------------------------------------------------------------------------

    def _pictures(self, order: int, judged: JudgedDocument) -> Html | None:
        if not judged.images:
            return None
        places: dict[str, list[int]] = {image: [] for image in judged.images}
        if judged.of("visual"):
            for place, mention in enumerate(judged.document.visual_mentions):
                places[mention.image].append(place)
        shots = [
            self._shot(order, judged, number, image, found)
            for number, (image, found) in enumerate(places.items(), start=1)
        ]
        crowd = next(name for most, name in ((4, "few"), (12, "some"), (math.inf, "many")) if len(shots) <= most)
        return element("div", shots, class_=f"pictures {crowd}")

    def _shot(self, order: int, judged: JudgedDocument, number: int, image: str, places: Sequence[int]) -> Html:
        """A picture with the boxes of its mentions, large ones below small ones, and with their names."""
        mentions = judged.of("visual")
        tags = {place: f"{tag}" if len(places) > 1 else "" for tag, place in enumerate(places, start=1)}
        covered = [(self.shots.covered[image, judged.document.visual_mentions[one].box], one) for one in places]
        covered.sort(key=lambda one: -one[0][2] * one[0][3])
        same: Counter[Percent] = Counter()
        boxes = []
        for box, place in covered:
            boxes.append(self._box(order, mentions[place], number, box, _INSET * same[box], tags[place]))
            same[box] += 1
        width, height = self.shots.sizes.get(image, (1, 1))
        picture = self.shots.thumbnails.tile(self.shots.region(image), f"Picture {number}")
        return element(
            "figure",
            element("div", picture, boxes, class_="frame", style=f"aspect-ratio:{width}/{height}"),
            element(
                "figcaption",
                element("span", f"Picture {number}", class_="file") if len(judged.images) > 1 else None,
                [self._name(order, mentions[place], tags[place]) for place in places],
                None if places else element("span", "no link of its own", class_="file"),
            ),
        )

    def _name(self, order: int, mention: JudgedMention, tag: str) -> Html:
        """Who is in a box. A link for the pointer; the tab key has the box itself."""
        return element(
            "a",
            f"{tag} " if tag else None,
            self.named(mention.entity),
            class_=f"name state {' '.join(mention.states)}",
            href=f"#{anchor_id(order, mention)}",
            tabindex="-1",
            dir="auto",
        )

    def _box(self, order: int, mention: JudgedMention, number: int, box: Percent, inset: float, tag: str) -> Html:
        name = anchor_id(order, mention)
        left, top, width, height = box
        shrunk = (left + inset / 2, top + inset / 2, max(width - inset, 4), max(height - inset, 4))
        style = ";".join(f"{side}:{value:.4g}%" for side, value in zip(_STYLED, shrunk, strict=True))
        return element(
            "a",
            element("span", tag, class_="tag") if tag else None,
            class_=f"m box {' '.join(mention.states)}",
            href=f"#{name}",
            id=name,
            style=style,
            aria_label=f"Picture {number}: {self.named(mention.entity)}",
        )

    # --- links ------------------------------------------------------------------------------------------------------

    def _links(self, order: int, judged: JudgedDocument) -> list[Html]:
        """All links of a document as a table, for those who print it, search it or run no script."""
        name = f"d{order}-links"
        heads = ["Mention", "Entity", "Confidence", "Runner-up"]
        heads += (["Joined with", "Alone"] if self.coupled else []) + (["Gold"] if self.labelled else [])
        table = element(
            "table",
            element("thead", element("tr", [element("th", head, scope="col") for head in heads])),
            element("tbody", [self._row(order, judged, one) for one in judged.mentions]),
        )
        label = f"Links of {name_of(judged)}"
        return [
            element(
                "button", "Links as a table", type="button", class_="open", aria_expanded="true", aria_controls=name,
                hidden=True,
            ),
            element("div", table, class_="links", id=name, role="region", aria_label=label, tabindex="0"),
        ]  # fmt: skip

    def _row(self, order: int, judged: JudgedDocument, one: JudgedMention) -> Html:
        return element(
            "tr",
            element(
                "th",
                element("a", _mentioned(judged, one), href=f"#{anchor_id(order, one)}"),
                [" ", element("small", one.name)] if one.modality == "visual" else None,
                scope="row",
            ),
            [element("td", cell, dir="auto") for cell in self._cells(judged, one)],
            class_=f"state {' '.join(one.states)}",
        )

    def _cells(self, judged: JudgedDocument, one: JudgedMention) -> Iterator[Sequence[str] | None]:
        known = one.entity != NIL and self.named(one.entity) != one.entity
        yield [element("strong", self.named(one.entity)), *([" ", element("small", one.entity)] if known else [])]
        yield [element("span", f"{one.score:.3f}", class_="number")]
        second = one.runner_up
        yield [self.named(second.entity), " ", element("small", f"{second.score:.3f}")] if second else None
        if self.coupled:
            coupling = judged.strongest.get((one.modality, one.place))
            yield [self._joined(judged, one, coupling)] if coupling else None
            yield [self.named(one.alone[0])] if one.alone and one.changed else None
        if self.labelled:
            right = "✓ " if not one.wrong else "✗ "
            yield None if one.gold is None else [f"{right}{self.named(one.gold)}"]

    def _joined(self, judged: JudgedDocument, one: JudgedMention, coupling: Coupling) -> str:
        """The mention that one is coupled with most, and the way there in the knowledge base."""
        other = judged.of("visual")[coupling.visual] if one.modality == "text" else judged.of("text")[coupling.text]
        path = coupling.path if one.modality == "text" else coupling.path[::-1]
        way = " → ".join(self.named(entity) for entity in path) if path else "no short path"
        return f"{_mentioned(judged, other)} ({way})"

    def named(self, entity: str) -> str:
        return NIL if entity == NIL else self.entities[entity].title


def name_of(judged: JudgedDocument) -> str:
    """What a document is called on the page."""
    return judged.document.title or judged.document.id


def anchor_id(order: int, mention: JudgedMention) -> str:
    """`d3-t5`: the script reads the numbers of document and mention from it."""
    return f"d{order}-{mention.modality[0]}{mention.place}"


def _mentioned(judged: JudgedDocument, one: JudgedMention) -> str:
    if one.modality == "text":
        return one.name
    return f"Picture {judged.images.index(judged.document.visual_mentions[one.place].image) + 1}"


def _anchor(order: int, mention: JudgedMention, text: str, *, first: bool = True, also: bool = False) -> Html:
    """A mention, or a further piece of one; `also` is one that is hidden under another."""
    name = anchor_id(order, mention)
    return element(
        "a",
        text,
        class_=f"m {' '.join(mention.states)}{' also' if also else ''}",
        href=f"#{name}",
        id=name if first else None,
        tabindex=None if first else "-1",
        aria_label=mention.name if also else None,
    )


def _verdict(judged: JudgedDocument) -> list[str]:
    """`text 12 of 17 right · pictures 3 of 4 right · 1 NIL · 2 disagree · 1 low`; the script counts the last anew."""
    said = []
    for modality, name in SIDES.items():
        mentions = judged.of(modality)
        labelled = [one for one in mentions if one.gold is not None]
        if labelled:
            said.append(f"{name} {sum(not one.wrong for one in labelled):,} of {len(labelled):,} right")
        elif mentions:
            said.append(f"{name} {len(mentions):,}")
    words = {"nil": "NIL", "disagree": "disagree"}
    said += [f"{judged.count(state):,} {word}" for state, word in words.items() if judged.count(state)]
    low = judged.count("low")
    return [" · ".join(said), element("span", f" · {low:,} low", class_="low-count", hidden=not low)]

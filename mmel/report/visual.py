"""The page of visual linking: each mention's crop beside the first entities with their pictures, worst errors first."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmel.document import NIL, ScoredCandidate
from mmel.errors import ConfigError, SkipReport
from mmel.evaluation.metrics import mrr_at, recall_at
from mmel.files import atomic_write
from mmel.report.chart import recall_curve
from mmel.report.entities import Entities, EntityCard, entity_cards, shortened
from mmel.report.html import Child, Html, element
from mmel.report.page import Filter, Order, notes, page, tile, toolbar, unread
from mmel.report.pictures import Thumbnails, thumbnails
from mmel.vision.regions import Region

State = Literal["wrong", "not-found", "nil", "unlabelled", "correct"]
# As they follow each other on the page; the labels stand on the buttons.
_STATES: dict[State, str] = {
    "wrong": "Errors",
    "not-found": "Not found",
    "nil": "NIL",
    "unlabelled": "Unlabelled",
    "correct": "Correct",
}
_ORDERS = (
    Order("order", "worst errors first"),
    Order("rank", "gold's rank, highest first", falls=True),
    Order("margin", "margin, smallest first"),
    Order("margin", "margin, largest first", falls=True),
    Order("place", "as in the documents"),
)
_DEEPEST = 100  # of the R@k curve
_UNREADABLE = "picture of the report cannot be read"
_LONGEST = 160  # characters of a description
_READ = (
    "A card is a mention: on the left its region of a picture (with a quarter around its box), then the first entities "
    "with their pictures, ids and scores. The gold entity has a green frame; where it is not among the first ones it "
    "stands at the end with its rank.",
    "The margin is the gold's score minus the best score of any other entity: below zero for an error. Worst errors "
    "are those with the lowest margin; then come mentions whose gold was not found, and correct ones at the end, the "
    "narrowest first. Equal scores share the mean of their ranks, so that a tie for the first place is an error.",
)


@dataclass(frozen=True, slots=True)
class VisualResult:
    """What linking made of one visual mention.

    `gold` is an entity id, `NIL`, or None where unlabelled; `candidates` best first, their `score` is shown; `rank` of
    the gold from 1, shared where scores are equal, infinite where it is not found.
    """

    document: str
    region: Region
    gold: str | None
    candidates: tuple[ScoredCandidate, ...]
    rank: float


def write_visual_report(
    path: str | Path,
    results: Sequence[VisualResult],
    entities: Entities,
    *,
    title: str,
    protocol: str,
    top: int = 5,
    limit: int = 1000,
    skips: SkipReport | None = None,
    figures: Child = None,
) -> None:
    """Write a self-contained HTML page about `results`, whole or not at all.

    Args:
        entities: by id, or a function that is asked once for the ids on the page; one without a card shows its id.
        title: heading of the page. protocol: what the numbers stand for: dataset, split, gallery, ties ...
        top: entities shown of each mention.
        limit: mentions shown, the worst ones; the numbers are of all.
        skips: where pictures that cannot be read are counted; the page says how many in any case.
        figures: below the numbers.

    Raises:
        ConfigError where `top` or `limit` is below 1.
    """
    if top < 1 or limit < 1:
        raise ConfigError(f"top = {top}, limit = {limit}: both must be at least 1")
    judged = sorted((_Judged(place, result) for place, result in enumerate(results)), key=_Judged.badness)
    shown = judged[:limit]
    wanted = list(dict.fromkeys(id for one in shown for id in one.ids(top)))
    cards = entity_cards(entities, wanted)
    regions = [one.result.region for one in shown]
    regions += [Region(card.picture) for card in cards.values() if card.picture is not None]
    pictures = thumbnails(regions)
    header = [
        element("h1", title),
        element("p", protocol, class_="protocol"),
        _headline(judged),
        figures,
        unread(pictures.problems),
        _toolbar(judged, len(shown)),
    ]
    view = _View(cards, pictures, top)
    items = (view.card(order, one) for order, one in enumerate(shown))
    with atomic_write(path) as stream:
        stream.writelines(page(title, header, items, css=pictures.css))
    if skips is not None:
        for problem in pictures.problems:
            skips.add(_UNREADABLE, problem)


class _Judged:
    """A result with what its card is ordered and filtered by.

    Attributes:
        place: of the result among all. state: one of _STATES.
        margin: gold's score minus the best other score, None where there are not both; `bounded` where the gold's
            rank is known and its score is not, so that the margin is at most this.
    """

    def __init__(self, place: int, result: VisualResult) -> None:
        self.place, self.result = place, result
        self.state: State = _state(result)
        self.gold = next((one for one in result.candidates if one.entity == result.gold), None)
        self.bounded = self.state == "wrong" and self.gold is None
        self.margin = _margin(result, result.candidates[-1] if self.bounded and result.candidates else self.gold)

    def badness(self) -> tuple[float, ...]:
        """Sorts the worst first."""
        first = self.result.candidates[0].score if self.result.candidates else -math.inf
        margin = math.inf if self.margin is None else self.margin
        return list(_STATES).index(self.state), margin, -first, self.place

    def ids(self, top: int) -> Iterator[str]:
        """The entities on the card."""
        yield from (one.entity for one in self.result.candidates[:top])
        if self.result.gold not in (None, NIL):
            yield str(self.result.gold)


def _state(result: VisualResult) -> State:
    if result.gold is None:
        return "unlabelled"
    if result.gold == NIL:
        return "nil"
    if not math.isfinite(result.rank):
        return "not-found"
    return "correct" if result.rank <= 1 else "wrong"


def _margin(result: VisualResult, gold: ScoredCandidate | None) -> float | None:
    others = [one.score for one in result.candidates if one.entity != result.gold]
    if gold is None or not others:
        return None
    margin = gold.score - max(others)
    return margin if math.isfinite(margin) else None


def _headline(judged: Sequence[_Judged]) -> Html:
    """Numbers over the mentions whose gold is in the knowledge base, and the curve of R@k."""
    scored = [one for one in judged if one.state not in ("nil", "unlabelled")]
    ranks = [one.result.rank for one in scored]
    deepest = max((len(one.result.candidates) for one in scored), default=0)
    deepest = int(min(max([deepest, *filter(math.isfinite, ranks)]), _DEEPEST))
    tiles = [tile("mentions", f"{len(scored):,}"), tile("documents", f"{len({j.result.document for j in judged}):,}")]
    tiles += [tile(f"R@{k}", f"{recall_at(ranks, k):.1%}") for k in (1, 3, 5, 10)]
    tiles += [tile("MRR@10", f"{mrr_at(ranks, 10):.1%}")]
    curve = recall_curve([recall_at(ranks, k) for k in range(1, deepest + 1)]) if deepest > 1 else None
    numbers = element("div", element("dl", tiles, class_="tiles"), notes("How to read this page", _READ))
    return element("section", numbers, curve, class_="headline", aria_label="Scores")


def _toolbar(judged: Sequence[_Judged], shown: int) -> list[Html | None]:
    counts = Counter(one.state for one in judged[:shown])
    filters = [Filter("", "All", shown)]
    filters += [
        Filter(state, label, counts[state])
        for state, label in _STATES.items()
        if counts[state] or state != "unlabelled"
    ]
    part = f"The worst {shown:,} of {len(judged):,} mentions are shown; the numbers above are of all."
    return [element("p", part, class_="part") if shown < len(judged) else None, toolbar(filters, _ORDERS)]


@dataclass(frozen=True, slots=True)
class _View:
    """Writes cards: what is known of the entities, the pictures, and how many entities a mention shows."""

    entities: Mapping[str, EntityCard]
    pictures: Thumbnails
    top: int

    def card(self, order: int, judged: _Judged) -> Html:
        return element(
            "li",
            self._mention(judged),
            element("ol", self._candidates(judged), class_="candidates"),
            class_=f"card {judged.state}",
            data_state=judged.state,
            data_order=order,
            data_rank=_rank(judged),
            data_margin=judged.margin,
            data_place=judged.place,
        )

    def _mention(self, judged: _Judged) -> Html:
        region = judged.result.region
        box = None if region.box is None else f"box {', '.join(f'{value:g}' for value in region.box)}"
        return element(
            "div",
            self.pictures.tile(region, f"Mention in {judged.result.document}"),
            element(
                "div",
                element("strong", _verdict(judged), class_="verdict"),
                _margin_line(judged),
                element("span", "document ", element("bdi", judged.result.document), class_="document"),
                element("span", region.path.name, class_="file", dir="auto"),
                element("span", box, class_="file") if box else None,
                class_="facts",
            ),
            class_="mention",
        )

    def _candidates(self, judged: _Judged) -> Iterator[Html]:
        """The first entities, then the gold where it is not among them."""
        gold, shown = judged.result.gold, judged.result.candidates[: self.top]
        for place, one in enumerate(shown, start=1):
            yield self._entity(one.entity, f"{place}", one.score, gold=one.entity == gold)
        if gold is None or gold == NIL or any(one.entity == gold for one in shown):
            return
        behind = f"{judged.result.rank:g}" if math.isfinite(judged.result.rank) else "not found"
        yield self._entity(gold, behind, judged.gold.score if judged.gold else None, gold=True, extra=True)

    def _entity(self, id: str, place: str, score: float | None, *, gold: bool, extra: bool = False) -> Html:
        card = self.entities[id]
        description = shortened(card.description, _LONGEST)
        region = None if card.picture is None else Region(card.picture)
        return element(
            "li",
            self.pictures.tile(region, f"Picture of {card.title}"),
            element(
                "div",
                element("span", place, class_="place"),
                element("span", "✓ gold", class_="gold-mark") if gold else None,
                element("span", f"{score:.3f}", class_="score") if score is not None else None,
                class_="line",
            ),
            element("span", card.title, class_="title", dir="auto"),
            element("span", card.id, class_="id", dir="auto"),
            element("span", description, class_="description", dir="auto") if description else None,
            class_=f"entity{' gold' if gold else ''}{' extra' if extra else ''}",
        )


def _rank(judged: _Judged) -> float | str | None:
    """The gold's rank as scripts read numbers."""
    if judged.state in ("nil", "unlabelled"):
        return None
    return judged.result.rank if math.isfinite(judged.result.rank) else "Infinity"


def _verdict(judged: _Judged) -> str:
    if judged.state == "wrong":
        return f"Error · rank {judged.result.rank:g}{' (tie)' if judged.margin == 0 else ''}"
    if judged.state == "not-found":
        return "Gold not found" if judged.result.candidates else "Nothing found"
    if judged.state == "nil":
        return "Gold is NIL"
    return _STATES[judged.state]


def _margin_line(judged: _Judged) -> Html | None:
    if judged.margin is None:
        return None
    return element(
        "span", f"margin {'≤ ' if judged.bounded else ''}{judged.margin:+.3f}".replace("-", "−"), class_="margin"
    )

"""What a page's script makes cards of, as JSON inside the page: entities and columns stand in it once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmel.document import NIL, ScoredCandidate
from mmel.report.entities import EntityCard, shortened
from mmel.report.html import Html, element
from mmel.report.judged import JudgedDocument
from mmel.report.mentions import JudgedMention

_LONGEST = 200  # characters of a description


class Data:
    """Entities, names of columns and the documents' mentions, by their numbers.

    `columns` are those that `document` met, in that order.
    """

    def __init__(self, cards: Mapping[str, EntityCard], portraits: Mapping[str, str | None]) -> None:
        self._numbers = {id: number for number, id in enumerate(cards)} | {NIL: -1}
        self._entities = [
            [id, card.title, shortened(card.description, _LONGEST), portraits.get(id) or "", card.type]
            for id, card in cards.items()
        ]
        self.columns: dict[str, int] = {}

    def document(self, judged: JudgedDocument) -> dict[str, Any]:
        """Mentions `[name, entity, score, gold, alone, found, candidates]` and couplings `[text, visual, mass, path]`.

        `alone` is `[entity, score]`, `found` a probability; both null where they are not known.
        """
        return {
            "text": [self._mention(one) for one in judged.of("text")],
            "visual": [self._mention(one) for one in judged.of("visual")],
            "couplings": [
                [one.text, one.visual, _number(one.mass), [self._numbers[id] for id in one.path]]
                for one in judged.couplings
            ],
        }

    def block(self, documents: Sequence[dict[str, Any]]) -> Html:
        """The element that holds it all; nothing in it can end the element or begin another."""
        values = {"entities": self._entities, "columns": list(self.columns), "documents": documents}
        text = json.dumps(values, separators=(",", ":"), allow_nan=False)
        for sign in "<>&":
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        return element("script", Html(text), type="application/json", id="data")

    def _mention(self, judged: JudgedMention) -> list[Any]:
        return [
            judged.name,
            self._numbers[judged.entity],
            _number(judged.score),
            None if judged.gold is None else self._numbers[judged.gold],
            [self._numbers[judged.alone[0]], _number(judged.alone[1])] if judged.alone else None,
            None if judged.found is None else _number(judged.found),
            list(self._candidates(judged)),
        ]

    def _candidates(self, judged: JudgedMention) -> Iterator[list[Any]]:
        """`[entity, rank, score, prior, column, value, column, value, ...]`."""
        for rank, one in judged.ranked:
            yield [self._numbers[one.entity], rank, _number(one.score), _number(one.prior), *self._values(one)]

    def _values(self, candidate: ScoredCandidate) -> Iterator[Any]:
        for name, value in candidate.columns.items():
            yield self.columns.setdefault(name, len(self.columns))
            yield _number(value)


def _number(value: float) -> float | str:
    """Four digits; a number that JSON does not have is said as text."""
    return float(f"{value:.4g}") if math.isfinite(value) else f"{value}"

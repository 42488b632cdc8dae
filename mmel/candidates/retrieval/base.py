"""What every retriever is: it finds entities for mentions in the whole knowledge base, and scores any entity."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from mmel.candidates.mentions import MentionTable


class Retrieved(NamedTuple):
    """Entities of M mentions: `ids` `[M, k]` int64 KB indices, -1 pads; `scores` `[M, k]` float32, falling, 0 there."""

    ids: np.ndarray
    scores: np.ndarray


class Retriever(Protocol):
    """What the engine asks of a retriever of one knowledge base; `name` is that of the setting and of its column."""

    @property
    def name(self) -> str: ...

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        """The k best entities of each mention, by falling score, equals by KB index.

        Args:
            leave_out: the documents are those that the retriever learned from: nothing that a mention's own document
                taught it counts for the mention.
        """
        ...

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """`[M, k]` float32 scores of any entities `ids` `[M, k]` (-1 pads), as `retrieve` gives them; 0 at pads.

        NaN where there is nothing to compare: the mention or the entity has no picture.
        """
        ...


def padded(rows: list[tuple[np.ndarray, np.ndarray]], k: int) -> Retrieved:
    """Found entities and their scores, one pair of arrays a mention, as `Retrieved`; each at most k long."""
    ids = np.full((len(rows), k), -1, np.int64)
    scores = np.zeros((len(rows), k), np.float32)
    for i, (found, values) in enumerate(rows):
        ids[i, : len(found)], scores[i, : len(found)] = found, values
    return Retrieved(ids, scores)


def distinct(keys: list[str]) -> tuple[list[str], np.ndarray]:
    """The distinct keys in order of appearance, and the place of each key among them `[len(keys)]`."""
    place: dict[str, int] = {}
    inverse = np.array([place.setdefault(key, len(place)) for key in keys], np.int64)
    return list(place), inverse

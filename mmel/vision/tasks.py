"""The three sub-tasks of WIKIPerson (Sun et al. 2022): a mention's picture is compared with the entities' pictures
(V2VEL), with their texts (V2TEL), or with both (V2VTEL): one finds the first K and the other orders them again, or the
two scores are added with a weight that is learned on validation.

A mention without a vector (NaN, no face was found) gets no entity and counts as missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mmel.errors import ConfigError, InputError, did_you_mean
from mmel.evaluation.metrics import mrr_at, realistic_ranks, recall_at
from mmel.evaluation.protocol import MRR_AT, RECALL_AT
from mmel.vision.gallery import Gallery

TASKS = ("V2VEL", "V2TEL", "V2VTEL")
COMBINATIONS = ("pictures+texts", "texts+pictures", "fused")
_SCALE = 3.0  # beyond every difference of two cosines
# Weights on a logit scale, because cosines of texts spread far less than those of faces.
_WEIGHTS = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-6, 6, 121))), [1.0]])

Combination = Literal["pictures+texts", "texts+pictures", "fused"]


@dataclass(frozen=True, slots=True)
class View:
    """Mentions as a gallery is asked for them: `queries` `[n, d]` unit float32, NaN for a mention without a vector."""

    gallery: Gallery
    queries: np.ndarray


@dataclass(frozen=True, slots=True)
class Ranking:
    """Entities of n mentions, best first: `entities` `[n, k]` int64 (-1 pads), `scores` `[n, k]` float64.

    A score is a cosine in [-1, 1] or a weighted sum of two. After re-ranking, 3 is taken from what the second gallery
    does not have and 6 from what it was not asked for, so that they follow in the order of the first one.
    """

    entities: np.ndarray
    scores: np.ndarray


def link(
    task: str,
    *,
    pictures: View | None = None,
    texts: View | None = None,
    combination: Combination = "pictures+texts",
    k: int = 100,
    length: int = 100,
    weight: float = 0.5,
) -> Ranking:
    """The first k entities of each mention.

    Args:
        task: one of TASKS. pictures, texts: those that it needs, of the same mentions.
        combination: for V2VTEL: recall with the first named and re-rank with the other, or `fused`.
        length: entities that are ranked again, at most k. weight: of the texts when fused, in [0, 1].

    Raises:
        ConfigError for an unknown task or combination, a view that lacks, or numbers out of range; InputError where
        the views are not of the same mentions.
    """
    if task not in TASKS:
        raise ConfigError(f"task is '{task}'.{did_you_mean(task, TASKS)}")
    if combination not in COMBINATIONS:
        raise ConfigError(f"combination is '{combination}'.{did_you_mean(combination, COMBINATIONS)}")
    needed = {"pictures": pictures} if task == "V2VEL" else {"texts": texts} if task == "V2TEL" else {}
    needed = needed or {"pictures": pictures, "texts": texts}
    views = [view for view in needed.values() if view is not None]
    if len(views) < len(needed):
        lacking = next(name for name, view in needed.items() if view is None)
        raise ConfigError(f"task '{task}' needs {lacking}. Remedy: give the view of a gallery of {lacking}")
    if task != "V2VTEL":
        return recall(views[0], k)
    if combination == "fused":
        return fuse(views[0], views[1], weight, k)
    first, second = views if combination == "pictures+texts" else views[::-1]
    return rerank(recall(first, k), second, length)


def recall(view: View, k: int) -> Ranking:
    """The first k entities of a gallery."""
    there = np.isfinite(view.queries).all(axis=1)
    scores = np.full((len(there), k), -np.inf)
    entities = np.full((len(there), k), -1, np.int64)
    scores[there], entities[there] = view.gallery.search(view.queries[there], k)
    return Ranking(entities, scores)


def rerank(ranking: Ranking, view: View, length: int) -> Ranking:
    """The first `length` of each ranking in the order of another gallery.

    Those of them that it does not have follow in their old order, then what is beyond `length`. A mention without a
    vector in it keeps its ranking.
    """
    if length < 1:
        raise ConfigError(f"length = {length}: must be at least 1")
    if len(view.queries) != len(ranking.entities):
        raise InputError(
            f"{len(ranking.entities)} mentions ranked, {len(view.queries)} for ranking again", field="queries"
        )
    length = min(length, ranking.entities.shape[1])
    head = ranking.entities[:, :length]
    again = _scored(view, head)
    there = np.isfinite(again)
    scores = ranking.scores - 2 * _SCALE
    scores[:, :length] = np.where(there, again, ranking.scores[:, :length] - _SCALE)
    unasked = ~there.any(axis=1)
    scores[unasked] = ranking.scores[unasked]
    return _sorted(ranking.entities, scores)


def extend(ranking: Ranking, view: View, further: np.ndarray) -> Ranking:
    """A ranking by one gallery with the entities `further` `[n, c]` (-1 pads) that it has put in their places."""
    added = np.sort(further, axis=1)
    added[:, 1:][added[:, 1:] == added[:, :-1]] = -1
    # Rows kept apart by an offset: a comparison of all pairs would take gigabytes for long documents.
    row = np.arange(len(added))[:, None] * (2 + max(int(added.max(initial=0)), int(ranking.entities.max(initial=0))))
    added[np.isin(added + row, ranking.entities + row)] = -1
    scores = _scored(view, added)
    added = np.where(np.isfinite(scores), added, -1)
    return _sorted(np.concatenate([ranking.entities, added], 1), np.concatenate([ranking.scores, scores], 1))


def fuse(pictures: View, texts: View, weight: float, k: int) -> Ranking:
    """The first k by (1 - weight) * picture score + weight * text score.

    Among the first k of both galleries; what one of them lacks gets the lowest score that it gave the mention's others.
    """
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight = {weight}: must be between 0 and 1")
    entities, by_picture, by_text = _both(pictures, texts, k)
    fused = _sorted(entities, _added(entities, by_picture, by_text, weight))
    return Ranking(fused.entities[:, :k], fused.scores[:, :k])


def fusion_weight(
    pictures: View, texts: View, gold: np.ndarray, *, k: int = 100, metric: Literal["R@1", "MRR@10"] = "MRR@10"
) -> float:
    """The weight for `fuse` that is best on these (validation) mentions.

    gold: `[n]` index of each mention's entity. Of several that are best, the one in the middle.
    """
    if metric not in ("R@1", "MRR@10"):
        raise ConfigError(f"metric is '{metric}'; allowed: R@1, MRR@10")
    entities, by_picture, by_text = _both(pictures, texts, k)
    values = []
    for weight in _WEIGHTS:
        ranks = _ranks(entities, _added(entities, by_picture, by_text, float(weight)), gold)
        values.append(recall_at(ranks, 1) if metric == "R@1" else mrr_at(ranks, 10))
    best = np.flatnonzero(np.array(values) == max(values))
    return float(_WEIGHTS[best[len(best) // 2]])


def gold_ranks(ranking: Ranking, gold: Sequence[int] | np.ndarray) -> np.ndarray:
    """`[n]` rank from 1 of each mention's entity, ties shared (see `realistic_ranks`), infinite where it is not found.

    gold: `[n]` index in the knowledge base. InputError where it is not one for each mention.
    """
    return _ranks(ranking.entities, ranking.scores, np.asarray(gold, np.int64))


def ranking_metrics(ranks: np.ndarray) -> dict[str, Any]:
    """R@1, 3, 5, 10 and MRR@3, 5, 10 in [0, 1] of `gold_ranks`, as evaluation files have them."""
    return {
        "mentions": len(ranks),
        "recall_at": {str(k): recall_at(ranks, k) for k in RECALL_AT},
        "mrr_at": {str(k): mrr_at(ranks, k) for k in MRR_AT},
    }


def _ranks(entities: np.ndarray, scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    if gold.shape != (len(entities),):
        raise InputError(f"gold of shape {list(gold.shape)} for {len(entities)} mentions", field="gold")
    there = (entities == gold[:, None]) & (entities >= 0)
    return np.asarray(realistic_ranks(scores, np.where(there.any(1), there.argmax(1), -1)))


def _scored(view: View, entities: np.ndarray) -> np.ndarray:
    """`[n, c]` scores of entities, minus infinity where gallery or mention have no vector."""
    there = np.isfinite(view.queries).all(axis=1)
    scores = np.full(entities.shape, -np.inf)
    scores[there] = view.gallery.score(view.queries[there], entities[there])
    return scores


def _sorted(entities: np.ndarray, scores: np.ndarray) -> Ranking:
    """By falling score, then by entity; padding at the end."""
    scores = np.where(entities >= 0, scores, -np.inf)
    order = np.lexsort((entities, -scores), axis=-1)
    return Ranking(np.take_along_axis(entities, order, 1), np.take_along_axis(scores, order, 1))


def _both(pictures: View, texts: View, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`[n, 2 k]` entities that are among the first k of either gallery (-1 pads), and the scores of both."""
    if len(pictures.queries) != len(texts.queries):
        raise InputError(
            f"{len(pictures.queries)} mentions for pictures and {len(texts.queries)} for texts", field="queries"
        )
    entities = np.sort(np.concatenate([recall(pictures, k).entities, recall(texts, k).entities], axis=1), axis=1)
    entities[:, 1:][entities[:, 1:] == entities[:, :-1]] = -1
    return entities, _scored(pictures, entities), _scored(texts, entities)


def _added(entities: np.ndarray, by_picture: np.ndarray, by_text: np.ndarray, weight: float) -> np.ndarray:
    sides = []
    for scores in (by_picture, by_text):
        there = np.isfinite(scores)
        least = np.where(there, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
        sides.append(np.where(there, scores, np.where(np.isfinite(least), least, 0.0)))
    return np.asarray(np.where(entities >= 0, (1 - weight) * sides[0] + weight * sides[1], -np.inf))

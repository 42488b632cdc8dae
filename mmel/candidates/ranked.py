"""From scores to decisions: the link of each mention with its ranked candidates, for names and faces alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat

import numpy as np

from mmel.document import NIL, Link, ScoredCandidate
from mmel.errors import InputError
from mmel.kb import KnowledgeBase

_EXPLAINED = 10  # candidates of a mention whose columns are told


def check_scores(ids: np.ndarray, scores: np.ndarray) -> None:
    """Raise InputError where a candidate's score is NaN or plus infinity, as a broken checkpoint gives them.

    ids: `[m, k]`, -1 pads. scores: `[m, k]`, anything at pads; minus infinity is allowed.
    """
    bad = (ids >= 0) & ~(scores < np.inf)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} candidates have a score that is no number",
            field="scores",
            remedy="the checkpoint is broken: train again, or name another run",
        )


def ranked_links(
    ids: np.ndarray,
    scores: np.ndarray,
    kb: KnowledgeBase,
    prior: np.ndarray | None = None,
    temperature: float = 1.0,
    *,
    most: int | None = None,
    addends: np.ndarray | None = None,
    columns: Sequence[str] = (),
) -> list[Link]:
    """One link a mention: candidates by falling probability, a softmax of `scores / temperature`; equals as listed.

    A mention without candidates links to NIL with score 0.

    Args:
        ids: `[m, k]` entities as indices of the base, -1 pads. scores: `[m, k]`, anything at pads.
        prior: `[m, k]` p(e|m); None where there is no such thing: 0.
        most: candidates that a link tells; None: all.
        addends: `[m, k, f]` what the scores are made of, `columns` names them; told of the first candidates.

    Raises InputError as `check_scores`.
    """
    check_scores(ids, scores)
    mask = ids >= 0
    scores = np.where(mask, scores, -np.inf).astype(np.float64)
    top = scores.max(1, keepdims=True, initial=-np.inf)
    weight = np.exp((scores - np.where(np.isfinite(top), top, 0)) / temperature)
    # Summed one after the other: pads, of which there are more in longer batches, must not change how it is rounded.
    total = weight.cumsum(1)[:, -1:]
    probability = weight / np.where(total > 0, total, 1)
    # By score, as far ones have a probability of 0; pads behind candidates that are ruled out.
    order = np.lexsort((-scores, ~mask), axis=1)[:, :most]
    columns_of = _told(addends, order, columns)
    ids, probability = np.take_along_axis(ids, order, 1), np.take_along_axis(probability, order, 1)
    prior = np.zeros(ids.shape) if prior is None else np.take_along_axis(prior, order, 1)
    unique = np.unique(ids[ids >= 0])
    names = np.array([*kb.ids(unique), ""], object)[np.searchsorted(unique, ids)]
    counts = (ids >= 0).sum(1).tolist()
    rows = zip(names.tolist(), probability.tolist(), prior.astype(np.float64).tolist(), columns_of, counts, strict=True)
    # Each list is as long as the candidates are many; `map` stops at the shortest.
    ranked = [tuple(map(ScoredCandidate, own[:count], p, q, why)) for own, p, q, why, count in rows]
    return [Link(each[0].entity, each[0].score, each) if each else Link(NIL, 0.0) for each in ranked]


def _told(addends: np.ndarray | None, order: np.ndarray, columns: Sequence[str]) -> Iterator[list[dict[str, float]]]:
    """For each mention, what its candidates' scores are made of, told of the first ones."""
    nothing: list[dict[str, float]] = [{}] * order.shape[1]
    if addends is None:
        yield from repeat(nothing, len(order))
        return
    first = np.take_along_axis(addends, order[:, :_EXPLAINED, None], 1)
    for rows in first.tolist():
        yield [dict(zip(columns, values, strict=True)) for values in rows] + nothing[len(rows) :]

"""From scores to decisions: the link of each mention with its ranked candidates, for names and faces alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmel.document import NIL, Link, ScoredCandidate
from mmel.errors import InputError
from mmel.kb import KnowledgeBase

_EXPLAINED = 10  # candidates of a mention whose columns are told


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

    Raises InputError for a score that is NaN or plus infinity: the model's checkpoint is broken.
    """
    mask = ids >= 0
    if (mask & ~(scores < np.inf)).any():
        raise InputError(
            "a candidate's score is no number",
            field="scores",
            remedy="the checkpoint is broken: train again, or name another run",
        )
    scores = np.where(mask, scores, -np.inf).astype(np.float64)
    top = scores.max(1, keepdims=True, initial=-np.inf)
    weight = np.exp((scores - np.where(np.isfinite(top), top, 0)) / temperature)
    # Summed one after the other: pads, of which there are more in longer batches, must not change how it is rounded.
    total = weight.cumsum(1)[:, -1:]
    probability = weight / np.where(total > 0, total, 1)
    # By score, as far ones have a probability of 0; pads behind candidates that are ruled out.
    order = np.lexsort((-scores, ~mask), axis=1)
    prior = np.zeros(ids.shape) if prior is None else prior
    unique = np.unique(ids[mask])
    names = dict(zip(unique.tolist(), kb.ids(unique), strict=True))
    links = []
    for i, count in enumerate(mask.sum(1).tolist()):
        kept = order[i, : count if most is None else min(count, most)].tolist()
        own, own_prior, p = ids[i], prior[i], probability[i]
        told: list[dict[str, float]] = [{}] * len(kept)
        if addends is not None:
            shown = addends[i, kept[:_EXPLAINED]].tolist()
            told[: len(shown)] = [dict(zip(columns, values, strict=True)) for values in shown]
        ranked = tuple(
            ScoredCandidate(names[int(own[c])], float(p[c]), float(own_prior[c]), why)
            for c, why in zip(kept, told, strict=True)
        )
        links.append(Link(ranked[0].entity, ranked[0].score, ranked) if ranked else Link(NIL, 0.0))
    return links

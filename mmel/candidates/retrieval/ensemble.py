"""Several retrievers as one: the weighted sum of their scores over the union of what they find.

Scores of different retrievers are made alike mention by mention: a retriever's best entity has 1, and 0 have the last
of its `depth` entities and whatever is behind it; where it finds fewer, 0 is its own score of 0 (min-max normalisation,
as in hybrid search). What a retriever cannot tell, as nothing shows a picture, is masked: the weights of the others
then count in full. Weights are searched on a grid, as for Table 4 of Wang et al. 2022 (WIKIDiverse).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retrieved, Retriever
from mmel.errors import InputError

STEP = 10  # parts that the weights of a grid search share out
DEPTHS = (10, 50, 100)  # the K of R@K whose mean the search maximises
_NEAR = 1e-5  # of a score: beyond what single precision rounds
_CELLS = 1 << 24  # of mention, entity and combination of weights, scored at a time


@dataclass(frozen=True)
class Gathered:
    """Entities of M mentions with what every retriever says of them, by falling score of the ensemble.

    Attributes:
        ids: `[M, U]` int64 KB indices, -1 pads.
        scores: `[M, U, R]` float32 of the R retrievers, 0 at pads, NaN where one cannot tell; `alike` the same, made
            alike, in [0, 1].
        ensemble: `[M, U]` float32 weighted sum of `alike`, see `weighted`.
    """

    ids: np.ndarray
    scores: np.ndarray
    alike: np.ndarray
    ensemble: np.ndarray

    def at(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`[M, k, R]` scores, `[M, k]` ensemble's scores and `[M, k]` ranks (from 0) of gathered entities; 0 at pads.

        ids: `[M, k]`, all of them gathered, -1 pads.
        """
        place = np.argsort(self.ids, axis=1, kind="stable")
        ranked = np.take_along_axis(self.ids, place, 1)
        rank = np.zeros(ids.shape, np.int64)
        for row, (known, wanted) in enumerate(zip(ranked, ids, strict=True)):
            rank[row] = place[row, np.searchsorted(known, wanted).clip(max=place.shape[1] - 1)]
        mask = ids >= 0
        rank *= mask
        scores = np.where(mask[..., None], np.take_along_axis(self.scores, rank[..., None], 1), np.float32(0))
        return scores, np.take_along_axis(self.ensemble, rank, 1) * mask, rank


class Ensemble:
    """Retrievers of one knowledge base, each with a weight.

    Args:
        weights: `[R]`, of which only the proportions matter; equal unless given.
        depth: entities that each retriever is asked for.
    """

    name = "ensemble"

    def __init__(
        self, members: Sequence[Retriever], weights: Sequence[float] | np.ndarray | None = None, depth: int = 100
    ) -> None:
        self.members, self.depth = tuple(members), depth
        given = np.ones(len(self.members)) if weights is None else np.asarray(weights, float)
        if not (np.isfinite(given).all() and (given >= 0).all() and given.sum() > 0):
            raise InputError(
                f"{given.tolist()} are no weights", field="weights", remedy="finite ones, not all of them 0"
            )
        self.weights = given / given.sum()

    def gather(self, table: MentionTable, further: np.ndarray | None = None, leave_out: bool = False) -> Gathered:
        """What the retrievers find, and `further` entities `[M, k]` (-1 pads), with all scores."""
        found = [member.retrieve(table, self.depth, leave_out) for member in self.members]
        ids = union([*(one.ids for one in found), *([] if further is None else [further])])
        scores = np.stack([member.score(table, ids, leave_out) for member in self.members], -1)
        made = np.stack([alike(scores[..., r], one) for r, one in enumerate(found)], -1) * (ids >= 0)[..., None]
        total = weighted(made, self.weights).astype(np.float32)
        order = np.lexsort((ids, -np.where(ids >= 0, total, -1)), axis=1)
        deep = order[..., None]
        return Gathered(
            np.take_along_axis(ids, order, 1),
            np.take_along_axis(scores, deep, 1),
            np.take_along_axis(made, deep, 1),
            np.take_along_axis(total, order, 1),
        )

    def retrieve(self, table: MentionTable, k: int, leave_out: bool = False) -> Retrieved:
        """See Retriever."""
        gathered = self.gather(table, None, leave_out)
        ids = np.where(gathered.ensemble > 0, gathered.ids, -1)[:, :k]
        return Retrieved(ids, np.where(ids >= 0, gathered.ensemble[:, :k], 0))

    def score(self, table: MentionTable, ids: np.ndarray, leave_out: bool = False) -> np.ndarray:
        """See Retriever."""
        return self.gather(table, ids, leave_out).at(ids)[1]


def union(lists: Sequence[np.ndarray]) -> np.ndarray:
    """`[M, U]` the distinct entities of each mention in lists `[M, k]` (-1 pads), rising, -1 pads at the end."""
    joined = np.sort(np.concatenate(lists, 1), axis=1)
    new = joined >= 0
    new[:, 1:] &= joined[:, 1:] != joined[:, :-1]
    row, column = np.nonzero(new)
    place = new.cumsum(1)[row, column] - 1
    out = np.full((len(joined), max(int(new.sum(1).max(initial=0)), 1)), -1, np.int64)
    out[row, place] = joined[row, column]
    return out


def weighted(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[..]` or `[.., W]` weighted sum of `scores` `[.., R]`, `weights` `[R]` or `[R, W]` of sum 1.

    Where some scores are NaN it is the weighted mean of the others, 0 where these have no weight.
    """
    known = ~np.isnan(scores)
    if known.all():
        return np.asarray(scores @ weights)
    total, share = np.where(known, scores, 0) @ weights, known.astype(weights.dtype) @ weights
    mean = np.divide(total, share, out=np.zeros_like(total), where=share > 0)
    whole = known.all(-1)
    # What all can tell is summed as without the others: it does not depend on what stands beside it.
    return np.where(whole if weights.ndim == 1 else whole[..., None], total, mean)


def alike(scores: np.ndarray, found: Retrieved) -> np.ndarray:
    """`scores` `[M, U]` of a retriever on the scale on which its best found has 1; see the module. NaN stays."""
    count = (found.ids >= 0).sum(1, keepdims=True)
    full = count == found.ids.shape[1]
    last = np.take_along_axis(found.scores, np.maximum(count - 1, 0), 1)
    floor = np.where(full, last, np.minimum(last, 0))
    top = found.scores[:, :1]
    # A retriever may round a score otherwise when it searches: what is that near is equal.
    near = _NEAR * np.abs(top)
    even = top - floor <= near
    share = (scores - floor) / np.where(even, 1, top - floor)
    # All that were found are equal: they are as good as can be.
    share = np.where(even, scores >= top - near, share.clip(0, 1))
    return np.asarray(np.where(np.isnan(scores), np.nan, np.where(count > 0, share, 0)), np.float32)


def grid(members: int, parts: int = STEP) -> np.ndarray:
    """`[W, members]` all weights in steps of `1 / parts` that sum to 1."""
    return np.array(list(_shares(members, parts)), np.float32) / parts


def _shares(members: int, parts: int) -> Iterator[tuple[int, ...]]:
    if members == 1:
        yield (parts,)
        return
    for own in range(parts, -1, -1):
        for rest in _shares(members - 1, parts - own):
            yield (own, *rest)


def best_weights(
    gathered: Sequence[Gathered], golds: Sequence[np.ndarray], depths: Sequence[int] = DEPTHS
) -> tuple[np.ndarray, dict[int, float]]:
    """The weights `[R]` of the highest mean R@K over `depths`, then the highest mean reciprocal rank; and their R@K.

    Where no weights find a gold, or there is none to find, nothing speaks for one of them: all are equal. Where there
    is none to find, the recall is empty.

    Args:
        gathered: of some tables. golds: `[M]` of each, KB indices; mentions with -1 do not count.
    """
    weights = grid(gathered[0].alike.shape[-1])
    hits, reciprocal, count = np.zeros((len(weights), len(depths))), np.zeros(len(weights)), 0
    for one, gold in zip(gathered, golds, strict=True):
        known = np.flatnonzero(gold >= 0)
        count += len(known)
        step = max(1, _CELLS // (one.ids.shape[1] * len(weights)))
        for start in range(0, len(known), step):
            rows = known[start : start + step]
            rank = _ranks(one.alike[rows], one.ids[rows], gold[rows], weights)
            hits += (rank[..., None] <= np.array(depths)).sum(0)
            reciprocal += (1 / rank).sum(0)
    if not reciprocal.any():
        return np.full(weights.shape[1], 1 / weights.shape[1], np.float32), dict.fromkeys(depths if count else (), 0.0)
    best = max(range(len(weights)), key=lambda w: (round(hits[w].sum()), reciprocal[w]))
    recall = {k: float(hit) / max(count, 1) for k, hit in zip(depths, hits[best], strict=True)}
    return weights[best], recall


def _ranks(scores: np.ndarray, ids: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`[m, W]` rank (from 1) of each gold under each weighting, in the middle of its equals; infinite if not found."""
    total = weighted(scores, weights.T)
    hit = ids == gold[:, None]
    own = np.take_along_axis(total, hit.argmax(1)[:, None, None], 1)
    rank = 1 + (total > own).sum(1) + ((total == own).sum(1) - 1) / 2
    return np.where(hit.any(1)[:, None] & (own[:, 0] > 0), rank, np.inf)

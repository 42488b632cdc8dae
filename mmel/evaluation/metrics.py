"""Scores of predicted links against gold links, kept by document.

The task is disambiguation of given mentions ("D2KB"), so spans always match and a link is right when its entity is
the gold one. Two ways to count (Cornolti et al. 2013; Usbeck et al. 2015, GERBIL):

- *in KB*, as Ganea & Hofmann (2017) and Le & Titov (2018) score: mentions whose gold is NIL are ignored; an answer
  NIL (which is what a mention without candidates gets) is no prediction, so it costs recall and not precision.
- *with NIL*: NIL is an entity like any other and every mention has an answer, so that micro precision, recall, F1
  and accuracy are one number.

Mentions whose gold is None (unlabelled) are counted and not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmel.document import NIL, Link
from mmel.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Precision, recall and F1 in [0, 1], pooled over mentions (micro) and averaged over documents (macro).

    `accuracy` is `correct / mentions`; `predicted` is what precision divides by.
    """

    mentions: int
    predicted: int
    correct: int
    micro_precision: float
    micro_recall: float
    micro_f1: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    accuracy: float


def link_counts(gold: Sequence[str | None], predicted: Sequence[str], *, with_nil: bool = False) -> Integers:
    """`[gold, predicted, correct]` of one document; see the module for the two ways to count."""
    pairs = [(g, p) for g, p in zip(gold, predicted, strict=True) if g is not None and (with_nil or g != NIL)]
    answered = sum(with_nil or p != NIL for _, p in pairs)
    return np.array([len(pairs), answered, sum(g == p for g, p in pairs)], dtype=np.int64)


def precision_recall_f1(counts: ArrayLike) -> Floats:
    """Map counts `[..., 3]` (gold, predicted, correct) to `[..., 3]` (precision, recall, F1); 0 / 0 is 0."""
    gold, predicted, correct = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    return np.stack([_ratio(correct, predicted), _ratio(correct, gold), _ratio(2 * correct, gold + predicted)], axis=-1)


def scores(counts: ArrayLike) -> Scores:
    """Scores of counts by document `[documents, 3]`; documents with nothing to score have no part in the macro mean."""
    counts = np.asarray(counts, dtype=np.int64).reshape(-1, 3)
    gold, predicted, correct = (int(value) for value in counts.sum(axis=0))
    micro = precision_recall_f1([gold, predicted, correct]).tolist()
    scored = counts[counts[:, 0] > 0]
    macro = precision_recall_f1(scored).mean(axis=0).tolist() if len(scored) else [0.0, 0.0, 0.0]
    return Scores(
        mentions=gold,
        predicted=predicted,
        correct=correct,
        micro_precision=micro[0],
        micro_recall=micro[1],
        micro_f1=micro[2],
        macro_precision=macro[0],
        macro_recall=macro[1],
        macro_f1=macro[2],
        accuracy=correct / gold if gold else 0.0,
    )


def realistic_ranks(values: ArrayLike, gold: ArrayLike) -> Floats:
    """Rank from 1 of each row's gold column, ties shared: `values` `[mentions, k]`, `gold` `[mentions]`, -1 absent.

    The realistic rank is the mean of the optimistic (before all equals) and the pessimistic rank (behind them), as
    in PyKEEN, so that a model giving every candidate one score gains nothing from their order. The rank of an
    absent gold is infinite. Raises InputError on NaN.
    """
    values, gold = np.asarray(values, dtype=np.float64), np.asarray(gold, dtype=np.int64)
    if np.isnan(values).any():
        raise InputError("a candidate's score is NaN, so candidates cannot be ranked", field="score")
    if values.shape[1] == 0:
        return np.full(len(values), np.inf)
    own = np.take_along_axis(values, np.maximum(gold, 0)[:, None], axis=1)
    optimistic = 1 + (values > own).sum(axis=1)
    pessimistic = (values >= own).sum(axis=1)
    return np.where(gold >= 0, (optimistic + pessimistic) / 2, np.inf)


def link_ranks(gold: str, link: Link) -> tuple[float, float]:
    """Realistic ranks of an entity among a link's candidates, by score and by prior; infinite where it is not there."""
    place = next((i for i, candidate in enumerate(link.candidates) if candidate.entity == gold), -1)
    values = [[candidate.score, candidate.prior] for candidate in link.candidates]
    by_score, by_prior = realistic_ranks(np.array(values, dtype=np.float64).reshape(-1, 2).T, [place, place])
    return float(by_score), float(by_prior)


def recall_at(ranks: ArrayLike, k: float) -> float:
    """Share of ranks at most `k` (R@k, also called Hits@k); 0 where there is no rank."""
    ranks = np.asarray(ranks, dtype=np.float64)
    return float((ranks <= k).mean()) if ranks.size else 0.0


def mrr_at(ranks: ArrayLike, k: float) -> float:
    """Mean of 1 / rank, where a rank beyond `k` counts 0 (MRR@k); 0 where there is no rank."""
    ranks = np.asarray(ranks, dtype=np.float64)
    return float(np.where(ranks <= k, 1 / ranks, 0.0).mean()) if ranks.size else 0.0


def mrr(ranks: ArrayLike) -> float:
    """Mean of 1 / rank without a cut-off; an infinite rank, of a gold that is not listed, counts 0.

    Where lists are the head of a longer ranking this is a lower bound of that ranking's MRR.
    """
    return mrr_at(ranks, np.inf)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the links of one modality come to, by document, so that nothing needs a second pass.

    `in_kb`, `with_nil`: counts `[documents, 3]`. `score_ranks`, `prior_ranks`: realistic rank of the gold among the
    listed candidates by score and by prior, `[mentions with gold in the KB]`, infinite where it is not listed;
    None where some answered mention lists no candidates, so that ranks are not known. `listed`: how many candidates
    each of these mentions lists, NIL not counted, None as the ranks. `unlabelled`: mentions left out because they
    carry no gold.
    """

    in_kb: Integers
    with_nil: Integers
    score_ranks: Floats | None
    prior_ranks: Floats | None
    listed: Integers | None
    unlabelled: int

    @property
    def candidate_recall(self) -> float | None:
        """Share of mentions with gold in the KB whose candidates hold the gold; None where they are not listed."""
        return None if self.score_ranks is None else recall_at(self.score_ranks, np.finfo(np.float64).max)


class TallyBuilder:
    """Adds up one modality document by document."""

    def __init__(self) -> None:
        self._in_kb: list[Integers] = []
        self._with_nil: list[Integers] = []
        self._score_ranks: list[float] = []
        self._prior_ranks: list[float] = []
        self._sizes: list[int] = []
        self._listed = True
        self._unlabelled = 0

    def add(self, document: str, gold: Sequence[str | None], links: Sequence[Link]) -> None:
        """Add a document's mentions; InputError where there is not one link for each mention."""
        if len(gold) != len(links):
            raise InputError(f"document '{document}': {len(gold)} mentions and {len(links)} links")
        predicted = [link.entity for link in links]
        self._in_kb.append(link_counts(gold, predicted))
        self._with_nil.append(link_counts(gold, predicted, with_nil=True))
        self._unlabelled += sum(entity is None for entity in gold)
        for entity, link in zip(gold, links, strict=True):
            if entity is not None and entity != NIL:
                self._add_ranks(entity, link)

    def _add_ranks(self, entity: str, link: Link) -> None:
        if link.entity != NIL and not link.candidates:
            self._listed = False
        by_score, by_prior = link_ranks(entity, link)
        self._score_ranks.append(by_score)
        self._prior_ranks.append(by_prior)
        self._sizes.append(sum(candidate.entity != NIL for candidate in link.candidates))

    def tally(self) -> Tally:
        """What was added up so far."""
        return Tally(
            np.array(self._in_kb, dtype=np.int64).reshape(-1, 3),
            np.array(self._with_nil, dtype=np.int64).reshape(-1, 3),
            np.array(self._score_ranks, dtype=np.float64) if self._listed else None,
            np.array(self._prior_ranks, dtype=np.float64) if self._listed else None,
            np.array(self._sizes, dtype=np.int64) if self._listed else None,
            self._unlabelled,
        )


# --- resampling -----------------------------------------------------------------------------------------------------

Statistic = Callable[[ArrayLike], Floats]
"""Maps sums over documents `[..., m]` to a score `[...]`."""


def micro_f1(sums: ArrayLike) -> Floats:
    """Micro F1 of summed counts `[..., 3]`; the statistic for `paired_bootstrap` on `Tally.in_kb`."""
    return precision_recall_f1(sums)[..., 2]


def mean(sums: ArrayLike) -> Floats:
    """First column over second; with rows (F1, 1) for scored documents and (0, 0) for others this is macro F1."""
    sums = np.asarray(sums, dtype=np.float64)
    return _ratio(sums[..., 0], sums[..., 1])


def macro_f1_rows(counts: ArrayLike) -> Floats:
    """Rows `[documents, 2]` for the statistic `mean` that make it macro F1, from counts `[documents, 3]`."""
    counts = np.asarray(counts)
    scored = (counts[:, 0] > 0).astype(np.float64)
    return np.stack([precision_recall_f1(counts)[:, 2] * scored, scored], axis=1)


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference of two systems: estimate, percentile interval, two-sided bootstrap p-value, resamples drawn."""

    difference: float
    low: float
    high: float
    p_value: float
    resamples: int


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    statistic: Statistic = micro_f1,
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of `statistic(first) - statistic(second)` when the documents are drawn again with replacement.

    `first` and `second` are rows `[documents, m]` of two systems over the same documents in the same order, and
    both are resampled with the same draws (Efron & Tibshirani 1993; Koehn 2004). Documents are drawn, not mentions,
    because the mentions of one document are decided together. The p-value is twice the smaller tail at zero, with
    one draw added so that it is never 0. InputError where the two do not fit.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or len(first) == 0:
        raise InputError(
            f"two systems over the same documents are needed, got counts of shape {first.shape} and {second.shape}"
        )
    if resamples < 1 or not 0 < level < 1:
        raise InputError(f"resamples={resamples}, level={level}: at least 1, and between 0 and 1")
    random, documents = np.random.default_rng(seed), len(first)
    rows, drawn = np.concatenate([first, second], axis=1), []
    block = max(1, 4_000_000 // documents)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = random.multinomial(documents, np.full(documents, 1 / documents), size=size)
        one, two = np.split(weights @ rows, 2, axis=1)
        drawn.append(statistic(one) - statistic(two))
    differences = np.concatenate(drawn)
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    estimate = float(statistic(first.sum(axis=0)) - statistic(second.sum(axis=0)))
    return Interval(estimate, float(low), float(high), min(1.0, 2 * (tail + 1) / (resamples + 1)), resamples)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator, dtype=np.float64), where=denominator > 0)

"""Whether confidences are frequencies: reliability, expected calibration error, Brier score; and scores of NIL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmel.document import NIL, Link
from mmel.errors import InputError
from mmel.evaluation.metrics import precision_recall_f1

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """The `count` decisions whose confidence is in [low, high): their mean confidence, and the share that is right.

    The last bin has its upper edge, too. A bin without any is not told.
    """

    low: float
    high: float
    count: int
    confidence: float
    right: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, Eq. 3), Brier score, and what they come from."""

    ece: float
    brier: float
    bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"ece": self.ece, "brier": self.brier, "bins": [asdict(one) for one in self.bins]}


def calibration(confidences: ArrayLike, right: ArrayLike, bins: int = BINS) -> Calibration:
    """Calibration of n decisions, in bins of equal width.

    Args:
        confidences: `[n]` in [0, 1]; right: `[n]` bool.

    Raises InputError for no decision, or a confidence that is no probability.
    """
    p, hit = np.asarray(confidences, np.float64), np.asarray(right, bool)
    if p.shape != hit.shape or p.ndim != 1 or not len(p):
        raise InputError(f"{p.shape} confidences of {hit.shape} decisions; one of each is needed, and at least one")
    if not ((p >= 0) & (p <= 1)).all():
        raise InputError("a confidence is not between 0 and 1", field="confidence")
    edges = np.linspace(0, 1, bins + 1)
    place = np.minimum(np.searchsorted(edges, p, side="right") - 1, bins - 1)
    found = tuple(
        Bin(float(edges[b]), float(edges[b + 1]), int(own.sum()), float(p[own].mean()), float(hit[own].mean()))
        for b in range(bins)
        if (own := place == b).any()
    )
    error = sum(one.count * abs(one.confidence - one.right) for one in found) / len(p)
    return Calibration(error, float(((p - hit) ** 2).mean()), found)


def calibration_of(pairs: Iterable[tuple[str | None, Link]], nil: bool) -> Calibration | None:
    """Calibration of links with their golds; None where no link has a confidence.

    Args:
        nil: NIL is a decision: scores of decisions are judged. Else the confidences of the best candidates are, of
            mentions whose gold is an entity.
    """
    known = [(gold, link) for gold, link in pairs if gold is not None and link.confidence is not None]
    if not nil:
        known = [(gold, link) for gold, link in known if gold != NIL and link.candidates]
    if not known:
        return None
    if nil:
        return calibration([link.score for _, link in known], [gold == link.entity for gold, link in known])
    confidences = [link.confidence or 0.0 for _, link in known]
    return calibration(confidences, [gold == link.candidates[0].entity for gold, link in known])


@dataclass(frozen=True, slots=True)
class NilScores:
    """Precision, recall and F1 of the answer NIL over labelled mentions."""

    precision: float
    recall: float
    f1: float


def nil_scores(pairs: Iterable[tuple[str | None, Link]]) -> NilScores:
    """Scores of NIL of links with their golds."""
    said = [(gold == NIL, link.entity == NIL) for gold, link in pairs if gold is not None]
    counts = [sum(g for g, _ in said), sum(p for _, p in said), sum(g and p for g, p in said)]
    return NilScores(*precision_recall_f1(counts).tolist())


@dataclass(frozen=True, slots=True)
class Certainty:
    """What is known of the decisions of a modality beside whether they are right; see `nil_scores`, `calibration_of`.

    `nil` is None where NIL is ignored, `calibration` where links have no confidence.
    """

    nil: NilScores | None = None
    calibration: Calibration | None = None

    @classmethod
    def of(cls, pairs: Sequence[tuple[str | None, Link]], nil: bool) -> Certainty:
        """Of links with their golds; `nil`: NIL is a decision."""
        return cls(nil_scores(pairs) if nil else None, calibration_of(pairs, nil))

    def to_dict(self) -> dict[str, Any]:
        """What there is of it, as plain values."""
        found: dict[str, Any] = {} if self.nil is None else {"nil": asdict(self.nil)}
        return found if self.calibration is None else found | {"calibration": self.calibration.to_dict()}

    def rows(self) -> list[str]:
        """Lines for people, in per cent."""
        rows = []
        if self.nil is not None:
            values = (self.nil.precision, self.nil.recall, self.nil.f1)
            rows.append(f"{'  NIL':<24}" + "".join(f"{100 * value:>10.2f}" for value in values))
        if (one := self.calibration) is not None:
            count = sum(each.count for each in one.bins)
            rows.append(f"  calibration: ECE {100 * one.ece:.2f}, Brier {one.brier:.4f} of {count:,} confidences")
        return rows

"""Calibration against closed forms and scikit-learn; NIL scores counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from mmel.document import NIL, Link, LinkedDocument, ScoredCandidate, TextMention
from mmel.errors import InputError
from mmel.evaluation.calibration import Certainty, calibration, calibration_of, nil_scores
from mmel.evaluation.protocol import Protocol, evaluate
from tests.tiny import document


def link(entity: str, score: float, confidence: float | None, best: str = "A") -> Link:
    return Link(entity, score, (ScoredCandidate(best, 0.9, 0.5),), confidence)


def test_error_by_hand() -> None:
    found = calibration([0.95, 0.85, 0.81, 0.3, 1.0], [True, True, False, True, True])
    # Bins: [0.3, 0.4) right once of 0.3; [0.8, 0.9) half of 0.83; [0.9, 1] all of 0.975.
    assert found.ece == pytest.approx((0.7 + 2 * 0.33 + 2 * 0.025) / 5)
    assert found.brier == pytest.approx((0.05**2 + 0.15**2 + 0.81**2 + 0.7**2) / 5)
    assert [(one.count, one.right) for one in found.bins] == [(1, 1.0), (2, 0.5), (2, 1.0)]
    assert found.bins[-1].high == 1.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80),
    st.sampled_from([1, 4, 10, 15]),
)
def test_bins_are_those_of_scikit_learn(rows: list[tuple[float, bool]], bins: int) -> None:
    p, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    p = np.where(np.isin(p, np.linspace(0, 1, bins + 1)[1:-1]), p + 1e-9, p)  # edges belong elsewhere there
    found = calibration(p, right, bins)
    share, mean = calibration_curve(right, p, n_bins=bins, strategy="uniform")
    assert [one.right for one in found.bins] == pytest.approx(share)
    assert [one.confidence for one in found.bins] == pytest.approx(mean)
    assert found.brier == pytest.approx(brier_score_loss(right, p, labels=[False, True]))
    assert 0 <= found.ece <= 1
    assert found.ece <= abs(p - right).mean() + 1e-12
    assert sum(one.count for one in found.bins) == len(rows)


def test_confidences_that_are_frequencies_have_almost_no_error() -> None:
    random = np.random.default_rng(0)
    p = random.beta(0.8, 0.4, 40_000)
    right = random.random(len(p)) < p
    assert calibration(p, right).ece < 0.01
    assert calibration(np.sqrt(p), right).ece > 0.05


@pytest.mark.parametrize(
    ("confidences", "right"), [([], []), ([0.5], [True, False]), ([1.2], [True]), ([float("nan")], [True])]
)
def test_what_is_no_confidence_is_refused(confidences: list[float], right: list[bool]) -> None:
    with pytest.raises(InputError):
        calibration(confidences, right)


def test_which_mentions_count() -> None:
    pairs = [
        ("A", link("A", 0.9, 0.9)),  # right
        ("B", link("A", 0.6, 0.6)),  # another one
        (NIL, link(NIL, 0.7, 0.2)),  # rightly NIL
        ("A", link(NIL, 0.8, 0.1)),  # wrongly NIL, though the best candidate is right
        (None, link("A", 0.5, 0.5)),  # unlabelled
        (NIL, Link(NIL, 0.9, (), 0.0)),  # without candidates
    ]
    scored, ignored = calibration_of(pairs, True), calibration_of(pairs, False)
    assert scored is not None and ignored is not None
    assert scored.brier == pytest.approx((0.1**2 + 0.6**2 + 0.3**2 + 0.8**2 + 0.1**2) / 5)
    assert ignored.brier == pytest.approx((0.1**2 + 0.6**2 + 0.9**2) / 3)
    nil = nil_scores(pairs)
    assert (nil.precision, nil.recall, nil.f1) == pytest.approx((2 / 3, 1.0, 0.8))
    assert calibration_of([("A", link("A", 0.9, None))], True) is None


def test_an_evaluation_tells_it() -> None:
    one = document("[Mira|A] and [Otto|B].")
    links = (link("A", 0.9, 0.9), link(NIL, 0.8, 0.2))
    mentions = (one.text_mentions[0], TextMention(9, 13, "Otto", NIL))
    given = LinkedDocument(type(one)(one.id, one.text, text_mentions=mentions), links)
    for nil in ("ignored", "scored"):
        result = evaluate([given], dataset="d", split="s", protocol=Protocol("kb", nil=nil), seconds=1.0)  # type: ignore[arg-type]
        text = result.to_dict()["text"]
        assert text["calibration"]["ece"] == pytest.approx(0.1 if nil == "ignored" else 0.15)
        assert ("nil" in text) == (nil == "scored")
        assert "ECE" in result.table()
    assert text["nil"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_links_without_confidence_have_no_calibration() -> None:
    one = document("[Mira|A] goes.")
    given = LinkedDocument(one, (link("A", 0.9, None),))
    result = evaluate([given], dataset="d", split="s", protocol=Protocol("kb"), seconds=1.0)
    assert {"nil", "calibration"}.isdisjoint(result.to_dict()["text"])
    assert Certainty().rows() == []

"""Scores against closed forms, plain loops, scikit-learn and properties."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from mmel.document import NIL, Link, ScoredCandidate
from mmel.errors import InputError
from mmel.evaluation.metrics import (
    TallyBuilder,
    link_counts,
    macro_f1_rows,
    mean,
    micro_f1,
    mrr,
    mrr_at,
    paired_bootstrap,
    precision_recall_f1,
    realistic_ranks,
    recall_at,
    scores,
)

ENTITIES = ["A", "B", "C"]
pairs = st.lists(
    st.tuples(st.sampled_from([*ENTITIES, NIL, None]), st.sampled_from([*ENTITIES, NIL])), min_size=0, max_size=12
)
corpora = st.lists(pairs, min_size=1, max_size=6)


def counts_of(corpus: list[list[tuple[str | None, str]]], with_nil: bool = False) -> np.ndarray:
    return np.array([link_counts([g for g, _ in d], [p for _, p in d], with_nil=with_nil) for d in corpus])


def test_golden_values_of_a_small_corpus() -> None:
    # Document 1: right, wrong, unanswered, NIL answered. Document 2: two right. Document 3: only a NIL, refused.
    gold = [["A", "B", "C", NIL], ["A", "B"], [NIL]]
    answer = [["A", "C", NIL, "B"], ["A", "B"], [NIL]]
    in_kb = np.array([link_counts(g, p) for g, p in zip(gold, answer, strict=True)])
    assert in_kb.tolist() == [[3, 2, 1], [2, 2, 2], [0, 0, 0]]
    score = scores(in_kb)
    assert (score.mentions, score.predicted, score.correct) == (5, 4, 3)
    assert score.micro_precision == 3 / 4
    assert score.micro_recall == score.accuracy == 3 / 5
    assert score.micro_f1 == pytest.approx(2 / 3)
    assert score.macro_precision == (1 / 2 + 1) / 2
    assert score.macro_recall == pytest.approx((1 / 3 + 1) / 2)
    assert score.macro_f1 == pytest.approx((2 / 5 + 1) / 2)
    with_nil = scores([link_counts(g, p, with_nil=True) for g, p in zip(gold, answer, strict=True)])
    assert (with_nil.mentions, with_nil.predicted, with_nil.correct) == (7, 7, 4)
    assert with_nil.micro_f1 == pytest.approx(4 / 7)
    assert with_nil.macro_f1 == pytest.approx((1 / 4 + 1 + 1) / 3)


def test_nothing_to_score_is_zero_and_not_nan() -> None:
    for counts in ([], [[0, 0, 0]]):
        score = scores(np.array(counts, dtype=np.int64))
        assert (score.micro_f1, score.macro_f1, score.accuracy, score.mentions) == (0, 0, 0, 0)
    assert precision_recall_f1([5, 0, 0]).tolist() == [0, 0, 0]


@given(corpora)
def test_in_kb_micro_scores_are_scikit_learns(corpus: list[list[tuple[str | None, str]]]) -> None:
    flat = [(g, p) for document in corpus for g, p in document if g is not None and g != NIL]
    score = scores(counts_of(corpus))
    if not flat:
        assert score.mentions == 0
        return
    gold, answer = zip(*flat, strict=True)
    expected = precision_recall_fscore_support(gold, answer, labels=ENTITIES, average="micro", zero_division=0)
    assert (score.micro_precision, score.micro_recall, score.micro_f1) == pytest.approx(expected[:3])
    assert score.accuracy == pytest.approx(accuracy_score(gold, answer))


@given(corpora)
def test_with_nil_every_micro_score_is_accuracy(corpus: list[list[tuple[str | None, str]]]) -> None:
    score = scores(counts_of(corpus, with_nil=True))
    flat = [(g, p) for document in corpus for g, p in document if g is not None]
    expected = sum(g == p for g, p in flat) / len(flat) if flat else 0.0
    for value in (score.micro_precision, score.micro_recall, score.micro_f1, score.accuracy):
        assert value == pytest.approx(expected)


@given(corpora)
def test_macro_is_the_mean_of_exact_fractions(corpus: list[list[tuple[str | None, str]]]) -> None:
    each = []
    for gold, predicted, correct in counts_of(corpus).tolist():
        if gold:
            precision = Fraction(correct, predicted) if predicted else Fraction(0)
            recall = Fraction(correct, gold)
            each.append(2 * precision * recall / (precision + recall) if correct else Fraction(0))
    assert scores(counts_of(corpus)).macro_f1 == pytest.approx(float(sum(each) / len(each)) if each else 0.0)


@given(corpora, st.randoms(), st.booleans())
def test_order_of_documents_and_mentions_changes_nothing(
    corpus: list[list[tuple[str | None, str]]], random: object, with_nil: bool
) -> None:
    shuffled = [random.sample(document, len(document)) for document in corpus]  # type: ignore[attr-defined]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before, after = scores(counts_of(corpus, with_nil)), scores(counts_of(shuffled, with_nil))
    assert before.macro_f1 == pytest.approx(after.macro_f1)
    assert (before.correct, before.micro_f1) == (after.correct, after.micro_f1)


@given(corpora, st.booleans())
def test_bounds_and_counts(corpus: list[list[tuple[str | None, str]]], with_nil: bool) -> None:
    score = scores(counts_of(corpus, with_nil))
    assert score.correct <= score.predicted <= score.mentions
    for name in ("precision", "recall", "f1"):
        assert 0 <= getattr(score, f"micro_{name}") <= 1
        assert 0 <= getattr(score, f"macro_{name}") <= 1 + 1e-12
    low, high = sorted((score.micro_precision, score.micro_recall))
    assert low - 1e-12 <= score.micro_f1 <= high + 1e-12


@given(pairs)
def test_micro_is_macro_for_one_document(document: list[tuple[str | None, str]]) -> None:
    score = scores(counts_of([document]))
    assert score.macro_precision == pytest.approx(score.micro_precision)
    assert score.macro_recall == pytest.approx(score.micro_recall)
    assert score.macro_f1 == pytest.approx(score.micro_f1)


# --- ranks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "gold", "rank"),
    [
        ([3, 2, 1], 0, 1),
        ([3, 2, 1], 2, 3),
        ([1, 1, 1], 0, 2),
        ([1, 1, 1, 1], 3, 2.5),
        ([5, 1, 1, 0], 2, 2.5),
        ([-np.inf, 0], 0, 2),
        ([3, 2], -1, np.inf),
    ],
)
def test_realistic_rank_shares_ties(values: list[float], gold: int, rank: float) -> None:
    assert realistic_ranks([values], [gold]).tolist() == [rank]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 5), st.randoms())
def test_realistic_rank_is_the_mean_over_all_orders_of_equals(values: list[int], gold: int, random: object) -> None:
    gold %= len(values)
    better = sum(value > values[gold] for value in values)
    equal = sum(value == values[gold] for value in values)
    assert realistic_ranks([values], [gold])[0] == np.mean([better + place for place in range(1, equal + 1)])
    order = random.sample(range(len(values)), len(values))  # type: ignore[attr-defined]
    again = realistic_ranks([[values[i] for i in order]], [order.index(gold)])
    assert again == realistic_ranks([values], [gold])


def test_ranks_without_candidates_and_with_nan() -> None:
    assert realistic_ranks(np.zeros((2, 0)), [-1, -1]).tolist() == [np.inf, np.inf]
    with pytest.raises(InputError, match="NaN"):
        realistic_ranks([[1, np.nan]], [0])


def test_recall_and_mrr_golden_values() -> None:
    ranks = [1, 2, 2.5, 4, np.inf]
    assert [recall_at(ranks, k) for k in (1, 2, 3, 10)] == [0.2, 0.4, 0.6, 0.8]
    assert mrr_at(ranks, 3) == pytest.approx((1 + 1 / 2 + 1 / 2.5) / 5)
    assert mrr_at(ranks, 10) == pytest.approx((1 + 1 / 2 + 1 / 2.5 + 1 / 4) / 5)
    assert (recall_at([], 3), mrr_at([], 3), mrr([])) == (0, 0, 0)


@given(st.lists(st.one_of(st.integers(1, 40), st.just(np.inf)), max_size=20), st.integers(1, 20))
def test_mrr_never_exceeds_recall_and_both_grow_with_k(ranks: list[float], k: int) -> None:
    assert 0 <= mrr_at(ranks, k) <= recall_at(ranks, k) <= 1
    assert recall_at(ranks, k) <= recall_at(ranks, k + 1)
    assert mrr_at(ranks, k) <= mrr_at(ranks, k + 1) + 1e-12
    assert mrr_at(ranks, k) <= mrr(ranks) + 1e-12


@given(st.lists(st.permutations(range(8)), min_size=1, max_size=5), st.integers(1, 8))
def test_of_a_list_cut_short_hits_are_exact_and_mrr_a_lower_bound(orders: list[list[int]], length: int) -> None:
    whole = np.array([1.0 + order.index(0) for order in orders])
    cut = np.where(whole <= length, whole, np.inf)
    for k in range(1, length + 1):
        assert recall_at(cut, k) == recall_at(whole, k)
    assert mrr(cut) <= mrr(whole) + 1e-12


def link(entity: str, *candidates: tuple[str, float, float]) -> Link:
    return Link(entity, 1.0, tuple(ScoredCandidate(*candidate) for candidate in candidates))


def test_candidate_recall_counts_what_candidates_hold_by_prior_order() -> None:
    builder = TallyBuilder()
    links = [
        link("A", ("A", 0.9, 0.1), ("B", 0.1, 0.6), ("C", 0.0, 0.3)),  # first by score, third by prior
        link("B", ("B", 1.0, 1.0)),  # gold not listed
        link(NIL),  # no candidates
        link(NIL, ("A", 0.4, 1.0)),  # gold NIL: not counted
    ]
    builder.add("d", ["A", "C", "B", NIL], links)
    tally = builder.tally()
    assert tally.candidate_recall == pytest.approx(1 / 3)
    assert tally.prior_ranks is not None and tally.prior_ranks.tolist() == [3, np.inf, np.inf]
    assert tally.score_ranks is not None and tally.score_ranks.tolist() == [1, np.inf, np.inf]


def test_candidate_recall_is_unknown_where_candidates_are_not_listed() -> None:
    builder = TallyBuilder()
    builder.add("d", ["A", "B"], [link("A", ("A", 1, 1)), link("B")])
    assert builder.tally().candidate_recall is None
    assert builder.tally().score_ranks is None


def test_mentions_and_links_must_match() -> None:
    with pytest.raises(InputError, match="document 'd7': 2 mentions and 1 links"):
        TallyBuilder().add("d7", ["A", "B"], [link("A")])


# --- bootstrap ------------------------------------------------------------------------------------------------------


def some_counts(seed: int, documents: int = 30) -> np.ndarray:
    random = np.random.default_rng(seed)
    gold = random.integers(1, 20, documents)
    return np.stack([gold, gold, random.binomial(gold, 0.8)], axis=1)


def test_bootstrap_of_a_system_with_itself_is_zero() -> None:
    interval = paired_bootstrap(some_counts(0), some_counts(0), resamples=200)
    assert (interval.difference, interval.low, interval.high, interval.p_value) == (0, 0, 0, 1)


def test_bootstrap_is_seeded_and_antisymmetric() -> None:
    first, second = some_counts(0), some_counts(0)
    second[:, 2] = np.minimum(second[:, 1], second[:, 2] + 1)
    one = paired_bootstrap(first, second, resamples=500, seed=3)
    assert one == paired_bootstrap(first, second, resamples=500, seed=3)
    other = paired_bootstrap(second, first, resamples=500, seed=3)
    assert one.low == pytest.approx(-other.high)
    assert one.difference == pytest.approx(-other.difference)
    assert one.low <= one.difference <= one.high < 0
    assert one.p_value == pytest.approx(2 / 501)


def test_bootstrap_agrees_with_a_plain_loop_over_drawn_documents() -> None:
    first, second = some_counts(1), some_counts(2)
    random = np.random.default_rng(5)
    differences = []
    for _ in range(3000):
        drawn = random.integers(0, len(first), len(first))
        values = [scores(counts[drawn]).micro_f1 for counts in (first, second)]
        differences.append(values[0] - values[1])
    interval = paired_bootstrap(first, second, resamples=3000, seed=1)
    low, high = np.quantile(differences, [0.025, 0.975])
    spread = float(np.std(differences))
    assert interval.low == pytest.approx(low, abs=spread / 5)
    assert interval.high == pytest.approx(high, abs=spread / 5)


def test_bootstrap_in_blocks_covers_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(sums: object) -> np.ndarray:
        seen.append(len(np.atleast_2d(np.asarray(sums))))
        return micro_f1(np.asarray(sums))

    many = np.tile(some_counts(0), (3000, 1))
    interval = paired_bootstrap(many, many, watched, resamples=100)
    assert interval.resamples == 100
    assert sum(seen[:-2]) == 200
    assert max(seen) < 100


def test_bootstrap_statistic_for_macro_is_the_macro_score() -> None:
    counts = some_counts(4)
    counts[3] = 0
    assert float(mean(macro_f1_rows(counts).sum(axis=0))) == pytest.approx(scores(counts).macro_f1)


@pytest.mark.parametrize("rows", [(3, 4), (0, 0)])
def test_bootstrap_needs_the_same_documents(rows: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="same documents"):
        paired_bootstrap(np.zeros((rows[0], 3)), np.zeros((rows[1], 3)))


def test_bootstrap_refuses_impossible_settings() -> None:
    with pytest.raises(InputError, match="resamples=0"):
        paired_bootstrap(some_counts(0), some_counts(0), resamples=0)

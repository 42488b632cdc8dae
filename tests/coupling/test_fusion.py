"""Joint decisions: supports against twins, votes by hand, what must not change them, weights of known documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax as reference

from mmel.coupling.fusion import (
    Decision,
    Weights,
    columns_of,
    decide,
    fit,
    from_state,
    names,
    plan_of,
    state,
    supports,
)
from mmel.coupling.graph import DocumentGraph, MentionScores
from mmel.coupling_settings import CouplingConfig
from mmel.errors import InputError
from tests.coupling.worlds import BASES, FEATURES, World, alone, beliefs_of, graph, permuted, random_weights

bases, seeds = st.integers(0, BASES - 1), st.integers(0, 9999)
sizes = st.tuples(st.integers(1, 5), st.integers(1, 4))
lightly = settings(max_examples=12, deadline=None)


def config(plan: str = "transport", rounds: int = 1, coherence: bool = True, **transport: Any) -> CouplingConfig:
    values = {"plan": plan, "rounds": rounds, "coherence": coherence, "transport": transport}
    return CouplingConfig.model_validate(values)


# --- supports ---------------------------------------------------------------------------------------------------------


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def twin(world: World, found: DocumentGraph, plan: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`supports`, candidate by candidate, from its docstring."""
    text, visual = beliefs_of(found.text), beliefs_of(found.visual)
    by_text = np.zeros((*found.text.ids.shape, FEATURES["text"]))
    by_visual = np.zeros((*found.visual.ids.shape, FEATURES["visual"]))
    for i, k in np.argwhere(found.text.mask).tolist():
        entity, total = int(found.text.ids[i, k]), plan[i].sum() or 1
        told = [(plan[i, j] / total * q, other) for j, one in enumerate(visual) for other, q in one.items()]
        others = [o for o in range(len(text)) if found.name[o] != found.name[i]]
        near = [o for o in others if found.sentence[o] == found.sentence[i]]
        same = [o for o in range(len(text)) if o != i and found.name[o] == found.name[i]]
        by_text[i, k] = [
            sum(mass for mass, other in told if world.linked(entity, other)),
            sum(mass for mass, other in told if world.meets(entity, other)),
            *(mean([sum(p for e, p in text[o].items() if world.meets(e, entity)) for o in group])
              for group in (others, near)),
            mean([text[o].get(entity, 0.0) for o in same]),
        ]  # fmt: skip
    for j, k in np.argwhere(found.visual.mask).tolist():
        entity, total = int(found.visual.ids[j, k]), plan[:, j].sum() or 1
        told = [(plan[i, j] / total * p, other) for i, one in enumerate(text) for other, p in one.items()]
        by_visual[j, k] = [
            sum(mass for mass, other in told if world.linked(entity, other)),
            sum(mass for mass, other in told if world.meets(entity, other)),
            mean([visual[o].get(entity, 0.0) for o in range(len(visual)) if o != j]),
        ]
    return by_text, by_visual


@lightly
@given(base=bases, size=sizes, seed=seeds)
def test_supports(base: int, size: tuple[int, int], seed: int, little: list[World]) -> None:
    found, random = graph(little[base], *size, seed), np.random.default_rng(seed)
    plan = random.random(size) * random.integers(0, 2, (size[0], 1)) * random.integers(0, 2, size[1])
    told = supports(found, *alone(found), plan, config())
    for own, expected, scores in zip(told, twin(little[base], found, plan), (found.text, found.visual), strict=True):
        assert own.shape == expected.shape and np.isfinite(own).all()
        assert own.min(initial=0) >= 0 and own.max(initial=0) <= 1 + 1e-12
        np.testing.assert_allclose(own[scores.mask], expected[scores.mask], atol=1e-12)
    partners = supports(found, *alone(found), plan, config(coherence=False))
    for fewer, all_ in zip(partners, told, strict=True):
        np.testing.assert_array_equal(fewer, all_[..., :2])


def test_a_uniform_vote_by_hand(little: list[World]) -> None:
    # A base without links: an entity is linked to itself alone, so that votes can be counted.
    text = MentionScores(np.array([[3, 7], [7, -1]]), np.log(np.array([[0.75, 0.25], [1, 1]])))
    visual = MentionScores(np.array([[3, 7], [7, 3], [5, -1]]), np.log(np.array([[0.5, 0.5], [0.75, 0.25], [1, 1]])))
    found = DocumentGraph.of(text, visual, little[0].kb, np.zeros(2), np.arange(2))
    setting = config("uniform", coherence=False)
    plan, converged = plan_of(found, *alone(found), setting)
    np.testing.assert_array_equal(plan, np.full((2, 3), 1 / 6))
    assert converged
    by_text, by_visual = supports(found, *alone(found), plan, setting)
    np.testing.assert_allclose(by_text[0, :, 0], [(0.5 + 0.25) / 3, (0.5 + 0.75) / 3])
    np.testing.assert_allclose(by_text[1, 0, 0], (0.5 + 0.75) / 3)
    np.testing.assert_allclose(by_visual[..., 0][visual.mask], [0.375, 0.625, 0.625, 0.375, 0])
    np.testing.assert_array_equal(by_text[..., 0], by_text[..., 1])
    # Own log-probability + 2 x the vote of the linked: 3 keeps the first name, 4 x takes it to 7.
    for weight, chosen in ((2.0, 0), (8.0, 1)):
        rule = np.array([1, weight, 0, 0, 0])
        decision = decide(found, [Weights(rule, rule)], setting)
        expected = reference(np.log([0.75, 0.25]) + weight * by_text[0, :, 0])
        np.testing.assert_allclose(decision.text[0], expected)
        assert decision.text[0].argmax() == chosen


def test_transport_mixed_with_the_uniform_plan(little: list[World]) -> None:
    found = graph(little[1], 4, 3, seed=2, least=1)
    plans = []
    for share in (0.0, 0.25, 1.0):
        setting = CouplingConfig.model_validate({"plan": "transport", "uniform_share": share})
        plans.append(plan_of(found, *alone(found), setting)[0])
        np.testing.assert_allclose(plans[-1].sum(1), 1 / 4, atol=1e-6)
        np.testing.assert_allclose(plans[-1].sum(0), 1 / 3, atol=1e-6)
    np.testing.assert_allclose(plans[1], 0.75 * plans[0] + 0.25 * plans[2])
    np.testing.assert_allclose(plans[2], 1 / 12)
    partial, _ = plan_of(found, *alone(found), config(mass="partial", moved=0.3))
    assert partial.sum() == pytest.approx(1)


# --- decisions --------------------------------------------------------------------------------------------------------

PLANS: list[dict[str, Any]] = [
    {"plan": "uniform"},
    {"plan": "transport"},
    {"plan": "transport", "cost": "fused", "mass": "semi-relaxed"},
]
plans = st.sampled_from(PLANS)


def values(found: DocumentGraph, decision: Decision) -> None:
    """What every decision is."""
    for scores, parts, own, weights in (
        (decision.text, decision.text_parts, found.text, "text"),
        (decision.visual, decision.visual_parts, found.visual, "visual"),
    ):
        assert not np.isnan(scores).any() and np.isneginf(scores[~own.mask]).all()
        np.testing.assert_allclose(np.exp(scores).sum(1), own.mask.any(1), atol=1e-9)
        assert parts.shape == (*own.ids.shape, 1 + FEATURES[weights]) and np.isfinite(parts).all()
        # The addends sum to the score but for a constant a mention.
        for row, mask, addends in zip(scores, own.mask, parts, strict=True):
            if mask.any():
                np.testing.assert_allclose(np.ptp(addends.sum(-1)[mask] - row[mask]), 0, atol=1e-9)
    assert decision.plan.sum() == pytest.approx(1) and decision.plan.min() >= 0


@lightly
@given(base=bases, size=sizes, seed=seeds, plan=plans, rounds=st.integers(1, 3), pads=st.integers(0, 12))
def test_order_and_pads_change_nothing(
    base: int, size: tuple[int, int], seed: int, plan: dict[str, Any], rounds: int, pads: int, little: list[World]
) -> None:
    world, found, random = little[base], graph(little[base], *size, seed), np.random.default_rng(seed)
    setting, weights = config(rounds=rounds, **plan), random_weights(seed, rounds)
    decision = decide(found, weights, setting)
    values(found, decision)
    # Pads: to the last bit.
    same, kept, listed = (np.arange(count) for count in (*size, 5))
    padded = decide(permuted(found, world, same, kept, listed, pads), weights, setting)
    np.testing.assert_array_equal(padded.text[:, : decision.text.shape[1]], decision.text)
    np.testing.assert_array_equal(padded.visual[:, : decision.visual.shape[1]], decision.visual)
    np.testing.assert_array_equal(padded.plan, decision.plan)
    # Order: but for rounding.
    rows, seen, columns = (random.permutation(count) for count in (*size, 5))
    moved = decide(permuted(found, world, rows, seen, columns), weights, setting)
    np.testing.assert_allclose(moved.plan, decision.plan[np.ix_(rows, seen)], atol=1e-5)
    np.testing.assert_allclose(np.exp(moved.text), np.exp(decision.text)[rows][:, columns[columns < 4]], atol=1e-4)
    np.testing.assert_allclose(np.exp(moved.visual), np.exp(decision.visual)[seen][:, columns], atol=1e-4)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 1), (165, 41)])
def test_documents_of_every_size(size: tuple[int, int], plan: dict[str, Any], little: list[World]) -> None:
    found = graph(little[2], *size, seed=4)
    decision = decide(found, random_weights(0), config(rounds=2, **plan))
    values(found, decision)
    assert decision.converged


@pytest.mark.parametrize("plan", PLANS)
def test_duplicates_are_decided_alike(plan: dict[str, Any], little: list[World]) -> None:
    one = graph(little[1], 3, 3, seed=8, least=2)
    twice = np.array([0, 1, 1, 2])
    text, visual = (
        MentionScores(*(np.repeat(each[twice], 2, 1) for each in (own.ids, own.scores)))
        for own in (one.text, one.visual)
    )
    both = DocumentGraph.of(text, visual, little[1].kb, one.sentence[twice], one.name[twice])
    decision = decide(both, random_weights(3), config(rounds=3, **plan))
    values(both, decision)
    for scores in (decision.text, decision.visual):
        np.testing.assert_array_equal(scores[:, ::2], scores[:, 1::2])  # the same candidate, listed twice
        np.testing.assert_allclose(np.exp(scores[1]), np.exp(scores[2]), atol=1e-6)  # the same mention


def test_who_is_ruled_out_or_has_no_candidate(little: list[World]) -> None:
    text = MentionScores(np.array([[3, 7], [-1, -1], [3, 7]]), np.array([[0, -np.inf], [5, 5], [0.0, 0]]))
    visual = MentionScores(np.array([[7], [-1]]), np.zeros((2, 1)))
    found = DocumentGraph.of(text, visual, little[0].kb, np.zeros(3), np.zeros(3))
    for plan in PLANS:
        decision = decide(found, [Weights(np.ones(5), np.ones(5))], config(coherence=False, **plan))
        # Everything speaks for 7, and still it is ruled out for the first name.
        assert decision.text[0].tolist() == [0, -np.inf]
        assert np.isneginf(decision.text[1]).all() and np.isneginf(decision.visual[1]).all()
        assert decision.text[2].argmax() == 1


def test_mentions_without_mass(little: list[World]) -> None:
    found = graph(little[2], 3, 4, seed=2, least=2)
    plan = np.zeros((3, 4))
    plan[1, 2] = 1
    by_text, by_visual = supports(found, *alone(found), plan, config(coherence=False))
    assert not by_text[[0, 2]].any() and not by_visual[[0, 1, 3]].any()


@lightly
@given(base=bases, size=sizes, seed=seeds, plan=plans)
def test_without_weights_of_others_each_side_decides_alone(
    base: int, size: tuple[int, int], seed: int, plan: dict[str, Any], little: list[World]
) -> None:
    found = graph(little[base], *size, seed)
    only = Weights(np.eye(1 + 2 * FEATURES["text"])[0], np.eye(1 + 2 * FEATURES["visual"])[0])
    decision = decide(found, [only], config(rounds=4, **plan))
    assert (decision.rounds, decision.settled) == (1, True)
    np.testing.assert_allclose(decision.text, found.text.log_probability, atol=1e-12)
    np.testing.assert_allclose(decision.visual, found.visual.log_probability, atol=1e-12)


@lightly
@given(base=bases, size=sizes, seed=seeds, plan=plans)
def test_more_rounds_do_not_change_what_is_settled(
    base: int, size: tuple[int, int], seed: int, plan: dict[str, Any], little: list[World]
) -> None:
    found, weights = graph(little[base], *size, seed), random_weights(seed, 2)
    for rounds in range(2, 6):
        decision = decide(found, weights, config(rounds=rounds, **plan))
        assert 2 <= decision.rounds <= rounds
        if decision.settled:
            longer = decide(found, weights, config(rounds=rounds + 3, **plan))
            np.testing.assert_array_equal(longer.text, decision.text)
            np.testing.assert_array_equal(longer.visual, decision.visual)
            assert longer.rounds == decision.rounds
            break


def test_one_round_by_hand(little: list[World]) -> None:
    found, (weights,) = graph(little[1], 3, 2, seed=5, least=1), random_weights(5)
    decision = decide(found, [weights], config())
    told = supports(found, *alone(found), decision.plan, config())
    for own, each, rule, scores in (
        (found.text, told[0], weights.text, decision.text),
        (found.visual, told[1], weights.visual, decision.visual),
    ):
        for i, k in np.argwhere(own.mask).tolist():
            f = each.shape[-1]
            total = [
                rule[0] * log + rule[1 : 1 + f] @ support + rule[1 + f :] @ np.log(support + 1e-3)
                for log, support, there in zip(own.log_probability[i], each[i], own.mask[i], strict=True)
                if there
            ]
            at = np.flatnonzero(own.mask[i]).tolist().index(k)
            assert scores[i, k] == pytest.approx(reference(total)[at], abs=1e-9)


# --- weights ----------------------------------------------------------------------------------------------------------


def likelihood(columns: np.ndarray, mask: np.ndarray, gold: np.ndarray, weights: np.ndarray) -> list[float]:
    scores = np.where(mask, columns @ weights, -np.inf)
    return [float(reference(row)[g]) for row, g in zip(scores, gold, strict=True) if g >= 0]


def documents(
    world: World, count: int, seed: int, size: tuple[int, int] = (6, 5)
) -> tuple[list[DocumentGraph], np.random.Generator]:
    return [graph(world, *size, seed + d) for d in range(count)], np.random.default_rng(seed)


def some_gold(random: np.random.Generator, scores: MentionScores) -> np.ndarray:
    counts = scores.mask.sum(1)
    return np.where(counts > 0, random.integers(-1, np.maximum(counts, 1)), -1)


@settings(max_examples=6, deadline=None)
@given(base=bases, seed=seeds, ridge=st.sampled_from([1e-4, 1e-1, 10.0]))
def test_a_fit_is_never_less_likely_than_the_modality_alone(
    base: int, seed: int, ridge: float, little: list[World]
) -> None:
    graphs, random = documents(little[base], 3, seed)
    gold = [(some_gold(random, g.text), some_gold(random, g.visual)) for g in graphs]
    setting = config("uniform").model_copy(update={"ridge": ridge})
    (weights,) = fit(graphs, gold, setting)
    for side, rule in enumerate((weights.text, weights.visual)):
        fitted, own = [], []
        for found, right in zip(graphs, gold, strict=True):
            scores = (found.text, found.visual)[side]
            told = supports(found, *alone(found), plan_of(found, *alone(found), setting)[0], setting)[side]
            columns = columns_of(scores.log_probability, told)
            fitted += likelihood(columns, scores.mask, right[side], rule)
            own += likelihood(columns, scores.mask, right[side], np.eye(len(rule))[0])
        assert np.isfinite(rule).all() and sum(fitted) >= sum(own) - 1e-9 * len(own)


def test_a_fit_recovers_the_weights_that_made_the_documents(little: list[World]) -> None:
    graphs, random = documents(little[2], 150, 0)
    setting = config("uniform", coherence=False).model_copy(update={"ridge": 1e-9})
    truth = Weights(np.array([0.7, 3.0, 1.5, 0, 0]), np.array([1.3, 0, 0, 0.5, 0.4]))
    gold = []
    for found in graphs:
        told = supports(found, *alone(found), plan_of(found, *alone(found), setting)[0], setting)
        drawn = []
        for scores, each, rule in ((found.text, told[0], truth.text), (found.visual, told[1], truth.visual)):
            columns = columns_of(scores.log_probability, each) @ rule
            noisy = np.where(scores.mask, columns + random.gumbel(size=columns.shape), -np.inf)
            drawn.append(np.where(scores.mask.any(1), noisy.argmax(1), -1))
        gold.append((drawn[0], drawn[1]))
    (weights,) = fit(graphs, gold, setting)
    for found_rule, rule, side in ((weights.text, truth.text, 0), (weights.visual, truth.visual, 1)):
        assert found_rule[0] == pytest.approx(rule[0], abs=0.15)
        # A support and its logarithm say nearly the same: their sum is what is determined.
        for found in graphs[:20]:
            own = supports(found, *alone(found), plan_of(found, *alone(found), setting)[0], setting)[side]
            scores = (found.text, found.visual)[side]
            columns = columns_of(scores.log_probability, own)
            for row, mask in zip(columns, scores.mask, strict=True):
                if mask.any():
                    expected = reference(row[mask] @ rule)
                    assert np.abs(np.exp(reference(row[mask] @ found_rule)) - np.exp(expected)).max() < 0.2


def test_weights_where_there_is_nothing_to_learn_from(little: list[World]) -> None:
    nobody = MentionScores(np.full((2, 3), -1), np.zeros((2, 3)))
    empty = DocumentGraph.of(nobody, nobody, little[1].kb, np.zeros(2), np.zeros(2))
    none = np.full(2, -1)
    for plan in PLANS:
        for weights in fit([empty], [(none, none)], config(rounds=2, **plan)):
            np.testing.assert_array_equal(weights.text, np.eye(11)[0])
            np.testing.assert_array_equal(weights.visual, np.eye(7)[0])
    # A gold candidate that is ruled out teaches nothing either.
    text = MentionScores(np.array([[3, 7]]), np.array([[0.0, -np.inf]]))
    found = DocumentGraph.of(text, text, little[1].kb, np.zeros(1), np.zeros(1))
    (weights,) = fit([found], [(np.array([1]), np.array([1]))], config())
    np.testing.assert_array_equal(weights.text, np.eye(11)[0])


def test_columns_that_do_not_vary_keep_their_weight(little: list[World]) -> None:
    only = MentionScores(np.array([[3], [7]]), np.zeros((2, 1)))
    found = DocumentGraph.of(only, only, little[0].kb, np.zeros(2), np.arange(2))
    (weights,) = fit([found], [(np.zeros(2, np.int64), np.zeros(2, np.int64))], config())
    assert weights.text[0] == pytest.approx(1) and weights.visual[0] == pytest.approx(1)
    np.testing.assert_array_equal(weights.text[1:], 0)


def test_every_round_has_weights_of_its_own(little: list[World]) -> None:
    graphs, random = documents(little[1], 4, 7)
    gold = [(some_gold(random, g.text), some_gold(random, g.visual)) for g in graphs]
    weights = fit(graphs, gold, config(rounds=3))
    assert len(weights) == 3
    np.testing.assert_array_equal(weights[0].text, fit(graphs, gold, config())[0].text)
    decision = decide(graphs[0], weights, config(rounds=3))
    assert decision.rounds == 3


@pytest.mark.parametrize("coherence", [True, False])
def test_weights_as_plain_values(coherence: bool) -> None:
    setting = config(coherence=coherence)
    text, visual = names(setting)
    assert (len(text), len(visual)) == ((6, 4) if coherence else (3, 3))
    sizes = 2 * len(text) - 1, 2 * len(visual) - 1
    given_ = [Weights(one.text[: sizes[0]], one.visual[: sizes[1]]) for one in random_weights(0, 2)]
    again = from_state(json.loads(json.dumps(state(given_, setting))), setting)
    for one, other in zip(given_, again, strict=True):
        np.testing.assert_array_equal(one.text, other.text)
        np.testing.assert_array_equal(one.visual, other.visual)
    with pytest.raises(InputError, match="fitted with other supports. Remedy: train again"):
        from_state(state(given_, setting), config(coherence=not coherence))


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda value: {name: each for name, each in value.items() if name != key}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without("text"), r"holds no weights \(KeyError\('text'\)\)"),
        (without("rounds"), r"holds no weights \(KeyError\('rounds'\)\)"),
        (lambda value: [value], "holds no weights"),
        (lambda value: None, "holds no weights"),
        (lambda value: {**value, "text": None}, "holds no weights"),
        (lambda value: {**value, "rounds": [1]}, "holds no weights"),
        (lambda value: {**value, "rounds": [{"text": ["x"], "visual": []}]}, "holds no weights"),
        (lambda value: {**value, "rounds": [{"text": [1.0], "visual": [1.0]}]}, "allowed: 11 finite numbers"),
        (lambda value: {**value, "rounds": [{"text": [None] * 11, "visual": [1.0] * 7}]}, "11 finite numbers"),
        (lambda value: {**value, "rounds": []}, "has weights of no round"),
    ],
)
def test_damaged_weights(damage: Callable[[dict[str, Any]], Any], said: str) -> None:
    setting = config()
    with pytest.raises(InputError, match=f"field 'coupling': .*{said}.*Remedy: train again with --restart"):
        from_state(damage(state(random_weights(0, 2), setting)), setting)


# --- averaged scores --------------------------------------------------------------------------------------------------


def test_an_average_is_the_mean_of_the_logarithms(little: list[World]) -> None:
    asked = CouplingConfig.model_validate({"plan": "uniform", "coherence": False, "rounds": 1, "fusion": "average"})
    found = graph(little[0], 3, 2, seed=0)
    (weights,) = fit([found], [(np.zeros(3, np.int64), np.zeros(2, np.int64))], asked)
    beliefs = found.beliefs(np.exp(found.text.log_probability), np.exp(found.visual.log_probability))
    plan, _ = plan_of(found, *beliefs, asked)
    support, _ = supports(found, *beliefs, plan, asked)
    logs = np.concatenate([found.text.log_probability[..., None], np.log(support + 1e-3)], axis=-1)
    expected = np.where(found.text.mask, logs.mean(-1), -np.inf)
    assert np.allclose(decide(found, [weights], asked).text, reference(expected, axis=1), atol=1e-12)

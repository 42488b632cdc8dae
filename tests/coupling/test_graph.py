"""The document graph against twins that look at every pair of candidates; its tensors and its view for people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax as reference

from mmel.coupling.graph import LINKED, MEETS, DocumentGraph, MentionScores, log_softmax, reached
from mmel.errors import InputError
from tests.coupling.worlds import BASES, COUNT, World, alone, beliefs_of, graph, mentions, name, permuted

sizes = st.tuples(st.integers(0, 5), st.integers(0, 4))
bases, seeds = st.integers(0, BASES - 1), st.integers(0, 9999)
lightly = settings(max_examples=15, deadline=None)

# --- scores ---------------------------------------------------------------------------------------------------------


@lightly
@given(seed=seeds, n=st.integers(0, 6), pads=st.integers(0, 30))
def test_log_softmax(seed: int, n: int, pads: int) -> None:
    scores = mentions(n, seed)
    found = scores.log_probability
    for row, mask, values in zip(found, scores.mask, scores.scores, strict=True):
        np.testing.assert_allclose(row[mask], reference(values[mask]) if mask.any() else [], atol=1e-12)
        assert np.isneginf(row[~mask]).all()
    wide = [np.pad(each, ((0, 0), (0, pads)), constant_values=fill) for each, fill in
            ((scores.scores, np.nan), (scores.mask, False))]  # fmt: skip
    np.testing.assert_array_equal(log_softmax(wide[0], wide[1])[:, : found.shape[1]], found)
    np.testing.assert_allclose(log_softmax(scores.scores + 1e4, scores.mask), found, atol=1e-9)


def test_scores_far_apart() -> None:
    found = log_softmax(np.array([[0.0, -1e9], [-1e9, -1e9]], np.float32), np.ones((2, 2), bool))
    np.testing.assert_allclose(found, [[0, -1e9], [np.log(0.5)] * 2])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_of_a_broken_checkpoint(wrong: float) -> None:
    ids = np.array([[3, 4, -1]])
    with pytest.raises(InputError, match="1 candidates have a score that is no number. Remedy: the checkpoint"):
        MentionScores(ids, np.array([[0.0, wrong, 0]]))
    np.testing.assert_array_equal(MentionScores(ids, np.array([[0.0, 1, wrong]])).mask, [[True, True, False]])


def test_a_candidate_that_is_ruled_out(little: list[World]) -> None:
    text = MentionScores(np.array([[3, 4], [5, 6]]), np.array([[0.0, -np.inf], [-np.inf, -np.inf]]))
    np.testing.assert_array_equal(text.mask, [[True, False], [False, False]])
    np.testing.assert_array_equal(text.log_probability, [[0, -np.inf], [-np.inf, -np.inf]])
    found = DocumentGraph.of(text, mentions(1, 0, least=1), little[1].kb, np.zeros(2), np.arange(2))
    assert found.entities.tolist() == [3]
    np.testing.assert_array_equal(alone(found)[0], [[1], [0]])


# --- what is linked -------------------------------------------------------------------------------------------------


@lightly
@given(base=bases, size=sizes, seed=seeds)
def test_links_of_all_pairs(base: int, size: tuple[int, int], seed: int, little: list[World]) -> None:
    world, found = little[base], graph(little[base], *size, seed)
    assert found.entities.tolist() == sorted({e for e in found.text.ids.ravel().tolist() if e >= 0})
    assert found.shown.tolist() == sorted({e for e in found.visual.ids.ravel().tolist() if e >= 0})
    ours, theirs = found.entities.tolist(), found.shown.tolist()
    for matrix, rule, rows, columns in (
        (found.linked, world.linked, ours, theirs),
        (found.meets, world.meets, ours, theirs),
        (found.text_meets, world.meets, ours, ours),
        (found.visual_meets, world.meets, theirs, theirs),
    ):
        expected = np.array([[float(rule(a, b)) for b in columns] for a in rows]).reshape(len(rows), len(columns))
        np.testing.assert_array_equal(matrix.toarray(), expected)


@lightly
@given(base=bases, size=sizes, seed=seeds)
def test_compatibility_of_all_pairs(base: int, size: tuple[int, int], seed: int, little: list[World]) -> None:
    world, found = little[base], graph(little[base], *size, seed)
    expected = np.zeros(size)
    for i, text in enumerate(beliefs_of(found.text)):
        for j, visual in enumerate(beliefs_of(found.visual)):
            expected[i, j] = sum(
                p * q * (LINKED * world.linked(a, b) + MEETS * world.meets(a, b))
                for a, p in text.items()
                for b, q in visual.items()
            )
    np.testing.assert_allclose(found.compatibility(*alone(found)), expected, atol=1e-12)
    for own, listed in zip(alone(found), (found.text, found.visual), strict=True):
        np.testing.assert_allclose(own.sum(1), listed.mask.any(1), atol=1e-12)


@lightly
@given(base=bases, size=sizes, seed=seeds, pads=st.integers(0, 9))
def test_order_and_pads_change_nothing(
    base: int, size: tuple[int, int], seed: int, pads: int, little: list[World]
) -> None:
    world, found, random = little[base], graph(little[base], *size, seed), np.random.default_rng(seed)
    rows, seen, columns = (random.permutation(count) for count in (*size, 5))
    moved = permuted(found, world, rows, seen, columns, pads)
    np.testing.assert_allclose(
        moved.compatibility(*alone(moved)), found.compatibility(*alone(found))[np.ix_(rows, seen)], atol=1e-12
    )
    for one, other in zip(alone(moved), alone(permuted(found, world, rows, seen, columns)), strict=True):
        np.testing.assert_array_equal(one, other)


@lightly
@given(base=bases, seed=seeds)
def test_reached(base: int, seed: int, little: list[World]) -> None:
    world, random = little[base], np.random.default_rng(seed)
    start = random.integers(0, COUNT, random.integers(0, 4))
    among = np.unique(random.integers(0, COUNT, random.integers(0, 9)))
    near = {hub for entity in start.tolist() for hub in world.hubs(entity)}
    expected = sorted({far for hub in near for far in world.hubs(hub)} & set(among.tolist()))
    assert reached(start, world.kb, among).tolist() == expected


def test_a_long_document(little: list[World]) -> None:
    found = graph(little[2], 165, 41, seed=5)
    compatible = found.compatibility(*alone(found))
    assert compatible.shape == (165, 41) and np.isfinite(compatible).all()
    edges = found.hetero()["visual_mention", "same_document", "visual_mention"].edge_index
    assert edges.shape == (2, 41 * 40)


# --- tensors, and the view for people ---------------------------------------------------------------------------------


@lightly
@given(base=bases, shapes=st.lists(sizes, min_size=1, max_size=4), seed=seeds)
def test_tensors_in_batches(base: int, shapes: list[tuple[int, int]], seed: int, little: list[World]) -> None:
    from torch_geometric.data import Batch

    graphs = [graph(little[base], *shape, seed + d) for d, shape in enumerate(shapes)]
    single = [each.hetero() for each in graphs]
    batch = Batch.from_data_list(single)
    assert batch.num_graphs == len(graphs)
    for node in ("text_mention", "visual_mention", "entity"):
        assert batch[node].num_nodes == sum(each[node].num_nodes for each in single)
    for each, data, again in zip(graphs, single, batch.to_data_list(), strict=True):
        assert data["text_mention"].num_nodes == len(each.text)
        assert data["visual_mention"].num_nodes == len(each.visual)
        assert data["entity"].index.tolist() == sorted({*each.entities.tolist(), *each.shown.tolist()})
        for side, scores in (("text", each.text), ("visual", each.visual)):
            edges = again[f"{side}_mention", "may_be", "entity"]
            mention, column = np.nonzero(scores.mask)
            ends = [mention.tolist(), scores.ids[mention, column].tolist()]
            assert [edges.edge_index[0].tolist(), again["entity"].index[edges.edge_index[1]].tolist()] == ends
            np.testing.assert_array_equal(edges.score.numpy(), scores.log_probability[scores.mask])
        assert again["text_mention"].position.tolist() == list(range(len(each.text)))
        assert again["visual_mention"].num_nodes == len(each.visual)
        for kind in data.edge_types:
            assert again[kind].edge_index.tolist() == data[kind].edge_index.tolist()


@lightly
@given(base=bases, size=sizes, seed=seeds)
def test_the_view_for_people(base: int, size: tuple[int, int], seed: int, little: list[World]) -> None:
    world, found = little[base], graph(little[base], *size, seed)
    shown = found.to_networkx(world.kb)
    expected = {name(e): f"Entity {e}" for e in {*found.entities.tolist(), *found.shown.tolist()}}
    people = {("text", i) for i in range(size[0])} | {("visual", j) for j in range(size[1])}
    assert set(shown.nodes) == people | set(expected)
    assert {node: title for node, title in shown.nodes(data="title") if title is not None} == expected
    edges: list[tuple[object, object, str]] = []
    for side, scores in (("text", found.text), ("visual", found.visual)):
        for i, row in enumerate(scores.ids.tolist()):
            edges += [((side, i), name(entity), "may_be") for entity in row if entity >= 0]
    for kind, rule in (("linked", world.linked), ("meets", world.meets)):
        edges += [(name(a), name(b), kind) for a in found.entities.tolist() for b in found.shown.tolist() if rule(a, b)]
    for kind, own in (("same_sentence", found.sentence), ("same_name", found.name)):
        pairs = ((i, o) for i in range(size[0]) for o in range(size[0]) if i != o and own[i] == own[o])
        edges += [(("text", i), ("text", o), kind) for i, o in pairs]
    edges += [(("visual", j), ("visual", o), "same_document") for j in range(size[1]) for o in range(size[1]) if j != o]
    assert sorted(map(str, shown.edges(data="kind"))) == sorted(map(str, edges))
    assert all((score is not None) == (kind == "may_be") for *_, kind, score in
               ((a, b, d["kind"], d.get("score")) for a, b, d in shown.edges(data=True)))  # fmt: skip

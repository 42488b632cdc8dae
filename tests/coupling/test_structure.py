"""Costs and structures by hand and against twins; only what a plan needs is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.coupling.graph import DocumentGraph, MentionScores
from mmel.coupling.structure import problem
from mmel.coupling.transport import Problem
from mmel.coupling_settings import CouplingConfig
from mmel.errors import InputError
from tests.coupling.worlds import BASES, World, alone, beliefs_of, graph

seeds = st.integers(0, 9999)


def config(cost: str = "fused", cross: str = "links", structure: str = "links") -> CouplingConfig:
    values = {"plan": "transport", "transport": {"cost": cost}, "cross": cross, "structure": structure}
    return CouplingConfig.model_validate(values)


def costs(found: DocumentGraph, setting: CouplingConfig) -> Problem:
    return problem(found, *alone(found), setting)


@settings(max_examples=15, deadline=None)
@given(
    base=st.integers(0, BASES - 1), n=st.integers(1, 5), m=st.integers(1, 4), seed=seeds, least=st.sampled_from([0, 1])
)
def test_expected_distances(base: int, n: int, m: int, seed: int, least: int, little: list[World]) -> None:
    world, found = little[base], graph(little[base], n, m, seed, least)
    given_, text, visual = costs(found, config()), beliefs_of(found.text), beliefs_of(found.visual)
    alike = np.array([[sum(p * q * (world.linked(a, b) + 0.5 * world.meets(a, b)) for a, p in one.items()
                            for b, q in other.items()) for other in visual] for one in text])  # fmt: skip
    assert given_.cross is not None and given_.left is not None and given_.right is not None
    np.testing.assert_allclose(given_.cross, 1 - alike / (alike.max() or 1), atol=1e-12)
    for side, own in ((given_.left, text), (given_.right, visual)):
        alike = np.array([[sum(p * q * world.meets(a, b) for a, p in one.items() for b, q in other.items())
                           for other in own] for one in own])  # fmt: skip
        expected = 1 - alike / (alike.max() or 1)
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(side, expected, atol=1e-12)
        np.testing.assert_array_equal(side, side.T)
        assert side.min() >= 0 and side.max() <= 1


def same(found: np.ndarray | None, expected: object) -> None:
    assert found is not None
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-12)


def by_hand(world: World) -> DocumentGraph:
    """Three names, the last without candidates, and two faces, the last not found, in a base without links."""
    one, other = 3, 7
    text = MentionScores(np.array([[one, -1], [one, other], [-1, -1]]), np.zeros((3, 2)))
    visual = MentionScores(np.array([[one], [other]]), np.zeros((2, 1)))
    return DocumentGraph.of(
        text, visual, world.kb, np.zeros(3), np.arange(3),
        context=np.array([[1.0, 0], [0, 2], [-3, 0]]),
        faces=np.array([[1.0, 0], [0, 0]]),
        pictures=np.array([[1.0, 0], [0, 1]]),
    )  # fmt: skip


def test_links_by_hand(little: list[World]) -> None:
    found = costs(by_hand(little[0]), config())
    # The same entity is linked (1) and meets (1/2); the second name is either, the third nobody.
    same(found.cross, [[0, 1], [0.5, 0.5], [1, 1]])
    same(found.left, [[0, 0.5, 1], [0.5, 0, 1], [1, 1, 0]])
    same(found.right, [[0, 1], [1, 0]])


def test_embeddings_by_hand(little: list[World]) -> None:
    found = costs(by_hand(little[0]), config(cross="embedding", structure="embedding"))
    half = (1 - np.sqrt(0.5)) / 2  # from between the two pictures to the first
    # Who has no candidate, or no face, is at a right angle to all.
    same(found.cross, [[0, 0.5], [half, 0.5], [0.5, 0.5]])
    same(found.left, [[0, 0.5, 1], [0.5, 0, 0.5], [1, 0.5, 0]])
    same(found.right, [[0, 0.5], [0.5, 0]])


@pytest.mark.parametrize("cost", ["wasserstein", "gromov-wasserstein", "fused"])
def test_both_is_the_mean(cost: str, little: list[World]) -> None:
    found = graph(little[2], 5, 4, seed=1)
    found = replace(found, pictures=np.random.default_rng(0).normal(size=(len(found.shown), 4)))
    links, vectors, both = (costs(found, config(cost, how, how)) for how in ("links", "embedding", "both"))
    for name in ("cross", "left", "right"):
        parts = [getattr(each, name) for each in (links, vectors, both)]
        if parts[0] is None:
            assert parts == [None] * 3
        else:
            np.testing.assert_allclose(parts[2], (parts[0] + parts[1]) / 2)
    assert (both.cross is None) == (cost == "gromov-wasserstein")
    assert (both.left is None) == (both.right is None) == (cost == "wasserstein")


def test_embeddings_without_vectors(little: list[World]) -> None:
    bare = replace(graph(little[2], 3, 2, least=1), context=None, faces=None)
    for setting, lacking in (
        (config("wasserstein", cross="embedding"), "pictures"),
        (config("fused", structure="both"), "context"),
    ):
        with pytest.raises(InputError, match=f"field '{lacking}'.* are needed by embedding distances"):
            costs(bare, setting)
    # What the plan does not read is not asked for.
    costs(bare, config("wasserstein", structure="embedding"))
    costs(bare, config("gromov-wasserstein", cross="embedding"))


def test_nobody_has_candidates(little: list[World]) -> None:
    nobody = MentionScores(np.full((2, 3), -1), np.zeros((2, 3)))
    found = DocumentGraph.of(
        nobody, nobody, little[1].kb, np.zeros(2), np.zeros(2),
        context=np.zeros((2, 3)), faces=np.zeros((2, 3)), pictures=np.zeros((0, 3)),
    )  # fmt: skip
    for how, far in (("links", 1.0), ("embedding", 0.5), ("both", 0.75)):
        given_ = costs(found, config("fused", how, how))
        same(given_.cross, np.full((2, 2), far))
        same(given_.left, [[0, far], [far, 0]])
    assert len(found.entities) == 0

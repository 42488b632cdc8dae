"""The candidate graph against dictionaries, on random knowledge bases of a few entities."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from mmel.candidates import Candidates, MentionTable
from mmel.candidates.graph import CandidateGraph, dense, hubs_of
from mmel.document import Document
from mmel.kb import KnowledgeBase

ENTITIES = 6
LEVELS, WAYS = ("document", "sentence"), ("max", "sum")


@dataclass(frozen=True)
class Mention:
    doc: int
    sentence: int
    group: int
    candidates: dict[int, float]  # entity -> belief


@dataclass(frozen=True)
class World:
    """Links between entities and the mentions of some documents."""

    links: dict[int, list[int]]
    mentions: list[Mention]
    entities: int = ENTITIES
    kb: KnowledgeBase = field(init=False)

    def __post_init__(self) -> None:
        pairs = [(a, b) for a, targets in self.links.items() for b in targets]
        matrix = csr_matrix((self.entities, self.entities), dtype=np.float32)
        if pairs:
            rows, columns = np.array(pairs).T
            matrix = csr_matrix((np.ones(len(pairs)), (rows, columns)), shape=matrix.shape)
            matrix.sort_indices()
        object.__setattr__(self, "kb", cast("KnowledgeBase", Links(matrix)))

    @cached_property
    def table(self) -> MentionTable:
        # Documents of equal names are other groups, their sentences other sentences, as MentionTable numbers them.
        keys = ([(m.doc, m.sentence) for m in self.mentions], [(m.doc, m.group) for m in self.mentions])
        sentence, group = (np.array([sorted(set(k)).index(x) for x in k], np.int64) for k in keys)
        doc = np.array([m.doc for m in self.mentions], np.int64)
        empty, names = np.zeros(len(doc), np.int64), [""] * len(doc)
        return MentionTable(
            [Document(str(d), "") for d in range(3)], doc, np.searchsorted(doc, np.arange(4)), empty, empty,
            sentence, names, names, group, empty - 1, empty > 0,
        )  # fmt: skip

    @cached_property
    def candidates(self) -> Candidates:
        k = max([len(m.candidates) for m in self.mentions] + [1])
        ids = np.full((len(self.mentions), k), -1, np.int64)
        prior = np.zeros(ids.shape, np.float32)
        for i, m in enumerate(self.mentions):
            ids[i, : len(m.candidates)] = list(m.candidates)
            prior[i, : len(m.candidates)] = list(m.candidates.values())
        return Candidates(ids, prior, (ids >= 0).astype(np.uint8))

    @cached_property
    def graph(self) -> CandidateGraph:
        return CandidateGraph.of(self.table, self.candidates, self.kb)

    def hubs(self, entity: int) -> set[int]:
        return {entity, *self.links.get(entity, [])}

    def hubs_of_mention(self, m: Mention) -> set[int]:
        return set().union(*(self.hubs(e) for e in m.candidates)) if m.candidates else set()


class Links:
    """As much of a knowledge base as the graph reads."""

    def __init__(self, links: csr_matrix) -> None:
        self.links = links

    def __len__(self) -> int:
        return int(self.links.shape[0])


beliefs = st.integers(1, 8).map(lambda n: n / 8)
links = st.dictionaries(
    st.integers(0, ENTITIES - 1), st.lists(st.integers(0, ENTITIES - 1), unique=True, max_size=4), max_size=ENTITIES
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    drawn = []
    for doc in range(draw(st.integers(0, 3))):
        for _ in range(draw(st.integers(0, 4))):
            listed = draw(st.dictionaries(st.integers(0, ENTITIES - 1), beliefs, max_size=3))
            drawn.append(Mention(doc, draw(st.integers(0, 1)), draw(st.integers(0, 2)), listed))
    return World(draw(links), drawn)


def support(world: World, level: str, how: str) -> np.ndarray:
    """CandidateGraph.support by its docstring: every other name of the document (or sentence) speaks for each hub."""
    out = np.zeros(world.candidates.ids.shape)
    for i, m in enumerate(world.mentions):
        for j, entity in enumerate(m.candidates):
            received = []
            for hub in world.hubs(entity):
                spoken: dict[int, list[float]] = defaultdict(list)
                for other in world.mentions:
                    near = other.doc == m.doc and (level == "document" or other.sentence == m.sentence)
                    if near and other.group != m.group and hub in world.hubs_of_mention(other):
                        sent = sum(b for e, b in other.candidates.items() if hub in world.hubs(e))
                        spoken[other.group].append(sent)
                if level == "document":
                    received.append(sum(sum(v) / len(v) for v in spoken.values()))
                else:
                    received.append(sum(sum(v) for v in spoken.values()))
            out[i, j] = max(received) if how == "max" else sum(received)
    return out


def pagerank(world: World, teleport: float, rounds: int) -> np.ndarray:
    """Random walk candidate -> hub -> candidate within a document, over hubs that two of its names reach."""
    cells = [(i, e) for i, m in enumerate(world.mentions) for e in m.candidates]
    hubs: dict[tuple[int, int], list[int]] = {}
    for i, entity in cells:
        mine = world.mentions[i]
        for hub in world.hubs(entity):
            groups = {m.group for m in world.mentions if m.doc == mine.doc and hub in world.hubs_of_mention(m)}
            if len(groups) > 1:
                hubs.setdefault((i, entity), []).append(hub)
    weight = {(i, e): world.mentions[i].candidates[e] + 1e-4 for i, e in cells}
    total: dict[int, float] = defaultdict(float)
    members: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for i, e in cells:
        total[world.mentions[i].doc] += weight[i, e]
        for hub in hubs.get((i, e), []):
            members[world.mentions[i].doc, hub].append((i, e))
    start = {(i, e): w / total[world.mentions[i].doc] for (i, e), w in weight.items()}
    rank = dict(start)
    for _ in range(rounds):
        walked = dict.fromkeys(cells, 0.0)
        for cell in cells:
            if cell not in hubs:
                walked[cell] += rank[cell]
                continue
            for hub in hubs[cell]:
                there = members[world.mentions[cell[0]].doc, hub]
                for other in there:
                    walked[other] += rank[cell] / len(hubs[cell]) / len(there)
        rank = {c: teleport * start[c] + (1 - teleport) * walked[c] for c in cells}
    out = np.zeros(world.candidates.ids.shape)
    for i, m in enumerate(world.mentions):
        for j, entity in enumerate(m.candidates):
            out[i, j] = rank[i, entity]
    return out


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("how", WAYS)
@given(world=worlds())
@settings(deadline=None, max_examples=80)
def test_support(level: str, how: str, world: World) -> None:
    found = world.graph.support(world.candidates.prior, level, how)
    np.testing.assert_allclose(found, support(world, level, how), atol=1e-5)


@given(world=worlds(), teleport=st.sampled_from([0.05, 0.2, 1.0]), rounds=st.integers(0, 6))
@settings(deadline=None, max_examples=80)
def test_pagerank(world: World, teleport: float, rounds: int) -> None:
    found = world.graph.pagerank(world.candidates.prior, world.table.doc, teleport, rounds)
    np.testing.assert_allclose(found, pagerank(world, teleport, rounds), atol=1e-6)
    mass = np.bincount(world.table.doc, found.sum(1), 3)
    listed = np.bincount(world.table.doc, world.candidates.mask.sum(1), 3) > 0
    np.testing.assert_allclose(mass[listed], 1, atol=1e-5)


@given(world=worlds(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=80)
def test_shared(world: World, seed: int) -> None:
    values = np.random.default_rng(seed).random(world.candidates.ids.shape)
    found = world.graph.shared(values, world.table, world.candidates)
    for i, m in enumerate(world.mentions):
        for j, entity in enumerate(m.candidates):
            same = [
                values[o, list(other.candidates).index(entity)]
                for o, other in enumerate(world.mentions)
                if (other.doc, other.group) == (m.doc, m.group) and entity in other.candidates
            ]
            assert found[i, j] == pytest.approx(np.mean(same))
    assert not found[~world.candidates.mask].any()


@given(world=worlds(), order=st.permutations(range(3)))
@settings(deadline=None, max_examples=80)
def test_the_order_of_documents_changes_nothing(world: World, order: list[int]) -> None:
    rows = [i for d in order for i, m in enumerate(world.mentions) if m.doc == d]
    moved = World(world.links, [replace(world.mentions[i], doc=order.index(world.mentions[i].doc)) for i in rows])
    for level in LEVELS:
        for how in WAYS:
            np.testing.assert_allclose(
                moved.graph.support(moved.candidates.prior, level, how),
                world.graph.support(world.candidates.prior, level, how)[rows],
                atol=1e-6,
            )
    np.testing.assert_allclose(
        moved.graph.pagerank(moved.candidates.prior, moved.table.doc),
        world.graph.pagerank(world.candidates.prior, world.table.doc)[rows],
        atol=1e-6,
    )


@given(world=worlds())
@settings(deadline=None, max_examples=80)
def test_edges_are_the_hubs_that_two_names_reach(world: World) -> None:
    k = world.candidates.ids.shape[1]
    expected = []
    for i, m in enumerate(world.mentions):
        for j, entity in enumerate(m.candidates):
            for hub in world.hubs(entity):
                reached = {o.group for o in world.mentions if o.doc == m.doc and hub in world.hubs_of_mention(o)}
                if len(reached) > 1:
                    expected.append((i * k + j, hub))
    graph = world.graph
    assert sorted(zip(graph.cell.tolist(), graph.hub.tolist(), strict=True)) == sorted(expected)
    assert (np.diff(graph.cell) >= 0).all()
    assert (graph.cell // k == graph.mention).all()


def test_characters_meet_in_their_film_and_not_with_a_namesake() -> None:
    """0 is the film of 1 and 2, and 3 is a namesake of 1 in the film 4."""
    links = {1: [0], 2: [0], 3: [4]}
    world = World(links, [Mention(0, 0, 0, {1: 0.25, 3: 0.75}), Mention(0, 1, 1, {2: 1.0})])
    assert world.graph.support(world.candidates.prior).tolist() == [[1.0, 0.0], [0.25, 0.0]]
    assert not world.graph.support(world.candidates.prior, "sentence").any()
    rank = world.graph.pagerank(world.candidates.prior, world.table.doc)
    assert rank[0, 0] / 0.25 > 2 * rank[0, 1] / 0.75  # each in shares of its prior


def test_a_name_does_not_speak_for_itself() -> None:
    world = World({1: [0], 2: [0]}, [Mention(0, 0, 0, {1: 0.5}), Mention(0, 0, 0, {1: 0.5})])
    assert len(world.graph.cell) == 0
    assert not world.graph.support(world.candidates.prior).any()


def test_hubs_are_the_entity_and_its_first_links() -> None:
    world = World({0: [0, 3, 2, 5], 2: [1]}, [])
    position, hub = hubs_of(np.array([2, 0, 4, 2]), world.kb)
    assert list(zip(position.tolist(), hub.tolist(), strict=True)) == [
        (0, 2), (0, 1), (1, 0), (1, 2), (1, 3), (1, 5), (2, 4), (3, 2), (3, 1),
    ]  # fmt: skip
    position, hub = hubs_of(np.array([2, 0]), world.kb, most=0)
    assert hub.tolist() == [2, 0]
    assert hubs_of(np.array([], np.int64), world.kb)[1].tolist() == []
    assert hubs_of(np.array([3, 3]), World({}, []).kb)[1].tolist() == [3, 3]


def test_dense() -> None:
    assert dense(np.array([7, -1, 7, 9])).tolist() == [1, 0, 1, 2]
    assert dense(np.array([], np.int64)).tolist() == []

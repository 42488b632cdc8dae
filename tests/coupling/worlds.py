"""Little knowledge bases of random links, random documents over them, and what a twin knows of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmel.coupling.fusion import TEXT_COHERENCE, VISUAL_COHERENCE, Weights
from mmel.coupling.graph import DocumentGraph, MentionScores
from mmel.document import Entity
from mmel.kb import KnowledgeBase
from mmel.kb.build import build

COUNT, BASES = 12, 3
FEATURES = {"text": 2 + len(TEXT_COHERENCE), "visual": 2 + len(VISUAL_COHERENCE)}
Belief = Mapping[int, float]


@dataclass(frozen=True)
class World:
    """A knowledge base and its links as sets."""

    kb: KnowledgeBase
    links: Sequence[frozenset[int]]

    def hubs(self, entity: int) -> frozenset[int]:
        return self.links[entity] | {entity}

    def linked(self, one: int, other: int) -> bool:
        return one in self.hubs(other) or other in self.hubs(one)

    def meets(self, one: int, other: int) -> bool:
        return bool(self.hubs(one) & self.hubs(other))


@contextmanager
def worlds(folder: Path) -> Iterator[list[World]]:
    """The first has no links, one of the others has links to itself and twice the same."""
    with ExitStack() as stack:
        found = []
        for seed in range(BASES):
            random = np.random.default_rng(seed)
            links = [random.integers(0, COUNT, random.integers(0, 4)).tolist() if seed else [] for _ in range(COUNT)]
            records = [Entity(name(e), f"Entity {e}", links=tuple(map(name, links[e]))) for e in range(COUNT)]
            build(records, folder / f"kb{seed}", date="2020-02-02")
            kb = stack.enter_context(KnowledgeBase.open(folder / f"kb{seed}"))
            found.append(World(kb, [frozenset(each) for each in links]))
        yield found


def name(entity: int) -> str:
    return f"E{entity:02}"


def mentions(count: int, seed: int, most: int = 4, least: int = 0) -> MentionScores:
    """Random candidates, also the same twice, pads last; scores of which some are equal."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, COUNT, (count, most))
    ids[np.arange(most) >= random.integers(least, most + 1, count)[:, None]] = -1
    return MentionScores(ids, np.where(ids >= 0, random.integers(-6, 1, ids.shape) / 2, np.nan))


def graph(world: World, n: int, m: int, seed: int = 0, least: int = 0) -> DocumentGraph:
    random = np.random.default_rng(seed)
    return DocumentGraph.of(
        mentions(n, 2 * seed, least=least),
        mentions(m, 2 * seed + 1, 5, least),
        world.kb,
        random.integers(0, 2, n),
        random.integers(0, max(n - 1, 1), n),
        context=random.normal(size=(n, 3)),
        faces=random.normal(size=(m, 4)),
    )


def beliefs_of(scores: MentionScores) -> list[Belief]:
    """Probabilities of the entities of each mention, from the definition of a softmax."""
    found: list[Belief] = []
    for ids, values in zip(scores.ids.tolist(), scores.scores.tolist(), strict=True):
        weights: dict[int, float] = {}
        for entity, value in zip(ids, values, strict=True):
            if entity >= 0:
                weights[entity] = weights.get(entity, 0.0) + float(np.exp(value))
        total = sum(weights.values())
        found.append({entity: weight / total for entity, weight in weights.items()})
    return found


def alone(graph: DocumentGraph) -> tuple[np.ndarray, np.ndarray]:
    """Beliefs `[n, u]` and `[m, w]` of the modalities alone."""
    return graph.beliefs(np.exp(graph.text.log_probability), np.exp(graph.visual.log_probability))


def random_weights(seed: int, rounds: int = 1) -> list[Weights]:
    random = np.random.default_rng(seed)
    return [
        Weights(*(np.abs(random.normal(size=1 + 2 * FEATURES[side])) for side in ("text", "visual")))
        for _ in range(rounds)
    ]


def permuted(
    graph: DocumentGraph, world: World, rows: np.ndarray, seen: np.ndarray, columns: np.ndarray, pads: int = 0
) -> DocumentGraph:
    """The same document with mentions and candidates in another order and further pads."""

    def moved(scores: MentionScores, order: np.ndarray, columns: np.ndarray) -> MentionScores:
        ids, values = scores.ids[order][:, columns], scores.scores[order][:, columns]
        width = ((0, 0), (0, pads))
        return MentionScores(np.pad(ids, width, constant_values=-1), np.pad(values, width, constant_values=7.0))

    return DocumentGraph.of(
        moved(graph.text, rows, columns[columns < graph.text.ids.shape[1]]),
        moved(graph.visual, seen, columns),
        world.kb,
        graph.sentence[rows] + 5,
        graph.name[rows] + 3,
        context=None if graph.context is None else graph.context[rows],
        faces=None if graph.faces is None else graph.faces[seen],
        pictures=graph.pictures,
    )

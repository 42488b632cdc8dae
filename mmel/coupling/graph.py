"""A document as a graph: mentions of both modalities, their candidate entities, and what joins these in the base.

Two entities are *linked* where one links to the other or they are the same; they *meet* where they are, or link to, one
entity in common (a hub): an actor is linked to the characters that the actor plays and meets the rest of the film.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from mmel.candidates.graph import hubs_of
from mmel.candidates.ranked import check_scores
from mmel.kb import KnowledgeBase

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import HeteroData

LINKED, MEETS = 1.0, 0.5  # how well two candidates go together, in `compatibility`


@dataclass(frozen=True)
class MentionScores:
    """What a modality alone says of n mentions: candidates `ids` `[n, k]` int64 (-1 pads) and `scores` `[n, k]`.

    Scores are logarithms up to a constant a mention; what pads hold does not matter. A score of minus infinity rules a
    candidate out, whatever the other modality says. InputError as `check_scores`.
    """

    ids: np.ndarray
    scores: np.ndarray

    def __post_init__(self) -> None:
        check_scores(self.ids, self.scores)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def mask(self) -> np.ndarray:
        """`[n, k]` what is no pad and not ruled out."""
        return np.asarray((self.ids >= 0) & (self.scores > -np.inf))

    @cached_property
    def log_probability(self) -> np.ndarray:
        """`[n, k]` float64, minus infinity where the mask is false."""
        return log_softmax(self.scores, self.mask)


def log_softmax(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`[n, k]` float64 over each row's true columns, minus infinity elsewhere."""
    kept = np.where(mask, scores, -np.inf).astype(np.float64)
    top = kept.max(1, keepdims=True, initial=-np.inf)
    shifted = kept - np.where(np.isfinite(top), top, 0)
    # Summed one after the other: pads, of which there are more in longer batches, must not change how it is rounded.
    total = np.exp(shifted).cumsum(1)[:, -1:]
    return np.asarray(shifted - np.log(np.where(total > 0, total, 1)))


@dataclass(frozen=True)
class DocumentGraph:
    """One document with n textual and m visual mentions.

    Attributes:
        text, visual: the candidates of the mentions.
        entities: `[u]` int64 distinct candidates of textual mentions; `shown` `[w]` of visual ones.
        text_slot: `[n, k]` place of each candidate in `entities` (0 at pads); visual_slot: `[m, l]` in `shown`.
        linked, meets: `[u, w]` float32 CSR of ones. text_meets: `[u, u]`, visual_meets: `[w, w]`.
        sentence, name: `[n]` integers, equal where textual mentions share a sentence, or a name.
        context: `[n, d]` vectors of the surroundings of textual mentions, faces: `[m, e]` of visual ones (zero where
            there is none), pictures: `[w, e]` of the candidates' pictures; None where nothing needs them.
    """

    text: MentionScores
    visual: MentionScores
    entities: np.ndarray
    shown: np.ndarray
    text_slot: np.ndarray
    visual_slot: np.ndarray
    linked: csr_matrix
    meets: csr_matrix
    text_meets: csr_matrix
    visual_meets: csr_matrix
    sentence: np.ndarray
    name: np.ndarray
    context: np.ndarray | None = None
    faces: np.ndarray | None = None
    pictures: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        text: MentionScores,
        visual: MentionScores,
        kb: KnowledgeBase,
        sentence: np.ndarray,
        name: np.ndarray,
        **vectors: np.ndarray | None,
    ) -> DocumentGraph:
        """Build the graph; `vectors` are context, faces and pictures (see the attributes)."""
        entities, text_slot = _distinct(text)
        shown, visual_slot = _distinct(visual)
        ours, theirs, own, their = _hubs(entities, shown, kb)
        linked = ours[:, their].maximum(theirs[:, own].T.tocsr())
        return cls(
            text, visual, entities, shown, text_slot, visual_slot,
            linked, _ones(ours @ theirs.T), _ones(ours @ ours.T), _ones(theirs @ theirs.T), sentence, name, **vectors,
        )  # fmt: skip

    def beliefs(self, text: np.ndarray, visual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`[n, u]` and `[m, w]` probabilities of the entities, from those of the candidates `[n, k]` and `[m, l]`."""
        return (
            _spread(text, self.text.mask, self.text_slot, len(self.entities)),
            _spread(visual, self.visual.mask, self.visual_slot, len(self.shown)),
        )

    def compatibility(self, text: np.ndarray, visual: np.ndarray) -> np.ndarray:
        """`[n, m]` how well the candidates of two mentions go together, expected under beliefs `[n, u]`, `[m, w]`."""
        return np.asarray(LINKED * (text @ (self.linked @ visual.T)) + MEETS * (text @ (self.meets @ visual.T)))

    def hetero(self) -> HeteroData:
        """The graph as tensors, to be batched by torch-geometric.

        Nodes `text_mention` and `visual_mention` (`position` in the document) and `entity` (`index` in the knowledge
        base); edges `may_be` (`score`, a log-probability) from mentions to entities, `linked` and `meets` between
        entities of the two modalities, `same_sentence` and `same_name` between textual mentions and `same_document`
        between visual ones.
        """
        import torch
        from torch_geometric.data import HeteroData

        data = HeteroData()
        every = np.union1d(self.entities, self.shown)
        data["entity"].index = torch.from_numpy(every)
        data["entity"].num_nodes = len(every)  # torch-geometric warns that it guesses them otherwise
        place = {"text": np.searchsorted(every, self.entities), "visual": np.searchsorted(every, self.shown)}
        for side, scores, slot in (
            ("text", self.text, self.text_slot),
            ("visual", self.visual, self.visual_slot),
        ):
            # Batches of torch-geometric can be taken apart only where every kind of node has an attribute.
            data[f"{side}_mention"].position = torch.arange(len(scores))
            data[f"{side}_mention"].num_nodes = len(scores)
            mention, column = np.nonzero(scores.mask)
            edge = data[f"{side}_mention", "may_be", "entity"]
            edge.edge_index = torch.from_numpy(np.stack([mention, place[side][slot[mention, column]]]))
            edge.score = torch.from_numpy(scores.log_probability[mention, column])
        for name, matrix in (("linked", self.linked), ("meets", self.meets)):
            pairs = matrix.tocoo()
            ends = np.stack([place["text"][pairs.row], place["visual"][pairs.col]]).astype(np.int64)
            data["entity", name, "entity"].edge_index = torch.from_numpy(ends)
        for name, own in (("same_sentence", self.sentence), ("same_name", self.name)):
            data["text_mention", name, "text_mention"].edge_index = torch.from_numpy(_pairs(own))
        near = _pairs(np.zeros(len(self.visual), np.int64))
        data["visual_mention", "same_document", "visual_mention"].edge_index = torch.from_numpy(near)
        return data

    def to_networkx(self, kb: KnowledgeBase) -> networkx.MultiDiGraph:
        """The graph for people: nodes ("text", i), ("visual", j) and entity ids with their titles; edges by `kind`."""
        import networkx

        data, graph = self.hetero(), networkx.MultiDiGraph()
        index = data["entity"].index.numpy()
        ids = kb.ids(index)
        for id, title in zip(ids, kb.titles(index), strict=True):
            graph.add_node(id, kind="entity", title=title)
        names: dict[str, list[Any]] = {
            "entity": ids,
            "text_mention": [("text", i) for i in range(len(self.text))],
            "visual_mention": [("visual", j) for j in range(len(self.visual))],
        }
        for kind in ("text_mention", "visual_mention"):
            graph.add_nodes_from(names[kind], kind=kind)
        for source, relation, target in data.edge_types:
            edges = data[source, relation, target]
            scores = edges.score.tolist() if "score" in edges else [None] * edges.edge_index.shape[1]
            for (a, b), score in zip(edges.edge_index.T.tolist(), scores, strict=True):
                attributes = {} if score is None else {"score": score}
                graph.add_edge(names[source][a], names[target][b], kind=relation, **attributes)
        return graph


def reached(entities: np.ndarray, kb: KnowledgeBase, among: np.ndarray) -> np.ndarray:
    """Those of the sorted entities `among` that any of `entities` is linked to or meets by its own links."""
    near = np.unique(hubs_of(np.unique(entities), kb)[1])
    return np.intersect1d(np.unique(hubs_of(near, kb)[1]), among)


def _distinct(scores: MentionScores) -> tuple[np.ndarray, np.ndarray]:
    unique = np.unique(scores.ids[scores.mask])
    return unique, np.searchsorted(unique, np.where(scores.mask, scores.ids, unique[0] if len(unique) else 0))


def _hubs(
    entities: np.ndarray, shown: np.ndarray, kb: KnowledgeBase
) -> tuple[csr_matrix, csr_matrix, np.ndarray, np.ndarray]:
    """Incidence `[u, h]` and `[w, h]` of entities and hubs, and the columns of the entities themselves."""
    (left, left_hub), (right, right_hub) = hubs_of(entities, kb), hubs_of(shown, kb)
    hubs = np.unique(np.concatenate([left_hub, right_hub]))

    def incidence(rows: np.ndarray, hub: np.ndarray, count: int) -> csr_matrix:
        ones = np.ones(len(rows), np.float32)
        return csr_matrix((ones, (rows, np.searchsorted(hubs, hub))), shape=(count, len(hubs)))

    return (
        incidence(left, left_hub, len(entities)),
        incidence(right, right_hub, len(shown)),
        np.searchsorted(hubs, entities),
        np.searchsorted(hubs, shown),
    )


def _ones(matrix: csr_matrix) -> csr_matrix:
    matrix = csr_matrix(matrix)
    matrix.data = np.minimum(matrix.data, 1)
    return matrix


def _spread(values: np.ndarray, mask: np.ndarray, slot: np.ndarray, width: int) -> np.ndarray:
    mention, column = np.nonzero(mask)
    out = np.zeros((len(values), width))
    np.add.at(out, (mention, slot[mention, column]), values[mention, column])
    return out


def _pairs(key: np.ndarray) -> np.ndarray:
    """`[2, e]` ordered pairs of different places with equal keys."""
    same = key[:, None] == key[None]
    np.fill_diagonal(same, False)
    return np.stack(np.nonzero(same)).astype(np.int64)

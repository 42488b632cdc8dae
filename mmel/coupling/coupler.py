"""The coupling on a knowledge base: what both modalities say of documents in, joint links and their reasons out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mmel.candidates.graph import hubs_of
from mmel.candidates.ranked import ranked_links
from mmel.coupling.fusion import Decision, Weights, decide, from_state, names, state
from mmel.coupling.graph import DocumentGraph, MentionScores, reached
from mmel.coupling.transport import MARGINAL_TOLERANCE
from mmel.coupling_settings import CouplingConfig
from mmel.document import NIL, Coupling, Document, Link, LinkedDocument
from mmel.files import read_json, write_json
from mmel.kb import KnowledgeBase
from mmel.text.prepare import TextInputs
from mmel.vision.gallery import Gallery
from mmel.vision.linker import VisualLinker, mention_regions
from mmel.vision.tasks import Ranking

_TEXT_PARTNERS, _VISUAL_PARTNERS = 1, 3  # pairs that are told of each textual and each visual mention, at least
NO_TEXT, NO_PICTURES = "without textual mentions", "without visual mentions"
NO_CANDIDATES, NO_LINKS = "without candidates in a modality", "whose modalities no link of the knowledge base joins"
UNSOLVED = "with a plan that did not converge"


@dataclass(frozen=True)
class Sides:
    """What the modalities alone say of a batch of documents.

    Attributes:
        documents: in order. inputs, scores: of the text model, `[M, K]`. ranking: of all visual mentions, in order.
        temperature: that makes the ranking's scores logarithms.
        faces: of all visual mentions, see DocumentGraph; gallery: of the pictures that these are compared with.
    """

    documents: Sequence[Document]
    inputs: TextInputs
    scores: np.ndarray
    ranking: Ranking
    temperature: float
    faces: np.ndarray | None = None
    gallery: Gallery | None = None

    @cached_property
    def visual_first(self) -> np.ndarray:
        """`[D + 1]` first visual mention of each document."""
        return np.cumsum([0, *(len(document.visual_mentions) for document in self.documents)])

    def text_rows(self, d: int) -> slice:
        return slice(int(self.inputs.table.first[d]), int(self.inputs.table.first[d + 1]))

    def visual_rows(self, d: int) -> slice:
        return slice(int(self.visual_first[d]), int(self.visual_first[d + 1]))

    def graph(self, d: int, kb: KnowledgeBase) -> DocumentGraph:
        """The graph of one document."""
        rows, seen = self.text_rows(d), self.visual_rows(d)
        ids = self.ranking.entities[seen]
        width = max(int((ids >= 0).sum(1).max(initial=0)), 1)  # best first, pads last
        table = self.inputs.table
        text = MentionScores(self.inputs.candidates.ids[rows], self.scores[rows])
        visual = MentionScores(ids[:, :width], self.ranking.scores[seen, :width] / self.temperature)
        vectors: dict[str, np.ndarray | None] = {}
        if self.faces is not None and self.gallery is not None:
            shown = np.unique(visual.ids[visual.mask])
            vectors = {
                "context": self.inputs.context.view("sentence")[rows],
                "faces": np.nan_to_num(self.faces[seen]),
                "pictures": self.gallery.means(shown),
            }
        return DocumentGraph.of(text, visual, kb, table.sentence[rows], table.surface_group[rows], **vectors)


def listen(
    documents: Sequence[Document],
    inputs: TextInputs,
    scores: np.ndarray,
    visual: VisualLinker,
    pictures: Path | None,
    config: CouplingConfig,
) -> Sides:
    """What both modalities say; faces are compared with those, too, whom the text's candidates lead to."""
    regions = mention_regions(documents, pictures)
    counts = [len(document.visual_mentions) for document in documents]
    near, among = [np.empty(0, np.int64)] * len(documents), visual.entities
    for d, count in enumerate(counts):
        ids = inputs.candidates.ids[inputs.table.first[d] : inputs.table.first[d + 1]]
        if count and len(ids):
            near[d] = reached(ids[ids >= 0], visual.kb, among)
    width = max((len(each) for each in near), default=0)
    further = np.full((len(regions), width), -1, np.int64)
    for row, d in enumerate(np.repeat(np.arange(len(documents)), counts).tolist()):
        further[row, : len(near[d])] = near[d]
    ranking = visual.rank(regions, further)
    sides = Sides(documents, inputs, scores, ranking, visual.temperature)
    embeds = config.plan == "transport" and {config.cross, config.structure} != {"links"}
    if embeds and visual.pictures is not None and regions:
        view, _ = visual.pictures.view(regions)
        return replace(sides, faces=view.queries, gallery=view.gallery)
    return sides


class Coupler:
    """Couples the two modalities of documents.

    Attributes:
        coupled: how many documents were; counts: those that were not, or not solved, by what stood in the way. A
            document that is not coupled keeps the links of each modality alone.
    """

    def __init__(self, config: CouplingConfig, kb: KnowledgeBase, weights: Sequence[Weights]) -> None:
        self.config, self.kb, self.weights = config, kb, list(weights)
        self.coupled, self.counts = 0, Counter[str]()

    @classmethod
    def load(cls, file: Path, config: CouplingConfig, kb: KnowledgeBase) -> Coupler:
        """Open what `save` wrote."""
        return cls(config, kb, from_state(read_json(file, "train again with --restart"), config))

    def save(self, file: Path) -> None:
        """Write the weights."""
        write_json(file, state(self.weights, self.config))

    def link(self, sides: Sides, alone: Sequence[LinkedDocument], most: int) -> list[LinkedDocument]:
        """Joint links of the documents whose modalities can speak for each other; the others as they are alone.

        most: candidates that are told of a visual mention.
        """
        decisions = {d: (graph, decide(graph, self.weights, self.config)) for d, graph in self._graphs(sides)}
        text, visual = self._links(sides, decisions, most)
        out = list(alone)
        for d, (_, decision) in decisions.items():
            self.coupled += 1
            self.counts[UNSOLVED] += not decision.converged
            asked = sides.inputs.asked[sides.text_rows(d)]
            rows = zip(text[d], asked, strict=True)
            links = tuple(link for link, is_asked in rows if is_asked)
            out[d] = replace(
                alone[d],
                text_links=links,
                visual_links=visual[d],
                couplings=self._couplings(decision, asked, links, visual[d]),
                alone=alone[d],
            )
        self.counts = +self.counts
        return out

    def _graphs(self, sides: Sides) -> list[tuple[int, DocumentGraph]]:
        found = []
        for d, document in enumerate(sides.documents):
            rows = sides.text_rows(d)
            if not document.visual_mentions:
                self.counts[NO_PICTURES] += 1
            elif rows.start == rows.stop:
                self.counts[NO_TEXT] += 1
            elif not self._has_candidates(sides, d):
                self.counts[NO_CANDIDATES] += 1
            elif not (graph := sides.graph(d, self.kb)).meets.nnz:
                self.counts[NO_LINKS] += 1
            else:
                found.append((d, graph))
        return found

    def _has_candidates(self, sides: Sides, d: int) -> bool:
        text, visual = sides.inputs.candidates.ids[sides.text_rows(d)], sides.ranking.entities[sides.visual_rows(d)]
        return bool((text >= 0).any() and (visual >= 0).any())

    def _links(
        self, sides: Sides, decisions: dict[int, tuple[DocumentGraph, Decision]], most: int
    ) -> tuple[dict[int, tuple[Link, ...]], dict[int, tuple[Link, ...]]]:
        """Links of all textual mentions and of all visual ones, by document."""
        by_text, by_visual = names(self.config)
        text = self._ranked(
            [(d, g.text.ids, x.text, x.text_parts) for d, (g, x) in decisions.items()],
            by_text, None, [sides.inputs.candidates.prior[sides.text_rows(d)] for d in decisions],
        )  # fmt: skip
        visual = self._ranked(
            [(d, g.visual.ids, x.visual, x.visual_parts) for d, (g, x) in decisions.items()], by_visual, most
        )
        return text, visual

    def _ranked(
        self,
        parts: Sequence[tuple[int, np.ndarray, np.ndarray, np.ndarray]],
        columns: Sequence[str],
        most: int | None,
        prior: Sequence[np.ndarray] | None = None,
    ) -> dict[int, tuple[Link, ...]]:
        if not parts:
            return {}
        width = max(ids.shape[1] for _, ids, _, _ in parts)
        ids = _stacked([ids for _, ids, _, _ in parts], width, -1)
        scores = _stacked([scores for _, _, scores, _ in parts], width, -np.inf)
        addends = _stacked([each for _, _, _, each in parts], width, 0)
        priors = None if prior is None else _stacked(prior, width, 0)
        links = iter(ranked_links(ids, scores, self.kb, priors, most=most, addends=addends, columns=columns))
        return {d: tuple(next(links) for _ in range(len(own))) for d, own, _, _ in parts}

    def _couplings(
        self, decision: Decision, asked: np.ndarray, text: Sequence[Link], visual: Sequence[Link]
    ) -> tuple[Coupling, ...]:
        """The strongest pairs of each mention that is asked for, with the path between their entities.

        Where all masses are equal the plan prefers nobody, and the strongest are those that the shortest path joins;
        pairs without a path are left out.
        """
        plan = strength = decision.plan[asked]
        paths = Paths(self.kb, [link.entity for link in (*text, *visual)])
        if np.ptp(decision.plan) <= MARGINAL_TOLERANCE:  # a solver's error prefers nobody, either
            lengths = [paths.length(one.entity, other.entity) for one in text for other in visual]
            steps = np.array(lengths, np.int64).reshape(plan.shape)
            strength = np.where(steps > 0, plan / np.maximum(steps, 1), 0)
        chosen = np.zeros(plan.shape, bool)
        if plan.size:
            np.put_along_axis(chosen, np.argsort(-strength, 1, kind="stable")[:, :_TEXT_PARTNERS], True, 1)
            np.put_along_axis(chosen, np.argsort(-strength, 0, kind="stable")[:_VISUAL_PARTNERS], True, 0)
        pairs = sorted(np.argwhere(chosen & (strength > 0)).tolist(), key=lambda pair: -plan[pair[0], pair[1]])
        return tuple(
            Coupling(i, j, float(plan[i, j]), paths.between(text[i].entity, visual[j].entity)) for i, j in pairs
        )


class Paths:
    """Shortest paths of at most two links between given entities, by the hubs that they share."""

    def __init__(self, kb: KnowledgeBase, entities: Sequence[str]) -> None:
        self._kb = kb
        ids = sorted({entity for entity in entities if entity != NIL})
        index = kb.indices(ids)
        position, hub = hubs_of(index, kb)
        self._index = dict(zip(ids, index.tolist(), strict=True))
        self._hubs: dict[int, set[int]] = {}
        for p, h in zip(position.tolist(), hub.tolist(), strict=True):
            self._hubs.setdefault(int(index[p]), set()).add(h)

    def length(self, first: str, last: str) -> int:
        """How many entities are on the way from one to the other, both included; 0 where no two links join them."""
        if NIL in (first, last):
            return 0
        a, b = self._index[first], self._index[last]
        if a == b:
            return 1
        if b in self._hubs[a] or a in self._hubs[b]:
            return 2
        return 0 if self._hubs[a].isdisjoint(self._hubs[b]) else 3

    def between(self, first: str, last: str) -> tuple[str, ...]:
        """The entities that `length` counts."""
        length = self.length(first, last)
        if length < 3:
            return (first, last)[:length]
        common = self._hubs[self._index[first]] & self._hubs[self._index[last]]
        return (first, self._kb.ids([min(common)])[0], last)


def _stacked(parts: Sequence[np.ndarray], width: int, pad: float) -> np.ndarray:
    """Arrays `[n, k, ...]` one below the other, their second axis padded to `width`."""
    padded = [
        np.pad(each, ((0, 0), (0, width - each.shape[1]), *((0, 0),) * (each.ndim - 2)), constant_values=pad)
        for each in parts
    ]
    return np.concatenate(padded)

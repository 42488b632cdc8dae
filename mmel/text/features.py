"""The scorers without parameters: each is a named group of columns over the candidates of every mention.

A scorer is a function of `Prepared` to `[M, k, F]` float32; `COLUMNS` names its F columns. Columns are on one scale
for every corpus (logarithms, cosines, shares), zero at pads, and none tells whether an entity has a description.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmel.candidates import Candidates, MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.graph import CandidateGraph
from mmel.kb import KnowledgeBase
from mmel.text import surface
from mmel.text.context import MentionContext

COLUMNS: dict[str, tuple[str, ...]] = {
    "prior": ("log_prior", "prior", "log_popularity", "log_annotated", "annotated", "name_annotated", "log_entity"),
    "surface": surface.NAMES,
    "context": (
        "mention_title", "window_title", "sentence_title", "document_title",
        "mention_text", "window_text", "sentence_text", "document_text",
        "sentence_linked", "document_linked",
    ),
    "coreference": ("same_candidate", "longer_name", "longer_name_exact", "resolved_exact"),
    "link_coherence": (
        "document_max", "document_sum", "sentence_max", "names_max", "prior_max", "prior_sum", "pagerank",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """Everything the scorers read, for one batch of documents.

    Attributes:
        title_vectors, text_vectors: `[U, d]` of the U distinct candidates' titles, and titles with descriptions.
        unique: `[U]` their KB indices; `slot` `[M, k]` indexes them (0 at pads).
        leave_out: the documents are those `annotations` was counted on.
    """

    table: MentionTable
    candidates: Candidates
    kb: KnowledgeBase
    graph: CandidateGraph
    context: MentionContext
    unique: np.ndarray
    slot: np.ndarray
    titles: list[str]
    title_vectors: np.ndarray
    text_vectors: np.ndarray
    linked: np.ndarray
    annotations: AnnotationCounts | None
    leave_out: bool


def prior(data: Prepared) -> np.ndarray:
    """p(e|m), in-links, and counts of the training annotations (the second prior dictionary)."""
    ids, mask, p = data.candidates.ids, data.candidates.mask, data.candidates.prior
    columns = [np.log(p + 1e-4), p, np.log1p(data.kb.popularity[np.where(mask, ids, 0)]) / 5]
    if data.annotations is None:
        columns += [np.zeros(ids.shape)] * 4
    else:
        pair, name, entity = data.annotations.columns(data.table, ids, data.leave_out)
        columns += [np.log1p(pair), pair / (name + 1), np.broadcast_to(np.log1p(name), ids.shape), np.log1p(entity)]
    return _stack(columns, mask)


def surface_strings(data: Prepared) -> np.ndarray:
    """Exact, prefix, acronym, parenthetical ... of the name against the title (see `mmel.text.surface`)."""
    out = np.zeros((*data.candidates.ids.shape, len(surface.NAMES)), np.float32)
    count = data.candidates.mask.sum(1)
    strings = [surface.document_strings(d.text) for d in data.table.documents]
    for i, name in enumerate(data.table.surface):
        titles = [data.titles[s] for s in data.slot[i, : count[i]]]
        out[i, : count[i]] = surface.surface_features(name, titles, *strings[data.table.doc[i]])
    return out


def context(data: Prepared) -> np.ndarray:
    """Cosines of the mention's surroundings with titles, descriptions and linked entities' texts."""
    columns = []
    for vectors in (data.title_vectors, data.text_vectors):
        candidate = vectors[data.slot].astype(np.float32)
        for view in ("mention", "window", "sentence", "document"):
            columns.append(np.einsum("md,mkd->mk", data.context.view(view), candidate))
    columns += [data.linked[..., 0], data.linked[..., 1]]
    return _stack(columns, data.candidates.mask)


def coreference(data: Prepared) -> np.ndarray:
    """What the document's other names say: the same candidate elsewhere, and longer names that contain this one."""
    table, ids, mask = data.table, data.candidates.ids, data.candidates.mask
    same = np.zeros(ids.shape, np.float32)
    longer, longer_exact = np.zeros(ids.shape, np.float32), np.zeros(ids.shape, np.float32)
    titles = {int(e): t.casefold() for e, t in zip(data.unique, data.titles, strict=True)}
    names = [n.casefold() for n in table.name]
    surfaces = [s.casefold() for s in table.surface]
    for low, high in zip(table.first[:-1], table.first[1:], strict=True):
        rows = range(low, high)
        first = {names[i]: i for i in reversed(rows)}
        priors = {
            n: dict(zip(ids[i].tolist(), data.candidates.prior[i].tolist(), strict=True)) for n, i in first.items()
        }
        reached: dict[int, int] = {}
        for listed in priors.values():
            for entity in listed:
                reached[entity] = reached.get(entity, 0) + 1
        for i in rows:
            containing = [n for n in first if len(n) > len(surfaces[i]) and f" {surfaces[i]} " in f" {n} "]
            for j, entity in enumerate(ids[i].tolist()):
                if entity < 0:
                    break
                same[i, j] = max(reached.get(entity, 0) - 1, 0)
                for name in containing:
                    longer[i, j] = max(longer[i, j], priors[name].get(entity, 0.0))
                    longer_exact[i, j] = max(longer_exact[i, j], titles[entity] == name)
    resolved = np.zeros(ids.shape, np.float32)
    for i, name in enumerate(names):
        if name != surfaces[i]:
            resolved[i, : mask[i].sum()] = [titles[e] == name for e in ids[i, : mask[i].sum()].tolist()]
    return _stack([np.log1p(same), longer, longer_exact, resolved], mask)


def link_coherence(data: Prepared) -> np.ndarray:
    """Votes over KB links of the document's and the sentence's other names, and personalised PageRank."""
    candidates, graph = data.candidates, data.graph
    count = np.maximum(candidates.mask.sum(1, keepdims=True), 1)
    # A name with few candidates says more: its vote weighs by the information in its list.
    vote = candidates.mask * np.log(np.maximum(len(data.kb), 2) / count)
    sentence = graph.support(vote, "sentence")
    columns = [
        np.log1p(graph.support(vote)),
        np.log1p(graph.support(vote, how="sum")),
        np.log1p(sentence),
        np.log1p(graph.shared(sentence, data.table, candidates)),
        np.log1p(graph.support(candidates.prior)),
        np.log1p(graph.support(candidates.prior, how="sum")),
        np.log(graph.pagerank(candidates.prior, data.table.doc) + 1e-6),
    ]
    return _stack(columns, candidates.mask)


SCORERS: dict[str, Callable[[Prepared], np.ndarray]] = {
    "prior": prior,
    "surface": surface_strings,
    "context": context,
    "coreference": coreference,
    "link_coherence": link_coherence,
}


def compute(data: Prepared, scorers: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """`[M, k, F]` of the scorers switched on, in the order of SCORERS, and the F column names `scorer.column`."""
    used = [name for name in SCORERS if name in scorers]
    parts = [SCORERS[name](data) for name in used]
    names = [f"{name}.{column}" for name in used for column in COLUMNS[name]]
    return (np.concatenate(parts, -1) if parts else np.zeros((*data.candidates.ids.shape, 0), np.float32)), names


def _stack(columns: list[np.ndarray], mask: np.ndarray) -> np.ndarray:
    return (np.stack(columns, -1) * mask[..., None]).astype(np.float32)

"""The scorers without parameters: each is a named group of columns over the candidates of every mention.

A scorer is a function of `Prepared` to `[M, k, F]` float32; `COLUMNS` names its F columns. Columns are on one scale
for every corpus (logarithms, cosines, shares), zero at pads, and none tells whether an entity has a description.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mmel.candidates import Candidates, MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.graph import CandidateGraph
from mmel.candidates.retrieval.ensemble import Gathered
from mmel.errors import ConfigError
from mmel.kb import KnowledgeBase
from mmel.parallel import one_thread
from mmel.retrieval_settings import BY_PICTURES
from mmel.text import facts, surface
from mmel.text.context import MentionContext
from mmel.text.words import word_overlap

NEAREST_NAMES = 3
_BLOCK = 128  # mentions whose candidate vectors are in memory at a time

_MENTIONS = 64  # whose candidates are multiplied at a time; they stay in the processor's cache
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
    "word_overlap": ("document_linked", "sentence_linked"),
    "text_coherence": ("nearest_names", "all_names"),
    # Behind one column of each retriever that is on, two of one that compares pictures: whether it can, 0 where not.
    "retrieval": ("ensemble", "log_reciprocal_rank"),
    "facts": facts.NAMES,
}  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """Everything the scorers read, for one batch of documents.

    Attributes:
        title_vectors, text_vectors: `[U, d]` of the U distinct candidates' titles, and titles with descriptions.
        unique: `[U]` their KB indices; `slot` `[M, k]` indexes them (0 at pads).
        leave_out: the documents are those `annotations` was counted on.
        neighbours: `[U]` KB index of each one's main neighbour.
        gathered: what the retrievers that are on, by name `retrievers`, say of all candidates; None where none is.
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
    neighbours: np.ndarray
    gathered: Gathered | None = None
    retrievers: tuple[str, ...] = ()


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
    table, titles = data.table, data.titles
    out = np.zeros((*data.candidates.ids.shape, len(surface.NAMES)), np.float32)
    at = np.nonzero(data.candidates.mask)
    slot = data.slot[at]
    # Strings are compared once for each name and title, and once for each document and title.
    names: dict[str, int] = {}
    name = np.array([names.setdefault(s, len(names)) for s in table.surface], np.int64)
    pair, inverse = np.unique(name[at[0]] * len(titles) + slot, return_inverse=True)
    listed = list(names)
    values = [surface.pair_features(listed[p // len(titles)], titles[p % len(titles)]) for p in pair.tolist()]
    out[at] = np.array(values, np.float32).reshape(-1, len(surface.NAMES))[inverse]
    pair, inverse = np.unique(table.doc[at[0]] * len(titles) + slot, return_inverse=True)
    strings = [surface.document_strings(d.text) for d in table.documents]
    spelled = [surface.spelled_out(titles[p % len(titles)], *strings[p // len(titles)]) for p in pair.tolist()]
    out[..., surface.SPELLED_OUT][at] = np.array(spelled, np.float32).reshape(-1, 2)[inverse]
    return out


def context(data: Prepared) -> np.ndarray:
    """Cosines of the mention's surroundings with titles, descriptions and linked entities' texts."""
    views = np.stack([data.context.view(name) for name in ("mention", "window", "sentence", "document")], 1)
    columns = [_cosines(views, vectors, data.slot) for vectors in (data.title_vectors, data.text_vectors)]
    return np.concatenate([*columns, data.linked], -1) * data.candidates.mask[..., None]


@one_thread()
def _cosines(views: np.ndarray, vectors: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """`[M, k, V]` float32 products of `views` `[M, V, d]` with `vectors` `[U, d]` at `slot` `[M, k]`."""
    left, right, rows = torch.from_numpy(views).transpose(1, 2), torch.from_numpy(vectors), torch.from_numpy(slot)
    parts = (slice(i, i + _MENTIONS) for i in range(0, max(len(slot), 1), _MENTIONS))
    return torch.cat([right[rows[part]].float() @ left[part] for part in parts]).numpy()


def coreference(data: Prepared) -> np.ndarray:
    """What the document's other names say: the same candidate elsewhere, and longer names that contain this one."""
    table, mask = data.table, data.candidates.mask
    names = [n.casefold() for n in table.name]
    surfaces = [s.casefold() for s in table.surface]
    # A name's candidates are those of its first mention in the document.
    firsts = np.unique(table.surface_group, return_index=True)[1]
    same = _other_names(data, firsts)
    codes: dict[str, int] = {}
    name = np.array([codes.setdefault(n, len(codes)) for n in names], np.int64)
    title = np.array([codes.get(t.casefold(), -1) for t in data.titles], np.int64)[data.slot]
    longer, longer_exact = np.zeros(mask.shape, np.float32), np.zeros(mask.shape, np.float32)
    mention, container = _containing(table, names, surfaces, firsts)
    if len(mention):
        ids, prior = data.candidates.ids, data.candidates.prior
        rows, starts = np.unique(mention, return_index=True)
        equal = ids[mention][:, :, None] == ids[container][:, None, :]
        found = (equal * prior[container][:, None, :]).max(2)
        longer[rows] = np.maximum.reduceat(found, starts)
        longer_exact[rows] = np.maximum.reduceat(title[mention] == name[container][:, None], starts)
    given = np.array([n != s for n, s in zip(names, surfaces, strict=True)], bool)
    resolved = (title == name[:, None]) & given[:, None]
    return _stack([np.log1p(same), longer, longer_exact, resolved], mask)


def _other_names(data: Prepared, firsts: np.ndarray) -> np.ndarray:
    """`[M, k]` how many names of the document have the candidate too; `firsts` holds one mention of each name."""
    doc, mask = data.table.doc, data.candidates.mask
    key = np.where(mask, doc[:, None] * len(data.titles) + data.slot, -1)
    listed, inverse = np.unique(key, return_inverse=True)
    inverse = inverse.reshape(key.shape)
    once = np.unique(firsts[:, None] * len(listed) + inverse[firsts])  # a list may have an entity twice
    names = np.bincount(once % len(listed), minlength=len(listed))[inverse]
    return np.maximum(names - 1, 0)


def _containing(
    table: MentionTable, names: list[str], surfaces: list[str], firsts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mentions (ascending), and the first mentions of the longer names of their documents that contain their words."""
    words: dict[tuple[int, str], list[int]] = {}
    for first in firsts.tolist():
        for word in set(names[first].split(" ")):
            words.setdefault((int(table.doc[first]), word), []).append(first)
    pairs = []
    for i, (doc, own) in enumerate(zip(table.doc.tolist(), surfaces, strict=True)):
        for first in words.get((doc, own.split(" ")[0]), ()):
            if len(names[first]) > len(own) and f" {own} " in f" {names[first]} ":
                pairs.append((i, first))
    mention, container = np.array(pairs, np.int64).reshape(-1, 2).T
    return mention, container


def link_coherence(data: Prepared) -> np.ndarray:
    """Votes over KB links of the document's and the sentence's other names, and personalised PageRank."""
    candidates, graph = data.candidates, data.graph
    count = np.maximum(candidates.mask.sum(1, keepdims=True), 1)
    # A name with few candidates says more: its vote weighs by the information in its list.
    vote = candidates.mask * np.log(np.maximum(len(data.kb), 2) / count)
    sentence = graph.support(vote, "sentence")
    votes, priors = graph.received(vote), graph.received(candidates.prior)
    columns = [
        np.log1p(graph.collect(votes, "max")),
        np.log1p(graph.collect(votes, "sum")),
        np.log1p(sentence),
        np.log1p(graph.shared(sentence, data.table, candidates)),
        np.log1p(graph.collect(priors, "max")),
        np.log1p(graph.collect(priors, "sum")),
        np.log(graph.pagerank(candidates.prior, data.table.doc) + 1e-6),
    ]
    return _stack(columns, candidates.mask)


def text_coherence(data: Prepared) -> np.ndarray:
    """Cosines of a candidate's text with what the document's other names mean a priori, E_p(e|m)[text vector].

    Mean over the NEAREST_NAMES best-fitting other names, and over all; other names are those of another surface.
    """
    candidates, table = data.candidates, data.table
    weight = candidates.prior / np.maximum(candidates.prior.sum(1, keepdims=True), 1e-9)
    nearest, mean = np.zeros(candidates.ids.shape, np.float32), np.zeros(candidates.ids.shape, np.float32)
    for low, high in zip(table.first[:-1], table.first[1:], strict=True):
        _, first = np.unique(table.surface_group[low:high], return_index=True)
        for start in range(low, high, _BLOCK):
            rows = slice(start, min(start + _BLOCK, high))
            vectors = data.text_vectors[data.slot[rows]].astype(np.float32) * candidates.mask[rows, :, None]
            names = low + first
            expected = np.einsum("nk,nkd->nd", weight[names], data.text_vectors[data.slot[names]].astype(np.float32))
            cosine = np.maximum(vectors @ expected.T, 0)
            cosine *= (table.surface_group[rows, None] != table.surface_group[names])[:, None, :]
            most = min(NEAREST_NAMES, len(names))
            nearest[rows] = np.partition(cosine, len(names) - most, -1)[..., len(names) - most :].mean(-1)
            mean[rows] = cosine.sum(-1) / max(len(names) - 1, 1)
    return _stack([nearest, mean], candidates.mask)


def shared_words(data: Prepared) -> np.ndarray:
    """TF-IDF cosines of document and sentence with the main neighbour's text (see `mmel.text.words`)."""
    neighbours = data.neighbours[data.slot]
    return word_overlap(data.table, data.candidates.ids, neighbours, data.kb)


def retrieval(data: Prepared) -> np.ndarray:
    """Scores of the retrievers, of their ensemble, and the logarithm of one over the rank by it."""
    if data.gathered is None:
        raise ConfigError(
            "scorer 'retrieval' has nothing to tell: candidates.retrieval is empty. Remedy: "
            "candidates.retrieval=[annotations,names], or leave the scorer out of model.scorers"
        )
    scores, ensemble, rank = data.gathered.at(data.candidates.ids)
    columns = []
    for name, column in zip(data.retrievers, np.moveaxis(scores, -1, 0), strict=True):
        known = ~np.isnan(column)
        columns += [np.where(known, column, 0), *([known] if name in BY_PICTURES else [])]
    columns += [ensemble, -np.log1p(rank)]
    return _stack(columns, data.candidates.mask)


def plain_facts(data: Prepared) -> np.ndarray:
    """Words and years that the sentence shares with title and description (see `mmel.text.facts`)."""
    texts = data.table.sentence_texts()
    sentences = [texts[s] for s in data.table.sentence.tolist()]
    return facts.facts(data.table, data.candidates.ids, data.kb, sentences)


SCORERS: dict[str, Callable[[Prepared], np.ndarray]] = {
    "prior": prior,
    "surface": surface_strings,
    "context": context,
    "coreference": coreference,
    "link_coherence": link_coherence,
    "text_coherence": text_coherence,
    "word_overlap": shared_words,
    "retrieval": retrieval,
    "facts": plain_facts,
}


def compute(data: Prepared, scorers: tuple[str, ...]) -> tuple[np.ndarray, list[str]]:
    """`[M, k, F]` of the scorers switched on, in the order of SCORERS, and the F column names `scorer.column`."""
    used = [name for name in SCORERS if name in scorers]
    parts = [SCORERS[name](data) for name in used]
    names = column_names(scorers, data.retrievers)
    return (np.concatenate(parts, -1) if parts else np.zeros((*data.candidates.ids.shape, 0), np.float32)), names


def column_names(scorers: Sequence[str], retrievers: Sequence[str] = ()) -> list[str]:
    """`scorer.column` of every column that `compute` gives for these scorers, with these retrievers on."""
    found = [each for name in retrievers for each in (name, f"{name}_known") if each == name or name in BY_PICTURES]
    own = COLUMNS | {"retrieval": (*found, *COLUMNS["retrieval"])}
    return [f"{name}.{column}" for name in SCORERS if name in scorers for column in own[name]]


def _stack(columns: list[np.ndarray], mask: np.ndarray) -> np.ndarray:
    return (np.stack(columns, -1) * mask[..., None]).astype(np.float32)

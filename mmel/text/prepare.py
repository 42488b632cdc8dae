"""From documents to what the text model reads: mentions, candidates in three steps, contexts, scorer columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmel.candidates import CandidateGenerator, Candidates, MentionTable
from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.coreference import share_full_names
from mmel.candidates.generate import SOURCES
from mmel.candidates.graph import CandidateGraph
from mmel.candidates.names import with_context_names
from mmel.candidates.retrieval import Gathered, Retrieval
from mmel.candidates.retrieval.make import retrievable
from mmel.document import Document
from mmel.encoders.entities import EntityVectors, SentenceVectors
from mmel.encoders.text import CachedTextEncoder
from mmel.kb import KnowledgeBase
from mmel.parallel import one_thread
from mmel.pictures.swap import swap_pictures
from mmel.text.context import MentionContext, encode_context
from mmel.text.entity_text import entity_texts, entity_titles, main_neighbour
from mmel.text.features import Prepared, column_names, compute
from mmel.text.fusion_inputs import FusionInputs, FusionReader, FusionSettings
from mmel.text.pictures import PictureColumns, PictureScorer

_CELLS = 512  # whose vectors are multiplied at a time; they stay in the processor's cache


@dataclass(frozen=True)
class Selection:
    """How many candidates each step keeps; see `CandidatesConfig`."""

    prior_k: int | None = 30
    keep_prior: int | None = 4
    keep_context: int = 3
    graph_k: int = 0
    total: int | None = None
    fuzzy: bool = True
    context_names: bool = False
    full_names: bool = False
    keep_retrieved: int | None = None


@dataclass(frozen=True)
class TextInputs:
    """What the text model reads for M mentions, K candidates each.

    Attributes:
        features: `[M, K, F]` float32 scorer columns; `feature_names` names them.
        titles: `[U, d]` float16 vectors of the titles of the distinct candidates, `slot` `[M, K]` indexes them.
        entities: `[U, e]` float16 or float32 vectors of these candidates, of a dimension of their own.
        gold: `[M]` column of the gold candidate, -1 where there is none.
        recall: candidate recall after each step, by its name.
        documents: the documents as given; `table.documents` may carry context names besides.
        asked: `[M]` whether a mention is one of the documents' own, in their order.
        fusion: what the scorer `fusion` reads, where it is on.
        pictures: what the last columns of `features` are made of, where the scorer `pictures` is on.
        swapped: the same with pictures of unrelated documents, as often as was asked for.
    """

    documents: Sequence[Document]
    asked: np.ndarray

    table: MentionTable
    candidates: Candidates
    graph: CandidateGraph
    context: MentionContext
    features: np.ndarray
    feature_names: list[str]
    titles: np.ndarray
    entities: np.ndarray
    slot: np.ndarray
    gold: np.ndarray
    recall: dict[str, float]
    fusion: FusionInputs | None = None
    pictures: PictureColumns | None = None
    swapped: tuple[PictureColumns, ...] = ()


class TextPreparer:
    """Turns documents into `TextInputs` for one knowledge base and one text encoder.

    Args:
        scorers: names of the scorers whose columns are computed.
        entities: what gives the model its entity vectors; None: `encoder`, over the text of each entity.
        annotations: counts of training annotations, the second prior dictionary; None for one dictionary.
        window, context_words: see `encode_context`.
        fusion: what the scorer `fusion` reads; None: the defaults of `FusionSettings`.
        pictures: what computes the columns of the scorer `pictures`; None: there are none.

    Attributes:
        retrieval: what searches the whole base besides; None where nothing does.
    """

    def __init__(
        self,
        kb: KnowledgeBase,
        encoder: CachedTextEncoder,
        scorers: Sequence[str],
        selection: Selection,
        annotations: AnnotationCounts | None = None,
        window: int = 6,
        context_words: int = 100,
        on_batch: Callable[[int], None] | None = None,
        entities: EntityVectors | None = None,
        fusion: FusionSettings | None = None,
        pictures: PictureScorer | None = None,
    ) -> None:
        self.kb, self.encoder, self.scorers, self.selection = kb, encoder, tuple(scorers), selection
        self.annotations, self.window = annotations, window
        self.context_words = context_words if "local_attention" in self.scorers else 0  # nothing else reads them
        self.on_batch, self.pictures = on_batch, pictures
        self.sentences = SentenceVectors(encoder, entity_texts, on_batch)
        self.titles = SentenceVectors(encoder, entity_titles, on_batch)
        self.entities: EntityVectors = entities or self.sentences
        self.retrieval: Retrieval | None = None
        self.fusion = FusionReader(encoder, fusion or FusionSettings(), on_batch) if "fusion" in self.scorers else None

    @property
    def grids_id(self) -> str | None:
        """Changes whenever the grids that the scorer `fusion` reads would; None where it reads none."""
        return self.fusion.grids.id if self.fusion and self.fusion.grids else None

    @property
    def columns(self) -> list[str]:
        """Names of the feature columns, `scorer.column`."""
        own = column_names(self.scorers, self.retrieval.names if self.retrieval else ())
        return [*own, *(self.pictures.columns if self.pictures else ())]

    @property
    def learned(self) -> bool:
        """Whether what prepares documents learned from annotations: training documents must leave out their own."""
        held_out = self.pictures is not None and bool(self.pictures.held_out)
        return self.annotations is not None or self.retrieval is not None or held_out

    def __call__(
        self,
        documents: Sequence[Document],
        leave_out: bool = False,
        pictures: Path | None = None,
        swap: Sequence[int] = (),
    ) -> TextInputs:
        """Prepare a batch of documents.

        Args:
            leave_out: the documents are those that the preparer `learned` from; each mention then sees the counts
                without its own document's, and retrievers and what reads pictures that did not learn from it.
            pictures: folder that the images of documents are relative to; only the scorers `pictures` and `fusion`, and
                retrievers by pictures, read them.
            swap: seeds of further sets of what these scorers read, each of pictures of unrelated documents.
        """
        extended = with_context_names(documents, self.kb) if self.selection.context_names else documents
        table = MentionTable.of(extended, self.kb, pictures)
        listed = CandidateGenerator(self.kb, self.selection.prior_k, self.selection.fuzzy)(table)
        if self.annotations is not None:
            listed = self._average(table, listed, self.annotations, leave_out)
        if self.selection.full_names:
            listed = share_full_names(table, listed, self.kb)
        recall = {f"prior {self.selection.prior_k or 'all'}": listed.recall(table.gold)}
        gathered = None
        if self.retrieval is not None:
            listed, gathered = self.retrieval.extend(table, listed, leave_out)
            recall[f"+ retrieved to {self.retrieval.k}"] = listed.recall(table.gold)
        context = encode_context(table, self.encoder, self.window, self.context_words, self.on_batch)
        candidates, linked, recall_steps = self._select(table, listed, context, gathered)
        unique, slot = np.unique(candidates.ids, return_inverse=True)
        if len(unique) and unique[0] < 0:  # pads share slot 0 with a real entity; the mask keeps them apart
            unique, slot = unique[1:], np.maximum(slot - 1, 0)
        if not len(unique):
            unique = np.zeros(1, np.int64)
        titles = self.kb.titles(unique)
        data = Prepared(
            table=table,
            candidates=candidates,
            kb=self.kb,
            graph=CandidateGraph.of(table, candidates, self.kb),
            context=context,
            unique=unique,
            slot=slot.reshape(candidates.ids.shape),
            titles=titles,
            title_vectors=self.titles.vectors(self.kb, unique),
            text_vectors=self.sentences.vectors(self.kb, unique),
            linked=np.stack(linked, -1),
            annotations=self.annotations,
            leave_out=leave_out,
            neighbours=main_neighbour(unique, self.kb),
            gathered=gathered,
            retrievers=self.retrieval.names if self.retrieval else (),
        )
        features, _ = compute(data, self.scorers)
        others = [swap_pictures(extended, seed) for seed in swap]
        own: PictureColumns | None = None
        swapped: list[PictureColumns] = []
        if self.pictures is not None:
            tables = [table, *(replace(table, documents=documents) for documents in others)]
            own, *swapped = self.pictures.each(tables, candidates, pictures, leave_out)
            features = np.concatenate([features, own.values], -1)
        # The text columns are cosines with the context, which only the sentence encoder shares a space with.
        same = self.entities.id == self.sentences.id
        return TextInputs(
            documents=documents,
            asked=_asked(documents, table),
            table=table,
            candidates=candidates,
            graph=data.graph,
            context=context,
            features=features,
            feature_names=self.columns,
            titles=data.title_vectors,
            entities=data.text_vectors if same else self.entities.vectors(self.kb, unique),
            slot=data.slot,
            gold=candidates.gold_position(table.gold),
            recall=recall | recall_steps,
            fusion=None if self.fusion is None else self.fusion(table, unique, self.kb, pictures, others),
            pictures=own,
            swapped=tuple(swapped),
        )

    def _average(
        self, table: MentionTable, listed: Candidates, annotations: AnnotationCounts, leave_out: bool
    ) -> Candidates:
        """p(e|m) averaged over the dictionaries that know the name, as in section 4.1 of Gan et al. 2021.

        A list that comes with p(e|m) is such an average already and stays as it is.
        """
        pair, name, _ = annotations.columns(table, listed.ids, leave_out)
        open_to = listed.source != SOURCES.index("given")
        averaged = np.where(open_to & (name > 0), (listed.prior + pair / np.maximum(name, 1)) / 2, listed.prior)
        averaged = np.where(listed.mask, averaged, 0).astype(np.float32)
        order = np.argsort(np.where(listed.mask, -averaged, 1), axis=1, kind="stable")
        return replace(listed, prior=averaged).take(order)

    def _select(
        self, table: MentionTable, listed: Candidates, context: MentionContext, gathered: Gathered | None
    ) -> tuple[Candidates, list[np.ndarray], dict[str, float]]:
        """The candidates kept, best prior first; their cosines with linked entities `[M, K]`; recall by step."""
        rule, mask = self.selection, listed.mask
        total = mask.shape[1] if rule.total is None else rule.total
        similarity = self._similarity(listed, context)
        linked = self._linked(listed, context) if rule.graph_k else []
        by_prior = np.where(mask, np.arange(mask.shape[1]), np.iinfo(np.int32).max)
        first = total if rule.keep_prior is None else min(total, rule.keep_prior)
        keep = mask & (by_prior < first)
        recall = {f"{'all' if rule.keep_prior is None else first} by prior": _recall(listed, table.gold, keep)}
        for column in (similarity, *linked):
            keep = _extend(keep, column, mask, rule.keep_context, total)
        recall[f"+ {rule.keep_context} by context"] = _recall(listed, table.gold, keep)
        if gathered is not None:
            keep = self._keep_retrieved(table, listed, gathered, keep, total)
            most = "all" if rule.keep_retrieved is None else rule.keep_retrieved
            recall[f"+ {most} by retrieval"] = _recall(listed, table.gold, keep)
        if rule.graph_k:
            graph = CandidateGraph.of(table, listed, self.kb)
            vote = mask * np.log(np.maximum(len(self.kb), 2) / np.maximum(mask.sum(1, keepdims=True), 1))
            sentence = graph.shared(graph.support(vote, "sentence"), table, listed)
            for support in (graph.support(vote), sentence):
                keep = _extend(keep, support, mask & (support > 0), rule.graph_k, total)
            recall[f"+ {rule.graph_k} by document graph"] = _recall(listed, table.gold, keep)
        width = max(int(keep.sum(1).max(initial=0)), 1)
        order = np.argsort(np.where(keep, by_prior, np.iinfo(np.int32).max), axis=1, kind="stable")[:, :width]
        kept = _cut(listed, keep).take(order)
        columns = [np.take_along_axis(column, order, 1) for column in linked] or self._linked(kept, context)
        return kept, columns, recall

    def _keep_retrieved(
        self, table: MentionTable, listed: Candidates, gathered: Gathered, keep: np.ndarray, total: int
    ) -> np.ndarray:
        """`keep` and the further candidates that the retrievers' ensemble puts first, `[M, k]`."""
        score = gathered.at(listed.ids)[1]
        allowed = listed.mask & (score > 0) & retrievable(table)[:, None]
        most = self.selection.keep_retrieved
        return _extend(keep, score, allowed, score.shape[1] if most is None else most, total)

    def _similarity(self, listed: Candidates, context: MentionContext) -> np.ndarray:
        """`[M, k]` mean cosine of window and sentence with each candidate's text."""
        surroundings = (context.view("window") + context.view("sentence"))[:, None] / 2
        return self._cosines(listed, surroundings, lambda entities: entities)[..., 0]

    def _linked(self, listed: Candidates, context: MentionContext) -> list[np.ndarray]:
        """`[M, k]` cosines of sentence and document with the text of each candidate's main neighbour."""
        views = np.stack([context.view("sentence"), context.view("document")], 1)
        return list(np.moveaxis(self._cosines(listed, views, lambda e: main_neighbour(e, self.kb)), -1, 0))

    def _cosines(self, listed: Candidates, views: np.ndarray, read: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """`[M, k, V]` cosines of `views` `[M, V, d]` with the text of the entity that is `read` for each candidate."""
        mention, column = np.nonzero(listed.mask)
        unique, own = np.unique(listed.ids[mention, column], return_inverse=True)
        entities, place = np.unique(read(unique), return_inverse=True)
        out = np.zeros((*listed.ids.shape, views.shape[1]), np.float32)
        out[mention, column] = _dots(views, mention, self.sentences.vectors(self.kb, entities), place[own])
        return out


def _asked(documents: Sequence[Document], table: MentionTable) -> np.ndarray:
    own = {(d, m.start, m.end) for d, document in enumerate(documents) for m in document.text_mentions}
    spans = zip(table.doc.tolist(), table.start.tolist(), table.end.tolist(), strict=True)
    return np.array([span in own for span in spans], bool)


@one_thread()
def _dots(views: np.ndarray, mention: np.ndarray, vectors: np.ndarray, slot: np.ndarray) -> np.ndarray:
    """`[C, V]` float32: `views[mention[c], v] . vectors[slot[c]]`.

    Args:
        views: `[M, V, d]` float32. vectors: `[U, d]`. mention, slot: `[C]`.
    """
    left, right = torch.from_numpy(views), torch.from_numpy(vectors)
    rows, columns = torch.from_numpy(mention), torch.from_numpy(slot)
    out = torch.empty(len(slot), views.shape[1])
    for begin in range(0, len(slot), _CELLS):
        part = slice(begin, begin + _CELLS)
        # Summed row by row: a matrix product may round equal vectors differently and so break their ties.
        out[part] = (left[rows[part]] * right[columns[part]].float().unsqueeze(1)).sum(-1)
    return out.numpy()


def _extend(keep: np.ndarray, column: np.ndarray, allowed: np.ndarray, most: int, total: int) -> np.ndarray:
    """`keep` and the `most` best other candidates by `column`, as far as no mention then keeps more than `total`."""
    rest = np.where(allowed & ~keep, -column, np.inf)
    room = np.minimum(most, total - keep.sum(1, keepdims=True))
    return np.asarray(keep | ((_rank(rest) < room) & np.isfinite(rest)))


def _rank(values: np.ndarray) -> np.ndarray:
    """Rank (from 0) of each value in its row, smallest first."""
    return np.argsort(np.argsort(values, axis=1, kind="stable"), axis=1, kind="stable")


def _cut(listed: Candidates, keep: np.ndarray) -> Candidates:
    return Candidates(*(np.where(keep, a, pad) for a, pad in ((listed.ids, -1), (listed.prior, 0), (listed.source, 0))))


def _recall(listed: Candidates, gold: np.ndarray, keep: np.ndarray) -> float:
    return _cut(listed, keep).recall(gold)

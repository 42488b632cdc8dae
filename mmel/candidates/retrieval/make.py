"""The retrievers that settings name: made, trained, tuned, and kept in a run folder."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mmel.candidates.annotations import AnnotationCounts
from mmel.candidates.generate import SOURCES, Candidates
from mmel.candidates.mentions import MentionTable
from mmel.candidates.retrieval.base import Retriever
from mmel.candidates.retrieval.bm25 import Bm25Index, Bm25Retriever
from mmel.candidates.retrieval.ensemble import Ensemble, Gathered, best_weights
from mmel.candidates.retrieval.names import NameIndex, NameRetriever
from mmel.candidates.retrieval.prior import PriorRetriever
from mmel.encoders.entities import EntityVectors
from mmel.encoders.text import CachedTextEncoder
from mmel.errors import ConfigError, InputError
from mmel.files import read_json, write_json
from mmel.kb import KnowledgeBase
from mmel.retrieval_settings import BY_PICTURES, DenseTrainConfig

if TYPE_CHECKING:
    from mmel.candidates.retrieval.clip import PictureRetriever
    from mmel.candidates.retrieval.dense import DenseRetriever

T = TypeVar("T")
_KEPT = 4  # indexes in memory, for knowledge bases used in turn
_built: OrderedDict[tuple[str, str], object] = OrderedDict()
_lock = threading.Lock()
_AGAIN = "train again with --restart"


def built(kind: str, kb: KnowledgeBase, make: Callable[[], T]) -> T:
    """What `make` gives for a knowledge base, made once for its content and kept in memory."""
    key = kind, kb.meta.content_hash
    with _lock:
        if key not in _built:
            _built[key] = make()
        _built.move_to_end(key)
        while len(_built) > _KEPT:
            _built.popitem(last=False)
        return _built[key]  # type: ignore[return-value]


class Retrieval:
    """The retrievers of one knowledge base that are on, and their ensemble.

    Args:
        names: of the retrievers, see `RetrieverName`.
        k: entities that each retriever gives, and candidates that a mention has with those retrieved.
        annotations: counts of training links. encoder, entities: of the retriever `dense`.
        pictured: those of the retrievers that compare pictures.
    """

    def __init__(
        self,
        names: Sequence[str],
        k: int,
        kb: KnowledgeBase,
        annotations: AnnotationCounts | None,
        encoder: CachedTextEncoder,
        entities: EntityVectors,
        pictured: Sequence[PictureRetriever] = (),
    ) -> None:
        self.names, self.k, self.kb, self._encoder = tuple(names), k, kb, encoder
        self.pictured = tuple(pictured)
        given: dict[str, Retriever] = {one.name: one for one in pictured}
        members = [given.get(name) or _make(name, kb, annotations, encoder, entities) for name in names]
        self.ensemble = Ensemble(members, depth=k)
        self.tuned: dict[str, Any] = {}

    @property
    def _dense(self) -> DenseRetriever | None:
        return next((one for one in self.ensemble.members if one.name == "dense"), None)  # type: ignore[return-value]

    def train(self, table: MentionTable, config: DenseTrainConfig, seed: int) -> None:
        """Train the heads of `dense` on the gold links of a table."""
        dense = self._dense
        if dense is not None:
            trained = dense.train(table, config, seed)
            self._replace([trained if one is dense else one for one in self.ensemble.members], self.ensemble.weights)

    def tune(self, tables: Sequence[MentionTable], on: Sequence[str], leave_out: bool = False) -> None:
        """Search the weights of the ensemble (`best_weights`) on the gold links of tables.

        Args:
            on: names of the splits that they are of, to be told.
            leave_out: they are those that the retrievers learned from.
        """
        gathered = [self.ensemble.gather(table, None, leave_out) for table in tables]
        golds = [table.gold for table in tables]
        weights, recall = best_weights(gathered, golds)
        mentions = sum(int((gold >= 0).sum()) for gold in golds)
        self.tuned = {"on": list(on), "mentions": mentions, "recall_at": {str(k): r for k, r in recall.items()}}
        self._replace(self.ensemble.members, weights)

    def _replace(self, members: Sequence[Retriever], weights: np.ndarray) -> None:
        self.ensemble = Ensemble(members, weights, self.k)

    def extend(self, table: MentionTable, listed: Candidates, leave_out: bool) -> tuple[Candidates, Gathered]:
        """The candidates with the retrieved entities behind them, at most `k` in all, and what is said of all of them.

        Added ones have the prior 0 and the source "retrieved". A mention with a list of its dataset gets none.
        """
        gathered = self.ensemble.gather(table, listed.ids, leave_out)
        size, row = len(self.kb), np.arange(len(table))[:, None]
        known = np.isin(row * size + gathered.ids, (row * size + listed.ids)[listed.mask])
        new = (gathered.ids >= 0) & (gathered.ensemble > 0) & ~known & retrievable(table)[:, None]
        new &= new.cumsum(1) + listed.mask.sum(1, keepdims=True) <= self.k
        ids = np.concatenate([listed.ids, np.where(new, gathered.ids, -1)], 1)
        order = np.argsort(ids < 0, axis=1, kind="stable")[:, : max(int((ids >= 0).sum(1).max(initial=0)), 1)]
        prior = np.concatenate([listed.prior, np.zeros(new.shape, np.float32)], 1)
        source = np.concatenate([listed.source, new * np.uint8(SOURCES.index("retrieved"))], 1)
        return Candidates(ids, prior, source).take(order), gathered

    def on(self, kb: KnowledgeBase, annotations: AnnotationCounts | None, entities: EntityVectors) -> Retrieval:
        """The same retrievers on another knowledge base, with what was trained and tuned."""
        pictured = [one.on(kb, self.kb) for one in self.pictured]
        other = Retrieval(self.names, self.k, kb, annotations, self._encoder, entities, pictured)
        own, others = self._dense, other._dense
        if own is not None and others is not None:
            others.heads = own.heads
        other._replace(other.ensemble.members, self.ensemble.weights)
        other.tuned = self.tuned
        return other

    def save(self, file: Path, heads_file: Path, galleries: Path) -> None:
        """Write weights, the heads of `dense`, and in a folder the galleries of retrievers by pictures.

        The heads are for `load`, the galleries for `mmel.candidates.retrieval.clip.open_retrievers`.
        """
        from mmel.training.checkpoint import save_tensors

        weights = dict(zip(self.names, self.ensemble.weights.tolist(), strict=True))
        write_json(file, {"k": self.k, "weights": weights, "tuned": self.tuned})
        if self._dense is not None:
            save_tensors(heads_file, dict(self._dense.heads.state_dict()), {})
        for one in self.pictured:
            galleries.mkdir(exist_ok=True)
            one.gallery.save(galleries / one.name)

    def load(self, file: Path, heads_file: Path) -> None:
        """Take what `save` wrote; InputError where it is of other retrievers."""
        from mmel.training.checkpoint import load_module, load_tensors

        value = read_json(file, _AGAIN)
        if list(value["weights"]) != list(self.names):
            raise InputError(
                f"has weights of {', '.join(value['weights'])}, the settings name {', '.join(self.names)}",
                file=file,
                field="candidates.retrieval",
                remedy="use the config.yaml beside it, or " + _AGAIN,
            )
        if self._dense is not None:
            load_module(self._dense.heads, load_tensors(heads_file)[0], heads_file)
        self.tuned = value["tuned"]
        self._replace(self.ensemble.members, np.array(list(value["weights"].values())))


def retrievable(table: MentionTable) -> np.ndarray:
    """`[M]` whether the dataset lets the knowledge base be asked for a mention: it lists no candidates of its own."""
    return np.array([m.candidates is None for document in table.documents for m in document.text_mentions], bool)


def _make(
    name: str,
    kb: KnowledgeBase,
    annotations: AnnotationCounts | None,
    encoder: CachedTextEncoder,
    entities: EntityVectors,
) -> Retriever:
    if name == "annotations":
        return PriorRetriever(kb, annotations)
    if name == "names":
        return NameRetriever(built(name, kb, lambda: NameIndex(kb)))
    if name == "bm25":
        from mmel.text.entity_text import entity_text

        return Bm25Retriever(built(name, kb, lambda: Bm25Index(map(entity_text, kb))))
    if name in BY_PICTURES:
        raise ConfigError(
            f"candidates.retrieval has '{name}', and no retriever by pictures is given. "
            "Remedy: give `pictured`, as `mmel.candidates.retrieval.clip.make_retrievers` makes them"
        )
    from mmel.candidates.retrieval.dense import DenseRetriever, Heads

    return DenseRetriever(kb, encoder, entities, Heads(encoder.encoder.dim))

"""Entity vectors learned from the knowledge base's own text, without any other data."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from mmel.errors import InputError
from mmel.progress import progress

if TYPE_CHECKING:
    from mmel.encoders.entities import EntityTexts
    from mmel.kb import KnowledgeBase

DIM = 128
_READ, _FEWEST, _MOST = 2_000_000, 20, 100  # texts read in all, in how many passes
_RATE, _LAST_RATE = 0.025, 0.0001  # gensim's own
_CHUNK = 4096


class TrainedVectors:
    """PV-DBOW vectors (Le & Mikolov 2014) of the texts of a base's entities, by gensim's Doc2Vec.

    They are trained at first use, on one thread and seeded, so that one base gives the same vectors anywhere. The base
    keeps them under the hash of the content that they were trained on: a later revision of it finds them there, without
    one for its new entities.

    Args:
        texts: the text of each of some entities.
        say: told, once, how many entities have no vector.
        trained_on: the id of the vectors that a model was trained with; None: those of the base as it is.
    """

    dim = DIM

    def __init__(
        self,
        kb: KnowledgeBase,
        texts: EntityTexts,
        say: Callable[[str], None] | None = None,
        trained_on: str | None = None,
    ) -> None:
        self._texts, self._say = texts, say
        self._own = f"doc2vec-{kb.meta.content_hash[:16]}"
        self.id = trained_on if trained_on in kb.vector_names and trained_on.startswith("doc2vec-") else self._own
        self._array: np.ndarray | None = None

    def vectors(self, kb: KnowledgeBase, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See EntityVectors. InputError for a base that these vectors are not of."""
        if self._array is None:
            self._array = self._load(kb)
        wanted = np.asarray(indices, np.int64)
        out = np.zeros((len(wanted), self.dim), np.float16)
        old = wanted < len(self._array)
        out[old] = self._array[wanted[old]]
        return out

    def _load(self, kb: KnowledgeBase) -> np.ndarray:
        if self.id not in kb.vector_names:
            if self.id != f"doc2vec-{kb.meta.content_hash[:16]}":
                raise InputError(
                    f"'{kb.meta.name}' has no vectors '{self.id}'", file=kb.folder, remedy="open the base they are of"
                )
            kb.add_vectors(self.id, train(kb, self._texts), self.id)
        array = kb.vectors(self.id, stale=True)
        if self._say:
            lacking = len(kb) - int(np.asarray(array).any(1).sum())
            self._say(
                f"entity vectors '{self.id}' (dimension {self.dim}): "
                f"entities without a vector: {lacking:,} of {len(kb):,}"
            )
        return array


def train(kb: KnowledgeBase, texts: EntityTexts, passes: int | None = None, seed: int = 0) -> np.ndarray:
    """`[n, DIM]` float16 of unit norm, zeros for an entity whose text has no word; memory is that of the vectors.

    Args:
        passes: over all texts; None: 100 for up to 20,000 entities, fewer for more, at least 20.

    Raises:
        InputError where no entity has a word.
    """
    from gensim.models.doc2vec import Doc2Vec, TaggedLineDocument

    if passes is None:
        passes = min(max(_READ // max(len(kb), 1), _FEWEST), _MOST)
    with tempfile.TemporaryDirectory(prefix="mmel-") as folder:
        path = Path(folder) / "texts"
        with open(path, "w", encoding="utf-8") as stream:
            worded = _write_words(kb, texts, stream)
        if not worded.any():
            raise InputError("no entity has a word to learn from", file=kb.folder, remedy="encoder.entities=sentence")
        corpus = TaggedLineDocument(str(path))
        # One worker: with more, the order of updates is a race.
        model = Doc2Vec(dm=0, vector_size=DIM, min_count=1, workers=1, seed=seed)
        model.build_vocab(corpus)
        step = (_RATE - _LAST_RATE) / passes
        for done in progress(range(passes), "training entity vectors", unit="pass"):
            rates = _RATE - step * done, _RATE - step * (done + 1)
            model.train(corpus, total_examples=len(kb), epochs=1, start_alpha=rates[0], end_alpha=rates[1])
    # What all texts have in common tells no entity from another (Mu & Viswanath 2018, section 2).
    vectors = (model.dv.vectors - model.dv.vectors[worded].mean(0)) * worded[:, None]
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(norm, 1e-12)).astype(np.float16)


def _write_words(kb: KnowledgeBase, texts: EntityTexts, stream: TextIO) -> np.ndarray:
    """One line of words an entity; `[n]` whether it has any."""
    worded = np.zeros(len(kb), bool)
    for begin in progress(range(0, len(kb), _CHUNK), "texts of entities"):
        part = np.arange(begin, min(begin + _CHUNK, len(kb)))
        for index, text in zip(part.tolist(), texts(part, kb), strict=True):
            words = re.findall(r"\w+", text.casefold())
            worded[index] = bool(words)
            stream.write(" ".join(words) + "\n")
    return worded

"""Entity vectors learned from the knowledge base's own text, without any other data."""

from __future__ import annotations

import hashlib
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

    They are trained once, on one thread and seeded, and kept in the base; their name says for which content of it and
    ends in a digest of them, as another processor or release of gensim may round otherwise. A later revision of the
    base finds them there, without one for its new entities.

    Args:
        texts: the text of each of some entities.
        say: told, once, how many entities have no vector.
        trained_on: the id of the vectors that a model was trained with; None: those of the base as it is.

    Raises:
        InputError where `trained_on` are no vectors of this base, or no entity has a word.
    """

    dim = DIM

    def __init__(
        self,
        kb: KnowledgeBase,
        texts: EntityTexts,
        say: Callable[[str], None] | None = None,
        trained_on: str | None = None,
    ) -> None:
        content = f"doc2vec-{kb.meta.content_hash[:12]}-"
        if trained_on and trained_on not in kb.vector_names and not trained_on.startswith(content):
            raise InputError(
                f"'{kb.meta.name}' has no vectors '{trained_on}', which the model was trained on",
                file=kb.folder,
                remedy="name the base that the model was trained with, or train again",
            )
        stored = [name for name in kb.vector_names if name.startswith(trained_on or content)]
        self.id = stored[0] if stored else _store(kb, train(kb, texts), content)
        self._lineage, self._array = kb.meta.lineage, kb.vectors(self.id, stale=True)
        if say:
            lacking = len(kb) - int(np.asarray(self._array).any(1).sum())
            say(f"entity vectors '{self.id}' (dimension {DIM}): entities without a vector: {lacking:,} of {len(kb):,}")

    def vectors(self, kb: KnowledgeBase, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See EntityVectors. InputError for a base that these vectors are not of."""
        if kb.meta.lineage != self._lineage:
            raise InputError(
                f"'{self.id}' are vectors of another base", file=kb.folder, remedy="open them for this one"
            )
        wanted = np.asarray(indices, np.int64)
        out = np.zeros((len(wanted), DIM), np.float16)
        old = wanted < len(self._array)
        out[old] = self._array[wanted[old]]
        return out


def _store(kb: KnowledgeBase, array: np.ndarray, content: str) -> str:
    name = content + hashlib.sha256(array.tobytes()).hexdigest()[:8]
    kb.add_vectors(name, array, name)
    return name


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

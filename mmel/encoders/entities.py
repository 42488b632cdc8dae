"""Vectors of entities: what the text model knows of a candidate beside its title."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mmel.errors import ConfigError, did_you_mean
from mmel.files import cache_root

if TYPE_CHECKING:
    from mmel.encoders.text import CachedTextEncoder
    from mmel.kb import KnowledgeBase

EntityTexts = Callable[[np.ndarray, "KnowledgeBase"], list[str]]
Say = Callable[[str], None]


class EntityVectors(Protocol):
    """What the engine asks of a source of entity vectors. `id` changes whenever its vectors would."""

    @property
    def id(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def vectors(self, kb: KnowledgeBase, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """`[len(indices), dim]` float16 of unit norm; zeros for an entity that the source does not have."""
        ...


class SentenceVectors:
    """A sentence encoder over the text of each entity; it has a vector for all of them.

    Where a vector lies in the encoder's cache is remembered (8 bytes an entity of the base), so that the text of an
    entity is made once.

    Args:
        texts: the text of each of some entities of a knowledge base.
        on_batch: told how many texts were encoded.
    """

    def __init__(
        self, encoder: CachedTextEncoder, texts: EntityTexts, on_batch: Callable[[int], None] | None = None
    ) -> None:
        self._encoder, self._texts, self._on_batch = encoder, texts, on_batch
        self.id = f"sentence-{encoder.encoder.id}"
        self.dim = encoder.encoder.dim
        self._rows: tuple[str, np.ndarray] = ("", np.empty(0, np.int64))

    def vectors(self, kb: KnowledgeBase, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See EntityVectors."""
        wanted = np.asarray(indices, np.int64)
        if self._rows[0] != kb.meta.content_hash:
            self._rows = (kb.meta.content_hash, np.zeros(len(kb), np.int64))  # one more than the row, 0 unknown
        rows = self._rows[1]
        new = np.unique(wanted[rows[wanted] == 0])
        if len(new):
            rows[new] = 1 + self._encoder.sentence_rows(self._texts(new, kb), self._on_batch)
        return self._encoder.sentences.at(rows[wanted] - 1)


def entity_vectors(
    source: str,
    encoder: CachedTextEncoder,
    texts: EntityTexts,
    kb: KnowledgeBase,
    *,
    folder: Path | None = None,
    say: Say | None = None,
    on_batch: Callable[[int], None] | None = None,
    trained_on: str | None = None,
) -> EntityVectors:
    """The source of entity vectors that a setting names.

    Args:
        source: `sentence` (`encoder` over the text of each entity), `trained` (Doc2Vec over the same texts), a file in
            a word2vec or GloVe format, or a folder with `dict.entity` and `entity_embeddings.npy`.
        kb: the base that `trained` learns from and keeps its vectors in.
        folder: of cached encodings, where files are kept once converted; None is that of CachedTextEncoder.
        say: told, once, how many entities have no vector.
        trained_on: the id of the source that a model was trained with; `trained` opens that one.

    Raises:
        ConfigError where `source` is neither a name nor a path; InputError where a file is broken.
    """
    if source == "sentence":
        return SentenceVectors(encoder, texts, on_batch)
    if source == "trained":
        from mmel.encoders.trained import TrainedVectors

        return TrainedVectors(kb, texts, say, trained_on)
    from mmel.encoders.keyed import is_vector_file, open_arrays, open_keyed

    path = Path(source).expanduser()
    cache = (folder or cache_root() / "encodings") / "entity-vectors"
    if path.is_dir():
        return open_arrays(path, cache, say)
    if is_vector_file(path):
        return open_keyed(path, cache, say)
    raise ConfigError(
        f"encoder.entities is '{source}', which is no folder and no file of vectors."
        f"{did_you_mean(source, ('sentence', 'trained', 'FILE.txt', 'FILE.vec', 'FILE.bin', 'FILE.kv', 'FOLDER'))}"
    )

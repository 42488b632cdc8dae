"""Vectors of entities: what the text model knows of a candidate beside its title."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

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
        """`[len(indices), dim]` float16 or float32 of unit norm; zeros for an entity that the source does not have."""
        ...


class SentenceVectors:
    """A sentence encoder over the text of each entity; it has a vector for all of them.

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

    def vectors(self, kb: KnowledgeBase, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See EntityVectors."""
        texts = self._texts(np.asarray(indices, np.int64), kb)
        return self._encoder.sentence_vectors(texts, self._on_batch)

"""What the fusions read: token vectors of texts and grid features of pictures, of mentions and of entities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mmel.candidates import MentionTable
from mmel.encoders.cache import Encoding
from mmel.encoders.text import CachedTextEncoder
from mmel.kb import KnowledgeBase
from mmel.text.entity_text import entity_texts

_CHARACTERS = 8  # of a text that are read for each word piece of it that is kept: pieces are shorter
BOX = 4


@dataclass(frozen=True)
class FusionSettings:
    """What is read; see `ModelConfig`."""

    tokens: int = 64
    features: Literal["contextual", "embedding"] = "contextual"


@dataclass(frozen=True)
class Sources:
    """Text and pictures of n things; a modality that a thing does not have is a list of no rows.

    Attributes:
        tokens: n times `[rows, d]` float16, the vectors of a text's word pieces (views of a memory map where cached).
        cells: n times `[rows, g]` float16, grid features of pictures; None where no pictures are read.
        boxes: n times `[rows, 4]` float16, the share of its picture that a cell covers (x0, y0, x1, y1).
    """

    tokens: Sequence[np.ndarray]
    cells: Sequence[np.ndarray] | None = None
    boxes: Sequence[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def lengths(self, which: np.ndarray) -> np.ndarray:
        """`[n, 2]` numbers of tokens and of cells of some things."""
        cells = self.cells
        return np.array([(len(self.tokens[i]), 0 if cells is None else len(cells[i])) for i in which], np.int64)


@dataclass(frozen=True)
class FusionInputs:
    """What is read for M mentions and U distinct candidates.

    Attributes:
        mentions: the windows of documents that mentions are read in, W of them. entities: the U candidates.
        window: `[M]` which window is a mention's; span `[M, 2]` its first and last token in it, -1 where it has none.
    """

    mentions: Sources
    window: np.ndarray
    span: np.ndarray
    entities: Sources


@dataclass(frozen=True)
class FusionBatch:
    """The part of `FusionInputs` that a batch of m mentions and u distinct candidates reads.

    Attributes:
        windows: numbers of the distinct windows among `mentions`; window `[m]` indexes them; span as FusionInputs.
        distinct: `[u]` numbers of the candidates among `entities`.
    """

    mentions: Sources
    windows: np.ndarray
    window: Tensor
    span: Tensor
    entities: Sources
    distinct: np.ndarray

    @classmethod
    def of(cls, inputs: FusionInputs, rows: np.ndarray, distinct: np.ndarray) -> FusionBatch:
        """What the mentions `rows` and the candidates `distinct` read."""
        windows, window = np.unique(inputs.window[rows], return_inverse=True)
        span = torch.from_numpy(inputs.span[rows])
        return cls(inputs.mentions, windows, torch.from_numpy(window), span, inputs.entities, distinct)

    def to(self, device: torch.device) -> FusionBatch:
        """The batch on a device; sources are read from where they are."""
        moved = self.window.to(device), self.span.to(device)
        return FusionBatch(self.mentions, self.windows, *moved, self.entities, self.distinct)


class FusionReader:
    """Reads mentions, and titles with descriptions of entities, as `settings` have it."""

    def __init__(
        self,
        encoder: CachedTextEncoder,
        settings: FusionSettings,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self.encoder, self.settings, self.on_batch = encoder, settings, on_batch

    def __call__(self, table: MentionTable, entities: np.ndarray, kb: KnowledgeBase) -> FusionInputs:
        """What is read of the mentions of a table and of the entities (indices `[U]` of the base)."""
        encodings = self._vectors([document.text for document in table.documents])
        doc, first, last, span = mention_windows(table, encodings, self.settings.tokens)
        key, window = np.unique(np.stack([doc, first, last], 1), axis=0, return_inverse=True)
        vectors = [np.asarray(encoding.vectors) for encoding in encodings]
        mentions = Sources([vectors[d][a:b] for d, a, b in key.tolist()])
        return FusionInputs(mentions, window.reshape(-1), span, self._entities(entities, kb))

    def _entities(self, entities: np.ndarray, kb: KnowledgeBase) -> Sources:
        most = self.settings.tokens
        texts = [text[: _CHARACTERS * most] for text in entity_texts(entities, kb, 0)]
        return Sources([np.asarray(one.vectors)[:most] for one in self._vectors(texts, keep=True)])

    def _vectors(self, texts: Sequence[str], keep: bool | None = None) -> list[Encoding]:
        contextual = self.settings.features == "contextual"
        return self.encoder.token_vectors(texts, self.on_batch, keep, contextual)


def mention_windows(
    table: MentionTable, encodings: Sequence[Encoding], most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where each mention is read: its whole document, or `most` tokens of it around the mention.

    Returns:
        `[M]` document, first token and end of the window; `[M, 2]` first and last token of the mention in the window,
        -1 where it covers none (white space, characters that the encoder drops).
    """
    low, high = np.empty(len(table), np.int64), np.empty(len(table), np.int64)
    total = np.array([len(encoding.spans) for encoding in encodings], np.int64)[table.doc]
    for d, encoding in enumerate(encodings):
        rows = slice(table.first[d], table.first[d + 1])
        low[rows] = np.searchsorted(encoding.spans[:, 1], table.start[rows], side="right")
        high[rows] = np.searchsorted(encoding.spans[:, 0], table.end[rows], side="left")
    high = np.minimum(high, low + most)
    first = np.clip((low + high) // 2 - most // 2, 0, np.maximum(total - most, 0))
    span = np.where((high > low)[:, None], np.stack([low, high - 1], 1) - first[:, None], -1)
    return table.doc, first, np.minimum(first + most, total), span


def padded(items: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """`[n, L, w]` float32 of n arrays `[rows, w]`, zeros behind the shorter ones, and `[n, L]` bool what is there."""
    length = max(map(len, items))
    out = np.zeros((len(items), length, items[0].shape[1]), np.float16)
    there = np.zeros((len(items), length), bool)
    for i, item in enumerate(items):
        out[i, : len(item)], there[i, : len(item)] = item, True
    return torch.from_numpy(out).to(device).float(), torch.from_numpy(there).to(device)

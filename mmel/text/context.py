"""What surrounds each mention, as vectors: the mention, its window, its sentence, its document, its context words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from mmel.candidates import MentionTable
from mmel.candidates.mentions import sentence_starts
from mmel.encoders.text import CachedTextEncoder

VIEWS = ("mention", "window", "left", "right", "sentence", "document")
_WORD = re.compile(r"\S+")
_TOKENS = 1 << 15  # wordpieces whose vectors are in memory at a time


@dataclass(frozen=True)
class MentionContext:
    """Context of M mentions under one text encoder.

    Attributes:
        views: `[M, len(VIEWS), d]` float32 means of contextual token vectors, unit norm (zero where empty).
        tokens: `[T, d]` float16 token vectors of all documents; one row of zeros where they have none.
        words: `[M, W]` int64 rows of `tokens` nearest around the mention, the mention left out; -1 pads.
    """

    views: np.ndarray
    tokens: np.ndarray
    words: np.ndarray

    def view(self, name: str) -> np.ndarray:
        """`[M, d]` of one of VIEWS."""
        return np.asarray(self.views[:, VIEWS.index(name)])


def encode_context(
    table: MentionTable,
    encoder: CachedTextEncoder,
    window: int = 6,
    context_words: int = 100,
    on_batch: Callable[[int], None] | None = None,
) -> MentionContext:
    """Encode the documents of a table and pool around each mention.

    Args:
        window: words on each side of the mention that make its `window`, `left` and `right` views (seed: 6).
        context_words: W, wordpieces around the mention that local attention may read.
    """
    encodings = encoder.token_vectors([d.text for d in table.documents], on_batch=on_batch)
    size = encoder.encoder.dim
    views = np.zeros((len(table), len(VIEWS), size), np.float32)
    words = np.full((len(table), context_words), -1, np.int64)
    vectors: list[np.ndarray] = []
    ranges: list[np.ndarray] = []
    begin, held, offset = 0, 0, 0
    for d, encoding in enumerate(encodings):
        rows, count = slice(table.first[d], table.first[d + 1]), len(encoding.vectors)
        spans = np.zeros((rows.stop - rows.start, len(VIEWS), 2), np.int64)
        if count and len(spans):
            spans = _view_spans(table.documents[d].text, table.start[rows], table.end[rows], window)
            low = np.searchsorted(encoding.spans[:, 1], spans[..., 0], side="right")
            high = np.maximum(np.searchsorted(encoding.spans[:, 0], spans[..., 1], side="left"), low)
            words[rows] = _around(low[:, 0], high[:, 0], count, context_words, offset)
            spans = np.stack([low, high], -1) + held
        vectors.append(encoding.vectors)
        ranges.append(spans)
        held, offset = held + count, offset + count
        if held >= _TOKENS or d + 1 == len(encodings):
            views[begin : rows.stop] = _means(vectors, np.concatenate(ranges))
            vectors, ranges, begin, held = [], [], rows.stop, 0
    tokens = [e.vectors for e in encodings if len(e.vectors)] if context_words else []
    return MentionContext(views, np.concatenate(tokens) if tokens else np.zeros((1, size), np.float16), words)


def _view_spans(text: str, start: np.ndarray, end: np.ndarray, window: int) -> np.ndarray:
    """`[m, len(VIEWS), 2]` character spans of each view."""
    word = np.array([m.span() for m in _WORD.finditer(text)], np.int64).reshape(-1, 2)
    bounds = np.array([*sentence_starts(text), len(text)], np.int64)
    first = np.searchsorted(word[:, 1], start, side="right")
    last = np.maximum(np.searchsorted(word[:, 0], end, side="left"), first + 1)
    window_low = word[np.clip(first - window, 0, len(word) - 1), 0]
    window_high = word[np.clip(last - 1 + window, 0, len(word) - 1), 1]
    sentence = np.searchsorted(bounds, start, side="right") - 1
    spans = {
        "mention": (start, end),
        "window": (window_low, window_high),
        "left": (window_low, start),
        "right": (end, window_high),
        "sentence": (bounds[sentence], np.maximum(bounds[sentence + 1], end)),
        "document": (np.zeros_like(start), np.full_like(end, len(text))),
    }
    return np.stack([np.stack(spans[name], -1) for name in VIEWS], 1)


def _means(vectors: list[np.ndarray], ranges: np.ndarray) -> np.ndarray:
    """`[m, V, d]` float32 unit means of the rows `[low, high)` that `ranges` `[m, V, 2]` names of all `vectors`."""
    table = torch.from_numpy(np.concatenate(vectors)).float()
    # Mentions share their sentences and their document: every range is added up once.
    key, inverse = np.unique(ranges[..., 0] * (len(table) + 1) + ranges[..., 1], return_inverse=True)
    low, high = np.divmod(key, len(table) + 1)
    count = high - low
    first = np.cumsum(count) - count
    index = np.arange(int(count.sum())) + np.repeat(low - first, count)
    mean = embedding_bag(torch.from_numpy(index), table, torch.from_numpy(first), mode="mean").numpy()
    norm = np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.asarray((mean / np.maximum(norm, 1e-6))[inverse.reshape(ranges.shape[:-1])])


def _around(low: np.ndarray, high: np.ndarray, length: int, count: int, offset: int) -> np.ndarray:
    """Rows of the `count` tokens nearest to each mention `[low, high)`, half from each side where there are enough."""
    half = count // 2
    steps = np.arange(half)
    left = low[:, None] - 1 - steps
    right = high[:, None] + np.arange(count - half)
    rows = np.concatenate([np.where(left >= 0, left, -1), np.where(right < length, right, -1)], 1)
    return np.where(rows >= 0, rows + offset, -1)

"""What surrounds each mention, as vectors: the mention, its window, its sentence, its document, its context words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding_bag

from mmel.candidates import MentionTable
from mmel.encoders.text import CachedTextEncoder
from mmel.parallel import one_thread
from mmel.sentences import sentence_starts

VIEWS = ("mention", "window", "left", "right", "sentence", "document")
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)
_TOKENS = 1 << 15  # wordpieces whose vectors are in memory at a time


@dataclass(frozen=True)
class MentionContext:
    """Context of M mentions under one text encoder.

    Attributes:
        views: `[M, len(VIEWS), d]` float32 means of contextual token vectors, unit norm (zero where empty).
        tokens: `[T, d]` float16 token vectors of all documents; one row of zeros where they have none.
        words: `[M, W]` int64 rows of `tokens` around the mention's middle; -1 pads. The mention's own are among them:
            unlike word vectors, contextual ones say how a word is used.
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
    texts = [document.text for document in table.documents]
    encodings = encoder.token_vectors(texts, on_batch=on_batch)
    # Offsets count through all texts, one character apart, and rows through the tokens of all.
    offset = np.cumsum([0, *(len(text) + 1 for text in texts)])
    first = np.cumsum([0, *(len(encoding.vectors) for encoding in encodings)])
    spans = _view_spans(table, texts, offset, window)
    token = np.concatenate(
        [np.zeros((0, 2), np.int64), *(e.spans + o for e, o in zip(encodings, offset, strict=False))]
    )
    low = np.searchsorted(token[:, 1], spans[..., 0], side="right")
    high = np.maximum(np.searchsorted(token[:, 0], spans[..., 1], side="left"), low)
    views = np.zeros((*low.shape, encoder.encoder.dim), np.float32)
    for begin, end in _pieces(first):
        rows = slice(table.first[begin], table.first[end])
        vectors = np.concatenate([encoding.vectors for encoding in encodings[begin:end]])
        if len(vectors):
            views[rows] = _means(vectors, low[rows] - first[begin], high[rows] - first[begin])
    words = _around(low[:, 0], high[:, 0], first[table.doc], first[table.doc + 1], context_words)
    tokens = [e.vectors for e in encodings if len(e.vectors)] if context_words else []
    return MentionContext(
        views, np.concatenate(tokens) if tokens else np.zeros((1, views.shape[-1]), np.float16), words
    )


def _pieces(first: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of documents with about _TOKENS tokens each; `first` `[D + 1]` is the first token of every document."""
    begin, last = 0, len(first) - 1
    while begin < last:
        end = max(int(np.searchsorted(first, first[begin] + _TOKENS, side="right")) - 1, begin + 1)
        yield begin, min(end, last)
        begin = end


def _view_spans(table: MentionTable, texts: list[str], offset: np.ndarray, window: int) -> np.ndarray:
    """`[M, len(VIEWS), 2]` character spans of each view; text d begins at `offset[d]`."""
    start, end = table.start + offset[table.doc], table.end + offset[table.doc]
    first, last = offset[table.doc], offset[table.doc + 1] - 1
    word_start, word_end = _words(texts)
    at = np.searchsorted(word_end, start, side="right")
    behind = np.maximum(np.searchsorted(word_start, end, side="left"), at + 1)
    own, stop = np.searchsorted(word_start, first), np.searchsorted(word_start, last) - 1
    worded = stop >= own
    left = np.where(worded, np.append(word_start, 0)[np.clip(at - window, own, stop)], start)
    right = np.where(worded, np.append(word_end, 0)[np.clip(behind - 1 + window, own, stop)], end)
    sentence = np.concatenate(
        [np.array(sentence_starts(t)) + o for t, o in zip(texts, offset, strict=False)] or [start]
    )
    number = np.searchsorted(sentence, start, side="right") - 1
    sentence_end = np.minimum(np.append(sentence, offset[-1])[number + 1], last)
    spans = {
        "mention": (start, end),
        "window": (left, right),
        "left": (left, start),
        "right": (end, right),
        "sentence": (sentence[number], np.maximum(sentence_end, end)),
        "document": (first, last),
    }
    return np.stack([np.stack(spans[name], -1) for name in VIEWS], 1)


def _words(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of the words, runs without white space, of all texts set one character apart."""
    codes = np.frombuffer("\n".join(["", *texts, ""]).encode("utf-32-le", "surrogatepass"), np.uint32)
    space = np.isin(codes, _SPACES)
    return np.flatnonzero(space[:-1] & ~space[1:]), np.flatnonzero(~space[:-1] & space[1:])


@one_thread()
def _means(vectors: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """`[m, V, d]` float32 unit means of the rows `[low, high)` (`[m, V]`) of `vectors`."""
    # Mentions share their sentences and their document: every range is added up once.
    key, inverse = np.unique(low * (len(vectors) + 1) + high, return_inverse=True)
    begin, end = np.divmod(key, len(vectors) + 1)
    count = end - begin
    first = np.cumsum(count) - count
    index = torch.from_numpy(np.arange(int(count.sum())) + np.repeat(begin - first, count))
    mean = embedding_bag(index, torch.from_numpy(vectors).float(), torch.from_numpy(first), mode="mean").numpy()
    norm = np.linalg.norm(mean, axis=-1, keepdims=True)
    return np.asarray((mean / np.maximum(norm, 1e-6))[inverse.reshape(low.shape)])


def _around(low: np.ndarray, high: np.ndarray, first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """Rows of the `count` tokens around the middle of each mention `[low, high)`, its own among them.

    Args:
        first, last: `[m]` bounds `[first, last)` of the tokens of each mention's document.
    """
    rows = ((low + high) // 2 - count // 2)[:, None] + np.arange(count)
    return np.where((rows >= first[:, None]) & (rows < last[:, None]), rows, -1)

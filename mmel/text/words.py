"""Word overlap of a text with an entity's main neighbour: rare words that a review and a film's record share.

TF-IDF cosine (logarithmic term frequency), document frequencies over all entities from the knowledge base's full-text
index. Sentence vectors blur names; words do not: a review that names a film's other characters shares them with the
titles that the film links to.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from mmel.candidates.mentions import MentionTable, sentence_starts
from mmel.kb import KnowledgeBase
from mmel.kb.names import fold
from mmel.text.entity_text import entity_texts

_WORD = re.compile(r"[^\W_]+")
LINKED = 64  # linked entities whose titles are read

Bag = dict[str, float]


def word_overlap(table: MentionTable, ids: np.ndarray, neighbours: np.ndarray, kb: KnowledgeBase) -> np.ndarray:
    """`[M, k, 2]` float32 cosines of the document's, and the sentence's, words with each candidate's neighbour's.

    Args:
        ids: `[M, k]` candidates, -1 pads. neighbours: `[M, k]` KB index of each one's main neighbour, any at pads.
    """
    unique = np.unique(neighbours[ids >= 0])
    entity_words = [_count(text) for text in entity_texts(unique, kb, LINKED)]
    document_words = [_count(document.text) for document in table.documents]
    sentence_words = {s: _count(text) for s, text in _sentences(table).items()}
    weights = _idf(kb, {w for counter in (*entity_words, *document_words) for w in counter})
    entity = dict(zip(unique.tolist(), (_bag(counter, weights) for counter in entity_words), strict=True))
    document = [_bag(counter, weights) for counter in document_words]
    sentence = {s: _bag(counter, weights) for s, counter in sentence_words.items()}
    out = np.zeros((*ids.shape, 2), np.float32)
    known: dict[tuple[int, int, int], float] = {}
    for i, count in enumerate((ids >= 0).sum(1).tolist()):
        d, s = int(table.doc[i]), int(table.sentence[i])
        for j, e in enumerate(neighbours[i, :count].tolist()):
            for level, key, bag in ((0, d, document[d]), (1, s, sentence[s])):
                place = (level, key, e)
                if place not in known:
                    known[place] = _dot(bag, entity[e])
                out[i, j, level] = known[place]
    return out


def _sentences(table: MentionTable) -> dict[int, str]:
    """The text of every sentence that holds a mention."""
    out: dict[int, str] = {}
    starts = [sentence_starts(document.text) for document in table.documents]
    for i in range(len(table)):
        d, s = int(table.doc[i]), int(table.sentence[i])
        if s not in out:
            text, at = table.documents[d].text, int(np.searchsorted(starts[d], table.start[i], side="right"))
            out[s] = text[starts[d][at - 1] : starts[d][at] if at < len(starts[d]) else len(text)]
    return out


def _count(text: str) -> Counter[str]:
    return Counter(_WORD.findall(fold(text)))


def _idf(kb: KnowledgeBase, words: set[str]) -> Bag:
    frequencies = kb.word_frequencies(sorted(words))
    return {word: float(np.log(1 + len(kb) / (1 + frequencies.get(word, 0)))) for word in words}


def _bag(counter: Counter[str], weights: Bag) -> Bag:
    """Unit-norm TF-IDF weights."""
    bag = {w: (1 + float(np.log(n))) * weights[w] for w, n in counter.items()}
    norm = float(np.sqrt(sum(v * v for v in bag.values()))) or 1.0
    return {w: v / norm for w, v in bag.items()}


def _dot(one: Bag, other: Bag) -> float:
    small, large = sorted((one, other), key=len)
    return sum(v * large[w] for w, v in small.items() if w in large)

"""Word overlap of a text with an entity's main neighbour: rare words that a review and a film's record share.

TF-IDF cosine (logarithmic term frequency), document frequencies over all entities from the knowledge base's full-text
index. Sentence vectors blur names; words do not: a review that names a film's other characters shares them with the
titles that the film links to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from mmel.candidates.mentions import MentionTable
from mmel.kb import KnowledgeBase
from mmel.kb.names import fold
from mmel.text.entity_text import entity_texts

_WORD = re.compile(r"[^\W_]+")
LINKED = 64  # linked entities whose titles are read


def word_overlap(table: MentionTable, ids: np.ndarray, neighbours: np.ndarray, kb: KnowledgeBase) -> np.ndarray:
    """`[M, k, 2]` float32 cosines of the document's, and the sentence's, words with each candidate's neighbour's.

    Args:
        ids: `[M, k]` candidates, -1 pads. neighbours: `[M, k]` KB index of each one's main neighbour, any at pads.
    """
    mention, column = np.nonzero(ids >= 0)
    out = np.zeros((*ids.shape, 2), np.float32)
    if not len(mention):
        return out
    unique = np.unique(neighbours[mention, column])
    entity_words = [_count(text) for text in entity_texts(unique, kb, LINKED)]
    document_words = [_count(document.text) for document in table.documents]
    sentence_words = {s: _count(text) for s, text in table.sentence_texts().items()}
    everything = [*entity_words, *document_words, *sentence_words.values()]
    bags = _bags(everything, kb)
    # Rows of the bags: entities, documents, sentences.
    sentence = {s: len(unique) + len(document_words) + i for i, s in enumerate(sentence_words)}
    entity = np.searchsorted(unique, neighbours[mention, column])
    places = (len(unique) + table.doc[mention], np.array([sentence[s] for s in table.sentence.tolist()])[mention])
    for level, place in enumerate(places):
        pairs, own = np.unique(np.stack([entity, place]), axis=1, return_inverse=True)
        cosines = np.asarray(bags[pairs[0]].multiply(bags[pairs[1]]).sum(1))[:, 0]
        out[mention, column, level] = cosines[own.ravel()]
    return out


def _count(text: str) -> Counter[str]:
    return Counter(_WORD.findall(fold(text)))


def _bags(counters: Sequence[Counter[str]], kb: KnowledgeBase) -> csr_matrix:
    """`[n, words]` unit-norm TF-IDF weights, document frequencies from the knowledge base."""
    words = sorted({word for counter in counters for word in counter})
    place = {word: i for i, word in enumerate(words)}
    frequencies = kb.word_frequencies(words)
    found = np.array([frequencies.get(word, 0) for word in words], np.float64)
    sizes = np.array([len(counter) for counter in counters])
    column = np.fromiter((place[word] for counter in counters for word in counter), np.int64, int(sizes.sum()))
    count = np.fromiter((n for counter in counters for n in counter.values()), np.float64, int(sizes.sum()))
    weight = (1 + np.log(count)) * np.log(1 + len(kb) / (1 + found))[column]
    row = np.repeat(np.arange(len(counters)), sizes)
    norm = np.sqrt(np.bincount(row, weight**2, len(counters)))
    return csr_matrix((weight / np.maximum(norm, 1e-300)[row], (row, column)), shape=(len(counters), len(words)))

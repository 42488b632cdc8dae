"""Names in the text that nobody asked to link: they still tell what a document is about.

Reviews mention more names than are annotated. Those that the knowledge base knows join the document graph as mentions
without a label; their links are never put out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import merge
from itertools import accumulate
from operator import itemgetter

from mmel.document import Document, TextMention
from mmel.kb import KnowledgeBase
from mmel.sentences import sentence_starts

MAX_WORDS = 5
_WORD = re.compile(r"[^\W_][\w.\-'’]*")
_ENDINGS = ("'s", "’s", "'", "’", ".", "-")


def with_context_names(documents: Sequence[Document], kb: KnowledgeBase) -> list[Document]:
    """The documents with unlabelled mentions for further capitalised names of the knowledge base, in text order.

    Longest match first, never overlapping a mention. A single word that opens a sentence counts only where the
    document capitalises it elsewhere too.
    """
    spans = [list(_capitalised(document)) for document in documents]
    surfaces = list(dict.fromkeys(d.text[a:b] for d, found in zip(documents, spans, strict=True) for a, b in found))
    matches = kb.lookup_many(surfaces, 1, fuzzy=False)
    known = {s for s, m in zip(surfaces, matches, strict=True) if m and m[0].how == "exact"}
    return [_extended(document, found, known) for document, found in zip(documents, spans, strict=True)]


def _capitalised(document: Document) -> Iterator[tuple[int, int]]:
    """Character spans of runs of 1 to MAX_WORDS words that begin and end capitalised, longest first at each word."""
    text = document.text
    words = [match.span() for match in _WORD.finditer(text)]
    starts = set(sentence_starts(text))
    inside = {_bare(text[a:b]) for a, b in words if a not in starts}
    for first in range(len(words)):
        begin = words[first][0]
        if not text[begin].isupper():
            continue
        for last in range(min(first + MAX_WORDS, len(words)) - 1, first - 1, -1):
            end = words[last][1]
            if not text[words[last][0]].isupper() or "\n" in text[begin:end]:
                continue
            if first == last and begin in starts and _bare(text[begin:end]) not in inside:
                continue
            yield begin, end
            for ending in _ENDINGS:
                if text[begin:end].endswith(ending) and end - len(ending) > begin:
                    yield begin, end - len(ending)


def _bare(word: str) -> str:
    """A word without the ending of a possessive or of a sentence."""
    return next((word.removesuffix(ending) for ending in _ENDINGS if word.endswith(ending)), word)


def _extended(document: Document, spans: Sequence[tuple[int, int]], known: set[str]) -> Document:
    taken = bytearray(len(document.text))
    for mention in document.text_mentions:
        taken[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
    added = []
    for begin, end in spans:
        surface = document.text[begin:end]
        if surface in known and not any(taken[begin:end]):
            taken[begin:end] = b"\1" * (end - begin)
            added.append((begin, TextMention(begin, end, surface)))
    # The document's own mentions keep their order, even where it is not that of the text: links come back in it.
    reached = accumulate((mention.start for mention in document.text_mentions), max)
    own = zip(reached, document.text_mentions, strict=True)
    return replace(document, text_mentions=tuple(mention for _, mention in merge(own, added, key=itemgetter(0))))

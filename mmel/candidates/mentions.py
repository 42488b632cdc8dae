"""The textual mentions of a batch of documents as one ragged list with a document index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmel.document import NIL, Document
from mmel.kb import KnowledgeBase
from mmel.sentences import sentence_starts


@dataclass(frozen=True)
class MentionTable:
    """M textual mentions of D documents.

    Attributes:
        documents: the D documents, in order.
        doc: `[M]` document index of each mention, ascending.
        first: `[D + 1]` index of each document's first mention.
        start, end: `[M]` character offsets.
        sentence: `[M]` sentence index, unique over the whole table, ascending within a document.
        surface: M surfaces as written; `name` the longer forms a dataset resolved them to (else the surface).
        surface_group: `[M]` index shared by mentions of one document with the same case-folded name.
        gold: `[M]` KB index of the gold entity, -1 where it is NIL, unknown to the KB or unlabelled.
        labelled: `[M]` whether the mention has a gold label (NIL included).
        pictures: folder that the images of the documents are relative to; None where it is not known.
    """

    documents: Sequence[Document]
    doc: np.ndarray
    first: np.ndarray
    start: np.ndarray
    end: np.ndarray
    sentence: np.ndarray
    surface: list[str]
    name: list[str]
    surface_group: np.ndarray
    gold: np.ndarray
    labelled: np.ndarray
    pictures: Path | None = None

    def __len__(self) -> int:
        return len(self.doc)

    @classmethod
    def of(cls, documents: Sequence[Document], kb: KnowledgeBase, pictures: Path | None = None) -> MentionTable:
        """Flatten the documents' textual mentions; gold ids become KB indices; for `pictures` see the class."""
        mentions = [(d, m) for d, document in enumerate(documents) for m in document.text_mentions]
        doc = np.array([d for d, _ in mentions], np.int64)
        start = np.array([m.start for _, m in mentions], np.int64)
        name = [m.name or m.text for _, m in mentions]
        groups: dict[tuple[int, str], int] = {}
        gold = np.full(len(mentions), -1, np.int64)
        known = [i for i, (_, m) in enumerate(mentions) if m.entity not in (None, NIL)]
        gold[known] = kb.indices([mentions[i][1].entity or "" for i in known])
        return cls(
            documents=documents,
            doc=doc,
            first=np.searchsorted(doc, np.arange(len(documents) + 1)),
            start=start,
            end=np.array([m.end for _, m in mentions], np.int64),
            sentence=_sentence_index(documents, doc, start),
            surface=[m.text for _, m in mentions],
            name=name,
            surface_group=np.array(
                [groups.setdefault((d, n.casefold()), len(groups)) for (d, _), n in zip(mentions, name, strict=True)],
                np.int64,
            ),
            gold=gold,
            labelled=np.array([m.entity is not None for _, m in mentions], bool),
            pictures=pictures,
        )

    def sentence_texts(self) -> dict[int, str]:
        """The text of every sentence that holds a mention, by the index of `sentence`."""
        out: dict[int, str] = {}
        starts = [sentence_starts(document.text) for document in self.documents]
        for i in range(len(self)):
            d, s = int(self.doc[i]), int(self.sentence[i])
            if s not in out:
                text, at = self.documents[d].text, int(np.searchsorted(starts[d], self.start[i], side="right"))
                out[s] = text[starts[d][at - 1] : starts[d][at] if at < len(starts[d]) else len(text)]
        return out


def _sentence_index(documents: Sequence[Document], doc: np.ndarray, start: np.ndarray) -> np.ndarray:
    out = np.zeros(len(doc), np.int64)
    offset = 0
    bounds = np.searchsorted(doc, np.arange(len(documents) + 1))
    for d, document in enumerate(documents):
        starts = sentence_starts(document.text)
        rows = slice(bounds[d], bounds[d + 1])
        out[rows] = offset + np.searchsorted(starts, start[rows], side="right") - 1
        offset += len(starts)
    return out

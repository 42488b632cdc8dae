"""A linker whose answers are known: every capitalised word is a mention, of an entity of its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from mmel.document import NIL, Document, Link, LinkedDocument, ScoredCandidate, TextMention, VisualMention
from mmel.errors import InputError, SkipReport


class FakeLinker:
    """Refuses documents whose text holds `refused`; counts pictures named `broken.*` as unreadable.

    `calls` has the ids of every batch that was linked.
    """

    def __init__(self, refused: str = "Poison") -> None:
        self.skips = SkipReport()
        self.refused, self.calls = refused, list[list[str]]()

    def annotate(self, documents: Iterable[Document], pictures: Path | None = None) -> Iterator[Document]:
        for one in documents:
            words = re.finditer(r"[A-Z]\w*", one.text)
            mentions = tuple(TextMention(*word.span(), word.group()) for word in words)
            for image in one.images:
                if image.startswith("broken"):
                    self.skips.add("picture cannot be read", image)
            faces = tuple(VisualMention(image) for image in one.images if not image.startswith("broken"))
            yield replace(one, text_mentions=one.text_mentions or mentions, visual_mentions=faces)

    def link(
        self, documents: Iterable[Document], pictures: Path | None = None, documents_per_batch: int = 64
    ) -> Iterator[LinkedDocument]:
        batch = list(documents)
        assert len(batch) <= documents_per_batch
        self.calls.append([one.id for one in batch])
        for one in batch:
            if self.refused in one.text:
                raise InputError("cannot be linked")
            text = tuple(self._link(mention.text) for mention in one.text_mentions)
            yield LinkedDocument(one, text, tuple(self._link("Face") for _ in one.visual_mentions), {"kb": "fake"})

    def _link(self, name: str) -> Link:
        candidates = tuple(ScoredCandidate(f"{name}-{k}", 0.5**k, 0.1) for k in range(1, 9))
        if name == "Nobody":
            return Link(NIL, 0.9, (*candidates, ScoredCandidate(NIL, 0.01, 0.0)))
        return Link(candidates[0].entity, 0.5, candidates)

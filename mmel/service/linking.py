"""The engine of a trained linker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmel import __version__
from mmel.document import Document, LinkedDocument
from mmel.errors import SkipReport
from mmel.kb import KnowledgeBase
from mmel.linker import Linker
from mmel.report import document_page, kb_cards, trained_pictures

_log = logging.getLogger(__name__)


class LinkerEngine:
    """Answers with a trained linker.

    Args:
        name: of the model. pictures: folder that the pictures of the knowledge base are relative to, None for a page
            without them.
    """

    def __init__(self, linker: Linker, name: str, pictures: Path | None = None) -> None:
        self._linker, self._name = linker, name
        self._cards = kb_cards(linker.kb, pictures)
        meta = linker.kb.meta
        self._protocol = f"model {name}, knowledge base {meta.name} of {meta.date} ({meta.entities:,} entities)"

    @property
    def _kb(self) -> KnowledgeBase:
        return self._linker.kb

    def link(self, documents: Sequence[Document], pictures: Path) -> Sequence[LinkedDocument]:
        """As in Engine."""
        return list(self._linker.link(self._linker.annotate(documents, pictures), pictures))

    def titles(self, ids: Sequence[str]) -> Mapping[str, str]:
        """As in Engine."""
        known = self._kb.indices(ids)
        there = [id for id, index in zip(ids, known.tolist(), strict=True) if index >= 0]
        return dict(zip(there, self._kb.titles(known[known >= 0]), strict=True))

    def report(self, linked: LinkedDocument, pictures: Path) -> str:
        """As in Engine."""
        skips = SkipReport()
        page = document_page(linked, self._cards, pictures, protocol=self._protocol, skips=skips)
        if skips.counts:
            _log.warning("a report lacks pictures: %s", skips.summary())
        return page

    def info(self) -> dict[str, Any]:
        """As in Engine."""
        linker, meta = self._linker, self._kb.meta
        sides = {"names": linker.text, "faces": linker.visual}
        return {
            "mmel": __version__,
            "model": self._name,
            "links": [name for name, side in sides.items() if side is not None],
            "coupled": linker.coupler is not None,
            "finds_names": linker.detector is not None,
            "knowledge_base": {
                "name": meta.name,
                "date": meta.date,
                "revision": meta.revision,
                "hash": meta.content_hash[:12],
                "entities": meta.entities,
                "surfaces": meta.surfaces,
                "links": meta.links,
            },
        }

    def close(self) -> None:
        """As in Engine."""
        self._kb.close()


def open_engine(
    run: Path,
    kb: Path | None = None,
    pictures: Path | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> LinkerEngine:
    """The engine of a run folder.

    Args:
        kb: another copy of its knowledge base. pictures: what that base's pictures are relative to; None: the folder of
            the dataset the run was trained on, as far as it is still there.
        tell: hears what the engine has to do without.
    """
    linker = Linker.from_pretrained(run, None if kb is None else KnowledgeBase.open(kb), pictures=pictures)
    if linker.text is not None and linker.detector is None:
        tell("the run cannot find names: a text needs its mentions. Remedy: train with detection.text=names")
    return LinkerEngine(linker, run.resolve().name, pictures or trained_pictures(run, tell))

"""What the service asks of whatever links: linked documents, titles, pages, and what it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mmel.document import Document, LinkedDocument


class Engine(Protocol):
    """`link` is called in one thread, everything else in another."""

    def link(self, documents: Sequence[Document], pictures: Path) -> Sequence[LinkedDocument]:
        """One linked document each, mentions found where a document has none; `pictures`: what images lie in."""
        ...

    def titles(self, ids: Sequence[str]) -> Mapping[str, str]:
        """Titles of entities that are in the knowledge base."""
        ...

    def report(self, linked: LinkedDocument, pictures: Path) -> str:
        """The page of one document."""
        ...

    def info(self) -> dict[str, Any]:
        """What the linker is, as JSON has it."""
        ...

    def close(self) -> None:
        """Close what the calling thread opened."""
        ...

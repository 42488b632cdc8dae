"""Film reviews in the project's own JSON lines: any `documents.SPLIT.jsonl` with one `kb.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats import jsonl


@register
class Movies(Dataset):
    """`root/documents.SPLIT.jsonl` and `root/kb.jsonl`; candidates are the aliases of the KB."""

    name = "movies"
    candidate_protocol = "kb"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        if not self.splits:
            raise self._missing(self.root / "documents.SPLIT.jsonl")
        if not (self.root / "kb.jsonl").is_file():
            raise self._missing(self.root / "kb.jsonl")

    @property
    def splits(self) -> tuple[str, ...]:
        names = (
            path.name.removeprefix("documents.").removesuffix(".jsonl") for path in self.root.glob("documents.*.jsonl")
        )
        return tuple(sorted(names))

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        return jsonl.read_documents(self.root / f"documents.{split}.jsonl", skips=skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return jsonl.read_entities(self.root / "kb.jsonl", skips=skips)

"""RichpediaMEL (Zhou et al. 2021), as MIMIC cleaned it: sentences of Wikipedia with a picture each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats.mimic import KB, MimicFolder


@register
class RichpediaMel(Dataset):
    """`root/RichpediaMEL_{train,dev,test}.json` with `kb_entity.json` in MIMIC's layout; `dev` is `val` here."""

    name = "richpediamel"
    candidate_protocol = "kb"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self._folder = MimicFolder(self.root, "RichpediaMEL")
        if not self._folder.fits:
            raise self._missing(self.root / KB)
        if not self._folder.files:
            raise self._missing(self.root / "RichpediaMEL_train.json")

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._folder.files)

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        return self._folder.documents(split, skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return self._folder.entities(skips)

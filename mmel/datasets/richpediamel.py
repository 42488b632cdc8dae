"""RichpediaMEL (Zhou et al. 2021), as MIMIC cleaned it: sentences of Wikipedia with a picture each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.layouts import find_layout
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport


@register
class RichpediaMel(Dataset):
    """`root/RichpediaMEL_{train,dev,test}.json` with `kb_entity.json`, MIMIC's layout, or UniMEL's; `dev` is `val`."""

    name = "richpediamel"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        layout = find_layout(self.root, "RichpediaMEL")
        if layout is None:
            raise self._missing(self.root / "kb_entity.json")
        if not layout.files:
            raise self._missing(self.root / "RichpediaMEL_train.json")
        self._layout, self.form = layout, layout.form

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._layout.files)

    @property
    def candidate_protocol(self) -> str:
        return self._layout.candidate_protocol

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        return self._layout.documents(split, skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return self._layout.entities(skips)

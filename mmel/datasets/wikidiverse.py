"""WIKIDiverse (Wang et al. 2022): news captions, each with the picture that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats import jsonl, kgmel

_SPLITS = ("train", "val", "test")


@register
class WikiDiverse(Dataset):
    """`root/WikiDiverse.SPLIT.json`, as KGMEL gives it; the entities are those that any split names, or `kb.jsonl`."""

    name = "wikidiverse"
    candidate_protocol = "kb"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        if not self._files:
            raise self._missing(self.root / "WikiDiverse.train.json")

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The file of each split."""
        files = {split: self.root / f"WikiDiverse.{split}.json" for split in _SPLITS}
        return {split: path for split, path in files.items() if path.is_file()}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        return kgmel.read_captions(self._files[split], skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        if (self.root / "kb.jsonl").is_file():
            return jsonl.read_entities(self.root / "kb.jsonl", skips=skips)
        return kgmel.read_titles(self._files.values(), skips)

"""AIDA-CoNLL: CoNLL-2003 newswire with Wikipedia titles and the PPRforNED candidates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats import pprforned

# (file of CoNLL-2003, number of the PPRforNED file of its first document)
SPLITS = {"train": ("eng.train", 1), "testa": ("eng.testa", 947), "testb": ("eng.testb", 1163)}


@register
class Aida(Dataset):
    """`root/conll2003/eng.*` and `root/PPRforNED/`, or the same below `root/aida/`.

    The prior of a candidate is its in-link count.
    """

    name = "aida"
    candidate_protocol = "PPRforNED"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        if self._root is not None and not (self._root / "conll2003").is_dir() and (self._root / "aida").is_dir():
            self._root = self._root / "aida"  # the folder that holds every textual set, as the others take it
        for folder in ("conll2003", "PPRforNED"):
            if not (self.root / folder).is_dir():
                raise self._missing(self.root / folder)
        if not self.splits:
            raise self._missing(self.root / "conll2003" / SPLITS["train"][0])

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(split for split, (file, _) in SPLITS.items() if (self.root / "conll2003" / file).is_file())

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        file, first = SPLITS[split]
        return pprforned.read_aida(self.root / "conll2003" / file, self.root / "PPRforNED", first, skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return iter(pprforned.read_entities(self.root / "PPRforNED"))

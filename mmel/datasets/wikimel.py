"""WikiMEL, which MELBench calls Wikidata-MEL (Zhou et al. 2021): captions of people's pictures in Wikipedia."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.layouts import find_layout
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats import jsonl, melbench

_SPLITS = ("train", "val", "test")


@register
class WikiMel(Dataset):
    """`root/Wikidata-MEL.json` with `qid2ne.json` and `qid2abs.json`; or `kb.jsonl` instead of these two.

    The one file is divided by sentence, so that equal sentences are in one split: CRC-32 modulo 10 gives `test` for 0,
    `val` for 1, `train` for the rest. These are not the official splits, whose files MELBench does not give.

    A folder may have one of the layouts of `mmel.datasets.layouts` instead, with splits of their own.
    """

    name = "wikimel"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self._layout = find_layout(self.root, "WIKIMEL")
        if self._layout is not None:
            self.form = self._layout.form
            if not self._layout.files:
                raise self._missing(self.root / "WIKIMEL_train.json")
            return
        needed = ["Wikidata-MEL.json"]
        if not (self.root / "kb.jsonl").is_file():
            needed += ["qid2ne.json", "qid2abs.json"]
        for name in needed:
            if not (self.root / name).is_file():
                raise self._missing(self.root / name)

    @property
    def splits(self) -> tuple[str, ...]:
        return _SPLITS if self._layout is None else tuple(self._layout.files)

    @property
    def candidate_protocol(self) -> str:
        return "kb" if self._layout is None else self._layout.candidate_protocol

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        if self._layout is not None:
            return self._layout.documents(split, skips)

        def wanted(sentence: str) -> bool:
            return _split_of(sentence) == split

        return melbench.read_captions(self.root / "Wikidata-MEL.json", skips, wanted)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        if (self.root / "kb.jsonl").is_file():
            return jsonl.read_entities(self.root / "kb.jsonl", skips=skips)
        if self._layout is not None:
            return self._layout.entities(skips)
        return melbench.read_people(self.root / "qid2ne.json", self.root / "qid2abs.json", skips)


def _split_of(sentence: str) -> str:
    return {0: "test", 1: "val"}.get(zlib.crc32(sentence.encode(errors="surrogatepass")) % 10, "train")

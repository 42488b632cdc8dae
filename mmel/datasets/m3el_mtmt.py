"""M3EL of Wang et al. 2024: mentions and candidates that each are text, picture or both."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats import m3el_mtmt

_WORDS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "dev"), "test": ("test", "testing")}


@register
class M3elMtmt(Dataset):
    """`root/*.json` and `root/*/*.json`, of any topics; a file is of the split that its name says, as in `movies_val`.

    Files of which no name says a split are divided 8:1:1, the paper's ratio, by the CRC-32 of the sentence, so that a
    sentence with several mentions is in one split; the authors' own division is not known. The knowledge base is every
    candidate of every file.
    """

    name = "m3el-mtmt"
    candidate_protocol = "listed"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        if not self._files:
            raise self._missing(self.root / "train.json")

    @cached_property
    def _files(self) -> dict[Path, str | None]:
        """The files with the split that their name says, or None."""
        files = sorted((*self.root.glob("*.json"), *self.root.glob("*/*.json")))
        splits = {path: _split_of(path.relative_to(self.root).with_suffix("").as_posix()) for path in files}
        # Beside files that say their split another one is no part of the set, or all of it once more.
        return {path: split for path, split in splits.items() if split is not None} or dict(splits)

    @property
    def splits(self) -> tuple[str, ...]:
        held = set(self._files.values())
        return tuple(split for split in _WORDS if split in held or None in held)

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        for path, holds in self._files.items():
            prefix = f"{path.relative_to(self.root).with_suffix('').as_posix()}-"
            if holds in (split, None):
                keep = None if holds == split else lambda sentence: _share(sentence) == split
                yield from m3el_mtmt.read_documents(path, prefix, skips, keep)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return m3el_mtmt.read_entities(self._files, skips)


def _split_of(name: str) -> str | None:
    words = re.split(r"[^a-z]+", name.lower())
    return next((split for split, names in _WORDS.items() if any(each in words for each in names)), None)


def _share(sentence: str) -> str:
    """The split of a sentence of which no file says it."""
    return {8: "val", 9: "test"}.get(zlib.crc32(sentence.encode("utf-8", "surrogatepass")) % 10, "train")

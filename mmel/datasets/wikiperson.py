"""WIKIPerson (Sun et al. 2022), or any collection of pictures in its layout."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats import jsonl, wikiperson

_ANNOTATIONS = re.compile(r"WIKIPerson_(Train_Dev|Train|Dev|Val|Test)(_V[\d.]+)?\.json")
_IMAGES = "images/"


@register
class WikiPerson(Dataset):
    """`root/WIKIPerson_*.json` with `root/images/`; every person with a picture is a candidate.

    Where training and development pictures stand in one file, every fourth picture by the CRC-32 of its name is `dev`:
    the paper's 6:2 (section 4), whose own division is not known. That a person is there once at most in the test split
    is the file's doing, nothing is left out here.
    """

    name = "wikiperson"
    candidate_protocol = "gallery"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        if not self._files:
            raise self._missing(self.root / "WIKIPerson_Train.json")

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The annotation files by the word in their name."""
        found = ((_ANNOTATIONS.fullmatch(path.name), path) for path in sorted(self.root.iterdir()))
        return {match.group(1): path for match, path in found if match is not None}

    @property
    def splits(self) -> tuple[str, ...]:
        holds = {"train": ("Train", "Train_Dev"), "dev": ("Dev", "Val", "Train_Dev"), "test": ("Test",)}
        return tuple(split for split, words in holds.items() if any(word in self._files for word in words))

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        words = {"train": ("Train",), "dev": ("Dev", "Val"), "test": ("Test",)}[split]
        for word in words:
            if word in self._files:
                return wikiperson.read_pictures(self._files[word], _IMAGES, skips)
        together = wikiperson.read_pictures(self._files["Train_Dev"], _IMAGES, skips)
        return (document for document in together if (zlib.crc32(document.id.encode()) % 4 == 0) == (split == "dev"))

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        """The people of `kb.jsonl`, else of `Textual_Knowledge_Base*.json` or `.csv`; none where neither is there."""
        if (self.root / "kb.jsonl").is_file():
            return jsonl.read_entities(self.root / "kb.jsonl", skips=skips)
        files = sorted(path for path in self.root.glob("Textual_Knowledge_Base*") if path.suffix in (".json", ".csv"))
        return wikiperson.read_people(files[0], self._portraits.get, skips) if files else iter(())

    @cached_property
    def _portraits(self) -> dict[str, str]:
        """The picture of each person, by id, in `Visual_Knowledge_Base*/`."""
        pictures: dict[str, str] = {}
        for folder in sorted(path for path in self.root.glob("Visual_Knowledge_Base*") if path.is_dir()):
            for name in os.listdir(folder):
                pictures.setdefault(Path(name).stem, f"{folder.name}/{name}")
        return pictures

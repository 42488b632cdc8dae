"""WIKIDiverse (Wang et al. 2022): news captions, each with the picture that it describes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.layouts import find_layout
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import InputError, SkipReport
from mmel.formats import jsonl, kgmel, wikidiverse, wikipedia

# The files of each form that the captions are published in.
_FORMS = {
    "KGMEL": {split: f"WikiDiverse.{split}.json" for split in ("train", "val", "test")},
    "captions": {"train": "train.json", "val": "valid.json", "test": "test.json"},
    "10 candidates": {"train": "train_w_10cands.json", "val": "valid_w_10cands.json", "test": "test_w_10cands.json"},
}


@register
class WikiDiverse(Dataset):
    """Captions in one of several forms, which the names of the files tell: KGMEL's, the authors' with or without
    candidates, or one of `mmel.datasets.layouts`. Entities are those of `kb.jsonl`, else of the layout, which may be
    there for its entities alone, or of the authors' table of descriptions, else those that are named.

    Ids are Wikidata's in KGMEL's form and MIMIC's, English Wikipedia's titles in the authors'.
    """

    name = "wikidiverse"

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        self._layout = find_layout(self.root, "WIKIDiverse")
        # Files of a layout may be named as the authors' are, and MIMIC's as KGMEL's.
        own = [] if self._layout is None else self._layout.files.items()
        claimed = {split: path for split, path in own if path not in self._there("KGMEL").values()}
        forms = {form: self._there(form) for form in _FORMS}
        there = {form: files for form, files in forms.items() if files and not {*files.values()} & {*claimed.values()}}
        if self._layout is not None and claimed:
            there[self._layout.form] = claimed
        if not there:
            raise self._missing(self.root / "WikiDiverse.train.json")
        if len(there) > 1:
            named = " and ".join(f"{form} ({', '.join(path.name for path in there[form].values())})" for form in there)
            raise InputError(
                f"holds captions in several forms: {named}", file=self.root, remedy="keep each in a folder of its own"
            )
        ((self.form, self._files),) = there.items()

    def _there(self, form: str) -> dict[str, Path]:
        """The file of each split that the folder holds."""
        # DRIN has the lists of candidates in a folder of their own, and the tables of entities in another.
        folders = (self.root, self.root / "candidates") if form == "10 candidates" else (self.root,)
        files = [(split, folder / name) for split, name in _FORMS[form].items() for folder in folders[::-1]]
        return {split: path for split, path in files if path.is_file()}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    @property
    def candidate_protocol(self) -> str:
        if self._layout is not None and self.form == self._layout.form:
            return self._layout.candidate_protocol
        return "listed" if self.form == "10 candidates" else "kb"

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        if self._layout is not None and self.form == self._layout.form:
            return self._layout.documents(split, skips)
        path = self._files[split]
        if self.form == "KGMEL":
            return kgmel.read_captions(path, skips)
        read = wikidiverse.read_passages if self.form == "captions" else wikidiverse.read_rows
        return read(path, split, self._source, skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        if (self.root / "kb.jsonl").is_file():
            return jsonl.read_entities(self.root / "kb.jsonl", skips=skips)
        # The authors' forms have titles for ids, a layout has Wikidata's.
        if self._layout is not None and self.form in (self._layout.form, "KGMEL"):
            return self._layout.entities(skips)
        files = self._files.values()
        if self.form == "KGMEL":
            return kgmel.read_titles(files, skips)
        descriptions, images = self._table("desc"), self._table("img")
        if descriptions is not None:
            return wikidiverse.read_entities(descriptions, images, self._source, skips)
        return wikidiverse.read_named(files, self.form == "10 candidates", self._source, images, skips)

    @cached_property
    def _source(self) -> wikidiverse.Source:
        redirects = self.root / "redirects.tsv"
        steps = wikipedia.read_redirects(redirects) if redirects.is_file() else {}
        # Collections that were prepared for other engines have all pictures in one folder.
        apart = (self.root / "wikinewsImgs").is_dir() or not (self.root / "images").is_dir()
        return wikidiverse.Source("wikinewsImgs/" if apart else "images/", "images/", steps)

    def _table(self, word: str) -> Path | None:
        """The table of descriptions or pictures, `*entity2desc*` and `*entity2img*`."""
        paths = (path for folder in (self.root, self.root / "entities") for path in folder.glob(f"*entity2{word}*"))
        found = sorted(path for path in paths if path.suffix in (".tsv", ".txt"))
        if len(found) > 1:
            raise InputError(f"and {found[1].name} are both tables of entities", file=found[0], remedy="keep one")
        return found[0] if found else None

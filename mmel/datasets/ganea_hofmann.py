"""The five sets that Ganea & Hofmann (2017) test on, with their candidates: msnbc, ace2004, aquaint, cweb, wiki."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from mmel.datasets.base import Dataset
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats import deep_ed, kilt
from mmel.formats.records import Place, read_records
from mmel.formats.rows import recover_documents
from mmel.formats.wned import read_wned


class GaneaHofmann(Dataset):
    """Candidates and gold from `root/kilt/NAME.jsonl`, else `root/wned-NAME.csv`; texts from `root/wned/NAME/`.

    The CSV says which document a mention is of, so without the texts its documents are joined from the contexts;
    KILT rows do not, so they need the texts. An entity is a Wikipedia title, with a description where
    `root/kb/wikipedia_descriptions.jsonl` has one.
    """

    # Names that the files have in the published archives besides `name`.
    also: ClassVar[tuple[str, ...]] = ()

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        if self.candidate_protocol == "kilt" and not self._wned.is_dir():
            raise self._missing(self._wned)

    @property
    def splits(self) -> tuple[str, ...]:
        return ("test",)

    @property
    def candidate_protocol(self) -> str:
        return "kilt" if self._candidates.suffix == ".jsonl" else "deep-ed csv"

    @property
    def _candidates(self) -> Path:
        names = (self.name, *self.also)
        rows = [self.root / "kilt" / f"{name}{end}.jsonl" for name in names for end in ("", "-test-kilt")]
        tables = [self.root / f"wned-{name}.csv" for name in names]
        found = [path for path in (*rows, *tables) if path.is_file()]
        if not found:
            raise self._missing(rows[0])
        return found[0]

    @property
    def _wned(self) -> Path:
        folders = [self.root / "wned" / name for name in (self.name, *self.also)]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        read = kilt.read_rows if self.candidate_protocol == "kilt" else deep_ed.read_rows
        if self._wned.is_dir():
            return recover_documents(read(self._candidates, skips), read_wned(self._wned, skips), skips)
        return deep_ed.read_documents(self._candidates, skips)

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        """The candidates of the set, in the order of first sight. Gold titles that no list has are not among them."""
        path = self.root / "kb" / "wikipedia_descriptions.jsonl"
        descriptions = dict(read_records(path, _description, _FORM, skips)) if path.is_file() else {}
        # The same documents are read again for themselves: what they pass over is counted there.
        documents = self.documents("test", None if skips is None else SkipReport())
        mentions = (mention for document in documents for mention in document.text_mentions)
        titles = dict.fromkeys(candidate.entity for mention in mentions for candidate in mention.candidates or ())
        for title in titles:
            yield Entity(title, title, description=descriptions.get(title, ""))


_FORM = 'a row is {"title", "description"}'


def _description(record: dict[str, object], place: Place) -> tuple[str, str]:
    return place.text(record, "title"), place.text(record, "description")

"""The folders in which several datasets of multimodal linking were published alike: MIMIC's, UniMEL's and DRIN's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.formats.mimic import MimicFolder
from mmel.formats.ten_candidates import DrinFolder, UniMelFolder


class Layout(Protocol):
    """A folder in one of these forms."""

    @property
    def form(self) -> str: ...

    @property
    def candidate_protocol(self) -> str: ...

    @property
    def files(self) -> Mapping[str, Path]: ...

    def documents(self, split: str, skips: SkipReport | None = None) -> Iterator[Document]: ...

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]: ...


def find_layout(root: Path, name: str) -> Layout | None:
    """The layout of a folder; None where it has none of these. `name` is how the dataset's files begin in MIMIC's."""
    mimic, unimel, drin = MimicFolder(root, name), UniMelFolder(root), DrinFolder(root)
    # A knowledge base of MIMIC's may lie beside lists of candidates: with lists, they are what was asked for.
    return unimel if unimel.fits else drin if drin.fits else mimic if mimic.fits else None

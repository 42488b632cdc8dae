"""The bundled sample: a film world made when it is opened, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from mmel.datasets.base import Dataset
from mmel.datasets.filmworld import EDITION, SPLITS, FilmWorld, generate
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport
from mmel.files import atomic_folder, cache_root


@register
class Sample(Dataset):
    """`generate()` with its defaults; candidates are the aliases of the KB."""

    name = "sample"
    candidate_protocol = "kb"
    needs_root = False
    edition = f"film world {EDITION}"

    @cached_property
    def _world(self) -> FilmWorld:
        return generate()

    @cached_property
    def pictures(self) -> Path:
        """The folder of the pictures; they are drawn when it is first asked for, which takes a few seconds."""
        folder = cache_root() / f"sample-pictures-{EDITION}"
        if not folder.is_dir():
            with atomic_folder(folder) as unfinished:
                self._world.draw(unfinished)
        return folder

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(SPLITS)

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        return iter(self._world.documents[split])

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return iter(self._world.entities)

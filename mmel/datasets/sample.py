"""The bundled sample: a film world made when it is opened, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from mmel.datasets.base import Dataset
from mmel.datasets.filmworld import SPLITS, FilmWorld, generate
from mmel.datasets.registry import register
from mmel.document import Document, Entity
from mmel.errors import SkipReport


@register
class Sample(Dataset):
    """`generate()` with its defaults; candidates are the aliases of the KB."""

    name = "sample"
    candidate_protocol = "kb"
    needs_root = False

    @cached_property
    def _world(self) -> FilmWorld:
        return generate()

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(SPLITS)

    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        return iter(self._world.documents[split])

    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        return iter(self._world.entities)

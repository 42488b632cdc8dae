"""What every detector of names in a text gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Span:
    """A place of a text that may be a mention: characters `start` to `end`, exclusive.

    `probability` in [0, 1] that it is one. `name` is a longer form of the same name within the document, else None.
    """

    start: int
    end: int
    probability: float
    name: str | None = None


class TextDetector(Protocol):
    """What the engine asks of a detector. `id` changes whenever its output would; calls from threads are safe."""

    @property
    def id(self) -> str: ...

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """The mentions of each text by start, never overlapping; none is an empty list, not an error."""
        ...

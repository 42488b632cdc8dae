"""What a dataset is: a name, a card, splits of documents and the records of its knowledge base."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from mmel.datasets.card import Card, read_card
from mmel.document import Document, Entity
from mmel.errors import ConfigError, InputError, SkipReport, did_you_mean


class Dataset(ABC):
    """A dataset opened on its folder. Reading is streaming and strict: see `documents`."""

    name: ClassVar[str]
    needs_root: ClassVar[bool] = True
    # Of a dataset without a folder: changes when what it holds changes.
    edition: ClassVar[str] = ""
    # Of a dataset that is published in several forms: that of the folder, by its name in the card.
    form: str = ""

    def __init__(self, root: str | Path | None = None) -> None:
        """Raises InputError where the folder is missing or holds nothing of this dataset."""
        if not self.needs_root and root is not None:
            raise ConfigError(f"dataset '{self.name}' comes with mmel and takes no root, got '{root}'")
        if self.needs_root and root is None:
            raise ConfigError(f"dataset '{self.name}' needs its folder. {self.card.instructions()}")
        self._root = None if root is None else Path(root)
        if self._root is not None and not self._root.is_dir():
            raise InputError(f"is no folder. {self.card.instructions()}", file=self._root)

    @cached_property
    def card(self) -> Card:
        """What is known of the dataset: task, citation, licence, where to get it, counts."""
        return read_card(self.name)

    @property
    def root(self) -> Path:
        if self._root is None:
            raise ConfigError(f"dataset '{self.name}' has no folder")
        return self._root

    @property
    def pictures(self) -> Path:
        """The folder that `VisualMention.image` and `Entity.images` are relative to; the root by default."""
        return self.root

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that the folder holds."""

    @property
    @abstractmethod
    def candidate_protocol(self) -> str:
        """Where the candidates come from: "PPRforNED", "kilt", "deep-ed csv", or "kb" for the names of the KB."""

    def choice(self, entities: Mapping[str, int]) -> dict[str, int]:
        """Of the entities that a linker has for each modality, those that its mentions are free to choose from."""
        return {name: count for name, count in entities.items() if name != "text" or self.candidate_protocol == "kb"}

    @abstractmethod
    def _read(self, split: str, skips: SkipReport | None) -> Iterator[Document]:
        """Stream the documents of one of `splits`."""

    @abstractmethod
    def entities(self, skips: SkipReport | None = None) -> Iterator[Entity]:
        """Stream the knowledge-base records that the folder carries."""

    def documents(self, split: str, skips: SkipReport | None = None) -> Iterator[Document]:
        """Stream the documents of a split.

        Raises ConfigError for an unknown split, InputError for one that the folder does not hold and at the first
        bad record; with `skips` a bad record is counted and the rest goes on.
        """
        if split not in self.splits:
            if split in self.card.splits:
                there = f", {', '.join(self.splits)} {'is' if len(self.splits) == 1 else 'are'}" if self.splits else ""
                raise InputError(f"split '{split}' is not there{there}. {self.card.instructions()}", file=self._root)
            raise ConfigError(f"dataset '{self.name}' has no split '{split}'.{did_you_mean(split, self.splits)}")
        return self._read(split, skips)

    def _missing(self, path: Path) -> InputError:
        """The error for a path of the folder that is not there."""
        return InputError(f"is missing. {self.card.instructions()}", file=path)

"""The test suite that every dataset gets: a subclass says how to write a tiny folder and what is in it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmel.data import main
from mmel.datasets import Dataset, dataset_names, open_dataset
from mmel.datasets.check_consistency import UNREAD
from mmel.document import NIL
from mmel.errors import ConfigError, InputError, SkipReport


class DatasetCase(ABC):
    """Subclass it as `TestNAME`. The expected values are of what `write` writes."""

    name: ClassVar[str]
    protocol: ClassVar[str]
    # split -> (documents, text mentions, linked, NIL)
    expected: ClassVar[dict[str, tuple[int, int, int, int]]]
    entity_ids: ClassVar[list[str]]
    # split -> (share of linked mentions with the gold first, and among the candidates), None where none is linked
    prior: ClassVar[dict[str, tuple[float, float] | tuple[None, None]]]
    # A file that is text, one record a line, and the line that breaks its first record.
    breakable: ClassVar[tuple[str, str]]
    # What is counted once that record is broken.
    skip_reason: ClassVar[str]
    # Whether the card gives counts, which a tiny folder does not have.
    counted: ClassVar[bool] = True
    # Files that `write` writes beside the others and that no reader takes.
    unread: ClassVar[list[str]] = []

    @abstractmethod
    def write(self, root: Path) -> None:
        """Write the dataset in its published form, with content of our own."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        self.write(tmp_path)
        return tmp_path

    @pytest.fixture
    def dataset(self, root: Path) -> Dataset:
        return open_dataset(self.name, root)

    def test_is_known_and_has_a_card(self, dataset: Dataset) -> None:
        assert self.name in dataset_names()
        assert dataset.name == dataset.card.name == self.name
        assert dataset.candidate_protocol == self.protocol

    def test_documents(self, dataset: Dataset) -> None:
        assert dataset.splits == tuple(self.expected)
        for split, counts in self.expected.items():
            documents = list(dataset.documents(split))
            for document in documents:
                document.check_spans()
            labels = [mention.entity for document in documents for mention in document.text_mentions]
            linked = [label for label in labels if label not in (None, NIL)]
            assert (len(documents), len(labels), len(linked), labels.count(NIL)) == counts
            assert len({document.id for document in documents}) == len(documents)
            # Reading again gives the same: nothing is used up.
            assert list(dataset.documents(split)) == documents

    def test_documents_stream(self, dataset: Dataset) -> None:
        assert next(iter(dataset.documents(next(iter(self.expected))))).text

    def test_entities(self, dataset: Dataset) -> None:
        assert [entity.id for entity in dataset.entities()] == self.entity_ids

    def test_check_counts(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        # A tiny folder is not what the card describes, and the check says so.
        assert main(["check", self.name, "--root", str(root), "--json"]) == self.counted
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is not self.counted
        assert bool(report["mismatches"]) is self.counted
        assert report["entities"] == len(self.entity_ids)
        assert report["noted"].get(UNREAD, 0) == len(self.unread)
        assert report["broken"] == {}
        for split, counts in self.expected.items():
            found = report["splits"][split]
            assert tuple(found[key] for key in ("documents", "mentions", "linked", "nil")) == counts
            assert (found["prior_accuracy"], found["candidate_recall"]) == pytest.approx(self.prior[split])

    def test_check_prints_a_table(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["check", self.name, "--root", str(root)])
        printed = capsys.readouterr()
        assert all(split in printed.out for split in self.expected)
        assert ("mismatch: " in printed.out) is self.counted
        assert all(f"  {path}\n" in printed.err for path in self.unread)

    def test_check_tells_what_nothing_reads(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (root / "other.json").write_text("{")
        main(["check", self.name, "--root", str(root)])
        assert f"kept {1 + len(self.unread)}: {UNREAD}" in capsys.readouterr().err

    def test_unknown_split(self, dataset: Dataset) -> None:
        first = next(iter(self.expected))
        with pytest.raises(ConfigError, match=f"Did you mean '{first}'"):
            dataset.documents(f"{first}x")

    def test_missing_folders(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="needs its folder. Expected below the root"):
            open_dataset(self.name)
        with pytest.raises(InputError, match="nowhere: is no folder"):
            open_dataset(self.name, tmp_path / "nowhere")
        with pytest.raises(InputError, match="is missing. Expected below the root: .*Remedy: "):
            open_dataset(self.name, tmp_path)

    def test_a_broken_record_is_named(self, root: Path) -> None:
        file, broken = self.breakable
        path = root / file
        lines = path.read_text(encoding="utf-8").split("\n")
        path.write_text("\n".join([broken, *lines[1:]]), encoding="utf-8")
        split = next(iter(self.expected))
        with pytest.raises(InputError, match=rf"{path.name}:1: ") as caught:
            list(open_dataset(self.name, root).documents(split))
        assert "Remedy: " in str(caught.value)

    def test_a_broken_record_can_be_counted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file, broken = self.breakable
        path = root / file
        lines = path.read_text(encoding="utf-8").split("\n")
        path.write_text("\n".join([broken, *lines[1:]]), encoding="utf-8")
        skips = SkipReport()
        list(open_dataset(self.name, root).documents(next(iter(self.expected)), skips))
        assert self.skip_reason in skips.counts
        assert main(["check", self.name, "--root", str(root), "--json"]) == 1
        printed = capsys.readouterr()
        assert json.loads(printed.out)["skips"] == dict(skips.counts)
        assert f"skipped {skips.counts[self.skip_reason]}: {self.skip_reason}" in printed.err


def write_lines(path: Path, *lines: str | dict[str, Any]) -> None:
    """Write lines to a file in a folder that may not exist yet; a mapping becomes a line of JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")

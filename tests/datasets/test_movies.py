from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from mmel.datasets import open_dataset
from mmel.errors import InputError
from tests.datasets.cases import DatasetCase, write_lines


class TestMovies(DatasetCase):
    name = "movies"
    protocol = "kb"
    expected: ClassVar = {"dev-short": (1, 1, 0, 1), "train": (2, 3, 3, 0)}
    entity_ids: ClassVar = ["F1", "C1", "C2"]
    prior: ClassVar = {"train": (1 / 3, 2 / 3), "dev-short": (None, None)}
    breakable = ("documents.dev-short.jsonl", '{"id": "x"')
    skip_reason = "broken record"

    def write(self, root: Path) -> None:
        def mention(start: int, text: str, entity: str) -> dict[str, object]:
            return {"start": start, "end": start + len(text), "text": text, "entity": entity}

        write_lines(
            root / "kb.jsonl",
            {
                "id": "F1",
                "title": "Rosalind",
                "type": "film",
                "aliases": [{"name": "Rosalind", "count": 5}],
                "links": ["C1"],
            },
            {"id": "C1", "title": "Rosalind Moor", "aliases": [{"name": "Rosalind", "count": 2}], "links": ["F1"]},
            {"id": "C2", "title": "Tib", "aliases": [{"name": "Tib", "count": 1}]},
        )
        write_lines(
            root / "documents.train.jsonl",
            {
                "id": "a",
                "text": "Rosalind loves Rosalind.",
                "text_mentions": [mention(0, "Rosalind", "C1"), mention(15, "Rosalind", "F1")],
                "visual_mentions": [{"image": "images/a.jpg", "box": None, "entity": "C1"}],
            },
            {"id": "b", "text": "Nobody knows Tib's dog.", "text_mentions": [mention(13, "Tib's", "C2")]},
        )
        write_lines(
            root / "documents.dev-short.jsonl",
            {"id": "c", "text": "Hugo", "text_mentions": [mention(0, "Hugo", "NIL")]},
        )

    def test_the_knowledge_base_is_needed(self, root: Path) -> None:
        (root / "kb.jsonl").unlink()
        with pytest.raises(InputError, match="kb.jsonl: is missing"):
            open_dataset("movies", root)

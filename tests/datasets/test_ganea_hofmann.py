from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from mmel.data import main
from mmel.datasets import open_dataset
from mmel.document import Candidate
from mmel.errors import InputError
from tests.datasets.cases import DatasetCase, write_lines

FIRST = "Avalon beat Brigadoon in Camelot.\nAvalon rejoiced."
SECOND = "The mayor of Camelot resigned."
# (document, offset, surface, title, candidates by p(e|m))
MENTIONS = [
    ("one", 0, "Avalon", "Avalon F.C.", ["Avalon", "Avalon F.C."]),
    ("one", 12, "Brigadoon", "Brigadoon F.C.", ["Brigadoon F.C.", "Brigadoon"]),
    ("one", 25, "Camelot", "Camelot (city)", ["Camelot (city)", "Camelot (film)"]),
    ("one", 34, "Avalon", "Avalon F.C.", ["Avalon F.C."]),
    ("two", 13, "Camelot", "Camelot (city)", []),
]
TEXTS = {"one": FIRST, "two": SECOND}


def write_texts(folder: Path) -> None:
    for name, text in TEXTS.items():
        path = folder / "RawText" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    documents = ""
    for name in TEXTS:
        annotations = "".join(
            f"<annotation><mention>{surface}</mention><wikiName>{title}</wikiName><offset>{offset}</offset>"
            f"<length>{len(surface)}</length></annotation>"
            for document, offset, surface, title, _ in MENTIONS
            if document == name
        )
        documents += f'<document docName="{name}">{annotations}</document>\n'
    write_lines(
        folder / f"{folder.name}.xml", '<?xml version="1.0"?>', f"<x.entityAnnotation>{documents}</x.entityAnnotation>"
    )


def write_rows(path: Path) -> None:
    rows = []
    for number, (document, offset, surface, title, candidates) in enumerate(MENTIONS):
        text = TEXTS[document].replace("\n", " ")
        left, right = text[:offset].strip(), text[offset + len(surface) :].strip()
        rows.append(
            {
                "id": number,
                "input": f"{left} [START_ENT] {surface} [END_ENT] {right}".strip(),
                "output": [{"answer": title, "provenance": [{"title": title}]}],
                "meta": {"left_context": left, "mention": surface, "right_context": right},
                "candidates": candidates,
            }
        )
    write_lines(path, *rows)


def write_table(path: Path) -> None:
    lines = []
    for document, offset, surface, title, candidates in MENTIONS:
        text = TEXTS[document].replace("\n", " ")
        left, right = text[:offset].strip() or "EMPTYCTXT", text[offset + len(surface) :].strip()
        listed = [f"{100 + i},{0.9 / (i + 1):.3f},{name}" for i, name in enumerate(candidates)] or ["EMPTYCAND"]
        gold = (
            f"{candidates.index(title)},{listed[candidates.index(title)]}" if title in candidates else f"-1,7,{title}"
        )
        lines.append("\t".join([document, document, surface, left, right, "CANDIDATES", *listed, "GT:", gold]))
    write_lines(path, *lines)


class GaneaHofmannCase(DatasetCase):
    protocol = "kilt"
    expected: ClassVar = {"test": (2, 5, 5, 0)}
    entity_ids: ClassVar = [
        "Avalon",
        "Avalon F.C.",
        "Brigadoon F.C.",
        "Brigadoon",
        "Camelot (city)",
        "Camelot (film)",
    ]
    prior: ClassVar = {"test": (3 / 5, 4 / 5)}
    skip_reason = "broken record"
    also = ""

    @property
    def breakable(self) -> tuple[str, str]:  # type: ignore[override]
        return f"kilt/{self.name}.jsonl", "{"

    def write(self, root: Path) -> None:
        write_rows(root / "kilt" / f"{self.name}.jsonl")
        write_texts(root / "wned" / self.name)
        write_lines(root / "kb" / "wikipedia_descriptions.jsonl", {"title": "Camelot (film)", "description": "A film."})

    def test_descriptions_come_from_the_root(self, root: Path) -> None:
        described = {entity.id: entity.description for entity in open_dataset(self.name, root).entities()}
        assert described["Camelot (film)"] == "A film."
        assert described["Avalon"] == ""
        (root / "kb" / "wikipedia_descriptions.jsonl").unlink()
        assert not any(entity.description for entity in open_dataset(self.name, root).entities())

    def test_ranks_are_kept(self, root: Path) -> None:
        document = next(open_dataset(self.name, root).documents("test"))
        assert document.text == FIRST
        assert document.text_mentions[0].candidates == (Candidate("Avalon", rank=0), Candidate("Avalon F.C.", rank=1))

    def test_rows_without_texts_are_refused(self, root: Path) -> None:
        (root / "wned").rename(root / "elsewhere")
        with pytest.raises(InputError, match=rf"{self.name}: is missing"):
            open_dataset(self.name, root)

    def test_a_table_needs_no_texts(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_table(tmp_path / f"wned-{self.also or self.name}.csv")
        dataset = open_dataset(self.name, tmp_path)
        assert dataset.candidate_protocol == "deep-ed csv"
        documents = list(dataset.documents("test"))
        assert [document.id for document in documents] == ["one", "two"]
        assert documents[0].text_mentions[0].candidates == (
            Candidate("Avalon", 0.9, 0),
            Candidate("Avalon F.C.", 0.45, 1),
        )
        assert [entity.id for entity in dataset.entities()] == self.entity_ids
        assert main(["check", self.name, "--root", str(tmp_path)]) == 1
        assert "60.00" in capsys.readouterr().out

    def test_a_table_with_texts_has_their_offsets(self, tmp_path: Path) -> None:
        write_table(tmp_path / f"wned-{self.name}.csv")
        write_texts(tmp_path / "wned" / self.name)
        assert next(open_dataset(self.name, tmp_path).documents("test")).text == FIRST

    def test_published_file_names(self, tmp_path: Path) -> None:
        published = self.also or self.name
        write_rows(tmp_path / "kilt" / f"{published}-test-kilt.jsonl")
        write_texts(tmp_path / "wned" / published)
        assert len(list(open_dataset(self.name, tmp_path).documents("test"))) == 2


class TestMsnbc(GaneaHofmannCase):
    name = "msnbc"


class TestAce2004(GaneaHofmannCase):
    name = "ace2004"


class TestAquaint(GaneaHofmannCase):
    name = "aquaint"


class TestCweb(GaneaHofmannCase):
    name = "cweb"
    also = "clueweb"


class TestWiki(GaneaHofmannCase):
    name = "wiki"
    also = "wikipedia"

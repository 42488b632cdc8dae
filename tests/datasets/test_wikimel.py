from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmel.data import main
from mmel.datasets import open_dataset
from mmel.errors import InputError, SkipReport
from mmel.formats import melbench, mentions_in_text
from tests.datasets.cases import DatasetCase


def sentence_of(split: str, number: int = 0) -> str:
    """A sentence that the rule of the dataset puts into a split, the `number`-th of its kind."""
    parts = {"test": [0], "val": [1], "train": range(2, 10)}
    sentences = (f"Otto Renn in year {year}" for year in range(1000, 3000))
    return [text for text in sentences if zlib.crc32(text.encode()) % 10 in parts[split]][number]


def caption(number: int, sentence: str, *mentions: tuple[str, str], **changed: Any) -> dict[str, Any]:
    """A record of MELBench's form; a mention is (surface, QID)."""
    surfaces, answers = [each[0] for each in mentions], [each[1] for each in mentions]
    return {"id": str(number), "sentence": sentence, "mentions": surfaces, "entities": surfaces, "answer": answers} | (
        changed
    )


def write_captions(path: Path, *captions: dict[str, Any]) -> None:
    path.write_text(json.dumps({record["id"]: record for record in captions}), encoding="utf-8")


RENN = ("Otto Renn", "Q1")


class TestWikiMel(DatasetCase):
    name = "wikimel"
    protocol = "kb"
    expected: ClassVar = {"train": (2, 3, 2, 1), "val": (1, 1, 1, 0), "test": (1, 1, 1, 0)}
    entity_ids: ClassVar = ["Q1", "Q2"]
    prior: ClassVar = {"train": (1, 1), "val": (0, 0), "test": (1, 1)}
    breakable = ("Wikidata-MEL.json", "[")
    skip_reason = "broken record"

    def write(self, root: Path) -> None:
        write_captions(
            root / "Wikidata-MEL.json",
            caption(11, sentence_of("train"), ("year", "nil"), RENN),
            caption(12, sentence_of("train"), RENN),
            caption(13, sentence_of("val"), ("Renn", "Q1")),
            caption(14, sentence_of("test"), RENN),
        )
        (root / "qid2ne.json").write_text(json.dumps({"Q1": "Otto Renn", "Q2": "Ines Tavara"}))
        (root / "qid2abs.json").write_text(json.dumps({"Q1": "Sex: male. Occupation: baker.", "Q2": "Sex: female."}))

    def test_mentions_are_located(self, root: Path) -> None:
        document = next(iter(open_dataset(self.name, root).documents("train")))
        assert [(each.start, each.text, each.entity) for each in document.text_mentions] == [
            (0, "Otto Renn", "Q1"),
            (13, "year", "NIL"),
        ]
        assert (document.id, document.images) == ("11", ())

    def test_entities_have_titles_and_descriptions(self, root: Path) -> None:
        one, _ = open_dataset(self.name, root).entities()
        assert (one.title, one.description) == ("Otto Renn", "Sex: male. Occupation: baker.")

    def test_equal_sentences_are_in_one_split(self, root: Path) -> None:
        dataset = open_dataset(self.name, root)
        texts = [{document.text for document in dataset.documents(split)} for split in dataset.splits]
        assert not texts[0] & texts[1] | texts[0] & texts[2] | texts[1] & texts[2]

    def test_tables_that_are_not_aligned_are_noted(self, root: Path) -> None:
        (root / "qid2abs.json").write_text(json.dumps({"Q1": "Sex: male.", "Q3": "Sex: female."}))
        skips = SkipReport()
        one, two = open_dataset(self.name, root).entities(skips)
        assert (one.description, two.description) == ("Sex: male.", "")
        assert skips.noted == {melbench.NO_DESCRIPTION: 1, melbench.NO_ENTITY: 1}
        assert skips.examples == {melbench.NO_DESCRIPTION: ["Q2 Ines Tavara"], melbench.NO_ENTITY: ["Q3"]}

    def test_a_knowledge_base_of_its_own_needs_no_tables(self, root: Path) -> None:
        (root / "qid2ne.json").unlink()
        with pytest.raises(InputError, match="qid2ne.json: is missing"):
            open_dataset(self.name, root)
        (root / "kb.jsonl").write_text('{"id": "Q7", "title": "Mira"}\n')
        assert [entity.id for entity in open_dataset(self.name, root).entities()] == ["Q7"]

    def test_an_empty_picture_is_none_and_noted(self, root: Path) -> None:
        write_captions(
            root / "Wikidata-MEL.json",
            caption(1, sentence_of("val"), RENN, imgPath=""),
            caption(2, sentence_of("val", 1), RENN, imgPath="2.jpg"),
        )
        skips = SkipReport()
        documents = list(open_dataset(self.name, root).documents("val", skips))
        assert [document.images for document in documents] == [(), ("2.jpg",)]
        assert skips.noted == {melbench.NO_PICTURE: 1}

    def test_a_key_that_stands_twice_is_told(self, root: Path) -> None:
        one, two = (json.dumps(caption(1, sentence_of("val", number), RENN)) for number in (0, 1))
        (root / "Wikidata-MEL.json").write_text(f'{{"1": {one}, "1": {two}}}')
        with pytest.raises(InputError, match=r"Wikidata-MEL.json\['1'\]: stands twice.*Remedy: "):
            list(open_dataset(self.name, root).documents("val"))
        skips = SkipReport()
        assert len(list(open_dataset(self.name, root).documents("val", skips))) == 1
        assert skips.counts == {"key stands twice in an object": 1}

    def test_what_belongs_to_no_split_is_counted_once(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        one = json.dumps(caption(1, sentence_of("val"), RENN))
        (root / "Wikidata-MEL.json").write_text(f'{{"1": {one}, "1": {one}, "2": 7}}')
        assert main(["check", self.name, "--root", str(root), "--json"]) == 1
        found = json.loads(capsys.readouterr().out)["skips"]
        assert found == {"key stands twice in an object": 1, "broken record": 1}

    # The file is one object: what breaks it breaks all, and a record has a key, not a line.
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"answer": []}, "field 'answer': has 0 values for 1 mentions"),
            ({"mentions": [""]}, "field 'mentions': holds a blank one"),
        ],
    )
    def test_a_broken_caption_is_named(self, changed: dict[str, Any], message: str, root: Path) -> None:
        write_captions(root / "Wikidata-MEL.json", caption(5, sentence_of("val"), RENN, **changed))
        with pytest.raises(InputError, match=rf"Wikidata-MEL.json\['5'\]: {message}.*Remedy: "):
            list(open_dataset(self.name, root).documents("val"))

    def test_a_broken_record_is_named(self, root: Path) -> None:
        (root / "Wikidata-MEL.json").write_text("[]")
        with pytest.raises(InputError, match="Wikidata-MEL.json: expected an object.*Remedy: "):
            list(open_dataset(self.name, root).documents("train"))

    def test_a_broken_record_can_be_counted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_captions(
            root / "Wikidata-MEL.json",
            caption(5, sentence_of("val"), answer=7),
            caption(6, sentence_of("val", 1), RENN),
        )
        assert main(["check", self.name, "--root", str(root), "--json"]) == 1
        # Once, though the file is read for every split.
        report = json.loads(capsys.readouterr().out)
        assert report["skips"] == {"broken record": 1}
        assert report["splits"]["val"]["documents"] == 1


@pytest.mark.data
def test_the_captions_at_hand(data_root: Path) -> None:
    dataset = open_dataset("wikimel", data_root / "wikimel")
    skips = SkipReport()
    documents = [document for split in dataset.splits for document in dataset.documents(split, skips)]
    assert sum(len(document.text_mentions) for document in documents) == 19305
    assert not skips.counts
    assert skips.noted[mentions_in_text.NOWHERE] < 10
    for document in documents:
        document.check_spans()
    assert sum(1 for _ in dataset.entities(skips)) == 18880

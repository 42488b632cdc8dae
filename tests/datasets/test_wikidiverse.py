from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmel.data import main
from mmel.datasets import open_dataset
from mmel.document import Alias
from mmel.errors import InputError, SkipReport
from mmel.formats import kgmel, mentions_in_text
from tests.datasets.cases import DatasetCase


def caption(number: int, text: str, *mentions: tuple[str, str, str], **changed: Any) -> dict[str, Any]:
    """A record of KGMEL's form; a mention is (surface, title, QID)."""
    surfaces, titles, answers = ([each[i] for each in mentions] for i in range(3))
    record = {
        "id": number, "sentence": text, "imgPath": f"mention_{number}.jpg", "mention": surfaces, "entity": titles,
        "answer": answers, "img-url": f"https://pictures.example/{number}.JPG",
    }  # fmt: skip
    return {name: value for name, value in (record | changed).items() if value is not None}


def write_captions(path: Path, *captions: Any) -> None:
    path.write_text(json.dumps(captions, indent=0), encoding="utf-8")


RENN = ("Renn", "Renn (Saar)", "Q1")
OTTO = ("Otto", "Otto Renn", "Q2")


class TestWikiDiverse(DatasetCase):
    name = "wikidiverse"
    protocol = "kb"
    expected: ClassVar = {"train": (3, 5, 4, 1), "val": (1, 1, 1, 0)}
    entity_ids: ClassVar = ["Q2", "Q1", "Q3"]
    prior: ClassVar = {"train": (0.25, 0.25), "val": (0, 0)}
    breakable = ("WikiDiverse.train.json", "[")
    skip_reason = "broken record"

    def write(self, root: Path) -> None:
        write_captions(
            root / "WikiDiverse.train.json",
            caption(3, "Renn, or Otto in Renn", OTTO, RENN, RENN),
            caption(4, "Ines at night", ("Ines", "nil", "nil"), **{"img-url": None}),
            caption(5, "Otto Renn", ("Otto Renn", "Otto Renn", "Q2"), imgPath=""),
        )
        write_captions(root / "WikiDiverse.val.json", caption(3, "ULM", ("Ulm", "Ulm Minster", "Q3")))

    def test_mentions_are_located(self, root: Path) -> None:
        document = next(iter(open_dataset(self.name, root).documents("train")))
        assert [(each.start, each.text, each.entity) for each in document.text_mentions] == [
            (0, "Renn", "Q1"),
            (9, "Otto", "Q2"),
            (17, "Renn", "Q1"),
        ]
        assert document.id == "3"
        assert document.images == ("mention_3.jpg",)
        assert document.extra == {"img-url": "https://pictures.example/3.JPG"}

    def test_a_caption_without_a_picture_of_its_own_has_none(self, root: Path) -> None:
        skips = SkipReport()
        documents = list(open_dataset(self.name, root).documents("train", skips))
        assert [document.images for document in documents] == [("mention_3.jpg",), (), ()]
        assert skips.noted == {kgmel.NO_PICTURE: 2}
        assert not skips.counts

    def test_another_spelling_keeps_the_name_that_the_dataset_gives(self, root: Path) -> None:
        skips = SkipReport()
        (document,) = open_dataset(self.name, root).documents("val", skips)
        (mention,) = document.text_mentions
        assert (mention.text, mention.name) == ("ULM", "Ulm")
        assert skips.noted == {mentions_in_text.OTHERWISE: 1}

    def test_entities_are_those_that_captions_name(self, root: Path) -> None:
        _, renn, _ = open_dataset(self.name, root).entities()
        assert (renn.id, renn.title, renn.aliases) == ("Q1", "Renn (Saar)", (Alias("Renn (Saar)", 1),))

    def test_several_titles_of_an_entity_are_noted(self, root: Path) -> None:
        write_captions(root / "WikiDiverse.test.json", caption(9, "Renn", ("Renn", "Renn on Saar", "Q1")))
        skips = SkipReport()
        entities = {entity.id: entity for entity in open_dataset(self.name, root).entities(skips)}
        assert entities["Q1"].title == "Renn (Saar)"
        assert entities["Q1"].aliases == (Alias("Renn (Saar)"), Alias("Renn on Saar"))
        assert skips.noted == {kgmel.SEVERAL_TITLES: 1}

    def test_a_knowledge_base_of_its_own_goes_before(self, root: Path) -> None:
        (root / "kb.jsonl").write_text('{"id": "Q7", "title": "Mira"}\n')
        assert [entity.id for entity in open_dataset(self.name, root).entities()] == ["Q7"]

    @pytest.mark.parametrize("spelling", ["nil", "NIL", "Nil", ""])
    def test_nil_in_four_spellings(self, spelling: str, root: Path) -> None:
        write_captions(root / "WikiDiverse.train.json", caption(1, "Ines", ("Ines", "", spelling)))
        assert main(["check", self.name, "--root", str(root), "--json"]) == 1
        (document,) = open_dataset(self.name, root).documents("train")
        assert document.text_mentions[0].entity == "NIL"

    # The file is one list: what breaks it breaks all, and a record has a number, not a line.
    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            ({"answer": ["Q1"]}, "field 'answer': has 1 values for 2 mentions"),
            ({"mention": ["Otto", " "]}, "field 'mention': holds a blank one"),
            ({"mention": ["Otto", 7]}, "field 'mention': expected a string"),
            ({"sentence": None}, "field 'sentence': is missing"),
            ({"imgPath": 7}, "field 'imgPath': expected a string"),
        ],
    )
    def test_a_broken_caption_is_named_and_can_be_counted(
        self, changed: dict[str, Any], message: str, root: Path
    ) -> None:
        broken = caption(8, "Otto in Renn", OTTO, RENN, **changed)
        write_captions(root / "WikiDiverse.train.json", broken, caption(9, "Renn", RENN), 7)
        with pytest.raises(InputError, match=rf"WikiDiverse.train.json\[0\]: {message}.*Remedy: "):
            list(open_dataset(self.name, root).documents("train"))
        skips = SkipReport()
        assert len(list(open_dataset(self.name, root).documents("train", skips))) == 1
        assert skips.counts == {"broken record": 2}

    def test_a_broken_record_is_named(self, root: Path) -> None:
        (root / "WikiDiverse.train.json").write_text("[")
        with pytest.raises(InputError, match="WikiDiverse.train.json:1: is no JSON.*Remedy: "):
            list(open_dataset(self.name, root).documents("train"))

    def test_a_broken_record_can_be_counted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_captions(root / "WikiDiverse.train.json", {"id": 1}, caption(9, "Renn", RENN))
        assert main(["check", self.name, "--root", str(root), "--json"]) == 1
        # Once, though the captions are read for the entities too.
        assert json.loads(capsys.readouterr().out)["skips"] == {"broken record": 1}


@pytest.mark.data
def test_the_captions_at_hand(data_root: Path) -> None:
    dataset = open_dataset("wikidiverse", data_root / "wikidiverse")
    skips = SkipReport()
    documents = [document for split in ("train", "val") for document in dataset.documents(split, skips)]
    assert sum(not document.images for document in documents) == 16
    assert not skips.counts
    assert skips.noted[mentions_in_text.NOWHERE] == 0
    for document in documents:
        document.check_spans()
    assert len({entity.id for entity in dataset.entities(skips)}) == 6898
    assert skips.noted[kgmel.SEVERAL_TITLES] == 6

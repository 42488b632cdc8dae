from __future__ import annotations

import hashlib
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

    def test_the_entities_of_mimic_go_before_those_that_are_named(self, root: Path) -> None:
        entities = [{"id": 0, "qid": "Q1", "entity_name": "Renn", "attr": "A town.", "image_list": []}]
        (root / "kb_entity.json").write_text(json.dumps(entities))
        dataset = open_dataset(self.name, root)
        assert (dataset.form, dataset.splits) == ("KGMEL", ("train", "val"))
        (renn,) = dataset.entities()
        assert (renn.id, renn.description) == ("Q1", "A town.")
        assert [document.id for document in dataset.documents("train")] == ["3", "4", "5"]

    def test_captions_of_mimic_beside_are_refused(self, root: Path) -> None:
        (root / "kb_entity.json").write_text("[]")
        (root / "WIKIDiverse_train.json").write_text("[]")
        with pytest.raises(InputError, match="several forms: KGMEL .* and MIMIC .*Remedy: "):
            open_dataset(self.name, root)

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


class AuthorsCase(DatasetCase):
    """What the authors' two forms share: a file is one list of rows, which have a number, not a line."""

    name = "wikidiverse"
    skip_reason = "broken record"

    def test_a_broken_record_is_named(self, root: Path) -> None:
        file, broken = self.breakable
        (root / file).write_text(f"[{broken}]")
        with pytest.raises(InputError, match=rf"{file}\[0\]: expected .*Remedy: "):
            list(open_dataset(self.name, root).documents("train"))

    def test_a_broken_record_can_be_counted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        file, broken = self.breakable
        rows = json.loads((root / file).read_text())
        write_captions(root / file, *rows, json.loads(broken))
        assert main(["check", self.name, "--root", str(root), "--json"]) == 1
        report = json.loads(capsys.readouterr().out)
        assert report["skips"] == {"broken record": 1}
        assert report["splits"]["train"]["mentions"] == self.expected["train"][1]


class TestAuthorsCaptions(AuthorsCase):
    protocol = "kb"
    expected: ClassVar = {"train": (2, 3, 2, 1), "val": (1, 1, 1, 0)}
    entity_ids: ClassVar = ["Otto Renn", "Ulm"]
    prior: ClassVar = {"train": (0.5, 0.5), "val": (0, 0)}
    breakable = ("train.json", '["Otto", ""]')

    def write(self, root: Path) -> None:
        wiki, picture = "https://en.wikipedia.org/wiki/", "https://pictures.example/a/Otto.svg"
        write_captions(
            root / "train.json",
            ["Otto in Ulm", picture, "sports", [
                ["Otto", "Person", 0, 4, f"n{wiki}Otto_R."], ["Ulm", "Location", 8, 11, f"{wiki}Ulm"],
            ]],
            ["Ines", picture, "sports", [["Ines", "Person", 0, 4, "Nil"]]],
        )  # fmt: skip
        write_captions(root / "valid.json", ["Otto", "", "", [["Otto", "Person", 0, 4, f"{wiki}Otto_Renn"]]])
        (root / "wikipedia_entity2desc_filtered.tsv").write_text("Otto_Renn@@@@A baker.\nUlm@@@@A town.\n")
        (root / "wikipedia_entity2imgs.tsv").write_text(f"Ulm@@@@{picture}[AND]{picture}\n")
        (root / "redirects.tsv").write_text("Otto_R.\tOtto_Renn\n")

    def test_pictures_are_found_by_their_published_names(self, root: Path) -> None:
        name = hashlib.md5(b"Otto.svg").hexdigest() + ".png"
        documents = list(open_dataset(self.name, root).documents("train"))
        assert {document.images for document in documents} == {(f"wikinewsImgs/{name}",)}
        (root / "images").mkdir()
        documents = list(open_dataset(self.name, root).documents("train"))
        assert {document.images for document in documents} == {(f"images/{name}",)}

    def test_redirects_and_tables_are_used(self, root: Path) -> None:
        dataset = open_dataset(self.name, root)
        otto, ulm = dataset.entities()
        assert (otto.description, len(ulm.images)) == ("A baker.", 2)
        assert next(iter(dataset.documents("train"))).text_mentions[0].entity == "Otto Renn"

    def test_without_tables_the_entities_are_those_that_are_named(self, root: Path) -> None:
        (root / "wikipedia_entity2desc_filtered.tsv").unlink()
        assert [entity.id for entity in open_dataset(self.name, root).entities()] == ["Otto Renn", "Ulm"]

    def test_two_tables_of_one_kind_are_refused(self, root: Path) -> None:
        (root / "entity2desc.txt").write_text("Ulm@@@@A town.\n")
        with pytest.raises(InputError, match="entity2desc.txt: and wikipedia_entity2desc_filtered.tsv are both"):
            open_dataset(self.name, root).entities()

    def test_two_forms_in_a_folder_are_refused(self, root: Path) -> None:
        (root / "test_w_10cands.json").write_text("[]")
        (root / "WikiDiverse.val.json").write_text("[]")
        message = r"several forms: KGMEL \(WikiDiverse.val.json\) and captions \(train.json, valid.json\) and 10 cand"
        with pytest.raises(InputError, match=f"{message}.*Remedy: "):
            open_dataset(self.name, root)


class TestAuthorsCandidates(AuthorsCase):
    protocol = "listed"
    expected: ClassVar = {"train": (2, 3, 2, 1)}
    entity_ids: ClassVar = ["Otto Braun", "Otto Renn", "Ulm", "Ulm Minster"]
    prior: ClassVar = {"train": (0, 0.5)}
    breakable = ("train_w_10cands.json", '["Otto"]')

    def write(self, root: Path) -> None:
        wiki, words = "https://en.wikipedia.org/wiki/", [["left"], ["right"]]
        write_captions(
            root / "train_w_10cands.json",
            ["Otto in Ulm", "", "Otto", "Person", *words, f"{wiki}Otto_Renn",
             [f"{wiki}Otto_Braun", f"{wiki}Otto_Renn"], "sports", 0, 4],
            ["Otto in Ulm", "", "Ulm", "Location", *words, f"{wiki}Ulm", [f"{wiki}Ulm_Minster"], "sports", 8, 11],
            ["Ines", "", "Ines", "Person", *words, "nil", [], "sports", 0, 4],
        )  # fmt: skip


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

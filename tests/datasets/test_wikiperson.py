from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from mmel.data import main
from mmel.datasets import Dataset, open_dataset
from mmel.document import VisualMention
from mmel.errors import InputError, SkipReport
from mmel.formats import jsonl
from tests.datasets.cases import DatasetCase


def region(image: str, box: str, person: str) -> dict[str, object]:
    return {"id": 0, "image": f"{image}.jpg", "boundingbox": box, "wikiid": person}


def write_regions(path: Path, *regions: dict[str, Any]) -> None:
    path.write_text(json.dumps(regions), encoding="utf-8")


def write_picture(path: Path, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size).save(path)


class TestWikiPerson(DatasetCase):
    name = "wikiperson"
    protocol = "gallery"
    expected: ClassVar = {"train": (2, 0, 0, 0), "dev": (1, 0, 0, 0), "test": (1, 0, 0, 0)}
    entity_ids: ClassVar = ["Q1", "Q2"]
    prior: ClassVar = {"train": (None, None), "dev": (None, None), "test": (None, None)}
    breakable = ("WIKIPerson_Train.json", "[")
    skip_reason = "broken record"

    def write(self, root: Path) -> None:
        write_regions(
            root / "WIKIPerson_Train.json",
            region("7", "[1, 2, 30, 20]", "Q1"),
            region("8", "[-1, 2, 45, 20]", "Q2"),
            region("7", "[9, 2, 9, 1]", "Q2"),
        )
        write_regions(root / "WIKIPerson_Val_V1.0.json", region("9", "[1, 2, 3, 4]", "Q3"))
        write_regions(root / "WIKIPerson_Test.json", region("10", "[1, 2, 3, 4]", "Q1"))
        people = [{"id": "Q1", "name": "Ines Tavara", "description": "actor"}, {"id": "Q2", "name": "Otto Renn"}]
        (root / "Textual_Knowledge_Base_V1.0.json").write_text(json.dumps(people), encoding="utf-8")
        for name in ("7", "8"):
            write_picture(root / "images" / f"{name}.jpg")
        write_picture(root / "Visual_Knowledge_Base_V1.0" / "Q1.jpg")

    def test_documents_stream(self, dataset: Dataset) -> None:
        first = next(iter(dataset.documents("train")))
        assert [mention.entity for mention in first.visual_mentions] == ["Q1", "Q2"]
        assert all((dataset.pictures / mention.image).is_file() for mention in first.visual_mentions)

    def test_people_have_their_pictures(self, dataset: Dataset) -> None:
        one, two = dataset.entities()
        assert (one.title, one.description, two.images) == ("Ines Tavara", "actor", ())
        assert (dataset.pictures / one.images[0]).is_file()

    # The file is one list: what breaks it breaks all, and a record has a number, not a line.
    def test_a_broken_record_is_named(self, root: Path) -> None:
        write_regions(root / "WIKIPerson_Train.json", region("7", "[1, 2]", "Q1"))
        with pytest.raises(InputError, match=r"WIKIPerson_Train.json\[0\]: field 'boundingbox': .*Remedy: "):
            list(open_dataset(self.name, root).documents("train"))

    def test_a_broken_record_can_be_counted(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_regions(root / "WIKIPerson_Train.json", region("7", "[1, 2]", "Q1"), region("8", "[1, 2, 3, 4]", "Q2"))
        skips = SkipReport()
        assert len(list(open_dataset(self.name, root).documents("train", skips))) == 1
        assert main(["check", self.name, "--root", str(root), "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["skips"] == dict(skips.counts) == {"broken record": 1}

    def test_check_counts_what_is_to_be_seen(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["check", self.name, "--root", str(root), "--json"])
        report = json.loads(capsys.readouterr().out)
        assert report["gallery"] == {"entities": 1, "without_picture": 1, "pictures": 1, "pictures_missing": 0}
        assert report["splits"]["train"]["pictures"] == {
            "pictures": 2, "pictures_missing": 0, "mentions": 3, "linked": 3, "nil": 0, "unlabelled": 0,
            "in_gallery": 1, "boxes_empty": 1, "boxes_beyond": 1,
        }  # fmt: skip
        assert report["splits"]["dev"]["pictures"]["pictures_missing"] == 1

    def test_check_prints_no_table_of_texts(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["check", self.name, "--root", str(root)])
        printed = capsys.readouterr().out
        assert "in gallery" in printed
        assert "R@1" not in printed
        assert "gallery: 1 entities with 1 pictures; 0 pictures missing, 1 entities without one" in printed

    def test_own_records_go_before_the_published_form(self, root: Path) -> None:
        (root / "kb.jsonl").write_text('{"id": "L1", "title": "Mira", "images": ["images/7.jpg"]}\n')
        (entity,) = open_dataset(self.name, root).entities()
        assert (entity.id, entity.images) == ("L1", ("images/7.jpg",))

    def test_annotations_alone_are_a_dataset_too(self, tmp_path: Path) -> None:
        write_regions(tmp_path / "WIKIPerson_Test.json", region("10", "[1, 2, 3, 4]", "Q1"))
        dataset = open_dataset(self.name, tmp_path)
        assert dataset.splits == ("test",)
        assert list(dataset.entities()) == []
        with pytest.raises(InputError, match="split 'train' is not there"):
            dataset.documents("train")

    def test_one_file_for_training_and_development_is_divided_three_to_one(self, tmp_path: Path) -> None:
        regions = [region(str(i // 2), "[1, 2, 3, 4]", "Q1") for i in range(800)]
        write_regions(tmp_path / "WIKIPerson_Train_Dev_V1.0.json", *regions)
        dataset = open_dataset(self.name, tmp_path)
        assert dataset.splits == ("train", "dev")
        train, dev = ({document.id for document in dataset.documents(split)} for split in dataset.splits)
        assert not train & dev
        assert len(train | dev) == 400
        assert 80 < len(dev) < 120

    def test_documents_without_text_can_be_written_and_read(self, root: Path) -> None:
        documents = list(open_dataset(self.name, root).documents("test"))
        jsonl.write_documents(root / "documents.jsonl", documents)
        assert list(jsonl.read_documents(root / "documents.jsonl")) == documents
        assert documents[0].visual_mentions == (VisualMention("images/10.jpg", (1, 2, 3, 4), "Q1", {"id": 0}),)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "counts", "gallery"),
    [
        ("newsfaces", {"train": (3112, 0, 3112, 3112), "dev": (381, 0, 381, 381)}, 2649),
        ("wikiperson", {"test": (0, 6119, 6142, 0)}, 0),
    ],
)
def test_real_annotations(
    folder: str,
    counts: dict[str, tuple[int, ...]],
    gallery: int,
    data_root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "wikiperson", "--root", str(data_root / folder), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    found = {
        split: tuple(seen["pictures"][key] for key in ("pictures", "pictures_missing", "linked", "in_gallery"))
        for split, seen in report["splits"].items()
    }
    assert found == counts
    assert report["gallery"]["entities"] == gallery


@pytest.mark.data
def test_nobody_is_twice_in_the_official_test_split(data_root: Path) -> None:
    documents = open_dataset("wikiperson", data_root / "wikiperson").documents("test")
    people = [mention.entity for document in documents for mention in document.visual_mentions]
    assert len(set(people)) == len(people) == 6142

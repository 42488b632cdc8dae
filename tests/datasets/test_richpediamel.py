from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmel.config import load_config
from mmel.data import main
from mmel.datasets import Dataset, open_dataset
from mmel.document import NIL
from mmel.errors import InputError, SkipReport
from tests.datasets.cases import DatasetCase


def mention(number: int, surface: str, answer: str, sentence: str = "Tavara meets Renn.", image: str = "a.jpg") -> Any:
    """A record in the published form."""
    return {
        "id": number,
        "sentence": sentence,
        "imgPath": image,
        "entities": f"{surface} of that place",
        "mentions": surface,
        "answer": answer,
    }


def entity(number: int, qid: str, name: str, *images: str, attr: str = "Occupation: cellist.") -> dict[str, Any]:
    return {"id": number, "qid": qid, "entity_name": name, "attr": attr, "type": "entity", "image_list": list(images)}


def write_list(path: Path, *records: Any) -> None:
    """A list with a record a line, so that one can be broken alone."""
    path.write_text("[" + ",\n".join(map(json.dumps, records)) + "]\n", encoding="utf-8")


def write_mimic(root: Path, name: str) -> None:
    write_list(
        root / f"{name}_train.json",
        mention(0, "Renn", "Q2"),
        mention(0, "Tavara", "Q1"),
        mention(1, "Ines%20Hollow", "nil", "Ines Hollow stays away.", "x/b.c.PNG"),
    )
    write_list(root / f"{name}_dev.json", mention(7, "Renn", "Q9", image=""))
    write_list(root / f"{name}_test.json", mention(8, "Tavara", "Q1"))
    write_list(
        root / "kb_entity.json",
        entity(0, "Q1", "Tavara", "Q1_0.jpg", "Q1_1.jpg"),
        entity(1, "Q2", "Otto%20Renn"),
    )
    (root / "qid2id.json").write_text('{"Q1": 0, "Q2": 1}', encoding="utf-8")
    for folder, file in (("kb_image", "Q1_0.jpg"), ("mention_image", "a.jpg"), ("mention_image", "b.jpg")):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / file).touch()


class TestRichpediaMel(DatasetCase):
    name = "richpediamel"
    protocol = "kb"
    expected: ClassVar = {"train": (2, 3, 2, 1), "val": (1, 1, 1, 0), "test": (1, 1, 1, 0)}
    entity_ids: ClassVar = ["Q1", "Q2"]
    prior: ClassVar = {"train": (0.5, 0.5), "val": (0.0, 0.0), "test": (1.0, 1.0)}
    breakable = ("RichpediaMEL_train.json", '[{"id": 0, "mentions": 5},')
    skip_reason = "broken record"

    def write(self, root: Path) -> None:
        write_mimic(root, "RichpediaMEL")

    # A record of a list has a number, not a line.
    def test_a_broken_record_is_named(self, root: Path) -> None:
        write_list(root / "RichpediaMEL_train.json", mention(0, "Renn", "Q2") | {"mentions": " "})
        with pytest.raises(InputError, match=r"RichpediaMEL_train.json\[0\]: field 'mentions': is blank.*Remedy: "):
            list(open_dataset(self.name, root).documents("train"))

    def test_mentions_of_a_caption_are_one_document(self, dataset: Dataset) -> None:
        first, second = dataset.documents("train")
        assert [(each.text, each.entity) for each in first.text_mentions] == [("Tavara", "Q1"), ("Renn", "Q2")]
        assert [(each.text, each.entity) for each in second.text_mentions] == [("Ines Hollow", NIL)]

    def test_pictures_are_where_they_were_put(self, dataset: Dataset) -> None:
        assert [document.images for document in dataset.documents("train")] == [
            ("mention_image/a.jpg",),
            ("mention_image/b.jpg",),
        ]
        assert [entity.images for entity in dataset.entities()] == [("kb_image/Q1_0.jpg", "kb_image/Q1_1.jpg"), ()]

    def test_check_tells_what_is_irregular(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["check", self.name, "--root", str(root), "--json"])
        printed = capsys.readouterr()
        assert "kept 1: document without a picture" in printed.err
        assert "kept 1: percent-encoded name was decoded" in printed.err
        assert json.loads(printed.out)["gallery"] == {
            "entities": 1, "without_picture": 1, "pictures": 1, "pictures_missing": 1,
        }  # fmt: skip


def test_the_experiment_of_wikimel_takes_it() -> None:
    settings = ["name=richpediamel", "data.dataset=richpediamel", "data.root=DIR"]
    config, other = load_config("wikimel", settings), load_config("wikimel", ["data.root=DIR"])
    assert config.run_folder == Path("runs/richpediamel-0")
    assert config.data.train_split == ("train",) and config.data.dev_split == ("val",)
    assert (config.candidates, config.model, config.train) == (other.candidates, other.model, other.train)


@pytest.mark.parametrize(
    ("name", "file", "entities"),
    [
        ("wikimel", "WIKIMEL", 109_976),
        ("wikidiverse", "wiki_diverse", 132_460),
        ("wikidiverse", "WIKIDiverse", 132_460),
    ],
)
def test_other_sets_are_read_in_this_layout_too(tmp_path: Path, name: str, file: str, entities: int) -> None:
    write_mimic(tmp_path, file)
    dataset = open_dataset(name, tmp_path)
    assert dataset.splits == ("train", "val", "test")
    assert [len(list(dataset.documents(split))) for split in dataset.splits] == [2, 1, 1]
    assert [entity.title for entity in dataset.entities()] == ["Tavara", "Otto Renn"]
    assert (dataset.form, dataset.card.size(dataset.form)) == ("MIMIC", entities)


@pytest.mark.parametrize("name", ["wikimel", "wikidiverse", "richpediamel"])
def test_a_knowledge_base_alone_is_no_dataset(tmp_path: Path, name: str) -> None:
    write_list(tmp_path / "kb_entity.json", entity(0, "Q1", "Tavara"))
    with pytest.raises(InputError, match="is missing. Expected below the root: "):
        open_dataset(name, tmp_path)


def test_a_file_of_the_dataset_goes_before_another(tmp_path: Path) -> None:
    write_mimic(tmp_path, "WIKIMEL")
    write_list(tmp_path / "RichpediaMEL_train.json")
    assert len(list(open_dataset("wikimel", tmp_path).documents("train", SkipReport()))) == 2
    assert not list(open_dataset("richpediamel", tmp_path).documents("train", SkipReport()))

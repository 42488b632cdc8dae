"""The nine-task set made of a folder of `movies`: whom it asks for, what it says, and that photographs stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.nine_tasks import main, surname, write
from mmel.datasets import open_dataset
from mmel.document import Document, Entity, VisualMention
from mmel.errors import InputError, SkipReport
from mmel.formats.jsonl import write_documents, write_entities


def person(id: str, title: str, images: tuple[str, ...] = ("people/x.png",), description: str = "Plays.") -> Entity:
    return Entity(id, title, "person", description, images=images)


PEOPLE = (
    person("P1", "Ada Vale", ("people/1.png",)),
    person("P2", "Bo Vale Jr.", ("people/2.png",)),
    person("P3", "Cy Orrin", ("people/3.png",)),
    person("P4", "Di Valer", ("people/4.png",)),
    person("P5", "Ed Vale", ()),
    person("P6", "Flo Vale", ("people/6.png",), " "),
    Entity("F1", "Salt Vale", "film", "A film.", images=("people/7.png",)),
)


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    root = tmp_path / "movies"
    splits = {
        "train": [("a", "They met. Here Ada Vale sang. Vale left.", "P1"), ("b", "Orrin sang.", "P3")],
        "train-scenes": [("a", "Vale left.", "P1"), ("c", "Nobody is named.", "P2")],
        "val": [("d", "The end came late.", "P2")],
        "test": [("e", "Old Bo sang with Vale's friends.", "P2"), ("f", "Vale.", "P5")],
    }
    (root / "people").mkdir(parents=True)
    (root / "shots").mkdir()
    for each in ("people/1", "people/2", "people/3", "people/4", "shots/a", "shots/c", "shots/d", "shots/e"):
        (root / f"{each}.png").write_bytes(each.encode())
    write_entities(root / "kb.jsonl", PEOPLE)
    for split, rows in splits.items():
        documents = [
            Document(f"{split}{i}", text, visual_mentions=(VisualMention(f"shots/{image}.png", None, gold),))
            for i, (image, text, gold) in enumerate(rows)
        ]
        write_documents(root / f"documents.{split}.jsonl", documents)
    return root


def test_suffixes_are_no_surnames() -> None:
    assert [surname(one) for one in PEOPLE[:3]] == ["Vale", "Vale", "Orrin"]


def test_an_instance_is_a_photograph_of_a_shared_surname(movies: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    counts = write(movies, out)
    assert {split: count["instances"] for split, count in counts.items()} == {"train": 2, "val": 1, "test": 1}
    first, second = json.loads((out / "train.json").read_text())
    assert list(first) == ["Qid", "name", "description", "sentence", "image", "candidates"]
    assert (first["Qid"], first["name"], first["image"]) == ("P1", "Vale", ["a.png", "", "shots/a.png"])
    assert first["sentence"] == "Here Ada Vale sang."  # the whole name rather than the surname
    assert second["sentence"] == "Nobody is named."
    # Two share the name with photograph and description; the nearest name makes three.
    assert [each["Qid"] for each in first["candidates"]] == ["P1", "P2", "P4"]
    assert first["candidates"][0]["image"] == ["1.png", "", "people/1.png"]
    (test,) = json.loads((out / "test.json").read_text())
    assert test["sentence"] == "Old Bo sang with Vale's friends."
    assert counts["train"] | {"candidates": 0} == {
        "instances": 2, "people": 2, "candidates": 0, "named": 1, "filled": 2
    }  # fmt: skip


def test_the_dataset_reads_what_is_written(movies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["--root", str(movies), "--out", str(out)]) == 0
    assert "train: 2 instances of 2 people, 3.0 candidates each" in capsys.readouterr().out
    dataset, skips = open_dataset("m3el-mtmt", out), SkipReport()
    documents = list(dataset.documents("train", skips))
    assert [one.images for one in documents] == [("shots/a.png",), ("shots/c.png",)]
    assert not skips.counts
    shown = [image for entity in dataset.entities() for image in entity.images]
    assert shown and all((out / image).is_file() for image in (*shown, "shots/a.png", "shots/e.png"))


def test_a_photograph_in_two_splits_is_refused(movies: Path, tmp_path: Path) -> None:
    document = Document("x", "Again.", visual_mentions=(VisualMention("shots/a.png", None, "P1"),))
    write_documents(movies / "documents.test.jsonl", [document])
    with pytest.raises(InputError, match=r"shots/a\.png.*train and test"):
        write(movies, tmp_path / "out")

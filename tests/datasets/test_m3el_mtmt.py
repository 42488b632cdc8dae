from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mmel.data import main
from mmel.datasets import Dataset, open_dataset
from mmel.errors import InputError, SkipReport
from tests.datasets.cases import DatasetCase
from tests.formats.test_m3el_mtmt import entry


def instance(gold: str, *candidates: str, name: str = "Renn", sentence: str = "Renn plays.") -> dict[str, Any]:
    """An instance in the published form; candidates that are named alike."""
    listed = [entry(qid, name, f"described as {qid}", f"{name}-{gold}") for qid in candidates]
    return entry(gold, name, "plays the cello", f"{name}-{gold}") | {"sentence": sentence, "candidates": listed}


def write_instances(path: Path, *instances: Any) -> None:
    """A list with one instance a line, as a line can be broken alone."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("[" + ",\n".join(map(json.dumps, instances)) + "]\n", encoding="utf-8")


class TestM3elMtmt(DatasetCase):
    name = "m3el-mtmt"
    protocol = "listed"
    expected: ClassVar = {"train": (3, 3, 2, 1), "val": (1, 1, 1, 0), "test": (1, 1, 1, 0)}
    entity_ids: ClassVar = ["Q1", "Q2", "Q3", "Q4", "Q5"]
    # Ties by id: the first candidate of the file is the gold of the first, and second by id.
    prior: ClassVar = {"train": (0.0, 0.5), "val": (1.0, 1.0), "test": (0.0, 0.0)}
    breakable = ("films_train.json", '[{"Qid": "Q1", "name": 5},')
    skip_reason = "broken record"
    counted = False
    unread: ClassVar = ["notes.json"]

    def write(self, root: Path) -> None:
        write_instances(
            root / "films_train.json",
            instance("Q2", "Q2", "Q1", "Q3"),
            instance("Q9", "Q1", "Q3"),
        )
        write_instances(root / "people" / "train.json", instance("nil", "Q4"))
        write_instances(root / "films_valid.json", instance("Q1", "Q2", "Q1"))
        write_instances(root / "films_test.json", instance("Q8", "Q5"))
        (root / "notes.json").write_text('{"not": "of the set"}')

    # A record of a list has a number, not a line.
    def test_a_broken_record_is_named(self, root: Path) -> None:
        self.break_first(root)
        with pytest.raises(InputError, match=r"films_train.json\[0\]: field 'name': .*Remedy: "):
            list(open_dataset(self.name, root).documents("train"))

    def break_first(self, root: Path) -> None:
        path = root / self.breakable[0]
        path.write_text("\n".join([self.breakable[1], *path.read_text("utf-8").split("\n")[1:]]), "utf-8")

    def test_ids_say_file_and_place(self, dataset: Dataset) -> None:
        assert [document.id for document in dataset.documents("train")] == [
            "films_train-0",
            "films_train-1",
            "people/train-0",
        ]

    def test_pictures_lie_below_the_root(self, dataset: Dataset) -> None:
        assert next(iter(dataset.documents("val"))).images == ("films_candidates_images/Renn-Q1/Q1.jpg",)
        entity = next(each for each in dataset.entities() if each.id == "Q5")
        assert entity.images == ("films_candidates_images/Renn-Q8/Q5.jpg",)

    def test_check_tells_what_gives_the_gold_away(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        main(["check", self.name, "--root", str(root)])
        printed = capsys.readouterr().err
        assert "kept 2: gold is not among the candidates" in printed
        assert "kept 2: picture of the mention is the gold candidate's own" in printed


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("train.json", "train"),
        ("M3EL_train_v2.json", "train"),
        ("movies-validation.json", "val"),
        ("dev.json", "val"),
        ("book.val.json", "val"),
        ("test/sport.json", "test"),
        ("sport_testing.json", "test"),
    ],
)
def test_a_name_says_the_split(tmp_path: Path, file: str, split: str) -> None:
    write_instances(tmp_path / file, instance("Q1", "Q1"))
    dataset = open_dataset("m3el-mtmt", tmp_path)
    assert dataset.splits == (split,)
    assert [document.id for document in dataset.documents(split)] == [f"{re.sub('.json$', '', file)}-0"]


def test_what_is_broken_in_a_file_of_no_split_is_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_instances(tmp_path / "latest.json", 7, {"Qid": "Q1"}, {"sentence": 8}, instance("Q1", "Q1"))
    assert main(["check", "m3el-mtmt", "--root", str(tmp_path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["skips"] == {"broken record": 3}


def test_files_of_no_split_are_divided_by_sentence(tmp_path: Path) -> None:
    rows = [instance("Q1", "Q1", name=f"Renn {i % 2}", sentence=f"Somebody plays {i // 2}.") for i in range(2000)]
    write_instances(tmp_path / "latest.json", *rows, {"Qid": "Q1", "sentence": "broken"})
    dataset = open_dataset("m3el-mtmt", tmp_path)
    assert dataset.splits == ("train", "val", "test")
    sentences, ids, broken = {}, [], 0
    for split in dataset.splits:
        skips = SkipReport()
        documents = list(dataset.documents(split, skips))
        sentences[split] = {document.text.partition("\n")[0] for document in documents}
        ids += [document.id for document in documents]
        broken += skips.counts["broken record"]
        assert sum(skips.noted.values()) >= len(documents)
    # Names that their sentence lacks are put behind it, and do not part it.
    assert sum(map(len, sentences.values())) == len(set.union(*sentences.values())) == 1000
    assert len(ids) == len(set(ids)) == 2000
    assert broken == 1
    assert [round(len(sentences[split]) / 100) for split in dataset.splits] == [8, 1, 1]

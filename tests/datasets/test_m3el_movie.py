from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from mmel.datasets import Dataset, open_dataset
from mmel.document import VisualMention
from tests.datasets.cases import DatasetCase, write_lines

REVIEW = "Ida Moor sails. Only Ida's captain, played by Bea Lund, knows why."


def film(id: str, *names: tuple[str, str], pictures: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    mentions = [
        {"start": REVIEW.index(name), "end": REVIEW.index(name) + len(name), "text": name, "entity": entity}
        for name, entity in names
    ]
    faces = [{"image": f"images/{id}/{name}.jpg", "entity": entity} for name, entity in pictures]
    return {"id": id, "text": REVIEW, "text_mentions": mentions, "visual_mentions": faces}


class TestM3elMovie(DatasetCase):
    name = "m3el-movie"
    protocol = "kb"
    expected: ClassVar = {"train": (1, 3, 3, 0), "val": (1, 1, 0, 1), "test": (1, 1, 1, 0)}
    entity_ids: ClassVar = ["Ida Moor", "Bea Lund", "Ida (1999 film)"]
    prior: ClassVar = {"train": (2 / 3, 2 / 3), "val": (None, None), "test": (0.0, 1.0)}
    breakable = ("documents.train.jsonl", '{"id": "x"')
    skip_reason = "broken record"

    def write(self, root: Path) -> None:
        ida, bea, sea = "Ida_Moor", "Bea Lund", "Ida_(1999_film)"
        write_lines(
            root / "kb.jsonl",
            {"id": ida, "title": ida, "aliases": [{"name": "Ida Moor", "count": 2}], "links": [bea, sea]},
            {"id": bea, "aliases": [{"name": "Bea Lund", "count": 3}, {"name": "Ida", "count": 2}],
             "images": ["images/profiles/1.jpg"], "links": [ida]},
            {"id": sea, "aliases": [{"name": "Ida", "count": 1}]},
        )  # fmt: skip
        pictures = (("1", "Bea_Lund"), ("2", ida))
        names = (("Ida Moor", ida), ("Ida's", "Ida Moor"), ("Bea Lund", bea))
        write_lines(root / "documents.train.jsonl", film("tt0000001", *names, pictures=pictures))
        write_lines(root / "documents.val.jsonl", film("tt0000002", ("captain", "NIL")))
        write_lines(root / "documents.test.jsonl", film("tt0000003", ("Ida", sea)))
        for name in ("tt0000001/1", "profiles/1"):
            (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / "images" / f"{name}.jpg")

    def test_titles_are_the_same_with_underscores_and_spaces(self, dataset: Dataset) -> None:
        (document,) = dataset.documents("train")
        assert [mention.entity for mention in document.text_mentions] == ["Ida Moor", "Ida Moor", "Bea Lund"]
        assert document.visual_mentions == (
            VisualMention("images/tt0000001/1.jpg", None, "Bea Lund"),
            VisualMention("images/tt0000001/2.jpg", None, "Ida Moor"),
        )
        one, two, _ = dataset.entities()
        assert (one.title, one.links, two.title) == ("Ida Moor", ("Bea Lund", "Ida (1999 film)"), "Bea Lund")
        assert (dataset.pictures / two.images[0]).is_file()

    def test_the_splits_are_those_of_the_paper(self, root: Path) -> None:
        (root / "documents.val.jsonl").rename(root / "documents.more.jsonl")
        assert open_dataset(self.name, root).splits == ("train", "test")
        films = {split: counts.documents for split, counts in open_dataset(self.name, root).card.splits.items()}
        assert films == {"train": 1000, "val": 50, "test": 50}

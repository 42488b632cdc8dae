from __future__ import annotations

from pathlib import Path

from PIL import Image

from mmel.datasets.check_visual import Gallery, PictureFiles, VisualReport
from mmel.datasets.movies import Movies
from mmel.document import NIL, Box, Document, Entity, VisualMention


def opened(root: Path) -> Movies:
    """A folder with the pictures a.png and b.png of 20 x 10 pixels and a broken c.png."""
    for name in ("kb.jsonl", "documents.train.jsonl"):
        (root / name).touch()
    for name in ("a", "b"):
        Image.new("RGB", (20, 10)).save(root / f"{name}.png")
    (root / "c.png").write_text("words")
    return Movies(root)


def test_an_entity_with_one_picture_that_is_there_is_in_the_gallery(tmp_path: Path) -> None:
    gallery = Gallery(PictureFiles(opened(tmp_path)))
    entities = [
        Entity("1", "", images=("a.png", "gone.png")),
        Entity("2", "", images=("gone.png",)),
        Entity("3", "", images=("a.png", "b.png")),
        Entity("4", ""),
    ]
    assert list(gallery.watch(entities)) == entities
    assert gallery.entities == {"1", "3"}
    assert gallery.record() == {"entities": 2, "without_picture": 2, "pictures": 3, "pictures_missing": 2}


def counted(root: Path, *mentions: VisualMention) -> dict[str, int]:
    gallery = Gallery(PictureFiles(opened(root)), entities={"1"})
    report = VisualReport(gallery)
    for mention in mentions:
        report.add(Document("d", "", visual_mentions=(mention,)))
    return report.record()


def test_labels_and_pictures(tmp_path: Path) -> None:
    names = ("a.png", "a.png", "b.png", "gone.png", "gone.png")
    labels = ("1", "2", NIL, None, "1")
    found = counted(tmp_path, *(VisualMention(name, entity=label) for name, label in zip(names, labels, strict=True)))
    assert found == {
        "pictures": 2, "pictures_missing": 1, "mentions": 5, "linked": 3, "nil": 1, "unlabelled": 1, "in_gallery": 2,
        "boxes_empty": 0, "boxes_beyond": 0,
    }  # fmt: skip


def test_boxes(tmp_path: Path) -> None:
    def boxes(image: str, box: Box) -> tuple[int, int]:
        found = counted(tmp_path, VisualMention(image, box))
        return found["boxes_empty"], found["boxes_beyond"]

    assert boxes("a.png", (0, 0, 20, 10)) == (0, 0)
    assert boxes("a.png", (0, 0, 20.5, 10)) == (0, 1)
    assert boxes("a.png", (-1, 0, 20, 10)) == (0, 1)
    assert boxes("a.png", (5, 0, 5, 10)) == (1, 0)
    assert boxes("a.png", (5, 8, 9, 2)) == (1, 0)
    # Without its picture only what begins before the first pixel is known to be off.
    assert boxes("gone.png", (0, -1, 9999, 10)) == (0, 1)
    assert boxes("gone.png", (0, 0, 9999, 10)) == (0, 0)


def test_a_picture_that_cannot_be_opened_counts_as_missing(tmp_path: Path) -> None:
    found = counted(tmp_path, VisualMention("c.png", (0, 0, 5, 5)))
    assert (found["pictures"], found["pictures_missing"], found["boxes_beyond"]) == (0, 1, 0)

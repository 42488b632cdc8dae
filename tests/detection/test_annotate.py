"""Mentions that documents came without: order, what is kept, pictures that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmel.detection import Annotator, Faces, Span
from mmel.document import Document, TextMention, VisualMention
from mmel.errors import ConfigError


class Capitals:
    """Every capitalised word, with a longer name for those of one letter."""

    id = "capitals"

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        return [
            [Span(*m.span(), 0.75, "Longer" if len(m.group()) == 1 else None) for m in re.finditer(r"\b[A-Z]\w*", text)]
            for text in texts
        ]


class Middle:
    """One face in each picture, of half its sides; less sure of small pictures."""

    id = "middle"

    def detect(self, pictures: Sequence[Image.Image]) -> list[Faces]:
        return [self._face(*picture.size) for picture in pictures]

    def _face(self, width: int, height: int) -> Faces:
        box = np.array([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]], np.float32)
        return Faces(box, np.zeros((1, 5, 2), np.float32), np.array([min(width / 100, 1)], np.float32))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for side in (20, 60, 80):
        Image.new("RGB", (side, side)).save(tmp_path / f"{side}.png")
    (tmp_path / "broken.png").write_text("words")
    return tmp_path


def test_names_and_faces_are_mentions_with_their_probability(root: Path) -> None:
    given = Document("d", "Ada met B.", images=("60.png",))
    annotator = Annotator(True, Middle(), 0.5, 10)
    (found,) = annotator.annotate([(given, Capitals())], root)
    found.check_spans()
    assert [(m.text, m.name, m.entity) for m in found.text_mentions] == [("Ada", None, None), ("B", "Longer", None)]
    assert all(m.extra == {"probability": 0.75} and m.candidates is None for m in found.text_mentions)
    assert [(m.image, m.box) for m in found.visual_mentions] == [("60.png", (15, 15, 45, 45))]
    assert (found.id, found.text, found.images) == (given.id, given.text, given.images)


def test_what_is_there_is_kept_and_what_is_not_asked_for_is_not_made(root: Path) -> None:
    word, face = TextMention(4, 7, "met", "E1"), VisualMention("20.png", None, "E2")
    given = Document("d", "Ada met B.", text_mentions=(word,), visual_mentions=(face,), images=("60.png",))
    (kept,) = Annotator(True, Middle()).annotate([(given, Capitals())], root)
    assert kept == given
    bare = Document("d", "Ada met B.", images=("60.png",))
    assert list(Annotator(False, Middle()).annotate([(bare, None)], None)) == [bare]


def test_faces_that_are_unsure_or_small_are_left_out(root: Path) -> None:
    given = Document("d", "", images=("20.png", "60.png", "80.png"))
    for confidence, size, expected in ((0.7, 0, ["80.png"]), (0, 20, ["60.png", "80.png"]), (0, 99, [])):
        (found,) = Annotator(True, Middle(), confidence, size).annotate([(given, None)], root)
        assert [mention.image for mention in found.visual_mentions] == expected


def test_without_a_face_detector_a_picture_is_one_mention(root: Path) -> None:
    given = Document("d", "", images=("60.png", "20.png", "60.png"))
    (found,) = Annotator(True).annotate([(given, None)], None)
    assert found.visual_mentions == (VisualMention("60.png"), VisualMention("20.png"))


def test_unreadable_pictures_are_counted_and_an_unknown_folder_is_refused(root: Path) -> None:
    given = Document("d", "", images=("broken.png", "60.png", "missing.png"))
    annotator = Annotator(True, Middle())
    (found,) = annotator.annotate([(given, None)], root)
    assert [mention.image for mention in found.visual_mentions] == ["60.png"]
    assert sum(annotator.skips.counts.values()) == 2
    with pytest.raises(ConfigError, match="'d'.*folder.*pictures"):
        list(annotator.annotate([(given, None)], None))


def test_documents_stream_in_order(root: Path) -> None:
    drawn = []

    def stream() -> Iterator[tuple[Document, None]]:
        for number in range(100):
            drawn.append(number)
            yield Document(str(number), "", images=("20.png",) * (number % 3)), None

    found = Annotator(True, Middle()).annotate(stream(), root)
    assert next(found).id == "0"
    assert len(drawn) < 10
    assert [one.id for one in found] == [str(number) for number in range(1, 100)]

"""Thresholds and counts of the poster benchmark by hand, and a run over painted posters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from benchmarks.posters import Name, credited, main, summary, threshold_at
from mmel.document import Entity
from mmel.formats.jsonl import write_entities
from tests.detection.models import write_red_model
from tests.encoders.images.models import write_corner_model


def names(*drawn: tuple[str, float, bool]) -> list[Name]:
    return [Name(poster, "n", cosine, right, right) for poster, cosine, right in drawn]


@pytest.mark.parametrize(
    ("rights", "precision", "expected"),
    [
        ([True, True, False, True], 0.75, 0.6),
        ([True, True, False, True], 0.8, 0.8),
        ([True, True, False, False], 0.5, 0.6),
        ([False, True], 0.9, float("inf")),
        ([], 0.9, float("inf")),
    ],
)
def test_the_lowest_threshold_of_a_precision(rights: list[bool], precision: float, expected: float) -> None:
    drawn = names(*[("p", 0.9 - 0.1 * rank, right) for rank, right in enumerate(rights)])
    assert threshold_at(drawn[::-1], precision) == pytest.approx(expected)


def test_each_half_is_named_at_the_others_threshold() -> None:
    given = names(("a", 0.8, True), ("a", 0.5, False), ("b", 0.6, True), ("b", 0.9, True), ("c", 0.7, False))
    result = summary(given, ["a", "b", "c", "d"], {"a": {"x"}, "b": {"x", "y"}, "c": set(), "d": {"z"}})
    # a and c are one half: 0.8 is right, 0.7 wrong; b and d the other: all right down to 0.6.
    assert result["thresholds"] == [0.8, 0.6]
    assert (result["named"], result["named_right"], result["billed_actors"]) == (3, 2, 4)


def test_who_is_credited_in_a_film() -> None:
    entities = [
        Entity("F1", "Night (1990 film)", "film"),
        Entity("C1", "Ann (Night)", "character", links=("F1", "P2")),
        Entity("P1", "Ada", "person", links=("F1",)),
        Entity("P2", "Bea", "person", links=("C1",)),
        Entity("P3", "Cleo", "person"),
    ]
    assert credited(entities) == {"Night": {"Ada", "Bea"}}


def test_painted_posters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A face is a red square; whose it is, its green."""

    def paint(path: Path, *greens: int) -> None:
        picture = Image.new("RGB", (32 + 96 * len(greens), 96))
        for i, green in enumerate(greens):
            ImageDraw.Draw(picture).rectangle((32 + 96 * i, 32, 63 + 96 * i, 63), fill=(255, green, 0))
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, quality=95)

    people = [Entity(f"P{green}", f"Person {green}", "person", images=(f"{green}.jpg",)) for green in (0, 200)]
    write_entities(tmp_path / "kb.jsonl", people)
    for green in (0, 200):
        paint(tmp_path / f"{green}.jpg", green)
    posters = tmp_path / "posters"
    paint(posters / "t1.jpg", 0, 200)
    paint(posters / "t2.jpg")
    labels = [{"imdb": "t1", "title": "A", "billed_with_gallery": ["Person 0"]}]
    labels.append({"imdb": "t2", "title": "B", "billed_with_gallery": ["Person 200"]})
    (posters / "labels.json").write_text(json.dumps(labels))
    detector = write_red_model(tmp_path / "red.onnx")
    embedder = write_corner_model(tmp_path / "corner.onnx", side=56)
    common = ["--posters", str(posters), "--movies", str(tmp_path), "--cache", str(tmp_path / "cache")]
    assert main([*common, "--detector", str(detector), "--embedder", str(embedder), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["posters"], result["with_faces"], result["faces"], result["gallery"]) == (2, 1, 2, 2)
    assert result["billed_actors"] == 2

"""Detection learned on a small film world: what is found, what is not, its file, its place in a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from mmel.config import DetectionConfig
from mmel.detection.names import NameDetector, choose
from mmel.document import Alias, Document, Entity
from mmel.errors import InputError
from mmel.formats.jsonl import read_documents
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.training.detection import fit_detection
from mmel.training.run import RunFolder
from tests.tiny import document

NAMES = ("Will", "May", "Otto Brandt", "Otto", "Mira", "Ines Tavara", "Captain Sole")
TRAIN = [
    "[Otto] met [Mira|C1]. Will they leave? May be. He said [Will|C2] knew.",
    "[Mira|C1] left. Will it rain? May it stop. They may, and will.",
    "[Otto Brandt|C4] saw [Will|C2] and [Mira|C1]. Will he stay? May he go?",
    "In the rain [Will|C2] met [Otto|C4]. May the day end. She may stay, I will not.",
]


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("names") / "kb"
    build((Entity(f"C{i}", name, aliases=(Alias(name, 3),)) for i, name in enumerate(NAMES)), folder)
    with KnowledgeBase.open(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def detector(kb: KnowledgeBase) -> NameDetector:
    documents = [document(text, str(i)) for i, text in enumerate(TRAIN * 3)]
    fitted, reached = fit_detection(DetectionConfig(), kb, documents, {"val": documents[:4]}, lambda _: None)
    assert reached["val"]["recall"] >= 0.97 and reached["val"]["precision"] > 0.9
    return fitted


def texts_of(detector: NameDetector, text: str) -> list[tuple[str, str | None]]:
    return [(text[span.start : span.end], span.name) for span in detector.detect([text])[0]]


def test_words_that_begin_a_sentence_are_no_names(detector: NameDetector) -> None:
    assert texts_of(detector, "Will they? May be. Then Mira saw Otto Brandt.") == [
        ("Mira", None),
        ("Otto Brandt", None),
    ]


def test_spans_are_ordered_probable_and_apart(detector: NameDetector) -> None:
    for spans in detector.detect(["Otto Brandt's Mira, MIRA and Otto-Mira.", "", "no one", "Otto Brandt"]):
        assert all(detector.judge.threshold <= span.probability <= 1 for span in spans)
        assert all(a.end <= b.start for a, b in pairwise(spans))


def test_a_last_word_that_the_base_lacks_has_the_full_name(detector: NameDetector) -> None:
    text = "Then Ines Tavara met Mira. Later Tavara left; Tavaras stayed."
    assert ("Tavara", "Ines Tavara") in texts_of(detector, text)
    assert "Tavaras" not in [name for name, _ in texts_of(detector, text)]


def test_what_is_saved_detects_the_same(detector: NameDetector, kb: KnowledgeBase, tmp_path: Path) -> None:
    detector.save(tmp_path / "detection.json")
    opened = NameDetector.load(tmp_path / "detection.json", kb)
    assert opened.id == detector.id and opened.detect(TRAIN) == detector.detect(TRAIN)
    state = json.loads((tmp_path / "detection.json").read_text())
    damages: tuple[dict[str, object], ...] = ({"weights": {}}, {"counts": None}, {"bias": "x"})
    for damage in damages:
        (tmp_path / "other.json").write_text(json.dumps({**state, **damage}))
        with pytest.raises(InputError, match="other.json.*train again"):
            NameDetector.load(tmp_path / "other.json", kb)


def test_training_without_names_is_refused(kb: KnowledgeBase) -> None:
    with pytest.raises(InputError, match="detection.text=none"):
        fit_detection(DetectionConfig(), kb, [Document("d", "Nobody.")], {}, lambda _: None)


def test_where_every_name_is_a_mention_all_are_found(kb: KnowledgeBase) -> None:
    documents = [document("[Mira|C1] met [Otto|C3].")]
    detector, reached = fit_detection(DetectionConfig(), kb, documents, {"val": documents}, lambda _: None)
    assert reached == {"val": {"recall": 1.0, "precision": 1.0}}
    assert texts_of(detector, "So Will saw Mira.") == [("Will", None), ("Mira", None)]


def test_of_overlapping_names_the_longest_is_chosen(detector: NameDetector) -> None:
    from mmel.detection.evidence import contexts

    found = list(contexts("then Otto Brandt left", detector.lexicon))
    assert len(found) == 2
    (one,) = choose(found, [0.4, 0.9], 0.3)
    assert one[1] == 0.4
    assert [p for _, p in choose(found, [0.4, 0.9], 0.5)] == [0.9]
    assert choose([], [], 0.5) == []


def test_a_film_world_is_found(films: Path) -> None:
    with KnowledgeBase.open(films.parent / "kb") as kb:
        train, val = (list(read_documents(films / f"documents.{split}.jsonl")) for split in ("train", "val"))
        raw = [replace(one, text_mentions=()) for one in val]
        detector, reached = fit_detection(DetectionConfig(), kb, train, {"val": val}, lambda _: None)
        assert reached["val"]["recall"] >= 0.9
        assert [len(spans) > 0 for spans in detector.detect([one.text for one in raw])]


def test_clearing_a_run_removes_the_detection(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.detection_file.write_text("{}")
    run.clear()
    assert not run.detection_file.exists()


@pytest.mark.data
def test_detection_on_movies(data_root: Path, tmp_path: Path) -> None:
    from mmel.datasets import open_dataset

    dataset = open_dataset("movies", data_root / "movies")
    build(dataset.entities(), tmp_path / "kb")
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        parts = {split: list(dataset.documents(split)) for split in ("train", "val")}
        _, reached = fit_detection(DetectionConfig(), kb, parts["train"], {"val": parts["val"]}, lambda _: None)
    assert reached["val"]["recall"] >= 0.96 and reached["val"]["precision"] >= 0.7

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmel.document import NIL, Candidate, Document, Link, LinkedDocument, ScoredCandidate, TextMention
from mmel.errors import InputError, SkipReport
from mmel.formats import elevant

ARTICLE = {
    "id": 3,
    "title": "A title",
    "text": "Ada met Bo and the Cy family.",
    "url": "http://example.org/3",
    "evaluation_span": [0, 20],
    "labels": [
        {"id": 0, "span": [0, 3], "entity_id": "Q1", "name": "Ada Moretti", "type": "Q5", "optional": True},
        {"id": 1, "span": [8, 10], "entity_id": "Unknown17", "name": "Bo", "parent": None, "children": []},
        {"id": 2, "span": [19, 21], "entity_id": "Q3", "name": "Cy"},
    ],
}
PREDICTED = [
    {"span": [0, 3], "id": "Q1", "recognized_by": "NER", "linked_by": "other", "candidates": ["Q1", "Q7"]},
    {"span": [19, 28], "recognized_by": "NER"},
]


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_benchmark(tmp_path: Path) -> None:
    (document,) = elevant.read_benchmark(write(tmp_path / "b.jsonl", ARTICLE))
    assert (document.id, document.title, document.text) == ("3", "A title", ARTICLE["text"])
    assert [(m.start, m.end, m.text, m.entity) for m in document.text_mentions] == [
        (0, 3, "Ada", "Q1"),
        (8, 10, "Bo", NIL),
        (19, 21, "Cy", "Q3"),
    ]
    assert document.text_mentions[0].extra == {"id": 0, "name": "Ada Moretti", "type": "Q5", "optional": True}
    assert document.extra == {"url": "http://example.org/3", "evaluation_span": [0, 20]}


def test_a_benchmark_round_trips(tmp_path: Path) -> None:
    documents = list(elevant.read_benchmark(write(tmp_path / "b.jsonl", ARTICLE)))
    assert elevant.write_benchmark(tmp_path / "c.jsonl", documents) == 1
    (copy,) = records(tmp_path / "c.jsonl")
    assert copy["id"] == 3 and copy["evaluation_span"] == [0, 20] and copy["url"] == ARTICLE["url"]
    again = list(elevant.read_benchmark(tmp_path / "c.jsonl"))
    assert [(m.start, m.end, m.entity) for m in again[0].text_mentions] == [
        (m.start, m.end, m.entity) for m in documents[0].text_mentions
    ]
    elevant.write_benchmark(tmp_path / "d.jsonl", again)
    assert list(elevant.read_benchmark(tmp_path / "d.jsonl")) == again


def test_a_benchmark_of_our_own_documents(tmp_path: Path) -> None:
    mentions = (TextMention(0, 3, "Ada", "Q1"), TextMention(4, 6, "Bo", NIL), TextMention(7, 9, "Cy"))
    documents = [Document("12", "x"), Document("a b", "Ada Bo Cy", text_mentions=mentions), Document("007", "")]
    elevant.write_benchmark(tmp_path / "b.jsonl", documents, {"Q1": "Ada Moretti"})
    first, second, third = records(tmp_path / "b.jsonl")
    assert (first["id"], second["id"], third["id"]) == (12, 1, 2)  # ELEVANT takes integers only
    assert "doc_id" not in first and second["doc_id"] == "a b" and third["doc_id"] == "007"
    assert second["evaluation_span"] == [0, 9]
    labels = second["labels"]
    assert isinstance(labels, list) and [(label["id"], label["entity_id"], label["name"]) for label in labels] == [
        (0, "Q1", "Ada Moretti"),
        (1, "Unknown1", "Bo"),
    ]
    assert labels[0] == {
        "id": 0, "span": [0, 3], "entity_id": "Q1", "name": "Ada Moretti", "parent": None, "children": [],
        "optional": False, "type": "OTHER",
    }  # fmt: skip
    assert [document.id for document in elevant.read_benchmark(tmp_path / "b.jsonl")] == ["12", "a b", "007"]


def test_linked_articles(tmp_path: Path) -> None:
    (linked,) = elevant.read_linked_articles(write(tmp_path / "l.jsonl", {**ARTICLE, "entity_mentions": PREDICTED}))
    assert [(m.start, m.text, m.entity) for m in linked.document.text_mentions] == [
        (0, "Ada", "Q1"),
        (19, "Cy family", None),
    ]
    assert linked.document.text_mentions[0].candidates == (Candidate("Q1"), Candidate("Q7"))
    assert linked.text_links == (Link("Q1", 1.0), Link(NIL, 1.0))
    elevant.write_linked_articles(tmp_path / "m.jsonl", [linked], "mmel")
    (copy,) = records(tmp_path / "m.jsonl")
    assert copy["labels"] == ARTICLE["labels"]
    assert copy["entity_mentions"] == [
        {**PREDICTED[0], "score": 1.0},
        {"span": [19, 28], "recognized_by": "NER", "linked_by": "mmel", "candidates": [], "score": 1.0},
    ]
    (again,) = elevant.read_linked_articles(tmp_path / "m.jsonl")
    assert again.text_links == linked.text_links and again.document.extra == linked.document.extra


def test_our_own_links(tmp_path: Path) -> None:
    mentions = (TextMention(0, 3, "Ada", "Q1"), TextMention(4, 6, "Bo"))
    link = Link(
        "Q1", 0.75, (ScoredCandidate("Q9", 0.2, 0.5), ScoredCandidate("Q1", 0.75, 0.5), ScoredCandidate(NIL, 0.05, 0))
    )
    linked = LinkedDocument(Document("a", "Ada Bo", text_mentions=mentions), (link, Link(NIL, 0.5)))
    elevant.write_linked_articles(tmp_path / "l.jsonl", [linked], "run 1", {"Q1": "Ada Moretti"})
    (record,) = records(tmp_path / "l.jsonl")
    assert record["entity_mentions"] == [
        {
            "span": [0, 3],
            "recognized_by": "run 1",
            "linked_by": "run 1",
            "candidates": ["Q1", "Q9"],
            "score": 0.75,
            "id": "Q1",
        },
        {"span": [4, 6], "recognized_by": "run 1", "linked_by": "run 1", "candidates": [], "score": 0.5},
    ]
    (back,) = elevant.read_linked_articles(tmp_path / "l.jsonl")
    assert [(each.entity, each.score) for each in back.text_links] == [("Q1", 0.75), (NIL, 0.5)]
    with pytest.raises(InputError, match="2 text mentions and 1 links"):
        elevant.write_linked_articles(tmp_path / "l.jsonl", [LinkedDocument(linked.document, (link,))])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [{"span": [0, 99], "entity_id": "Q1"}]}, "field 'labels.span': [0, 99] is no [start, end)"),
        ({"labels": [{"span": [3, 3], "entity_id": "Q1"}]}, "field 'labels.span'"),
        ({"labels": [{"span": [0, True], "entity_id": "Q1"}]}, "field 'labels.span'"),
        ({"labels": [{"entity_id": "Q1"}]}, "field 'labels.span': is missing"),
        ({"text": None}, "field 'text': expected a string, found None"),
        ({"id": None}, "field 'id'"),
    ],
)
def test_bad_articles(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = write(tmp_path / "b.jsonl", ARTICLE, {**ARTICLE, **change})
    with pytest.raises(InputError) as caught:
        list(elevant.read_benchmark(path))
    assert f"{path}:2: " in str(caught.value) and message in str(caught.value)
    skips = SkipReport()
    assert len(list(elevant.read_benchmark(path, skips))) == 1 and skips.counts.total() == 1


def test_an_extra_key_of_the_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="extra key 'labels'"):
        elevant.write_benchmark(tmp_path / "b.jsonl", [Document("1", "x", extra={"labels": []})])

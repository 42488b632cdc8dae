from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmel.document import NIL, Document, Link, LinkedDocument, ScoredCandidate, TextMention, VisualMention
from mmel.errors import ConfigError, InputError
from mmel.formats import elevant, jsonl, nif
from mmel.formats.linked import FORMATS, writer_for

MENTIONS = (TextMention(0, 3, "Ada", "E9"), TextMention(4, 6, "Bo"))
LINKED = [
    LinkedDocument(
        Document("a/1", "Ada Bo\n", "Head", MENTIONS, (VisualMention("a.jpg"),)),
        (Link("E 1_a", 0.75, (ScoredCandidate("E 1_a", 0.75, 0.5),)), Link(NIL, 0.5)),
        (Link("E2", 0.1),),
        {"kb": "0"},
    ),
    LinkedDocument(Document("b", "")),
]


def written(path: Path, linked: list[LinkedDocument], format: str | None = None) -> Path:
    """A file made piece by piece, as a command that streams does."""
    writer = writer_for(path, format)
    path.write_bytes(writer.head + b"".join(writer.encode(one, number) for number, one in enumerate(linked)))
    return path


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("out.jsonl", None, "jsonl"),
        ("out", None, "jsonl"),
        ("out.ttl", None, "nif"),
        ("out.linked_articles.jsonl", None, "elevant"),
        ("out.ttl", "jsonl", "jsonl"),
        ("out", "nif", "nif"),
        ("out.jsonl", "elevant", "elevant"),
    ],
)
def test_the_name_or_the_user_chooses(name: str, format: str | None, expected: str) -> None:
    assert writer_for(name, format).format == expected


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(ConfigError, match="format 'niff' of linked documents is unknown. Did you mean 'nif'?"):
        writer_for("out", "niff")


def test_streamed_lines_are_those_of_the_whole_files(tmp_path: Path) -> None:
    jsonl.write_linked(tmp_path / "whole.jsonl", LINKED)
    assert written(tmp_path / "out.jsonl", LINKED).read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    elevant.write_linked_articles(tmp_path / "whole.linked_articles.jsonl", LINKED)
    streamed = written(tmp_path / "out.linked_articles.jsonl", LINKED)
    assert streamed.read_bytes() == (tmp_path / "whole.linked_articles.jsonl").read_bytes()
    first, second = map(json.loads, streamed.read_text().splitlines())
    assert [first["id"], second["id"]] == [0, 1] and first["doc_id"] == "a/1"
    assert [mention.get("id") for mention in first["entity_mentions"]] == ["E 1_a", None]


def test_turtle_has_the_links_their_confidence_and_nil(tmp_path: Path) -> None:
    pytest.importorskip("rdflib")
    from rdflib import Graph, URIRef

    path = written(tmp_path / "out.ttl", LINKED)
    first, second = nif.read_nif(path)
    assert (first.id, first.text, first.title, second.id) == ("a/1", "Ada Bo\n", "Head", "b")
    # The links, not the gold.
    assert [mention.entity for mention in first.text_mentions] == ["E 1_a", NIL]
    graph = Graph().parse(path, format="turtle")
    confidence = dict(graph.subject_objects(URIRef("http://www.w3.org/2005/11/its/rdf#taConfidence")))
    assert {str(phrase)[-8:]: float(str(value)) for phrase, value in confidence.items()} == {
        "char=0,3": 0.75,
        "char=4,6": 0.5,
    }
    (reference,) = graph.objects(
        URIRef("http://mmel.invalid/documents/a%2F1#char=0,3"), URIRef("http://www.w3.org/2005/11/its/rdf#taIdentRef")
    )
    assert str(reference) == "http://mmel.invalid/entities/E_1%5Fa"


def test_the_base_of_entities_can_be_named() -> None:
    turtle = writer_for("out.ttl", entity_base=nif.WIKIPEDIA).encode(LINKED[0], 0).decode()
    assert "<http://en.wikipedia.org/wiki/E_1%5Fa>" in turtle and "<http://aksw.org/notInWiki/Bo>" in turtle


def test_names_that_were_not_linked_have_no_reference() -> None:
    turtle = writer_for("out.ttl").encode(LinkedDocument(LINKED[0].document), 0).decode()
    assert turtle.count("nif:Phrase") == 2 and "taIdentRef" not in turtle and "taConfidence" not in turtle


@pytest.mark.parametrize("format", FORMATS)
def test_links_that_do_not_fit_are_refused(format: str) -> None:
    broken = LinkedDocument(LINKED[0].document, LINKED[0].text_links[:1])
    with pytest.raises(InputError, match="document 'a/1': 2 text mentions and 1 links"):
        writer_for("out", format).encode(broken, 0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_score_that_is_no_number_is_refused(format: str) -> None:
    broken = LinkedDocument(Document("d", "Ada", text_mentions=(TextMention(0, 3, "Ada"),)), (Link("E", float("nan")),))
    with pytest.raises(InputError, match="finite"):
        writer_for("out", format).encode(broken, 0)

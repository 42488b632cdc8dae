"""The service with a trained linker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmel.document import Document
from mmel.formats.jsonl import document_record, read_documents
from mmel.linker import Linker
from mmel.report import EntityCard
from mmel.service import linking
from mmel.service.answer import answer_record
from mmel.service.linking import LinkerEngine, open_engine
from tests.service.standin import Running, running


@pytest.fixture(scope="module")
def engine(film_run: Path) -> Iterator[LinkerEngine]:
    opened = open_engine(film_run)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def documents(films: Path) -> list[Document]:
    """Raw documents but for the spans of their mentions."""
    return [
        replace(
            document,
            text_mentions=tuple(replace(mention, entity=None) for mention in document.text_mentions),
            visual_mentions=(),
        )
        for document in read_documents(films / "documents.val.jsonl")
    ]


@pytest.fixture(scope="module")
def service(engine: LinkerEngine) -> Iterator[Running]:
    with running(engine) as one:
        yield one


def test_answers_are_those_of_the_linker(
    documents: list[Document], engine: LinkerEngine, service: Running, film_run: Path
) -> None:
    linker = Linker.from_pretrained(film_run)
    for document, linked in zip(documents[:5], linker.link(documents[:5]), strict=True):
        record = service.json("/link?candidates=100", document_record(document)).json
        expected = answer_record(linked, {}, engine.titles, 100)
        found = [(m["start"], m["entity"], m["title"]) for m in record["text_mentions"]]
        assert found == [(m["start"], m["entity"], m["title"]) for m in expected["text_mentions"]]
        assert [m["score"] for m in record["text_mentions"]] == pytest.approx(
            [m["score"] for m in expected["text_mentions"]], abs=1e-4
        )


def test_every_entity_has_its_title(documents: list[Document], service: Running, engine: LinkerEngine) -> None:
    record = service.json("/link", document_record(documents[0])).json
    ids = [one["id"] for mention in record["text_mentions"] for one in mention["candidates"]]
    titles = [one["title"] for mention in record["text_mentions"] for one in mention["candidates"]]
    assert ids
    assert [engine.titles([id]).get(id) for id in ids] == titles
    assert engine.titles(["no such entity"]) == {}


def test_a_report_shows_the_text(documents: list[Document], service: Running) -> None:
    answer = service.json("/report", document_record(documents[0]) | {"title": "<b>Title</b>"})
    assert answer.status == 200
    assert b"&lt;b&gt;Title&lt;/b&gt;" in answer.content
    assert b"<b>Title" not in answer.content


def test_a_report_names_no_file_of_the_service(
    documents: list[Document],
    film_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = tmp_path / "lost.png"
    monkeypatch.setattr(
        linking, "kb_cards", lambda *_: lambda ids: {id: EntityCard(id, id, picture=lost) for id in ids}
    )
    with running(open_engine(film_run)) as service:
        answer = service.json("/report", document_record(documents[0]))
    assert answer.status == 200
    assert b"1 of the pictures on this page cannot be read." in answer.content
    assert b"lost.png" not in answer.content
    assert f"{lost}" in caplog.text


def test_strange_spans_and_candidates_are_linked(documents: list[Document], service: Running) -> None:
    text = "Tom met \x00 Ann."
    spans: list[list[dict[str, Any]]] = [
        [{"start": 0, "end": 3, "text": "Tom"}] * 2,
        [{"start": 0, "end": 7, "text": "Tom met"}, {"start": 4, "end": 14, "text": "met \x00 Ann."}],
        [{"start": 8, "end": 9, "text": "\x00"}],
        [{"start": 0, "end": 3, "text": "Tom", "entity": "nobody", "candidates": [{"id": "nobody", "prior": 0.5}]}],
        [{"start": 3, "end": 4, "text": " ", "name": "x" * 1000}],
    ]
    for mentions in spans:
        answer = service.json("/link", {"text": text, "text_mentions": mentions})
        assert answer.status == 200
        assert len(answer.json["text_mentions"]) == len(mentions)


def test_what_the_service_links_to(service: Running) -> None:
    info = service.ask("GET", "/info").json
    assert (info["links"], info["coupled"]) == (["names"], False)
    assert info["knowledge_base"]["name"] == "films"
    assert info["knowledge_base"]["entities"] > 0


def test_a_run_that_cannot_find_names_says_so(film_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linker = Linker.from_pretrained(film_run)
    linker.detector = None
    monkeypatch.setattr(Linker, "from_pretrained", lambda *_, **__: linker)
    told: list[str] = []
    with running(open_engine(film_run, tell=told.append)) as service:
        assert told == ["the run cannot find names: a text needs its mentions. Remedy: train with detection.text=names"]
        assert service.ask("GET", "/info").json["finds_names"] is False
        answer = service.json("/link", {"text": "Tom met Ann."})
        assert answer.status == 422
        assert "without mentions" in answer.reason

"""The service's answers, its limits, and what it does when there is too much to do."""

from __future__ import annotations

import errno
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmel.errors import ConfigError
from mmel.pictures import MAX_PIXELS
from mmel.service.limits import Limits
from tests.service.pictures import picture
from tests.service.standin import FORM, Answer, Running, StandIn, form, running

LIMITS = Limits(
    characters=100, title=20, mentions=3, pictures=2, picture_bytes=5_000, pixels=2_000, request_bytes=12_000
)


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running(limits=LIMITS) as one:
        yield one


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_text_is_linked(service: Running) -> None:
    answer = service.json("/link", {"text": "Tom met Ann.", "title": "Two", "id": "r1", "source": {"year": 2001}})
    assert answer.status == 200
    record = answer.json
    assert (record["doc_id"], record["title"], record["text"]) == ("r1", "Two", "Tom met Ann.")
    assert [(m["start"], m["end"], m["entity"], m["title"]) for m in record["text_mentions"]] == [
        (0, 3, "Tom0", "TOM0"),
        (8, 11, "Ann0", "ANN0"),
    ]
    assert record["extra"] == {"source": {"year": 2001}}
    assert record["text_mentions"][0]["p_nil"] == 0.01


def test_mentions_that_are_given_are_kept(service: Running) -> None:
    mentions = [{"start": 4, "end": 7, "text": "met", "entity": "M1"}]
    record = service.json("/link", {"text": "Tom met Ann.", "text_mentions": mentions}).json
    assert [(m["text"], m["entity"], m["gold"]) for m in record["text_mentions"]] == [("met", "met0", "M1")]


@pytest.mark.parametrize(("query", "count"), [("", 5), ("?candidates=0", 0), ("?candidates=100", 20)])
def test_as_many_candidates_as_asked_and_nil(query: str, count: int, service: Running) -> None:
    (mention,) = service.json(f"/link{query}", {"text": "Tom"}).json["text_mentions"]
    assert [one["id"] for one in mention["candidates"]] == [*(f"Tom{i}" for i in range(count)), "NIL"]
    assert [one["title"] for one in mention["candidates"]] == [*(f"TOM{i}" for i in range(count)), None]


def test_pictures_are_linked_and_called_as_the_caller_calls_them(service: Running) -> None:
    parts = [("text", "Tom\r\nü".encode(), "review.txt"), *[("pictures", picture(), "a.png")] * 2]
    record = service.post("/link", parts).json
    assert record["text"] == "Tom\r\nü"
    assert record["images"] == ["a.png", "a.png (2)"]
    assert [one["image"] for one in record["visual_mentions"]] == ["a.png", "a.png (2)"]


def test_a_form_without_text_or_with_an_empty_choice_of_files(service: Running) -> None:
    assert service.post("/link", [("pictures[]", picture(), "a.png")]).status == 200
    record = service.post("/link", [("text", b"Tom", None), ("pictures", b"", "")]).json
    assert "images" not in record
    assert service.post("/link", [("pictures", b"", "")]).reason.startswith("there is nothing to link")


def test_a_report_is_a_page(service: Running) -> None:
    answer = service.post("/report", [("text", b"Tom met Ann", None), ("pictures", picture(), "a.png")])
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert b"<p>2 1</p>" in answer.content


def test_what_the_service_says_of_itself(service: Running) -> None:
    assert service.ask("GET", "/healthz").json == {"status": "ok"}
    info = service.ask("GET", "/info").json
    assert info["model"] == "standin"
    assert info["limits"]["characters"] == 100
    schema = service.ask("GET", "/openapi.json").json
    assert set(schema["paths"]) == {"/link", "/report", "/info", "/healthz"}
    assert "multipart/form-data" in schema["paths"]["/link"]["post"]["requestBody"]["content"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_ask_nobody_else(path: str, service: Running) -> None:
    answer = service.ask("GET", path)
    page = answer.content.decode()
    assert answer.status == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; connect-src 'self'")
    assert not re.search(r"""(?:src|href|action)\s*=\s*["']?(?:https?:)?//""", page)
    assert "{limits}" not in page


def test_the_page_knows_the_limits(service: Running) -> None:
    page = service.ask("GET", "/").content.decode()
    found = re.search(r"const limits = (.*);", page)
    assert found
    assert json.loads(found[1])["picture_bytes"] == 5_000


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [("GET", "/link", 405, "Method Not Allowed"), ("GET", "/nothing", 404, "Not Found"), ("PUT", "/", 405, "Method")],
)
def test_other_ways_to_ask(method: str, path: str, status: int, reason: str, service: Running) -> None:
    answer = service.ask(method, path)
    assert answer.status == status
    assert answer.reason.startswith(reason)


@pytest.mark.parametrize(
    ("parts", "status", "reason"),
    [
        ([("text", b"x" * 401, None)], 413, "field 'text': more than the 100 characters allowed"),
        ([("text", b"x" * 101, None)], 413, "field 'text': 101 are more than the 100 allowed"),
        ([("text", b"x", None), ("title", b"y" * 21, None)], 413, "field 'title': 21 are more"),
        ([("text", b"x", None), ("text", b"y", None)], 422, "the form has the field 'text' twice"),
        ([("txet", b"x", None)], 422, "the form has a field 'txet'. Did you mean 'text'?"),
        ([("text", b"\xff", None)], 422, "field 'text' is not UTF-8: byte 0xff at byte 0"),
        ([("text", b" \n", None)], 422, "there is nothing to link"),
        ([("pictures", picture("PNG", (60, 40)), "a.png")], 413, "picture 'a.png': more than the 5,000 bytes allowed"),
        ([("pictures", picture("JPEG", (60, 40)), "a")], 413, "picture 'a': 60 x 40 pixels are more than the 2,000"),
        ([("pictures", picture("PNG", (8, 8)), "a.png")] * 3, 413, "more pictures than the 2 allowed"),
        ([("pictures", picture()[:-30], "a.png")], 422, "picture 'a.png' cannot be read as a picture"),
        ([("pictures", b"GIF89a", "a.gif")], 422, "picture 'a.gif' is no readable JPEG, PNG, WEBP, GIF"),
        ([("text", b"Wrong", None)], 422, "field 'text': the text says Wrong"),
    ],
)
def test_a_form_is_refused_with_the_reason(
    parts: list[tuple[str, bytes, str | None]], status: int, reason: str, service: Running
) -> None:
    for path in ("/link", "/report"):
        answer = service.post(path, parts)
        assert answer.status == status
        assert answer.reason.startswith(reason)
    assert not service.left_behind()


@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [
        ({}, 422, "document: field 'text': is missing"),
        ({"text": 3}, 422, "document: field 'text': expected a string, found 3"),
        ([], 422, "document: expected an object"),
        (b"{", 422, "document:1: is no JSON"),
        (b"\xff", 422, "the body is not UTF-8"),
        ({"text": "x" * 101}, 413, "field 'text': 101 are more than the 100 allowed"),
        ({"text": "Tom", "text_mentions": [{"start": 0, "end": 3, "text": "Tim"}]}, 422, "document: field 'text_me"),
        ({"text": "T", "text_mentions": [{"start": 0, "end": 1, "text": "T"}] * 4}, 413, "field 'text_mentions': 4"),
        ({"text": "\ud800"}, 422, "document: holds what cannot be written"),
        (b'{"text": "T", "x": 1e999}', 422, "document: holds what cannot be written as JSON"),
        (b"[" * 11_000, 422, "document: is no JSON that can be read"),
        ({"text": "T", "images": ["a.png"]}, 422, "field 'images': pictures are not read from paths"),
    ],
)
def test_a_document_is_refused_with_the_reason(value: object, status: int, reason: str, service: Running) -> None:
    answer = service.json("/link", value)
    assert answer.status == status
    assert answer.reason.startswith(reason)


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
def test_another_content_type(kind: str, service: Running) -> None:
    answer = service.ask("POST", "/link", b"text=Tom", {"Content-Type": kind})
    assert answer.status == 415
    assert answer.reason == f"the content type is '{kind}'; allowed: multipart/form-data, application/json"


def test_a_form_needs_a_boundary(service: Running) -> None:
    answer = service.ask("POST", "/link", b"x", {"Content-Type": "multipart/form-data"})
    assert (answer.status, answer.reason) == (400, "the content type of the form names no boundary")


def test_headers_of_a_part_are_limited(service: Running) -> None:
    body = form([("text", b"Tom", None)]).replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 9_000 + b"\r\n\r\n", 1)
    answer = service.ask("POST", "/link", body, FORM)
    assert answer.status == 400


@pytest.mark.parametrize("query", ["candidates=-1", "candidates=101", "candidates=many"])
def test_a_query_out_of_range(query: str, service: Running) -> None:
    answer = service.json(f"/link?{query}", {"text": "Tom"})
    assert answer.status == 422
    assert answer.reason.startswith("candidates: Input should be")


def test_a_large_request_is_refused_by_its_length_before_it_is_sent(service: Running) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(
            b"POST /link HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
            b"Content-Length: 999999999999\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_large_request_without_a_length_is_refused_while_it_is_read(service: Running) -> None:
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(
            b"POST /link HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(32):
            connection.sendall(piece)
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert not service.left_behind()


def test_who_hangs_up_leaves_nothing(service: Running) -> None:
    body = form([("pictures", picture(), "a.png")])
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        head = f"POST /link HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body[:500])
    time.sleep(0.05)
    assert not service.left_behind()
    assert service.ask("GET", "/info").json["requests"] == 0


# --- time and number ------------------------------------------------------------------------------------------------


def test_a_fault_of_ours_is_said_and_the_next_is_answered(service: Running) -> None:
    for text in ("Broken", "Rewritten"):
        answer = service.json("/link", {"text": text})
        assert (answer.status, answer.reason) == (500, "the service has failed; its log says why")
    assert service.json("/link", {"text": "Tom"}).status == 200


def test_a_full_disk_is_said_and_leaves_nothing(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    parts = [("pictures", picture(), "a.png")]
    with monkeypatch.context() as patched:
        patched.setattr("mmel.service.intake._Form._take", full)
        answer = service.post("/link", parts)
    assert (answer.status, answer.reason) == (507, "no room is left for pictures")
    assert not service.left_behind()
    assert service.post("/link", parts).status == 200


def test_a_document_that_takes_too_long() -> None:
    with running(StandIn(slow=1.5), Limits(seconds=1)) as service:
        parts = [("text", b"Slow", None), ("pictures", picture(), "a.png")]
        answer = service.post("/link", parts)
        assert answer.status == 504
        assert answer.reason.startswith("linking it took more than 1 seconds")
        assert not service.left_behind()


def test_a_request_that_is_sent_too_slowly() -> None:
    head = b"POST /link HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    with (
        running(limits=Limits(seconds=1)) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection,
    ):
        connection.sendall(head + b"{")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_more_than_may_wait_are_turned_away_with_the_reason() -> None:
    with running(StandIn(slow=0.5), Limits(queue=2)) as service:
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: service.json("/link", {"text": "Slow"}), range(6)))
        refused = [answer for answer in answers if answer.status == 503]
        assert {answer.status for answer in answers} == {200, 503}
        assert len(refused) >= 3
        assert refused[0].reason == "2 requests are waiting. Remedy: try again later"
        assert refused[0].headers["retry-after"] == "1"
        assert service.json("/link", {"text": "Tom"}).status == 200


def test_many_at_once_get_their_own_answers_and_are_linked_together() -> None:
    engine = StandIn()
    names = ["Tom", "Ann", "Wrong", "Uma", "Broken"]

    def ask(number: int) -> tuple[str, Answer]:
        name = names[number % 5]
        parts = [("text", f"{name} {number}".encode(), None), ("pictures", picture(), f"{number}.png")]
        return name, busy.post("/link", parts)

    with running(engine) as busy:
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask, range(200)))
        assert not busy.left_behind()
    expected = {"Wrong": 422, "Broken": 500}
    for number, (name, answer) in enumerate(answers):
        assert answer.status == expected.get(name, 200)
        if answer.status == 200:
            assert answer.json["text_mentions"][0]["entity"] == f"{name}0"
            assert answer.json["images"] == [f"{number}.png"]
    assert max(engine.calls) > 1
    assert max(engine.calls) <= Limits().batch


def test_what_was_begun_is_answered_before_the_end() -> None:
    engine = StandIn(slow=0.5)
    answers: list[Answer] = []
    with running(engine) as service:
        asking = threading.Thread(target=lambda: answers.append(service.json("/link", {"text": "Slow Tom"})))
        asking.start()
        while not engine.calls:
            time.sleep(0.01)
    asking.join()
    assert answers[0].status == 200
    assert engine.closed == 2  # once in the thread that links and once in the one that writes
    assert not Path(service.folder).exists()


@pytest.mark.parametrize("name", ["characters", "seconds", "queue", "batch"])
def test_limits_are_at_least_one(name: str) -> None:
    with pytest.raises(ConfigError, match=f"limit {name} = 0: must be at least 1"):
        Limits(**{name: 0})


def test_no_picture_is_taken_that_the_linker_would_pass_over() -> None:
    assert Limits(pixels=MAX_PIXELS).pixels == MAX_PIXELS
    with pytest.raises(ConfigError, match=f"limit pixels = {MAX_PIXELS + 1}: must be at most {MAX_PIXELS}"):
        Limits(pixels=MAX_PIXELS + 1)

"""Whatever is sent, the answer is no failure of the service, and nothing of it stays."""

from __future__ import annotations

import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmel.service.limits import Limits
from tests.service.pictures import huge_gif, huge_png, many_scans, picture, postscript
from tests.service.standin import BOUNDARY, FORM, Answer, Running, form, running

_WHOLE = [picture(kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF")]
_BOMBS = [huge_png(), huge_gif(), many_scans(), postscript(), b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
_NAMES = ["a.png", "../../a.png", "..\\a.png", "/etc/passwd", "a\x00b.png", "", "é" * 300, '"; filename="b', "con"]


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    limits = Limits(characters=500, pictures=3, picture_bytes=20_000, request_bytes=50_000, pixels=10_000, seconds=10)
    with running(limits=limits) as one:
        yield one


def cut(whole: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(1, len(whole) - 1).map(lambda end: whole[:end])


def spoilt(whole: bytes) -> st.SearchStrategy[bytes]:
    places = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=20)

    def change(changes: list[tuple[int, int]]) -> bytes:
        out = bytearray(whole)
        for place, value in changes:
            out[place] = value
        return bytes(out)

    return places.map(change)


CONTENTS = st.one_of(
    st.sampled_from([*_WHOLE, *_BOMBS]),
    st.binary(max_size=300),
    st.sampled_from(_WHOLE[:4]).flatmap(cut),
    st.sampled_from(_WHOLE[:4]).flatmap(spoilt),
    st.just(bytes(30_000)),
)
TEXTS = st.one_of(
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from([b"\x00", b"\xff\xfe\x00", b"Tom\x00Ann", b"\xed\xa0\x80", b"Tom " * 400, b"", b"\xef\xbb\xbfTom"]),
    st.binary(max_size=60),
)
PARTS = st.one_of(
    st.tuples(st.just("pictures"), CONTENTS, st.sampled_from(_NAMES)),
    st.tuples(st.sampled_from(["text", "title"]), TEXTS, st.sampled_from([None, "a.txt"])),
    st.tuples(st.sampled_from(["image", "text ", "", "model", "picture[]"]), TEXTS, st.none()),
)
FORMS = st.lists(PARTS, max_size=5).map(form)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
MENTIONS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "start": st.integers(-2, 6) | st.integers() | JSON,
            "end": st.integers(-2, 6) | JSON,
            "text": st.sampled_from(["Tom", "T", "\ud800"]) | JSON,
            "candidates": JSON,
            "entity": JSON,
            "x": st.sampled_from([float("inf"), "\ud800", "ok"]),
        },
    ),
    max_size=3,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "text": st.sampled_from(["Tom met Ann", "\x00", "\ud83d", "x" * 600]) | JSON,
        "title": JSON,
        "text_mentions": MENTIONS | JSON,
        "visual_mentions": JSON,
        "images": JSON | st.just(["/etc/passwd"]),
        "other": JSON,
    },
)
BODIES = st.one_of(
    st.tuples(st.just(FORM["Content-Type"]), FORMS),
    st.tuples(st.just(FORM["Content-Type"]), FORMS.flatmap(cut)),
    st.tuples(st.just(FORM["Content-Type"]), FORMS.flatmap(spoilt)),
    st.tuples(st.just("application/json"), (DOCUMENTS | JSON).map(lambda value: json.dumps(value).encode())),
    st.tuples(
        st.just("application/json; charset=utf-16"),
        st.sampled_from(
            [
                b"[" * 40_000,
                b'{"text":' * 4_000,
                b'{"text": "Tom", "text": "Ann"}',
                b'{"text": "Tom", "x": 1e999}',
                b'{"text": "Tom", "x": ' + b"9" * 5_000 + b"}",
                b'{"text": "Tom", "x": NaN}',
                '{"text": "Tom"}'.encode("utf-16"),
                b"",
            ]
        ),
    ),
    st.tuples(
        st.text(string.printable[:-5], max_size=40).map(str.strip)
        | st.sampled_from(["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]),
        FORMS | st.binary(max_size=200),
    ),
)


def check(answer: Answer) -> None:
    assert answer.status < 500, answer.content
    if answer.status >= 400:
        assert "/tmp" not in answer.reason
    else:
        assert answer.status == 200


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES, path=st.sampled_from(["/link", "/link?candidates=0", "/report"]))
def test_malformed_requests_give_a_reason_and_leave_nothing(
    body: tuple[str, bytes], path: str, service: Running
) -> None:
    kind, content = body
    check(service.ask("POST", path, content, {"Content-Type": kind} if kind else {}))
    assert not service.left_behind()


@pytest.mark.parametrize("content", _BOMBS, ids=["png", "gif", "scans", "postscript", "empty", "svg"])
def test_bombs_are_refused(content: bytes, service: Running) -> None:
    answer = service.post("/link", [("pictures", content, "bomb.png")])
    assert answer.status in (413, 422)
    assert answer.reason.startswith("picture 'bomb.png'")


@pytest.mark.parametrize("content", _WHOLE[:4], ids=["png", "jpeg", "gif", "webp"])
def test_whole_pictures_are_taken_whatever_they_are_called(content: bytes, service: Running) -> None:
    answer = service.post("/link", [("pictures", content, "x.exe")])
    assert answer.status == 200
    assert [one["image"] for one in answer.json["visual_mentions"]] == ["x.exe"]


@pytest.mark.parametrize("content", _WHOLE[4:], ids=["bmp", "tiff"])
def test_other_formats_are_refused(content: bytes, service: Running) -> None:
    answer = service.post("/link", [("pictures", content, "x.png")])
    assert answer.status == 422
    assert "is no readable JPEG, PNG, WEBP, GIF" in answer.reason


PATHS: list[dict[str, Any]] = [
    {"images": ["SENTINEL"]},
    {"visual_mentions": [{"image": "SENTINEL", "box": None}]},
    {"visual_mentions": {"image": "SENTINEL"}},
]


@pytest.mark.parametrize("fields", PATHS, ids=["images", "mentions", "malformed"])
def test_a_path_of_the_callers_is_refused(fields: dict[str, Any], service: Running, tmp_path: Path) -> None:
    sentinel = tmp_path / "sentinel.png"
    sentinel.write_bytes(picture())
    before = sentinel.stat().st_atime_ns
    value = json.loads(json.dumps({"text": "Tom"} | fields).replace("SENTINEL", str(sentinel)))
    answer = service.json("/link", value)
    assert answer.status == 422
    assert "pictures are not read from paths" in answer.reason
    assert sentinel.stat().st_atime_ns == before


@pytest.mark.parametrize("name", _NAMES)
def test_a_file_name_is_repeated_and_never_a_path(name: str, service: Running, tmp_path: Path) -> None:
    for path in ("../sentinel.png", str(tmp_path / "sentinel.png")):
        answer = service.post("/link", [("pictures", picture(), f"{path}/{name}" if name else path)])
        if answer.status == 200:
            (image,) = answer.json["images"]
            assert "/" not in image
            assert "\\" not in image
            assert image.isprintable()
    assert not list(tmp_path.iterdir())
    assert not service.left_behind()


def test_parts_of_a_form_have_to_end(service: Running) -> None:
    whole = form([("text", b"Tom", None)])
    for end in range(1, len(whole) - len(BOUNDARY)):
        check(service.ask("POST", "/link", whole[:end], FORM))
    answer = service.ask("POST", "/link", whole[: -len(BOUNDARY) - 6], FORM)
    assert answer.status == 400
    assert answer.reason == "the form ends before its last boundary"

"""A service to be asked over a real connection, with an engine that links every capitalised word to itself."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn

from mmel.document import NIL, Document, Link, LinkedDocument, ScoredCandidate, TextMention, VisualMention
from mmel.errors import InputError
from mmel.pictures import picture_size
from mmel.serve import listen
from mmel.service.app import make_app
from mmel.service.engine import Engine
from mmel.service.limits import Limits


@dataclass
class StandIn:
    """Mentions are capitalised words and whole pictures; `Slow`, `Wrong`, `Rewritten` and `Broken` do what they say."""

    calls: list[int] = field(default_factory=list)
    slow: float = 0.0
    closed: int = 0

    def link(self, documents: Sequence[Document], pictures: Path) -> list[LinkedDocument]:
        self.calls.append(len(documents))
        if any("Slow" in document.text for document in documents):
            time.sleep(self.slow)
        if any("Wrong" in document.text for document in documents):
            raise InputError("the text says Wrong", field="text", remedy="say something else")
        if any("Rewritten" in document.text for document in documents):
            raise InputError("is gone", file=pictures / "kb.sqlite")
        if any("Broken" in document.text for document in documents):
            raise RuntimeError("broken")
        return [self._linked(document, pictures) for document in documents]

    def _linked(self, document: Document, pictures: Path) -> LinkedDocument:
        found = tuple(TextMention(m.start(), m.end(), m[0]) for m in re.finditer(r"\b[A-Z]\w*", document.text))
        sizes = [(image, picture_size(pictures / image)) for image in document.images]
        seen = tuple(VisualMention(image, (0, 0, width, height)) for image, (width, height) in sizes)
        document = replace(document, text_mentions=document.text_mentions or found, visual_mentions=seen)
        return LinkedDocument(
            document,
            tuple(_link(mention.text) for mention in document.text_mentions),
            tuple(_link("face") for _ in seen),
            {"kb": "standin"},
        )

    def titles(self, ids: Sequence[str]) -> Mapping[str, str]:
        return {id: id.upper() for id in ids}

    def report(self, linked: LinkedDocument, pictures: Path) -> str:
        return f"<!DOCTYPE html><title>report</title><p>{len(linked.text_links)} {len(linked.visual_links)}</p>"

    def info(self) -> dict[str, Any]:
        return {"model": "standin", "knowledge_base": {"name": "none", "entities": 0}, "mmel": "0"}

    def close(self) -> None:
        self.closed += 1


def _link(name: str) -> Link:
    candidates = [ScoredCandidate(f"{name}{i}", 0.5 / (i + 1), 0.1) for i in range(20)]
    return Link(f"{name}0", 0.5, (*candidates, ScoredCandidate(NIL, 0.01, 0.0)))


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def reason(self) -> str:
        """Of a refusal, which is always JSON with words in it."""
        assert self.headers["content-type"] == "application/json", self.content
        detail = self.json["detail"]
        assert isinstance(detail, str)
        assert detail
        return detail


class Running:
    """A service that listens."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()

    def post(self, path: str, parts: Sequence[tuple[str, bytes, str | None]]) -> Answer:
        """A form of `(name, content, file name or None)`."""
        return self.ask("POST", path, form(parts), FORM)

    def json(self, path: str, value: Any) -> Answer:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", path, content, {"Content-Type": "application/json"})

    def left_behind(self) -> list[Path]:
        """Files of requests that are over; a moment is waited for those that end beside the answer."""
        for _ in range(100):
            left = list(self.folder.rglob("*"))
            if not left:
                break
            time.sleep(0.02)
        return left


BOUNDARY = b"=_b0undary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}


def form(parts: Sequence[tuple[str, bytes, str | None]]) -> bytes:
    """The body of a form."""
    lines = []
    for name, content, file in parts:
        named = b"" if file is None else b'; filename="%s"' % file.encode()
        lines += [
            b"--" + BOUNDARY,
            b'Content-Disposition: form-data; name="%s"%s' % (name.encode(), named),
            b"",
            content,
        ]
    return b"\r\n".join([*lines, b"--" + BOUNDARY + b"--", b""])


@contextmanager
def running(engine: Engine | None = None, limits: Limits | None = None) -> Iterator[Running]:
    """A service on a free port of this machine, shut down at the end."""
    app = make_app(engine or StandIn(), limits or Limits())
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield Running(listening.getsockname()[1], app.state.service.folder)
        finally:
            server.should_exit = True
            thread.join()

"""What the service says of itself: the form of its bodies for OpenAPI, and a page of documentation from the schema.

FastAPI's own page loads its script from another host; this one loads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mmel.report.html import Html, element

_TEXT = {"type": "string", "description": "the text, UTF-8"}
_TITLE = {"type": "string", "description": "the title, not linked"}
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "text": _TEXT,
                    "title": _TITLE,
                    "pictures": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "description": "JPEG, PNG, WebP or GIF (its first frame); may be given several times",
                    },
                },
            }
        },
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["text"],
                "properties": {
                    "id": {"type": "string"},
                    "text": _TEXT,
                    "title": _TITLE,
                    "text_mentions": {
                        "type": "array",
                        "description": "names to link; where there are none, they are found",
                        "items": {
                            "type": "object",
                            "required": ["start", "end", "text"],
                            "properties": {
                                "start": {"type": "integer", "description": "character, from 0"},
                                "end": {"type": "integer", "description": "character behind the last"},
                                "text": {"type": "string", "description": "what stands there"},
                            },
                        },
                    },
                },
            },
            "example": {"text": "Nick and Michael play one final round."},
        },
    },
}
_REASON = {"application/json": {"schema": {"type": "object", "properties": {"detail": {"type": "string"}}}}}
PROBLEM: dict[int | str, dict[str, Any]] = {
    status: {"description": what, "content": _REASON}
    for status, what in {
        400: "not a whole form",
        408: "sent too slowly",
        413: "more than the limits",
        415: "another content type",
        422: "a text or picture that cannot be read, or nothing to link",
        503: "too many requests at once",
        504: "linking takes too long",
    }.items()
}
_EXAMPLES = {
    "/link": (
        "curl -F text=@review.txt -F pictures=@still.jpg -F pictures=@poster.png HOST/link",
        "curl --json '{\"text\": \"Nick and Michael play one final round.\"}' 'HOST/link?candidates=3'",
    ),
    "/report": ("curl -F text=@review.txt -F pictures=@still.jpg -o report.html HOST/report",),
    "/info": ("curl HOST/info",),
    "/healthz": ("curl HOST/healthz",),
}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --sunken: #8881; }
body { margin: 0 auto; padding: 24px 20px 64px; max-width: 860px; font: 15px/1.5 system-ui, sans-serif; }
h2 { margin: 40px 0 4px; padding-top: 12px; border-top: 1px solid var(--line); font-size: 1.1rem; }
h2, td { overflow-wrap: anywhere; }
pre { padding: 10px 12px; background: var(--sunken); border-radius: 8px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } td { padding: 4px 12px 4px 0; vertical-align: top; }
td:first-child { white-space: nowrap; } summary { cursor: pointer; }
"""


def manual(schema: Mapping[str, Any]) -> str:
    """The page about an OpenAPI schema: what can be asked, how, with curl, and what is answered."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", "mmel: documentation"),
        element("style", Html(_STYLE)),
    )
    body = element(
        "body",
        element("h1", f"{schema['info']['title']} {schema['info']['version']}"),
        element("p", schema["info"]["description"]),
        element("p", element("a", "/openapi.json", href="openapi.json"), " is the schema, ",
                element("a", "/", href="."), " the page for people."),
        [_operation(path, method, one) for path, by in schema["paths"].items() for method, one in by.items()],
    )  # fmt: skip
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _operation(path: str, method: str, one: Mapping[str, Any]) -> Iterator[Html | None]:
    yield element("h2", element("code", f"{method.upper()} {path}"))
    yield element("p", one["summary"], ". " if "description" in one else "", one.get("description", ""))
    yield element("pre", "\n".join(_EXAMPLES.get(path, ())).replace("HOST", "http://127.0.0.1:8000"))
    given = [(p["name"], f"{p.get('description', '')} (query, {p['schema'].get('default', 'required')})")
             for p in one.get("parameters", ())]  # fmt: skip
    yield _table(given)
    for kind, content in one.get("requestBody", {}).get("content", {}).items():
        shape = json.dumps(content["schema"], indent=2)
        yield element("details", element("summary", element("code", kind)), element("pre", shape))
    yield _table([(code, answer["description"]) for code, answer in one["responses"].items()])


def _table(rows: list[tuple[str, str]]) -> Html | None:
    if not rows:
        return None
    cells = [element("tr", element("td", element("code", name)), element("td", said)) for name, said in rows]
    return element("table", element("tbody", cells))

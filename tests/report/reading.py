"""Pages of reports, read back strictly."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

VOID = {"br", "input", "link", "meta"}


class Page(HTMLParser):
    """Parses a page strictly: every element is closed in its turn; keeps elements with their text."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"{tag} has an attribute twice: {attrs}"
        node = (tag, dict(attrs), [""])
        self.elements.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, _, text in self.open:
            text[0] += data

    def find(self, tag: str, kind: str = "") -> list[tuple[dict[str, str | None], str]]:
        """Attributes and text of the elements with that name and class."""
        return [
            (attributes, text[0])
            for name, attributes, text in self.elements
            if name == tag and (not kind or kind in (attributes.get("class") or "").split())
        ]

    def cards(self) -> list[tuple[str | None, str]]:
        """State and text of each card, in order."""
        return [(attributes["data-state"], text) for attributes, text in self.find("li", "card")]

    def check_self_contained(self, scripts: int = 1) -> None:
        """Nothing is fetched, and no script runs but one whose digest the policy names; the others hold data."""
        assert not re.search(r"https?:|//[a-z]|@import|@font-face", self.source)
        for tag, attributes, _ in self.elements:
            assert tag not in ("link", "iframe", "object", "img", "base")
            assert not {"src", "onclick"} & set(attributes)
            assert (attributes.get("href") or "#").startswith("#")
        assert set(re.findall(r"url\((.{16})", self.source)) <= {'"data:image/jpeg'}
        run = [text for attributes, text in self.find("script") if attributes.get("type") != "application/json"]
        policy = str(next(a["content"] for a, _ in self.find("meta") if "http-equiv" in a))
        digest = base64.b64encode(hashlib.sha256(run[0].encode()).digest()).decode()
        assert len(run) == 1 and len(self.find("script")) == scripts and len(self.find("style")) == 1
        assert "default-src 'none'" in policy and f"script-src 'sha256-{digest}'" in policy

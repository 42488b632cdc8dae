"""Markdown as a reader sees it: its text without markup, and the pictures that it shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from mmel.scoring.download import is_url

_BLOCK_ENDS = {
    "paragraph_close": "\n\n",
    "heading_close": "\n\n",
    "tr_close": "\n",
    "table_close": "\n\n",
    "th_close": "\t",
    "td_close": "\t",
}
_LINE_ENDS, _EMPTY_LINES = re.compile(r"[ \t]+$", re.MULTILINE), re.compile(r"\n{3,}")
_BREAKS = {"softbreak": "\n", "hardbreak": "\n"}
# Lines of `key: value` between two fences at the very start, as static site generators have them.
_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\n(?=[\w-]+:)(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(['\"]?)(.+?)\1[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Page:
    """`text` without markup; `title` of the front matter, else the first heading, or ""; `images` as written, once."""

    text: str
    title: str
    images: tuple[str, ...]


def read_markdown(source: str) -> Page:
    """The text, title and pictures of a CommonMark text with tables.

    Names stand in the text as they are seen: without emphasis, links and tags, character references resolved. What
    stands in the place of a picture (its alternative text) is no part of the text, nor is YAML front matter. `images`
    are percent-decoded where they are no URLs.
    """
    source = source.replace("\r\n", "\n")
    text: list[str] = []
    images: list[str] = []
    title = ""
    if front := _FRONT_MATTER.match(source):
        source = source[front.end() :]
        if named := _FRONT_TITLE.search(front[1]):
            title = named[2]
    tokens = _Parser("commonmark").enable("table").parse(source)
    for number, token in enumerate(tokens):
        if token.type == "inline":
            written = _inline(token.children or (), images)
            text.append(written)
            if not title and tokens[number - 1].type == "heading_open":
                title = " ".join(written.split())
        elif token.type in ("fence", "code_block"):
            text.append(f"{token.content.rstrip()}\n\n")
        elif token.type == "html_block":
            text.append(f"{_html(token.content, images).strip()}\n\n")
        elif token.type in _BLOCK_ENDS:
            # A paragraph of a tight list has no space below it.
            text.append("\n" if token.hidden else _BLOCK_ENDS[token.type])
        elif token.type.endswith("_list_close"):
            text.append("\n")
    return Page(
        _EMPTY_LINES.sub("\n\n", _LINE_ENDS.sub("", "".join(text))).strip(), title, tuple(dict.fromkeys(images))
    )


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        """A `file:` or `data:` picture is to be refused by its name, not kept as text."""
        return True


def _inline(tokens: Sequence[Token], images: list[str]) -> str:
    parts = []
    for token in tokens:
        if token.type in ("text", "code_inline", "text_special"):
            parts.append(token.content)
        elif token.type in _BREAKS:
            parts.append(_BREAKS[token.type])
        elif token.type == "image":
            images.append(_source(str(token.attrs["src"])))
        elif token.type == "html_inline":
            parts.append(_html(token.content, images))
    return "".join(parts)


def _html(source: str, images: list[str]) -> str:
    """The text of a piece of HTML; its pictures are added to `images`."""
    reader = _Html()
    reader.feed(source)
    reader.close()
    images += map(_source, reader.images)
    return "".join(reader.text)


def _source(written: str) -> str:
    return written if is_url(written) else unquote(written)


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.images: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        if tag == "br":
            self.text.append("\n")
        self.images += [value for name, value in attrs if tag == "img" and name == "src" and value]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)

"""HTML that cannot be left open or broken out of."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from mmel.report.html import Html, element, escaped


class Reader(HTMLParser):
    """Reads an element back: text content and attributes of what was opened."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.opened = "", []  # type: str, list[tuple[str, dict[str, str | None]]]
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_children_attributes_and_void_elements() -> None:
    made = element("p", "a < b", None, [element("br"), ("c", Html("&amp;"))], class_="x", data_rank=2.5, hidden=True)
    assert made == '<p class="x" data-rank="2.5" hidden>a &lt; b<br>c&amp;</p>'
    assert element("option", value=None, selected=False, for_="y") == '<option for="y"></option>'
    assert element("text", x=3, y=0.1) == '<text x="3" y="0.1"></text>'
    assert element("meta", name="a") == '<meta name="a">'


@given(st.text(), st.text())
def test_any_text_is_read_back_as_text(content: str, attribute: str) -> None:
    reader = Reader(element("p", content, title=attribute))
    assert reader.opened == [("p", {"title": read_back(attribute)})]
    assert reader.text == read_back(content)


def read_back(text: str) -> str:
    """What a parser makes of escaped text; forbidden characters are replaced before."""
    import html

    return html.unescape(escaped(text))


@given(st.text(st.characters(), min_size=1))
def test_pages_are_utf8_whatever_a_text_holds(text: str) -> None:
    safe = escaped(text)
    assert safe.encode()
    assert not set(safe) & set("<>\"'\x00\x1b")


def test_lone_surrogates_and_control_characters_are_replaced() -> None:
    assert escaped("a\ud800b\x00c\td\ne") == "a�b�c\td\ne"

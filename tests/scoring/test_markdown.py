"""Markdown becomes the text that one reads, and the pictures that one sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.scoring.markdown import read_markdown

PAGE = """\
# Salt *Road*: a review

**Mira** and [Otto](https://example.org/otto "his page") cross the [desert][1]
with `Ines`.\\
They lose &amp; win.

![Mira in the desert](stills/one%20two.jpg "Mira")
![](https://example.org/a%20b.png) ![again](stills/one%20two.jpg)

- first *name*
- second

| Actor | Role |
|-------|------|
| Ines  | Mira |

> quoted **Otto**

<p>In <b>Quillhaven</b><br><img alt="x" src="town.png"><script>var Mira;</script></p>

    code

[1]: https://example.org
"""


def test_the_text_has_no_markup() -> None:
    page = read_markdown(PAGE)
    assert page.title == "Salt Road: a review"
    assert page.text == (
        "Salt Road: a review\n\nMira and Otto cross the desert\nwith Ines.\nThey lose & win.\n\n"
        "first name\nsecond\n\nActor\tRole\nInes\tMira\n\nquoted Otto\n\nIn Quillhaven\n\ncode"
    )
    assert page.images == ("stills/one two.jpg", "https://example.org/a%20b.png", "town.png")


@pytest.mark.parametrize(
    ("source", "title", "text"),
    [
        ("---\ntitle: Salt Road\ntags: [a, b]\n---\nMira walks.", "Salt Road", "Mira walks."),
        ('---\r\nlayout: post\r\ntitle: "Salt: Road"\r\n---\r\n# Heading\r\n', "Salt: Road", "Heading"),
        ("---\ndate: 2026-01-31\n...\n# Heading\n", "Heading", "Heading"),
        ("---\ntitle:\n---\nMira walks.", "", "Mira walks."),
        # A rule is no front matter, nor is what does not end.
        ("---\nMira walks.\n\n---\nOtto runs.", "", "Mira walks.\n\nOtto runs."),
        ("---\nMira: walks.\n\nOtto runs.", "", "Mira: walks.\n\nOtto runs."),
        ("Mira walks.\n\n---\ntitle: x\n\n---\n", "", "Mira walks.\n\ntitle: x"),
    ],
)
def test_front_matter_is_no_text(source: str, title: str, text: str) -> None:
    page = read_markdown(source)
    assert (page.title, page.text) == (title, text)


@pytest.mark.parametrize(
    ("source", "images"),
    [
        ("![x](../private/a.png)", ("../private/a.png",)),
        ("![x](</etc/a b.png>)", ("/etc/a b.png",)),
        ("![x](file:///etc/passwd)", ("file:///etc/passwd",)),
        ("![x](data:image/png;base64,AAAA)", ("data:image/png;base64,AAAA",)),
        ("![x][ref]\n\n[ref]: a.png", ("a.png",)),
        ("a `![x](a.png)` \\![x](b.png)", ()),
        ("[page](a.png)", ()),
    ],
)
def test_pictures_are_named_as_they_are_written(source: str, images: tuple[str, ...]) -> None:
    assert read_markdown(source).images == images


@given(text=st.text(st.characters(categories=("L", "N", "Zs")), min_size=1, max_size=80))
def test_words_alone_stay_as_they_are(text: str) -> None:
    """All but the white space at the ends and, of code, its indentation."""
    assert read_markdown(text).text.split() == text.replace("\0", "\ufffd").split()


@given(source=st.text("ab*_[]()!<>&;#|`\\\n -1.", max_size=60))
def test_any_source_is_read(source: str) -> None:
    page = read_markdown(source)
    assert page.text == page.text.strip()

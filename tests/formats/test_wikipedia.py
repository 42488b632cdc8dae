from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.errors import InputError, SkipReport
from mmel.formats.wikipedia import is_plain, read_redirects, wikipedia_title


@pytest.mark.parametrize(
    ("address", "title"),
    [
        ("https://en.wikipedia.org/wiki/Otto_Renn", "Otto Renn"),
        ("https://en.wikipedia.org/wiki/Caf%C3%A9_Renn_(film)", "Café Renn (film)"),
        ("https://en.wikipedia.org/wiki/Caf%E9", "Café"),
        ("https://en.wikipedia.org/wiki/Renn/Ulm", "Renn/Ulm"),
        ("https://en.wikipedia.org/wiki/Who%3F", "Who?"),
        ("nhttps://en.wikipedia.org/wiki/Renn", "Renn"),
        ("hhttps://en.wikipedia.org/wiki/Renn", "Renn"),
        ("]https://en.wikipedia.org/wiki/Renn", "Renn"),
        ("[https://en.wikipedia.org/wiki/Renn", "Renn"),
        ("ttps://en.wikipedia.org/wiki/Renn", "Renn"),
        ("http://en.wikipedia.org/wiki/Renn", "Renn"),
        ("en.wikipedia.org/wiki/Renn", "Renn"),
        ("https://en.wikipedia.org//wiki/Renn", "Renn"),
        ("https://en.m.wikipedia.org/wiki/Renn", "Renn"),
        ("https://www.wikipedia.org/wiki/Renn", "Renn"),
        ("https://en.wikipedia.org/wiki/Renn#History", "Renn"),
        ("https://en.wikipedia.org/wiki/Renn?redirect=no", "Renn"),
        ("https://en.wikipedia.org/w/index.php?title=Otto_Renn&redirect=no", "Otto Renn"),
        ("https://de.wikipedia.org/wiki/Renn", "de:Renn"),
        ("https://de.m.wikipedia.org/wiki/Renn", "de:Renn"),
        ("  https://en.wikipedia.org/wiki/renn ", "Renn"),
        ("otto_Renn", "Otto Renn"),
        ("Renn  (Saar)", "Renn (Saar)"),
        ("Renn%20(Saar)", "Renn (Saar)"),
    ],
)
def test_titles(address: str, title: str) -> None:
    assert wikipedia_title(address) == title


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("https://www.wikidata.org/wiki/Q1", "no address of a Wikipedia page"),
        ("https://renn.example/wiki/Renn", "no address of a Wikipedia page"),
        ("https://en.wikipedia.org/wiki/", "names no page"),
        ("https://en.wikipedia.org/wiki/#History", "names no page"),
        (" ", "names no page"),
    ],
)
def test_what_is_no_page(address: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wikipedia_title(address)


@given(st.text(alphabet="aÄé(?#/&+%_ ", min_size=1).map(lambda text: " ".join(text.replace("_", " ").split())))
def test_an_encoded_title_comes_back(title: str) -> None:
    if title:
        address = "https://en.wikipedia.org/wiki/" + quote(title.replace(" ", "_"))
        assert wikipedia_title(address) == title[0].upper() + title[1:]
        assert is_plain(address)


def test_plain_addresses() -> None:
    assert is_plain("https://en.wikipedia.org/wiki/Caf%C3%A9")
    assert is_plain("Café")
    assert not is_plain("nhttps://en.wikipedia.org/wiki/Renn")
    assert not is_plain("https://en.m.wikipedia.org/wiki/Renn")
    assert not is_plain("https://en.wikipedia.org/wiki/Renn#History")


def test_redirects_are_followed_to_their_end(tmp_path: Path) -> None:
    path = tmp_path / "redirects.tsv"
    path.write_text("A\tB_b\nB_b\tC\nhttps://en.wikipedia.org/wiki/D\tA\nE\tF\nF\tE\n")
    assert read_redirects(path) == {"A": "C", "B b": "C", "D": "C", "E": "E", "F": "F"}


def test_a_broken_redirect_is_named_and_can_be_counted(tmp_path: Path) -> None:
    path = tmp_path / "redirects.tsv"
    path.write_text("A\tB\nC\nD\t\n")
    with pytest.raises(InputError, match="redirects.tsv:2: expected two titles, found 'C'.*Remedy: "):
        read_redirects(path)
    skips = SkipReport()
    assert read_redirects(path, skips) == {"A": "B"}
    assert skips.counts == {"broken record": 2}

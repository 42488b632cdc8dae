from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmel.text.surface import NAMES, document_strings, pair_features, surface_features

FLAGS = (
    "exact",
    "exact_bare",
    "prefix",
    "suffix",
    "mention_in_title",
    "title_in_mention",
    "acronym",
    "parenthetical",
    "comma",
)


@pytest.mark.parametrize(
    ("surface", "title", "flags"),
    [
        ("Salt Road", "Salt Road", "exact exact_bare prefix suffix mention_in_title title_in_mention"),
        ("ZOE QUILL", "Zoë Quill", "exact exact_bare prefix suffix mention_in_title title_in_mention"),
        ("Salt", "Salt Road", "prefix mention_in_title"),
        ("Road", "Salt Road", "suffix mention_in_title"),
        ("The Salt Road", "Salt Road", "title_in_mention"),
        ("Road Salt", "Salt Road", "mention_in_title title_in_mention"),
        ("Saltroad", "Salt Road", ""),
        ("Salt Road", "Salt Road (film)",
         "exact_bare prefix suffix mention_in_title title_in_mention parenthetical"),
        ("Salt Road (film)", "Salt Road (film)", "exact title_in_mention parenthetical"),
        ("film", "Salt Road (film)", "parenthetical"),
        ("Quillhaven", "Quillhaven, Ohio", "exact_bare prefix suffix mention_in_title title_in_mention comma"),
        ("Ohio", "Quillhaven, Ohio", "comma"),
        ("Quillhaven, Ohio", "Quillhaven, Ohio", "exact title_in_mention comma"),
        ("UN", "United Nations", "acronym"),
        ("U.N.", "United Nations", "acronym"),
        ("U. N.", "United Nations (band)", "acronym parenthetical"),
        ("BBC", "Bank of British Columbia", "acronym"),
        ("UN", "united nations", ""),
        ("un", "United Nations", ""),
        ("U", "Utrecht", ""),
        ("NATO", "North Atlantic Treaty", ""),
        ("(Untitled)", "(Untitled)", "exact exact_bare prefix suffix mention_in_title title_in_mention parenthetical"),
        ("O'Neill", "Shaquille O'Neill", "suffix mention_in_title"),
    ],
)  # fmt: skip
def test_flags(surface: str, title: str, flags: str) -> None:
    values = dict(zip(NAMES, pair_features(surface, title), strict=True))
    assert [name for name in FLAGS if values[name]] == flags.split()


def test_overlaps_are_shares() -> None:
    values = dict(zip(NAMES, pair_features("salt road map", "Old Salt Road (1974 film)"), strict=True))
    assert values["token_jaccard"] == pytest.approx(2 / 4)
    assert values["title_words"] == pytest.approx(5 / 10)
    # " abcd " and " abce " have 4 trigrams each and share " ab" and "abc".
    assert dict(zip(NAMES, pair_features("abcd", "abce"), strict=True))["trigram_dice"] == pytest.approx(2 * 2 / 8)
    assert dict(zip(NAMES, pair_features("x", " ".join("abcdefghijkl")), strict=True))["title_words"] == 1


def test_what_the_document_says() -> None:
    words, text = document_strings("Ohio's river floods the old  Salt-Road; a FILM of 1974.")
    titles = ["Quillhaven, Ohio", "Salt Road (1974 film)", "Salt Road (1975 film)", "River", "Road", "Old Salt"]
    rows = surface_features("Salt Road", titles, words, text)
    columns = dict(zip(NAMES, rows.T, strict=True))
    assert rows.shape == (6, len(NAMES)) and rows.dtype == np.float32
    assert columns["qualifier_in_text"].tolist() == [1, 1, 0.5, 0, 0, 0]
    # Titles of one word are everywhere and tell nothing.
    assert columns["title_in_text"].tolist() == [0, 1, 1, 0, 0, 1]
    assert surface_features("x", [], words, text).shape == (0, len(NAMES))


@given(st.text(), st.text(), st.text())
def test_every_string_gives_shares(surface: str, title: str, text: str) -> None:
    rows = surface_features(surface, [title, surface], *document_strings(text))
    assert np.isfinite(rows).all() and (rows >= 0).all() and (rows <= 1).all()
    assert rows[1, NAMES.index("exact")] == 1
